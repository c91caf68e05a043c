//! Rules of Endpoints and EndpointSlices.

use base::name;
use serde_json::Value;

use super::{Case, Faults, container, ip, meta};
use crate::json::{at, has, int, list, members, same, text};
use crate::path::Path;

pub(crate) const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

/// Addresses that were always wrong may stay.
pub(crate) fn endpoints(case: &Case<'_>, faults: &mut Faults) {
    if case.old.is_some_and(|old| same(at(old, "subsets"), at(case.new, "subsets"))) {
        return;
    }
    let root = Path::Root;
    let above = root.field("subsets");
    for (index, subset) in list(case.new, "subsets").iter().enumerate() {
        let path = above.index(index);
        if list(subset, "addresses").is_empty() && list(subset, "notReadyAddresses").is_empty() {
            faults.required(&path, "must specify `addresses` or `notReadyAddresses`");
        }
        for kind in ["addresses", "notReadyAddresses"] {
            let above = path.field(kind);
            for (index, value) in list(subset, kind).iter().enumerate() {
                address(value, &above.index(index), faults);
            }
        }
        let ports = list(subset, "ports");
        let above = path.field("ports");
        for (index, value) in ports.iter().enumerate() {
            port(value, ports.len() > 1, &above.index(index), faults);
        }
    }
}

fn address(address: &Value, path: &Path<'_>, faults: &mut Faults) {
    let value = text(address, "ip");
    ip::legacy(value, &[], &path.field("ip"), faults);
    faults.optional_name(&path.field("hostname"), text(address, "hostname"), name::dns_label);
    if has(address, "nodeName") {
        faults.named(&path.field("nodeName"), text(address, "nodeName"), name::dns_subdomain);
    }
    ip::endpoint(value, &path.field("ip"), faults);
}

fn port(port: &Value, needs_name: bool, path: &Path<'_>, faults: &mut Faults) {
    match text(port, "name") {
        "" if needs_name => faults.required(&path.field("name"), ""),
        name => faults.optional_name(&path.field("name"), name, name::dns_label),
    }
    container::port_number(int(port, "port").unwrap_or(0), &path.field("port"), faults);
    faults.one_of(port, "protocol", path, PROTOCOLS);
    if has(port, "appProtocol") {
        faults.named(&path.field("appProtocol"), text(port, "appProtocol"), name::qualified_name);
    }
}

const ADDRESS_TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];
const MOST_ENDPOINTS: usize = 1000;
const MOST_ADDRESSES: usize = 100;
const MOST_PORTS: usize = 20_000;
const MOST_LABELS: usize = 16;
const MOST_HINTS: usize = 8;

pub(crate) fn slice(case: &Case<'_>, faults: &mut Faults) {
    let (root, slice) = (Path::Root, case.new);
    faults.one_of(slice, "addressType", &root, ADDRESS_TYPES);
    slice_ports(slice, &root.field("ports"), faults);
    if !case.old.is_some_and(|old| same(at(old, "endpoints"), at(slice, "endpoints"))) {
        slice_endpoints(slice, &root.field("endpoints"), faults);
    }
    if case.old.is_some() {
        faults.same_text(slice, case.old(), "addressType", &root);
    }
}

fn slice_endpoints(slice: &Value, above: &Path<'_>, faults: &mut Faults) {
    let endpoints = list(slice, "endpoints");
    if endpoints.len() > MOST_ENDPOINTS {
        faults.too_many(above, endpoints.len(), MOST_ENDPOINTS);
        return;
    }
    let kind = text(slice, "addressType");
    for (index, endpoint) in endpoints.iter().enumerate() {
        let path = above.index(index);
        slice_addresses(endpoint, kind, &path.field("addresses"), faults);
        if has(endpoint, "nodeName") {
            faults.named(&path.field("nodeName"), text(endpoint, "nodeName"), name::dns_subdomain);
        }
        let topology = path.field("deprecatedTopology");
        let count = members(endpoint, "deprecatedTopology").count();
        if count > MOST_LABELS {
            faults.too_many(&topology, count, MOST_LABELS);
        }
        meta::labels(at(endpoint, "deprecatedTopology"), &topology, faults);
        if has(endpoint, "hostname") {
            faults.named(&path.field("hostname"), text(endpoint, "hostname"), name::dns_label);
        }
        let (hints, on_hints) = (at(endpoint, "hints"), path.field("hints"));
        hint_names(hints, "forZones", name::label_value, &on_hints, faults);
        hint_names(hints, "forNodes", name::dns_subdomain, &on_hints, faults);
    }
}

