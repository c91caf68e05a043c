//! Strategic merge patch against a naive model, and the promises that `kubectl apply` lives by.
//!
//! The model works on a pod with a keyed list, a set of scalars and a map, in the most obvious way: look every item up by
//! walking the list, and build the order by picking one item at a time, as the upstream design document describes it.

use super::tests::pod;
use super::*;
use proptest::prelude::*;
use serde_json::json;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

/// What a patch does to one container.
#[derive(Debug, Clone)]
enum Change {
    Merge(Value),
    Delete,
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.to_vec())
}

fn distinct_names() -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(NAMES.to_vec(), 0..=NAMES.len()).prop_shuffle()
}

/// Fields of a container besides its name.
fn fields() -> impl Strategy<Value = Value> {
    let some = |field: &'static str| prop::option::of((0..3i64).prop_map(move |n| (field.to_owned(), Value::from(n))));
    (some("image"), some("tty"), some("stdin"))
        .prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect::<Map<_, _>>().into())
}

fn containers() -> impl Strategy<Value = Vec<Value>> {
    distinct_names().prop_flat_map(|names| {
        let len = names.len();
        (Just(names), prop::collection::vec(fields(), len)).prop_map(|(names, fields)| {
            names.into_iter().zip(fields).map(|(name, fields)| with_name(name, &fields)).collect()
        })
    })
}

fn with_name(name: &str, fields: &Value) -> Value {
    let mut container = fields.clone();
    container["name"] = name.into();
    container
}

fn changes() -> impl Strategy<Value = Vec<(&'static str, Change)>> {
    let change = prop_oneof![3 => fields().prop_map(Change::Merge), 1 => Just(Change::Delete)];
    prop::collection::vec((name(), change), 0..6)
}

fn as_patch(changes: &[(&str, Change)]) -> Vec<Value> {
    let item = |(name, change): &(&str, Change)| match change {
        Change::Merge(fields) => with_name(name, fields),
        Change::Delete => json!({"name": name, "$patch": "delete"}),
    };
    changes.iter().map(item).collect()
}

fn index_of(items: &[Value], name: &Value) -> Option<usize> {
    items.iter().position(|item| item["name"] == *name)
}

/// The model: merges by walking, then orders by picking.
fn model(live: &[Value], changes: &[(&str, Change)]) -> Vec<Value> {
    let doomed = |item: &Value| changes.iter().any(|(name, c)| item["name"] == **name && matches!(c, Change::Delete));
    let live: Vec<Value> = live.iter().filter(|item| !doomed(item)).cloned().collect();
    let mut merged = live.clone();
    let mut wanted: Vec<Value> = Vec::new();
    for (name, change) in changes {
        let Change::Merge(fields) = change else { continue };
        wanted.push(json!({"name": name}));
        match index_of(&merged, &Value::from(*name)) {
            None => merged.push(with_name(name, fields)),
            Some(at) => {
                for (field, value) in fields.as_object().unwrap() {
                    merged[at][field] = value.clone();
                }
            }
        }
    }
    ordered(merged, &wanted, &live)
}

/// Named items in the wanted order, the others in the live order, interleaved by picking from the left only when the live
/// list says that it comes first.
fn ordered(merged: Vec<Value>, wanted: &[Value], live: &[Value]) -> Vec<Value> {
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| index_of(wanted, &item["name"]).is_some());
    named.sort_by_key(|item| index_of(wanted, &item["name"]));
    others.sort_by_key(|item| index_of(live, &item["name"]));
    let mut result = Vec::new();
    while !named.is_empty() || !others.is_empty() {
        let from_others = match (others.first(), named.first()) {
            (Some(_), None) => true,
            (Some(left), Some(right)) => {
                let places = (index_of(live, &left["name"]), index_of(live, &right["name"]));
                matches!(places, (Some(left), Some(right)) if left < right)
            }
            (None, _) => false,
        };
        result.push(if from_others { others.remove(0) } else { named.remove(0) });
    }
    result
}

fn pod_of(containers: &[Value], finalizers: &[&str], selector: &Value) -> Value {
    json!({"metadata": {"finalizers": finalizers}, "spec": {"containers": containers, "nodeSelector": selector}})
}

fn patched(live: &Value, patch: &Value) -> Value {
    strategic(pod(), live, patch).expect("the patch applies")
}

