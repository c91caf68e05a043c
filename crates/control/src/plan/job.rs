//! Runs pods until enough of them have succeeded, or too much has failed.
//!
//! Invariant: a pod is counted once. It carries a finalizer until the status names it as uncounted; it enters a counter
//! only when its finalizer is gone. So each single write leaves a world from which the same end is reached.
//! Two questions are asked again and again until both answers are empty: [`plan`] says what to do with the pods, [`books`]
//! what the status must say of the pods there are, and which of them may then go.
//! Why books never look ahead: what a write brings about shows in the next look (`run::overlay`), so a failed one needs no
//! correction.

mod backoff;
mod end;
mod indexes;
mod orphan;
mod pods;
mod policy;
mod status;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::claim::{self, Claim};
use super::pod;
use indexes::Indexes;

pub use backoff::Backoff;
pub use orphan::keeps_finalizer;
pub use pods::{FINALIZER, new_pod};
pub use status::{Books, Note, books};

/// At most this many pods are created or deleted in one pass, as upstream.
const BURST: usize = 500;
/// A Job without this manager, or with this one, is ours.
const MANAGER: &str = "kubernetes.io/job-controller";

/// What was seen in the namespace of the Job.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Every pod of the namespace, own writes included.
    pub pods: &'a [Arc<Pod>],
    /// What is known of failures, these pods included.
    pub backoff: &'a Backoff,
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    Adopt(Arc<Pod>),
    Release(Arc<Pod>),
    Create(Box<Pod>),
    /// A pod that is too many: its finalizer goes first, so it is never counted.
    Drop(Arc<Pod>),
    /// A pod of a Job that is over: it is counted when it is gone.
    Stop(Arc<Pod>),
}

/// What to do with the pods, and when time alone changes the answer.
#[derive(Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub recheck: Option<Duration>,
}

/// Whether this controller has anything to do with the Job.
pub fn is_ours(job: &Job) -> bool {
    let manager = job.spec.as_ref().and_then(|spec| spec.managed_by.as_deref());
    manager.is_none_or(|manager| manager == MANAGER)
}

/// The mode of the Job, if it is one we do not know.
pub fn unknown_mode(job: &Job) -> Option<&str> {
    let mode = job.spec.as_ref()?.completion_mode.as_deref()?;
    (!matches!(mode, "NonIndexed" | "Indexed")).then_some(mode)
}

/// Whether the Job has ended, and how.
pub fn ended(job: &Job) -> Option<&JobCondition> {
    ["Complete", "Failed"].into_iter().find_map(|kind| condition(job, kind))
}

/// The condition of that type, if it is true.
fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().find(|one| one.type_ == kind && one.status == "True")
}

/// Decides what to create, delete, adopt and release.
pub fn plan(job: &Job, observed: &Observed<'_>) -> Plan {
    let Some(work) = Work::new(job, observed) else { return Plan::default() };
    let claims = work.adopt.iter().cloned().map(Action::Adopt);
    let mut actions: Vec<Action> = claims.chain(work.release.iter().cloned().map(Action::Release)).collect();
    if !actions.is_empty() {
        return Plan { actions, recheck: None };
    }
    if let Some(end) = work.verdict() {
        // The end is told first: a pod that is stopped looks like one that failed, to whoever does not know of the end.
        if condition(job, end.target()).is_some() {
            actions.extend(work.active().cloned().map(Action::Stop));
        }
        return Plan { actions, recheck: None };
    }
    let deadline = work.deadline();
    if job.metadata.deletion_timestamp.is_some() {
        return Plan { actions, recheck: deadline };
    }
    let Plan { actions, recheck } = work.manage();
    Plan { actions, recheck: recheck.into_iter().chain(deadline).min() }
}

/// The Job and its pods, sorted once.
struct Work<'a> {
    job: &'a Job,
    spec: &'a JobSpec,
    status: JobStatus,
    /// Controlled and selected, in the order of their indexes.
    pods: Vec<Arc<Pod>>,
    adopt: Vec<Arc<Pod>>,
    release: Vec<Arc<Pod>>,
    backoff: &'a Backoff,
    now: Timestamp,
}

impl<'a> Work<'a> {
    /// None if there is nothing to do for this Job any more, or if it is not ours.
    fn new(job: &'a Job, observed: &Observed<'a>) -> Option<Self> {
        let spec = job.spec.as_ref()?;
        if ended(job).is_some() || !is_ours(job) || unknown_mode(job).is_some() {
            return None;
        }
        let Claim { mut owned, adopt, release } =
            claim::claim(job, spec.selector.as_ref()?, observed.pods.iter().cloned());
        owned.sort_by_key(|pod| pods::index(pod));
        let status = job.status.clone().unwrap_or_default();
        Some(Self { job, spec, status, pods: owned, adopt, release, backoff: observed.backoff, now: observed.now })
    }

