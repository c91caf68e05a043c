//! Rules of Services.

use base::name;
use serde_json::Value;

use super::{Case, Faults, IMMUTABLE, container, endpoints::PROTOCOLS, golang, ip, meta, probe};
use crate::json::{at, has, int, list, same, text};
use crate::path::Path;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const BALANCED_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

fn is_headless(spec: &Value) -> bool {
    matches!(list(spec, "clusterIPs"), [only] if only == "None")
}

pub(crate) fn check(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    if let Some(old) = case.old {
        change(spec, at(old, "spec"), &path, faults);
    }
    let annotations = case.annotations();
    if has(annotations, MODE) && has(annotations, HINTS) && at(annotations, MODE) != at(annotations, HINTS) {
        let meta = root.field("metadata");
        let detail = format!("must match annotations[{HINTS}] when both are specified");
        faults.invalid(&meta.field("annotations").key(MODE), text(annotations, MODE), detail);
    }
    let kind = text(spec, "type");
    let headless = is_headless(spec);
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        faults.required(&path.field("ports"), "");
    }
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            faults.invalid(&path.field("clusterIPs").index(0), "None", detail);
        }
        "ExternalName" => external_name(spec, &path, faults),
        _ => {}
    }
    ports(spec, &path.field("ports"), faults);
    meta::labels(at(spec, "selector"), &path.field("selector"), faults);
    affinity(spec, &path, faults);
    let old_spec = at(case.old(), "spec");
    if kind != "ExternalName" {
        addresses(spec, old_spec, &path, faults);
    }
    let above = path.field("externalIPs");
    let existing = ip::texts(list(old_spec, "externalIPs"));
    for (index, address) in ip::texts(list(spec, "externalIPs")).into_iter().enumerate() {
        if ip::legacy(address, &existing, &above.index(index), faults) {
            ip::endpoint(address, &above.index(index), faults);
        }
    }
    faults.one_of(spec, "type", &path, TYPES);
    port_clashes(spec, kind, &path.field("ports"), faults);
    ranges(case, kind, &path, faults);
    balancer(spec, kind, &path, faults);
    policies(spec, kind, &path, faults);
}

fn external_name(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let detail = "may not be set for ExternalName services";
    for name in ["clusterIPs", "ipFamilies"] {
        if !list(spec, name).is_empty() {
            faults.forbidden(&path.field(name), detail);
        }
    }
    if has(spec, "ipFamilyPolicy") {
        faults.forbidden(&path.field("ipFamilyPolicy"), detail);
    }
    // A trailing dot is fine in a name of DNS.
    let target = text(spec, "externalName");
    let target = target.strip_suffix('.').unwrap_or(target);
    faults.required_name(&path.field("externalName"), target, name::dns_subdomain);
}

fn ports(spec: &Value, above: &Path<'_>, faults: &mut Faults) {
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
        faults.one_of(port, "protocol", &path, PROTOCOLS);
        probe::port(at(port, "targetPort"), &path.field("targetPort"), faults);
        if has(port, "appProtocol") {
            faults.named(&path.field("appProtocol"), text(port, "appProtocol"), name::qualified_name);
        }
    }
}

const LONGEST_AFFINITY: i64 = 86_400;

fn affinity(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.one_of(spec, "sessionAffinity", path, &["ClientIP", "None"]);
    let (config, path) = (at(spec, "sessionAffinityConfig"), path.field("sessionAffinityConfig"));
    match text(spec, "sessionAffinity") {
        "ClientIP" => {
            let when = "when session affinity type is ClientIP";
            let (client, on_client) = (at(config, "clientIP"), path.field("clientIP"));
            let on_seconds = on_client.field("timeoutSeconds");
            if config.is_null() {
                faults.required(&path, when);
            } else if client.is_null() {
                faults.required(&on_client, when);
            } else {
                match int(client, "timeoutSeconds") {
                    None => faults.required(&on_seconds, when),
                    Some(seconds) if !(1..=LONGEST_AFFINITY).contains(&seconds) => {
                        let detail = format!("must be greater than 0 and less than {LONGEST_AFFINITY}");
                        faults.invalid(&on_seconds, seconds, detail);
                    }
                    Some(_) => {}
                }
            }
        }
        "None" if !config.is_null() => faults.forbidden(&path, "must not be set when session affinity is None"),
        _ => {}
    }
}