/// A patch of everything the model knows, and some directives.
fn patches() -> impl Strategy<Value = Value> {
    let directive = prop_oneof![
        4 => Just(None),
        1 => Just(Some("replace")),
        1 => Just(Some("delete")),
    ];
    (changes(), distinct_names(), distinct_names(), fields(), directive, any::<bool>()).prop_map(
        |(changes, add, remove, selector, directive, replace)| {
            let mut selector = selector;
            if let Some(directive) = directive {
                selector["$patch"] = directive.into();
            }
            let mut containers = as_patch(&changes);
            if replace {
                containers.push(json!({"$patch": "replace"}));
            }
            json!({
                "metadata": {"finalizers": add, "$deleteFromPrimitiveList/finalizers": remove},
                "spec": {"containers": containers, "nodeSelector": selector},
            })
        },
    )
}

proptest! {
    #[test]
    fn keyed_lists_merge_as_the_model_says(live in containers(), changes in changes()) {
        let result = patched(&pod_of(&live, &[], &json!({})), &json!({"spec": {"containers": as_patch(&changes)}}));
        let expected = if changes.is_empty() { live } else { model(&live, &changes) };
        prop_assert_eq!(&result["spec"]["containers"], &Value::Array(expected));
    }

    #[test]
    fn scalars_merge_as_a_set(live in distinct_names(), patch in distinct_names()) {
        let named = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        let mut merged = named(&live);
        merged.extend(named(&patch).into_iter().filter(|item| index_of(&named(&live), &item["name"]).is_none()));
        let expected = ordered(merged, &named(&patch), &named(&live));
        let expected: Vec<Value> = expected.into_iter().map(|item| item["name"].clone()).collect();
        let result = patched(&pod_of(&[], &live, &json!({})), &json!({"metadata": {"finalizers": patch}}));
        prop_assert_eq!(&result["metadata"]["finalizers"], &Value::Array(expected));
    }

    #[test]
    fn a_patch_applied_twice_equals_once(
        live in containers(), finalizers in distinct_names(), selector in fields(), patch in patches(),
    ) {
        let once = patched(&pod_of(&live, &finalizers, &selector), &patch);
        prop_assert_eq!(patched(&once, &patch), once);
    }

    #[test]
    fn items_that_a_patch_does_not_name_keep_their_order(live in containers(), changes in changes()) {
        let result = patched(&pod_of(&live, &[], &json!({})), &json!({"spec": {"containers": as_patch(&changes)}}));
        let unnamed = |items: &[Value]| -> Vec<Value> {
            let is_named = |item: &Value| changes.iter().any(|(name, _)| item["name"] == **name);
            items.iter().filter(|item| !is_named(item)).cloned().collect()
        };
        prop_assert_eq!(unnamed(result["spec"]["containers"].as_array().unwrap()), unnamed(&live));
    }

    /// `kubectl apply` compares what was applied, what is wanted and what is live, and sends what this test sends.
    #[test]
    fn an_applied_list_has_the_order_of_the_manifest(
        applied in distinct_names(), wanted in containers(), extra in distinct_names(), live_order in Just(NAMES).prop_shuffle(),
    ) {
        let is_wanted = |name: &str| wanted.iter().any(|item| item["name"] == *name);
        let live: Vec<Value> = live_order
            .iter()
            .filter(|name| applied.contains(name) || extra.contains(name))
            .map(|name| json!({"name": name, "image": 9}))
            .collect();
        let mut items = wanted.clone();
        items.extend(
            applied.iter().filter(|name| !is_wanted(name)).map(|name| json!({"name": name, "$patch": "delete"})),
        );
        let order: Vec<Value> = wanted.iter().map(|item| json!({"name": item["name"]})).collect();
        let patch = json!({"spec": {"$setElementOrder/containers": order, "containers": items}});
        let result = patched(&json!({"spec": {"containers": live}}), &patch);
        let result = result["spec"]["containers"].as_array().unwrap();
        let names = |items: &[Value]| items.iter().map(|item| item["name"].clone()).collect::<Vec<_>>();
        let managed: Vec<Value> =
            result.iter().filter(|item| is_wanted(item["name"].as_str().unwrap())).cloned().collect();
        prop_assert_eq!(names(&managed), names(&wanted));
        let foreign: Vec<Value> =
            result.iter().filter(|item| !is_wanted(item["name"].as_str().unwrap())).cloned().collect();
        let kept: Vec<Value> = live
            .iter()
            .filter(|item| {
                let name = item["name"].as_str().unwrap();
                !is_wanted(name) && !applied.contains(&name)
            })
            .cloned()
            .collect();
        prop_assert_eq!(foreign, kept);
    }
}
