//! Keeps one pod of a DaemonSet on every node that should have one.
//!
//! Invariant: what is wrong on a node (no pod, too many, a failed one, one that should not be there) is put right before
//! a rollout takes a step, and a rollout never makes more pods unavailable, or adds more, than its strategy allows. Pods
//! are told apart by the hash of their revision, which is settled first ([`revise`]).
//! Why not the deprecated template generation, which upstream looks at too: nothing keeps it current here, and a stale one
//! would make old pods look new.

mod backoff;
mod place;
mod pods;
mod rollout;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;

use super::claim::{self, Claim};
use super::pod;
use super::revision::{self, Choice, Source, Step};

pub use backoff::Backoff;
pub use pods::new_pod;

use place::{Place, Verdict};

/// The label of pods and revisions that carries the hash.
pub const HASH: &str = "controller-revision-hash";
/// At most this many pods are created, and as many deleted, in one pass, as upstream.
const BURST: usize = 250;

/// Which revisions the set has, and what is to be done about them.
#[derive(Debug)]
pub struct Revising {
    pub adopt: Vec<Arc<ControllerRevision>>,
    pub release: Vec<Arc<ControllerRevision>>,
    /// Those that lack the label with their hash; it is their name.
    pub label: Vec<Arc<ControllerRevision>>,
    pub step: Step,
    /// Others of the same template: their pods go over to the one of `step`, then they go.
    pub duplicates: Vec<Arc<ControllerRevision>>,
    /// Those of other templates, oldest first.
    pub old: Vec<Arc<ControllerRevision>>,
}

/// Finds the revision of the set's template among those of the namespace.
pub fn revise(set: &DaemonSet, spec: &DaemonSetSpec, revisions: &[Arc<ControllerRevision>]) -> Revising {
    let Claim { mut owned, adopt, release } = claim::claim(set, &spec.selector, revisions.iter().cloned());
    owned.extend(adopt.iter().cloned());
    let label = owned.iter().filter(|one| !one.labels().contains_key(HASH)).cloned().collect();
    let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let source = Source { owner: set, template: &spec.template, collisions, label: HASH };
    let Choice { step, duplicates, old } = source.choose(owned);
    Revising { adopt, release, label, step, duplicates, old }
}

/// The hash that the pods of a revision carry.
pub fn hash(revision: &ControllerRevision) -> String {
    revision.labels().get(HASH).cloned().unwrap_or_else(|| revision.name_any())
}

/// The set's pods of the `duplicates`, which are to be labelled anew.
pub fn misled<'a>(
    set: &DaemonSet,
    duplicates: &[Arc<ControllerRevision>],
    pods: &'a [Arc<Pod>],
) -> impl Iterator<Item = &'a Arc<Pod>> {
    let hashes: Vec<String> = duplicates.iter().map(|one| hash(one)).collect();
    let uid = set.metadata.uid.clone().unwrap_or_default();
    pods.iter().filter(move |pod| {
        claim::is_controlled_by(&***pod, &uid) && pod.labels().get(HASH).is_some_and(|hash| hashes.contains(hash))
    })
}

/// What was seen of the cluster.
#[derive(Debug)]
pub struct Observed<'a> {
    pub nodes: &'a [Arc<Node>],
    /// Every pod of the namespace of the set, own writes included.
    pub pods: &'a [Arc<Pod>],
    pub backoff: &'a Backoff,
    pub now: Timestamp,
}

/// Why a pod is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is another one, or it is not wanted there, or it is out of date.
    Surplus,
    /// It failed; so that it does not fail all the time, each next one waits longer.
    Failed,
    Succeeded,
}

/// What to do now, the status to write afterwards if it changed, and when to look again.
#[derive(Debug, Default)]
pub struct Plan {
    pub adopt: Vec<Arc<Pod>>,
    pub release: Vec<Arc<Pod>>,
    /// The nodes that get a pod.
    pub create: Vec<String>,
    /// The pods that go, each with its node.
    pub delete: Vec<(Arc<Pod>, String, Why)>,
    pub status: Option<DaemonSetStatus>,
    /// Revisions beyond the history limit.
    pub forget: Vec<Arc<ControllerRevision>>,
    pub recheck: Option<Duration>,
}

