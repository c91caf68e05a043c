//! Which nodes are in which domain of one topology key.
//!
//! Invariant: a domain has a number as long as a node is in it; numbers are small, so counts per domain are a vector.

use std::collections::HashMap;
use std::sync::Arc;

use crate::scheduler::node::NodeId;

/// The domain of a node without the label.
pub(crate) const NOWHERE: u32 = u32::MAX;

pub(crate) const HOSTNAME: &str = "kubernetes.io/hostname";
pub(crate) const ZONE: &str = "topology.kubernetes.io/zone";

/// The domains of one topology key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    /// By node number.
    domains: Vec<u32>,
    numbers: HashMap<Arc<str>, u32>,
    /// Value and number of nodes, by domain.
    values: Vec<(Arc<str>, u32)>,
    free: Vec<u32>,
}

impl Topology {
    /// The domain of a node, or [`NOWHERE`].
    pub(crate) fn of(&self, node: NodeId) -> u32 {
        self.domains.get(node as usize).copied().unwrap_or(NOWHERE)
    }

    /// One more than the largest domain there is.
    pub(crate) fn size(&self) -> usize {
        self.values.len()
    }

    /// The value that names a domain.
    #[cfg(test)]
    pub(super) fn name(&self, domain: u32) -> Option<&str> {
        self.values.get(domain as usize).map(|(value, _)| &**value)
    }

    pub(super) fn place(&mut self, node: NodeId, value: Option<&String>) {
        let index = node as usize;
        if self.domains.len() <= index {
            self.domains.resize(index + 1, NOWHERE);
        }
        let before = std::mem::replace(&mut self.domains[index], NOWHERE);
        if let Some(value) = value {
            self.domains[index] = self.enter(value);
        }
        if before != NOWHERE {
            self.leave(before);
        }
    }

    fn enter(&mut self, value: &str) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            self.values[*number as usize].1 += 1;
            return *number;
        }
        let value: Arc<str> = value.into();
        let number = self.free.pop().unwrap_or_else(|| {
            self.values.push((value.clone(), 0));
            u32::try_from(self.values.len() - 1).expect("invariant: there are fewer domains than nodes")
        });
        self.values[number as usize] = (value.clone(), 1);
        self.numbers.insert(value, number);
        number
    }

    fn leave(&mut self, domain: u32) {
        let (value, nodes) = &mut self.values[domain as usize];
        *nodes -= 1;
        if *nodes == 0 {
            self.numbers.remove(value);
            self.free.push(domain);
        }
    }
}
