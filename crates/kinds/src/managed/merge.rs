//! Lays an applied configuration over the live object.
//!
//! Invariant: nothing is removed here; where both have a leaf the configuration wins; a list that the configuration does
//! not change keeps its order, a list that it changes has the configuration's, other items staying before the shared item
//! they stood before. An explicit null or an empty container of the configuration empties only what is empty or atomic.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::element::Element;
use super::shape::{Form, List, Shape};
use super::typed::{Faults, item_element};

/// Merges `config` into `live`.
pub(super) fn merge(shape: Shape<'_>, live: &mut Value, config: &Value) -> Result<(), Faults> {
    match (shape.form(Some(config).filter(|value| !value.is_null()).or(Some(&*live))), &mut *live, config) {
        (Form::Map { atomic: false }, Value::Object(held), Value::Object(wanted)) if !held.is_empty() => {
            let mut faults = Faults::default();
            for (name, value) in wanted {
                match (held.get_mut(name), shape.child(name)) {
                    (Some(held), Some((inner, _))) => {
                        if let Err(below) = merge(inner, held, value) {
                            faults.absorb_below(&Element::Field(name), below);
                        }
                    }
                    _ => drop(held.insert(name.clone(), value.clone())),
                }
            }
            if faults.is_empty() { Ok(()) } else { Err(faults) }
        }
        (Form::Map { atomic: false }, Value::Object(held), Value::Null) if !held.is_empty() => Ok(()),
        (Form::List(list), Value::Array(held), Value::Array(wanted)) if !list.is_atomic() && !held.is_empty() => {
            items(&list, held, wanted)
        }
        (Form::List(list), Value::Array(held), Value::Null) if !list.is_atomic() && !held.is_empty() => Ok(()),
        (_, live, config) => {
            *live = config.clone();
            Ok(())
        }
    }
}

fn items(list: &List<'_>, held: &mut Vec<Value>, wanted: &[Value]) -> Result<(), Faults> {
    let mut faults = Faults::default();
    let old = std::mem::take(held);
    let left = names(list, &old, true, &mut faults);
    let right = names(list, wanted, false, &mut faults);
    if !faults.is_empty() {
        return Err(faults);
    }
    let plan = plan(&left, &right);
    // the names borrow the items, so the plan is made before they move
    drop((left, right));
    let mut old: Vec<Option<Value>> = old.into_iter().map(Some).collect();
    for step in plan {
        match step {
            Step::Keep(index) => held.extend(old[index].take()),
            Step::Take(index) => held.push(wanted[index].clone()),
            Step::Merge(index, new) => {
                let mut item = old[index].take().unwrap_or_default();
                if let Err(below) = merge(list.item, &mut item, &wanted[new]) {
                    match item_element(list, &wanted[new]) {
                        Ok(element) => faults.absorb_below(&element, below),
                        Err(_) => faults.absorb(below),
                    }
                }
                held.push(item);
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Where an item of the result comes from.
enum Step {
    Keep(usize),
    Take(usize),
    Merge(usize, usize),
}

fn names<'v>(list: &List<'v>, items: &'v [Value], duplicates: bool, faults: &mut Faults) -> Vec<Element<'v>> {
    let mut seen = BTreeSet::new();
    let mut names = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item_element(list, item) {
            Ok(element) if !duplicates && !seen.insert(element.clone()) => {
                faults.absorb(Faults::one(format!("duplicate entries for key {element}")));
            }
            Ok(element) => names.push(element),
            Err(why) => faults.absorb(Faults::one(format!("element {index}: {why}"))),
        }
    }
    names
}

/// The order of the merged list.
fn plan(left: &[Element<'_>], right: &[Element<'_>]) -> Vec<Step> {
    // of items that share a key none is merged: the new one replaces them all
    let mut held: BTreeMap<&Element<'_>, Option<usize>> = BTreeMap::new();
    for (index, element) in left.iter().enumerate() {
        held.entry(element).and_modify(|place| *place = None).or_insert(Some(index));
    }
    let wanted: BTreeSet<&Element<'_>> = right.iter().collect();
    let mut shared: VecDeque<&Element<'_>> = right.iter().filter(|element| held.contains_key(element)).collect();
    let mut next = shared.pop_front();
    let mut merged: BTreeSet<&Element<'_>> = BTreeSet::new();
    let mut steps = Vec::with_capacity(left.len().max(right.len()));
    let join = |index: usize| match held.get(&right[index]) {
        Some(Some(old)) => Step::Merge(*old, index),
        _ => Step::Take(index),
    };
    let (mut l, mut r) = (0, 0);
    while l < left.len() || r < right.len() {
        if let (Some(old), Some(new)) = (left.get(l), right.get(r)) {
            if old == new {
                merged.insert(new);
                steps.push(join(r));
                l += 1;
                r += 1;
                next = shared.pop_front();
                continue;
            }
            if wanted.contains(old) && next.is_some_and(|next| next != old) {
                l += 1; // its turn comes with its place in the configuration
                continue;
            }
        }
        if let Some(old) = left.get(l) {
            if !wanted.contains(old) {
                steps.push(Step::Keep(l));
                l += 1;
                continue;
            }
            if merged.contains(old) {
                l += 1;
            }
        }
        if let Some(new) = right.get(r) {
            merged.insert(new);
            steps.push(join(r));
            r += 1;
            if next == Some(new) {
                next = shared.pop_front();
            }
        }
    }
    steps
}
