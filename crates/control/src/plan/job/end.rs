//! Whether a Job is over, and why.
//!
//! Invariant: what the status already says decides before what the pods say, so an end once told is never taken back; and
//! of several reasons the first in upstream's order is told.

use super::{Work, condition, pods, policy};
use crate::plan::pod;

const SUCCESS_POLICY: &str = "SuccessPolicy";

/// How a Job ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) success: bool,
    pub(super) reason: String,
    pub(super) message: String,
}

impl End {
    fn failure(reason: &str, message: impl Into<String>) -> Option<Self> {
        Some(Self { success: false, reason: reason.into(), message: message.into() })
    }

    fn success(reason: &str, message: impl Into<String>) -> Option<Self> {
        Some(Self { success: true, reason: reason.into(), message: message.into() })
    }

    /// Whether pods that have done nothing wrong are stopped.
    pub(super) fn stops_good_pods(&self) -> bool {
        self.success && self.reason == SUCCESS_POLICY
    }

    /// The condition that is set as soon as the end is known.
    pub(super) fn target(&self) -> &'static str {
        if self.success { "SuccessCriteriaMet" } else { "FailureTarget" }
    }

    /// The condition that is set when nothing is left to do.
    pub(super) fn terminal(&self) -> &'static str {
        if self.success { "Complete" } else { "Failed" }
    }
}

impl Work<'_> {
    /// Whether the Job is over although pods may still run.
    pub(super) fn verdict(&self) -> Option<End> {
        for success in [true, false] {
            let end = End { success, reason: String::new(), message: String::new() };
            if let Some(told) = condition(self.job, end.target()) {
                let [reason, message] = [&told.reason, &told.message].map(|text| text.clone().unwrap_or_default());
                return Some(End { success, reason, message });
            }
        }
        if let Some(message) = self.failing_pod() {
            return End::failure("PodFailurePolicy", message);
        }
        if self.failed() > self.spec.backoff_limit.unwrap_or(6) || self.restarted_too_often() {
            return End::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit");
        }
        if self.time_left().is_some_and(|left| !left.is_positive()) {
            return End::failure("DeadlineExceeded", "Job was active longer than specified deadline");
        }
        if self.is_indexed() { self.verdict_on_indexes() } else { None }
    }

    fn verdict_on_indexes(&self) -> Option<End> {
        let succeeded = self.succeeded_indexes();
        if let Some(failed) = self.failed_indexes() {
            if self.spec.max_failed_indexes.is_some_and(|most| failed.total() > most) {
                let message = "Job has exceeded the specified maximal number of failed indexes";
                return End::failure("MaxFailedIndexesExceeded", message);
            }
            if !failed.is_empty() && failed.total().saturating_add(succeeded.total()) >= self.completions() {
                return End::failure("FailedIndexes", "Job has failed indexes");
            }
        }
        let matched = policy::success(self.spec.success_policy.as_ref(), self.completions(), &succeeded)?;
        End::success(SUCCESS_POLICY, matched)
    }

    /// Why a rule of the user ends the Job because of one of its pods.
    fn failing_pod(&self) -> Option<String> {
        let policy = self.spec.pod_failure_policy.as_ref()?;
        let mut failed = self.pods.iter().filter(|pod| pods::is_failed(self.job, pod));
        failed.find_map(|pod| match policy::failure(Some(policy), pod) {
            policy::Failure::FailsJob(message) => Some(message),
            _ => None,
        })
    }

    /// Where containers are started again in their pod, their restarts are what is limited.
    fn restarted_too_often(&self) -> bool {
        let policy = self.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
        if policy != Some("OnFailure") {
            return false;
        }
        let living = self.pods.iter().filter(|one| matches!(pod::phase(one), "Running" | "Pending"));
        let containers = living.filter_map(|one| one.status.as_ref()).flat_map(|status| {
            let init = status.init_container_statuses.iter().flatten();
            init.chain(status.container_statuses.iter().flatten())
        });
        let restarts: i32 = containers.map(|container| container.restart_count).sum();
        match self.spec.backoff_limit.unwrap_or(6) {
            0 => restarts > 0,
            limit => restarts >= limit,
        }
    }

    /// Whether all is done: as many have succeeded as were asked for and none runs any more.
    pub(super) fn completed(&self) -> Option<End> {
        let enough = match self.spec.completions {
            None => self.succeeded() > 0,
            Some(completions) => self.succeeded() >= completions,
        };
        let done = enough && self.active().next().is_none();
        if done { End::success("CompletionsReached", "Reached expected number of succeeded pods") } else { None }
    }
}
