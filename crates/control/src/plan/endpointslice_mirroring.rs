//! EndpointSlices for Endpoints that people wrote for a Service without a selector.
//!
//! Invariant: one slice for each family and set of ports, holding what the Endpoints say; slices of others are not touched.
//! Upstream `endpointslicemirroring`; Endpoints that only serve to elect a leader, or ask not to, are left alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::endpointslice::{Action, MANAGED_BY, SERVICE_NAME};
use super::labels::Labels;
use super::{claim, service};

pub const MANAGER: &str = "endpointslicemirroring-controller.k8s.io";
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// So many addresses of a subset are mirrored.
const MOST: usize = 1000;

/// What to do, and what to tell of the Endpoints: reason and message, all warnings.
#[derive(Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub notes: Vec<(&'static str, String)>,
}

/// Whether the slice is ours to keep.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    slice.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

/// Whether the Endpoints of that Service are mirrored.
pub fn is_mirrored(endpoints: &Endpoints, service: &Service) -> bool {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_none_or(BTreeMap::is_empty)
        && endpoints.labels().get(SKIP).is_none_or(|skip| skip != "true")
        && !endpoints.annotations().contains_key(LEADER)
}

type Group = (&'static str, Vec<EndpointPort>);

/// Decides; without Endpoints to mirror all slices go.
pub fn plan(endpoints: Option<&Endpoints>, slices: &[Arc<EndpointSlice>]) -> Plan {
    let Some(endpoints) = endpoints else {
        return Plan { actions: slices.iter().cloned().map(Action::Delete).collect(), notes: Vec::new() };
    };
    let (wanted, notes) = wanted(endpoints);
    let mut spare: Vec<&Arc<EndpointSlice>> = Vec::new();
    let mut kept: Vec<(&Group, &Arc<EndpointSlice>)> = Vec::new();
    for slice in slices {
        let ports = slice.ports.clone().unwrap_or_default();
        let group = wanted.iter().find(|(group, _)| group.0 == slice.address_type && group.1 == ports);
        match group.map(|(group, _)| group).filter(|group| !kept.iter().any(|(one, _)| one == group)) {
            Some(group) => kept.push((group, slice)),
            None => spare.push(slice),
        }
    }
    let mut actions = Vec::new();
    for (group, addresses) in &wanted {
        let known = kept.iter().find(|(one, _)| *one == group).map(|(_, slice)| *slice);
        let reused = || spare.iter().position(|slice| slice.address_type == group.0);
        let mut next = fresh(endpoints, group, addresses.clone());
        match known {
            Some(slice) if is_same(slice, &next) => {}
            Some(slice) => actions.push(Action::Update(Box::new(over(slice, next)))),
            None => match reused().map(|index| spare.remove(index)) {
                Some(slice) => actions.push(Action::Update(Box::new(over(slice, next)))),
                None if endpoints.metadata.deletion_timestamp.is_none() => {
                    next.metadata.generate_name = Some(format!("{}-", endpoints.name_any()));
                    actions.push(Action::Create(Box::new(next)));
                }
                None => {}
            },
        }
    }
    actions.extend(spare.into_iter().cloned().map(Action::Delete));
    Plan { actions, notes }
}

/// The endpoints of each group that has any.
type Wanted = Vec<(Group, Vec<Endpoint>)>;

/// What should be there, and what was left out: reasons and messages.
fn wanted(endpoints: &Endpoints) -> (Wanted, Vec<(&'static str, String)>) {
    let mut wanted: Wanted = Vec::new();
    let (mut invalid, mut beyond) = (0, 0);
    for subset in endpoints.subsets.iter().flatten() {
        let ports: Vec<EndpointPort> = subset
            .ports
            .iter()
            .flatten()
            .map(|port| EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port.port),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                app_protocol: port.app_protocol.clone(),
            })
            .collect();
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let mut added = 0;
        for (address, ready) in ready.chain(subset.not_ready_addresses.iter().flatten().map(|address| (address, false)))
        {
            if added == MOST {
                beyond += 1;
                continue;
            }
            let Some((family, endpoint)) = endpoint(address, ready) else {
                invalid += 1;
                continue;
            };
            added += 1;
            let group = (family, ports.clone());
            let index = wanted.iter().position(|(one, _)| *one == group).unwrap_or_else(|| {
                wanted.push((group, Vec::new()));
                wanted.len() - 1
            });
            let list = &mut wanted[index].1;
            if list.len() < MOST && !list.contains(&endpoint) {
                list.push(endpoint);
            }
        }
    }
    let mut notes = Vec::new();
    if invalid > 0 {
        let text = format!("Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices");
        notes.push(("InvalidIPAddress", text));
    }
    if beyond > 0 {
        let skipped = beyond + invalid;
        let text = format!(
            "A max of {MOST} addresses can be mirrored to EndpointSlices per Endpoints subset. {skipped} addresses were skipped"
        );
        notes.push(("TooManyAddressesToMirror", text));
    }
    (wanted, notes)
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Option<(&'static str, Endpoint)> {
    let ip: IpAddr = address.ip.parse().ok()?;
    let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let endpoint = Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    };
    Some((family, endpoint))
}

