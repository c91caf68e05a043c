//! The subresources that change a part of an object: each is the same loop with another idea of which part counts.

use std::sync::Arc;

use kinds::{FieldError, Kind};
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
        ("namespaces", "finalize") => Rules { prepare: finalize, validate: unchecked },
        ("certificatesigningrequests", "approval") => Rules { prepare: approval, validate: unchecked },
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

/// `new` becomes `old` except for what lies at `path`.
fn only(new: &mut Value, old: &Value, path: &[&str]) {
    let pointer: String = path.iter().map(|step| format!("/{step}")).collect();
    let part = new.pointer(&pointer).cloned();
    *new = old.clone();
    let Some((last, parents)) = path.split_last() else { return };
    let mut at = new;
    for step in parents {
        if !at[*step].is_object() {
            at[*step] = Value::Object(serde_json::Map::new());
        }
        at = &mut at[*step];
    }
    let Some(fields) = at.as_object_mut() else { return };
    match part {
        Some(part) => fields.insert((*last).to_owned(), part),
        None => fields.remove(*last),
    };
}

fn finalize(_: &Kind, new: &mut Value, old: &Value) {
    only(new, old, &["spec", "finalizers"]);
}

fn approval(_: &Kind, new: &mut Value, old: &Value) {
    only(new, old, &["status", "conditions"]);
}

fn ephemeral_containers(_: &Kind, new: &mut Value, old: &Value) {
    only(new, old, &["spec", "ephemeralContainers"]);
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

    #[test]
    fn a_part_replaces_only_itself_and_may_vanish() {
        let old = json!({"spec": {"finalizers": ["kubernetes"], "x": 1}, "status": {"phase": "Active"}});
        let mut new = json!({"spec": {"finalizers": []}, "status": {"phase": "Bogus"}});
        only(&mut new, &old, &["spec", "finalizers"]);
        assert_eq!(new, json!({"spec": {"finalizers": [], "x": 1}, "status": {"phase": "Active"}}));
        let mut new = json!({});
        only(&mut new, &old, &["spec", "finalizers"]);
        assert_eq!(new, json!({"spec": {"x": 1}, "status": {"phase": "Active"}}));
    }
}
