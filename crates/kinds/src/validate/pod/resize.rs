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
    let told = text(at(old_pod, "status"), "qosClass");
    let before = if told.is_empty() { crate::strategy::qos_class(old) } else { told };
    if before != crate::strategy::qos_class(new) {
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
        if !same(members.get("resources").unwrap_or(&Value::Null), before) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Catalog, default, strategy, validate_resize};
    use serde_json::json;

    /// What is told of a change of a pod with two containers of which the first has CPU and memory.
    #[track_caller]
    fn check(change: impl Fn(&mut Value), prior: impl Fn(&mut Value), told: &[&str]) {
        let kind = Catalog::builtin().resource("", "v1", "pods").unwrap();
        let mut old = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [
                {"name": "a", "image": "i", "resources": {
                    "requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "2Gi"},
                }},
                {"name": "b", "image": "i"},
            ]},
        });
        prior(&mut old);
        default(kind, &mut old);
        strategy::prepare_create(kind, &mut old);
        old["metadata"]["resourceVersion"] = json!("1");
        let mut new = old.clone();
        change(&mut new);
        default(kind, &mut new);
        strategy::prepare_resize(kind, &mut new, &old);
        let faults: Vec<String> = validate_resize(kind, &new, &old).iter().map(ToString::to_string).collect();
        assert_eq!(faults, told);
    }

    fn plain(_: &mut Value) {}

    #[test]
    fn cpu_and_memory_may_change_and_stay_set() {
        check(|pod| pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("2"), plain, &[]);
        check(|pod| pod["spec"]["containers"][1]["resources"] = json!({"requests": {"cpu": "1"}}), plain, &[]);
        let removed = "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed";
        check(|pod| pod["spec"]["containers"][0]["resources"]["limits"] = json!({}), plain, &[removed]);
        let more =
            json!({"requests": {"cpu": "1", "memory": "1Gi", "ephemeral-storage": "1Gi"}, "limits": {"memory": "2Gi"}});
        let only = "spec: Forbidden: only cpu and memory resources are mutable";
        check(move |pod| pod["spec"]["containers"][0]["resources"] = more.clone(), plain, &[only]);
    }

    #[test]
    fn the_class_that_was_told_stays() {
        let both = || json!({"limits": {"cpu": "1", "memory": "1Gi"}});
        let class = "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing";
        let guaranteed = |pod: &mut Value| {
            pod["spec"]["containers"][0]["resources"] = json!({
                "requests": {"cpu": "1", "memory": "2Gi"}, "limits": {"cpu": "1", "memory": "2Gi"},
            });
            let same = json!({"cpu": "1", "memory": "1Gi"});
            pod["spec"]["containers"][1]["resources"] = json!({"requests": same, "limits": same});
        };
        check(guaranteed, plain, &[class]);
        check(guaranteed, |pod| pod["spec"]["containers"][1]["resources"] = both(), &[class]);
    }

    #[test]
    fn the_resources_of_the_pod_itself_follow_the_same_rules() {
        let whole = |requests: Value| json!({"requests": requests});
        let set = |pod: &mut Value| pod["spec"]["resources"] = json!({"requests": {"cpu": "2", "memory": "2Gi"}});
        check(move |pod| pod["spec"]["resources"] = whole(json!({"cpu": "3", "memory": "2Gi"})), set, &[]);
        check(set, plain, &[]);
        let gone = "spec.resources: Forbidden: pod-level resources cannot be removed";
        check(|pod| drop(pod["spec"].as_object_mut().unwrap().remove("resources")), set, &[gone]);
        let fewer = "spec.resources.requests: Forbidden: pod-level resource requests cannot be removed";
        check(move |pod| pod["spec"]["resources"] = whole(json!({"cpu": "2"})), set, &[fewer]);
        let pages = json!({"requests": {"cpu": "2", "hugepages-2Mi": "2Mi"}, "limits": {"hugepages-2Mi": "2Mi"}});
        let only = "spec: Forbidden: only cpu and memory resources are mutable at pod-level";
        check(move |pod| pod["spec"]["resources"] = pages.clone(), plain, &[only]);
    }
}