fn fresh(endpoints: &Endpoints, group: &Group, addresses: Vec<Endpoint>) -> EndpointSlice {
    let mut labels: Labels = endpoints.labels().clone();
    labels.insert(SERVICE_NAME.into(), endpoints.name_any());
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    let mut annotations: Labels = endpoints.annotations().clone();
    annotations.retain(|key, _| key != service::TRIGGER_TIME && key != LAST_APPLIED);
    EndpointSlice {
        metadata: ObjectMeta {
            namespace: endpoints.namespace(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![claim::reference(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: group.0.to_owned(),
        endpoints: Some(addresses),
        ports: Some(group.1.clone()),
    }
}

/// The new content under the name and version of a slice that is there.
fn over(slice: &EndpointSlice, mut next: EndpointSlice) -> EndpointSlice {
    let own = std::mem::take(&mut next.metadata);
    next.metadata = ObjectMeta {
        labels: own.labels,
        annotations: own.annotations,
        owner_references: own.owner_references,
        ..slice.metadata.clone()
    };
    next
}

fn is_same(slice: &EndpointSlice, next: &EndpointSlice) -> bool {
    let uids = |slice: &EndpointSlice| -> Vec<String> {
        slice.metadata.owner_references.iter().flatten().map(|owner| owner.uid.clone()).collect()
    };
    let among = |one: &Endpoint, all: &EndpointSlice| all.endpoints.iter().flatten().any(|other| same(one, other));
    let all = |slice: &EndpointSlice| slice.endpoints.clone().unwrap_or_default();
    slice.labels() == next.labels()
        && slice.annotations() == next.annotations()
        && uids(slice) == uids(next)
        && all(slice).len() == all(next).len()
        && all(slice).iter().all(|one| among(one, next))
}

/// The same but for conditions that only a server has filled in.
fn same(a: &Endpoint, b: &Endpoint) -> bool {
    let ready = |one: &Endpoint| one.conditions.as_ref().and_then(|conditions| conditions.ready);
    (&a.addresses, &a.hostname, &a.node_name, &a.target_ref, ready(a))
        == (&b.addresses, &b.hostname, &b.node_name, &b.target_ref, ready(b))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn endpoints(subsets: Value) -> Endpoints {
        serde_json::from_value(json!({
            "metadata": { "name": "db", "namespace": "shop", "uid": "e1", "labels": { "app": "db" },
                "annotations": { LAST_APPLIED: "{}", "note": "kept" } },
            "subsets": subsets,
        }))
        .expect("endpoints")
    }

    /// Applies the plan, naming new slices in order; how many actions there were.
    fn settle(endpoints: Option<&Endpoints>, slices: &mut Vec<Arc<EndpointSlice>>, serial: &mut usize) -> usize {
        let actions = plan(endpoints, slices).actions;
        let count = actions.len();
        for action in actions {
            match action {
                Action::Create(mut slice) => {
                    *serial += 1;
                    slice.metadata.name = Some(format!("db-{serial}"));
                    slices.push(Arc::new(*slice));
                }
                Action::Update(slice) => {
                    let old = slices.iter_mut().find(|one| one.name_any() == slice.name_any());
                    *old.expect("a known slice") = Arc::new(*slice);
                }
                Action::Delete(slice) => slices.retain(|one| one.name_any() != slice.name_any()),
            }
        }
        count
    }

    fn show(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
        let line = |slice: &Arc<EndpointSlice>| {
            let ports = slice.ports.iter().flatten().map(|port| port.port.unwrap_or(0).to_string());
            let endpoints = slice.endpoints.iter().flatten().map(|one| {
                let ready = one.conditions.as_ref().is_some_and(|conditions| conditions.ready == Some(true));
                format!("{}{}", one.addresses[0], if ready { "" } else { "!" })
            });
            let (ports, endpoints): (Vec<String>, Vec<String>) = (ports.collect(), endpoints.collect());
            format!("{} {} [{}] {}", slice.name_any(), slice.address_type, ports.join(","), endpoints.join(" "))
        };
        slices.iter().map(line).collect()
    }

    #[test]
    fn each_family_and_set_of_ports_has_a_slice() {
        let (mut slices, mut serial) = (Vec::new(), 0);
        let first = endpoints(json!([
            { "addresses": [{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }], "notReadyAddresses": [{ "ip": "10.0.0.2" }],
              "ports": [{ "port": 5432 }] },
            { "addresses": [{ "ip": "10.0.0.3" }], "ports": [{ "port": 80, "name": "web" }] },
        ]));
        settle(Some(&first), &mut slices, &mut serial);
        assert_eq!(
            show(&slices),
            ["db-1 IPv4 [5432] 10.0.0.1 10.0.0.2!", "db-2 IPv6 [5432] fd00::1", "db-3 IPv4 [80] 10.0.0.3"]
        );
        let meta = &slices[0].metadata;
        assert_eq!(meta.labels.as_ref().expect("labels")[SERVICE_NAME], "db");
        assert_eq!(meta.annotations, Some(BTreeMap::from([("note".to_owned(), "kept".to_owned())])));
        assert_eq!(settle(Some(&first), &mut slices, &mut serial), 0, "planning again must yield nothing");
        // other ports reuse the slice that goes
        let second = endpoints(json!([{ "addresses": [{ "ip": "10.0.0.3" }], "ports": [{ "port": 81 }] }]));
        settle(Some(&second), &mut slices, &mut serial);
        assert_eq!(show(&slices), ["db-1 IPv4 [81] 10.0.0.3"]);
        settle(None, &mut slices, &mut serial);
        assert!(slices.is_empty());
    }

    #[test]
    fn what_cannot_be_mirrored_is_told() {
        let many: Vec<Value> = (0..1002).map(|n| json!({ "ip": format!("10.0.{}.{}", n / 250, n % 250) })).collect();
        let told = plan(Some(&endpoints(json!([{ "addresses": [{ "ip": "10.0.0.x" }] }]))), &[]);
        let text = "Skipped 1 invalid IP addresses when mirroring to EndpointSlices";
        assert_eq!(told.notes, [("InvalidIPAddress", text.to_owned())]);
        let told = plan(Some(&endpoints(json!([{ "addresses": many }]))), &[]);
        assert_eq!(told.notes[0].0, "TooManyAddressesToMirror");
        assert!(told.notes[0].1.ends_with("2 addresses were skipped"));
    }

    #[test]
    fn only_services_without_a_selector_are_mirrored() {
        let service = |spec: Value| serde_json::from_value(json!({ "metadata": {}, "spec": spec })).expect("a service");
        let plain = endpoints(json!([]));
        assert!(is_mirrored(&plain, &service(json!({}))));
        assert!(!is_mirrored(&plain, &service(json!({ "selector": { "a": "b" } }))));
        let mut skipped = plain.clone();
        skipped.labels_mut().insert(SKIP.into(), "true".into());
        assert!(!is_mirrored(&skipped, &service(json!({}))));
        let mut election = plain;
        election.annotations_mut().insert(LEADER.into(), "{}".into());
        assert!(!is_mirrored(&election, &service(json!({}))));
    }

    proptest! {
        #[test]
        fn it_settles_from_anything(
            before in prop::collection::vec((0u8..3, 0u8..9, any::<bool>()), 0..8),
            after in prop::collection::vec((0u8..3, 0u8..9, any::<bool>()), 0..8),
        ) {
            let of = |list: &[(u8, u8, bool)]| {
                let subsets: Vec<Value> = list.iter().map(|(port, ip, ready)| {
                    let kind = if *ready { "addresses" } else { "notReadyAddresses" };
                    json!({ kind: [{ "ip": format!("10.0.0.{ip}") }], "ports": [{ "port": 80 + i32::from(*port) }] })
                }).collect();
                endpoints(json!(subsets))
            };
            let (mut slices, mut serial) = (Vec::new(), 0);
            settle(Some(&of(&before)), &mut slices, &mut serial);
            settle(Some(&of(&after)), &mut slices, &mut serial);
            prop_assert_eq!(settle(Some(&of(&after)), &mut slices, &mut serial), 0);
            let ports: std::collections::BTreeSet<u8> = after.iter().map(|(port, _, _)| *port).collect();
            prop_assert_eq!(slices.len(), ports.len());
        }
    }
}
