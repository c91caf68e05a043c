//! InterPodAffinity: pods that want to be near others, or far from them.
//!
//! Invariant: counts are per topology key and domain. What a term means is asked once per shape of pods, not per pod.

mod score;

use super::{Refusal, Verdict};
use crate::scheduler::cache::{Cache, NOWHERE, Topology};
use crate::scheduler::facts::Facts;
use crate::scheduler::names::Plugin;
use crate::scheduler::node::NodeId;
use crate::scheduler::pod::{PodInfo, Shape, Term, Terms};

pub(in crate::scheduler) use score::Liked;

const NOT_NEAR: &str = "node(s) didn't match pod affinity rules";
const NOT_FAR: &str = "node(s) didn't match pod anti-affinity rules";
const OTHERS: &str = "node(s) didn't satisfy existing pods anti-affinity rules";

/// Matching pods by topology key and domain.
#[derive(Debug, Default)]
struct Tally<'a> {
    keys: Vec<Counts<'a>>,
    /// How many domains have a count.
    used: usize,
}

/// Those of one topology key.
#[derive(Debug)]
struct Counts<'a> {
    key: String,
    topology: &'a Topology,
    domains: Vec<i64>,
}

impl<'a> Tally<'a> {
    fn add(&mut self, key: &str, node: NodeId, cache: &'a Cache, by: i64) {
        let known = self.keys.iter().position(|counts| counts.key == key);
        let index = known.unwrap_or_else(|| {
            let topology = cache.topology(key);
            self.keys.push(Counts { key: key.to_owned(), topology, domains: vec![0; topology.size()] });
            self.keys.len() - 1
        });
        let counts = &mut self.keys[index];
        let domain = counts.topology.of(node);
        if domain == NOWHERE || by == 0 {
            return;
        }
        let count = &mut counts.domains[domain as usize];
        let before = std::mem::replace(count, *count + by);
        match (before, *count) {
            (0, _) => self.used += 1,
            (_, 0) => self.used -= 1,
            _ => {}
        }
    }

    /// The count of the node's domain; `None` when the node has no such label.
    fn at(&self, key: &str, node: NodeId, cache: &Cache) -> Option<i64> {
        match self.keys.iter().find(|counts| counts.key == key) {
            Some(counts) => counts.at(node),
            None => (cache.topology(key).of(node) != NOWHERE).then_some(0),
        }
    }

    fn any(&self, node: NodeId) -> bool {
        self.used > 0 && self.keys.iter().any(|counts| counts.at(node).is_some_and(|count| count > 0))
    }
}

impl Counts<'_> {
    fn at(&self, node: NodeId) -> Option<i64> {
        let domain = self.topology.of(node);
        (domain != NOWHERE).then(|| self.domains[domain as usize])
    }
}

/// What is required of a node, by the pod and by the pods there are.
#[derive(Debug)]
pub(in crate::scheduler) struct Required<'a> {
    /// Pods that want to be far from this one.
    others: Tally<'a>,
    near: Tally<'a>,
    far: Tally<'a>,
}

/// Whether there are terms, and all of them mean the shape.
pub(in crate::scheduler) fn all_mean(wanted: &[Term], shape: &Shape, facts: &Facts) -> bool {
    let namespace = facts.namespace(&shape.namespace);
    !wanted.is_empty() && wanted.iter().all(|term| term.means(shape, namespace))
}

/// Which terms of a pod are about the pods of a shape.
struct Meant<'a> {
    near: bool,
    far: Vec<&'a Term>,
}

impl<'a> Meant<'a> {
    fn new(own: &'a Terms, shape: &Shape, facts: &Facts) -> Self {
        let namespace = facts.namespace(&shape.namespace);
        let far = own.far.iter().filter(|term| term.means(shape, namespace)).collect();
        Self { near: all_mean(&own.near, shape, facts), far }
    }

    fn is_any(&self) -> bool {
        self.near || !self.far.is_empty()
    }
}

impl<'a> Required<'a> {
    /// `None` when neither the pod nor any other requires anything.
    pub(in crate::scheduler) fn new(pod: &PodInfo, facts: &Facts, cache: &'a Cache) -> Option<Self> {
        let mut required = Self { others: Tally::default(), near: Tally::default(), far: Tally::default() };
        let namespace = facts.namespace(&pod.key.namespace);
        for placed in cache.placed_with_terms() {
            for term in placed.shape.terms().far.iter().filter(|term| term.means(&pod.shape, namespace)) {
                for (node, count) in &placed.nodes {
                    required.others.add(&term.topology_key, *node, cache, i64::from(count.all));
                }
            }
        }
        let own = pod.shape.terms();
        if !own.near.is_empty() || !own.far.is_empty() {
            for placed in cache.placed() {
                let meant = Meant::new(own, &placed.shape, facts);
                if meant.is_any() {
                    for (node, count) in &placed.nodes {
                        required.shift_own(own, &meant, *node, cache, i64::from(count.all));
                    }
                }
            }
        } else if required.others.used == 0 {
            return None;
        }
        Some(required)
    }

    fn shift_own(&mut self, own: &Terms, meant: &Meant<'_>, node: NodeId, cache: &'a Cache, by: i64) {
        if meant.near {
            own.near.iter().for_each(|term| self.near.add(&term.topology_key, node, cache, by));
        }
        meant.far.iter().for_each(|term| self.far.add(&term.topology_key, node, cache, by));
    }

    /// Counts a pod in or out that is put on the node, or taken from it, for the sake of argument.
    pub(in crate::scheduler) fn shift(
        &mut self,
        pod: &PodInfo,
        other: &PodInfo,
        node: NodeId,
        facts: &Facts,
        cache: &'a Cache,
        by: i64,
    ) {
        let namespace = facts.namespace(&pod.key.namespace);
        for term in other.shape.terms().far.iter().filter(|term| term.means(&pod.shape, namespace)) {
            self.others.add(&term.topology_key, node, cache, by);
        }
        let own = pod.shape.terms();
        self.shift_own(own, &Meant::new(own, &other.shape, facts), node, cache, by);
    }

    pub(in crate::scheduler) fn check(&self, pod: &PodInfo, node: NodeId, facts: &Facts, cache: &Cache) -> Verdict {
        let own = pod.shape.terms();
        if !self.is_near(pod, own, node, facts, cache) {
            return Err(Refusal::final_(Plugin::InterPodAffinity, NOT_NEAR));
        }
        let close = |term: &Term| self.far.at(&term.topology_key, node, cache).is_some_and(|count| count > 0);
        if self.far.used > 0 && own.far.iter().any(close) {
            return Err(Refusal::curable(Plugin::InterPodAffinity, NOT_FAR));
        }
        if self.others.any(node) {
            return Err(Refusal::curable(Plugin::InterPodAffinity, OTHERS));
        }
        Ok(())
    }

    /// The first pod of a group that wants to be near its own kind may go anywhere the labels are.
    fn is_near(&self, pod: &PodInfo, own: &Terms, node: NodeId, facts: &Facts, cache: &Cache) -> bool {
        let mut there = true;
        for term in &own.near {
            match self.near.at(&term.topology_key, node, cache) {
                None => return false,
                Some(count) => there &= count > 0,
            }
        }
        there || self.near.used == 0 && all_mean(&own.near, &pod.shape, facts)
    }
}
