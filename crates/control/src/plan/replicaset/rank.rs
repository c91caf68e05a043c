//! Which pod goes first when there are too many (upstream `ActivePodsWithRanks`).
//!
//! Invariant: a total order that depends on the pods and `now` only; ages compare by powers of two so that a set does
//! not always lose exactly its newest pods.

use std::cmp::Ordering;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::plan::pod;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `Less` means the first pod is deleted before the second. Each comes with the number of related pods on its node.
pub(super) fn order((a, a_crowd): (&Pod, usize), (b, b_crowd): (&Pod, usize), now: Timestamp) -> Ordering {
    let assigned = |pod: &Pod| !pod::node_name(pod).is_empty();
    assigned(a)
        .cmp(&assigned(b))
        .then_with(|| progress(a).cmp(&progress(b)))
        .then_with(|| pod::is_ready(a).cmp(&pod::is_ready(b)))
        .then_with(|| deletion_cost(a).cmp(&deletion_cost(b)))
        .then_with(|| b_crowd.cmp(&a_crowd))
        .then_with(|| younger(pod::ready_since(a), pod::ready_since(b), now))
        .then_with(|| restarts(b).cmp(&restarts(a)))
        .then_with(|| younger(created(a), created(b), now))
        .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

fn progress(pod: &Pod) -> u8 {
    match pod::phase(pod) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    pod.annotations().get(DELETION_COST).and_then(|cost| cost.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let Some(status) = &pod.status else { return 0 };
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists.into_iter().flatten().flatten().map(|container| container.restart_count).max().unwrap_or(0)
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// An unknown time counts as younger than any known one.
fn younger(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => magnitude(now, a).cmp(&magnitude(now, b)),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

/// The binary logarithm of the age, -1 for none.
fn magnitude(now: Timestamp, then: Timestamp) -> i64 {
    let age = now.duration_since(then).as_nanos();
    u128::try_from(age).ok().and_then(u128::checked_ilog2).map_or(-1, i64::from)
}
