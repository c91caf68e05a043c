//! Rules of Services.

use base::name;
use serde_json::Value;

use super::{Faults, IMMUTABLE, container, meta, probe};
use crate::json::{at, has, int, list, same, text};
use crate::path::Path;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];

pub(crate) fn check(service: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(service, "spec"), root.field("spec"));
    let kind = text(spec, "type");
    let headless = text(spec, "clusterIP") == "None";
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        faults.required(&path.field("ports"), "");
    }
    faults.one_of(spec, "type", &path, TYPES);
    faults.one_of(spec, "sessionAffinity", &path, &["ClientIP", "None"]);
    match kind {
        "LoadBalancer" if headless => {
            faults.invalid(
                &path.field("clusterIPs").index(0),
                "None",
                "may not be set to 'None' for LoadBalancer services",
            );
        }
        "NodePort" if headless => {
            faults.invalid(
                &path.field("clusterIPs").index(0),
                "None",
                "may not be set to 'None' for NodePort services",
            );
        }
        "ExternalName" => external_name(spec, &path, faults),
        _ => {}
    }
    ports(spec, kind, headless, &path, faults);
    meta::labels(at(spec, "selector"), &path.field("selector"), faults);
    addresses(spec, &path, faults);
    policies(spec, kind, &path, faults);
    if let Some(seconds) = at(spec, "sessionAffinityConfig").pointer("/clientIP/timeoutSeconds").and_then(Value::as_i64)
        && !(1..=86400).contains(&seconds)
    {
        let config = path.field("sessionAffinityConfig");
        let client = config.field("clientIP");
        faults.invalid(&client.field("timeoutSeconds"), seconds, name::range_message(1, 86400));
    }
}

fn external_name(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    for name in ["clusterIP", "clusterIPs"] {
        if !crate::json::is_empty(at(spec, name)) {
            faults.forbidden(&path.field(name), "may not be set for ExternalName services");
        }
    }
    // A trailing dot is fine in a name of DNS.
    let target = text(spec, "externalName");
    match target.strip_suffix('.').unwrap_or(target) {
        "" => faults.required(&path.field("externalName"), ""),
        name => faults.named(&path.field("externalName"), name, name::dns_subdomain),
    }
}

fn ports(spec: &Value, kind: &str, headless: bool, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("ports");
    let ports = list(spec, "ports");
    let mut names = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let path = above.index(index);
        match text(port, "name") {
            "" if ports.len() > 1 => faults.required(&path.field("name"), ""),
            "" => {}
            name => {
                faults.named(&path.field("name"), name, name::dns_label);
                if names.contains(&name) {
                    faults.duplicate(&path.field("name"), name);
                }
                names.push(name);
            }
        }
        container::port_number(int(port, "port").unwrap_or(0), &path.field("port"), faults);
        faults.one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"]);
        if has(port, "targetPort") {
            probe::port(at(port, "targetPort"), &path.field("targetPort"), faults);
        }
        if headless && kind != "ExternalName" && has(port, "nodePort") && int(port, "nodePort") != Some(0) {
            faults.invalid(
                &path.field("nodePort"),
                at(port, "nodePort").clone(),
                "may not be used when `type` is 'ClusterIP'",
            );
        } else if matches!(kind, "ClusterIP" | "ExternalName") && int(port, "nodePort").is_some_and(|port| port != 0) {
            faults.forbidden(&path.field("nodePort"), format!("may not be used when `type` is '{kind}'"));
        }
        duplicates(port, &ports[..index], &path, faults);
    }
}

fn duplicates(port: &Value, before: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let same_text = |name: &str, other: &Value| text(port, name) == text(other, name);
    let node = int(port, "nodePort").filter(|number| *number != 0);
    if before.iter().any(|other| same_text("protocol", other) && int(other, "port") == int(port, "port")) {
        faults.duplicate(path, port.clone());
    }
    if node.is_some() && before.iter().any(|other| same_text("protocol", other) && int(other, "nodePort") == node) {
        faults.duplicate(&path.field("nodePort"), node);
    }
}

fn addresses(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("clusterIPs");
    let addresses = list(spec, "clusterIPs");
    for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        if address != "None" && !address.is_empty() {
            faults.named(&above.index(index), address, name::ip);
        }
    }
    let single = text(spec, "clusterIP");
    match addresses.first().and_then(Value::as_str) {
        None if !single.is_empty() && single != "None" => faults.named(&path.field("clusterIP"), single, name::ip),
        Some(first) if single != first => {
            faults.invalid(&above, addresses.to_vec(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let above = path.field("externalIPs");
    for (index, address) in list(spec, "externalIPs").iter().filter_map(Value::as_str).enumerate() {
        faults.named(&above.index(index), address, name::ip);
    }
    let above = path.field("loadBalancerSourceRanges");
    for (index, range) in list(spec, "loadBalancerSourceRanges").iter().filter_map(Value::as_str).enumerate() {
        if text(spec, "type") != "LoadBalancer" {
            faults.forbidden(&above, "may only be used when `type` is 'LoadBalancer'");
            break;
        }
        faults.named(&above.index(index), range.trim(), name::cidr);
    }
}

fn policies(spec: &Value, kind: &str, path: &Path<'_>, faults: &mut Faults) {
    let external = "externalTrafficPolicy";
    let outside = matches!(kind, "NodePort" | "LoadBalancer") || !list(spec, "externalIPs").is_empty();
    match text(spec, external) {
        "" if outside && kind != "ExternalName" => faults.required(&path.field(external), ""),
        "" => {}
        policy if !outside => {
            let detail = "may only be set for externally-accessible services";
            faults.invalid(&path.field(external), policy, detail);
        }
        policy if !["Cluster", "Local"].contains(&policy) => {
            faults.not_supported(&path.field(external), policy, &["Cluster", "Local"]);
        }
        _ => {}
    }
    if has(spec, "allocateLoadBalancerNodePorts") && kind != "LoadBalancer" {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        faults.forbidden(&path.field("allocateLoadBalancerNodePorts"), detail);
    }
    let class = text(spec, "loadBalancerClass");
    if !class.is_empty() && kind != "LoadBalancer" {
        faults.forbidden(&path.field("loadBalancerClass"), "may only be used when `type` is 'LoadBalancer'");
    }
}

pub(crate) fn change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    let (new, old) = (at(new, "spec"), at(old, "spec"));
    let (kind, before) = (text(new, "type"), text(old, "type"));
    if kind != "ExternalName" && before != "ExternalName" {
        let (address, was) = (text(new, "clusterIP"), text(old, "clusterIP"));
        if !was.is_empty() && address != was {
            let above = path.field("clusterIPs");
            let value = if at(new, "clusterIPs").is_array() { at(new, "clusterIPs").clone() } else { address.into() };
            faults.invalid(&above.index(0), value, "may not change once set");
        }
    }
    if kind == "LoadBalancer" && before == kind && !same(at(new, "loadBalancerClass"), at(old, "loadBalancerClass")) {
        let class = at(new, "loadBalancerClass").clone();
        faults.invalid(&path.field("loadBalancerClass"), class, "may not change once set");
    }
    if has(old, "healthCheckNodePort") && has(new, "healthCheckNodePort") {
        let (port, was) = (at(new, "healthCheckNodePort"), at(old, "healthCheckNodePort"));
        if port != was {
            faults.invalid(&path.field("healthCheckNodePort"), port.clone(), IMMUTABLE);
        }
    }
}
