//! What the scheduler keeps of a node, and what runs there.
//!
//! Invariant: `requested` and `usual` of a node are always the sums over its pods.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use super::pod::{HostPort, PodInfo};
use super::resources::Resources;
use crate::plan::labels::Labels;

/// The number of a node in the cache; numbers of nodes that are gone are used again.
pub(super) type NodeId = u32;

/// The parts of a Node that plugins look at.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NodeFacts {
    pub(super) name: Arc<str>,
    pub(super) labels: Labels,
    pub(super) unschedulable: bool,
    pub(super) taints: Vec<Taint>,
    pub(super) allocatable: Resources,
    /// Image names with their sizes in bytes.
    pub(super) images: HashMap<String, i64>,
    /// Type and status of each condition.
    pub(super) conditions: BTreeMap<String, String>,
    pub(super) features: Vec<String>,
    /// Only whether they changed is of interest.
    pub(super) annotations: Labels,
}

impl NodeFacts {
    pub(super) fn read(node: &Node) -> Self {
        let spec = node.spec.as_ref();
        let status = node.status.as_ref();
        let images = status.iter().flat_map(|status| status.images.iter().flatten()).flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image.names.iter().flatten().map(move |name| (name.clone(), size))
        });
        let conditions = status.iter().flat_map(|status| status.conditions.iter().flatten());
        Self {
            name: node.metadata.name.clone().unwrap_or_default().into(),
            labels: node.metadata.labels.clone().unwrap_or_default(),
            unschedulable: spec.is_some_and(|spec| spec.unschedulable == Some(true)),
            taints: spec.and_then(|spec| spec.taints.clone()).unwrap_or_default(),
            allocatable: Resources::offered(status.and_then(|status| status.allocatable.as_ref())),
            images: images.collect(),
            conditions: conditions.map(|one| (one.type_.clone(), one.status.clone())).collect(),
            features: status.and_then(|status| status.declared_features.clone()).unwrap_or_default(),
            annotations: node.metadata.annotations.clone().unwrap_or_default(),
        }
    }

    /// Region and zone as one name, empty when the node has neither.
    pub(super) fn zone(&self) -> String {
        let label = |stable: &str, beta: &str| {
            let known = self.labels.get(stable).or_else(|| self.labels.get(beta));
            known.map(String::as_str).unwrap_or("")
        };
        let region = label("topology.kubernetes.io/region", "failure-domain.beta.kubernetes.io/region");
        let zone = label("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone");
        if region.is_empty() && zone.is_empty() { String::new() } else { format!("{region}:\0:{zone}") }
    }

    /// The taints that keep pods away unless tolerated.
    pub(super) fn hard_taints(&self) -> impl Iterator<Item = &Taint> {
        self.taints.iter().filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute")
    }
}

/// One node and what runs there. A node that was not seen yet, or is gone while its pods are not, has no facts.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeInfo {
    pub(super) id: NodeId,
    pub(super) facts: Option<Arc<NodeFacts>>,
    pub(super) pods: Vec<Arc<PodInfo>>,
    pub(super) requested: Resources,
    /// Requested cpu and memory with the usual amounts where nothing is asked, for scores.
    pub(super) usual: (i64, i64),
    /// Numbers of the node's images with their sizes, sorted.
    pub(super) images: Vec<(u32, i64)>,
    /// How many pods here want a port of the host.
    pub(super) with_ports: usize,
    /// How many pods here have volumes.
    pub(super) with_volumes: usize,
}

impl NodeInfo {
    /// The facts of a node that exists.
    pub(super) fn known(&self) -> &NodeFacts {
        self.facts.as_ref().expect("invariant: only nodes with facts are offered to plugins")
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.known().name
    }

    pub(super) fn add(&mut self, pod: Arc<PodInfo>) {
        let shape = &pod.shape;
        self.requested.add(&shape.requests);
        self.usual = (self.usual.0.saturating_add(shape.usual.0), self.usual.1.saturating_add(shape.usual.1));
        self.with_ports += usize::from(!shape.ports.is_empty());
        self.with_volumes += usize::from(!shape.volumes.is_empty());
        self.pods.push(pod);
    }

    /// Takes the pod of that uid away.
    pub(super) fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let place = self.pods.iter().position(|pod| *pod.uid == *uid)?;
        let pod = self.pods.swap_remove(place);
        let shape = &pod.shape;
        self.requested.subtract(&shape.requests);
        self.usual = (self.usual.0.saturating_sub(shape.usual.0), self.usual.1.saturating_sub(shape.usual.1));
        self.with_ports -= usize::from(!shape.ports.is_empty());
        self.with_volumes -= usize::from(!shape.volumes.is_empty());
        Some(pod)
    }

    /// Whether a pod here has one of these ports.
    pub(super) fn clashes(&self, wanted: &[HostPort]) -> bool {
        let taken =
            |port: &HostPort| self.pods.iter().flat_map(|pod| &pod.shape.ports).any(|other| port.clashes(other));
        self.with_ports > 0 && wanted.iter().any(taken)
    }
}
