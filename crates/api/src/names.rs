//! What the server adds to a new object: its uid and its birth.

use serde_json::{Value, json};

/// Sets uid, creationTimestamp; drops what a client may not bring along.
pub(crate) fn birth(object: &mut Value) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for field in ["resourceVersion", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        metadata.remove(field);
    }
    metadata.insert("uid".to_owned(), json!(uuid::Uuid::new_v4().to_string()));
    metadata.insert("creationTimestamp".to_owned(), json!(base::time::rfc3339(base::time::now())));
}
