//! PodTopologySpread: pods that belong together are spread over domains (KEP-895).
//!
//! Invariant: `smallest` of a rule is always the least of its eligible domains, also while preemption takes pods away
//! and puts them back.

mod score;

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::{Refusal, Verdict, basic};
use crate::plan::labels;
use crate::scheduler::cache::{Cache, NOWHERE, Topology};
use crate::scheduler::facts::Facts;
use crate::scheduler::names::Plugin;
use crate::scheduler::node::{NodeFacts, NodeId, NodeInfo};
use crate::scheduler::pod::{Ask, Constraint, PodInfo, Shape};
use crate::scheduler::profile::Spreading;

pub(in crate::scheduler) use score::Soft;

const BROKEN: &str = "node(s) didn't match pod topology spread constraints";
const UNLABELLED: &str = "node(s) didn't match pod topology spread constraints (missing required label)";

/// A domain that holds no eligible node.
const ABSENT: i64 = i64::MIN;

/// The constraints of a pod that are hard, or those that are not: its own, or else the profile's.
pub(in crate::scheduler) fn constraints<'a>(
    shape: &'a Shape,
    spreading: &Spreading,
    facts: &Facts,
    hard: bool,
) -> Vec<Cow<'a, Constraint>> {
    let own = &shape.ask.constraints;
    if !own.is_empty() {
        return own.iter().filter(|one| one.hard == hard).map(Cow::Borrowed).collect();
    }
    let wanted: Vec<&Constraint> = spreading.constraints.iter().filter(|one| one.hard == hard).collect();
    if wanted.is_empty() {
        return Vec::new();
    }
    let Some(siblings) = facts.siblings(shape) else { return Vec::new() };
    let with_selector =
        wanted.into_iter().map(|one| Cow::Owned(Constraint { selector: Some(siblings.clone()), ..one.clone() }));
    with_selector.collect()
}

/// Whether a node counts for the constraint.
fn includes(constraint: &Constraint, ask: &Ask, node: &NodeFacts) -> bool {
    (!constraint.honors_affinity || basic::selects(ask, node))
        && (!constraint.honors_taints || basic::tolerates(ask, node))
}

/// Whether the constraint counts every node with the label, whatever the pod says.
fn includes_all(constraint: &Constraint, ask: &Ask) -> bool {
    let picks = ask.selector.is_some() || ask.required.is_some();
    !(constraint.honors_affinity && picks || constraint.honors_taints)
}

/// The hard constraints of a pod with what counts for them.
#[derive(Debug)]
pub(in crate::scheduler) struct Hard<'a> {
    rules: Vec<Rule<'a>>,
}

#[derive(Debug)]
struct Rule<'a> {
    constraint: Cow<'a, Constraint>,
    /// Matching pods by domain.
    counts: Vec<i64>,
    /// How many eligible domains have that many.
    histogram: BTreeMap<i64, u32>,
    domains: i64,
    /// 1 if the pod itself counts.
    own: i64,
}

impl Rule<'_> {
    fn topology<'c>(&self, cache: &'c Cache) -> &'c Topology {
        cache.topology(&self.constraint.topology_key)
    }

    fn open(&mut self, domain: u32) {
        let count = &mut self.counts[domain as usize];
        if *count == ABSENT {
            *count = 0;
            self.domains += 1;
            *self.histogram.entry(0).or_insert(0) += 1;
        }
    }

    fn shift(&mut self, domain: u32, by: i64) {
        self.open(domain);
        let count = &mut self.counts[domain as usize];
        let before = std::mem::replace(count, *count + by);
        let after = *count;
        if let Some(domains) = self.histogram.get_mut(&before) {
            *domains -= 1;
            if *domains == 0 {
                self.histogram.remove(&before);
            }
        }
        *self.histogram.entry(after).or_insert(0) += 1;
    }

    fn smallest(&self) -> i64 {
        if self.domains < self.constraint.min_domains {
            return 0;
        }
        self.histogram.first_key_value().map_or(i64::from(i32::MAX), |(count, _)| *count)
    }
}

