//! Counts the pods of a PodDisruptionBudget, and says how many of them may be taken away.
//!
//! Invariant: a pod that an eviction has named counts as lost until it is seen to go or two minutes have passed, so what an
//! eviction has spent is never given out twice. If the pods cannot be counted nothing may be taken.
//! Why scales are asked for: of how many pods a percentage is meant only the controllers of the pods know, not the pods
//! there happen to be.

mod condition;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::ResourceExt;

use super::{claim, labels, pod};
pub use condition::stale_disruption;

/// How long a pod that an eviction has named may take to be seen leaving.
const DELETION: SignedDuration = SignedDuration::from_secs(120);

/// A controller of pods and how many it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    pub uid: String,
    pub replicas: i32,
}

/// What was learnt of a controller: none if it does not exist, or why nothing could be learnt.
pub type Asked = Result<Option<Scale>, String>;

/// What was seen in the namespace of the budget.
#[derive(Debug)]
pub struct Observed<'a> {
    /// The pods that the budget is about, see [`covered`].
    pub pods: &'a [Arc<Pod>],
    /// By the uid of the controller that a pod names; only looked at where [`needs_scales`].
    pub scales: &'a BTreeMap<String, Asked>,
    pub now: Timestamp,
}

/// What to say about a budget or one of its pods.
#[derive(Debug, PartialEq, Eq)]
pub struct Note {
    /// None is the budget.
    pub pod: Option<String>,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

/// What to write and to say, and when time alone changes it.
#[derive(Debug, Default)]
pub struct Plan {
    pub status: Option<PodDisruptionBudgetStatus>,
    pub notes: Vec<Note>,
    pub recheck: Option<Duration>,
}

/// Whether the budget is about the pod. Without a selector it is about none, with an empty one about all.
pub fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| labels::matches(selector, pod.labels()))
}

/// The pods that the budget is about.
pub fn covered(budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    pods.iter().filter(|pod| covers(budget, pod)).cloned().collect()
}

/// Whether it matters how many pods the controllers want.
pub fn needs_scales(budget: &PodDisruptionBudget) -> bool {
    let Some(spec) = &budget.spec else { return false };
    spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
}

/// How a controller that pods name is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    ReplicationController,
    ReplicaSet,
    StatefulSet,
    /// By its scale subresource.
    Scale,
}

/// Where to ask about the controller.
pub fn source(controller: &OwnerReference) -> Source {
    let group = controller.api_version.split_once('/').map_or("", |(group, _)| group);
    match (group, controller.kind.as_str()) {
        ("", "ReplicationController") => Source::ReplicationController,
        ("apps" | "extensions", "ReplicaSet") => Source::ReplicaSet,
        ("apps", "StatefulSet") => Source::StatefulSet,
        _ => Source::Scale,
    }
}

/// The scale of a ReplicaSet: that of its Deployment if it has one, `deployment` being the one of that name. None if only
/// the server can tell.
pub fn of_replica_set(set: &ReplicaSet, deployment: Option<&Deployment>) -> Option<Scale> {
    let Some(owner) = claim::controller(set).filter(|owner| owner.kind == "Deployment") else {
        let replicas = set.spec.as_ref()?.replicas.unwrap_or(1);
        return Some(Scale { uid: set.uid()?, replicas });
    };
    let deployment = deployment.filter(|one| one.metadata.uid.as_deref() == Some(&owner.uid))?;
    Some(Scale { uid: owner.uid.clone(), replicas: deployment.spec.as_ref()?.replicas.unwrap_or(1) })
}

/// How many pods there should be, and how many of them must be healthy.
struct Expected {
    pods: i32,
    healthy: i32,
    /// Pods without a controller are there although a number is needed that only a controller knows.
    unmanaged: bool,
}

/// Decides what the status says.
pub fn plan(budget: &PodDisruptionBudget, observed: &Observed<'_>) -> Plan {
    let mut notes = Vec::new();
    let about_budget = |warning, reason, message| Note { pod: None, warning, reason, message };
    let Some(spec) = &budget.spec else { return Plan::default() };
    if observed.pods.is_empty() {
        notes.push(about_budget(false, "NoPods", "No matching pods found".into()));
    }
    let expected = match expected(spec, observed) {
        Ok(expected) => expected,
        Err(fault) => {
            let text = format!("Failed to calculate the number of expected pods: {fault}");
            notes.push(about_budget(true, "CalculateExpectedPodCountFailed", text));
            let status = condition::failed(budget, &fault, observed.now);
            return Plan { status, notes, recheck: None };
        }
    };
    if expected.unmanaged {
        let selector = labels::print(spec.selector.as_ref());
        let text = format!(
            "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value."
        );
        notes.push(about_budget(true, "UnmanagedPods", text));
    }
    let (disrupted, recheck) = disrupted(budget, observed, &mut notes);
    let is_healthy = |pod: &&Arc<Pod>| {
        pod.metadata.deletion_timestamp.is_none() && !disrupted.contains_key(&pod.name_any()) && pod::is_ready(pod)
    };
    let healthy = i32::try_from(observed.pods.iter().filter(is_healthy).count()).unwrap_or(i32::MAX);
    // A budget whose first pods appear is not yet allowed to lose them.
    let allowed = if expected.pods > 0 { healthy.saturating_sub(expected.healthy).max(0) } else { 0 };
    let mut status = PodDisruptionBudgetStatus {
        current_healthy: Some(healthy),
        desired_healthy: Some(expected.healthy),
        expected_pods: Some(expected.pods),
        disruptions_allowed: Some(allowed),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        observed_generation: budget.metadata.generation,
        conditions: budget.status.as_ref().and_then(|status| status.conditions.clone()),
    };
    condition::set_allowed(&mut status, observed.now);
    let changed = budget.status.as_ref() != Some(&status);
    Plan { status: changed.then_some(status), notes, recheck }
}

