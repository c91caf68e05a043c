//! How long a new pod waits after failures: ten seconds after the first, twice as long after each further one.
//!
//! Invariant: what is remembered is which pods failed when, never a count, so that looking again changes nothing; a
//! controller that starts anew learns it from the pods that are still there. A success forgets the failures before it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::pods;
use crate::plan::{claim, pod};

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);
/// So many failures wait the longest time; more need not be remembered.
const ENOUGH: usize = 8;

/// The failures of a Job's pods since one succeeded.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    succeeded: Option<Timestamp>,
    failed: BTreeMap<String, Timestamp>,
}

impl Backoff {
    /// Learns from the pods of the namespace.
    pub fn observe(&mut self, job: &Job, observed: &[Arc<Pod>]) {
        let uid = job.metadata.uid.as_deref().unwrap_or("");
        for one in observed.iter().filter(|one| claim::is_controlled_by(&***one, uid) && pods::is_valid(job, one)) {
            // A pod whose finalizer was taken before it ended was not wanted any more.
            let counts = pods::is_tracked(one) || one.metadata.deletion_timestamp.is_none();
            let (Some(uid), true) = (&one.metadata.uid, counts) else { continue };
            if pod::phase(one) == "Succeeded" {
                self.succeeded = self.succeeded.max(Some(finished_at(one)));
            } else if pods::is_failed(job, one) {
                self.failed.insert(uid.clone(), finished_at(one));
            }
        }
        self.failed.retain(|_, at| self.succeeded.is_none_or(|succeeded| *at > succeeded));
        while self.failed.len() > ENOUGH {
            let oldest = self.failed.iter().min_by_key(|(_, at)| **at).map(|(uid, _)| uid.clone());
            oldest.and_then(|uid| self.failed.remove(&uid));
        }
    }

    /// How long the next pod still waits.
    pub(super) fn remaining(&self, now: Timestamp) -> Option<Duration> {
        let last = self.failed.values().max()?;
        remaining(u32::try_from(self.failed.len()).unwrap_or(u32::MAX), *last, now)
    }
}

/// How long a pod waits after so many failures, the last of them at `last`.
pub(super) fn remaining(failures: u32, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let doubled = failures.checked_sub(1)?.min(16);
    let wait = FIRST.saturating_mul(1 << doubled).min(LONGEST);
    let left = SignedDuration::try_from(wait).ok()? - now.duration_since(last);
    Duration::try_from(left).ok().filter(|left| !left.is_zero())
}

/// When the pod ended: when its last container did, else when it stopped being ready, else when it was deleted.
pub(super) fn finished_at(pod: &Pod) -> Timestamp {
    let ended = || {
        let status = pod.status.as_ref()?;
        let sidecars: Vec<&str> = pod
            .spec
            .iter()
            .flat_map(|spec| spec.init_containers.iter().flatten())
            .filter(|container| container.restart_policy.as_deref() == Some("Always"))
            .map(|container| container.name.as_str())
            .collect();
        let init = status.init_container_statuses.iter().flatten().filter(|one| sidecars.contains(&one.name.as_str()));
        let all: Option<Vec<Timestamp>> =
            status.container_statuses.iter().flatten().chain(init).map(container_finished_at).collect();
        all?.into_iter().max()
    };
    let unready = || {
        let ready = pod::condition(pod, "Ready").filter(|ready| ready.status == "False")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    };
    let deleted = || {
        let deleted = pod.metadata.deletion_timestamp.as_ref()?.0;
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
        deleted.checked_sub(grace).ok()
    };
    let created = || pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    ended().or_else(unready).or_else(deleted).or_else(created).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn container_finished_at(status: &ContainerStatus) -> Option<Timestamp> {
    status.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref().map(|time| time.0)
}
