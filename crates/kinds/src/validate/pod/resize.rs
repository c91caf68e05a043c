//! The subresource `resize`: only CPU and memory of a running pod may change, and never its class of service.

use serde_json::Value;

use super::{Lenience, annotations, whole};
use crate::json::{Members, at, has, list, members, object, same, text};
use crate::path::Path;
use crate::validate::{Case, Faults};

pub(crate) fn resize(case: &Case<'_>, faults: &mut Faults) {
    let old_pod = case.old();
    whole(case, Lenience::of_pod(old_pod), faults);
    let root = Path::Root;
    let path = root.field("spec");
    let (new, old) = (case.spec(), at(old_pod, "spec"));
    let refused = if has(at(at(old_pod, "metadata"), "annotations"), annotations::MIRROR) {
        "static pods cannot be resized"
    } else if text(at(old, "os"), "name") == "windows" {
        "windows pods cannot be resized"
    } else {
        ""
    };
    if !refused.is_empty() {
        faults.list.clear();
        faults.forbidden(&root, refused);
        return;
    }
    let class = crate::strategy::qos_class(new);
    if text(at(old_pod, "status"), "qosClass") != class && crate::strategy::qos_class(old) != class {
        let told = text(at(case.new, "status"), "qosClass");
        faults.invalid(&path, told, "Pod QOS Class may not change as a result of resizing");
    }
    let statuses = list(at(old_pod, "status"), "containerStatuses");
    let running = statuses.iter().find(|status| has(at(status, "state"), "running"));
    if running.is_some_and(|status| !has(status, "resources")) {
        faults.forbidden(&path, "Pod running on node without support for resize");
    }
    let mut allowed = new.clone();
    pod_level(new, old, &mut allowed, &path, faults);
    if !list(at(old_pod, "status"), "nodeAllocatableResourceClaimStatuses").is_empty() {
        faults.forbidden(&path, "pods with node allocatable resource claims cannot be resized");
    }
    if !same_containers(new, old, &path, faults) {
        return;
    }
    for kind in ["initContainers", "containers"] {
        let above = path.field(kind);
        for (index, (now, before)) in list(new, kind).iter().zip(list(old, kind)).enumerate() {
            let place = above.index(index);
            let resources = place.field("resources");
            for (name, what) in [("requests", "resource requests"), ("limits", "resource limits")] {
                if removed(at(now, "resources"), at(before, "resources"), name) {
                    faults.forbidden(&resources.field(name), format!("{what} cannot be removed"));
                }
            }
        }
    }
    containers(&mut allowed, new, old, &path, faults);
    if faults.list.is_empty() && !same(&allowed, old) {
        faults.forbidden(&path, "only cpu and memory resources are mutable");
    }
}

fn removed(now: &Value, before: &Value, kind: &str) -> bool {
    members(before, kind).any(|(name, _)| !has(at(now, kind), name))
}

fn same_containers(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) -> bool {
    let before = faults.list.len();
    for kind in ["containers", "initContainers"] {
        let above = path.field(kind);
        if list(new, kind).len() != list(old, kind).len() {
            faults.forbidden(&above, format!("{kind} may not be added or removed on resize"));
            continue;
        }
        for (index, (now, before)) in list(new, kind).iter().zip(list(old, kind)).enumerate() {
            if text(now, "name") != text(before, "name") {
                let detail = format!("{kind} may not be renamed or reordered on resize");
                faults.forbidden(&above.index(index).field("name"), detail);
            }
        }
    }
    faults.list.len() == before
}

/// Takes the CPU and memory of the old resources, so that what is left to compare may not change.
fn put_back(owner: &mut Members, before: &Value) {
    let resources = object(owner, "resources");
    for kind in ["requests", "limits"] {
        for name in ["cpu", "memory"] {
            let list = object(resources, kind);
            match at(at(before, kind), name) {
                Value::Null => drop(list.remove(name)),
                value => drop(list.insert(name.to_owned(), value.clone())),
            }
        }
        if object(resources, kind).is_empty() {
            resources.remove(kind);
        }
    }
}

fn pod_level(new: &Value, old: &Value, allowed: &mut Value, path: &Path<'_>, faults: &mut Faults) {
    let (now, before) = (at(new, "resources"), at(old, "resources"));
    let set = |resources: &Value| ["requests", "limits"].iter().any(|kind| members(resources, kind).next().is_some());
    if !set(now) && !set(before) {
        return;
    }
    let above = path.field("resources");
    if now.is_null() {
        faults.forbidden(&above, "pod-level resources cannot be removed");
        return;
    }
    for (name, what) in [("requests", "requests"), ("limits", "limits")] {
        if removed(now, before, name) {
            faults.forbidden(&above.field(name), format!("pod-level resource {what} cannot be removed"));
        }
    }
    if let Some(members) = allowed.as_object_mut() {
        put_back(members, before);
        if !same(members.get("resources").unwrap_or(&Value::Null), before) && before.is_object() {
            faults.forbidden(path, "only cpu and memory resources are mutable at pod-level");
        }
        if !before.is_object() && members.get("resources").is_some_and(crate::json::is_empty) {
            members.remove("resources");
        }
    }
}

fn containers(allowed: &mut Value, new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let only = "only cpu and memory resources are mutable";
    for kind in ["containers", "initContainers"] {
        let above = path.field(kind);
        let Some(owned) = allowed.get_mut(kind).and_then(Value::as_array_mut) else { continue };
        for (index, (now, before)) in owned.iter_mut().zip(list(old, kind)).enumerate() {
            let given = &list(new, kind)[index];
            if let Some(members) = now.as_object_mut() {
                put_back(members, at(before, "resources"));
                // Claims are not carried over, as upstream has it.
                object(members, "resources").remove("claims");
            }
            if same(now, before) {
                if kind == "initContainers" && !same(given, before) {
                    ended(given, &above.index(index), faults);
                }
                continue;
            }
            if kind == "containers" {
                faults.forbidden(path, only);
            } else {
                let detail = "only cpu and memory resources for init or sidecar containers are mutable";
                faults.forbidden(&above.index(index), detail);
                ended(given, &above.index(index), faults);
            }
        }
    }
}

/// An init container that ends cannot be restarted to be resized.
fn ended(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    if text(container, "restartPolicy") == "Always" {
        return;
    }
    for policy in list(container, "resizePolicy") {
        if text(policy, "restartPolicy") == "RestartContainer" {
            let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
            faults.forbidden(path, detail);
        }
    }
}
