//! Items of sets, and keys of maps that are written as lists, are unique.
//!
//! Invariant: linear in the size of the value; a duplicate is reported once, at its second place.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::node::Node;
use crate::error::FieldError;
use crate::path::Path;
use crate::schema::ListType;

/// Duplicates in the lists of a value.
pub(crate) fn check(node: &Node, value: &Value) -> Vec<FieldError> {
    let mut faults = Vec::new();
    walk(node, value, &Path::Root, &mut faults);
    faults
}

fn walk(node: &Node, value: &Value, path: &Path<'_>, faults: &mut Vec<FieldError>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if let Some(property) = node.property(name) {
                    walk(property, value, &path.field(name), faults);
                } else if let Some(other) = node.additional.node() {
                    walk(other, value, &path.key(name), faults);
                }
            }
        }
        Value::Array(items) => {
            match node.list_type {
                ListType::Set => set(items, path, faults),
                ListType::Map => map(node, items, path, faults),
                ListType::Atomic | ListType::Undeclared => {}
            }
            if let Some(item) = node.items.as_deref() {
                for (index, value) in items.iter().enumerate() {
                    walk(item, value, &path.index(index), faults);
                }
            }
        }
        _ => {}
    }
}

/// The places where something occurs for the second time.
fn again(texts: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut places = Vec::new();
    for (index, text) in texts.enumerate() {
        let times = seen.entry(text).or_insert(0);
        *times += 1;
        if *times == 2 {
            places.push(index);
        }
    }
    places
}

/// Whether any item occurs twice.
pub(super) fn repeats(items: &[Value]) -> bool {
    !again(items.iter().map(ToString::to_string)).is_empty()
}

fn set(items: &[Value], path: &Path<'_>, faults: &mut Vec<FieldError>) {
    if items.len() > 1 {
        let places = again(items.iter().map(ToString::to_string));
        faults.extend(places.into_iter().map(|index| FieldError::duplicate(path.index(index), items[index].clone())));
    }
}

fn map(node: &Node, items: &[Value], path: &Path<'_>, faults: &mut Vec<FieldError>) {
    if let Some(index) = items.iter().position(|item| !item.is_object() && !item.is_null()) {
        let detail = "must be an object for an array of list-type map";
        faults.push(FieldError::invalid(path.index(index), items[index].clone(), detail));
        return;
    }
    if items.len() < 2 {
        return;
    }
    let places = again(items.iter().map(|item| key(node, item).to_string()));
    faults.extend(places.into_iter().map(|index| FieldError::duplicate(path.index(index), key(node, &items[index]))));
}

/// The items of an old list, found by their keys.
pub(super) struct Before<'v> {
    by_key: HashMap<String, &'v Value>,
}

impl<'v> Before<'v> {
    /// Only items of lists that are maps can be found again.
    pub(super) fn new(node: &Node, old: Option<&'v Value>) -> Self {
        let items = old.and_then(Value::as_array).filter(|_| node.list_type == ListType::Map);
        let mut by_key = HashMap::new();
        for item in items.into_iter().flatten() {
            if let Some(key) = full_key(node, item) {
                by_key.entry(key).or_insert(item);
            }
        }
        Self { by_key }
    }

    /// The item that an item replaces.
    pub(super) fn find(&self, node: &Node, item: &Value) -> Option<&'v Value> {
        if self.by_key.is_empty() {
            return None;
        }
        self.by_key.get(&full_key(node, item)?).copied()
    }
}

/// The key of an item that has all its parts.
fn full_key(node: &Node, item: &Value) -> Option<String> {
    let scalar =
        |name: &str| item.get(name).filter(|value| !value.is_array() && !value.is_object() && !value.is_null());
    node.list_keys.iter().all(|name| scalar(name).is_some()).then(|| key(node, item).to_string())
}

/// The members that tell an item from the others.
pub(crate) fn key(node: &Node, item: &Value) -> Value {
    let held = node.list_keys.iter().filter_map(|name| Some((name.to_string(), item.get(&**name)?.clone())));
    Value::Object(held.collect::<Map<_, _>>())
}
