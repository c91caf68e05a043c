//! What a Job's status says of its pods, and which pods may go once it is stored.
//!
//! Invariant: the order of two writes makes the count right: first the status names a pod as uncounted (or its index as
//! completed), then the pod loses its finalizer, and only a named pod without a finalizer is moved into a counter. A pod is
//! let go in no other way. The last condition comes when no pod is left to be counted and none terminates.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::end::End;
use super::policy::{self, Failure};
use super::{Observed, Work, number, pods, unknown_mode};
use crate::plan::pod;
use crate::plan::replicaset::nonzero;

/// So many pods at most are named as uncounted, to keep the status small.
const MOST_UNCOUNTED: usize = 500;

/// What to write down, in this order.
#[derive(Debug, Default)]
pub struct Books {
    pub status: Option<JobStatus>,
    /// Said when the status is stored.
    pub notes: Vec<Note>,
    /// Pods whose finalizer goes when the status is stored.
    pub let_go: Vec<Arc<Pod>>,
}

/// Something to tell about the Job.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    pub warning: bool,
    pub reason: String,
    pub message: String,
}

impl Note {
    fn new(warning: bool, reason: &str, message: &str) -> Self {
        Self { warning, reason: reason.into(), message: message.into() }
    }
}

/// Brings the status up to what the pods are now.
pub fn books(job: &Job, observed: &Observed<'_>) -> Books {
    let Some(work) = Work::new(job, observed) else {
        let unknown = unknown_mode(job).is_some() && super::is_ours(job) && super::ended(job).is_none();
        let message = "Skipped Job sync because completion mode is unknown";
        let notes = if unknown { vec![Note::new(true, "UnknownCompletionMode", message)] } else { Vec::new() };
        return Books { notes, ..Books::default() };
    };
    let verdict = work.verdict();
    let (mut status, mut notes) = (work.counts(), Vec::new());
    if let Some(end) = &verdict {
        work.ensure(&mut status, (end.target(), "True"), &end.reason, &end.message);
    }
    // As long as pods are to be stopped they are not counted: they still run.
    let (over, running) = (verdict.is_some(), work.active().next().is_some());
    let end = verdict.filter(|_| !running).or_else(|| if over { None } else { work.completed() });
    let let_go = work.count(&mut status, end.as_ref());
    match end {
        Some(end) => work.tell_end(&mut status, &end, let_go.is_empty(), &mut notes),
        None if !over && job.metadata.deletion_timestamp.is_none() => work.tell_suspension(&mut status, &mut notes),
        None => {}
    }
    let changed = job.status.as_ref() != Some(&status);
    Books { status: changed.then_some(status), notes, let_go }
}