fn addresses(spec: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("clusterIPs");
    let (single, many) = (text(spec, "clusterIP"), list(spec, "clusterIPs"));
    let shown = || many.to_vec();
    match (single.is_empty(), many.first()) {
        (false, None) => faults.required(&above, ""),
        (false, Some(first)) if first != single => {
            faults.invalid(&above, shown(), "first value must match `clusterIP`");
        }
        (true, Some(_)) => faults.invalid(&above, shown(), "must be empty when `clusterIP` is not specified"),
        _ => {}
    }
    let families = ip::texts(list(spec, "ipFamilies"));
    let on_families = path.field("ipFamilies");
    for (index, family) in families.iter().enumerate() {
        if !matches!(*family, "IPv4" | "IPv6") {
            faults.not_supported(&on_families.index(index), *family, &["IPv4", "IPv6"]);
        }
        if families[..index].contains(family) {
            faults.duplicate(&on_families.index(index), *family);
        }
    }
    faults.any_of(spec, "ipFamilyPolicy", path, &["PreferDualStack", "RequireDualStack", "SingleStack"]);
    let existing = ip::texts(list(old, "clusterIPs"));
    let texts = ip::texts(many);
    let mut right = true;
    for (index, address) in texts.iter().enumerate() {
        if index == 0 && *address == "None" {
            if texts.len() > 1 {
                right = false;
                faults.invalid(&above, shown(), "'None' must be the first and only value");
            }
            continue;
        }
        right &= ip::legacy(address, &existing, &above.index(index), faults);
    }
    if texts.len() > 2 {
        faults.invalid(&above, shown(), "may only hold up to 2 values");
    }
    if !right {
        return;
    }
    if texts.len() > 1 && !ip::is_dual(texts.iter().copied()) {
        faults.invalid(&above, shown(), "may specify no more than one IP for each IP family");
    }
    if is_headless(spec) {
        return;
    }
    for (index, (address, family)) in texts.iter().zip(&families).enumerate() {
        if matches!((*family, ip::is_v6(address)), ("IPv4", true) | ("IPv6", false)) {
            let detail = format!("expected an {family} value as indicated by `ipFamilies[{index}]`");
            faults.invalid(&above.index(index), *address, detail);
        }
    }
}

fn port_clashes(spec: &Value, kind: &str, above: &Path<'_>, faults: &mut Faults) {
    let ports = list(spec, "ports");
    let node = |port: &Value| int(port, "nodePort").filter(|number| *number != 0);
    if kind == "ClusterIP" {
        for (index, _) in ports.iter().enumerate().filter(|(_, port)| node(port).is_some()) {
            faults.forbidden(&above.index(index).field("nodePort"), "may not be used when `type` is 'ClusterIP'");
        }
    }
    let clash = |index: usize, number: &dyn Fn(&Value) -> Option<i64>| {
        let port = &ports[index];
        let same = |other: &&Value| text(other, "protocol") == text(port, "protocol") && number(other) == number(port);
        number(port).filter(|_| ports[..index].iter().any(|other| same(&other)))
    };
    for index in 0..ports.len() {
        if let Some(number) = clash(index, &node) {
            faults.duplicate(&above.index(index).field("nodePort"), number);
        }
    }
    for (index, port) in ports.iter().enumerate() {
        if let Some(number) = clash(index, &|port| Some(int(port, "port").unwrap_or(0))) {
            let key = serde_json::json!({"protocol": at(port, "protocol"), "port": number});
            let mut fault = crate::FieldError::duplicate(above.index(index), Value::Null);
            (fault.value, fault.detail) = (None, golang::print("ServicePort", &key));
            faults.push(fault);
        }
    }
}

