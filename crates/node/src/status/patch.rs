//! The patch that turns the status in the API into ours.
//!
//! Invariant: a strategic merge patch, so that conditions of others survive; what we no longer say
//! is removed with an explicit null, and address lists are replaced because they merge by address.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::{Map, Value, json};

/// The body for `pods/status`; the uid guards against a successor of the same name.
pub(crate) fn body(pod: &Pod, before: &PodStatus, after: &PodStatus) -> Value {
    let fields = |status: &PodStatus| match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let (before, after) = (fields(before), fields(after));
    let mut status = Map::new();
    for (key, value) in &after {
        if before.get(key) != Some(value) {
            status.insert(key.clone(), if is_address_list(key) { replace(value) } else { value.clone() });
        }
    }
    for key in before.keys().filter(|key| OURS.contains(&key.as_str()) && !after.contains_key(*key)) {
        status.insert(key.clone(), Value::Null);
    }
    let held = |fields: &Map<String, Value>, kind: &str| {
        let conditions = fields.get("conditions").and_then(Value::as_array);
        conditions.is_some_and(|conditions| conditions.iter().any(|condition| condition["type"] == kind))
    };
    for kind in PASSING.iter().filter(|kind| held(&before, kind) && !held(&after, kind)) {
        if let Some(conditions) = status.get_mut("conditions").and_then(Value::as_array_mut) {
            conditions.push(json!({"$patch": "delete", "type": kind}));
        }
    }
    json!({"metadata": {"uid": pod.metadata.uid}, "status": status})
}

/// Fields a node takes back when it no longer states them.
const OURS: &[&str] = &["reason", "message", "podIP", "podIPs", "initContainerStatuses", "ephemeralContainerStatuses"];
/// Conditions a node takes back.
const PASSING: &[&str] = &["PodResizePending", "PodResizeInProgress"];

fn is_address_list(key: &str) -> bool {
    matches!(key, "podIPs" | "hostIPs")
}

fn replace(list: &Value) -> Value {
    let mut items = vec![json!({"$patch": "replace"})];
    items.extend(list.as_array().into_iter().flatten().cloned());
    Value::Array(items)
}

/// The status differs in something a reader would notice.
pub(crate) fn differs(before: &PodStatus, after: &PodStatus) -> bool {
    before != after
}
