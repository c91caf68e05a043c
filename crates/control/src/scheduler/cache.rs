//! Every node with its pods, assumed ones included: what decisions are made on.
//!
//! Invariant: a change costs what changed. A pod is on at most one node; a pod on a node not yet seen waits in a node
//! without facts, so events may come in any order. Besides the nodes the cache keeps, for each shape of pods, how many of
//! them are where ([`Placed`]), and for each topology key somebody asked about, which nodes are in which domain
//! ([`Topology`]): so counting pods per domain costs the nodes that have such pods, not all nodes times all pods.
//! Why no snapshot beside it, as upstream has: one loop decides, and it holds the lock while it does.

mod fast;
mod topology;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::node::{NodeFacts, NodeId, NodeInfo};
use super::pod::{PodInfo, Shape};

pub(super) use fast::FastMap;
pub(super) use topology::{HOSTNAME, NOWHERE, Topology, ZONE};

/// How many pods of one shape are on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) all: u32,
    /// Without those that are being deleted.
    pub(super) alive: u32,
}

/// Where the pods of one shape are.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) shape: Arc<Shape>,
    pub(super) nodes: FastMap<NodeId, Count>,
}

struct Home {
    pod: Arc<PodInfo>,
    node: NodeId,
    assumed: bool,
}

/// All nodes with their pods.
#[derive(Default)]
pub struct Cache {
    nodes: Vec<NodeInfo>,
    free: Vec<NodeId>,
    by_name: HashMap<Arc<str>, NodeId>,
    /// The nodes that exist, taken from the zones in turn.
    order: Vec<NodeId>,
    zones: Vec<(String, Vec<NodeId>)>,
    reorder: bool,
    homes: HashMap<Arc<str>, Home>,
    placed: FastMap<usize, Placed>,
    by_namespace: HashMap<String, BTreeSet<usize>>,
    /// Shapes with inter-pod terms.
    with_terms: BTreeSet<usize>,
    /// Topology keys to learn before the next decision.
    unlearned: BTreeSet<String>,
    topologies: BTreeMap<String, Topology>,
    /// How many pods on nodes use a claim by its name.
    claims: HashMap<(String, String), u32>,
    images: HashMap<String, Image>,
    image_number: u32,
    /// Existing nodes with a taint that is only a preference.
    disliked: usize,
}

struct Image {
    number: u32,
    nodes: u32,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("nodes", &self.order.len()).field("pods", &self.homes.len()).finish()
    }
}

/// A shape by its address, which is its identity.
pub(super) fn identity(shape: &Arc<Shape>) -> usize {
    Arc::as_ptr(shape) as usize
}

impl Cache {
    /// A node appeared or changed. Gives what was known before.
    pub(super) fn put_node(&mut self, facts: Arc<NodeFacts>) -> Option<Arc<NodeFacts>> {
        let id = self.slot(&facts.name);
        let before = self.nodes[id as usize].facts.replace(facts.clone());
        if let Some(before) = &before {
            self.forget_images(before);
            self.disliked -= usize::from(is_disliked(before));
        }
        self.disliked += usize::from(is_disliked(&facts));
        self.nodes[id as usize].images = self.number_images(&facts);
        let zone = before.as_ref().map(|before| before.zone());
        if zone.as_ref() != Some(&facts.zone()) {
            if let Some(zone) = zone {
                self.leave_zone(&zone, id);
            }
            self.enter_zone(facts.zone(), id);
        }
        if before.as_ref().is_none_or(|before| before.labels != facts.labels) {
            self.topologies.iter_mut().for_each(|(key, topology)| topology.place(id, facts.labels.get(key)));
        }
        before
    }

    /// A node went away; its pods are remembered until they go too.
    pub(super) fn remove_node(&mut self, name: &str) -> Option<Arc<NodeFacts>> {
        let id = *self.by_name.get(name)?;
        let facts = self.nodes[id as usize].facts.take()?;
        self.nodes[id as usize].images = Vec::new();
        self.forget_images(&facts);
        self.disliked -= usize::from(is_disliked(&facts));
        self.leave_zone(&facts.zone(), id);
        self.topologies.values_mut().for_each(|topology| topology.place(id, None));
        self.release(id, name);
        Some(facts)
    }

