//! The constraints that only rate nodes.
//!
//! Invariant: domains of small topologies weigh less per pod, by the logarithm of their number, so that zones are not
//! drowned by hosts.

use std::borrow::Cow;

use super::{constraints, includes, includes_all, is_counted};
use crate::scheduler::cache::{Cache, HOSTNAME, NOWHERE, Placed, Topology};
use crate::scheduler::facts::Facts;
use crate::scheduler::node::NodeId;
use crate::scheduler::plugins::BEST;
use crate::scheduler::pod::{Constraint, PodInfo};
use crate::scheduler::profile::Spreading;

/// The soft constraints of a pod with what counts for them.
#[derive(Debug)]
pub(in crate::scheduler) struct Soft<'a> {
    rules: Vec<Rule<'a>>,
    /// Whether nodes without all the labels are not rated at all.
    strict: bool,
}

#[derive(Debug)]
struct Rule<'a> {
    constraint: Cow<'a, Constraint>,
    /// Shapes that count.
    meant: Vec<&'a Placed>,
    topology: &'a Topology,
    /// Pods by domain; none of hosts, which are counted when they are rated.
    counts: Vec<i64>,
    weight: f64,
}

impl Rule<'_> {
    fn by_host(&self) -> bool {
        self.constraint.topology_key == HOSTNAME
    }
}

/// In how many domains the nodes are; being in none is a domain too.
fn distinct(topology: &Topology, nodes: &[NodeId]) -> usize {
    let mut seen = vec![false; topology.size() + 1];
    nodes.iter().for_each(|node| seen[topology.size().min(topology.of(*node) as usize)] = true);
    seen.into_iter().filter(|seen| *seen).count()
}

impl<'a> Soft<'a> {
    /// `None` when the pod has no soft constraint. `nodes` are those to be rated.
    pub(in crate::scheduler) fn new(
        pod: &'a PodInfo,
        spreading: &Spreading,
        facts: &Facts,
        cache: &'a Cache,
        nodes: &[NodeId],
    ) -> Option<Self> {
        let constraints = constraints(&pod.shape, spreading, facts, false);
        if constraints.is_empty() {
            return None;
        }
        let rule = |constraint: Cow<'a, Constraint>| {
            let topology = cache.topology(&constraint.topology_key);
            Rule { counts: vec![0; topology.size()], meant: Vec::new(), weight: 0.0, topology, constraint }
        };
        let mut soft = Self {
            rules: constraints.into_iter().map(rule).collect(),
            strict: !pod.ask().constraints.is_empty() || !spreading.system,
        };
        // Mostly all constraints are about the same pods; then each shape is asked about once.
        let selector = soft.rules[0].constraint.selector.clone();
        let alike = soft.rules.iter().all(|rule| rule.constraint.selector == selector);
        for placed in cache.placed_in(&pod.key.namespace) {
            let first = is_counted(&soft.rules[0].constraint, &placed.shape);
            for rule in &mut soft.rules {
                let meant = if alike { first } else { is_counted(&rule.constraint, &placed.shape) };
                rule.meant.extend(meant.then_some(placed));
            }
        }
        soft.count(pod, cache);
        soft.weigh(nodes);
        Some(soft)
    }

    fn ignores(&self, node: NodeId) -> bool {
        self.strict && self.rules.iter().any(|rule| rule.topology.of(node) == NOWHERE)
    }

    fn count(&mut self, pod: &PodInfo, cache: &Cache) {
        for index in 0..self.rules.len() {
            let rule = &self.rules[index];
            if rule.by_host() {
                continue;
            }
            let all = includes_all(&rule.constraint, pod.ask());
            let mut counts = std::mem::take(&mut self.rules[index].counts);
            let rule = &self.rules[index];
            for (id, count) in rule.meant.iter().flat_map(|placed| &placed.nodes) {
                let domain = rule.topology.of(*id);
                let included = domain != NOWHERE
                    && !self.ignores(*id)
                    && (all || includes(&rule.constraint, pod.ask(), cache.node(*id).known()));
                if included {
                    counts[domain as usize] += i64::from(count.alive);
                }
            }
            self.rules[index].counts = counts;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a weight needs two digits")]
    fn weigh(&mut self, nodes: &[NodeId]) {
        let rated: Vec<NodeId> = nodes.iter().copied().filter(|node| !self.ignores(*node)).collect();
        for rule in &mut self.rules {
            let size = if rule.by_host() { rated.len() } else { distinct(rule.topology, &rated) };
            rule.weight = ((size + 2) as f64).ln();
        }
    }

    /// The more pods there are, the higher, until [`Soft::normalise`]. `None` for a node that is not rated.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score needs two digits")]
    pub(in crate::scheduler) fn rate(&self, node: NodeId) -> Option<i64> {
        if self.ignores(node) {
            return None;
        }
        let mut score = 0.0;
        for rule in &self.rules {
            let domain = rule.topology.of(node);
            if domain == NOWHERE {
                continue;
            }
            let count = if rule.by_host() {
                let here = rule.meant.iter().filter_map(|placed| placed.nodes.get(&node));
                here.map(|count| i64::from(count.alive)).sum()
            } else {
                rule.counts[domain as usize]
            };
            score += count as f64 * rule.weight + (rule.constraint.max_skew - 1) as f64;
        }
        Some(score.round() as i64)
    }

    /// The fewest pods become the best score.
    pub(in crate::scheduler) fn normalise(raw: &[Option<i64>]) -> Vec<i64> {
        let most = raw.iter().flatten().copied().max().unwrap_or(0).max(0);
        let least = raw.iter().flatten().copied().min().unwrap_or(0);
        let scaled = |score: &Option<i64>| match score {
            None => 0,
            Some(_) if most == 0 => BEST,
            Some(score) => BEST * (most + least - score) / most,
        };
        raw.iter().map(scaled).collect()
    }
}
