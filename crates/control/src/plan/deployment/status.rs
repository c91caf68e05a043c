//! Counts and conditions of a Deployment.
//!
//! Invariant: a condition changes its transition time only with its status, and is rewritten only when status or reason
//! changes (progress renews lastUpdateTime, which is the clock of progressDeadlineSeconds).

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet, ReplicaSetCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::{Set, Work, available};
use crate::plan::replicaset::nonzero;

const PROGRESSING: &str = "Progressing";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const NEW_AVAILABLE: &str = "NewReplicaSetAvailable";

/// Only the generation, for a Deployment that cannot be acted on.
pub(super) fn observed_only(deployment: &Deployment) -> Option<DeploymentStatus> {
    let mut status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation == deployment.metadata.generation {
        return None;
    }
    status.observed_generation = deployment.metadata.generation;
    Some(status)
}

/// The status after the set for the current template could not be created.
pub fn create_failed(deployment: &Deployment, name: &str, error: &str, now: Timestamp) -> Option<DeploymentStatus> {
    deployment.spec.as_ref()?.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX)?;
    let mut status = deployment.status.clone().unwrap_or_default();
    let message = format!("Failed to create new replica set \"{name}\": {error}");
    set(&mut status, condition(PROGRESSING, "False", "ReplicaSetCreateError", message, now));
    Some(status)
}

fn condition(kind: &str, status: &str, reason: &str, message: String, now: Timestamp) -> DeploymentCondition {
    DeploymentCondition {
        type_: kind.into(),
        status: status.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
        last_update_time: Some(Time(now)),
    }
}

fn find<'a>(status: &'a DeploymentStatus, kind: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|one| one.type_ == kind)
}

fn remove(status: &mut DeploymentStatus, kind: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|one| one.type_ != kind);
    }
}

fn set(status: &mut DeploymentStatus, mut new: DeploymentCondition) {
    if let Some(old) = find(status, &new.type_) {
        if old.status == new.status && old.reason == new.reason {
            return;
        }
        if old.status == new.status {
            new.last_transition_time.clone_from(&old.last_transition_time);
        }
    }
    remove(status, &new.type_);
    status.conditions.get_or_insert_default().push(new);
}

fn count(status: Option<i32>) -> i32 {
    status.unwrap_or(0)
}

