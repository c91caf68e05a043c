//! What each plugin makes of a pod and a node.
//!
//! Invariant: a filter looks at one node and says why not in upstream's words; a score is 0 to 100 after its
//! normalisation. Everything here is pure.

pub(super) mod affinity;
pub(super) mod allocation;
pub(super) mod basic;
pub(super) mod devices;
pub(super) mod images;
pub(super) mod spread;
pub(super) mod volumes;

use std::borrow::Cow;

use super::names::Plugin;

/// Why a node, or every node, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) plugin: Plugin,
    pub(super) reasons: Vec<Cow<'static, str>>,
    /// Whether evicting pods could help (upstream: Unschedulable rather than UnschedulableAndUnresolvable).
    pub(super) curable: bool,
}

impl Refusal {
    /// Evicting pods could help.
    pub(super) fn curable(plugin: Plugin, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin, reasons: vec![reason.into()], curable: true }
    }

    /// Nothing that happens to pods on the node helps.
    pub(super) fn final_(plugin: Plugin, reason: impl Into<Cow<'static, str>>) -> Self {
        Self { plugin, reasons: vec![reason.into()], curable: false }
    }
}

/// What a plugin says before it looks at nodes.
#[derive(Debug)]
pub(super) enum Early {
    /// There is nothing to look at.
    Skip,
    Go,
    /// No node will do.
    Refuse(Refusal),
    /// Something went wrong; another try later may do better.
    Fail(String),
}

pub(super) type Verdict = Result<(), Refusal>;

/// The best score.
pub(super) const BEST: i64 = 100;

/// Relative to the largest; the other way round when fewer is better (upstream `DefaultNormalizeScore`).
pub(super) fn normalise(scores: &mut [i64], fewer_is_better: bool) {
    let most = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if most == 0 { 0 } else { BEST * *score / most };
        *score = if fewer_is_better { BEST - scaled } else { scaled };
    }
}
