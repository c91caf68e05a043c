//! Laws of sets, comparison, merge and ownership over random objects of every kind, against a naive model: an object is a
//! map from the texts of its leaf paths to their values.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::compare::compare;
use super::element::Element;
use super::merge::merge;
use super::remove::remove;
use super::shape::Form;
use super::typed::{fields_of, item_element, same, validate};
use super::*;
use crate::testing::{Dice, sample};

type Leaves = BTreeMap<String, Value>;

/// Marks the path of a list item as one that is there.
const THERE: &str = " is there";

fn kind(index: usize) -> Arc<Kind> {
    let kinds = Catalog::builtin().kinds();
    kinds[index % kinds.len()].clone()
}

/// An object that is valid for its schema, as the tests below need it: list items have different keys.
fn object(kind: &Kind, dice: &mut Dice) -> Option<Value> {
    let mut value = sample(kind.schema, dice, 0);
    take(&mut value);
    without_nulls(&mut value);
    tidy(&mut value);
    validate(Shape::of(kind), &value, false).is_empty().then_some(value)
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn leaves(shape: Shape<'_>, value: &Value) -> Leaves {
    let mut found = Leaves::new();
    flatten(shape, value, String::new(), &mut found);
    found
}

fn flatten(shape: Shape<'_>, value: &Value, path: String, found: &mut Leaves) {
    match (shape.form(Some(value)), value) {
        (Form::Map { atomic: false }, Value::Object(members)) if !members.is_empty() => {
            for (name, member) in members {
                if let Some((inner, _)) = shape.child(name) {
                    flatten(inner, member, format!("{path}{}", Element::Field(name)), found);
                }
            }
        }
        (Form::List(list), Value::Array(items)) if !list.is_atomic() && !items.is_empty() => {
            for item in items {
                let element = item_element(&list, item).unwrap();
                let path = format!("{path}{element}");
                found.insert(format!("{path}{THERE}"), Value::Null);
                flatten(list.item, item, path, found);
            }
        }
        _ if path.is_empty() => {} // nobody owns the whole object
        _ => drop(found.insert(path, value.clone())),
    }
}

/// The members of a set that the model knows, by the texts of their paths.
fn known(set: &set::Set<'_>, model: &Leaves) -> Vec<String> {
    let mut paths = Vec::new();
    set.each(&mut |path| {
        let text = set::show(path);
        let item = !matches!(path.last(), Some(Element::Field(_)));
        if model.contains_key(&text) {
            paths.push(text.clone());
        }
        if item && model.contains_key(&format!("{text}{THERE}")) {
            paths.push(format!("{text}{THERE}"));
        }
    });
    paths.sort();
    paths
}

fn split(shape: Shape<'_>, object: &Value, odd: bool) -> Value {
    let mut part = json!({"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": {"name": "a"}});
    for (name, members) in object.as_object().into_iter().flatten() {
        match members {
            Value::Object(members)
                if name != "metadata" && !shape.child(name).is_some_and(|(inner, _)| inner.is_atomic()) =>
            {
                let chosen = members.iter().enumerate().filter(|(index, _)| index % 2 == usize::from(odd));
                part[name] = Value::Object(chosen.map(|(_, (name, value))| (name.clone(), value.clone())).collect());
            }
            _ => {}
        }
    }
    part
}

fn applied(kind: &Kind, live: &Value, config: &Value, manager: &str) -> Result<Value, ApplyError> {
    let version = kind.api_version();
    let scope = Scope::new(Catalog::builtin(), kind, &version, "");
    apply(&scope, live, &Application { config, manager, force: false, now: "2026-01-02T03:04:05Z" })
}

/// Without empty containers, which defaulting drops.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(tidy);
            members.retain(|_, member| !crate::json::is_empty(member) || member.is_string());
        }
        Value::Array(items) => {
            items.iter_mut().for_each(tidy);
            items.retain(|item| !crate::json::is_empty(item) || item.is_string());
        }
        _ => {}
    }
}

/// Without what an apply does not own.
fn named(kind: &Kind, mut object: Value) -> Value {
    tidy(&mut object);
    object.as_object_mut().unwrap().remove("status");
    if kind.kind == "CertificateSigningRequest" {
        object.as_object_mut().unwrap().remove("spec");
    }
    object["apiVersion"] = json!(kind.api_version());
    object["kind"] = json!(kind.kind);
    object["metadata"] = json!({"name": "a"});
    object
}

fn empty(kind: &Kind) -> Value {
    json!({"apiVersion": kind.api_version(), "kind": kind.kind})
}

