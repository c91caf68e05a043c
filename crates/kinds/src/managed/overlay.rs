//! A configuration laid over an object by somebody who owns nothing of it: what mutating admission policies apply.

use serde_json::Value;

use super::element::Element;
use super::merge;
use super::shape::{Form, Shape};
use super::typed;
use crate::catalog::Kind;

/// Merges `config` into `live` as an apply does, without a look at owners. What can only be replaced as a whole may not be
/// in it, for its author would mean to change a part (upstream `patch.ApplyStructuredMergeDiff`).
///
/// # Errors
/// When the configuration is not of the kind, or has such a part.
pub fn overlay(kind: &Kind, live: &mut Value, config: &Value) -> Result<(), String> {
    let shape = Shape::of(kind);
    let faults = typed::validate(shape, config, false);
    if !faults.is_empty() {
        return Err(format!("failed to convert patch object to typed object: {faults}"));
    }
    let mut atomic = Vec::new();
    find_atomic(shape, config, String::new(), &mut atomic);
    if !atomic.is_empty() {
        let places = atomic.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {places}"));
    }
    merge::merge(shape, live, config).map_err(|faults| format!("failed to merge patch: {faults}"))
}

fn find_atomic(shape: Shape<'_>, value: &Value, path: String, found: &mut Vec<String>) {
    match (shape.form(Some(value)), value) {
        (Form::Map { atomic: true }, Value::Object(_)) => found.push(path),
        (Form::Map { .. }, Value::Object(members)) => {
            for (name, value) in members {
                if let Some((inner, _)) = shape.child(name) {
                    find_atomic(inner, value, format!("{path}{}", Element::Field(name)), found);
                }
            }
        }
        (Form::List(list), Value::Array(_)) if list.is_atomic() => found.push(path),
        (Form::List(list), Value::Array(items)) => {
            for (index, value) in items.iter().enumerate() {
                find_atomic(list.item, value, format!("{path}[{index}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_merge_by_their_keys_and_wholes_are_refused() {
        let kind = crate::Catalog::builtin().resource("", "v1", "pods").expect("a row");
        let mut pod = json!({ "spec": { "containers": [{ "name": "a", "image": "i" }], "dnsPolicy": "Default" } });
        let config = json!({ "spec": {
            "initContainers": [{ "name": "mesh", "image": "m" }], "containers": [{ "name": "a", "stdin": true }],
        } });
        overlay(kind, &mut pod, &config).expect("merged");
        let expected = json!({ "spec": {
            "containers": [{ "name": "a", "image": "i", "stdin": true }],
            "initContainers": [{ "name": "mesh", "image": "m" }], "dnsPolicy": "Default",
        } });
        assert_eq!(pod, expected);
        let whole = json!({ "spec": { "containers": [{ "name": "a", "args": ["x"] }] } });
        let told = overlay(kind, &mut pod, &whole).expect_err("a whole");
        assert!(told.contains("may not mutate atomic arrays, maps or structs: .spec.containers[0].args"), "{told}");
        assert!(overlay(kind, &mut pod, &json!({ "spec": { "nothing": 1 } })).is_err());
        assert_eq!(pod, expected);
    }
}