fn expected(spec: &PodDisruptionBudgetSpec, observed: &Observed<'_>) -> Result<Expected, String> {
    if let Some(most) = &spec.max_unavailable {
        let (pods, unmanaged) = wanted(observed)?;
        return Ok(Expected { pods, healthy: pods.saturating_sub(share(most, pods)?).max(0), unmanaged });
    }
    match &spec.min_available {
        Some(IntOrString::Int(least)) => {
            let pods = i32::try_from(observed.pods.len()).unwrap_or(i32::MAX);
            Ok(Expected { pods, healthy: *least, unmanaged: false })
        }
        Some(least) => {
            let (pods, unmanaged) = wanted(observed)?;
            Ok(Expected { pods, healthy: share(least, pods)?, unmanaged })
        }
        None => Ok(Expected { pods: 0, healthy: 0, unmanaged: false }),
    }
}

/// How many pods the controllers of these pods want together, and whether a pod has none.
fn wanted(observed: &Observed<'_>) -> Result<(i32, bool), String> {
    let (mut scales, mut unmanaged) = (BTreeMap::new(), false);
    for pod in observed.pods {
        let Some(controller) = claim::controller(&**pod) else {
            unmanaged = true;
            continue;
        };
        match observed.scales.get(&controller.uid) {
            Some(Ok(Some(scale))) => drop(scales.insert(scale.uid.as_str(), scale.replicas)),
            Some(Err(fault)) => return Err(fault.clone()),
            Some(Ok(None)) | None => return Err(format!("found no controllers for pod \"{}\"", pod.name_any())),
        }
    }
    Ok((scales.values().fold(0, |sum, replicas| i32::saturating_add(sum, *replicas)), unmanaged))
}

/// A number, or a share of `of`; what is not whole is rounded up.
fn share(value: &IntOrString, of: i32) -> Result<i32, String> {
    let text = match value {
        IntOrString::Int(number) => return Ok(*number),
        IntOrString::String(text) => text,
    };
    let Some(percent) = text.strip_suffix('%') else {
        return Err("invalid value for IntOrString: invalid type: string is not a percentage".into());
    };
    let percent: i64 = percent.parse().map_err(|_| format!("invalid value for IntOrString: invalid value {text:?}"))?;
    let share = percent.saturating_mul(i64::from(of)).saturating_add(99).div_euclid(100);
    Ok(i32::try_from(share).unwrap_or(i32::MAX))
}

/// The pods that evictions have named and that are still there, and when the first of them is given up.
fn disrupted(
    budget: &PodDisruptionBudget,
    observed: &Observed<'_>,
    notes: &mut Vec<Note>,
) -> (BTreeMap<String, Time>, Option<Duration>) {
    let (mut kept, mut next) = (BTreeMap::new(), None::<SignedDuration>);
    let Some(named) = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref()) else {
        return (kept, None);
    };
    for pod in observed.pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let Some(since) = named.get(&pod.name_any()) else { continue };
        let left = DELETION - observed.now.duration_since(since.0);
        if left.is_negative() {
            let name = name(budget);
            let message = format!("Pod was expected by PDB {name} to be deleted but it wasn't");
            notes.push(Note { pod: Some(pod.name_any()), warning: true, reason: "NotDeleted", message });
        } else {
            next = Some(next.map_or(left, |next| next.min(left)));
            kept.insert(pod.name_any(), since.clone());
        }
    }
    // A moment later, so that the look finds it past.
    let recheck = next.and_then(|left| Duration::try_from(left + SignedDuration::from_millis(1)).ok());
    (kept, recheck)
}

fn name(budget: &PodDisruptionBudget) -> String {
    format!("{}/{}", budget.namespace().unwrap_or_default(), budget.name_any())
}

#[cfg(test)]
mod tests;
