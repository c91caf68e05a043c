//! Rules of a pod's status, which the kubelet and the scheduler write.

use base::name;
use serde_json::Value;

use super::annotations;
use crate::json::{at, has, int, list, members, text};
use crate::path::Path;
use crate::validate::{Case, Faults, golang, ip, security};

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    let (root, old) = (Path::Root, case.old());
    let metadata = root.field("metadata");
    annotations::change(case, old, &metadata.field("annotations"), faults);
    let lenient = super::Lenience::of_pod(old);
    annotations::check(case.annotations(), case.spec(), lenient, &metadata.field("annotations"), faults);
    let path = root.field("status");
    let (new, before) = (at(case.new, "status"), at(old, "status"));
    conditions(new, &path.field("conditions"), faults);
    if text(case.spec(), "nodeName") != text(at(old, "spec"), "nodeName") {
        faults.forbidden(&path.field("nodeName"), "may not be changed directly");
    }
    nominated(new, old, &path, faults);
    generation(new, &path, faults);
    if text(new, "qosClass") != text(before, "qosClass") {
        faults.invalid(&path.field("qosClass"), text(new, "qosClass"), super::super::IMMUTABLE);
    }
    for (name, containers) in [
        ("containerStatuses", "containers"),
        ("initContainerStatuses", "initContainers"),
        ("ephemeralContainerStatuses", "ephemeralContainers"),
    ] {
        transitions(new, before, name, containers, at(old, "spec"), &path.field(name), faults);
    }
    claims(new, case.spec(), &path.field("resourceClaimStatuses"), faults);
    extended_claim(new, case.spec(), &path.field("extendedResourceClaimStatus"), faults);
    addresses(new, before, &path, faults);
    for name in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        users(new, name, case.spec(), &path.field(name), faults);
    }
    allocated(new, case.spec(), &path, faults);
}

fn generation(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(generation) = int(value, "observedGeneration").filter(|generation| *generation < 0) {
        faults.invalid(&path.field("observedGeneration"), generation, "must be a non-negative integer");
    }
}

fn conditions(status: &Value, above: &Path<'_>, faults: &mut Faults) {
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let path = above.index(index);
        generation(condition, &path, faults);
        let kind = text(condition, "type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            faults.named(&path.field("Type"), kind, name::qualified_name);
        }
    }
}

fn nominated(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let node = text(new, "nominatedNodeName");
    if node.is_empty() || node == text(at(old, "status"), "nominatedNodeName") {
        return;
    }
    let path = path.field("nominatedNodeName");
    faults.named(&path, node, name::dns_subdomain);
    if !text(at(old, "spec"), "nodeName").is_empty() {
        faults.forbidden(&path, "may not be set on pods that are already bound to a node");
    }
}

