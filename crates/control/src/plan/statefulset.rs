//! Gives each pod of a StatefulSet its name, its claims and its revision, one after another where that is asked for.
//!
//! Invariant: a pod is made only after its claims, and with ordered management only when all before it are available; no
//! pod is deleted for an update or a smaller size while another one is not available. Which revisions there are is settled
//! first ([`revise`]), for a pod is named after one; each [`plan`] is one upstream `updateStatefulSet`.
//! Why not finish a rollout in one plan: each step waits for what the pods say, and an event brings the next pass.
//! `maxUnavailable` is not looked at: its feature gate is off by default in v1.36.

mod claims;
mod identity;
mod status;
mod walk;

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, PodTemplateSpec};
use kube::ResourceExt;
use serde_json::Value;

use super::claim::{self, Claim};
use super::labels;
use super::revision::{self, Choice, Source, Step};

pub use claims::has_claim_named;

/// The label of a revision that carries its hash.
const HASH: &str = "controller.kubernetes.io/hash";
/// The label of a pod that names its revision.
const REVISION: &str = "controller-revision-hash";
/// At most this many pods are created in one pass.
const BURST: usize = 500;

/// Which revisions the set has, and what is to be done about them.
#[derive(Debug)]
pub struct Revising {
    pub adopt: Vec<Arc<ControllerRevision>>,
    pub step: Step,
    /// All but the one of `step`.
    pub others: Vec<Arc<ControllerRevision>>,
}

/// Finds the revision of the set's template among those of the namespace.
pub fn revise(set: &StatefulSet, spec: &StatefulSetSpec, revisions: &[Arc<ControllerRevision>]) -> Revising {
    let Claim { mut owned, adopt, .. } = claim::claim(set, &spec.selector, revisions.iter().cloned());
    owned.extend(adopt.iter().cloned());
    let collisions = set.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let source = Source { owner: set, template: &spec.template, collisions, label: HASH };
    let Choice { step, duplicates, old } = source.choose(owned);
    let mut others = [old, duplicates].concat();
    revision::sort(&mut others);
    Revising { adopt, step, others }
}

/// The revisions that matter to pods.
#[derive(Debug)]
pub struct Revisions {
    /// Where the set comes from.
    current: String,
    current_template: PodTemplateSpec,
    /// Where it goes to.
    update: String,
    /// All others, oldest first.
    others: Vec<Arc<ControllerRevision>>,
}

impl Revisions {
    /// `update` is the revision of the set's template, `others` all others. The name of the revision that holds no
    /// template is the error.
    ///
    /// # Errors
    /// When the current revision cannot be read.
    pub fn new(
        set: &StatefulSet,
        spec: &StatefulSetSpec,
        update: &ControllerRevision,
        others: Vec<Arc<ControllerRevision>>,
    ) -> Result<Self, String> {
        let known = set.status.as_ref().and_then(|status| status.current_revision.as_deref()).unwrap_or("");
        let current = others.iter().find(|one| one.name_any() == known);
        let (current, current_template) = match current {
            Some(current) => {
                let name = current.name_any();
                let template = revision::template(current).ok_or_else(|| name.clone())?;
                (name, template)
            }
            None => (update.name_any(), spec.template.clone()),
        };
        Ok(Self { current, current_template, update: update.name_any(), others })
    }
}

/// What was seen in the namespace of the set.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Every pod of the namespace, own writes included.
    pub pods: &'a [Arc<Pod>],
    /// Every claim of the namespace; only sets with claim templates look at them.
    pub claims: &'a [Arc<PersistentVolumeClaim>],
    pub now: Timestamp,
}

/// One write.
#[derive(Debug)]
pub enum Action {
    CreateClaim(Box<PersistentVolumeClaim>),
    /// Write the claim with other owners.
    Own(Box<PersistentVolumeClaim>),
    CreatePod(Box<Pod>),
    Repair(Arc<Pod>, Value),
    Delete(Arc<Pod>),
    /// Nothing can be done for this pod now; the text says why.
    Refuse(String),
}

/// What the writes for one pod amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Create,
    Update,
    Delete,
    /// Only the pod's claims are looked after.
    Claims,
}

/// The writes for one pod, to be done in this order.
#[derive(Debug)]
pub struct Unit {
    pub pod: String,
    pub purpose: Purpose,
    pub actions: Vec<Action>,
    /// Claims that somebody else controls, so that the retention policy means nothing for them.
    pub conflicts: Vec<String>,
}

