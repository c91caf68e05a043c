//! What every node has, and what is already spoken for.
//!
//! Invariant: `requested` of a node is always the sum over its `pods`; a pod is in at most one node. A pod on a node not
//! yet seen waits in a node entry without a node, so events may come in any order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use super::resources::{self, Resources};
use crate::plan::pod;

/// All nodes with their pods, assumed ones included.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    nodes: BTreeMap<String, NodeInfo>,
    /// Which node a pod is counted on.
    homes: HashMap<String, String>,
    /// How many nodes have each image.
    images: HashMap<String, usize>,
}

/// One node and what runs there.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    pub(super) node: Option<Arc<Node>>,
    pub(super) allocatable: Resources,
    pub(super) requested: Resources,
    /// Requested cpu and memory with the usual amounts where nothing is asked, for scores.
    pub(super) usual: (i64, i64),
    pub(super) pods: HashMap<String, Load>,
    pub(super) images: HashMap<String, i64>,
}

/// What one pod takes on its node.
#[derive(Clone, Debug)]
pub(super) struct Load {
    requests: Resources,
    usual: (i64, i64),
    pub(super) ports: BTreeSet<HostPort>,
    pub(super) priority: i32,
}

/// A port of the host that a container wants for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostPort {
    pub(super) address: String,
    pub(super) protocol: String,
    pub(super) number: i32,
}

impl HostPort {
    /// The same port, unless both name different addresses.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let any = |port: &Self| port.address.is_empty() || port.address == "0.0.0.0";
        self.protocol == other.protocol
            && self.number == other.number
            && (any(self) || any(other) || self.address == other.address)
    }
}

/// The host ports a pod wants.
pub(super) fn host_ports(pod: &Pod) -> BTreeSet<HostPort> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let sidecars = spec.init_containers.iter().flatten().filter(|one| one.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let wanted = ports.filter_map(|port| {
        Some(HostPort {
            number: port.host_port.filter(|number| *number > 0)?,
            address: port.host_ip.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
        })
    });
    wanted.collect()
}

impl Snapshot {
    /// A node appeared or changed.
    pub fn put_node(&mut self, node: &Arc<Node>) {
        let info = self.nodes.entry(node.name_any()).or_default();
        let status = node.status.as_ref();
        info.allocatable = Resources::offered(status.and_then(|status| status.allocatable.as_ref()));
        let images: HashMap<String, i64> = status
            .iter()
            .flat_map(|status| status.images.iter().flatten())
            .flat_map(|image| {
                let size = image.size_bytes.unwrap_or(0);
                image.names.iter().flatten().map(move |name| (name.clone(), size))
            })
            .collect();
        let before = std::mem::replace(&mut info.images, images);
        for name in info.images.keys().filter(|name| !before.contains_key(*name)) {
            *self.images.entry(name.clone()).or_insert(0) += 1;
        }
        info.node = Some(node.clone());
        let gone: Vec<String> = before.into_keys().filter(|name| !info.images.contains_key(name)).collect();
        self.forget_images(gone);
    }

    /// A node went away; its pods are remembered until they go too.
    pub fn remove_node(&mut self, name: &str) {
        let Some(info) = self.nodes.get_mut(name) else { return };
        info.node = None;
        info.allocatable = Resources::default();
        let gone: Vec<String> = info.images.drain().map(|(name, _)| name).collect();
        if info.pods.is_empty() {
            self.nodes.remove(name);
        }
        self.forget_images(gone);
    }

    fn forget_images(&mut self, names: Vec<String>) {
        for name in names {
            if let Some(count) = self.images.get_mut(&name) {
                *count -= 1;
                if *count == 0 {
                    self.images.remove(&name);
                }
            }
        }
    }

    /// A pod is on the node its spec names, or nowhere.
    pub fn put_pod(&mut self, pod: &Pod) {
        let node = pod::node_name(pod);
        if node.is_empty() || pod::is_terminal(pod) {
            self.remove_pod(pod.metadata.uid.as_deref().unwrap_or(""));
        } else {
            self.assume(pod, node);
        }
    }

    /// Counts the pod on `node` from now on.
    pub fn assume(&mut self, pod: &Pod, node: &str) {
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        self.remove_pod(&uid);
        let load = Load {
            requests: resources::requests(pod),
            usual: resources::usual_requests(pod),
            ports: host_ports(pod),
            priority: pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0),
        };
        let info = self.nodes.entry(node.to_owned()).or_default();
        info.requested.add(&load.requests);
        info.usual = (info.usual.0.saturating_add(load.usual.0), info.usual.1.saturating_add(load.usual.1));
        info.pods.insert(uid.clone(), load);
        self.homes.insert(uid, node.to_owned());
    }

    /// The pod takes no room any more.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        let Some(home) = self.homes.remove(uid) else { return false };
        let Some(info) = self.nodes.get_mut(&home) else { return false };
        if let Some(load) = info.pods.remove(uid) {
            info.requested.subtract(&load.requests);
            info.usual = (info.usual.0.saturating_sub(load.usual.0), info.usual.1.saturating_sub(load.usual.1));
        }
        if info.node.is_none() && info.pods.is_empty() {
            self.nodes.remove(&home);
        }
        true
    }

    /// The nodes that exist, by name.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&String, &NodeInfo, &Arc<Node>)> {
        self.nodes.iter().filter_map(|(name, info)| Some((name, info, info.node.as_ref()?)))
    }

    pub(super) fn nodes_with_image(&self, image: &str) -> usize {
        self.images.get(image).copied().unwrap_or(0)
    }

    /// The sum over the pods equals what is counted, and no node is over-committed.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        self.nodes.values().all(|info| {
            let mut sum = Resources::default();
            info.pods.values().for_each(|load| sum.add(&load.requests));
            let fits = sum.milli_cpu <= info.allocatable.milli_cpu
                && sum.memory <= info.allocatable.memory
                && sum.pods <= info.allocatable.pods
                && sum
                    .extended
                    .iter()
                    .all(|(name, amount)| info.allocatable.extended.get(name).is_some_and(|has| amount <= has));
            sum.subtract(&Resources::default());
            sum == info.requested && (info.node.is_none() || fits)
        })
    }
}
