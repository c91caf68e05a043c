//! The classic Endpoints object of a Service.
//!
//! Invariant: addresses with the same ports share a subset, everything is sorted, so equal worlds give equal objects.
//! At most 1000 addresses, ready ones first, and an annotation that says so (upstream `endpoints_controller.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use base::time;
use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::pod;
use super::service::{self, Port};

const CAPACITY: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Tells our objects from those people write for Services without a selector.
pub const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpoint-controller";

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    Create(Box<Endpoints>),
    Update(Box<Endpoints>),
    Delete,
}

/// Decides what to do about the Endpoints called like the Service.
pub fn plan(service: Option<&Service>, pods: &[Arc<Pod>], existing: Option<&Endpoints>) -> Option<Action> {
    let Some(service) = service else {
        let ours = existing?.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER);
        return ours.then_some(Action::Delete);
    };
    let spec = service.spec.as_ref().filter(|spec| service::is_selecting(spec))?;
    if service.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let unready = service::publishes_unready(spec);
    let mut backends = service::backends(service, pods);
    backends.retain(|pod| unready || pod.metadata.deletion_timestamp.is_none());
    let (subsets, truncated) = subsets(service, &backends);
    let mut labels = service::inherited(service);
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let Some(existing) = existing else {
        let mut created = Endpoints {
            metadata: ObjectMeta {
                name: service.metadata.name.clone(),
                namespace: service.metadata.namespace.clone(),
                labels: Some(labels),
                ..ObjectMeta::default()
            },
            subsets,
        };
        annotate(&mut created, service, &backends, truncated);
        return Some(Action::Create(Box::new(created)));
    };
    let known = existing.subsets.clone().filter(|subsets| !subsets.is_empty());
    let marked = existing.annotations().contains_key(OVER_CAPACITY);
    if known == subsets && *existing.labels() == labels && marked == truncated {
        return None;
    }
    let mut updated = existing.clone();
    updated.subsets = subsets;
    updated.metadata.labels = Some(labels);
    annotate(&mut updated, service, &backends, truncated);
    Some(Action::Update(Box::new(updated)))
}

