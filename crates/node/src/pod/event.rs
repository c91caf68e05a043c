//! What a worker learns, and what it makes of it.
//!
//! Invariant: an event about a run of a container is heeded only while that run is the latest.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};

use super::observed::{Exit, Kill, Retry, Run, Stage, State};
use super::start::{Failure, Started};
use super::{Worker, desired, report, resize, sandbox, soon, stop};
use crate::probe::run::Target;
use crate::probe::{Kind, Outcome};
use crate::server::logs;
use crate::volume::MountError;
use crate::volume::tokens::Tokens;

const CONFIG_RETRY_MS: i64 = 10_000;
const ANNOUNCE_MS: i64 = 1_500;

pub(crate) enum Event {
    Sandbox(Result<Vec<std::net::IpAddr>, sandbox::Failure>),
    Volumes { tokens: Tokens, result: Result<(), MountError>, fresh: bool },
    Started { name: String, result: Result<Started, Failure> },
    PostStart { name: String, id: String, result: Result<(), String> },
    Exited { name: String, exit: Exit },
    Resized(resize::Outcome),
    StopEnded,
    Probed { name: String, id: String, kind: Kind, outcome: Outcome },
    Reported(report::Outcome),
    TornDown(Result<(), String>),
    Deleted(Result<(), kube::Error>),
    DeleteAgain,
    ObjectChanged(usize),
}

impl Worker {
    pub(super) fn take(&mut self, event: Event) {
        let now = base::time::now();
        match event {
            Event::Sandbox(result) => self.sandbox_made(result, now),
            Event::Volumes { tokens, result, fresh } => self.volumes_applied(tokens, result, fresh, now),
            Event::Started { name, result } => self.start_ended(&name, result, now),
            Event::PostStart { name, id, result } => self.post_started(&name, &id, result),
            Event::Exited { name, exit } => self.container_exited(&name, exit),
            Event::Resized(outcome) => self.resized(outcome, now),
            Event::StopEnded => {}
            Event::Probed { name, id, kind, outcome } => self.probed(&name, &id, kind, &outcome, now),
            Event::Reported(outcome) => self.report.written(outcome, now),
            Event::TornDown(Ok(())) => {
                self.observed.lost_sandbox();
                self.observed.volumes = Stage::Absent;
                self.observed.torn_down = true;
            }
            Event::TornDown(Err(why)) => {
                tracing::warn!("pod {}: {why}, trying again", self.uid);
                let warning = format!("error killing pod: {why}");
                self.node.events.warning(&self.subject, None, "FailedKillPod", warning);
                self.push_tear_down(Duration::from_secs(2));
            }
            Event::Deleted(result) => self.deleted(result),
            Event::DeleteAgain => self.observed.deleting = false,
            Event::ObjectChanged(index) => self.object_changed(index),
        }
    }

    fn sandbox_made(&mut self, result: Result<Vec<std::net::IpAddr>, sandbox::Failure>, now: Timestamp) {
        match result {
            Ok(ips) => {
                tracing::debug!(pod = self.uid, "sandbox ready");
                self.ips = ips;
                self.observed.sandbox = Stage::Ready;
                self.set_up_failures = 0;
            }
            Err(sandbox::Failure { reason, message }) => {
                self.observed.sandbox = Stage::Absent;
                self.observed.sandbox_after = Some(self.set_up_retry(now));
                self.node.events.warning(&self.subject, None, reason, message);
            }
        }
    }

    fn volumes_applied(&mut self, tokens: Tokens, result: Result<(), MountError>, fresh: bool, now: Timestamp) {
        self.tokens = tokens;
        if !fresh {
            self.refreshing = false;
        }
        match result {
            Ok(()) if fresh => {
                tracing::debug!(pod = self.uid, "volumes ready");
                self.observed.volumes = Stage::Ready;
            }
            Ok(()) => {}
            Err(error) => {
                self.node.events.warning(&self.subject, None, "FailedMount", error.to_string());
                if fresh {
                    self.observed.volumes = Stage::Absent;
                    self.observed.volumes_after = Some(self.set_up_retry(now));
                }
            }
        }
    }

    /// 0.5 s doubling to two minutes, as upstream's mount back-off.
    fn set_up_retry(&mut self, now: Timestamp) -> Timestamp {
        let millis = 500_i64.saturating_mul(1 << self.set_up_failures.min(10)).min(122_000);
        self.set_up_failures += 1;
        soon(now, millis)
    }

    fn start_ended(&mut self, name: &str, result: Result<Started, Failure>, now: Timestamp) {
        self.starts.remove(name);
        match result {
            Ok(started) => self.started(name, started),
            Err(Failure::Cancelled) => self.observed.not_started(name, "", String::new(), None),
            Err(Failure::Image { reason, message, back_off }) => {
                let pulls = &mut self.observed.container(name).pulls;
                pulls.advance(now);
                let retry = Retry { at: pulls.due(now), announce: back_off.then(|| soon(now, ANNOUNCE_MS)) };
                self.observed.not_started(name, reason, message, Some(retry));
            }
            Err(Failure::Config { reason, message }) => {
                let retry = Retry { at: soon(now, CONFIG_RETRY_MS), announce: None };
                self.observed.not_started(name, reason, message, Some(retry));
            }
            Err(Failure::Program { run, message }) => {
                let reason = "StartError".to_owned();
                let exit = Exit { code: 128, signal: None, reason, message, started: None, finished: now, run };
                self.observed.exited(name, exit);
            }
        }
    }

