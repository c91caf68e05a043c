//! The EndpointSlices of a Service, per address family and set of ports, at most 100 endpoints each.
//!
//! Invariant: an endpoint stays in the slice it is in, so one pod's change rewrites one slice; only what a slice has lost
//! is refilled, and new slices come last (upstream `reconciler.go`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base::time;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::labels::Labels;
use super::service::{self, Port};
use super::{claim, pod};

const MOST: usize = 100;
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
pub const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
pub const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    Create(Box<EndpointSlice>),
    Update(Box<EndpointSlice>),
    Delete(Arc<EndpointSlice>),
}

/// What was seen.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Every pod of the namespace.
    pub pods: &'a [Arc<Pod>],
    /// The slices labelled with the Service's name and our manager name, own writes included.
    pub slices: &'a [Arc<EndpointSlice>],
    /// For the zone of each endpoint.
    pub nodes: &'a HashMap<String, Arc<Node>>,
}

/// Whether the slice is ours to keep.
pub fn is_ours(slice: &EndpointSlice) -> bool {
    slice.labels().get(MANAGED_BY).is_some_and(|manager| manager == MANAGER)
}

/// Decides what to do about the slices of `service`; without the Service they all go.
pub fn plan(service: Option<&Service>, observed: &Observed<'_>) -> Vec<Action> {
    let Some(service) = service else {
        return observed.slices.iter().cloned().map(Action::Delete).collect();
    };
    let Some(spec) = service.spec.as_ref().filter(|spec| service::is_selecting(spec)) else { return Vec::new() };
    if service.metadata.deletion_timestamp.is_some() {
        return Vec::new();
    }
    let families: Vec<String> = match &spec.ip_families {
        Some(families) if !families.is_empty() => families.clone(),
        _ => vec!["IPv4".into()],
    };
    let backends = service::backends(service, observed.pods);
    let mut actions = Vec::new();
    for family in &families {
        let mut wanted: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
        for pod in &backends {
            let addresses: Vec<String> =
                pod::addresses(pod).into_iter().filter(|ip| ip.contains(':') == (family == "IPv6")).collect();
            if !addresses.is_empty() {
                let endpoint = endpoint(service, pod, addresses, observed.nodes);
                wanted.entry(service::ports(spec, pod)).or_default().push(endpoint);
            }
        }
        if wanted.is_empty() {
            wanted.insert(Vec::new(), Vec::new()); // a placeholder tells "no endpoints" from "not looked at yet"
        }
        let slices = observed.slices.iter().filter(|slice| slice.address_type == *family);
        actions.extend(family_plan(service, &backends, family, wanted, slices));
    }
    let stale = observed.slices.iter().filter(|slice| !families.contains(&slice.address_type));
    actions.extend(stale.cloned().map(Action::Delete));
    actions
}

fn endpoint(service: &Service, pod: &Pod, addresses: Vec<String>, nodes: &HashMap<String, Arc<Node>>) -> Endpoint {
    let serving = pod::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let published = service.spec.as_ref().is_some_and(service::publishes_unready);
    let node = Some(pod::node_name(pod).to_owned()).filter(|name| !name.is_empty());
    let zone = node.as_ref().and_then(|node| nodes.get(node)).and_then(|node| node.labels().get(ZONE).cloned());
    let ready = published || (serving && !terminating);
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: service::hostname(service, pod),
        target_ref: Some(service::reference(pod)),
        hints: hints(service, zone.as_deref(), node.as_deref()).filter(|_| ready),
        zone,
        node_name: node,
        ..Endpoint::default()
    }
}

/// For whom the endpoint is meant, if the Service wants its traffic to stay close.
fn hints(service: &Service, zone: Option<&str>, node: Option<&str>) -> Option<EndpointHints> {
    let distribution = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let node = match distribution {
        "PreferSameNode" => node,
        "PreferClose" | "PreferSameZone" => None,
        _ => return None,
    };
    let hints = EndpointHints {
        for_zones: zone.map(|name| vec![ForZone { name: name.to_owned() }]),
        for_nodes: node.map(|name| vec![ForNode { name: name.to_owned() }]),
    };
    (hints.for_zones.is_some() || hints.for_nodes.is_some()).then_some(hints)
}

/// Endpoints are the same when they stand for the same pod.
fn identity(endpoint: &Endpoint) -> String {
    endpoint.target_ref.as_ref().and_then(|target| target.uid.clone()).unwrap_or_else(|| endpoint.addresses.join(","))
}

fn family_plan<'a>(
    service: &Service,
    backends: &[&Pod],
    family: &str,
    mut wanted: BTreeMap<Vec<Port>, Vec<Endpoint>>,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
) -> Vec<Action> {
    let mut by_ports: BTreeMap<Vec<Port>, Vec<&Arc<EndpointSlice>>> = BTreeMap::new();
    slices.for_each(|slice| by_ports.entry(ports_of(slice)).or_default().push(slice));
    let mut actions = Vec::new();
    let stale: Vec<Vec<Port>> = by_ports.keys().filter(|ports| !wanted.contains_key(*ports)).cloned().collect();
    let mut spare: Vec<&Arc<EndpointSlice>> =
        stale.iter().filter_map(|ports| by_ports.remove(ports)).flatten().collect();
    for (ports, endpoints) in std::mem::take(&mut wanted) {
        let existing = by_ports.remove(&ports).unwrap_or_default();
        let fresh = Template { service, backends, family, ports };
        actions.extend(fresh.pack(endpoints, existing, &mut spare));
    }
    actions.extend(spare.into_iter().cloned().map(Action::Delete));
    actions
}