fn slice_addresses(endpoint: &Value, kind: &str, path: &Path<'_>, faults: &mut Faults) {
    let addresses = list(endpoint, "addresses");
    if addresses.is_empty() {
        faults.required(path, "must contain at least 1 address");
    } else if addresses.len() > MOST_ADDRESSES {
        faults.too_many(path, addresses.len(), MOST_ADDRESSES);
    }
    for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        let place = path.index(index);
        let (right, six) = match kind {
            "IPv4" => (ip::legacy(address, &[], &place, faults), false),
            "IPv6" => (ip::strict(address, &place, faults), true),
            "FQDN" => {
                fully_qualified(address, &place, faults);
                continue;
            }
            _ => continue,
        };
        if right {
            if ip::is_v6(address) != six {
                faults.invalid(path, address, format!("must be an {kind} address"));
            }
            ip::endpoint(address, &place, faults);
        }
    }
}

/// A host name with a domain; only the first fault counts.
fn fully_qualified(text: &str, path: &Path<'_>, faults: &mut Faults) {
    if text.is_empty() {
        faults.required(path, "");
        return;
    }
    let host = text.strip_suffix('.').unwrap_or(text);
    let joined = |reasons: name::Reasons| reasons.into_iter().collect::<Vec<_>>().join(",");
    if let Err(reasons) = name::dns_subdomain(host) {
        faults.invalid(path, host, joined(reasons));
    } else if !host.contains('.') {
        faults.invalid(path, host, "should be a domain with at least two segments separated by dots");
    } else if let Some((label, reasons)) =
        host.split('.').find_map(|label| name::dns_label(label).err().map(|reasons| (label, reasons)))
    {
        faults.invalid(path, label, joined(reasons));
    }
}

fn hint_names(hints: &Value, member: &str, rule: fn(&str) -> name::Verdict, above: &Path<'_>, faults: &mut Faults) {
    let above = above.field(member);
    let hints = list(hints, member);
    if hints.len() > MOST_HINTS {
        faults.too_many(&above, hints.len(), MOST_HINTS);
        return;
    }
    let mut seen = Vec::new();
    for (index, hint) in hints.iter().enumerate() {
        let (name, path) = (text(hint, "name"), above.index(index));
        if seen.contains(&name) {
            faults.duplicate(&path.field("name"), name);
        }
        seen.push(name);
        faults.named(&path.field("name"), name, rule);
    }
}

fn slice_ports(slice: &Value, above: &Path<'_>, faults: &mut Faults) {
    let ports = list(slice, "ports");
    if ports.len() > MOST_PORTS {
        faults.too_many(above, ports.len(), MOST_PORTS);
        return;
    }
    let mut names = std::collections::HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = above.index(index);
        let name = text(port, "name");
        faults.optional_name(&path.field("name"), name, name::dns_label);
        if !names.insert(name) {
            faults.duplicate(&path.field("name"), name);
        }
        match at(port, "protocol").as_str() {
            None => faults.required(&path.field("protocol"), ""),
            Some(protocol) if !PROTOCOLS.contains(&protocol) => {
                faults.not_supported(&path.field("protocol"), protocol, PROTOCOLS);
            }
            Some(_) => {}
        }
        if has(port, "appProtocol") {
            faults.named(&path.field("appProtocol"), text(port, "appProtocol"), name::qualified_name);
        }
    }
}
