//! Rules of containers: names, images, ports, restarts, and what containers of each place may have.

use base::name;
use serde_json::Value;

use super::pod::Context;
use super::resources::Owner;
use super::volume::Volumes;
use super::{Faults, environment, mounts, probe, resources, security};
use crate::json::{at, has, int, is_empty, list, text};
use crate::path::Path;

pub(crate) const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// The containers that run the pod's program.
pub(crate) fn main(context: &Context<'_>, volumes: &Volumes<'_>, path: &Path<'_>, faults: &mut Faults) {
    let containers = list(context.spec, "containers");
    if containers.is_empty() {
        faults.required(path, "");
        return;
    }
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        common(context, container, volumes, &path, faults);
        let name = text(container, "name");
        if containers[..index].iter().any(|other| text(other, "name") == name) {
            faults.duplicate(&path.field("name"), name);
        }
        running(context, container, &path, faults);
        restarts(container, &path, faults);
    }
    host_ports(containers, path, faults);
}

/// What only containers that keep running may have.
fn running(context: &Context<'_>, container: &Value, path: &Path<'_>, faults: &mut Faults) {
    if has(container, "lifecycle") {
        probe::lifecycle(at(container, "lifecycle"), context.grace, context.os, &path.field("lifecycle"), faults);
    }
    for name in PROBES {
        probe::check(name, at(container, name), context.grace, &path.field(name), faults);
    }
}

/// Containers that run before the others; with a restart policy of their own they keep running.
pub(crate) fn init(context: &Context<'_>, volumes: &Volumes<'_>, above: &Path<'_>, faults: &mut Faults) {
    let containers = list(context.spec, "initContainers");
    let main = list(context.spec, "containers");
    for (index, container) in containers.iter().enumerate() {
        let path = above.index(index);
        common(context, container, volumes, &path, faults);
        let always = text(container, "restartPolicy") == "Always";
        init_restarts(container, &path, faults);
        let name = text(container, "name");
        let same_name = |other: &Value| text(other, "name") == name;
        let before = &containers[..index];
        if main.iter().any(same_name) || (!name.is_empty() && before.iter().any(same_name)) {
            faults.duplicate(&path.field("name"), name);
        }
        host_ports(std::slice::from_ref(container), above, faults);
        if always {
            running(context, container, &path, faults);
        } else {
            for name in ["lifecycle"].iter().chain(&PROBES).filter(|name| has(container, name)) {
                let detail = "may not be set for init containers without restartPolicy=Always";
                faults.forbidden(&path.field(name), detail);
            }
            if !context.lenient.init_restart {
                let above = path.field("resizePolicy");
                for (index, policy) in list(container, "resizePolicy").iter().enumerate() {
                    if text(policy, "restartPolicy") == "RestartContainer" {
                        let detail = "must not be set to 'RestartContainer' for non-sidecar initContainers";
                        faults.invalid(&above.index(index).field("restartPolicy"), "RestartContainer", detail);
                    }
                }
            }
        }
    }
}

/// Containers that are added to a running pod.
pub(crate) fn ephemeral(context: &Context<'_>, volumes: &Volumes<'_>, above: &Path<'_>, faults: &mut Faults) {
    let spec = context.spec;
    let others = || list(spec, "containers").iter().chain(list(spec, "initContainers"));
    let containers = list(spec, "ephemeralContainers");
    for (index, container) in containers.iter().enumerate() {
        let path = above.index(index);
        common(context, container, volumes, &path, faults);
        image_only(container, &path, faults);
        let name = text(container, "name");
        if others().chain(&containers[..index]).any(|other| text(other, "name") == name) {
            faults.duplicate(&path.field("name"), name);
        }
        let target = text(container, "targetContainerName");
        if !target.is_empty() && !others().any(|container| text(container, "name") == target) {
            faults.not_found(&path.field("targetContainerName"), target);
        }
        let detail = "cannot be set for an Ephemeral Container";
        for name in [
            "ports",
            "resources",
            "resizePolicy",
            "restartPolicy",
            "restartPolicyRules",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ] {
            if !is_empty(at(container, name)) {
                faults.forbidden(&path.field(name), detail);
            }
        }
        let mounts = path.field("volumeMounts");
        for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
            for name in ["subPath", "subPathExpr"] {
                if !text(mount, name).is_empty() {
                    faults.forbidden(&mounts.index(index).field(name), detail);
                }
            }
        }
    }
}

/// The image of a container of a pod; templates may have any.
pub(crate) fn image_only(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    let image = text(container, "image");
    if image.trim() != image {
        faults.invalid(&path.field("image"), image, "must not have leading or trailing whitespace");
    }
}

fn common(context: &Context<'_>, container: &Value, volumes: &Volumes<'_>, path: &Path<'_>, faults: &mut Faults) {
    faults.required_name(&path.field("name"), text(container, "name"), name::dns_label);
    faults.required_text(container, "image", path);
    faults.one_of(container, "terminationMessagePolicy", path, &["File", "FallbackToLogsOnError"]);
    ports(container, path, faults);
    environment::check(container, path, faults);
    mounts::check(container, volumes, path, faults);
    faults.one_of(container, "imagePullPolicy", path, PULL_POLICIES);
    let owner = Owner { pod: false, claims: &context.claims, odd_pages: context.lenient.odd_pages };
    resources::requirements(at(container, "resources"), owner, &path.field("resources"), faults);
    resize_policy(container, context.spec, &path.field("resizePolicy"), faults);
    let on_security = path.field("securityContext");
    security::container(at(container, "securityContext"), context.host_users, &on_security, faults);
}

