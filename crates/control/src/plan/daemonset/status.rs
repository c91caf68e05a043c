//! What a DaemonSet reports: nodes, counted by the oldest pod on each.
//!
//! Invariant: counts are of what was seen before the pass acted.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSetStatus;

use super::{Verdict, Work};
use crate::plan::pod::{self, Availability};
use crate::plan::replicaset::nonzero;

impl Work<'_> {
    /// The status, if it changed, and when the next pod becomes available by time alone.
    pub(super) fn status(&self) -> (Option<DaemonSetStatus>, Option<Duration>) {
        let (mut desired, mut current, mut misplaced) = (0, 0, 0);
        let (mut ready, mut available, mut updated) = (0, 0, 0);
        let mut soonest: Option<Duration> = None;
        for (verdict, pods) in self.nodes.values() {
            let first = pods.first();
            match verdict {
                None => {}
                Some(Verdict::Stay | Verdict::Leave) => misplaced += i32::from(first.is_some()),
                Some(Verdict::Run) => {
                    desired += 1;
                    let Some(pod) = first else { continue };
                    current += 1;
                    updated += i32::from(self.is_updated(pod));
                    ready += i32::from(pod::is_ready(pod));
                    match pod::availability(pod, self.min_ready(), self.now) {
                        Availability::Available => available += 1,
                        Availability::NotReady => {}
                        Availability::In(wait) => {
                            soonest = Duration::try_from(wait).ok().into_iter().chain(soonest).min()
                        }
                    }
                }
            }
        }
        let old = self.set.status.clone().unwrap_or_default();
        let new = DaemonSetStatus {
            observed_generation: self.set.metadata.generation,
            desired_number_scheduled: desired,
            current_number_scheduled: current,
            number_misscheduled: misplaced,
            number_ready: ready,
            updated_number_scheduled: nonzero(updated),
            number_available: nonzero(available),
            number_unavailable: nonzero(desired - available),
            collision_count: old.collision_count,
            conditions: old.conditions.clone(),
        };
        ((old != new).then_some(new), soonest)
    }
}
