//! Pods for which room is being made, by the node where that happens.
//!
//! Invariant: a pod is nominated for at most one node, and only as long as it has none.

use std::collections::HashMap;
use std::sync::Arc;

use super::pod::PodInfo;

/// What a decision says about the nominated node of its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Nominate {
    /// As the status says.
    Keep,
    /// This one, or none.
    Set(Option<Arc<str>>),
}

/// All nominations.
#[derive(Debug, Default)]
pub(super) struct Nominated {
    by_node: HashMap<Arc<str>, Vec<Arc<PodInfo>>>,
    nodes: HashMap<Arc<str>, Arc<str>>,
}

impl Nominated {
    /// The pod appeared, changed or was decided on.
    pub(super) fn put(&mut self, pod: &Arc<PodInfo>, nominate: &Nominate) {
        self.remove(&pod.uid);
        let node = match nominate {
            Nominate::Keep => pod.nominated.clone(),
            Nominate::Set(node) => node.clone(),
        };
        let Some(node) = node.filter(|_| pod.node.is_empty()) else { return };
        self.nodes.insert(pod.uid.clone(), node.clone());
        self.by_node.entry(node).or_default().push(pod.clone());
    }

    /// The pod changed: what was decided stays as long as its status never told of a node.
    pub(super) fn update(&mut self, old: Option<&PodInfo>, new: &Arc<PodInfo>) {
        let silent = old.is_none_or(|old| old.nominated.is_none()) && new.nominated.is_none();
        let decided = self.nodes.get(&new.uid).cloned().filter(|_| silent);
        self.put(new, &decided.map_or(Nominate::Keep, |node| Nominate::Set(Some(node))));
    }

    pub(super) fn remove(&mut self, uid: &str) {
        let Some(node) = self.nodes.remove(uid) else { return };
        if let Some(pods) = self.by_node.get_mut(&node) {
            pods.retain(|pod| *pod.uid != *uid);
            if pods.is_empty() {
                self.by_node.remove(&node);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    pub(super) fn on(&self, node: &str) -> &[Arc<PodInfo>] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    #[cfg(test)]
    pub(super) fn of(&self, uid: &str) -> Option<&str> {
        self.nodes.get(uid).map(|node| &**node)
    }
}
