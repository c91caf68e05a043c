//! What may change in a pod that exists.

use serde_json::Value;

use super::{Lenience, annotations};
use crate::json::{at, int, is_empty, list, members, same, text};
use crate::path::Path;
use crate::validate::{Case, Faults, container, difference, golang, scheduling};
use base::name::range_message;

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

pub(super) fn check(case: &Case<'_>, old: &Value, lenient: Lenience, faults: &mut Faults) {
    let root = Path::Root;
    let metadata = root.field("metadata");
    annotations::change(case, old, &metadata.field("annotations"), faults);
    let path = root.field("spec");
    let (new, old) = (case.spec(), at(old, "spec"));
    for kind in ["containers", "initContainers"] {
        let above = path.field(kind);
        if list(new, kind).len() != list(old, kind).len() {
            faults.forbidden(&above, "pod updates may not add or remove containers");
            return;
        }
        for (index, container) in list(new, kind).iter().enumerate() {
            faults.required_text(container, "image", &above.index(index));
            container::image_only(container, &above.index(index), faults);
        }
    }
    deadline(new, old, &path, faults);
    tolerations(new, old, &path, faults);
    scheduling::tolerations(list(new, "tolerations"), lenient.comparing, &path.field("tolerations"), faults);
    let gates = path.field("schedulingGates");
    let had = |name: &str| list(old, "schedulingGates").iter().any(|gate| text(gate, "name") == name);
    for (index, gate) in list(new, "schedulingGates").iter().enumerate() {
        let name = text(gate, "name");
        if !had(name) {
            let detail = format!("only deletion is allowed, but found new scheduling gate '{name}'");
            faults.forbidden(&gates.index(index).field("name"), detail);
        }
    }
    if !same(new, old) {
        contents(new, old, &path, faults);
    }
}

/// Everything else stays as it is.
fn contents(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut allowed = new.clone();
    let Some(members) = allowed.as_object_mut() else { return };
    let mut open = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if int(old, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0)
        && int(new, "terminationGracePeriodSeconds") == Some(1)
    {
        open.push("terminationGracePeriodSeconds");
    }
    if !list(old, "schedulingGates").is_empty() {
        gated(new, old, path, faults);
        open.push("nodeSelector");
        node_affinity_back(members, old);
    }
    for name in open {
        match at(old, name) {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.to_owned(), value.clone())),
        }
    }
    for kind in ["containers", "initContainers"] {
        let containers = members.get_mut(kind).and_then(Value::as_array_mut);
        for (container, before) in containers.into_iter().flatten().zip(list(old, kind)) {
            if let Some(container) = container.as_object_mut() {
                container.insert("image".to_owned(), at(before, "image").clone());
            }
        }
    }
    if !same(&allowed, old) {
        faults.forbidden(path, format!("{MUTABLE}\n{}", difference::of(old, &allowed)));
    }
}

/// The node affinity of a gated pod is judged by itself and so put back.
fn node_affinity_back(members: &mut serde_json::Map<String, Value>, old: &Value) {
    let before = at(at(old, "affinity"), "nodeAffinity");
    let affinity = crate::json::object(members, "affinity");
    match before {
        Value::Null => drop(affinity.remove("nodeAffinity")),
        before => drop(affinity.insert("nodeAffinity".to_owned(), before.clone())),
    }
    if affinity.values().all(is_empty) && is_empty(at(old, "affinity")) {
        members.remove("affinity");
    }
}

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A pod that waits may be steered to fewer nodes, never to others.
fn gated(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    for _ in members(old, "nodeSelector").filter(|(key, value)| at(at(new, "nodeSelector"), key) != *value) {
        let detail = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        faults.invalid(&path.field("nodeSelector"), at(new, "nodeSelector").clone(), detail);
    }
    let terms = |spec: &Value| -> Vec<Value> {
        list(at(at(at(spec, "affinity"), "nodeAffinity"), REQUIRED), "nodeSelectorTerms").to_vec()
    };
    let (now, before) = (terms(new), terms(old));
    let affinity = path.field("affinity");
    let node = affinity.field("nodeAffinity");
    let required = node.field(REQUIRED);
    let above = required.field("nodeSelectorTerms");
    if !before.is_empty() && now.len() != before.len() {
        let detail = "no additions/deletions to non-empty NodeSelectorTerms list are allowed";
        let shown = if now.is_empty() { "null".to_owned() } else { golang::print_list("NodeSelectorTerm", &now) };
        faults.shown(&above, &shown, detail);
        return;
    }
    for (index, (now, before)) in now.iter().zip(&before).enumerate() {
        if !only_adds(now, before) {
            let detail = "only additions are allowed (no mutations or deletions)";
            faults.shown(&above.index(index), &golang::print("NodeSelectorTerm", now), detail);
        }
    }
}

fn only_adds(now: &Value, before: &Value) -> bool {
    let kinds = ["matchExpressions", "matchFields"];
    if kinds.iter().all(|kind| list(before, kind).is_empty()) {
        return kinds.iter().all(|kind| list(now, kind).is_empty());
    }
    kinds.iter().all(|kind| {
        let (now, before) = (list(now, kind), list(before, kind));
        now.len() >= before.len() && now.iter().zip(before).all(|(now, before)| same(now, before))
    })
}

fn deadline(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let name = "activeDeadlineSeconds";
    match (int(new, name), int(old, name)) {
        (Some(now), before) => {
            if !(0..=i64::from(i32::MAX)).contains(&now) {
                faults.invalid(&path.field(name), now, range_message(0, i64::from(i32::MAX)));
            }
            if before.is_some_and(|before| now > before) {
                faults.invalid(&path.field(name), now, "must be less than or equal to previous value");
            }
        }
        (None, Some(_)) => {
            faults.invalid(&path.field(name), Value::Null, "must not update from a positive integer to nil value");
        }
        (None, None) => {}
    }
}

fn tolerations(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let strip = |toleration: &Value| {
        let mut toleration = toleration.clone();
        if let Some(members) = toleration.as_object_mut() {
            members.remove("tolerationSeconds");
        }
        toleration
    };
    let now: Vec<Value> = list(new, "tolerations").iter().map(strip).collect();
    for before in list(old, "tolerations").iter().map(strip) {
        if !now.iter().any(|toleration| same(toleration, &before)) {
            let detail = "existing toleration can not be modified except its tolerationSeconds";
            faults.forbidden(&path.field("tolerations"), detail);
        }
    }
}

/// Ephemeral containers are added, never altered or taken away.
pub(super) fn ephemeral(case: &Case<'_>, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    if at(at(at(old, "metadata"), "annotations"), annotations::MIRROR).is_string() {
        faults.list.clear();
        faults.forbidden(&root, "static pods do not support ephemeral containers");
        return;
    }
    let spec = root.field("spec");
    let path = spec.field("ephemeralContainers");
    for container in list(at(old, "spec"), "ephemeralContainers") {
        let name = text(container, "name");
        let quoted = crate::error::quote(name);
        let now = list(case.spec(), "ephemeralContainers");
        match now.iter().rev().find(|other| text(other, "name") == name) {
            None => faults.forbidden(&path, format!("existing ephemeral containers {quoted} may not be removed\n")),
            Some(other) if !same(other, container) => {
                let change = difference::of(container, other);
                faults.forbidden(&path, format!("existing ephemeral containers {quoted} may not be changed\n{change}"));
            }
            Some(_) => {}
        }
    }
}
