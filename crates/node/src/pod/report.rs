//! Writing a pod's status: one write at a time, never twice the same.
//!
//! What others wait for (ready or not, running, ended, in trouble) is written at once. Steps on the
//! way there are held for a moment, so that a pod that starts quickly costs one write and its
//! readiness does not queue behind news nobody needs.
//!
//! Invariant: what the API holds is believed only from its own answers; a watch event older than
//! our last write is not taken for somebody else's change.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod, PodCondition, PodStatus};
use kube::api::{Api, Patch, PatchParams};

use super::event::Event;
use super::{Worker, soon};
use crate::status::{self, patch};

/// How long a step that nobody waits for may be held.
const HOLD_MS: i64 = 200;

pub(super) struct Report {
    /// What the API has, as far as we know.
    known: PodStatus,
    /// What we last computed.
    shown: PodStatus,
    version: u64,
    writing: bool,
    failures: u32,
    retry: Option<Timestamp>,
    /// Since when there is something to say that can wait a little.
    held: Option<Timestamp>,
    pub(super) wake: Option<Timestamp>,
}

pub(crate) enum Outcome {
    Written { status: Box<PodStatus>, version: u64 },
    Failed(kube::Error),
}

impl Report {
    pub(super) fn new(known: PodStatus) -> Self {
        Self {
            shown: known.clone(),
            known,
            version: 0,
            writing: false,
            failures: 0,
            retry: None,
            held: None,
            wake: None,
        }
    }

    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        let held = self.held.map(|since| soon(since, HOLD_MS));
        self.retry.or(held).filter(|_| !self.writing)
    }

    /// The object as the watch shows it: if somebody changed what is ours, it is written again.
    pub(super) fn heard(&mut self, pod: &Pod) {
        let version = version(pod);
        if self.writing || version <= self.version || self.version == 0 {
            return;
        }
        self.version = version;
        let theirs = pod.status.clone().unwrap_or_default();
        let mut ours = self.known.clone();
        ours.conditions = ours.conditions.map(|conditions| {
            let theirs = theirs.conditions.as_deref().unwrap_or_default();
            let current = |kind: &str| theirs.iter().find(|condition| condition.type_ == kind).cloned();
            conditions.into_iter().filter_map(|condition| current(&condition.type_)).collect()
        });
        ours.phase = theirs.phase.clone();
        ours.container_statuses = theirs.container_statuses;
        ours.ephemeral_container_statuses = theirs.ephemeral_container_statuses;
        self.known = ours;
    }

    pub(super) fn written(&mut self, outcome: Outcome, now: Timestamp) {
        self.writing = false;
        match outcome {
            Outcome::Written { status, version } => {
                tracing::debug!(phase = status.phase, version, "status written");
                self.known = *status;
                self.version = version;
                self.failures = 0;
                self.retry = None;
            }
            Outcome::Failed(kube::Error::Api(answer)) if answer.code == 404 || answer.code == 409 => {
                // gone or replaced: the watch will say so; a conflict is tried again meanwhile
                self.retry = Some(soon(now, 1000));
            }
            Outcome::Failed(error) => {
                self.failures += 1;
                tracing::warn!("writing a pod's status, trying again: {}", base::error::chain(&error));
                self.retry = Some(soon(now, 100_i64.saturating_mul(1 << self.failures.min(7)).min(10_000)));
            }
        }
    }
}

impl Worker {
    /// Computes the status and writes it if the API has another one.
    pub(super) fn report_status(&mut self, now: Timestamp) {
        let desired = self.desired();
        let status = if self.observed.history {
            self.report.known.clone()
        } else {
            status::status(&status::Inputs {
                pod: &self.pod,
                units: &desired.units,
                observed: &self.observed,
                ending: self.farewell.is_some(),
                room: &self.room,
                previous: &self.report.shown,
                host_ips: &self.node.host_ips,
                pod_ips: &self.ips,
                started: self.started,
                now,
            })
        };
        self.report.shown = status;
        let current = !patch::differs(&self.report.known, &self.report.shown);
        self.observed.reported = current;
        let waiting = self.report.retry.is_some_and(|at| at > now);
        let gone = matches!(self.farewell, Some(super::Farewell::Gone { .. }));
        if current || gone {
            self.report.held = None;
            return;
        }
        let since = *self.report.held.get_or_insert(now);
        let held = now < soon(since, HOLD_MS) && !is_urgent(&self.report.known, &self.report.shown);
        if self.report.writing || waiting || held {
            return;
        }
        self.report.held = None;
        self.report.writing = true;
        self.report.retry = None;
        let body = patch::body(&self.pod, &self.report.known, &self.report.shown);
        let (status, pod, client) =
            (Box::new(self.report.shown.clone()), Arc::clone(&self.pod), self.node.client.clone());
        self.push(async move {
            let meta = &pod.metadata;
            let api: Api<Pod> = Api::namespaced(client, meta.namespace.as_deref().unwrap_or_default());
            let name = meta.name.as_deref().unwrap_or_default();
            let outcome = match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(&body)).await {
                Ok(pod) => Outcome::Written { status, version: version(&pod) },
                Err(error) => Outcome::Failed(error),
            };
            Event::Reported(outcome)
        });
    }
}

/// Somebody may be waiting for this.
fn is_urgent(known: &PodStatus, shown: &PodStatus) -> bool {
    let news = |status: &PodStatus| {
        let ready = |condition: &&PodCondition| condition.type_ == "Ready";
        let ready = status.conditions.iter().flatten().find(ready).is_some_and(|condition| condition.status == "True");
        let containers =
            status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
        let states: Vec<_> = containers
            .filter_map(|status| Some((status.state.as_ref()?, status.ready, status.restart_count)))
            .filter(|(state, _, _)| !is_on_its_way(state))
            .map(|(state, ready, restarts)| (state.clone(), ready, restarts))
            .collect();
        (status.phase.clone().filter(|phase| phase != "Pending"), ready, states)
    };
    news(known) != news(shown)
}

fn is_on_its_way(state: &ContainerState) -> bool {
    let reason = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    matches!(reason, Some("ContainerCreating" | "PodInitializing"))
}

fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn status(phase: &str, state: serde_json::Value, ready: bool) -> PodStatus {
        serde_json::from_value(json!({"phase": phase,
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
            "containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": ready, "restartCount": 0, "state": state}]}))
        .unwrap()
    }

    #[test]
    fn what_people_wait_for_is_urgent_and_steps_on_the_way_are_not() {
        let creating = status("Pending", json!({"waiting": {"reason": "ContainerCreating"}}), false);
        assert!(!is_urgent(&PodStatus { phase: Some("Pending".into()), ..PodStatus::default() }, &creating));
        let addressed = PodStatus { pod_ip: Some("10.42.0.2".into()), ..creating.clone() };
        assert!(!is_urgent(&creating, &addressed));
        let running = status("Running", json!({"running": {}}), false);
        let ready = status("Running", json!({"running": {}}), true);
        let failing = status("Pending", json!({"waiting": {"reason": "ErrImagePull"}}), false);
        assert!(is_urgent(&addressed, &running) && is_urgent(&running, &ready) && is_urgent(&creating, &failing));
    }
}