/// What all slices of one family and set of ports have in common.
struct Template<'a> {
    service: &'a Service,
    backends: &'a [&'a Pod],
    family: &'a str,
    ports: Vec<Port>,
}

impl Template<'_> {
    fn pack(
        &self,
        endpoints: Vec<Endpoint>,
        existing: Vec<&Arc<EndpointSlice>>,
        spare: &mut Vec<&Arc<EndpointSlice>>,
    ) -> Vec<Action> {
        let placeholder = endpoints.is_empty();
        let mut missing: BTreeMap<String, Endpoint> = endpoints.into_iter().map(|one| (identity(&one), one)).collect();
        let mut kept: Vec<(&Arc<EndpointSlice>, Vec<Endpoint>, bool)> = Vec::new();
        for slice in existing {
            let mut changed = false;
            let mut keep = Vec::new();
            for known in slice.endpoints.iter().flatten() {
                match missing.remove(&identity(known)) {
                    Some(now) => {
                        changed |= now != *known;
                        keep.push(now);
                    }
                    None => changed = true,
                }
            }
            kept.push((slice, keep, changed));
        }
        // Slices that are written anyway take newcomers first, then the fullest one that holds the rest.
        for (_, keep, _) in kept.iter_mut().filter(|(_, _, changed)| *changed) {
            refill(keep, &mut missing);
        }
        if !missing.is_empty() {
            let room = |keep: &Vec<Endpoint>| MOST.saturating_sub(keep.len());
            let fits = kept.iter_mut().filter(|(_, keep, _)| room(keep) >= missing.len());
            if let Some((_, keep, changed)) = fits.min_by_key(|(_, keep, _)| room(keep)) {
                refill(keep, &mut missing);
                *changed = true;
            }
        }
        let mut actions = Vec::new();
        let mut placed = false;
        for (slice, keep, changed) in kept {
            if keep.is_empty() && (!placeholder || placed) {
                actions.push(Action::Delete(slice.clone()));
                continue;
            }
            placed = true;
            actions.extend(self.update(slice, keep, changed));
        }
        while !missing.is_empty() || (placeholder && !placed) {
            placed = true;
            let mut next = Vec::new();
            refill(&mut next, &mut missing);
            match spare.pop() {
                Some(slice) => actions.extend(self.update(slice, next, true)),
                None => actions.push(Action::Create(Box::new(self.create(next)))),
            }
        }
        actions
    }

    fn labels(&self) -> Labels {
        let mut labels = service::inherited(self.service);
        labels.insert(SERVICE_NAME.into(), self.service.name_any());
        labels.insert(MANAGED_BY.into(), MANAGER.into());
        labels
    }

    fn create(&self, endpoints: Vec<Endpoint>) -> EndpointSlice {
        let mut slice = EndpointSlice {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", self.service.name_any())),
                namespace: self.service.metadata.namespace.clone(),
                labels: Some(self.labels()),
                owner_references: Some(vec![claim::reference(self.service)]),
                ..ObjectMeta::default()
            },
            address_type: self.family.to_owned(),
            endpoints: Some(endpoints),
            ports: Some(self.ports.iter().map(port).collect()),
        };
        self.stamp(&mut slice);
        slice
    }

    fn update(&self, slice: &Arc<EndpointSlice>, endpoints: Vec<Endpoint>, changed: bool) -> Option<Action> {
        let labels = self.labels();
        if !changed && *slice.labels() == labels {
            return None;
        }
        let mut next = (**slice).clone();
        next.endpoints = Some(endpoints);
        next.ports = Some(self.ports.iter().map(port).collect());
        next.metadata.labels = Some(labels);
        self.stamp(&mut next);
        Some(Action::Update(Box::new(next)))
    }

    fn stamp(&self, slice: &mut EndpointSlice) {
        if let Some(at) = service::triggered(self.service, self.backends) {
            let annotations = slice.metadata.annotations.get_or_insert_default();
            annotations.insert(service::TRIGGER_TIME.into(), time::rfc3339(at));
        }
    }
}

fn refill(keep: &mut Vec<Endpoint>, missing: &mut BTreeMap<String, Endpoint>) {
    while keep.len() < MOST
        && let Some((_, endpoint)) = missing.pop_first()
    {
        keep.push(endpoint);
    }
}

fn port(port: &Port) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.number),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    }
}

fn ports_of(slice: &EndpointSlice) -> Vec<Port> {
    let ports: BTreeSet<Port> = slice
        .ports
        .iter()
        .flatten()
        .map(|port| Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
            number: port.port.unwrap_or(0),
            app_protocol: port.app_protocol.clone(),
        })
        .collect();
    ports.into_iter().collect()
}

#[cfg(test)]
mod tests;
