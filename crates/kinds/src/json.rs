//! Short words for looking into JSON values.
//!
//! Invariant: a value of the wrong shape reads as absent, so rules never panic on objects that were not coerced.

use serde_json::{Map, Value};

pub(crate) type Members = Map<String, Value>;

static NOTHING: Value = Value::Null;

/// The member, or null.
pub(crate) fn at<'v>(value: &'v Value, name: &str) -> &'v Value {
    value.get(name).unwrap_or(&NOTHING)
}

/// The value below members, or null.
pub(crate) fn dig<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(value, |value, name| at(value, name))
}

/// The text member; empty if absent.
pub(crate) fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    at(value, name).as_str().unwrap_or("")
}

/// The items of a list member; empty if absent.
pub(crate) fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    at(value, name).as_array().map_or(&[], Vec::as_slice)
}

/// The members of a map member.
pub(crate) fn members<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = (&'v String, &'v Value)> + use<'v> {
    at(value, name).as_object().into_iter().flatten()
}

pub(crate) fn int(value: &Value, name: &str) -> Option<i64> {
    at(value, name).as_i64()
}

pub(crate) fn flag(value: &Value, name: &str) -> bool {
    at(value, name).as_bool().unwrap_or(false)
}

pub(crate) fn has(value: &Value, name: &str) -> bool {
    !at(value, name).is_null()
}

/// Absent, null, or empty: what Go takes for the zero value of a text, list, map or pointer.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Equal but for members that are absent in one and null or empty in the other, as upstream's semantic equality.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().all(|(name, value)| same(value, b.get(name).unwrap_or(&NOTHING)))
                && b.iter().all(|(name, value)| a.contains_key(name) || is_empty(value))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b || (is_empty(a) && is_empty(b)),
    }
}

/// The object member, made if it is absent or of another shape.
pub(crate) fn object<'v>(parent: &'v mut Members, name: &str) -> &'v mut Members {
    let slot = parent.entry(name).or_insert_with(|| Value::Object(Members::new()));
    if !slot.is_object() {
        *slot = Value::Object(Members::new());
    }
    match slot {
        Value::Object(members) => members,
        _ => unreachable!("the slot was just made an object"),
    }
}

/// The object member if it is there.
pub(crate) fn object_mut<'v>(parent: &'v mut Members, name: &str) -> Option<&'v mut Members> {
    parent.get_mut(name).and_then(Value::as_object_mut)
}

/// Sets a member that is absent or null.
pub(crate) fn fill(parent: &mut Members, name: &str, value: impl Into<Value>) {
    if parent.get(name).is_none_or(Value::is_null) {
        parent.insert(name.to_owned(), value.into());
    }
}
