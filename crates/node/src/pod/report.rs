//! Writing a pod's status: at once when it changes, one write at a time, never twice the same.
//!
//! Invariant: what the API holds is believed only from its own answers; a watch event older than
//! our last write is not taken for somebody else's change.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::api::{Api, Patch, PatchParams};

use super::event::Event;
use super::{Worker, soon};
use crate::status::{self, patch};

pub(super) struct Report {
    /// What the API has, as far as we know.
    known: PodStatus,
    /// What we last computed.
    shown: PodStatus,
    version: u64,
    writing: bool,
    failures: u32,
    retry: Option<Timestamp>,
    pub(super) wake: Option<Timestamp>,
}

pub(crate) enum Outcome {
    Written { status: Box<PodStatus>, version: u64 },
    Failed(kube::Error),
}

impl Report {
    pub(super) fn new(known: PodStatus) -> Self {
        Self { shown: known.clone(), known, version: 0, writing: false, failures: 0, retry: None, wake: None }
    }

    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.retry.filter(|_| !self.writing)
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
        self.known = ours;
    }

    pub(super) fn written(&mut self, outcome: Outcome, now: Timestamp) {
        self.writing = false;
        match outcome {
            Outcome::Written { status, version } => {
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
        if current || self.report.writing || waiting || gone {
            return;
        }
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

fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}