/// What to do now, the status to write afterwards if it changed, and when to look again.
#[derive(Debug, Default)]
pub struct Plan {
    pub adopt: Vec<Arc<Pod>>,
    pub release: Vec<Arc<Pod>>,
    /// Each phase begins when the one before has succeeded.
    pub phases: Vec<Vec<Unit>>,
    /// Whether the units of a phase may be done at once.
    pub parallel: bool,
    pub status: Option<StatefulSetStatus>,
    /// Revisions beyond the history limit.
    pub forget: Vec<Arc<ControllerRevision>>,
    pub recheck: Option<Duration>,
}

/// Decides the next step of the set.
pub fn plan(set: &StatefulSet, spec: &StatefulSetSpec, revisions: &Revisions, observed: &Observed<'_>) -> Plan {
    let wants = |pod: &Pod| {
        labels::matches(&spec.selector, pod.labels()) && identity::ordinal(&set.name_any(), &pod.name_any()).is_some()
    };
    let Claim { owned, adopt, release } = claim::claim_where(set, wants, observed.pods.iter().cloned());
    let mut pods = owned;
    pods.extend(adopt.iter().cloned());
    let work = Work::new(set, spec, revisions, &pods, observed);
    let mut counts = work.count(&pods);
    let phases = if set.metadata.deletion_timestamp.is_some() { Vec::new() } else { work.phases(&mut counts) };
    Plan {
        adopt,
        release,
        phases,
        parallel: work.parallel,
        status: work.status(counts),
        forget: work.forget(&pods),
        recheck: work.recheck(&pods),
    }
}

/// The state of one planning pass.
struct Work<'a> {
    set: &'a StatefulSet,
    spec: &'a StatefulSetSpec,
    revisions: &'a Revisions,
    name: String,
    /// The ordinals there should be pods of.
    ordinals: Range<i32>,
    /// The pods there are of these.
    slots: BTreeMap<i32, Arc<Pod>>,
    /// Pods of other ordinals, the highest first.
    condemned: Vec<(i32, Arc<Pod>)>,
    claims: HashMap<&'a str, &'a Arc<PersistentVolumeClaim>>,
    parallel: bool,
    min_ready: i32,
    now: Timestamp,
}

impl<'a> Work<'a> {
    fn new(
        set: &'a StatefulSet,
        spec: &'a StatefulSetSpec,
        revisions: &'a Revisions,
        pods: &[Arc<Pod>],
        observed: &Observed<'a>,
    ) -> Self {
        let name = set.name_any();
        let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
        let ordinals = start..start.saturating_add(spec.replicas.unwrap_or(1));
        let (mut slots, mut condemned) = (BTreeMap::new(), Vec::new());
        for pod in pods {
            let Some(ordinal) = identity::ordinal(&name, &pod.name_any()) else { continue };
            if ordinals.contains(&ordinal) {
                slots.insert(ordinal, Arc::clone(pod));
            } else {
                condemned.push((ordinal, Arc::clone(pod)));
            }
        }
        condemned.sort_by_key(|(ordinal, _)| Reverse(*ordinal));
        let named = |claim: &'a Arc<PersistentVolumeClaim>| Some((claim.metadata.name.as_deref()?, claim));
        Self {
            set,
            spec,
            revisions,
            name,
            ordinals,
            slots,
            condemned,
            claims: observed.claims.iter().filter_map(named).collect(),
            parallel: spec.pod_management_policy.as_deref() == Some("Parallel"),
            min_ready: spec.min_ready_seconds.unwrap_or(0),
            now: observed.now,
        }
    }

    fn rolls(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.type_.as_deref());
        strategy.unwrap_or("RollingUpdate") == "RollingUpdate"
    }

    /// The number of pods, from the lowest ordinal on, that an update leaves alone; none when the set does not say.
    fn partition(&self) -> Option<i32> {
        let rolling = self.spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        rolling.map(|rolling| rolling.partition.unwrap_or(0))
    }

    fn forget(&self, pods: &[Arc<Pod>]) -> Vec<Arc<ControllerRevision>> {
        let used = |one: &ControllerRevision| {
            let name = one.name_any();
            name == self.revisions.current || pods.iter().any(|pod| identity::revision(pod) == name)
        };
        let Ok(limit) = usize::try_from(self.spec.revision_history_limit.unwrap_or(10)) else { return Vec::new() };
        let unused = self.revisions.others.iter().filter(|one| !used(one)).count();
        revision::oldest_unused(&self.revisions.others, unused.saturating_sub(limit), used)
    }
}

#[cfg(test)]
mod tests;
