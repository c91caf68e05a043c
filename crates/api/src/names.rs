//! What the server adds to a new object: its name if generated, its uid and its birth.

use serde_json::{Value, json};

/// Longest prefix kept in front of the five generated characters.
const LONGEST_PREFIX: usize = 58;

/// Sets uid, creationTimestamp; drops what a client may not bring along.
pub(crate) fn birth(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for field in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(base::time::rfc3339(base::time::now())));
}

/// A name from `metadata.generateName`.
pub(crate) fn generate(prefix: &str) -> String {
    let mut end = prefix.len().min(LONGEST_PREFIX);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], base::names::suffix(5))
}
