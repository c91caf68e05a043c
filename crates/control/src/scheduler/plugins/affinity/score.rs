//! The preferences of pods about each other.

use super::Tally;
use crate::scheduler::cache::Cache;
use crate::scheduler::facts::Facts;
use crate::scheduler::node::NodeId;
use crate::scheduler::plugins::BEST;
use crate::scheduler::pod::{PodInfo, Shape, Term};
use crate::scheduler::profile::Mutual;

/// How much each domain is liked.
#[derive(Debug)]
pub(in crate::scheduler) struct Liked<'a> {
    domains: Tally<'a>,
}

impl<'a> Liked<'a> {
    /// `None` when no preference is touched.
    pub(in crate::scheduler) fn new(pod: &PodInfo, args: &Mutual, facts: &Facts, cache: &'a Cache) -> Option<Self> {
        let own = pod.shape.terms();
        let prefers = !own.prefer_near.is_empty() || !own.prefer_far.is_empty();
        if args.ignore_existing && !prefers {
            return None;
        }
        let mut liked = Self { domains: Tally::default() };
        let mut add = |key: &str, weight: i64, placed: &crate::scheduler::cache::Placed| {
            for (node, count) in &placed.nodes {
                liked.domains.add(key, *node, cache, weight * i64::from(count.all));
            }
        };
        let here = facts.namespace(&pod.key.namespace);
        for placed in cache.placed_with_terms() {
            let theirs = placed.shape.terms();
            let mine = |term: &Term| term.means(&pod.shape, here);
            if args.hard_weight > 0 {
                theirs.near.iter().filter(|term| mine(term)).for_each(|term| {
                    add(&term.topology_key, args.hard_weight, placed);
                });
            }
            for (weight, term) in theirs.prefer_near.iter().filter(|(_, term)| mine(term)) {
                add(&term.topology_key, *weight, placed);
            }
            for (weight, term) in theirs.prefer_far.iter().filter(|(_, term)| mine(term)) {
                add(&term.topology_key, -*weight, placed);
            }
        }
        if prefers {
            for placed in cache.placed() {
                let there = facts.namespace(&placed.shape.namespace);
                let meant = |shape: &Shape, term: &Term| term.means(shape, there);
                for (weight, term) in own.prefer_near.iter().filter(|(_, term)| meant(&placed.shape, term)) {
                    add(&term.topology_key, *weight, placed);
                }
                for (weight, term) in own.prefer_far.iter().filter(|(_, term)| meant(&placed.shape, term)) {
                    add(&term.topology_key, -*weight, placed);
                }
            }
        }
        (liked.domains.used > 0).then_some(liked)
    }

    pub(in crate::scheduler) fn rate(&self, node: NodeId) -> i64 {
        self.domains.keys.iter().filter_map(|counts| counts.at(node)).sum()
    }

    /// The least liked becomes 0, the most liked the best.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score needs two digits")]
    pub(in crate::scheduler) fn normalise(scores: &mut [i64]) {
        let least = scores.iter().copied().min().unwrap_or(0);
        let most = scores.iter().copied().max().unwrap_or(0);
        let range = (most - least) as f64;
        for score in scores {
            *score = if most > least { (BEST as f64 * ((*score - least) as f64 / range)) as i64 } else { 0 };
        }
    }
}
