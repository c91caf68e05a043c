//! What decisions ask to be written: bindings, why a pod has no node, evictions.
//!
//! Invariant: every write names the uid it was decided for. What failed is undone here and tried again by the queue; whether a
//! binding failed is asked, for the answer to one that was done may be lost, and then its room is taken.

use std::sync::Arc;
use std::time::Duration;

use informer::Part;
use k8s_openapi::api::core::v1::{Binding, ObjectReference, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Needs, Scheduler};
use crate::events::Subject;
use crate::run::write;
use crate::scheduler::decide::Diagnosis;
use crate::scheduler::names::{Plugin, Plugins};
use crate::scheduler::nominated::Nominate;
use crate::scheduler::plugins::devices::Cure;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::seen::SeenPod;
use crate::time;

/// The longest message of an event (upstream `NoteLengthLimit`).
const NOTE: usize = 1024;
/// The first and the longest wait between two questions where a pod is.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

impl Subject for PodInfo {
    fn subject(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(self.key.namespace.clone()),
            name: Some(self.key.name.clone()),
            uid: Some(self.uid.to_string()),
            ..ObjectReference::default()
        }
    }
}

/// Why a pod has no node, and what is to be done about it.
pub(super) struct Report {
    pod: Arc<PodInfo>,
    /// Of the condition; none when the status is not to be touched.
    reason: Option<&'static str>,
    message: String,
    nominate: Nominate,
    victims: Vec<Arc<PodInfo>>,
    /// Pods that have to give up the node.
    rivals: Vec<Arc<PodInfo>>,
    /// What to do about a claim of devices.
    cure: Cure,
    /// Whether the status may name a node that was not decided on yet when the pod was read.
    expected: bool,
}

impl Report {
    pub(super) fn refused(pod: Arc<PodInfo>, diagnosis: Diagnosis, rivals: Vec<Arc<PodInfo>>) -> Self {
        let Diagnosis { message, nominate, victims, cure, .. } = diagnosis;
        Self { nominate, victims, rivals, cure, ..Self::new(pod, Some("Unschedulable"), message) }
    }

    pub(super) fn failed(pod: Arc<PodInfo>, message: String) -> Self {
        Self { nominate: Nominate::Set(None), ..Self::new(pod, Some("SchedulerError"), message) }
    }

    /// The pod is being deleted.
    pub(super) fn leaving(pod: Arc<PodInfo>) -> Self {
        let message = format!("skip schedule deleting pod: {}", pod.key);
        Self::new(pod, None, message)
    }

    fn new(pod: Arc<PodInfo>, reason: Option<&'static str>, message: String) -> Self {
        let nominate = Nominate::Keep;
        let (victims, rivals) = (Vec::new(), Vec::new());
        Self { pod, reason, message, nominate, victims, rivals, cure: Cure::None, expected: false }
    }
}

#[cfg(test)]
impl Report {
    pub(super) fn summary(&self) -> String {
        let victims: Vec<&str> = self.victims.iter().map(|pod| pod.key.name.as_str()).collect();
        let evicts = if victims.is_empty() { String::new() } else { format!(" evicts {}", victims.join(" ")) };
        format!("{} {}{evicts}", self.pod.key.name, self.message)
    }
}

/// As upstream cuts it.
fn note(message: &str) -> String {
    const MORE: &str = " ...";
    if message.len() <= NOTE {
        return message.to_owned();
    }
    let end = (0..=NOTE - MORE.len()).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
    format!("{}{MORE}", &message[..end])
}

impl Scheduler {
    fn api(&self, pod: &PodInfo) -> Api<Part<SeenPod>> {
        Api::namespaced(self.client.clone(), &pod.key.namespace)
    }

