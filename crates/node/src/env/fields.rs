//! The downward API: pod fields and container resources as text, for variables and volumes.
//!
//! Invariant: a field that upstream does not offer yields `None`, never an empty string that looks like a value.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

/// What the node knows about a pod beyond its object.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    pub node_name: String,
    pub host_ips: Vec<IpAddr>,
    pub pod_ips: Vec<IpAddr>,
    /// What the node offers; the default of an unset limit.
    pub allocatable_milli_cpu: i64,
    pub allocatable_memory: i64,
    pub allocatable_storage: i64,
}

/// The value of `path`, as used in `fieldRef`.
pub(crate) fn field(pod: &Pod, facts: &Facts, path: &str) -> Option<String> {
    let meta = &pod.metadata;
    if let Some(key) = subscript(path, "metadata.labels") {
        return Some(meta.labels.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default());
    }
    if let Some(key) = subscript(path, "metadata.annotations") {
        return Some(meta.annotations.as_ref().and_then(|all| all.get(key)).cloned().unwrap_or_default());
    }
    let spec = pod.spec.as_ref();
    Some(match path {
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => facts.node_name.clone(),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => first(&facts.host_ips),
        "status.hostIPs" => all(&facts.host_ips),
        "status.podIP" => first(&facts.pod_ips),
        "status.podIPs" => all(&facts.pod_ips),
        _ => return None,
    })
}

/// The value of a `resourceFieldRef`; `container` is the container it names or the one that asks.
pub(crate) fn resource(
    pod: &Pod,
    facts: &Facts,
    container: &str,
    selector: &ResourceFieldSelector,
) -> Result<String, String> {
    let found = containers(pod)
        .find(|candidate| candidate.name == container)
        .ok_or_else(|| format!("container {container} not found"))?;
    let (side, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| format!("unsupported container resource : {}", selector.resource))?;
    let limits = found.resources.as_ref().and_then(|all| all.limits.as_ref());
    let requests = found.resources.as_ref().and_then(|all| all.requests.as_ref());
    let written = match side {
        "limits" => limits.and_then(|all| all.get(name)),
        "requests" => requests.and_then(|all| all.get(name)),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let fallback = |value: i64| if side == "limits" { i128::from(value) } else { 0 };
    let milli = match written {
        Some(text) => parse(&text.0)?.milli(),
        None => match name {
            "cpu" => fallback(facts.allocatable_milli_cpu),
            "memory" => fallback(facts.allocatable_memory) * 1000,
            "ephemeral-storage" => fallback(facts.allocatable_storage) * 1000,
            _ if name.starts_with("hugepages-") => 0,
            _ => return Err(format!("unsupported container resource : {}", selector.resource)),
        },
    };
    let divisor = match selector.divisor.as_ref().map(|text| text.0.as_str()) {
        None | Some("" | "0") => 1000,
        Some(text) => parse(text)?.milli(),
    };
    if divisor <= 0 {
        return Err(format!("divisor of {} must be positive", selector.resource));
    }
    Ok((milli.div_euclid(divisor) + i128::from(milli.rem_euclid(divisor) > 0)).to_string())
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
    init.chain(spec.map(|spec| spec.containers.as_slice()).unwrap_or_default())
}

fn parse(text: &str) -> Result<Quantity, String> {
    text.parse().map_err(|_| format!("cannot read quantity {text:?}"))
}

fn subscript<'a>(path: &'a str, field: &str) -> Option<&'a str> {
    path.strip_prefix(field)?.strip_prefix("['")?.strip_suffix("']")
}

/// Labels as `key="value"` lines, sorted, quoted as Go's `%q`.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quote(value))).collect();
    lines.join("\n")
}

fn quote(value: &str) -> String {
    let mut out = String::from('"');
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            other if other.is_control() && u32::from(other) < 0x80 => {
                out.push_str(&format!("\\x{:02x}", u32::from(other)));
            }
            other if other.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(other))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn first(ips: &[IpAddr]) -> String {
    ips.first().map(ToString::to_string).unwrap_or_default()
}

fn all(ips: &[IpAddr]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