fn ports(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("ports");
    let mut names = Vec::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = above.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            match name::port_name(name) {
                Err(reasons) => faults.verdict(&path.field("name"), name, Err(reasons)),
                Ok(()) if names.contains(&name) => faults.duplicate(&path.field("name"), name),
                Ok(()) => names.push(name),
            }
        }
        match int(port, "containerPort").unwrap_or(0) {
            0 => faults.required(&path.field("containerPort"), ""),
            number => port_number(number, &path.field("containerPort"), faults),
        }
        if let Some(number) = int(port, "hostPort").filter(|number| *number != 0) {
            port_number(number, &path.field("hostPort"), faults);
        }
        faults.one_of(port, "protocol", &path, PROTOCOLS);
    }
}

pub(crate) fn port_number(number: i64, path: &Path<'_>, faults: &mut Faults) {
    for reason in name::port_number(number).err().into_iter().flatten() {
        faults.invalid(path, number, reason);
    }
}

/// No two containers that run at once may have one port of the host.
fn host_ports(containers: &[Value], above: &Path<'_>, faults: &mut Faults) {
    let mut taken: Vec<String> = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let path = above.index(index);
        let ports = path.field("ports");
        for (index, port) in list(container, "ports").iter().enumerate() {
            let host = int(port, "hostPort").unwrap_or(0);
            if host == 0 {
                continue;
            }
            let used = format!("{}/{}/{host}", text(port, "protocol"), text(port, "hostIP"));
            if taken.contains(&used) {
                faults.duplicate(&ports.index(index).field("hostPort"), used);
            } else {
                taken.push(used);
            }
        }
    }
}

/// In the host's network a port of the host is the container's own.
pub(crate) fn host_network_ports(context: &Context<'_>, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("containers");
    for (index, container) in list(context.spec, "containers").iter().enumerate() {
        let path = above.index(index);
        let ports = path.field("ports");
        for (index, port) in list(container, "ports").iter().enumerate() {
            let (host, own) = (int(port, "hostPort").unwrap_or(0), int(port, "containerPort").unwrap_or(0));
            if (context.pod || host != 0) && host != own {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                faults.invalid(&ports.index(index).field("hostPort"), host, detail);
            }
        }
    }
}

/// Whether a container must restart when its resources change. Upstream tells most faults at the list.
fn resize_policy(container: &Value, spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let policies = list(container, "resizePolicy");
    for (index, policy) in policies.iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if policies[..index].iter().any(|other| text(other, "resourceName") == resource) {
            faults.duplicate(&path.index(index), resource);
        }
        match resource {
            "cpu" | "memory" => {}
            "" => faults.required(path, ""),
            other => faults.not_supported(path, other, &["cpu", "memory"]),
        }
        match restart {
            "NotRequired" | "RestartContainer" => {}
            "" => faults.required(path, ""),
            other => faults.not_supported(path, other, &["NotRequired", "RestartContainer"]),
        }
        if text(spec, "restartPolicy") == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'";
            faults.invalid(path, restart, detail);
        }
    }
}

const NEEDS_POLICY: &str = "must specify restartPolicy when restart rules are used";
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;

fn init_restarts(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    if has(container, "restartPolicy") {
        restarts(container, path, faults);
    } else if !list(container, "restartPolicyRules").is_empty() {
        faults.required(&path.field("restartPolicy"), NEEDS_POLICY);
    }
}

/// When a container starts again after it ended.
fn restarts(container: &Value, path: &Path<'_>, faults: &mut Faults) {
    let rules = list(container, "restartPolicyRules");
    if !has(container, "restartPolicy") {
        if rules.is_empty() {
            return;
        }
        faults.required(&path.field("restartPolicy"), NEEDS_POLICY);
    }
    faults.any_of(container, "restartPolicy", path, &["Always", "Never", "OnFailure"]);
    let above = path.field("restartPolicyRules");
    if rules.len() > MOST_RULES {
        faults.too_many(&above, rules.len(), MOST_RULES);
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = above.index(index);
        let action = text(rule, "action");
        if !matches!(action, "Restart" | "RestartAllContainers") {
            faults.not_supported(&path.field("action"), action, &["Restart", "RestartAllContainers"]);
        }
        let codes = at(rule, "exitCodes");
        let path = path.field("exitCodes");
        if codes.is_null() {
            faults.required(&path, "must be specified");
            continue;
        }
        let operator = text(codes, "operator");
        if !matches!(operator, "In" | "NotIn") {
            faults.not_supported(&path.field("operator"), operator, &["In", "NotIn"]);
        }
        let values = list(codes, "values");
        if values.len() > MOST_CODES {
            faults.too_many(&path.field("values"), values.len(), MOST_CODES);
        }
    }
}
