//! What a client means when it sends a service back: fields that belong together, fields that were left out, fields that
//! no longer apply. Pure functions over the object and the stored one; upstream `registry/core/service`.

use kinds::FieldError;
use serde_json::{Value, json};

pub(super) fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text<'a>(service: &'a Value, field: &str) -> &'a str {
    service["spec"][field].as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

pub(super) fn has_address(service: &Value) -> bool {
    text(service, "type") != "ExternalName"
}

pub(super) fn has_node_ports(service: &Value) -> bool {
    matches!(text(service, "type"), "NodePort" | "LoadBalancer")
}

/// Node ports are allocated, not only respected.
pub(super) fn wants_node_ports(service: &Value) -> bool {
    match text(service, "type") {
        "NodePort" => true,
        "LoadBalancer" => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

pub(super) fn has_health_port(service: &Value) -> bool {
    text(service, "type") == "LoadBalancer" && text(service, "externalTrafficPolicy") == "Local"
}

fn is_headless(service: &Value) -> bool {
    text(service, "clusterIP") == "None"
}

// Never by index: indexing a mutable value creates what is not there.
fn ports_mut(service: &mut Value) -> impl Iterator<Item = &mut Value> {
    service.pointer_mut("/spec/ports").and_then(Value::as_array_mut).into_iter().flatten()
}

fn remove(service: &mut Value, field: &str) {
    if let Some(spec) = service.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove(field);
    }
}

/// Old clients know only `clusterIP`, newer ones also `clusterIPs`; what one of them says, the other must say too.
pub(super) fn join_addresses(service: &mut Value, old: Option<&Value>) {
    let (one, many) = (text(service, "clusterIP").to_owned(), strings(&service["spec"]["clusterIPs"]));
    let Some(old) = old else {
        if !one.is_empty() && many.is_empty() {
            service["spec"]["clusterIPs"] = json!([one]);
        }
        return;
    };
    let (old_one, old_many) = (text(old, "clusterIP"), strings(&old["spec"]["clusterIPs"]));
    if !old_many.is_empty() && many.is_empty() && old_one == one {
        service["spec"]["clusterIPs"] = json!(old_many);
    } else if old_one != one && many == old_many {
        if one.is_empty() {
            remove(service, "clusterIPs");
        } else {
            service["spec"]["clusterIPs"] = json!([one]);
        }
    } else if !one.is_empty() && many.is_empty() {
        service["spec"]["clusterIPs"] = json!([one]);
    }
}

/// What was allocated and not sent back stays.
pub(super) fn put_back(service: &mut Value, old: &Value) {
    if has_address(old) && has_address(service) {
        if text(service, "clusterIP").is_empty() && !text(old, "clusterIP").is_empty() {
            service["spec"]["clusterIP"] = old["spec"]["clusterIP"].clone();
        }
        if strings(&service["spec"]["clusterIPs"]).is_empty() && old["spec"]["clusterIPs"].is_array() {
            service["spec"]["clusterIPs"] = old["spec"]["clusterIPs"].clone();
        }
    }
    if wants_node_ports(old) && wants_node_ports(service) {
        let empty = Vec::new();
        let old_ports = old["spec"]["ports"].as_array().unwrap_or(&empty);
        let mut used: Vec<u64> = {
            let sent = service["spec"]["ports"].as_array().into_iter().flatten();
            sent.map(|port| number(&port["nodePort"])).filter(|port| *port != 0).collect()
        };
        for port in ports_mut(service) {
            if number(&port["nodePort"]) != 0 {
                continue;
            }
            let name = port["name"].as_str().unwrap_or_default();
            let held = old_ports.iter().find(|held| held["name"].as_str().unwrap_or_default() == name);
            let held = held.map(|held| number(&held["nodePort"])).filter(|held| *held != 0 && !used.contains(held));
            if let Some(held) = held {
                used.push(held);
                port["nodePort"] = json!(held);
            }
        }
    }
    if has_health_port(old) && has_health_port(service) && number(&service["spec"]["healthCheckNodePort"]) == 0 {
        service["spec"]["healthCheckNodePort"] = old["spec"]["healthCheckNodePort"].clone();
    }
}

/// A change of type takes along what the new type has no use for, unless the client changed that too.
pub(super) fn drop_stale(service: &mut Value, old: &Value) {
    let same = |service: &Value, field: &str| service["spec"].get(field) == old["spec"].get(field);
    if has_address(old) && !has_address(service) {
        if same(service, "clusterIP") && same(service, "clusterIPs") {
            remove(service, "clusterIP");
            remove(service, "clusterIPs");
        }
        for field in ["ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"] {
            if same(service, field) {
                remove(service, field);
            }
        }
    }
    if wants_node_ports(old) && !wants_node_ports(service) {
        let ports = |service: &Value| -> Vec<u64> {
            let ports = service["spec"]["ports"].as_array().into_iter().flatten();
            ports.map(|port| number(&port["nodePort"])).filter(|port| *port != 0).collect()
        };
        let held = ports(old);
        if ports(service).iter().all(|port| held.contains(port)) {
            for port in ports_mut(service) {
                if let Some(port) = port.as_object_mut() {
                    port.remove("nodePort");
                }
            }
        }
    }
    if has_health_port(old) && !has_health_port(service) && same(service, "healthCheckNodePort") {
        remove(service, "healthCheckNodePort");
    }
    if text(old, "type") == "LoadBalancer" && text(service, "type") != "LoadBalancer" {
        for field in ["allocateLoadBalancerNodePorts", "loadBalancerClass"] {
            if same(service, field) {
                remove(service, field);
            }
        }
    }
    let outside = |service: &Value| has_node_ports(service) || !strings(&service["spec"]["externalIPs"]).is_empty();
    if outside(old) && !outside(service) && same(service, "externalTrafficPolicy") {
        remove(service, "externalTrafficPolicy");
    }
}

/// The primary address and family of a service are for life.
pub(super) fn immutable(service: &Value, old: &Value) -> Vec<FieldError> {
    if !has_address(service) || !has_address(old) || (is_headless(service) && is_headless(old)) {
        return Vec::new();
    }
    let (all, old_all) = (strings(&service["spec"]["clusterIPs"]), strings(&old["spec"]["clusterIPs"]));
    let fault = |index: usize, why: &str| {
        FieldError::invalid(format!("spec.clusterIPs[{index}]"), service["spec"]["clusterIPs"].clone(), why)
    };
    let mut faults = Vec::new();
    if all.len() == old_all.len() {
        let changed = all.iter().zip(&old_all).enumerate().filter(|(_, (new, old))| new != old);
        faults.extend(changed.map(|(index, _)| fault(index, "may not change once set")));
    } else if all.is_empty() {
        faults.push(fault(0, "primary clusterIP can not be unset"));
    } else if !old_all.is_empty() && all[0] != old_all[0] {
        faults.push(fault(0, "may not change once set"));
    }
    let (families, old_families) = (strings(&service["spec"]["ipFamilies"]), strings(&old["spec"]["ipFamilies"]));
    if is_headless(service) == is_headless(old)
        && let (Some(new), Some(before)) = (families.first(), old_families.first())
        && new != before
    {
        let value = service["spec"]["ipFamilies"].clone();
        faults.push(FieldError::invalid("spec.ipFamilies[0]", value, "may not change once set"));
    }
    faults
}
