//! Keeps as many pods as a ReplicaSet asks for, or a ReplicationController that is seen as one (`replication`).
//!
//! Invariant: the plan looks at pods including our own writes that the cache does not show yet (`run::overlay`), so a
//! lagging cache never leads to a pod too many. Order of deletion is `rank`'s business.
//! Why status is a second function: it reports whether the first plan's actions succeeded.

mod rank;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::ResourceExt;

use super::claim::{self, Claim};
use super::labels::{self, Labels};
use super::pod::{self, Availability};

/// At most this many pods are created or deleted in one pass, as upstream.
const BURST: usize = 500;

/// What was seen in the namespace of the ReplicaSet.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Every pod of the namespace, own writes included.
    pub pods: &'a [Arc<Pod>],
    /// The uids of the other sets with the same controller; their pods count when ranking pods on one node.
    pub siblings: &'a [String],
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    Adopt(Arc<Pod>),
    Release(Arc<Pod>),
    /// Create so many pods from the template, a few first, then more while that works.
    Create(usize),
    Delete(Arc<Pod>),
}

/// What to do, and the pods the status is to be counted over.
#[derive(Debug)]
pub struct Plan {
    pub actions: Vec<Action>,
    /// Active pods owned before the actions.
    pub active: Vec<Arc<Pod>>,
    /// Owned pods that are being deleted but still there.
    pub terminating: usize,
}

/// The number of pods asked for.
pub fn desired(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Decides what to create, delete, adopt and release.
pub fn plan(set: &ReplicaSet, observed: &Observed<'_>) -> Plan {
    let Some(spec) = &set.spec else {
        return Plan { actions: Vec::new(), active: Vec::new(), terminating: 0 };
    };
    let living = observed.pods.iter().filter(|pod| !pod::is_terminal(pod)).cloned();
    let Claim { owned, adopt, release } = claim::claim(set, &spec.selector, living);
    let mut actions: Vec<Action> = adopt.iter().cloned().map(Action::Adopt).collect();
    actions.extend(release.into_iter().map(Action::Release));
    let (terminating, mut active): (Vec<_>, Vec<_>) =
        owned.into_iter().partition(|pod| pod.metadata.deletion_timestamp.is_some());
    active.extend(adopt);
    if set.metadata.deletion_timestamp.is_none() {
        actions.extend(counting(set, &active, observed));
    }
    Plan { actions, active, terminating: terminating.len() }
}

fn counting(set: &ReplicaSet, active: &[Arc<Pod>], observed: &Observed<'_>) -> Vec<Action> {
    let desired = usize::try_from(desired(set)).unwrap_or(0);
    if active.len() <= desired {
        let missing = (desired - active.len()).min(BURST);
        return if missing == 0 { Vec::new() } else { vec![Action::Create(missing)] };
    }
    let surplus = (active.len() - desired).min(BURST);
    let mut victims = active.to_vec();
    if surplus < victims.len() {
        let crowd = crowding(set, observed);
        victims.sort_by(|a, b| {
            let rank = |pod: &Pod| crowd.get(pod::node_name(pod)).copied().unwrap_or(0);
            rank::order((a, rank(a)), (b, rank(b)), observed.now)
        });
    }
    victims.into_iter().take(surplus).map(Action::Delete).collect()
}

/// How many active pods of the same family (all ReplicaSets of one Deployment) each node runs.
fn crowding<'a>(set: &ReplicaSet, observed: &'a Observed<'_>) -> HashMap<&'a str, usize> {
    let mut family: Vec<&str> = observed.siblings.iter().map(String::as_str).collect();
    family.extend(set.metadata.uid.as_deref());
    let mut nodes = HashMap::new();
    for pod in observed.pods.iter().filter(|pod| pod::is_active(pod)) {
        if claim::controller(&**pod).is_some_and(|owner| family.contains(&owner.uid.as_str())) {
            *nodes.entry(pod::node_name(pod)).or_insert(0) += 1;
        }
    }
    nodes
}

/// A pod made from the set's template, for the owner to which the set belongs. The server completes the name.
pub fn new_pod(set: &ReplicaSet, owner: OwnerReference) -> Pod {
    let template = set.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default();
    let PodTemplateSpec { metadata, spec } = template;
    let metadata = metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.name_any())),
            namespace: set.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Zero counts are left out on the wire, as upstream.
pub(crate) fn nonzero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

/// The status after the actions: counts over `plan`, and the failure, if one happened. `None` when nothing changed.
pub fn status(set: &ReplicaSet, plan: &Plan, failure: Option<&str>, now: Timestamp) -> Option<ReplicaSetStatus> {
    let spec = set.spec.as_ref()?;
    let no_labels = Labels::new();
    let template = spec.template.as_ref().and_then(|template| template.metadata.as_ref());
    let template_labels = template.and_then(|metadata| metadata.labels.as_ref()).unwrap_or(&no_labels);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let count = |test: &dyn Fn(&Pod) -> bool| {
        i32::try_from(plan.active.iter().filter(|pod| test(pod)).count()).unwrap_or(i32::MAX)
    };
    let old = set.status.clone().unwrap_or_default();
    let new = ReplicaSetStatus {
        replicas: count(&|_| true),
        fully_labeled_replicas: nonzero(count(&|pod| labels::contains(pod.labels(), template_labels))),
        ready_replicas: nonzero(count(&pod::is_ready)),
        available_replicas: nonzero(count(&|pod| pod::availability(pod, min_ready, now) == Availability::Available)),
        terminating_replicas: nonzero(i32::try_from(plan.terminating).unwrap_or(i32::MAX)),
        observed_generation: set.metadata.generation,
        conditions: conditions(set, &old, plan, failure, now),
    };
    (set.status.is_none() || new != old).then_some(new)
}

fn conditions(
    set: &ReplicaSet,
    old: &ReplicaSetStatus,
    plan: &Plan,
    failure: Option<&str>,
    now: Timestamp,
) -> Option<Vec<ReplicaSetCondition>> {
    let mut conditions = old.conditions.clone().unwrap_or_default();
    let known = conditions.iter().any(|one| one.type_ == "ReplicaFailure");
    match failure {
        None => conditions.retain(|one| one.type_ != "ReplicaFailure"),
        Some(message) if !known => {
            let missing = plan.active.len() < usize::try_from(desired(set)).unwrap_or(0);
            conditions.push(ReplicaSetCondition {
                type_: "ReplicaFailure".into(),
                status: "True".into(),
                reason: Some(if missing { "FailedCreate" } else { "FailedDelete" }.into()),
                message: Some(message.into()),
                last_transition_time: Some(Time(now)),
            });
        }
        Some(_) => {}
    }
    (!conditions.is_empty()).then_some(conditions)
}

/// When the next pod becomes available by time alone.
pub fn recheck(set: &ReplicaSet, plan: &Plan, now: Timestamp) -> Option<Duration> {
    let min_ready = set.spec.as_ref()?.min_ready_seconds.unwrap_or(0);
    let waits = plan.active.iter().filter_map(|pod| match pod::availability(pod, min_ready, now) {
        Availability::In(wait) => Duration::try_from(wait).ok(),
        _ => None,
    });
    waits.min()
}

#[cfg(test)]
mod tests;
