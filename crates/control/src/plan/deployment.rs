//! Moves a Deployment from one pod template to the next through its ReplicaSets.
//!
//! Invariant: no single plan lets the sets ask for more than replicas + maxSurge pods, or takes an available pod away
//! while fewer than replicas - maxUnavailable would be left; each pass is one upstream `syncDeployment`.
//! Why not finish a rollout in one plan: each step waits for what the pods say, and an event brings the next pass.

mod bounds;
mod history;
mod rollout;
mod scale;
mod status;
mod template;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStatus, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::{Value, json};

use super::claim;
use super::labels::{self, Labels};

pub use status::create_failed;
pub use template::{collided, same};

/// What was seen in the namespace of the Deployment.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Every ReplicaSet of the namespace, own writes included.
    pub sets: &'a [Arc<ReplicaSet>],
    /// Every pod of the namespace; only the Recreate strategy looks at them.
    pub pods: &'a [Arc<Pod>],
    pub now: Timestamp,
}

/// One thing to do.
#[derive(Debug)]
pub enum Action {
    Adopt(Arc<ReplicaSet>),
    Release(Arc<ReplicaSet>),
    /// Create the set for the current template.
    Create(Box<ReplicaSet>),
    /// Change annotations or size of a set; `scale` is (from, to) when its size changes.
    Update {
        set: Arc<ReplicaSet>,
        scale: Option<(i32, i32)>,
        patch: Value,
    },
    /// Forget a set that is past the history limit.
    Remove(Arc<ReplicaSet>),
    /// Write the revision annotation on the Deployment.
    Revision(String),
}

/// What to do now, the status to write afterwards if it changed, and when to look again.
#[derive(Debug, Default)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub status: Option<DeploymentStatus>,
    pub recheck: Option<Duration>,
}

/// Decides the next step of `deployment`.
pub fn plan(deployment: &Deployment, observed: &Observed<'_>) -> Plan {
    let Some(spec) = &deployment.spec else { return Plan::default() };
    if labels::is_empty(&spec.selector) {
        return Plan { status: status::observed_only(deployment), ..Plan::default() };
    }
    let claimed = claim::claim(deployment, &spec.selector, observed.sets.iter().cloned());
    let mut actions: Vec<Action> = claimed.adopt.iter().cloned().map(Action::Adopt).collect();
    actions.extend(claimed.release.into_iter().map(Action::Release));
    let mut owned = claimed.owned;
    owned.extend(claimed.adopt);
    let mut work = Work::new(deployment, spec, owned, actions, observed);
    work.decide();
    work.finish()
}

/// One ReplicaSet and what this pass wants to change about it.
#[derive(Clone, Debug)]
struct Set {
    rs: Arc<ReplicaSet>,
    /// The size after this pass.
    planned: i32,
    annotations: Labels,
    min_ready_seconds: Option<i32>,
}

impl Set {
    fn new(rs: Arc<ReplicaSet>) -> Self {
        let planned = size(&rs);
        Self { rs, planned, annotations: Labels::new(), min_ready_seconds: None }
    }

    /// Available pods that are sure to survive a scale-down its controller has not acted on yet.
    fn available(&self) -> i32 {
        available(&self.rs).min(self.planned)
    }

    fn action(self) -> Option<Action> {
        let current = size(&self.rs);
        let changed = |(key, value): &(&String, &String)| self.rs.annotations().get(*key) != Some(*value);
        let annotations: Labels =
            self.annotations.iter().filter(changed).map(|(key, value)| (key.clone(), value.clone())).collect();
        let scale = (current != self.planned).then_some((current, self.planned));
        if scale.is_none() && annotations.is_empty() && self.min_ready_seconds.is_none() {
            return None;
        }
        let mut patch = json!({});
        if !annotations.is_empty() {
            patch["metadata"]["annotations"] = json!(annotations);
        }
        if let Some((_, to)) = scale {
            patch["spec"]["replicas"] = json!(to);
        }
        if let Some(seconds) = self.min_ready_seconds {
            patch["spec"]["minReadySeconds"] = json!(seconds);
        }
        Some(Action::Update { set: self.rs, scale, patch })
    }
}

/// The size a set asks for.
pub(crate) fn size(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

fn available(set: &ReplicaSet) -> i32 {
    set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or(0)
}

fn created(set: &ReplicaSet) -> Option<Timestamp> {
    set.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

/// The state of one planning pass.
struct Work<'a> {
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    /// Conditions are edited on the way, counts filled in at the end.
    status: DeploymentStatus,
    /// The set of the current template.
    new: Option<Set>,
    /// The other sets, oldest first.
    old: Vec<Set>,
    creation: Option<Box<ReplicaSet>>,
    actions: Vec<Action>,
    pods: &'a [Arc<Pod>],
    now: Timestamp,
    recheck: Option<Duration>,
}

impl<'a> Work<'a> {
    fn new(
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        mut owned: Vec<Arc<ReplicaSet>>,
        actions: Vec<Action>,
        observed: &'a Observed<'_>,
    ) -> Self {
        owned.sort_by(|a, b| created(a).cmp(&created(b)).then_with(|| a.name_any().cmp(&b.name_any())));
        let current = owned.iter().position(|set| template::same(template::of(set), &spec.template));
        let new = current.map(|index| Set::new(owned.remove(index)));
        Self {
            deployment,
            spec,
            status: deployment.status.clone().unwrap_or_default(),
            new,
            old: owned.into_iter().map(Set::new).collect(),
            creation: None,
            actions,
            pods: observed.pods,
            now: observed.now,
            recheck: None,
        }
    }

    fn decide(&mut self) {
        if self.deployment.metadata.deletion_timestamp.is_some() {
            self.count();
            return;
        }
        self.note_pause();
        let paused = self.spec.paused == Some(true);
        if paused || self.is_scaling() {
            self.adopt_revision();
            self.scale();
            if paused {
                self.forget_history();
            }
            self.count();
            return;
        }
        if self.strategy() == "Recreate" {
            self.recreate()
        } else {
            self.roll()
        }
        self.report_progress();
    }

    /// Every set, the new one last.
    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    fn desired(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn strategy(&self) -> &str {
        self.spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()).unwrap_or("RollingUpdate")
    }

    /// Sets the size of a set together with the annotations that explain it.
    fn resize(&mut self, which: Which, to: i32) {
        let sizes = self.size_annotations();
        let set = match which {
            Which::New => self.new.as_mut(),
            Which::Old(index) => self.old.get_mut(index),
        };
        if let Some(set) = set {
            set.planned = to.max(0);
            set.annotations.extend(sizes);
        }
    }

    fn finish(mut self) -> Plan {
        self.actions.extend(self.creation.take().map(Action::Create));
        let changes: Vec<Set> = self.new.take().into_iter().chain(std::mem::take(&mut self.old)).collect();
        self.actions.extend(changes.into_iter().filter_map(Set::action));
        // Creating and resizing come first: pods wait for them. History and annotations follow.
        self.actions.sort_by_key(|action| match action {
            Action::Adopt(_) | Action::Release(_) => 0,
            Action::Create(_) => 1,
            Action::Update { .. } => 2,
            Action::Revision(_) => 3,
            Action::Remove(_) => 4,
        });
        let before = self.deployment.status.clone().unwrap_or_default();
        let status = (before != self.status).then_some(self.status);
        Plan { actions: self.actions, status, recheck: self.recheck }
    }
}

/// Names a set inside [`Work`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    New,
    Old(usize),
}

#[cfg(test)]
mod tests;
