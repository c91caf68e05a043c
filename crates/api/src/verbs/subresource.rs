//! The subresources that change a part of an object: each is the same loop with another idea of which part counts.

use std::sync::Arc;

use kinds::{Kind, strategy};

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
        ("namespaces", "finalize") => Rules { prepare: strategy::prepare_finalize, validate: kinds::validate_finalize },
        ("certificatesigningrequests", "approval") => {
            Rules { prepare: strategy::prepare_approval, validate: kinds::validate_approval }
        }
        ("pods", "ephemeralcontainers") => {
            Rules { prepare: strategy::prepare_ephemeral_containers, validate: kinds::validate_ephemeral_containers }
        }
        ("pods", "resize") => Rules { prepare: strategy::prepare_resize, validate: kinds::validate_resize },
        _ => return None,
    })
}

pub(crate) async fn part(core: &Core, call: &Call, kind: &Arc<Kind>, rules: Rules) -> Result<Answer, ApiError> {
    match call.info.verb.as_str() {
        "get" => read::get(core, call, kind).await,
        "update" => update::update(core, call, kind, rules).await,
        "patch" => patch::patch(core, call, kind, rules).await,
        _ => Err(ApiError::wrong_method()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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

    #[test]
    fn a_resize_changes_resources_and_nothing_else() {
        let old = json!({"metadata": {"name": "a", "generation": 1}, "spec": {"nodeName": "n", "containers": [
            {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1"}}}, {"name": "d", "image": "i"},
        ]}});
        let new = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"nodeName": "m", "containers": [
            {"name": "c", "image": "j", "resources": {"requests": {"cpu": "2"}}}, {"name": "d", "image": "i"},
        ]}});
        let resized = prepared("pods", "resize", &old, new);
        let mut expected = old.clone();
        expected["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2");
        expected["metadata"]["generation"] = json!(2);
        assert_eq!(resized, expected);
        assert_eq!(prepared("pods", "resize", &old, old.clone()), old, "nothing changed is no new generation");
    }
}