    pub(super) async fn bind(self: &Arc<Self>, pod: &Arc<PodInfo>, node: &Arc<str>, needs: &Needs) {
        let key = &pod.key;
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(key.name.clone()),
                namespace: Some(key.namespace.clone()),
                uid: Some(pod.uid.to_string()),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(node.to_string()),
                ..ObjectReference::default()
            },
        };
        let answer: kube::Result<IgnoredAny> =
            self.api(pod).create_subresource("binding", &key.name, &PostParams::default(), &binding).await;
        match answer {
            Ok(_) => self.events.normal(&**pod, "Scheduled", format!("Successfully assigned {key} to {node}")),
            Err(error) if !write::is_not_found(&error) && self.place(pod).await.is_some() => {
                tracing::debug!(pod = %key, "bound, although it was told: {}", write::message(&error));
                self.events.normal(&**pod, "Scheduled", format!("Successfully assigned {key} to {node}"));
            }
            Err(error) => {
                let gone = write::is_not_found(&error);
                let message = format!("running Bind plugin \"DefaultBinder\": {}", write::message(&error));
                self.unreserve(pod, &needs.devices).await;
                self.unbound(pod, gone);
                if !gone {
                    tracing::warn!(pod = %key, %node, "{message}; trying again");
                    self.report(Report::failed(pod.clone(), message)).await;
                }
            }
        }
    }

    /// The node of this very pod, asked until somebody answers: its room must not be given away before that is known.
    async fn place(&self, pod: &PodInfo) -> Option<String> {
        let mut wait = FIRST_WAIT;
        loop {
            match self.api(pod).get_opt(&pod.key.name).await {
                Ok(found) => {
                    let found = found?.0;
                    let same = found.metadata.uid.as_deref() == Some(&*pod.uid);
                    return found.spec.node_name.filter(|name| same && !name.is_empty());
                }
                Err(kube::Error::Api(status)) if [401, 403].contains(&status.code) => return None,
                Err(error) => tracing::debug!(pod = %pod.key, "cannot read where it is: {}", write::message(&error)),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Does what volumes and devices need, and binds the pod when they are ready.
    pub(super) async fn bind_when_ready(self: &Arc<Self>, pod: &Arc<PodInfo>, node: &Arc<str>, needs: &Needs) {
        match self.prepare(pod, node, needs).await {
            Ok(()) => self.bind(pod, node, needs).await,
            Err((plugin, why)) => {
                let message = format!("running PreBind plugin {:?}: {why}", plugin.name());
                tracing::warn!(pod = %pod.key, %node, "{message}; trying again");
                self.state.lock().world.storage.revert(&needs.volumes);
                self.unreserve(pod, &needs.devices).await;
                self.unbound(pod, false);
                self.report(Report { expected: true, ..Report::failed(pod.clone(), message) }).await;
            }
        }
    }

    async fn prepare(&self, pod: &PodInfo, node: &Arc<str>, needs: &Needs) -> Result<(), (Plugin, String)> {
        let expected = json!({ "nominatedNodeName": &**node });
        if let Err(error) = self.patch_status(pod, &expected).await {
            tracing::debug!(pod = %pod.key, "cannot tell where the pod is expected: {}", write::message(&error));
        }
        if !needs.volumes.is_empty() {
            let bound = self.bind_volumes(pod, node, &needs.volumes).await;
            bound.map_err(|why| (Plugin::VolumeBinding, why))?;
        }
        self.bind_devices(pod, node, &needs.devices).await.map_err(|why| (Plugin::DynamicResources, why))
    }

    /// Binding failed, so the pod is not on its node.
    fn unbound(&self, pod: &PodInfo, gone: bool) {
        let now = Instant::now();
        let mut state = self.state.lock();
        state.forget(pod, now);
        if gone {
            state.queue.remove(&pod.key);
        } else {
            state.failed(pod, Plugins::default(), now);
        }
        drop(state);
        self.wake.notify_one();
    }

    pub(super) async fn report(self: &Arc<Self>, report: Report) {
        let Report { pod, reason, message, nominate, victims, rivals, cure, expected } = report;
        self.cure(&pod, &cure).await;
        self.events.warning(&*pod, "FailedScheduling", note(&message));
        let Some(reason) = reason else { return };
        let mut status = json!({});
        if let Some(condition) = condition(&pod, reason, message) {
            status["conditions"] = json!([condition]);
        }
        if let Nominate::Set(node) = &nominate
            && (expected || *node != pod.nominated)
        {
            status["nominatedNodeName"] = json!(node.as_deref());
        }
        if status.as_object().is_some_and(|members| !members.is_empty())
            && let Err(error) = self.patch_status(&pod, &status).await
        {
            tracing::warn!(pod = %pod.key, "cannot write why the pod has no node: {}", write::message(&error));
        }
        if let Nominate::Set(Some(node)) = &nominate
            && !victims.is_empty()
        {
            self.evict(&pod, node, &victims, &rivals).await;
        }
    }

    /// Changes the status of this very pod; one that is gone needs none.
    pub(super) async fn patch_status(&self, pod: &PodInfo, status: &Value) -> kube::Result<()> {
        let patch = Patch::Strategic(json!({ "metadata": { "uid": &*pod.uid }, "status": status }));
        match self.api(pod).patch_status(&pod.key.name, &PatchParams::default(), &patch).await {
            Ok(_) => Ok(()),
            Err(error) if write::is_not_found(&error) || write::is_conflict(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes room for `pod`: less important pods that wait for the same room lose it, and the victims go. The last one
    /// goes when all others were told to, so that its leaving wakes the pod.
    async fn evict(&self, pod: &Arc<PodInfo>, node: &str, victims: &[Arc<PodInfo>], rivals: &[Arc<PodInfo>]) {
        let mut failed = false;
        for rival in rivals {
            let cleared = self.patch_status(rival, &json!({ "nominatedNodeName": null })).await;
            failed |= self.complain(rival, "cannot take its nominated node from", cleared);
        }
        let leaving: Vec<&Arc<PodInfo>> = victims.iter().filter(|victim| !victim.deleting).collect();
        if let Some((last, others)) = leaving.split_last() {
            let all = others.iter().map(|victim| self.preempt(pod, node, victim));
            let mut broken = false;
            for (victim, result) in others.iter().zip(futures::future::join_all(all).await) {
                broken |= self.complain(victim, "cannot evict", result);
            }
            if !broken {
                let result = self.preempt(pod, node, last).await;
                broken = self.complain(last, "cannot evict", result);
            }
            failed |= broken;
        }
        let now = Instant::now();
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(profile) = state.world.profiles.get(&pod.ask().scheduler) {
            state.queue.preempted(&pod.key, failed, state.world.context(profile), now);
        }
        self.wake.notify_one();
    }

    fn complain(&self, about: &PodInfo, what: &str, result: kube::Result<()>) -> bool {
        let Err(error) = result else { return false };
        tracing::warn!(pod = %about.key, "{what} the pod: {}", write::message(&error));
        true
    }

    async fn preempt(&self, pod: &PodInfo, node: &str, victim: &PodInfo) -> kube::Result<()> {
        let scheduler = &pod.ask().scheduler;
        let mark = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            reason: Some("PreemptionByScheduler".into()),
            message: Some(format!("{scheduler}: preempting to accommodate a higher priority pod")),
            last_transition_time: Some(Time(time::now())),
            observed_generation: victim.generation,
            ..PodCondition::default()
        };
        self.patch_status(victim, &json!({ "conditions": [mark] })).await?;
        let preconditions = Preconditions { uid: Some(victim.uid.to_string()), resource_version: None };
        let params = DeleteParams::default().preconditions(preconditions);
        match self.api(victim).delete(&victim.key.name, &params).await {
            Ok(_) => {}
            Err(error) if write::is_not_found(&error) || write::is_conflict(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        self.events.normal(victim, "Preempted", format!("Preempted by pod {} on node {node}", pod.uid));
        Ok(())
    }
}

/// The condition that says why, unless it stands there already.
fn condition(pod: &PodInfo, reason: &str, message: String) -> Option<PodCondition> {
    let told = pod.told.as_ref();
    if told.is_some_and(|told| told.reason == reason && told.message == message && told.generation == pod.generation) {
        return None;
    }
    let since = told.and_then(|told| told.since).unwrap_or_else(time::now);
    Some(PodCondition {
        type_: "PodScheduled".into(),
        status: "False".into(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(since)),
        observed_generation: pod.generation,
        ..PodCondition::default()
    })
}
