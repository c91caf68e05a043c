//! Pools of devices, as one node sees them.
//!
//! Invariant: only the newest generation of a pool counts, and nothing is taken from a pool of which a slice is missing,
//! for its driver is just about to tell what it has (upstream `structured`, `GatherPools`).

use std::collections::{BTreeMap, BTreeSet};

use super::slice::{Amounts, PoolKey, Slice, Slices};
use crate::scheduler::node::NodeFacts;

/// Whether devices can be taken from a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Ready,
    /// Its driver is changing it.
    Incomplete,
    /// It contradicts itself.
    Invalid,
}

/// A pool.
#[derive(Debug)]
pub(super) struct Pool<'a> {
    pub(super) key: PoolKey,
    pub(super) state: State,
    /// The slices that the node can use, by name.
    pub(super) slices: Vec<&'a Slice>,
    /// The others; their devices use up the same counters.
    pub(super) others: Vec<&'a Slice>,
    pub(super) counters: BTreeMap<&'a str, &'a Amounts>,
}

impl Pool<'_> {
    /// As messages name it.
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.key.0, self.key.1)
    }

    /// Whether a device has to be made ready before a pod can be bound; such pools are asked last.
    fn waits(&self) -> bool {
        self.slices.iter().flat_map(|slice| &slice.devices).any(|device| device.conditions.is_some())
    }
}

/// The pools that matter to the node, in the order they are searched.
pub(super) fn gather<'a>(slices: &'a Slices, node: &'a NodeFacts) -> Vec<Pool<'a>> {
    let mut found: BTreeMap<PoolKey, Vec<&Slice>> = BTreeMap::new();
    for slice in slices.for_node(node) {
        found.entry(slice.pool_key()).or_default().push(slice);
    }
    let mut pools: Vec<Pool<'a>> = found.into_iter().filter_map(|(key, own)| pool(slices, key, own)).collect();
    pools.sort_by_key(Pool::waits); // stable: by name otherwise
    pools
}

fn pool<'a>(slices: &'a Slices, key: PoolKey, mut own: Vec<&'a Slice>) -> Option<Pool<'a>> {
    let newest = slices.of_pool(&key).map(|slice| slice.generation).max()?;
    own.retain(|slice| slice.generation == newest);
    own.sort_by(|one, other| one.name.cmp(&other.name));
    let count = own.first()?.count; // none: the node has nothing of the newest generation
    let all: Vec<&Slice> = slices.of_pool(&key).filter(|slice| slice.generation == newest).collect();
    let mut pool = Pool { key, state: State::Ready, slices: own, others: Vec::new(), counters: BTreeMap::new() };
    if i64::try_from(all.len()).unwrap_or(i64::MAX) != count {
        pool.state = State::Incomplete;
        return Some(pool);
    }
    let own: BTreeSet<&str> = pool.slices.iter().map(|slice| slice.name.as_str()).collect();
    pool.others = all.iter().copied().filter(|slice| !own.contains(slice.name.as_str())).collect();
    let mut valid = true;
    for (set, counters) in all.iter().flat_map(|slice| &slice.counters) {
        valid &= pool.counters.insert(set, counters).is_none();
    }
    let mut names = BTreeSet::new();
    let devices = pool.slices.iter().flat_map(|slice| &slice.devices);
    valid &= devices.map(|device| &device.id.device).all(|name| names.insert(name.clone()));
    let mut consumed = all.iter().flat_map(|slice| &slice.devices).flat_map(|device| &device.consumes);
    valid &= consumed.all(|(set, amounts)| {
        let known = pool.counters.get(set.as_str());
        known.is_some_and(|known| amounts.keys().all(|counter| known.contains_key(counter)))
    });
    if !valid {
        pool.state = State::Invalid;
    }
    Some(pool)
}
