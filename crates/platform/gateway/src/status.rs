//! What is written back to an Ingress: the address clients reach it at.

use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::networking::v1::Ingress;
use serde_json::{Value, json};

/// The patch that makes `ingress` tell `addresses`; none when it does already.
pub(crate) fn plan(ingress: &Ingress, addresses: &[String]) -> Option<Value> {
    let told = ingress.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let told = told.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    let same = told.len() == addresses.len()
        && told.iter().zip(addresses).all(|(told, ip)| told.ip.as_ref() == Some(ip) && told.hostname.is_none());
    let wanted: Vec<Value> = addresses.iter().map(|ip| json!({ "ip": ip })).collect();
    (!same && !addresses.is_empty()).then(|| json!({ "status": { "loadBalancer": { "ingress": wanted } } }))
}

/// The addresses of nodes inside the cluster, sorted.
pub(crate) fn internal_addresses<'a>(nodes: impl IntoIterator<Item = &'a Node>) -> Vec<String> {
    let statuses = nodes.into_iter().filter_map(|node| node.status.as_ref());
    let all = statuses.flat_map(|status| status.addresses.iter().flatten());
    let mut found: Vec<String> =
        all.filter(|address| address.type_ == "InternalIP").map(|address| address.address.clone()).collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ingress_that_tells_its_address_is_left_alone() {
        let addresses = ["10.0.0.1".to_owned()];
        let mut ingress = Ingress::default();
        let patch = plan(&ingress, &addresses).unwrap();
        assert_eq!(patch, json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "10.0.0.1" }] } } }));
        ingress.status = serde_json::from_value(patch["status"].clone()).unwrap();
        assert_eq!(plan(&ingress, &addresses), None);
        assert!(plan(&ingress, &["10.0.0.2".to_owned()]).is_some());
        assert_eq!(plan(&Ingress::default(), &[]), None);
    }

    #[test]
    fn only_internal_addresses_of_nodes_are_told() {
        let node: Node = serde_json::from_value(json!({ "status": { "addresses": [
            { "type": "Hostname", "address": "one" }, { "type": "InternalIP", "address": "10.0.0.1" } ] } }))
        .unwrap();
        assert_eq!(internal_addresses([&node, &node]), ["10.0.0.1"]);
    }
}