fn annotate(endpoints: &mut Endpoints, service: &Service, backends: &[&Pod], truncated: bool) {
    let annotations = endpoints.metadata.annotations.get_or_insert_default();
    if let Some(at) = service::triggered(service, backends) {
        annotations.insert(service::TRIGGER_TIME.into(), time::rfc3339(at));
    }
    if truncated {
        annotations.insert(OVER_CAPACITY.into(), "truncated".into());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
}

fn subsets(service: &Service, backends: &[&Pod]) -> (Option<Vec<EndpointSubset>>, bool) {
    let Some(spec) = &service.spec else { return (None, false) };
    let family = spec.ip_families.as_ref().and_then(|families| families.first()).map_or("IPv4", String::as_str);
    let mut ordered: Vec<&Pod> = backends.to_vec();
    let truncated = ordered.len() > CAPACITY;
    if truncated {
        ordered.sort_by_key(|pod| !pod::is_ready(pod));
        ordered.truncate(CAPACITY);
    }
    let mut grouped: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    for pod in ordered {
        let ports = service::ports(spec, pod);
        let wanted = spec.ports.iter().flatten().count();
        if ports.is_empty() && !(wanted == 0 && service::is_headless(service)) {
            continue;
        }
        let Some(ip) = pod::addresses(pod).into_iter().find(|ip| ip.contains(':') == (family == "IPv6")) else {
            continue;
        };
        let address = EndpointAddress {
            ip,
            hostname: service::hostname(service, pod),
            node_name: Some(pod::node_name(pod).to_owned()).filter(|name| !name.is_empty()),
            target_ref: Some(service::reference(pod)),
        };
        let (ready, unready) = grouped.entry(ports).or_default();
        if service::publishes_unready(spec) || pod::is_ready(pod) { ready.push(address) } else { unready.push(address) }
    }
    let sorted = |mut addresses: Vec<EndpointAddress>| {
        addresses.sort_by(|a, b| a.ip.cmp(&b.ip));
        (!addresses.is_empty()).then_some(addresses)
    };
    let subsets: Vec<EndpointSubset> = grouped
        .into_iter()
        .map(|(ports, (ready, unready))| EndpointSubset {
            addresses: sorted(ready),
            not_ready_addresses: sorted(unready),
            ports: Some(ports.into_iter().map(port).collect()).filter(|ports: &Vec<_>| !ports.is_empty()),
        })
        .collect();
    ((!subsets.is_empty()).then_some(subsets), truncated)
}

fn port(port: Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name).filter(|name| !name.is_empty()),
        port: port.number,
        protocol: Some(port.protocol),
        app_protocol: port.app_protocol,
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::world::World;

    fn describe(endpoints: &Endpoints) -> String {
        let list = |addresses: &Option<Vec<EndpointAddress>>| {
            let one = |address: &EndpointAddress| {
                let host = address.hostname.as_ref().map(|host| format!("({host})")).unwrap_or_default();
                format!("{}{host}", address.ip)
            };
            addresses.iter().flatten().map(one).collect::<Vec<_>>().join(",")
        };
        let subsets = endpoints.subsets.iter().flatten().map(|subset| {
            let ports = subset.ports.iter().flatten().map(|port| {
                format!(
                    "{}:{}/{}",
                    port.name.as_deref().unwrap_or(""),
                    port.port,
                    port.protocol.as_deref().unwrap_or("")
                )
            });
            let ports = ports.collect::<Vec<_>>().join(",");
            format!(
                "ready [{}] unready [{}] ports [{ports}]",
                list(&subset.addresses),
                list(&subset.not_ready_addresses)
            )
        });
        subsets.collect::<Vec<_>>().join("\n")
    }

    fn check(text: &str, expected: Expect) {
        let world = World::parse(text);
        let service = world.services.first().expect("a service");
        let text = match plan(Some(service), &world.pods, None) {
            Some(Action::Create(created)) => {
                assert!(
                    plan(Some(service), &world.pods, Some(&created)).is_none(),
                    "planning again must yield nothing"
                );
                describe(&created)
            }
            other => format!("{other:?}"),
        };
        expected.assert_eq(&text);
    }

    #[test]
    fn ready_and_unready_pods_are_told_apart_and_terminating_ones_left_out() {
        check(
            "service web port=80:8080
             pod a ready ip=10.0.0.2
             pod b ip=10.0.0.1
             pod c ready deleting ip=10.0.0.3
             pod d ready
             pod e ready ip=10.0.0.4 phase=Failed",
            expect!["ready [10.0.0.2] unready [10.0.0.1] ports [:8080/TCP]"],
        );
    }

    #[test]
    fn a_named_port_resolves_per_pod() {
        check(
            "service web port=http=80:web
             pod a ready ip=10.0.0.1 port=web:8080
             pod b ready ip=10.0.0.2 port=web:9090
             pod c ready ip=10.0.0.3",
            expect![[r#"
                ready [10.0.0.1] unready [] ports [http:8080/TCP]
                ready [10.0.0.2] unready [] ports [http:9090/TCP]"#]],
        );
    }

    #[test]
    fn a_headless_service_without_ports_lists_addresses_and_hostnames() {
        check(
            "service db headless
             pod db-0 ready ip=10.0.0.1 hostname=db-0 subdomain=db
             pod db-1 ip=10.0.0.2 hostname=db-1 subdomain=other",
            expect!["ready [10.0.0.1(db-0)] unready [10.0.0.2] ports []"],
        );
    }

    #[test]
    fn unready_addresses_are_published_on_request_even_while_terminating() {
        check(
            "service web port=80:80 publish
             pod a ip=10.0.0.1
             pod b ip=10.0.0.2 deleting",
            expect!["ready [10.0.0.1,10.0.0.2] unready [] ports [:80/TCP]"],
        );
    }

    #[test]
    fn a_service_without_selector_is_untouched() {
        check("service web port=80:80 noselector\npod a ready ip=10.0.0.1", expect!["None"]);
    }
}
