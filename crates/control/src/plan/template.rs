//! When two pod templates mean the same.
//!
//! Invariant: templates are compared without what says nothing: nulls, and empty lists and maps whose emptiness means
//! the same as absence. Whoever wrote a template down may have done so with or without them.

use serde_json::Value;

/// Maps whose emptiness means the same as absence. Others (`emptyDir: {}`) say something by being there.
const PLAIN_MAPS: &[&str] = &[
    "metadata",
    "labels",
    "annotations",
    "nodeSelector",
    "limits",
    "requests",
    "overhead",
    "securityContext",
    "resources",
];

/// Takes away what says nothing.
pub(crate) fn strip(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(strip);
            fields.retain(|name, field| match field {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(map) => !map.is_empty() || !PLAIN_MAPS.contains(&name.as_str()),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}