/// Decides the next step of the set, whose template has the hash `hash`; `old` are its other revisions, oldest first.
pub fn plan(
    set: &DaemonSet,
    spec: &DaemonSetSpec,
    hash: &str,
    old: &[Arc<ControllerRevision>],
    observed: &Observed<'_>,
) -> Plan {
    let Claim { owned, adopt, release } = claim::claim(set, &spec.selector, observed.pods.iter().cloned());
    let mut pods = owned;
    pods.extend(adopt.iter().cloned());
    let mut work = Work::new(set, spec, hash, &pods, observed);
    work.manage();
    if work.create.is_empty() && work.delete.is_empty() && work.rolls() {
        work.roll();
    }
    let (status, ready_in) = work.status();
    work.create.truncate(BURST);
    work.delete.truncate(BURST);
    Plan {
        adopt,
        release,
        status,
        forget: forget(spec, old, &pods),
        recheck: work.recheck.into_iter().chain(ready_in).min(),
        create: work.create,
        delete: work.delete,
    }
}

/// Old revisions beyond the limit that no pod has.
fn forget(spec: &DaemonSetSpec, old: &[Arc<ControllerRevision>], pods: &[Arc<Pod>]) -> Vec<Arc<ControllerRevision>> {
    let limit = usize::try_from(spec.revision_history_limit.unwrap_or(10)).unwrap_or(0);
    let used = |one: &ControllerRevision| {
        let hash = hash(one);
        pods.iter().any(|pod| pod.labels().get(HASH) == Some(&hash))
    };
    revision::oldest_unused(old, old.len().saturating_sub(limit), used)
}

/// The state of one planning pass.
struct Work<'a> {
    set: &'a DaemonSet,
    spec: &'a DaemonSetSpec,
    hash: &'a str,
    /// What is to be on each node, and the pods that are there or on their way, a pod that is bound and older first.
    /// Nodes that are gone have no verdict.
    nodes: BTreeMap<String, (Option<Verdict>, Vec<Arc<Pod>>)>,
    backoff: &'a Backoff,
    now: Timestamp,
    create: Vec<String>,
    delete: Vec<(Arc<Pod>, String, Why)>,
    recheck: Option<Duration>,
}

impl<'a> Work<'a> {
    fn new(
        set: &'a DaemonSet,
        spec: &'a DaemonSetSpec,
        hash: &'a str,
        pods: &[Arc<Pod>],
        observed: &Observed<'a>,
    ) -> Self {
        let place = Place::of(&spec.template);
        let mut nodes: BTreeMap<String, (Option<Verdict>, Vec<Arc<Pod>>)> =
            observed.nodes.iter().map(|node| (node.name_any(), (Some(place.verdict(node)), Vec::new()))).collect();
        for pod in pods {
            // A terminal pod on its way out is the business of the kubelet and the pod collector.
            let over = pod::is_terminal(pod) && pod.metadata.deletion_timestamp.is_some();
            if let Some(node) = place::target(pod).filter(|_| !over) {
                nodes.entry(node.to_owned()).or_insert((None, Vec::new())).1.push(Arc::clone(pod));
            }
        }
        for (_, pods) in nodes.values_mut() {
            pods.sort_by_cached_key(|pod| {
                let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
                (pod::node_name(pod).is_empty(), created, pod.name_any())
            });
        }
        let (backoff, now) = (observed.backoff, observed.now);
        Self { set, spec, hash, nodes, backoff, now, create: Vec::new(), delete: Vec::new(), recheck: None }
    }

    fn min_ready(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        pod::availability(pod, self.min_ready(), self.now) == pod::Availability::Available
    }

    fn is_updated(&self, pod: &Pod) -> bool {
        pod.labels().get(HASH).is_some_and(|hash| hash == self.hash)
    }

    fn rolls(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        strategy.unwrap_or("RollingUpdate") == "RollingUpdate"
    }
}

#[cfg(test)]
mod tests;