fn ranges(case: &Case<'_>, kind: &str, path: &Path<'_>, faults: &mut Faults) {
    let spec = case.spec();
    let ranges = list(spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() {
        let above = path.field("LoadBalancerSourceRanges");
        if kind != "LoadBalancer" {
            faults.forbidden(&above, BALANCED_ONLY);
        }
        let old = ip::texts(list(at(case.old(), "spec"), "loadBalancerSourceRanges"));
        let existing: Vec<&str> = old.into_iter().map(str::trim).collect();
        for (index, range) in ip::texts(ranges).into_iter().enumerate() {
            ip::legacy_block(range.trim(), &existing, &above.index(index), faults);
        }
        return;
    }
    let Some(value) = at(case.annotations(), RANGES).as_str() else { return };
    let root = Path::Root;
    let meta = root.field("metadata");
    let annotations = meta.field("annotations");
    let path = annotations.key(RANGES);
    if kind != "LoadBalancer" {
        faults.forbidden(&path, BALANCED_ONLY);
    }
    let before = at(at(at(case.old(), "metadata"), "annotations"), RANGES).as_str();
    if before != Some(value) && !value.trim().is_empty() {
        for range in value.trim().split(',') {
            ip::legacy_block(range.trim(), &[], &path, faults);
        }
    }
}

fn balancer(spec: &Value, kind: &str, path: &Path<'_>, faults: &mut Faults) {
    let allocate = "allocateLoadBalancerNodePorts";
    let class = "loadBalancerClass";
    if kind == "LoadBalancer" {
        if !has(spec, allocate) {
            faults.required(&Path::Root.field(allocate), "");
        }
        if has(spec, class) {
            faults.named(&path.field(class), text(spec, class), name::qualified_name);
        }
        return;
    }
    for name in [allocate, class] {
        if has(spec, name) {
            faults.forbidden(&path.field(name), BALANCED_ONLY);
        }
    }
}

fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

fn policies(spec: &Value, kind: &str, path: &Path<'_>, faults: &mut Faults) {
    let external = "externalTrafficPolicy";
    let policies: &[&str] = &["Cluster", "Local"];
    let outside =
        matches!(kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && !list(spec, "externalIPs").is_empty());
    match text(spec, external) {
        "" if outside => faults.required(&path.field(external), ""),
        "" => {}
        policy if !outside => {
            let detail = "may only be set for externally-accessible services";
            faults.invalid(&path.field(external), policy, detail);
        }
        policy if !policies.contains(&policy) => faults.not_supported(&path.field(external), policy, policies),
        _ => {}
    }
    let on_health = path.field("healthCheckNodePort");
    match (int(spec, "healthCheckNodePort").unwrap_or(0), needs_health_check(spec)) {
        (0, true) => faults.required(&on_health, ""),
        (0, false) => {}
        (port, false) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            faults.invalid(&on_health, port, detail);
        }
        (port, true) => container::port_number(port, &on_health, faults),
    }
    let internal = "internalTrafficPolicy";
    match at(spec, internal).as_str() {
        None if matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP") => {
            faults.required(&path.field(internal), "");
        }
        Some(policy) if !policies.contains(&policy) => {
            faults.not_supported(&path.field(internal), policy, policies);
        }
        _ => {}
    }
    let distributions = &["PreferClose", "PreferSameZone", "PreferSameNode"];
    faults.any_of(spec, "trafficDistribution", path, distributions);
}

fn change(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (kind, before) = (text(new, "type"), text(old, "type"));
    if kind != "ExternalName" && before != "ExternalName" {
        if !(is_headless(new) && is_headless(old)) {
            addresses_change(new, old, path, faults);
        }
        if !is_headless(new) && !is_headless(old) {
            families_change(new, old, path, faults);
        }
    }
    if kind == "LoadBalancer" && before == kind && !same(at(new, "loadBalancerClass"), at(old, "loadBalancerClass")) {
        let class = at(new, "loadBalancerClass").clone();
        faults.invalid(&path.field("loadBalancerClass"), class, "may not change once set");
    }
    let port = |spec: &Value| int(spec, "healthCheckNodePort").unwrap_or(0);
    if needs_health_check(new) && needs_health_check(old) && port(new) != port(old) {
        faults.forbidden(&path.field("healthCheckNodePort"), IMMUTABLE);
    }
}