/// Whether the rules of a container or its pod start it again after it ended so.
fn restarts(container: &Value, spec: &Value, code: i64) -> bool {
    for rule in list(container, "restartPolicyRules") {
        let codes = at(rule, "exitCodes");
        let listed = list(codes, "values").iter().any(|value| value.as_i64() == Some(code));
        let fits = match text(codes, "operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        };
        if fits && matches!(text(rule, "action"), "Restart" | "RestartAllContainers") {
            return true;
        }
    }
    let own = text(container, "restartPolicy");
    match if own.is_empty() { text(spec, "restartPolicy") } else { own } {
        "Always" => true,
        "OnFailure" => code != 0,
        _ => false,
    }
}

/// A container that has ended does not live again, unless it is restarted.
fn transitions(
    new: &Value,
    old: &Value,
    name: &str,
    containers: &str,
    spec: &Value,
    above: &Path<'_>,
    faults: &mut Faults,
) {
    let ephemeral = containers == "ephemeralContainers";
    let all = security::all_containers(spec).any(|(_, _, container)| {
        list(container, "restartPolicyRules").iter().any(|rule| text(rule, "action") == "RestartAllContainers")
    });
    if all && !ephemeral {
        return;
    }
    for (index, before) in list(old, name).iter().enumerate() {
        let ended = at(at(before, "state"), "terminated");
        let own = text(before, "name");
        let now = list(new, name).iter().find(|status| text(status, "name") == own);
        if ended.is_null() || now.is_none_or(|status| has(at(status, "state"), "terminated")) {
            continue;
        }
        let code = int(ended, "exitCode").unwrap_or(0);
        let container = list(spec, containers).iter().find(|container| text(container, "name") == own);
        if ephemeral || !container.is_some_and(|container| restarts(container, spec, code)) {
            faults.forbidden(&above.index(index).field("state"), "may not be transitioned to non-terminated state");
        }
    }
}

fn claims(status: &Value, spec: &Value, above: &Path<'_>, faults: &mut Faults) {
    let statuses = list(status, "resourceClaimStatuses");
    for (index, claim) in statuses.iter().enumerate() {
        let (path, name) = (above.index(index), text(claim, "name"));
        if !list(spec, "resourceClaims").iter().any(|claim| text(claim, "name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            faults.invalid(&path.field("name"), name, detail);
        }
        if statuses[..index].iter().any(|other| text(other, "name") == name) {
            faults.duplicate(&path.field("name"), name);
        }
        if let Some(name) = at(claim, "resourceClaimName").as_str() {
            faults.named(&path.field("resourceClaimName"), name, name::dns_subdomain);
        }
    }
}

fn extended_claim(status: &Value, spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let claim = at(status, "extendedResourceClaimStatus");
    if claim.is_null() {
        return;
    }
    let above = path.field("requestMappings");
    let mappings = list(claim, "requestMappings");
    if mappings.is_empty() {
        faults.required(&above, "at least one request mapping is required");
    }
    let containers = || list(spec, "containers").iter().chain(list(spec, "initContainers"));
    for (index, mapping) in mappings.iter().enumerate() {
        let place = above.index(index);
        let (container, resource) = (text(mapping, "containerName"), text(mapping, "resourceName"));
        match containers().find(|own| text(own, "name") == container) {
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                faults.invalid(&place.field("containerName"), container, detail);
            }
            Some(own) if !has(at(at(own, "resources"), "requests"), resource) => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests";
                faults.invalid(&place.field("resourceName"), resource, detail);
            }
            Some(_) => {}
        }
        faults.named(&path.field("requestName"), text(mapping, "requestName"), name::dns_label);
        let members = ["containerName", "resourceName", "requestName"];
        if mappings[..index].iter().any(|other| members.iter().all(|name| text(other, name) == text(mapping, name))) {
            for name in members {
                faults.duplicate(&place.field(name), text(mapping, name));
            }
        }
    }
    let on_name = path.field("resourceClaimName");
    faults.required_name(&on_name, text(claim, "resourceClaimName"), name::dns_subdomain);
}

/// At most one address of each family.
fn addresses(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    for name in ["podIPs", "hostIPs"] {
        let above = path.field(name);
        let values = list(new, name);
        let first = values.first().map(|value| text(value, "ip"));
        if name == "hostIPs"
            && let Some(first) = first.filter(|first| *first != text(new, "hostIP"))
        {
            faults.invalid(&above.index(0).field("ip"), first, "must be equal to `hostIP`");
        }
        let existing: Vec<&str> = list(old, name).iter().map(|value| text(value, "ip")).collect();
        for (index, value) in values.iter().enumerate() {
            ip::legacy(text(value, "ip"), &existing, &above.index(index), faults);
        }
        let dual = || ip::is_dual(values.iter().map(|value| text(value, "ip")));
        if values.len() > 1 && (values.len() > 2 || !dual()) {
            let detail = "may specify no more than one IP for each IP family";
            faults.shown(&above, &golang::print_list("IP", values), detail);
        }
    }
}

