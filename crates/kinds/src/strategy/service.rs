//! A Service keeps what was allocated for it when a client sends the manifest it once wrote.
//!
//! Invariant: values that the client does set are never overwritten (upstream `patchAllocatedValues`).

use serde_json::Value;

use crate::json::{Members, at, fill, int, list, object_mut, text};

pub(crate) fn keep_allocations(service: &mut Members, old: &Value) {
    let old = at(old, "spec");
    let Some(spec) = object_mut(service, "spec") else { return };
    let kind = spec.get("type").and_then(Value::as_str).unwrap_or("ClusterIP").to_owned();
    if needs_address(&kind) && needs_address(text(old, "type")) {
        // Headless stays headless only if the client says so; unset takes over what was there.
        for name in ["clusterIP", "clusterIPs"] {
            if !at(old, name).is_null() {
                fill(spec, name, at(old, name).clone());
            }
        }
    }
    if needs_node_port(&kind) && needs_node_port(text(old, "type")) {
        keep_node_ports(spec, old);
        if kind == "LoadBalancer"
            && spec.get("externalTrafficPolicy") == Some(&Value::from("Local"))
            && let Some(port) = int(old, "healthCheckNodePort")
        {
            fill(spec, "healthCheckNodePort", port);
        }
    }
    if needs_address(&kind) {
        for name in ["ipFamilies", "ipFamilyPolicy"] {
            if !at(old, name).is_null() {
                fill(spec, name, at(old, name).clone());
            }
        }
    }
}

fn needs_address(kind: &str) -> bool {
    matches!(kind, "" | "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_port(kind: &str) -> bool {
    matches!(kind, "NodePort" | "LoadBalancer")
}

fn keep_node_ports(spec: &mut Members, old: &Value) {
    let key = |port: &Value| (text(port, "protocol").to_owned(), int(port, "port"));
    let Some(ports) = spec.get_mut("ports").and_then(Value::as_array_mut) else { return };
    let taken: Vec<i64> = ports.iter().filter_map(|port| int(port, "nodePort")).collect();
    for port in ports {
        let before = list(old, "ports").iter().find(|before| key(before) == key(port));
        let number = before.and_then(|before| int(before, "nodePort")).filter(|number| !taken.contains(number));
        if let (Some(number), Some(port)) = (number, port.as_object_mut()) {
            fill(port, "nodePort", number);
        }
    }
}