impl Work<'_> {
    /// The status with the pods as they are, and with those counted that were named and are gone or let go.
    fn counts(&self) -> JobStatus {
        let mut status = self.status.clone();
        if status.start_time.is_none() && !self.is_suspended() {
            status.start_time = Some(Time(self.now));
        }
        status.active = nonzero(number(self.active().count()));
        status.ready = Some(number(self.active().filter(|one| pod::is_ready(one)).count()));
        status.terminating = Some(number(self.terminating().count()));
        let held: HashSet<&str> = self
            .pods
            .iter()
            .filter(|one| pods::is_tracked(one))
            .filter_map(|one| one.metadata.uid.as_deref())
            .collect();
        let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
        for (list, counter) in
            [(&mut uncounted.succeeded, &mut status.succeeded), (&mut uncounted.failed, &mut status.failed)]
        {
            let mut named = list.take().unwrap_or_default();
            let before = named.len();
            named.retain(|uid| held.contains(uid.as_str()));
            *counter = nonzero(counter.unwrap_or(0).saturating_add(number(before - named.len())));
            *list = (!named.is_empty()).then_some(named);
        }
        status
    }

    /// Names the pods that ended, and returns those that may be let go.
    fn count(&self, status: &mut JobStatus, end: Option<&End>) -> Vec<Arc<Pod>> {
        let failed_before = self.uncounted(true);
        let succeeded_before = self.uncounted(false);
        let waiting = self.awaiting_replacement();
        let lists = status.uncounted_terminated_pods.get_or_insert_default();
        let mut succeeded = lists.succeeded.take().unwrap_or_default();
        let mut failed = lists.failed.take().unwrap_or_default();
        let (mut let_go, mut indexes) = (Vec::new(), 0);
        for one in self.pods.iter().filter(|one| pods::is_tracked(one)) {
            // A pod that was stopped because the others are enough has not failed.
            let stopped = end.is_some_and(End::stops_good_pods) && one.metadata.deletion_timestamp.is_some();
            let has_failed = pods::is_failed(self.job, one) && !stopped;
            let has_succeeded = pod::phase(one) == "Succeeded";
            let leaving = self.job.metadata.deletion_timestamp.is_some() || end.is_some();
            let stays = pods::index(one)
                .is_some_and(|index| waiting.get(&index).is_some_and(|pod| pod.metadata.uid == one.metadata.uid));
            if !leaving && !has_succeeded && (!has_failed || stays) {
                continue;
            }
            let_go.push(Arc::clone(one));
            let uid = one.metadata.uid.as_deref().unwrap_or("");
            if has_succeeded && !failed_before.contains(uid) {
                if self.is_indexed() {
                    indexes += 1; // the index is named, which is enough
                } else if !succeeded_before.contains(uid) {
                    succeeded.push(uid.to_owned());
                }
            } else if has_failed || end.is_some_and(|end| !end.success) {
                let ignored = policy::failure(self.spec.pod_failure_policy.as_ref(), one) == Failure::Ignored;
                if !failed_before.contains(uid) && pods::is_valid(self.job, one) && !ignored {
                    failed.push(uid.to_owned());
                }
            }
            if indexes + succeeded.len() + failed.len() >= MOST_UNCOUNTED {
                break;
            }
        }
        lists.succeeded = (!succeeded.is_empty()).then_some(succeeded);
        lists.failed = (!failed.is_empty()).then_some(failed);
        if self.is_indexed() {
            let completed = self.succeeded_indexes();
            status.succeeded = nonzero(completed.total());
            status.completed_indexes = (!completed.is_empty()).then(|| completed.to_string());
            status.failed_indexes = self.failed_indexes().map(|failed| failed.to_string());
        }
        let_go
    }

    fn tell_end(&self, status: &mut JobStatus, end: &End, all_let_go: bool, notes: &mut Vec<Note>) {
        self.ensure(status, (end.target(), "True"), &end.reason, &end.message);
        let lists = status.uncounted_terminated_pods.get_or_insert_default();
        let counted = lists.succeeded.is_none() && lists.failed.is_none();
        if !all_let_go || !counted || self.terminating().next().is_some() {
            return;
        }
        self.ensure(status, (end.terminal(), "True"), &end.reason, &end.message);
        if !end.success {
            notes.push(Note::new(true, &end.reason, &end.message));
            return;
        }
        status.completion_time = Some(Time(self.now));
        if self.spec.completions.is_some_and(|wanted| status.succeeded.unwrap_or(0) > wanted) {
            let message = "Too many succeeded pods running after completion count reached";
            notes.push(Note::new(true, "TooManySucceededPods", message));
        }
        notes.push(Note::new(false, "Completed", "Job completed"));
    }

    /// A Job that goes on starts its time anew.
    fn tell_suspension(&self, status: &mut JobStatus, notes: &mut Vec<Note>) {
        let suspended = self.is_suspended();
        let (state, reason, message) =
            if suspended { ("True", "JobSuspended", "Job suspended") } else { ("False", "JobResumed", "Job resumed") };
        if self.ensure(status, ("Suspended", state), reason, message) {
            notes.push(Note::new(false, if suspended { "Suspended" } else { "Resumed" }, message));
            status.start_time = (!suspended).then_some(Time(self.now));
        }
    }

    /// Sets a condition, unless it is already so; what never was true need not be false.
    fn ensure(&self, status: &mut JobStatus, (kind, state): (&str, &str), reason: &str, message: &str) -> bool {
        let conditions = status.conditions.get_or_insert_default();
        let known = conditions.iter_mut().find(|one| one.type_ == kind);
        let new = JobCondition {
            type_: kind.into(),
            status: state.into(),
            reason: (!reason.is_empty()).then(|| reason.into()),
            message: (!message.is_empty()).then(|| message.into()),
            last_probe_time: Some(Time(self.now)),
            last_transition_time: Some(Time(self.now)),
        };
        let changed = match known {
            Some(old) if (&old.status, &old.reason, &old.message) == (&new.status, &new.reason, &new.message) => false,
            Some(old) => {
                *old = new;
                true
            }
            None if state == "False" => false,
            None => {
                conditions.push(new);
                true
            }
        };
        if conditions.is_empty() {
            status.conditions = None;
        }
        changed
    }
}