/// Whether the node has all topology keys.
fn labelled<'t>(topologies: impl IntoIterator<Item = &'t Topology>, node: NodeId) -> bool {
    topologies.into_iter().all(|topology| topology.of(node) != NOWHERE)
}

impl<'a> Hard<'a> {
    /// `None` when the pod has no hard constraint.
    pub(in crate::scheduler) fn new(
        pod: &'a PodInfo,
        spreading: &Spreading,
        facts: &Facts,
        cache: &Cache,
    ) -> Option<Self> {
        let constraints = constraints(&pod.shape, spreading, facts, true);
        if constraints.is_empty() {
            return None;
        }
        let rule = |constraint: Cow<'a, Constraint>| Rule {
            counts: vec![ABSENT; cache.topology(&constraint.topology_key).size()],
            own: i64::from(constraint.counts(&pod.shape.labels)),
            constraint,
            histogram: BTreeMap::new(),
            domains: 0,
        };
        let mut hard = Self { rules: constraints.into_iter().map(rule).collect() };
        let topologies: Vec<&Topology> = hard.rules.iter().map(|rule| rule.topology(cache)).collect();
        for (rule, topology) in hard.rules.iter_mut().zip(&topologies) {
            let all = includes_all(&rule.constraint, pod.ask());
            for id in cache.order() {
                let included = labelled(topologies.iter().copied(), *id)
                    && (all || includes(&rule.constraint, pod.ask(), cache.node(*id).known()));
                if included {
                    rule.open(topology.of(*id));
                }
            }
        }
        for placed in cache.placed_in(&pod.key.namespace) {
            for (rule, topology) in hard.rules.iter_mut().zip(&topologies) {
                if !is_counted(&rule.constraint, &placed.shape) {
                    continue;
                }
                let all = includes_all(&rule.constraint, pod.ask());
                for (id, count) in &placed.nodes {
                    let included = labelled(topologies.iter().copied(), *id)
                        && (all || includes(&rule.constraint, pod.ask(), cache.node(*id).known()));
                    if included && count.alive > 0 {
                        rule.shift(topology.of(*id), i64::from(count.alive));
                    }
                }
            }
        }
        Some(hard)
    }

    /// Counts a pod in or out that is put on the node, or taken from it, for the sake of argument.
    pub(in crate::scheduler) fn shift(
        &mut self,
        pod: &PodInfo,
        other: &PodInfo,
        node: &NodeInfo,
        cache: &Cache,
        by: i64,
    ) {
        let keys = self.rules.iter().map(|rule| rule.topology(cache));
        if other.deleting || other.key.namespace != pod.key.namespace || !labelled(keys, node.id) {
            return;
        }
        for rule in &mut self.rules {
            let included =
                rule.constraint.counts(&other.shape.labels) && includes(&rule.constraint, pod.ask(), node.known());
            if included {
                rule.shift(rule.topology(cache).of(node.id), by);
            }
        }
    }

    pub(in crate::scheduler) fn check(&self, node: NodeId, cache: &Cache) -> Verdict {
        for rule in &self.rules {
            let domain = rule.topology(cache).of(node);
            if domain == NOWHERE {
                return Err(Refusal::final_(Plugin::PodTopologySpread, UNLABELLED));
            }
            let there = Some(rule.counts[domain as usize]).filter(|count| *count != ABSENT).unwrap_or(0);
            if there + rule.own - rule.smallest() > rule.constraint.max_skew {
                return Err(Refusal::curable(Plugin::PodTopologySpread, BROKEN));
            }
        }
        Ok(())
    }
}

/// Whether pods of that shape count; a selector that picks everything counts nothing (upstream `countPodsMatchSelector`).
fn is_counted(constraint: &Constraint, shape: &Shape) -> bool {
    constraint.selector.as_ref().is_some_and(|selector| !labels::is_empty(selector)) && constraint.counts(&shape.labels)
}