fn addresses_change(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (now, before) = (list(new, "clusterIPs"), list(old, "clusterIPs"));
    let above = path.field("clusterIPs");
    let shown = || if has(new, "clusterIPs") { Value::from(now.to_vec()) } else { Value::Null };
    if now.len() == before.len() {
        for (index, _) in now.iter().zip(before).enumerate().filter(|(_, (now, before))| now != before) {
            faults.invalid(&above.index(index), shown(), "may not change once set");
        }
        return;
    }
    if now.is_empty() {
        faults.invalid(&above.index(0), shown(), "primary clusterIP can not be unset");
    }
    if !now.is_empty() && !before.is_empty() && now[0] != before[0] {
        faults.invalid(&above.index(0), shown(), "may not change once set");
    }
    if now.len() < before.len() && now.len() == 1 && text(new, "ipFamilyPolicy") != "SingleStack" {
        let detail = "must be set to 'SingleStack' when releasing the secondary clusterIP";
        faults.invalid(&path.field("ipFamilyPolicy"), at(new, "ipFamilyPolicy").clone(), detail);
    }
}

fn families_change(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (now, before) = (list(new, "ipFamilies"), list(old, "ipFamilies"));
    let above = path.field("ipFamilies");
    let shown = |name: &str| at(new, name).clone();
    if now.len() == before.len() {
        for _ in now.iter().zip(before).filter(|(now, before)| now != before) {
            faults.invalid(&above.index(0), shown("ipFamilies"), "may not change once set");
        }
        return;
    }
    if now.len() < before.len() && list(new, "clusterIPs").is_empty() {
        faults.invalid(&above.index(0), shown("ipFamilies"), "primary ipFamily can not be unset");
    }
    if !now.is_empty() && !before.is_empty() && now[0] != before[0] {
        faults.invalid(&above.index(0), shown("clusterIPs"), "may not change once set");
    }
    if now.len() < before.len() && now.len() == 1 && text(new, "ipFamilyPolicy") != "SingleStack" {
        let detail = "must be set to 'SingleStack' when releasing the secondary ipFamily";
        faults.invalid(&path.field("ipFamilyPolicy"), shown("ipFamilyPolicy"), detail);
    }
}

/// Addresses under which a balancer is reached, of a Service or an Ingress.
pub(crate) fn balancer_addresses(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    let balancer = status.field("loadBalancer");
    let above = balancer.field("ingress");
    let of = |object| list(at(at(object, "status"), "loadBalancer"), "ingress");
    let existing: Vec<&str> =
        of(case.old()).iter().map(|ingress| text(ingress, "ip")).filter(|ip| !ip.is_empty()).collect();
    let is_service = case.kind.kind == "Service";
    if is_service && text(case.spec(), "type") != "LoadBalancer" && !of(case.new).is_empty() {
        faults.forbidden(&above, "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for (index, ingress) in of(case.new).iter().enumerate() {
        let path = above.index(index);
        let (address, host) = (text(ingress, "ip"), text(ingress, "hostname"));
        if !address.is_empty() {
            ip::legacy(address, &existing, &path.field("ip"), faults);
        }
        if is_service {
            let on_mode = path.field("ipMode");
            match (at(ingress, "ipMode").as_str(), address.is_empty()) {
                (None, false) => faults.required(&on_mode, "must be specified when `ip` is set"),
                (Some(_), true) => faults.forbidden(&on_mode, "may not be specified when `ip` is not set"),
                (Some(mode), false) if !matches!(mode, "VIP" | "Proxy") => {
                    faults.not_supported(&on_mode, mode, &["Proxy", "VIP"]);
                }
                _ => {}
            }
        }
        if !host.is_empty() {
            faults.named(&path.field("hostname"), host, name::dns_subdomain);
            if ip::sloppy(host).is_some() {
                faults.invalid(&path.field("hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}
