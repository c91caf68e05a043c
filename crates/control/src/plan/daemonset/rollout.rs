//! One step of a rolling update: which old pods go, and which nodes get a second pod.
//!
//! Invariant: without a surge no more pods are unavailable than allowed, counting those that are so already; old pods that
//! are not available go at any time. With a surge an old pod goes once the new one on its node is available, and no more
//! nodes than allowed have two pods because of it (upstream `rollingUpdate`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::RollingUpdateDaemonSet;
use k8s_openapi::api::core::v1::Pod;

use super::{Verdict, Why, Work};
use crate::plan::share::{self, Round};

/// The pods on a node that are not leaving: at most one of each kind, else the node is put right first.
struct Pair<'a> {
    new: Option<&'a Arc<Pod>>,
    old: Option<&'a Arc<Pod>>,
}

impl Work<'_> {
    fn strategy(&self) -> Option<&RollingUpdateDaemonSet> {
        self.spec
            .update_strategy
            .as_ref()
            .and_then(|strategy| strategy.rolling_update.as_ref())
            .filter(|_| self.rolls())
    }

    /// Whether a node may have two pods.
    pub(super) fn surges(&self) -> bool {
        self.max_surge(1) > 0
    }

    fn max_surge(&self, of: i32) -> i32 {
        let surge = self.strategy().and_then(|strategy| strategy.max_surge.as_ref());
        surge.map_or(0, |surge| share::of(surge, of, Round::Up))
    }

    fn max_unavailable(&self, of: i32) -> i32 {
        let unavailable = self.strategy().and_then(|strategy| strategy.max_unavailable.as_ref());
        unavailable.map_or(0, |unavailable| share::of(unavailable, of, Round::Up))
    }

    pub(super) fn roll(&mut self) {
        let wanted = self.nodes.values().filter(|(verdict, _)| *verdict == Some(Verdict::Run)).count();
        let wanted = i32::try_from(wanted).unwrap_or(i32::MAX);
        let (surge, unavailable) = (self.max_surge(wanted), self.max_unavailable(wanted));
        if surge > 0 {
            self.roll_by_adding(surge, wanted);
        } else {
            // Neither added nor missing: nothing could move.
            self.roll_by_replacing(unavailable.max(wanted.min(1)));
        }
    }

    fn pair<'p>(&self, pods: &'p [Arc<Pod>]) -> Option<Pair<'p>> {
        let staying = pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| self.is_updated(pod));
        (new.len() < 2 && old.len() < 2).then(|| Pair { new: new.first().copied(), old: old.first().copied() })
    }

    fn roll_by_replacing(&mut self, allowed: i32) {
        let mut unavailable = 0;
        let (mut broken, mut good) = (Vec::new(), Vec::new());
        for (node, (verdict, pods)) in &self.nodes {
            if pods.is_empty() && *verdict != Some(Verdict::Run) {
                continue;
            }
            match self.pair(pods) {
                Some(Pair { new: None, old: Some(old) }) if self.is_available(old) => {
                    good.push((Arc::clone(old), node.clone()))
                }
                Some(Pair { new: None, old: Some(old) }) => {
                    unavailable += 1;
                    broken.push((Arc::clone(old), node.clone()));
                }
                Some(Pair { new: Some(new), old: None }) => unavailable += i32::from(!self.is_available(new)),
                _ => unavailable += 1,
            }
        }
        let room = usize::try_from(allowed - unavailable).unwrap_or(0);
        let gone = broken.into_iter().chain(good.into_iter().take(room));
        self.delete.extend(gone.map(|(pod, node)| (pod, node, Why::Surplus)));
    }

    fn roll_by_adding(&mut self, allowed: i32, wanted: i32) {
        let (mut surging, mut available) = (0, 0);
        let (mut gone, mut leaving) = (Vec::new(), Vec::new());
        let (mut urgent, mut candidates) = (Vec::new(), Vec::new());
        for (node, (verdict, pods)) in &self.nodes {
            let Some(Pair { new, old }) = self.pair(pods) else {
                surging += 1;
                continue;
            };
            available += i32::from(old.or(new).is_some_and(|pod| self.is_available(pod)));
            let (Some(old), Some(verdict)) = (old, verdict) else { continue };
            let entry = || (Arc::clone(old), node.clone());
            match (new, self.is_available(old), *verdict == Verdict::Run) {
                (Some(new), _, _) if self.is_available(new) => gone.push(entry()),
                (Some(_), _, _) => surging += 1,
                (None, false, false) => gone.push(entry()),
                (None, false, true) => urgent.push(node.clone()),
                (None, true, false) => leaving.push(entry()),
                (None, true, true) => candidates.push(node.clone()),
            }
        }
        // A pod on a node that is no place for it any more waits for a replacement elsewhere.
        gone.extend(leaving.into_iter().take(usize::try_from(available - wanted).unwrap_or(0)));
        self.delete.extend(gone.into_iter().map(|(pod, node)| (pod, node, Why::Surplus)));
        let room = usize::try_from(allowed - surging).unwrap_or(0);
        self.create.extend(urgent.into_iter().chain(candidates.into_iter().take(room)));
    }
}
