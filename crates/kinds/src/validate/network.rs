//! Rules of NetworkPolicy, IPAddress and ServiceCIDR.

use base::name::{self, Verdict};
use serde_json::Value;

use super::{Case, Faults, IMMUTABLE, container, golang, ip, meta};
use crate::json::{at, has, int, list, same, text};
use crate::path::Path;

/// What was there before and may stay.
struct Before<'v> {
    selectors: bool,
    blocks: Vec<&'v str>,
}

/// The directions of a policy: their rules and the peers of those.
const WAYS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

pub(crate) fn policy(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, old, path) = (case.spec(), at(case.old(), "spec"), root.field("spec"));
    let rules = |way| list(old, way).iter();
    let peers = WAYS.iter().flat_map(|(way, peers)| rules(way).flat_map(|rule| list(rule, peers)));
    let blocks = peers.map(|peer| at(peer, "ipBlock")).filter(|block| !block.is_null());
    let before = Before {
        selectors: meta::is_faulty_selector(at(old, "podSelector")),
        blocks: blocks
            .flat_map(|block| ip::texts(list(block, "except")).into_iter().chain([text(block, "cidr")]))
            .collect(),
    };
    meta::selector_of(at(spec, "podSelector"), before.selectors, &path.field("podSelector"), faults);
    for (way, peers) in WAYS {
        let above = path.field(way);
        for (index, rule) in list(spec, way).iter().enumerate() {
            let path = above.index(index);
            let on_ports = path.field("ports");
            for (index, value) in list(rule, "ports").iter().enumerate() {
                port(value, &on_ports.index(index), faults);
            }
            let on_peers = path.field(peers);
            for (index, value) in list(rule, peers).iter().enumerate() {
                peer(value, &before, &on_peers.index(index), faults);
            }
        }
    }
    let (types, above) = (list(spec, "policyTypes"), path.field("policyTypes"));
    if types.len() > 2 {
        faults.invalid(&above, types.to_vec(), "may not specify more than two policyTypes");
        return;
    }
    for (index, kind) in ip::texts(types).into_iter().enumerate() {
        if !matches!(kind, "Ingress" | "Egress") {
            faults.not_supported(&above.index(index), kind, &["Ingress", "Egress"]);
        }
    }
}

fn port(port: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.any_of(port, "protocol", path, &["TCP", "UDP", "SCTP"]);
    let (number, on_number) = (at(port, "port"), path.field("port"));
    let (end, on_end) = (int(port, "endPort"), path.field("endPort"));
    match (number, end) {
        (Value::Null, Some(end)) => {
            faults.invalid(&on_end, end, "may not be specified when `port` is not specified");
        }
        (Value::Null, None) => {}
        (Value::String(name), end) => {
            if let Some(end) = end {
                faults.invalid(&on_end, end, "may not be specified when `port` is non-numeric");
            }
            faults.named(&on_number, name, name::port_name);
        }
        (number, end) => {
            let number = number.as_i64().unwrap_or(0);
            container::port_number(number, &on_number, faults);
            if let Some(end) = end {
                if end < number {
                    faults.invalid(&on_end, number, "must be greater than or equal to `port`");
                }
                container::port_number(end, &on_end, faults);
            }
        }
    }
}

fn peer(peer: &Value, before: &Before<'_>, path: &Path<'_>, faults: &mut Faults) {
    let mut count = 0;
    for name in ["podSelector", "namespaceSelector"] {
        if has(peer, name) {
            count += 1;
            meta::selector_of(at(peer, name), before.selectors, &path.field(name), faults);
        }
    }
    if has(peer, "ipBlock") {
        block(at(peer, "ipBlock"), &before.blocks, &path.field("ipBlock"), faults);
        if count > 0 {
            faults.forbidden(path, "may not specify both ipBlock and another peer");
        }
    } else if count == 0 {
        faults.required(path, "must specify a peer");
    }
}

fn block(block: &Value, existing: &[&str], path: &Path<'_>, faults: &mut Faults) {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        faults.required(&path.field("cidr"), "");
        return;
    }
    ip::legacy_block(cidr, existing, &path.field("cidr"), faults);
    let Some(whole) = ip::Block::sloppy(cidr) else { return };
    let above = path.field("except");
    for (index, except) in ip::texts(list(block, "except")).into_iter().enumerate() {
        let path = above.index(index);
        ip::legacy_block(except, existing, &path, faults);
        if let Some(part) = ip::Block::sloppy(except)
            && (!whole.contains(part.base()) || whole.bits >= part.bits)
        {
            faults.invalid(&path, except, "must be a strict subset of `cidr`");
        }
    }
}

/// The name of an IPAddress is the address.
pub(crate) fn address_name(text: &str) -> Verdict {
    let mut faults = Faults::default();
    ip::strict(text, &Path::Root, &mut faults);
    match faults.list.into_iter().next() {
        Some(fault) => Err(fault.detail.into()),
        None => Ok(()),
    }
}

pub(crate) fn address(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let (parent, path) = (at(spec, "parentRef"), path.field("parentRef"));
    if parent.is_null() {
        faults.required(&path, "");
    } else {
        faults.optional_name(&path.field("group"), text(parent, "group"), name::dns_subdomain);
        faults.required_name(&path.field("resource"), text(parent, "resource"), name::path_segment);
        faults.required_name(&path.field("name"), text(parent, "name"), name::path_segment);
        faults.optional_name(&path.field("namespace"), text(parent, "namespace"), name::path_segment);
    }
    if let Some(old) = case.old
        && !same(parent, at(at(old, "spec"), "parentRef"))
    {
        let shown = if parent.is_null() { "null".to_owned() } else { golang::print("ParentReference", parent) };
        faults.shown(&path, &shown, IMMUTABLE);
    }
}

pub(crate) fn service_range(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let path = spec.field("cidrs");
    let now = list(case.spec(), "cidrs");
    let Some(old) = case.old else { return ranges(case.spec(), &path, faults) };
    let before = list(at(old, "spec"), "cidrs");
    match (before.len(), now.len()) {
        (a, b) if a == b => {
            for (index, (now, _)) in now.iter().zip(before).enumerate().filter(|(_, (now, before))| now != before) {
                faults.invalid(&path.index(index), now.clone(), IMMUTABLE);
            }
        }
        (1, 2) => {
            if now[0] != before[0] {
                faults.invalid(&path.index(0), now[0].clone(), IMMUTABLE);
            }
            ranges(case.spec(), &path, faults);
        }
        _ => faults.invalid(&path, at(case.spec(), "cidrs").clone(), IMMUTABLE),
    }
}

fn ranges(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let cidrs = ip::texts(list(spec, "cidrs"));
    if cidrs.is_empty() {
        faults.required(path, "at least one CIDR required");
        return;
    }
    if cidrs.len() > 2 {
        faults.shown(path, &golang::print("ServiceCIDRSpec", spec), "may only hold up to 2 values");
        return;
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        ip::strict_block(cidr, &path.index(index), faults);
    }
    let known = cidrs.iter().all(|cidr| ip::Block::sloppy(cidr).is_some());
    if cidrs.len() == 2 && known && !ip::is_dual(cidrs.iter().copied()) {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        faults.invalid(path, list(spec, "cidrs").to_vec(), detail);
    }
}
