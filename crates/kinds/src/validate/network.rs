//! Rules of Ingresses, NetworkPolicies and EndpointSlices.

use base::name::{self, Verdict};
use serde_json::Value;

use super::{Faults, container, meta, probe};
use crate::error::FieldError;
use crate::json::{at, has, int, list, text};
use crate::path::Path;

pub(crate) fn ingress(ingress: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(ingress, "spec"), root.field("spec"));
    if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
        faults.invalid(&path, spec.clone(), "either `defaultBackend` or `rules` must be specified");
    }
    if has(spec, "defaultBackend") {
        backend(at(spec, "defaultBackend"), &path.field("defaultBackend"), faults);
    }
    let above = path.field("rules");
    for (index, rule) in list(spec, "rules").iter().enumerate() {
        let path = above.index(index);
        let host = text(rule, "host");
        if !host.is_empty() {
            ingress_host(host, &path.field("host"), faults);
        }
        if has(rule, "http") {
            paths(at(rule, "http"), &path.field("http"), faults);
        }
    }
    let above = path.field("tls");
    for (index, tls) in list(spec, "tls").iter().enumerate() {
        let path = above.index(index);
        for (index, host) in list(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
            let rule = if host.contains('*') { name::wildcard_dns_subdomain } else { name::dns_subdomain };
            let hosts = path.field("hosts");
            faults.named(&hosts.index(index), host, rule);
        }
        let secret = text(tls, "secretName");
        if !secret.is_empty() {
            faults.named(&path.field("secretName"), secret, name::dns_subdomain);
        }
    }
    let class = text(spec, "ingressClassName");
    if !class.is_empty() {
        faults.named(&path.field("ingressClassName"), class, name::dns_subdomain);
    }
}

fn ingress_host(host: &str, path: &Path<'_>, faults: &mut Faults) {
    if host.parse::<std::net::IpAddr>().is_ok() {
        faults.invalid(path, host, "must be a DNS name, not an IP address");
    } else if host.contains('*') {
        faults.named(path, host, name::wildcard_dns_subdomain);
    } else {
        faults.named(path, host, name::dns_subdomain);
    }
}

const PATH_TYPES: &[&str] = &["Exact", "ImplementationSpecific", "Prefix"];

fn paths(http: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("paths");
    if list(http, "paths").is_empty() {
        faults.required(&above, "");
    }
    for (index, rule) in list(http, "paths").iter().enumerate() {
        let path = above.index(index);
        let place = text(rule, "path");
        match text(rule, "pathType") {
            "" => faults.required(&path.field("pathType"), "pathType must be specified"),
            "Exact" | "Prefix" => {
                if !place.starts_with('/') {
                    faults.invalid(&path.field("path"), place, "must be an absolute path");
                }
                for part in ["//", "/./", "/../", "%2f", "%2F"] {
                    if place.contains(part) {
                        faults.invalid(&path.field("path"), place, format!("must not contain '{part}'"));
                    }
                }
                for end in ["/..", "/."] {
                    if place.ends_with(end) {
                        faults.invalid(&path.field("path"), place, format!("cannot end with '{end}'"));
                    }
                }
            }
            "ImplementationSpecific" => {
                if !place.is_empty() && !place.starts_with('/') {
                    faults.invalid(&path.field("path"), place, "must be an absolute path");
                }
            }
            other => faults.not_supported(&path.field("pathType"), other, PATH_TYPES),
        }
        backend(at(rule, "backend"), &path.field("backend"), faults);
    }
}

fn backend(backend: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (service, resource) = (at(backend, "service"), at(backend, "resource"));
    if !service.is_null() && !resource.is_null() {
        faults.invalid(path, "", "cannot set both resource and service backends");
        return;
    }
    if !resource.is_null() {
        let path = path.field("resource");
        faults.required_text(resource, "kind", &path);
        faults.required_text(resource, "name", &path);
        return;
    }
    if service.is_null() {
        faults.required(path, "either resource or service must be specified");
        return;
    }
    let path = path.field("service");
    faults.required_name(&path.field("name"), text(service, "name"), name::dns1035_label);
    let port = at(service, "port");
    let (label, number) = (text(port, "name"), int(port, "number").unwrap_or(0));
    let path = path.field("port");
    match (label.is_empty(), number) {
        (true, 0) => faults.required(&path, "port name or number is required"),
        (false, 0) => faults.named(&path.field("name"), label, name::port_name),
        (true, number) => container::port_number(number, &path.field("number"), faults),
        (false, _) => faults.invalid(&path, "", "cannot set both port name & port number"),
    }
}