    fn started(&mut self, name: &str, started: Started) {
        let container = desired::container(&self.pod, name).unwrap_or_default();
        let hook = container.lifecycle.as_ref().and_then(|hooks| hooks.post_start.clone());
        let simple = container.startup_probe.is_none() && hook.is_none();
        let id = started.run.id.clone();
        tracing::debug!(pod = self.uid, container = name, "container started");
        if let Some(signal) = started.stop_signal {
            self.image_signals.insert(name.to_owned(), signal);
        }
        self.observed.running(name, started.run, started.since, simple);
        self.observed.given(name, started.amounts);
        self.watch_exit(name, &id, started.since);
        self.probes.arm(&self.pod, name, started.since);
        if let Some(hook) = hook {
            self.probes.hold(name);
            let (name, target) = (name.to_owned(), self.target(&id, container));
            self.push(async move {
                let result = stop::handle(&target, &hook).await;
                Event::PostStart { name, id, result }
            });
        }
        self.settle_readiness(name);
    }

    pub(super) fn target(&self, id: &str, container: k8s_openapi::api::core::v1::Container) -> Target {
        let engine = Arc::clone(&self.node.engine);
        Target { engine, container_id: id.to_owned(), container, ip: self.ips.first().copied() }
    }

    fn is_latest(&self, name: &str, id: &str) -> bool {
        let run = self.observed.containers.get(name).and_then(|container| container.run.as_ref());
        run.is_some_and(|run| run.id == id)
    }

    fn post_started(&mut self, name: &str, id: &str, result: Result<(), String>) {
        if !self.is_latest(name, id) {
            return;
        }
        match result {
            Ok(()) => {
                self.probes.release(name, base::time::now());
                self.settle_readiness(name);
            }
            Err(why) => {
                let message = format!("PostStartHook failed: {why}");
                let path = self.unit(name).map(|unit| desired::field_path(&unit));
                self.node.events.warning(&self.subject, path, "FailedPostStartHook", message);
                self.observed.container(name).kill = Some(Kill { message: "FailedPostStartHook".into(), grace: None });
            }
        }
    }

    /// Waits for the end of a run, and collects its last words.
    pub(super) fn watch_exit(&self, name: &str, id: &str, since: Timestamp) {
        let run = self.observed.containers.get(name).and_then(|container| container.run.clone()).unwrap_or_default();
        let container = desired::container(&self.pod, name).unwrap_or_default();
        let fallback = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        let log = self.node.logs(&self.pod).join(name).join(format!("{}.log", run.attempt));
        let (name, id, engine) = (name.to_owned(), id.to_owned(), Arc::clone(&self.node.engine));
        self.push(async move {
            let ended = engine.wait(&id).await.unwrap_or_else(|error| {
                tracing::warn!("waiting for container {id}: {}", base::error::chain(&error));
                let finished = base::time::now();
                crate::runtime::Exit { code: 137, signal: None, oom: false, finished, lost: true }
            });
            let mut message = engine.termination_message(&id);
            if message.is_empty() && fallback && ended.code != 0 {
                message = logs::last_words(&log);
            }
            Event::Exited { name, exit: exit(&ended, message, run, since) }
        });
    }

    fn container_exited(&mut self, name: &str, exit: Exit) {
        if !self.is_latest(name, &exit.run.id) {
            return;
        }
        self.probes.disarm(name);
        if let Some(stop) = self.stops.remove(name) {
            stop.abort();
        }
        self.observed.exited(name, exit);
    }

    /// An object the pod refers to changed: content follows, and what failed for its sake is tried again.
    fn object_changed(&mut self, index: usize) {
        self.refresh_wanted = true;
        self.observed.volumes_after = None;
        for container in self.observed.containers.values_mut() {
            if let State::Waiting { reason, retry: retry @ Some(_), .. } = &mut container.state
                && reason == "CreateContainerConfigError"
            {
                *retry = None;
            }
        }
        self.watch_object(index);
    }

    pub(super) fn push_delete(&self) {
        let meta = &self.pod.metadata;
        let api: Api<Pod> = Api::namespaced(self.node.client.clone(), meta.namespace.as_deref().unwrap_or_default());
        let name = meta.name.clone().unwrap_or_default();
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(self.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        self.push(async move { Event::Deleted(api.delete(&name, &params).await.map(drop)) });
    }

    fn deleted(&mut self, result: Result<(), kube::Error>) {
        match result {
            Ok(()) => {} // the watch will tell that it is gone
            Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => {
                self.farewell = Some(desired::Farewell::Gone { heard: base::time::now(), grace: Duration::ZERO });
            }
            Err(error) => {
                tracing::warn!("removing pod {} from the API, trying again: {}", self.uid, base::error::chain(&error));
                self.push(async {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Event::DeleteAgain
                });
            }
        }
    }
}

fn exit(ended: &crate::runtime::Exit, message: String, run: Run, since: Timestamp) -> Exit {
    Exit {
        code: ended.code,
        signal: ended.signal.filter(|_| false), // upstream leaves it out: the code already says it
        reason: ended.reason().to_owned(),
        message,
        started: Some(since),
        finished: ended.finished,
        run,
    }
}
