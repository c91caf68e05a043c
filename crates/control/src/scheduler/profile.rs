//! How one scheduler name decides: which plugins, with what weights and arguments.
//!
//! Invariant: what is here has been checked; [`Profile::default`] is upstream's default profile. Reading it from a file
//! is the business of `config`.

use std::time::Duration;

use k8s_openapi::api::core::v1::{NodeSelector, PreferredSchedulingTerm};

use super::cache::{HOSTNAME, ZONE};
use super::names::{Plugin, Plugins, Point};
use super::pod::Constraint;

/// One scheduler name and how it decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Pods that name it are its business.
    pub name: String,
    /// How many of the nodes are looked at, in percent; 0 adapts to their number.
    pub(super) percentage: i64,
    pub(super) pre_enqueue: Plugins,
    pub(super) pre_filters: Vec<Plugin>,
    pub(super) filters: Vec<Plugin>,
    pub(super) post_filters: Vec<Plugin>,
    pub(super) scores: Vec<(Plugin, i64)>,
    pub(super) pre_bind: Plugins,
    pub(super) fit: Fit,
    /// Resources whose use is to be even.
    pub(super) balanced: Vec<(String, i64)>,
    pub(super) spreading: Spreading,
    pub(super) mutual: Mutual,
    pub(super) added: Added,
    pub(super) preemption: Preemption,
    /// How long volumes may take to be bound.
    pub(super) bind_timeout: Duration,
    pub(super) allocating: Allocating,
}

/// Arguments of DynamicResources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allocating {
    /// How long a search for devices on one node may take; zero means as long as it does.
    pub(super) filter: Duration,
    /// How long devices may take to become ready.
    pub(super) binding: Duration,
}

impl Default for Allocating {
    fn default() -> Self {
        Self { filter: Duration::from_secs(10), binding: Duration::from_secs(600) }
    }
}

/// Arguments of NodeResourcesFit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    pub(super) ignored: Vec<String>,
    pub(super) ignored_groups: Vec<String>,
    pub(super) strategy: Strategy,
    /// Resources that are rated, with weights.
    pub(super) resources: Vec<(String, i64)>,
}

/// How free room is rated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Least,
    Most,
    Ratio(Ratio),
}

/// Scores (0 to 100) by utilization (0 to 100), rising in utilization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ratio {
    pub(super) points: Vec<(i64, i64)>,
}

/// Arguments of PodTopologySpread.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spreading {
    /// For pods that have none of their own.
    pub(super) constraints: Vec<Constraint>,
    /// Whether these are the built-in ones, which also rate nodes that lack a label.
    pub(super) system: bool,
}

/// Arguments of InterPodAffinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mutual {
    /// What a required term of a pod that is there counts in scores.
    pub(super) hard_weight: i64,
    pub(super) ignore_existing: bool,
}

/// Arguments of NodeAffinity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Added {
    pub(super) required: Option<NodeSelector>,
    pub(super) preferred: Vec<PreferredSchedulingTerm>,
}

/// Arguments of DefaultPreemption: how many candidates are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preemption {
    pub(super) percentage: i64,
    pub(super) absolute: i64,
}

fn cpu_and_memory() -> Vec<(String, i64)> {
    vec![("cpu".to_owned(), 1), ("memory".to_owned(), 1)]
}

impl Default for Fit {
    fn default() -> Self {
        Self { ignored: Vec::new(), ignored_groups: Vec::new(), strategy: Strategy::Least, resources: cpu_and_memory() }
    }
}

impl Default for Spreading {
    fn default() -> Self {
        let soft = |key: &str, max_skew| Constraint {
            max_skew,
            topology_key: key.to_owned(),
            min_domains: 1,
            honors_affinity: true,
            ..Constraint::default()
        };
        Self { constraints: vec![soft(HOSTNAME, 3), soft(ZONE, 5)], system: true }
    }
}

impl Default for Profile {
    fn default() -> Self {
        Self::with(
            super::NAME.to_owned(),
            |point| Plugin::all().filter(|one| one.takes_part(point)).collect(),
            |_| None,
        )
    }
}

impl Profile {
    /// Upstream's default profile under another name.
    pub fn named(name: String) -> Self {
        Self { name, ..Self::default() }
    }

    /// A profile with default arguments, these plugins per point and these weights.
    pub(super) fn with(
        name: String,
        mut enabled: impl FnMut(Point) -> Vec<Plugin>,
        weight: impl Fn(Plugin) -> Option<i64>,
    ) -> Self {
        let weight = |plugin: Plugin| weight(plugin).unwrap_or_else(|| plugin.weight());
        Self {
            name,
            percentage: 0,
            pre_enqueue: enabled(Point::PreEnqueue).into_iter().collect(),
            pre_filters: enabled(Point::PreFilter),
            filters: enabled(Point::Filter),
            post_filters: enabled(Point::PostFilter),
            scores: enabled(Point::Score).into_iter().map(|plugin| (plugin, weight(plugin))).collect(),
            pre_bind: enabled(Point::PreBind).into_iter().collect(),
            fit: Fit::default(),
            balanced: cpu_and_memory(),
            spreading: Spreading::default(),
            mutual: Mutual { hard_weight: 1, ignore_existing: false },
            added: Added::default(),
            preemption: Preemption { percentage: 10, absolute: 100 },
            bind_timeout: Duration::from_secs(600),
            allocating: Allocating::default(),
        }
    }

    /// How many feasible nodes are enough among `all` (upstream `numFeasibleNodesToFind`).
    pub(super) fn enough(&self, all: usize) -> usize {
        const LEAST: i64 = 100;
        if self.scores.is_empty() {
            return 1;
        }
        let nodes = i64::try_from(all).unwrap_or(i64::MAX / 100);
        if nodes < LEAST {
            return all;
        }
        let percentage = match self.percentage {
            0 => (50 - nodes / 125).max(5),
            given => given,
        };
        usize::try_from((nodes * percentage / 100).max(LEAST)).unwrap_or(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_nodes_the_smaller_the_share_that_is_looked_at() {
        let profile = Profile::default();
        let found = [1, 99, 100, 150, 1000, 5000, 10_000].map(|nodes| profile.enough(nodes));
        assert_eq!(found, [1, 99, 100, 100, 420, 500, 500]);
        assert_eq!(Profile { percentage: 100, ..Profile::default() }.enough(5000), 5000);
        assert_eq!(Profile { scores: Vec::new(), ..Profile::default() }.enough(5000), 1);
    }
}