    fn is_indexed(&self) -> bool {
        pods::is_indexed(self.spec)
    }

    fn is_suspended(&self) -> bool {
        self.spec.suspend == Some(true)
    }

    fn completions(&self) -> i32 {
        self.spec.completions.unwrap_or(0)
    }

    fn active(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|one| pod::is_active(one))
    }

    fn terminating(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.iter().filter(|one| pods::is_terminating(one))
    }

    fn uncounted(&self, failed: bool) -> HashSet<&str> {
        let lists = self.status.uncounted_terminated_pods.iter();
        lists
            .flat_map(|lists| if failed { &lists.failed } else { &lists.succeeded })
            .flatten()
            .map(String::as_str)
            .collect()
    }

    /// Pods that ended and that neither counters nor status know of.
    fn new_ends(&self, failed: bool) -> impl Iterator<Item = &Arc<Pod>> {
        let known = self.uncounted(failed);
        self.pods.iter().filter(move |one| {
            let ended = if failed { pods::is_failed(self.job, one) } else { pod::phase(one) == "Succeeded" };
            let known = one.metadata.uid.as_deref().is_some_and(|uid| known.contains(uid));
            ended && !known && pods::is_tracked(one) && pods::is_valid(self.job, one)
        })
    }

    /// How many pods have failed, counted or not.
    fn failed(&self) -> i32 {
        let policy = self.spec.pod_failure_policy.as_ref();
        let new = self.new_ends(true).filter(|pod| policy::failure(policy, pod).is_counted()).count();
        let counted = self.status.failed.unwrap_or(0);
        counted.saturating_add(number(new)).saturating_add(number(self.uncounted(true).len()))
    }

    /// How many pods, or indexes, have succeeded.
    fn succeeded(&self) -> i32 {
        if self.is_indexed() {
            return self.succeeded_indexes().total();
        }
        let new = self.new_ends(false).count();
        let counted = self.status.succeeded.unwrap_or(0);
        counted.saturating_add(number(new)).saturating_add(number(self.uncounted(false).len()))
    }

    fn succeeded_indexes(&self) -> Indexes {
        let known = Indexes::parse(self.status.completed_indexes.as_deref().unwrap_or(""), self.completions());
        let counts =
            |one: &&Arc<Pod>| pod::phase(one) == "Succeeded" && pods::is_tracked(one) && pods::is_valid(self.job, one);
        known.and(&self.pods.iter().filter(counts).filter_map(|pod| pods::index(pod)).collect())
    }

    /// The indexes that are not tried again; none where failures are not counted by index.
    fn failed_indexes(&self) -> Option<Indexes> {
        let limit = self.spec.backoff_limit_per_index.filter(|_| self.is_indexed())?;
        let known = Indexes::parse(self.status.failed_indexes.as_deref().unwrap_or(""), self.completions());
        // what a Job that is over stops has not failed
        let over = ["FailureTarget", "SuccessCriteriaMet"].into_iter().any(|kind| condition(self.job, kind).is_some());
        let given_up = |pod: &&Arc<Pod>| {
            let policy = self.spec.pod_failure_policy.as_ref();
            !(over && pod.metadata.deletion_timestamp.is_some())
                && pods::is_tracked(pod)
                && pods::is_valid(self.job, pod)
                && pods::is_failed(self.job, pod)
                && match policy::failure(policy, pod) {
                    policy::Failure::FailsIndex => true,
                    failure => failure.is_counted() && pods::failures_before(pod) >= limit,
                }
        };
        Some(known.and(&self.pods.iter().filter(given_up).filter_map(|pod| pods::index(pod)).collect()))
    }

    /// The failed pods that stay until their index has a new one, which learns the number of failures from them.
    fn awaiting_replacement(&self) -> BTreeMap<i32, &Arc<Pod>> {
        let mut waiting: BTreeMap<i32, &Arc<Pod>> = BTreeMap::new();
        let Some(failed) = self.failed_indexes() else { return waiting };
        let active: Indexes = self.active().filter_map(|pod| pods::index(pod)).collect();
        let settled = self.succeeded_indexes().and(&failed).and(&active);
        let candidates = self
            .pods
            .iter()
            .filter(|pod| pods::is_tracked(pod) && pods::is_valid(self.job, pod) && pods::is_failed(self.job, pod));
        let last = |pod: &Pod| (pods::all_failures_before(pod), backoff::finished_at(pod));
        for pod in candidates {
            let Some(index) = pods::index(pod).filter(|index| !settled.has(*index)) else { continue };
            if waiting.get(&index).is_none_or(|before| last(before) <= last(pod)) {
                waiting.insert(index, pod);
            }
        }
        waiting
    }

    /// How long until the Job has been active for too long.
    fn deadline(&self) -> Option<Duration> {
        let left = self.time_left()?;
        (left > SignedDuration::ZERO).then(|| Duration::try_from(left).unwrap_or(Duration::MAX))
    }

    fn time_left(&self) -> Option<SignedDuration> {
        let allowed = self.spec.active_deadline_seconds.filter(|_| !self.is_suspended())?;
        let start = self.status.start_time.as_ref()?.0;
        Some(SignedDuration::from_secs(allowed) - self.now.duration_since(start))
    }

    fn manage(&self) -> Plan {
        let active: Vec<&Arc<Pod>> = self.active().collect();
        if self.is_suspended() {
            return Plan { actions: active.into_iter().cloned().map(Action::Drop).collect(), recheck: None };
        }
        let wanted = self.wanted(active.len());
        let mut surplus = self.surplus(active.len().saturating_sub(wanted));
        surplus.truncate(BURST);
        if !surplus.is_empty() {
            return Plan { actions: surplus.into_iter().map(Action::Drop).collect(), recheck: None };
        }
        let waited_for = if pods::replaces_only_failed(self.spec) { self.terminating().count() } else { 0 };
        let missing = wanted.saturating_sub(waited_for + active.len()).min(BURST);
        if missing == 0 {
            return Plan::default();
        }
        if self.spec.backoff_limit_per_index.is_some() && self.is_indexed() {
            return self.replace_by_index(missing);
        }
        if let Some(wait) = self.backoff.remaining(self.now) {
            return Plan { actions: Vec::new(), recheck: Some(wait) };
        }
        let new = |index| Action::Create(Box::new(pods::new_pod(self.job, index, None)));
        let actions = if self.is_indexed() {
            self.pending_indexes(missing).into_iter().map(|index| new(Some(index))).collect()
        } else {
            std::iter::repeat_with(|| new(None)).take(missing).collect()
        };
        Plan { actions, recheck: None }
    }

    /// How many pods should be active.
    fn wanted(&self, active: usize) -> usize {
        let parallelism = self.spec.parallelism.unwrap_or(1);
        let wanted = match self.spec.completions {
            // the pods know by themselves when the work is done: the first success means no new ones
            None if self.succeeded() > 0 => return active,
            None => parallelism,
            Some(completions) => completions.saturating_sub(self.succeeded()).min(parallelism),
        };
        usize::try_from(wanted).unwrap_or(0)
    }

    /// At least so many active pods that should not be: the second ones of an index, then those that have done the least.
    fn surplus(&self, at_least: usize) -> Vec<Arc<Pod>> {
        let mut ordered: Vec<&Arc<Pod>> = self.active().collect();
        ordered.sort_by(|a, b| pods::order(a, b));
        let (mut surplus, mut rest) = (Vec::new(), ordered);
        if self.is_indexed() {
            let mut kept = BTreeMap::new();
            // later pods have done more, so the last one of an index stays
            for pod in rest {
                match pods::index(pod).filter(|index| *index < self.completions()) {
                    Some(index) => surplus.extend(kept.insert(index, pod)),
                    None => surplus.push(pod),
                }
            }
            rest = kept.into_values().collect();
            rest.sort_by(|a, b| pods::order(a, b));
        }
        let more = at_least.saturating_sub(surplus.len());
        surplus.into_iter().chain(rest.into_iter().take(more)).cloned().collect()
    }

    /// The first indexes without a pod, a success or a final failure.
    fn pending_indexes(&self, count: usize) -> Vec<i32> {
        let index = |pod: &Arc<Pod>| pods::index(pod);
        let mut taken = self.succeeded_indexes().and(&self.active().filter_map(index).collect());
        if pods::replaces_only_failed(self.spec) {
            taken = taken.and(&self.terminating().filter_map(index).collect());
        }
        taken = self.failed_indexes().map_or(taken.clone(), |failed| taken.and(&failed));
        taken.missing(count, self.completions())
    }

    /// Each index waits for its own failures only.
    fn replace_by_index(&self, missing: usize) -> Plan {
        let waiting = self.awaiting_replacement();
        let (mut actions, mut recheck) = (Vec::new(), None::<Duration>);
        for index in self.pending_indexes(missing) {
            let replaced = waiting.get(&index);
            let wait = replaced.and_then(|pod| {
                let failures = u32::try_from(pods::all_failures_before(pod)).unwrap_or(0).saturating_add(1);
                backoff::remaining(failures, backoff::finished_at(pod), self.now)
            });
            match wait {
                None => {
                    let new = pods::new_pod(self.job, Some(index), replaced.map(|pod| &***pod));
                    actions.push(Action::Create(Box::new(new)));
                }
                Some(wait) => recheck = Some(recheck.map_or(wait, |known| known.min(wait))),
            }
        }
        Plan { actions, recheck }
    }
}

/// A count as the API has it.
fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests;
