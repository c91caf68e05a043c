//! What a Service says about a pod: whether it is an endpoint, in which state, under which ports.
//!
//! Invariant: Endpoints and EndpointSlices are derived from the same answers, so they never disagree.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ObjectReference, Pod, Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::labels::{self, Labels};
use super::pod;

/// Marks what belongs to a Service without a virtual address.
pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
/// When the change behind the last update happened; network programming latency is measured from it.
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A port as a client of the endpoint sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) protocol: String,
    pub(crate) number: i32,
    pub(crate) app_protocol: Option<String>,
}

/// Whether endpoints of this Service are ours to keep: it has a selector and is no alias.
pub fn is_selecting(spec: &ServiceSpec) -> bool {
    spec.type_.as_deref() != Some("ExternalName") && spec.selector.as_ref().is_some_and(|selector| !selector.is_empty())
}

/// Whether the Service selects a pod with these labels.
pub fn selects(service: &Service, pod_labels: &Labels) -> bool {
    let Some(spec) = &service.spec else { return false };
    is_selecting(spec) && spec.selector.as_ref().is_some_and(|selector| labels::contains(pod_labels, selector))
}

pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| spec.cluster_ip.as_deref() == Some("None"))
}

pub(crate) fn publishes_unready(spec: &ServiceSpec) -> bool {
    spec.publish_not_ready_addresses == Some(true)
}

/// The selected pods that have an address and may still answer, by name.
pub(crate) fn backends<'a>(service: &Service, pods: &'a [Arc<Pod>]) -> Vec<&'a Pod> {
    let chosen = pods
        .iter()
        .map(|pod| &**pod)
        .filter(|pod| selects(service, pod.labels()) && !pod::is_terminal(pod) && !pod::addresses(pod).is_empty());
    let mut chosen: Vec<&Pod> = chosen.collect();
    chosen.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    chosen
}

/// The ports of the Service as this pod serves them; a named port the pod lacks is left out.
pub(crate) fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<Port> {
    let found = spec.ports.iter().flatten().filter_map(|port| {
        Some(Port {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
            number: target(port, pod)?,
            app_protocol: port.app_protocol.clone(),
        })
    });
    let mut found: Vec<Port> = found.collect();
    found.sort();
    found
}

fn target(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let name = match &port.target_port {
        None | Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => return Some(port.port),
        Some(IntOrString::String(name)) => name,
    };
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let spec = pod.spec.as_ref()?;
    let sidecar = |container: &&Container| container.restart_policy.as_deref() == Some("Always");
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten().filter(sidecar));
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .find(|one| one.name.as_ref() == Some(name) && one.protocol.as_deref().unwrap_or("TCP") == protocol)
        .map(|one| one.container_port)
}

/// The name the pod has below the Service's own, if it asks for one.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.clone().filter(|hostname| !hostname.is_empty())?;
    (spec.subdomain.is_some() && spec.subdomain == service.metadata.name).then_some(hostname)
}

pub(crate) fn reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The latest change of what the endpoints are made from.
pub(crate) fn triggered(service: &Service, pods: &[&Pod]) -> Option<Timestamp> {
    let pods = pods.iter().filter_map(|pod| pod::condition(pod, "Ready")?.last_transition_time.as_ref());
    pods.chain(&service.metadata.creation_timestamp).map(|time| time.0).max()
}

/// The labels of a Service as its endpoints carry them.
pub(crate) fn inherited(service: &Service) -> Labels {
    let mut labels: Labels = service.labels().clone();
    if is_headless(service) {
        labels.insert(HEADLESS.into(), String::new());
    } else {
        labels.remove(HEADLESS);
    }
    labels
}