    fn slot(&mut self, name: &Arc<str>) -> NodeId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(NodeInfo::default());
            NodeId::try_from(self.nodes.len() - 1).expect("invariant: a cluster has fewer than 2^32 nodes")
        });
        self.nodes[id as usize] = NodeInfo { id, ..NodeInfo::default() };
        self.by_name.insert(name.clone(), id);
        id
    }

    fn release(&mut self, id: NodeId, name: &str) {
        let info = &self.nodes[id as usize];
        if info.facts.is_none() && info.pods.is_empty() {
            self.by_name.remove(name);
            self.free.push(id);
        }
    }

    fn enter_zone(&mut self, zone: String, id: NodeId) {
        match self.zones.iter_mut().find(|(name, _)| *name == zone) {
            Some((_, nodes)) => nodes.push(id),
            None => self.zones.push((zone, vec![id])),
        }
        self.reorder = true;
    }

    fn leave_zone(&mut self, zone: &str, id: NodeId) {
        if let Some((_, nodes)) = self.zones.iter_mut().find(|(name, _)| name == zone) {
            nodes.retain(|one| *one != id);
        }
        self.zones.retain(|(_, nodes)| !nodes.is_empty());
        self.reorder = true;
    }

    fn number_images(&mut self, facts: &NodeFacts) -> Vec<(u32, i64)> {
        let mut numbered = Vec::with_capacity(facts.images.len());
        for (name, size) in &facts.images {
            let next = &mut self.image_number;
            let image = self.images.entry(name.clone()).or_insert_with(|| {
                *next += 1;
                Image { number: *next, nodes: 0 }
            });
            image.nodes += 1;
            numbered.push((image.number, *size));
        }
        numbered.sort_unstable();
        numbered
    }

    fn forget_images(&mut self, facts: &NodeFacts) {
        for name in facts.images.keys() {
            if let Some(image) = self.images.get_mut(name) {
                image.nodes -= 1;
                if image.nodes == 0 {
                    self.images.remove(name);
                }
            }
        }
    }

    /// A pod is on the node it names. Gives what was known of it.
    pub(super) fn put_pod(&mut self, pod: Arc<PodInfo>) -> Option<Arc<PodInfo>> {
        self.place(pod, false)
    }

    /// Counts the pod on its node from now on, though the API does not say so yet.
    pub(super) fn assume(&mut self, pod: Arc<PodInfo>) {
        self.place(pod, true);
    }

    fn place(&mut self, pod: Arc<PodInfo>, assumed: bool) -> Option<Arc<PodInfo>> {
        let before = self.remove_pod(&pod.uid);
        let id = self.slot(&pod.node);
        self.count(&pod, id, 1);
        self.count_claims(&pod, true);
        self.nodes[id as usize].add(pod.clone());
        self.homes.insert(pod.uid.clone(), Home { pod, node: id, assumed });
        before
    }

    /// The pod takes no room any more.
    pub(super) fn remove_pod(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let Home { pod, node, .. } = self.homes.remove(uid)?;
        self.nodes[node as usize].remove(uid);
        self.count(&pod, node, -1);
        self.count_claims(&pod, false);
        self.release(node, &pod.node);
        Some(pod)
    }

    /// The binding of an assumed pod failed. Nothing happens when the API has shown it on a node meanwhile.
    pub(super) fn forget(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        if self.is_assumed(uid) { self.remove_pod(uid) } else { None }
    }

    fn count(&mut self, pod: &PodInfo, id: NodeId, by: i32) {
        let key = identity(&pod.shape);
        if !self.placed.contains_key(&key) {
            self.enter_shape(&pod.shape);
        }
        let Some(placed) = self.placed.get_mut(&key) else { return };
        let count = placed.nodes.entry(id).or_default();
        count.all = count.all.saturating_add_signed(by);
        if !pod.deleting {
            count.alive = count.alive.saturating_add_signed(by);
        }
        if count.all == 0 {
            placed.nodes.remove(&id);
        }
        if placed.nodes.is_empty() {
            self.leave_shape(&pod.shape);
        }
    }

    fn count_claims(&mut self, pod: &PodInfo, here: bool) {
        if pod.shape.volumes.is_empty() {
            return;
        }
        for (name, _) in pod.claims().filter(|(_, made)| !made) {
            let key = (pod.key.namespace.clone(), name);
            let users = self.claims.entry(key.clone()).or_insert(0);
            *users = users.saturating_add_signed(if here { 1 } else { -1 });
            if *users == 0 {
                self.claims.remove(&key);
            }
        }
    }

    /// How many pods on nodes use the claim.
    pub(super) fn users_of(&self, namespace: &str, claim: &str) -> u32 {
        self.claims.get(&(namespace.to_owned(), claim.to_owned())).copied().unwrap_or(0)
    }

    fn enter_shape(&mut self, shape: &Arc<Shape>) {
        let key = identity(shape);
        self.placed.insert(key, Placed { shape: shape.clone(), nodes: FastMap::default() });
        self.by_namespace.entry(shape.namespace.clone()).or_default().insert(key);
        if let Some(terms) = &shape.terms {
            self.with_terms.insert(key);
            self.unlearned.extend(terms.keys().filter(|key| !self.topologies.contains_key(*key)).map(str::to_owned));
        }
    }

    fn leave_shape(&mut self, shape: &Arc<Shape>) {
        let key = identity(shape);
        self.placed.remove(&key);
        self.with_terms.remove(&key);
        if let Some(keys) = self.by_namespace.get_mut(&shape.namespace) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_namespace.remove(&shape.namespace);
            }
        }
    }

    /// The pod of that uid, if it is on a node.
    pub(super) fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.homes.get(uid).map(|home| &home.pod)
    }

    /// Whether the pod is counted though the API does not show it on a node.
    pub(super) fn is_assumed(&self, uid: &str) -> bool {
        self.homes.get(uid).is_some_and(|home| home.assumed)
    }

    /// The uids of all pods that the API has shown on nodes.
    pub(super) fn confirmed(&self) -> impl Iterator<Item = &Arc<str>> {
        self.homes.iter().filter(|(_, home)| !home.assumed).map(|(uid, _)| uid)
    }

    /// All shapes that have pods on nodes.
    pub(super) fn placed(&self) -> impl Iterator<Item = &Placed> {
        self.placed.values()
    }

    /// Those of one namespace.
    pub(super) fn placed_in(&self, namespace: &str) -> impl Iterator<Item = &Placed> {
        self.by_namespace.get(namespace).into_iter().flatten().filter_map(|key| self.placed.get(key))
    }

    /// Those with terms about other pods.
    pub(super) fn placed_with_terms(&self) -> impl Iterator<Item = &Placed> {
        self.with_terms.iter().filter_map(|key| self.placed.get(key))
    }

    /// How many nodes exist.
    pub fn len(&self) -> usize {
        self.zones.iter().map(|(_, nodes)| nodes.len()).sum()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }

    /// Brings the order of nodes and the domains of these topology keys up to date.
    pub(super) fn prepare<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) {
        if self.reorder {
            self.reorder = false;
            self.order.clear();
            let longest = self.zones.iter().map(|(_, nodes)| nodes.len()).max().unwrap_or(0);
            for turn in 0..longest {
                self.order.extend(self.zones.iter().filter_map(|(_, nodes)| nodes.get(turn)));
            }
        }
        keys.into_iter().for_each(|key| self.learn(key));
        std::mem::take(&mut self.unlearned).iter().for_each(|key| self.learn(key));
    }

    fn learn(&mut self, key: &str) {
        if self.topologies.contains_key(key) {
            return;
        }
        let mut topology = Topology::default();
        for node in self.nodes.iter().filter(|node| node.facts.is_some()) {
            topology.place(node.id, node.known().labels.get(key));
        }
        self.topologies.insert(key.to_owned(), topology);
    }

    /// The nodes that exist, from the zones in turn. Current after [`Cache::prepare`].
    pub(super) fn order(&self) -> &[NodeId] {
        debug_assert!(!self.reorder);
        &self.order
    }

    pub(super) fn node(&self, id: NodeId) -> &NodeInfo {
        &self.nodes[id as usize]
    }

    /// A node that exists.
    pub(super) fn named(&self, name: &str) -> Option<&NodeInfo> {
        let id = self.by_name.get(name)?;
        Some(&self.nodes[*id as usize]).filter(|info| info.facts.is_some())
    }

    /// The domains of a key that [`Cache::prepare`] was told of.
    pub(super) fn topology(&self, key: &str) -> &Topology {
        self.topologies.get(key).expect("invariant: prepare was told of every key a decision needs")
    }

    /// The number of an image and how many nodes have it.
    pub(super) fn image(&self, name: &str) -> Option<(u32, u32)> {
        self.images.get(name).map(|image| (image.number, image.nodes))
    }

    /// Whether any node has a taint that only lowers its score.
    pub(super) fn has_disliked_nodes(&self) -> bool {
        self.disliked > 0
    }
}

fn is_disliked(facts: &NodeFacts) -> bool {
    facts.taints.iter().any(|taint| taint.effect == "PreferNoSchedule")
}

#[cfg(test)]
mod tests;
