//! What a Service counts as.

use serde_json::Value;

use super::Amounts;

pub(super) const RESOURCES: &[&str] = &["services", "services.nodeports", "services.loadbalancers"];

/// Ports of nodes are counted by intent, for they are given only after the quota was asked.
pub(super) fn usage(service: &Value) -> Amounts {
    let ports = service["spec"]["ports"].as_array().map(Vec::as_slice).unwrap_or_default();
    let given = || ports.iter().filter(|port| port["nodePort"].as_i64().is_some_and(|port| port != 0)).count();
    let (node_ports, balancers) = match service["spec"]["type"].as_str().unwrap_or("ClusterIP") {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if service["spec"]["allocateLoadBalancerNodePorts"] == false => (given(), 1),
        "LoadBalancer" => (ports.len(), 1),
        _ => (0, 0),
    };
    let amounts = RESOURCES.iter().zip([1, node_ports, balancers]);
    amounts.map(|(name, number)| ((*name).to_owned(), Amounts::number(number))).collect()
}
