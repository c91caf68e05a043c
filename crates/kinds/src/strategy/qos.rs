//! The quality-of-service class of a pod (upstream `ComputePodQOS`): who is killed last when memory runs out.

use base::Quantity;
use serde_json::Value;

use crate::json::{at, list, members};

const COUNTED: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed`, `Burstable` or `BestEffort`
pub(super) fn class(spec: &Value) -> &'static str {
    let pod_level = at(spec, "resources");
    if !pod_level.is_null() && asks(pod_level) {
        return if guaranteed(pod_level) { "Guaranteed" } else { "Burstable" };
    }
    let containers = || list(spec, "containers").iter().chain(list(spec, "initContainers"));
    if !containers().any(|container| asks(at(container, "resources"))) {
        return "BestEffort";
    }
    if containers().all(|container| guaranteed(at(container, "resources"))) { "Guaranteed" } else { "Burstable" }
}

fn quantity(resources: &Value, list: &str, name: &str) -> Option<Quantity> {
    at(at(resources, list), name).as_str()?.parse().ok().filter(|quantity: &Quantity| !quantity.is_zero())
}

fn asks(resources: &Value) -> bool {
    ["requests", "limits"].iter().any(|list| {
        members(resources, list)
            .any(|(name, _)| COUNTED.contains(&name.as_str()) && quantity(resources, list, name).is_some())
    })
}

fn guaranteed(resources: &Value) -> bool {
    COUNTED.iter().all(|name| {
        let limit = quantity(resources, "limits", name);
        // Requests that are not set follow the limits.
        limit.is_some() && quantity(resources, "requests", name).is_none_or(|request| Some(request) == limit)
    })
}