fn config() -> ProptestConfig {
    ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_set_is_read_back_as_it_was_written(index in 0usize..1000, seed: u64) {
        let kind = kind(index);
        let value = sample(kind.schema, &mut Dice(seed), 0);
        let set = fields_of(Shape::of(&kind), &value);
        let written = fields::encode(&set);
        prop_assert_eq!(fields::decode(&written).unwrap(), set);
    }

    #[test]
    fn sets_obey_the_laws_of_sets(index in 0usize..1000, one: u64, two: u64) {
        let kind = kind(index);
        let (a, b) = (sample(kind.schema, &mut Dice(one), 0), sample(kind.schema, &mut Dice(two), 0));
        let (a, b) = (fields_of(Shape::of(&kind), &a), fields_of(Shape::of(&kind), &b));
        let union = a.clone().union(b.clone());
        prop_assert_eq!(&union, &b.clone().union(a.clone()));
        prop_assert!(a.is_subset(&union) && b.is_subset(&union));
        let common = a.intersection(&b);
        prop_assert_eq!(&common, &b.intersection(&a));
        prop_assert!(common.is_subset(&a) && common.is_subset(&b));
        let mut left = a.clone();
        let changed = left.subtract(&b);
        prop_assert_eq!(changed, !common.is_empty());
        prop_assert!(left.intersection(&b).is_empty());
        prop_assert_eq!(left.clone().union(common), a.clone());
        let mut deep = a.clone();
        deep.subtract_recursively(&b);
        prop_assert!(deep.is_subset(&left));
        a.each(&mut |path| assert!(a.has(path) && union.has(path)));
    }

    #[test]
    fn a_comparison_is_what_the_model_says(index in 0usize..1000, one: u64, two: u64) {
        let kind = kind(index);
        let shape = Shape::of(&kind);
        let (Some(a), Some(b)) = (object(&kind, &mut Dice(one)), object(&kind, &mut Dice(two))) else { return Ok(()) };
        let (old, new) = (leaves(shape, &a), leaves(shape, &b));
        let seen = compare(shape, &a, &b).unwrap();
        let only = |one: &Leaves, other: &Leaves| -> Vec<String> {
            one.keys().filter(|path| !other.contains_key(*path)).cloned().collect()
        };
        prop_assert_eq!(known(&seen.added, &new), only(&new, &old), "added");
        prop_assert_eq!(known(&seen.removed, &old), only(&old, &new), "removed");
        let modified: Vec<String> =
            new.iter().filter(|(path, value)| old.get(*path).is_some_and(|held| !same(held, value))).map(|(path, _)| path.clone()).collect();
        let mut told = known(&seen.modified, &new);
        told.retain(|path| !path.ends_with(THERE)); // that an item is there is no value of it
        prop_assert_eq!(told, modified, "modified");
        let back = compare(shape, &b, &a).unwrap();
        prop_assert_eq!((&back.added, &back.removed, &back.modified), (&seen.removed, &seen.added, &seen.modified));
        let itself = compare(shape, &a, &a).unwrap();
        prop_assert!(itself.added.is_empty() && itself.modified.is_empty() && itself.removed.is_empty());
    }

    #[test]
    fn a_merge_is_what_the_model_says(index in 0usize..1000, one: u64, two: u64) {
        let kind = kind(index);
        let shape = Shape::of(&kind);
        let (Some(a), Some(b)) = (object(&kind, &mut Dice(one)), object(&kind, &mut Dice(two))) else { return Ok(()) };
        let mut merged = a.clone();
        merge(shape, &mut merged, &b).unwrap();
        prop_assert!(validate(shape, &merged, false).is_empty());
        let (old, new, seen) = (leaves(shape, &a), leaves(shape, &b), leaves(shape, &merged));
        for (path, value) in &seen {
            let empty = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
            let expected = new.get(path).or_else(|| old.get(path));
            prop_assert!(empty || expected == Some(value), "{} {:?} {:?}", path, value, expected);
        }
        for path in old.keys().chain(new.keys()) {
            let inside = || seen.keys().any(|held| held.starts_with(path.as_str()));
            prop_assert!(seen.contains_key(path) || inside(), "{} is lost", path);
        }
        let mut again = merged.clone();
        merge(shape, &mut again, &b).unwrap();
        prop_assert_eq!(&again, &merged, "merging twice is merging once");
        let mut unchanged = a.clone();
        merge(shape, &mut unchanged, &a).unwrap();
        prop_assert_eq!(unchanged, a);
        let mut fresh = json!({});
        merge(shape, &mut fresh, &b).unwrap();
        prop_assert_eq!(fresh, b);
    }

    #[test]
    fn what_is_removed_is_gone_and_the_rest_stays(index in 0usize..1000, one: u64, two: u64) {
        let kind = kind(index);
        let shape = Shape::of(&kind);
        let (Some(a), Some(b)) = (object(&kind, &mut Dice(one)), object(&kind, &mut Dice(two))) else { return Ok(()) };
        let doomed = fields_of(shape, &b);
        let mut rest = a.clone();
        remove(shape, &mut rest, &doomed);
        prop_assert!(fields_of(shape, &rest).intersection(&doomed).nodes().iter().all(|node| !node.member));
        let (before, after) = (leaves(shape, &a), leaves(shape, &rest));
        for (path, value) in &after {
            let empty = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
            prop_assert!(empty || before.get(path) == Some(value), "{}", path);
        }
    }

    #[test]
    fn applying_twice_is_applying_once(index in 0usize..1000, one: u64, two: u64) {
        let kind = kind(index);
        let (Some(live), Some(config)) = (object(&kind, &mut Dice(one)), object(&kind, &mut Dice(two))) else { return Ok(()) };
        let (live, config) = (named(&kind, live), named(&kind, config));
        let Ok(base) = applied(&kind, &empty(&kind), &live, "first") else { return Ok(()) };
        let Ok(once) = applied(&kind, &base, &config, "first") else { return Ok(()) };
        let mut again = applied(&kind, &once, &config, "first").unwrap();
        let mut once = once;
        tidy(&mut again);
        tidy(&mut once);
        prop_assert_eq!(&again, &once);
        // what somebody applies alike is no conflict, and changes nothing but owners
        let mut shared = applied(&kind, &once, &config, "second").unwrap();
        drop((take(&mut shared), take(&mut once)));
        tidy(&mut shared);
        tidy(&mut once);
        prop_assert_eq!(shared, once);
    }

    #[test]
    fn managers_of_different_fields_never_conflict(index in 0usize..1000, seed: u64) {
        let kind = kind(index);
        let Some(whole) = object(&kind, &mut Dice(seed)) else { return Ok(()) };
        let whole = named(&kind, whole);
        let shape = Shape::of(&kind);
        let (left, right) = (split(shape, &whole, false), split(shape, &whole, true));
        let Ok(first) = applied(&kind, &empty(&kind), &left, "left") else { return Ok(()) };
        let both = applied(&kind, &first, &right, "right");
        prop_assert!(both.is_ok(), "{:?}", both);
        let both = both.unwrap();
        let again = applied(&kind, &both, &left, "left");
        prop_assert_eq!(again.as_ref(), Ok(&both));
        // a manager that lets go of everything takes only its own with it
        let bare = json!({"apiVersion": whole["apiVersion"], "kind": whole["kind"], "metadata": {"name": "a"}});
        let one = applied(&kind, &both, &bare, "left").unwrap();
        let alone = applied(&kind, &empty(&kind), &right, "right").unwrap();
        let (mut seen, mut expected) = (leaves(shape, &one), leaves(shape, &alone));
        seen.retain(|path, value| !path.contains("managedFields") && !crate::json::is_empty(value));
        expected.retain(|path, value| !path.contains("managedFields") && !crate::json::is_empty(value));
        prop_assert_eq!(seen, expected);
    }

    #[test]
    fn a_field_lives_as_long_as_one_of_its_owners(index in 0usize..1000, seed: u64) {
        let kind = kind(index);
        let Some(whole) = object(&kind, &mut Dice(seed)) else { return Ok(()) };
        let whole = named(&kind, whole);
        let bare = json!({"apiVersion": whole["apiVersion"], "kind": whole["kind"], "metadata": {"name": "a"}});
        let Ok(one) = applied(&kind, &empty(&kind), &whole, "one") else { return Ok(()) };
        let two = applied(&kind, &one, &whole, "two").unwrap();
        let mut kept = applied(&kind, &two, &bare, "one").unwrap();
        let mut before = two.clone();
        drop((take(&mut kept), take(&mut before)));
        tidy(&mut kept);
        tidy(&mut before);
        prop_assert_eq!(kept, before, "somebody else owns it all");
        let kept = applied(&kind, &two, &bare, "one").unwrap();
        let mut gone = applied(&kind, &kept, &bare, "two").unwrap();
        take(&mut gone);
        let shape = Shape::of(&kind);
        let mut rest = leaves(shape, &gone);
        rest.retain(|_, value| !crate::json::is_empty(value));
        prop_assert_eq!(rest, leaves(shape, &bare), "nobody owns it any more");
    }

    #[test]
    fn no_object_and_no_entry_makes_it_panic(index in 0usize..1000, seed: u64, wild in 1usize..10) {
        let kind = kind(index);
        let mut dice = Dice(seed);
        let mut values = || sample(kind.schema, &mut dice, wild);
        let (live, mut new, config) = (values(), values(), values());
        let version = kind.api_version();
        for subresource in ["", "status"] {
            let scope = Scope::new(Catalog::builtin(), &kind, &version, subresource);
            let given = detach(&mut new);
            update(&scope, &live, &mut new, given, "a", "2026-01-02T03:04:05Z");
            forget_times(&mut new, &live);
            let mut config = config.clone();
            if config.is_object() {
                config["apiVersion"] = json!(version);
                config["kind"] = json!(kind.kind);
            }
            for force in [false, true] {
                let application = Application { config: &config, manager: "kubectl", force, now: "x" };
                drop(apply(&scope, &live, &application));
                drop(apply(&scope, &new, &application));
            }
        }
    }
}