fn users(status: &Value, name: &str, spec: &Value, above: &Path<'_>, faults: &mut Faults) {
    for (index, container) in list(status, name).iter().enumerate() {
        let linux = at(at(container, "user"), "linux");
        if linux.is_null() {
            continue;
        }
        let place = above.index(index);
        let user = place.field("user");
        let path = user.field("linux");
        if text(at(spec, "os"), "name") == "windows" {
            faults.forbidden(&path, "cannot be set for a windows pod");
            continue;
        }
        for name in ["uid", "gid"] {
            security::group_number(int(linux, name).unwrap_or(0), &path.field(name), faults);
        }
        let groups = path.field("supplementalGroups");
        for (index, group) in list(linux, "supplementalGroups").iter().filter_map(Value::as_i64).enumerate() {
            security::group_number(group, &groups.index(index), faults);
        }
    }
}

const HEALTH: &[&str] = &["Healthy", "Unhealthy", "Unknown"];
const LONGEST_MESSAGE: usize = 1024;

/// The health of devices that a container was given.
fn allocated(status: &Value, spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    for (name, containers) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        let above = path.field(name);
        for (index, container) in list(status, name).iter().enumerate() {
            let place = above.index(index);
            let own = list(spec, containers).iter().find(|own| text(own, "name") == text(container, "name"));
            let statuses = place.field("allocatedResourcesStatus");
            for (index, resource) in list(container, "allocatedResourcesStatus").iter().enumerate() {
                let path = statuses.index(index);
                if let Some(own) = own {
                    known_resource(resource, own, &path.field("name"), faults);
                }
                health(resource, &path.field("resources"), faults);
            }
        }
    }
    let above = path.field("ephemeralContainerStatuses");
    for (index, container) in list(status, "ephemeralContainerStatuses").iter().enumerate() {
        if !list(container, "allocatedResourcesStatus").is_empty() {
            let detail = "must not be specified in container status";
            faults.forbidden(&above.index(index).field("allocatedResourcesStatus"), detail);
        }
    }
}

fn known_resource(resource: &Value, container: &Value, path: &Path<'_>, faults: &mut Faults) {
    let name = text(resource, "name");
    let wanted = at(container, "resources");
    let (known, detail) = match name.strip_prefix("claim:") {
        Some(claim) => {
            let own = list(wanted, "claims").iter().map(|own| match text(own, "request") {
                "" => text(own, "name").to_owned(),
                request => format!("{}/{request}", text(own, "name")),
            });
            let detail = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty";
            (own.into_iter().any(|own| own == claim), detail)
        }
        None => {
            let known = members(wanted, "requests").any(|(own, _)| own == name);
            (known, "must match one of the container's resource requests")
        }
    };
    if !known {
        faults.invalid(path, name, detail);
    }
}

fn health(resource: &Value, above: &Path<'_>, faults: &mut Faults) {
    let devices = list(resource, "resources");
    for (index, device) in devices.iter().enumerate() {
        let path = above.index(index);
        let state = text(device, "health");
        if !HEALTH.contains(&state) {
            faults.not_supported(&path.field("health"), state, HEALTH);
        }
        if let Some(message) = at(device, "message").as_str() {
            if message.is_empty() {
                faults.required(&path.field("message"), "must be non-empty if specified");
            } else if message.len() > LONGEST_MESSAGE {
                faults.too_long(&path.field("message"), LONGEST_MESSAGE);
            }
        }
        let id = text(device, "resourceID");
        if devices[..index].iter().any(|other| text(other, "resourceID") == id) {
            faults.duplicate(&path.field("resourceID"), id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_container_that_ended_lives_again_only_if_it_is_restarted() {
        let spec = json!({"restartPolicy": "OnFailure"});
        assert!(restarts(&json!({}), &spec, 1) && !restarts(&json!({}), &spec, 0));
        let rules = json!({"restartPolicy": "Never", "restartPolicyRules": [
            {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}},
        ]});
        assert!(restarts(&rules, &spec, 42) && !restarts(&rules, &spec, 41));
    }
}
