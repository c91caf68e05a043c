//! Rules of pods and of the templates of pods (upstream `core/validation`).
//!
//! Invariant: a template obeys the same rules as a pod; what only a running pod may have is refused in templates.

use base::name;
use serde_json::Value;

use super::{Faults, container, meta, scheduling, volume};
use crate::json::{at, flag, has, int, list, same, text};
use crate::path::Path;

pub(crate) fn check(pod: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let spec = at(pod, "spec");
    self::spec(spec, &root.field("spec"), faults);
    container::ephemeral(spec, &root.field("spec"), faults);
}

/// A pod template inside another object.
pub(crate) fn template(template: &Value, path: &Path<'_>, faults: &mut Faults) {
    let metadata = path.field("metadata");
    let template_meta = at(template, "metadata");
    meta::labels(at(template_meta, "labels"), &path.field("labels"), faults);
    meta::annotations(template_meta, &path.field("annotations"), faults);
    for finalizer in list(template_meta, "finalizers").iter().filter_map(Value::as_str) {
        faults.named(&metadata.field("finalizers"), finalizer, name::qualified_name);
    }
    let above = path.field("spec");
    spec(at(template, "spec"), &above, faults);
    if !list(at(template, "spec"), "ephemeralContainers").is_empty() {
        faults.forbidden(&above.field("ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
}

pub(crate) fn spec(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    if spec.is_null() {
        faults.required(&path.field("containers"), "");
        return;
    }
    let volumes = volume::check(spec, path, faults);
    container::check(spec, &volumes, path, faults);
    one_of_policies(spec, path, faults);
    if has(spec, "terminationGracePeriodSeconds") {
        faults.not_negative(spec, "terminationGracePeriodSeconds", path);
    }
    if let Some(seconds) = int(spec, "activeDeadlineSeconds").filter(|s| !(1..=i64::from(i32::MAX)).contains(s)) {
        let detail = name::range_message(1, i64::from(i32::MAX));
        faults.invalid(&path.field("activeDeadlineSeconds"), seconds, detail);
    }
    for (member, rule) in [
        ("serviceAccountName", name::dns_subdomain as fn(&str) -> name::Verdict),
        ("nodeName", name::dns_subdomain),
        ("hostname", name::dns_label),
        ("subdomain", name::dns_label),
        ("priorityClassName", name::dns_subdomain),
        ("runtimeClassName", name::dns_subdomain),
    ] {
        let value = text(spec, member);
        if !value.is_empty() {
            faults.named(&path.field(member), value, rule);
        }
    }
    meta::labels(at(spec, "nodeSelector"), &path.field("nodeSelector"), faults);
    host_aliases(spec, path, faults);
    dns(spec, path, faults);
    security_context(at(spec, "securityContext"), &path.field("securityContext"), faults);
    scheduling::check(spec, path, faults);
    container::resources(at(spec, "resources"), &path.field("resources"), faults);
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let gates = path.field("schedulingGates");
        let gate_path = gates.index(index);
        faults.required_name(&gate_path.field("name"), text(gate, "name"), name::qualified_name);
    }
    if flag(spec, "hostPID") && flag(spec, "shareProcessNamespace") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        faults.invalid(&path.field("shareProcessNamespace"), true, detail);
    }
}

fn one_of_policies(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.one_of(spec, "restartPolicy", path, &["Always", "Never", "OnFailure"]);
    faults.one_of(spec, "dnsPolicy", path, &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"]);
}

fn host_aliases(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("hostAliases");
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let path = above.index(index);
        faults.named(&path.field("ip"), text(alias, "ip"), name::ip);
        for hostname in list(alias, "hostnames").iter().filter_map(Value::as_str) {
            faults.named(&path.field("hostnames"), hostname, name::dns_subdomain);
        }
    }
}

fn dns(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let config = at(spec, "dnsConfig");
    let path = path.field("dnsConfig");
    let servers = list(config, "nameservers");
    if text(spec, "dnsPolicy") == "None" {
        if config.is_null() {
            faults.required(&path, "must provide `dnsConfig` when `dnsPolicy` is None");
        } else if servers.is_empty() {
            faults.required(
                &path.field("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            );
        }
    }
    let above = path.field("nameservers");
    if servers.len() > 3 {
        faults.invalid(&above, servers.to_vec(), "must not have more than 3 nameservers");
    }
    for (index, server) in servers.iter().enumerate() {
        faults.named(&above.index(index), server.as_str().unwrap_or(""), name::ip);
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            let options = path.field("options");
            faults.required(&options.index(index), "must not be empty");
        }
    }
}

fn security_context(context: &Value, path: &Path<'_>, faults: &mut Faults) {
    for name in ["runAsUser", "runAsGroup", "fsGroup"] {
        container::identity(context, name, path, faults);
    }
    for (index, group) in list(context, "supplementalGroups").iter().enumerate() {
        if group.as_i64().is_some_and(|group| !(0..=i64::from(i32::MAX)).contains(&group)) {
            let groups = path.field("supplementalGroups");
            let detail = name::range_message(0, i64::from(i32::MAX));
            faults.invalid(&groups.index(index), group.clone(), detail);
        }
    }
    container::profile(at(context, "seccompProfile"), &path.field("seccompProfile"), faults);
    container::profile(at(context, "appArmorProfile"), &path.field("appArmorProfile"), faults);
}

/// What the `ephemeralcontainers` subresource may change: containers are added, never altered or taken away.
pub(crate) fn ephemeral_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let (now, before) = (at(new, "spec"), at(old, "spec"));
    container::ephemeral(now, &spec, faults);
    let path = spec.field("ephemeralContainers");
    for container in list(before, "ephemeralContainers") {
        let name = text(container, "name");
        match list(now, "ephemeralContainers").iter().find(|other| text(other, "name") == name) {
            None => faults.forbidden(&path, format!("existing ephemeral containers {name:?} may not be removed\n")),
            Some(other) if !same(other, container) => {
                faults.forbidden(&path, format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
            Some(_) => {}
        }
    }
}

const MUTABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What may change in a pod that exists.
pub(crate) fn change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    let (new, old) = (at(new, "spec"), at(old, "spec"));
    if same(new, old) {
        return;
    }
    for list_name in ["containers", "initContainers"] {
        if list(new, list_name).len() != list(old, list_name).len() {
            faults.forbidden(&path.field(list_name), "pod updates may not add or remove containers");
            return;
        }
    }
    deadline(new, old, &path, faults);
    tolerations(new, old, &path, faults);
    let gates = !list(old, "schedulingGates").is_empty();
    if list(new, "schedulingGates").iter().any(|gate| !list(old, "schedulingGates").contains(gate)) {
        let detail = "only deletion is allowed, but found new scheduling gate";
        faults.forbidden(&path.field("schedulingGates"), detail);
    }
    let mut allowed = new.clone();
    let Some(members) = allowed.as_object_mut() else { return };
    let mut open = vec!["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    if gates {
        // A gated pod may still be steered to other nodes (upstream allows additions; the scheduler sees the result).
        open.extend(["nodeSelector", "affinity"]);
    }
    if int(old, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0)
        && int(new, "terminationGracePeriodSeconds") == Some(1)
    {
        open.push("terminationGracePeriodSeconds");
    }
    for name in open {
        match at(old, name) {
            Value::Null => drop(members.remove(name)),
            value => drop(members.insert(name.to_owned(), value.clone())),
        }
    }
    for list_name in ["containers", "initContainers"] {
        let containers = members.get_mut(list_name).and_then(Value::as_array_mut);
        for (container, before) in containers.into_iter().flatten().zip(list(old, list_name)) {
            if let Some(container) = container.as_object_mut() {
                container.insert("image".to_owned(), at(before, "image").clone());
            }
        }
    }
    if !same(&allowed, old) {
        faults.forbidden(&path, format!("{MUTABLE}\n{}", difference(&allowed, old)));
    }
}

/// Names the members that differ, for the reader of the message.
fn difference(new: &Value, old: &Value) -> String {
    let names = new.as_object().into_iter().chain(old.as_object()).flatten().map(|(name, _)| name.as_str());
    let mut changed: Vec<&str> = names.filter(|name| !same(at(new, name), at(old, name))).collect();
    changed.sort_unstable();
    changed.dedup();
    format!("changed: {}", changed.join(", "))
}

fn deadline(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let name = "activeDeadlineSeconds";
    match (int(new, name), int(old, name)) {
        (Some(new), Some(old)) if new > old => {
            faults.invalid(&path.field(name), new, format!("must be less than or equal to previous value {old}"));
        }
        (None, Some(_)) => {
            faults.invalid(&path.field(name), Value::Null, "must not update from a positive integer to nil value");
        }
        _ => {}
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
    let kept =
        list(old, "tolerations").iter().map(strip).all(|before| now.iter().any(|toleration| same(toleration, &before)));
    if !kept {
        faults.forbidden(
            &path.field("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

/// Whether a template's labels are picked by a structured selector; faults of the selector are reported elsewhere.
pub(crate) fn selector_matches(selector: &Value, template: &Value) -> bool {
    let labels = at(at(template, "metadata"), "labels");
    base::selector::LabelSelector::from_json(selector)
        .is_ok_and(|selector| selector.matches(|key| labels.get(key)?.as_str()))
}