impl Work<'_> {
    fn has_deadline(&self) -> bool {
        self.spec.progress_deadline_seconds.is_some_and(|seconds| seconds != i32::MAX)
    }

    fn note(&mut self, status: &str, reason: &str, message: String) {
        let now = self.now;
        set(&mut self.status, condition(PROGRESSING, status, reason, message, now));
    }

    /// Says in the Progressing condition that the rollout is paused or goes on.
    pub(super) fn note_pause(&mut self) {
        if !self.has_deadline() {
            return;
        }
        let reason = find(&self.status, PROGRESSING).and_then(|one| one.reason.clone()).unwrap_or_default();
        if reason == TIMED_OUT {
            return; // a failed rollout keeps its verdict
        }
        let noted = reason == "DeploymentPaused";
        match (self.spec.paused == Some(true), noted) {
            (true, false) => self.note("Unknown", "DeploymentPaused", "Deployment is paused".into()),
            (false, true) => self.note("Unknown", "DeploymentResumed", "Deployment is resumed".into()),
            _ => {}
        }
    }

    /// The first word about a rollout that found its set already there.
    pub(super) fn note_found(&mut self, name: &str) {
        if self.has_deadline() && find(&self.status, PROGRESSING).is_none() {
            self.note("True", "FoundNewReplicaSet", format!("Found new replica set \"{name}\""));
        }
    }

    /// The first word about a rollout that starts.
    pub(super) fn note_created(&mut self, name: &str) {
        if self.has_deadline() {
            self.note("True", "NewReplicaSetCreated", format!("Created new replica set \"{name}\""));
        }
    }

    /// Fills in the counts and the Available condition.
    pub(super) fn count(&mut self) {
        let sum = |of: &dyn Fn(&Set) -> i32| self.all().map(of).sum::<i32>();
        let reported = |of: &dyn Fn(&k8s_openapi::api::apps::v1::ReplicaSetStatus) -> i32| {
            sum(&|set| set.rs.status.as_ref().map_or(0, of))
        };
        let working = sum(&|set| available(&set.rs));
        let created = self.creation.as_ref().map_or(0, |set| super::size(set));
        let wanted = sum(&|set| set.planned) + created;
        let new = self.new.as_ref().and_then(|set| set.rs.status.as_ref());
        let counted = DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: nonzero(reported(&|status| status.replicas)),
            updated_replicas: nonzero(new.map_or(0, |status| status.replicas)),
            ready_replicas: nonzero(reported(&|status| count(status.ready_replicas))),
            available_replicas: nonzero(working),
            unavailable_replicas: nonzero((wanted - working).max(0)),
            terminating_replicas: nonzero(reported(&|status| count(status.terminating_replicas))),
            collision_count: self.status.collision_count,
            conditions: self.status.conditions.take(),
        };
        self.status = counted;
        let (status, reason, message) = if working >= self.desired() - self.max_unavailable() {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
        };
        let now = self.now;
        set(&mut self.status, condition("Available", status, reason, message.into(), now));
    }

    /// Whether the status that was written last says that the rollout is over.
    pub(super) fn is_complete(&self) -> bool {
        self.deployment.status.as_ref().is_some_and(|status| self.completes(status))
    }

    fn completes(&self, status: &DeploymentStatus) -> bool {
        let desired = self.desired();
        count(status.updated_replicas) == desired
            && count(status.replicas) == desired
            && count(status.available_replicas) == desired
            && status.observed_generation >= self.deployment.metadata.generation
    }

    fn progresses(&self) -> bool {
        let before = self.deployment.status.clone().unwrap_or_default();
        let now = &self.status;
        let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
        count(now.updated_replicas) > count(before.updated_replicas)
            || old(now) < old(&before)
            || count(now.ready_replicas) > count(before.ready_replicas)
            || count(now.available_replicas) > count(before.available_replicas)
    }

    /// Time left until the rollout counts as stuck; `None` if that does not apply.
    fn time_left(&self) -> Option<SignedDuration> {
        let progressing = find(&self.status, PROGRESSING)?;
        let reason = progressing.reason.as_deref()?;
        if reason == NEW_AVAILABLE || reason == TIMED_OUT {
            return None;
        }
        let deadline = SignedDuration::from_secs(i64::from(self.spec.progress_deadline_seconds?));
        let since = progressing.last_update_time.as_ref()?.0;
        Some(deadline - self.now.duration_since(since))
    }

    /// Counts, then says how the rollout goes.
    pub(super) fn report_progress(&mut self) {
        self.count();
        if !self.has_deadline() {
            remove(&mut self.status, PROGRESSING);
        }
        let announced = find(&self.status, PROGRESSING).is_some_and(|one| one.reason.as_deref() == Some(NEW_AVAILABLE));
        let settled = announced && self.status.replicas == self.status.updated_replicas;
        if self.has_deadline() && !settled {
            self.judge();
        }
        match self.failure() {
            Some(failure) => set(&mut self.status, failure),
            None => remove(&mut self.status, "ReplicaFailure"),
        }
        if self.has_deadline() && !self.completes(&self.status) {
            // One second more, so that the deadline has certainly passed at the next look.
            let wait = self.time_left().map(|left| left.max(SignedDuration::ZERO) + SignedDuration::from_secs(1));
            self.recheck = wait.and_then(|wait| Duration::try_from(wait).ok());
        }
    }

    fn judge(&mut self) {
        let current = self.new.as_ref().map(|set| set.rs.name_any());
        let current = current.or_else(|| self.creation.as_ref().map(|set| set.name_any()));
        let subject = match current {
            Some(name) => format!("ReplicaSet \"{name}\""),
            None => format!("Deployment \"{}\"", self.deployment.name_any()),
        };
        if self.completes(&self.status) {
            self.note("True", NEW_AVAILABLE, format!("{subject} has successfully progressed."));
        } else if self.progresses() {
            let mut new =
                condition(PROGRESSING, "True", "ReplicaSetUpdated", format!("{subject} is progressing."), self.now);
            if let Some(old) = find(&self.status, PROGRESSING).filter(|old| old.status == "True") {
                new.last_transition_time.clone_from(&old.last_transition_time);
            }
            remove(&mut self.status, PROGRESSING); // same reason again, but a newer lastUpdateTime
            set(&mut self.status, new);
        } else if self.time_left().is_some_and(|left| left.is_negative()) {
            self.note("False", TIMED_OUT, format!("{subject} has timed out progressing."));
        }
    }

    /// The failure the sets report, that of the current set first.
    fn failure(&self) -> Option<DeploymentCondition> {
        let failing = |set: &ReplicaSet| -> Option<ReplicaSetCondition> {
            set.status.as_ref()?.conditions.iter().flatten().find(|one| one.type_ == "ReplicaFailure").cloned()
        };
        let first = self.new.iter().chain(&self.old).find_map(|set| failing(&set.rs))?;
        Some(DeploymentCondition {
            type_: first.type_,
            status: first.status,
            reason: first.reason,
            message: first.message,
            last_transition_time: first.last_transition_time.clone(),
            last_update_time: first.last_transition_time,
        })
    }
}