pub(crate) fn ingress_class(class: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let controller = text(at(class, "spec"), "controller");
    let path = spec.field("controller");
    if controller.is_empty() {
        faults.required(&path, "");
    } else if controller.len() > 250 {
        faults.push(FieldError::too_long(path, 250));
    } else if !controller.split_once('/').is_some_and(|(host, rest)| !host.is_empty() && !rest.is_empty()) {
        faults.invalid(&path, controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    }
}

pub(crate) fn ingress_class_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    faults.unchanged(at(new, "spec"), at(old, "spec"), "controller", &root.field("spec"));
}

pub(crate) fn network_policy(policy: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(policy, "spec"), root.field("spec"));
    meta::selector(at(spec, "podSelector"), &path.field("podSelector"), faults);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        let above = path.field(direction);
        for (index, rule) in list(spec, direction).iter().enumerate() {
            let path = above.index(index);
            let ports = path.field("ports");
            for (index, port) in list(rule, "ports").iter().enumerate() {
                policy_port(port, &ports.index(index), faults);
            }
            let above = path.field(peers);
            for (index, peer) in list(rule, peers).iter().enumerate() {
                policy_peer(peer, &above.index(index), faults);
            }
        }
    }
    let types = list(spec, "policyTypes");
    if types.len() > 2 {
        faults.invalid(&path.field("policyTypes"), types.to_vec(), "may not specify more than two policyTypes");
    }
}

fn policy_port(port: &Value, path: &Path<'_>, faults: &mut Faults) {
    let value = at(port, "port");
    if !value.is_null() {
        probe::port(value, &path.field("port"), faults);
    }
    if let Some(end) = int(port, "endPort") {
        match value.as_i64() {
            None => faults.invalid(&path.field("endPort"), end, "may not be specified when `port` is non-numeric"),
            Some(start) if end < start => {
                faults.invalid(&path.field("endPort"), end, "must be greater than or equal to `port`");
            }
            Some(_) => container::port_number(end, &path.field("endPort"), faults),
        }
    }
}

fn policy_peer(peer: &Value, path: &Path<'_>, faults: &mut Faults) {
    for selector in ["podSelector", "namespaceSelector"] {
        meta::selector(at(peer, selector), &path.field(selector), faults);
    }
    let block = at(peer, "ipBlock");
    let selects = has(peer, "podSelector") || has(peer, "namespaceSelector");
    if block.is_null() {
        if !selects {
            faults.required(path, "must specify a peer");
        }
        return;
    }
    if selects {
        faults.forbidden(path, "may not specify both ipBlock and another peer");
    }
    let path = path.field("ipBlock");
    faults.required_name(&path.field("cidr"), text(block, "cidr"), name::cidr);
    let above = path.field("except");
    for (index, cidr) in list(block, "except").iter().filter_map(Value::as_str).enumerate() {
        faults.named(&above.index(index), cidr, name::cidr);
    }
}

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];

pub(crate) fn endpoint_slice(slice: &Value, faults: &mut Faults) {
    let root = Path::Root;
    faults.one_of(slice, "addressType", &root, ADDRESS_TYPES);
    let endpoints = list(slice, "endpoints");
    let above = root.field("endpoints");
    if endpoints.len() > 1000 {
        faults.push(FieldError::too_many(above, endpoints.len(), 1000));
    }
    let rule: fn(&str) -> Verdict = if text(slice, "addressType") == "FQDN" { name::dns_subdomain } else { name::ip };
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = above.index(index).field("addresses").to_string();
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            faults.push(FieldError::required(&path, "must contain at least 1 address"));
        } else if addresses.len() > 100 {
            faults.push(FieldError::too_many(&path, addresses.len(), 100));
        }
        for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
            if let Err(reason) = rule(address) {
                faults.push(FieldError::invalid(format!("{path}[{index}]"), address, reason));
            }
        }
    }
    slice_ports(slice, &root.field("ports"), faults);
}

fn slice_ports(slice: &Value, above: &Path<'_>, faults: &mut Faults) {
    let ports = list(slice, "ports");
    if ports.len() > 20_000 {
        faults.push(FieldError::too_many(above, ports.len(), 20_000));
        return;
    }
    let mut names = std::collections::HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = above.index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            faults.named(&path.field("name"), name, name::dns_label);
        }
        if !names.insert(name) {
            faults.duplicate(&path.field("name"), name);
        }
        faults.one_of(port, "protocol", &path, &["SCTP", "TCP", "UDP"]);
    }
}

pub(crate) fn endpoint_slice_change(new: &Value, old: &Value, faults: &mut Faults) {
    faults.unchanged(new, old, "addressType", &Path::Root);
}

/// An IPAddress is named by the address it stands for.
pub(crate) fn ip_address_name(text: &str) -> Verdict {
    match text.parse::<std::net::IpAddr>() {
        Ok(address) if address.to_string() == text => Ok(()),
        Ok(_) => Err("must be a valid IP address in canonical form".to_owned()),
        Err(_) => name::ip(text),
    }
}
