//! The Scale of kinds with replicas.

use base::selector::LabelSelector;
use serde_json::{Value, json};

use crate::catalog::Kind;
use crate::json::{at, dig, int};

pub(super) fn get(kind: &Kind, value: &Value) -> Value {
    let (meta, spec) = (at(value, "metadata"), at(value, "spec"));
    let custom = kind.custom.as_ref().and_then(|custom| custom.scale());
    let (wanted, present, selector) = match custom {
        Some(scale) => (scale.wanted(value), scale.present(value), scale.selector(value)),
        None => (
            int(spec, "replicas"),
            int(at(value, "status"), "replicas").unwrap_or(0),
            selector_text(kind, dig(value, &["spec", "selector"])),
        ),
    };
    let mut scale = json!({
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {},
        "spec": {},
        "status": {"replicas": present},
    });
    for name in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if !at(meta, name).is_null() {
            scale["metadata"][name] = at(meta, name).clone();
        }
    }
    // Zero is not written, as upstream.
    if let Some(replicas) = wanted.filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = json!(replicas);
    }
    if !selector.is_empty() {
        scale["status"]["selector"] = json!(selector);
    }
    scale
}

/// The selector in text form; replication controllers have a plain map.
fn selector_text(kind: &Kind, selector: &Value) -> String {
    let structured = if kind.group.is_empty() { json!({"matchLabels": selector}) } else { selector.clone() };
    LabelSelector::from_json(&structured).map(|selector| selector.to_string()).unwrap_or_default()
}
