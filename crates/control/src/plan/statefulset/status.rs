//! What a StatefulSet reports: its pods counted, and how far a rollout is.
//!
//! Invariant: counts are of the pods that were seen; a pod this pass deletes for an update does not count as current any
//! more. A rollout is complete, and its revision the current one, when every pod is updated and ready.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::StatefulSetStatus;
use k8s_openapi::api::core::v1::Pod;

use super::{Work, identity};
use crate::plan::pod::{self, Availability};
use crate::plan::replicaset::nonzero;

/// Pods, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    all: i32,
    ready: i32,
    available: i32,
    pub(super) current: i32,
    updated: i32,
}

impl Work<'_> {
    pub(super) fn count(&self, pods: &[Arc<Pod>]) -> Counts {
        let mut counts = Counts::default();
        for pod in pods {
            counts.all += 1;
            if pod::phase(pod) == "Running" && pod::is_ready(pod) {
                counts.ready += 1;
                counts.available += i32::from(self.is_available(pod));
            }
            if pod.metadata.deletion_timestamp.is_none() {
                let revision = identity::revision(pod);
                counts.current += i32::from(revision == self.revisions.current);
                counts.updated += i32::from(revision == self.revisions.update);
            }
        }
        counts
    }

    /// The status, if it changed.
    pub(super) fn status(&self, mut counts: Counts) -> Option<StatefulSetStatus> {
        let mut current = &self.revisions.current;
        let wanted = self.spec.replicas.unwrap_or(1);
        if self.rolls() && [counts.updated, counts.ready, counts.all].iter().all(|count| *count == wanted) {
            counts.current = counts.updated;
            current = &self.revisions.update;
        }
        let old = self.set.status.clone().unwrap_or_default();
        let new = StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            replicas: counts.all,
            ready_replicas: nonzero(counts.ready),
            available_replicas: Some(counts.available),
            current_replicas: nonzero(counts.current),
            updated_replicas: nonzero(counts.updated),
            current_revision: Some(current.clone()),
            update_revision: Some(self.revisions.update.clone()),
            collision_count: old.collision_count.or(Some(0)),
            conditions: old.conditions.clone(),
        };
        (old != new).then_some(new)
    }

    /// When the next pod becomes available by time alone.
    pub(super) fn recheck(&self, pods: &[Arc<Pod>]) -> Option<Duration> {
        let waits = pods.iter().filter_map(|pod| match pod::availability(pod, self.min_ready, self.now) {
            Availability::In(wait) => Duration::try_from(wait).ok(),
            _ => None,
        });
        waits.min()
    }
}
