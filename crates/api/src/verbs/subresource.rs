//! The subresources that change a part of an object: each is the same loop with another idea of which part counts.

use std::sync::Arc;

use kinds::{FieldError, Kind, strategy};
use serde_json::Value;

use super::{patch, read, update, write::Rules};
use crate::{
    call::{Answer, Call},
    core::Core,
    error::ApiError,
};

/// The part of an object that a subresource writes.
pub(crate) fn rules(kind: &Kind, subresource: &str) -> Option<Rules> {
    Some(match (kind.plural.as_str(), subresource) {
        (_, "status") => Rules::STATUS,
        ("namespaces", "finalize") => Rules { prepare: strategy::prepare_finalize, validate: unchecked },
        ("certificatesigningrequests", "approval") => {
            Rules { prepare: strategy::prepare_approval, validate: unchecked }
        }
        ("pods", "ephemeralcontainers") => Rules { prepare: ephemeral_containers, validate: unchecked },
        ("pods", "resize") => Rules { prepare: resize, validate: unchecked },
        _ => return None,
    })
}

pub(crate) async fn part(core: &Core, call: &Call, kind: &Arc<Kind>, rules: Rules) -> Result<Answer, ApiError> {
    match call.info.verb.as_str() {
        "get" => read::get(core, call, kind),
        "update" => update::update(core, call, kind, rules).await,
        "patch" => patch::patch(core, call, kind, rules).await,
        _ => Err(ApiError::wrong_method()),
    }
}

fn unchecked(_: &Kind, _: &Value, _: &Value) -> Vec<FieldError> {
    Vec::new()
}

fn ephemeral_containers(kind: &Kind, new: &mut Value, old: &Value) {
    strategy::prepare_ephemeral_containers(kind, new, old);
    grow(new, old);
}

/// Only the resources of containers change.
fn resize(_: &Kind, new: &mut Value, old: &Value) {
    let wanted = new.pointer("/spec/containers").cloned().unwrap_or_default();
    *new = old.clone();
    let containers = new.pointer_mut("/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten() {
        let same = |other: &&Value| other.get("name") == container.get("name");
        let found = wanted.as_array().and_then(|wanted| wanted.iter().find(same).cloned());
        if let Some(wanted) = found {
            for field in ["resources", "resizePolicy"] {
                if let Some(value) = wanted.get(field) {
                    container[field] = value.clone();
                }
            }
        }
    }
    grow(new, old);
}

/// A changed spec is a new generation.
fn grow(new: &mut Value, old: &Value) {
    if new.get("spec") != old.get("spec") {
        let generation = old.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
        new["metadata"]["generation"] = Value::from(generation + 1);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn prepared(plural: &str, subresource: &str, old: &Value, mut new: Value) -> Value {
        let group = if plural == "certificatesigningrequests" { "certificates.k8s.io" } else { "" };
        let kind = kinds::Catalog::builtin().resource(group, "v1", plural).expect("a built-in kind");
        let rules = rules(kind, subresource).expect("a part of it");
        (rules.prepare)(kind, &mut new, old);
        new
    }

    #[test]
    fn finalize_replaces_only_the_finalizers_and_may_empty_them() {
        let old =
            json!({"metadata": {"name": "a"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        for spec in [json!({}), json!({"finalizers": []}), json!({"finalizers": null})] {
            let new = prepared(
                "namespaces",
                "finalize",
                &old,
                json!({"metadata": {"name": "a"}, "spec": spec, "status": {"phase": "Bogus"}}),
            );
            assert!(new["spec"]["finalizers"].as_array().is_none_or(Vec::is_empty), "{new}");
            assert_eq!(new["status"], old["status"]);
        }
    }

    #[test]
    fn approval_replaces_only_the_conditions() {
        let old = json!({"metadata": {"name": "a"}, "spec": {"request": "x"}, "status": {"certificate": "c"}});
        let new = json!({"metadata": {"name": "a"}, "spec": {"request": "y"}, "status": {"conditions": [{"type": "Approved"}]}});
        let new = prepared("certificatesigningrequests", "approval", &old, new);
        assert_eq!(new["spec"], old["spec"]);
        assert_eq!(new["status"], json!({"certificate": "c", "conditions": [{"type": "Approved"}]}));
    }

    #[test]
    fn ephemeral_containers_are_a_new_generation_of_an_otherwise_unchanged_pod() {
        let old = json!({"metadata": {"name": "a", "generation": 1}, "spec": {"nodeName": "n"}});
        let new =
            json!({"metadata": {"name": "a"}, "spec": {"nodeName": "m", "ephemeralContainers": [{"name": "debug"}]}});
        let new = prepared("pods", "ephemeralcontainers", &old, new);
        assert_eq!(new["spec"], json!({"nodeName": "n", "ephemeralContainers": [{"name": "debug"}]}));
        assert_eq!(new["metadata"]["generation"], 2);
    }
}
