//! The conditions around disruptions: whether a budget allows one, and pods that were to be disrupted but are not.
//!
//! Invariant: a condition's time is that of its last change of status, whatever else of it changes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::plan::pod;

const ALLOWED: &str = "DisruptionAllowed";
/// How long a pod may be marked for disruption without being deleted.
const STALE: SignedDuration = SignedDuration::from_secs(120);

/// Says whether the number of disruptions allows any.
pub(super) fn set_allowed(status: &mut PodDisruptionBudgetStatus, now: Timestamp) {
    let (state, reason) = if status.disruptions_allowed.unwrap_or(0) > 0 {
        ("True", "SufficientPods")
    } else {
        ("False", "InsufficientPods")
    };
    set(status, state, reason, "", now);
}

/// The status when the pods could not be counted; none if it says so already.
pub(super) fn failed(budget: &PodDisruptionBudget, fault: &str, now: Timestamp) -> Option<PodDisruptionBudgetStatus> {
    let mut status = budget.status.clone().unwrap_or_default();
    status.disruptions_allowed = Some(0);
    status.current_healthy.get_or_insert(0);
    status.desired_healthy.get_or_insert(0);
    status.expected_pods.get_or_insert(0);
    set(&mut status, "False", "SyncFailed", fault, now);
    (budget.status.as_ref() != Some(&status)).then_some(status)
}

fn set(status: &mut PodDisruptionBudgetStatus, state: &str, reason: &str, message: &str, now: Timestamp) {
    let conditions = status.conditions.get_or_insert_default();
    let mut new = Condition {
        type_: ALLOWED.into(),
        status: state.into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: status.observed_generation,
        last_transition_time: Time(now),
    };
    match conditions.iter_mut().find(|one| one.type_ == ALLOWED) {
        Some(old) => {
            if old.status == new.status {
                new.last_transition_time = old.last_transition_time.clone();
            }
            *old = new;
        }
        None => conditions.push(new),
    }
}

/// How long until the pod's mark of disruption means nothing any more, since nobody has deleted it; none if it bears no
/// such mark. A node needs no limit: what it ends takes as long as it takes.
pub fn stale_disruption(one: &Pod, now: Timestamp) -> Option<Duration> {
    if one.metadata.deletion_timestamp.is_some() || pod::is_terminal(one) {
        return None;
    }
    let mark = pod::condition(one, "DisruptionTarget")?;
    if mark.status != "True" || mark.reason.as_deref() == Some("TerminationByKubelet") {
        return None;
    }
    let since = mark.last_transition_time.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
    Some(Duration::try_from(STALE - now.duration_since(since)).unwrap_or(Duration::ZERO))
}
