//! Annotations that mean something for a pod.

use serde_json::Value;

use super::Lenience;
use crate::json::{at, has, text};
use crate::path::Path;
use crate::validate::source::descending;
use crate::validate::{Case, Faults, scheduling, security};

pub(crate) const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
/// What annotations of containers' profiles begin with.
pub(crate) const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";

/// Whether the cost of deleting a pod is no number.
pub(super) fn has_odd_cost(annotations: &Value) -> bool {
    let right = |text: &str| {
        text.parse::<i32>().is_ok() && !text.starts_with('+') && (text == "0" || !text.starts_with('0')) && text != "-0"
    };
    at(annotations, COST).as_str().is_some_and(|cost| !right(cost))
}

pub(super) fn check(annotations: &Value, spec: &Value, lenient: Lenience, path: &Path<'_>, faults: &mut Faults) {
    let Some(members) = annotations.as_object() else { return };
    if let Some(value) = members.get(MIRROR).and_then(Value::as_str)
        && text(spec, "nodeName").is_empty()
    {
        faults.invalid(&path.key(MIRROR), value, "must set spec.nodeName if mirror pod annotation is set");
    }
    let tolerations = text(annotations, TOLERATIONS);
    if !tolerations.is_empty() {
        match serde_json::from_str::<Value>(tolerations) {
            Ok(Value::Array(list)) => {
                scheduling::tolerations(&list, lenient.comparing, &path.field(TOLERATIONS), faults);
            }
            Ok(Value::Null) => {}
            _ => faults.invalid(path, TOLERATIONS, "json: cannot unmarshal into Go value of type []core.Toleration"),
        }
    }
    if has_odd_cost(annotations) && !lenient.deletion_cost {
        faults.invalid(&path.key(COST), text(annotations, COST), "must be a 32bit integer");
    }
    if let Some(profile) = members.get(SECCOMP_POD).and_then(Value::as_str) {
        seccomp(profile, &path.field(SECCOMP_POD), faults);
    }
    for (key, value) in members.iter().filter(|(key, _)| key.starts_with(SECCOMP_CONTAINER)) {
        seccomp(value.as_str().unwrap_or(""), &path.field(key), faults);
    }
    for (key, value) in members {
        let Some(container) = key.strip_prefix(APP_ARMOR) else { continue };
        if !security::all_containers(spec).any(|(_, _, other)| text(other, "name") == container) {
            faults.invalid(&path.key(key), container, "container not found");
        }
        let profile = value.as_str().unwrap_or("");
        if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
            let detail = format!("invalid AppArmor profile name: {}", crate::error::quote(profile));
            faults.invalid(&path.key(key), profile, detail);
        }
    }
}

fn seccomp(profile: &str, path: &Path<'_>, faults: &mut Faults) {
    match profile {
        "runtime/default" | "docker/default" | "unconfined" => {}
        other => match other.strip_prefix("localhost/") {
            Some(file) => descending(file, path, faults),
            None => faults.invalid(path, other, "must be a valid seccomp profile"),
        },
    }
}

/// Annotations that only the kubelet sets stay as they are.
pub(super) fn change(case: &Case<'_>, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (new, old) = (case.annotations(), at(at(old, "metadata"), "annotations"));
    let guarded = |key: &str| {
        if key.starts_with(APP_ARMOR) {
            Some("AppArmor annotations")
        } else {
            (key == MIRROR).then_some("mirror pod annotation")
        }
    };
    for (key, value) in old.as_object().into_iter().flatten().filter(|(key, value)| at(new, key) != *value) {
        if let Some(what) = guarded(key).filter(|_| !value.is_null()) {
            faults.forbidden(&path.key(key), format!("may not remove or update {what}"));
        }
    }
    for (key, _) in new.as_object().into_iter().flatten().filter(|(key, _)| !has(old, key)) {
        if let Some(what) = guarded(key) {
            faults.forbidden(&path.key(key), format!("may not add {what}"));
        }
    }
}

/// An annotation and the field that took its place must say the same.
pub(super) fn match_fields(annotations: &Value, spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    if annotations.as_object().is_none_or(serde_json::Map::is_empty) {
        return;
    }
    let security = at(spec, "securityContext");
    if let Some(annotation) = at(annotations, SECCOMP_POD).as_str() {
        let context = path.field("securityContext");
        let place = context.field("seccompProfile");
        compare(annotation, at(security, "seccompProfile"), "seccomp", &place, faults);
    }
    for (kind, index, container) in security::all_containers(spec) {
        let key = format!("{SECCOMP_CONTAINER}{}", text(container, "name"));
        if let Some(annotation) = at(annotations, &key).as_str() {
            let (list, own) = (path.field(kind), at(container, "securityContext"));
            let place = list.index(index);
            let context = place.field("securityContext");
            compare(annotation, at(own, "seccompProfile"), "seccomp", &context.field("seccompProfile"), faults);
        }
    }
    if text(at(spec, "os"), "name") == "windows" {
        return;
    }
    for (kind, index, container) in security::all_containers(spec) {
        let key = format!("{APP_ARMOR}{}", text(container, "name"));
        if let Some(annotation) = at(annotations, &key).as_str() {
            let own = at(at(container, "securityContext"), "appArmorProfile");
            let profile = if own.is_null() { at(security, "appArmorProfile") } else { own };
            let list = path.field(kind);
            let place = list.index(index);
            let context = place.field("securityContext");
            compare(annotation, profile, "apparmor", &context.field("appArmorProfile"), faults);
        }
    }
}

fn compare(annotation: &str, profile: &Value, what: &str, path: &Path<'_>, faults: &mut Faults) {
    let default = annotation == "runtime/default" || (what == "seccomp" && annotation == "docker/default");
    let local = annotation.strip_prefix("localhost/");
    let (kind, file) = match text(profile, "type") {
        "Unconfined" => (annotation == "unconfined", true),
        "RuntimeDefault" => (default, true),
        "Localhost" => (local.is_some(), local == at(profile, "localhostProfile").as_str()),
        _ => return,
    };
    if !kind {
        faults.forbidden(&path.field("type"), format!("{what} type in annotation and field must match"));
    } else if !file {
        faults.forbidden(&path.field("localhostProfile"), format!("{what} profile in annotation and field must match"));
    }
}
