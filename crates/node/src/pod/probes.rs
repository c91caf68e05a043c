//! The probes of a pod's running containers: which is due, and what its result changes.
//!
//! Invariant: a probe belongs to one run; when the run ends its trackers go with it. Liveness and
//! readiness wait for the startup probe, and all wait for `postStart`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};

use super::event::Event;
use super::observed::{Kill, Observed, State};
use super::{Worker, desired};
use crate::probe::{Judgement, Kind, Outcome, Tracker};

#[derive(Default)]
pub(super) struct Probes {
    armed: BTreeMap<(String, Kind), Armed>,
    /// Containers whose `postStart` has not returned.
    held: BTreeSet<String>,
    passed: BTreeSet<(String, Kind)>,
}

struct Armed {
    tracker: Tracker,
    probe: Probe,
    running: bool,
}

impl Probes {
    /// Sets up the trackers of a container that has started.
    pub(super) fn arm(&mut self, pod: &Pod, name: &str, started: Timestamp) {
        self.disarm(name);
        let Some(container) = desired::container(pod, name) else { return };
        for (kind, probe) in probes(&container) {
            let tracker = Tracker::new(kind, probe, started);
            self.armed.insert((name.to_owned(), kind), Armed { tracker, probe: probe.clone(), running: false });
        }
    }

    pub(super) fn disarm(&mut self, name: &str) {
        self.armed.retain(|(owner, _), _| owner != name);
        self.passed.retain(|(owner, _)| owner != name);
        self.held.remove(name);
    }

    pub(super) fn hold(&mut self, name: &str) {
        self.held.insert(name.to_owned());
    }

    pub(super) fn release(&mut self, name: &str, now: Timestamp) {
        self.held.remove(name);
        self.hasten(name, now);
    }

    fn hasten(&mut self, name: &str, now: Timestamp) {
        for ((owner, _), armed) in &mut self.armed {
            if owner == name {
                armed.tracker.hasten(now);
            }
        }
    }

    fn may_run(&self, observed: &Observed, name: &str, kind: Kind) -> bool {
        let Some(container) = observed.containers.get(name) else { return false };
        if self.held.contains(name) {
            return false;
        }
        match (&container.state, kind) {
            (State::Running { .. }, Kind::Startup) => !container.started && container.kill.is_none(),
            (State::Running { .. }, _) => container.started && container.kill.is_none(),
            (State::Stopping { .. }, Kind::Readiness) => container.started,
            _ => false,
        }
    }

    pub(super) fn next_due(&self, observed: &Observed) -> Option<Timestamp> {
        let open =
            self.armed.iter().filter(|((name, kind), armed)| !armed.running && self.may_run(observed, name, *kind));
        open.map(|(_, armed)| armed.tracker.due()).min()
    }
}

fn probes(container: &Container) -> impl Iterator<Item = (Kind, &Probe)> {
    [
        (Kind::Startup, container.startup_probe.as_ref()),
        (Kind::Readiness, container.readiness_probe.as_ref()),
        (Kind::Liveness, container.liveness_probe.as_ref()),
    ]
    .into_iter()
    .filter_map(|(kind, probe)| Some((kind, probe?)))
}

impl Worker {
    /// Starts every probe that is due.
    pub(super) fn run_probes(&mut self, now: Timestamp) {
        let due: Vec<(String, Kind)> = self
            .probes
            .armed
            .iter()
            .filter(|((name, kind), armed)| {
                !armed.running && armed.tracker.due() <= now && self.probes.may_run(&self.observed, name, *kind)
            })
            .map(|(key, _)| key.clone())
            .collect();
        for (name, kind) in due {
            let Some(container) = desired::container(&self.pod, &name) else { continue };
            let run = self.observed.container(&name).run.clone().unwrap_or_default();
            let target = self.target(&run.id, container);
            let Some(armed) = self.probes.armed.get_mut(&(name.clone(), kind)) else { continue };
            armed.running = true;
            let probe = armed.probe.clone();
            self.push(async move {
                let outcome = target.probe(&probe).await;
                Event::Probed { name, id: run.id, kind, outcome }
            });
        }
    }

    pub(super) fn probed(&mut self, name: &str, id: &str, kind: Kind, outcome: &Outcome, now: Timestamp) {
        let run = self.observed.containers.get(name).and_then(|container| container.run.as_ref());
        if run.is_none_or(|run| run.id != id) {
            return;
        }
        let key = (name.to_owned(), kind);
        let Some(armed) = self.probes.armed.get_mut(&key) else { return };
        armed.running = false;
        let (judgement, regular) = armed.tracker.take(outcome, now);
        let grace = armed.probe.termination_grace_period_seconds;
        let complaint = match outcome {
            Outcome::Failure(why) if regular => Some(format!("{} probe failed: {why}", kind.title())),
            Outcome::Errored(why) => {
                Some(format!("{} probe errored and resulted in unknown state: {why}", kind.title()))
            }
            _ => None,
        };
        if let Some(message) = complaint {
            let path = self.unit(name).map(|unit| desired::field_path(&unit));
            self.node.events.warning(&self.subject, path, "Unhealthy", message);
        }
        match (judgement, kind) {
            (Judgement::Passed, Kind::Startup | Kind::Readiness) => {
                self.probes.passed.insert(key);
                if kind == Kind::Startup {
                    self.probes.hasten(name, now);
                }
                self.settle_readiness(name);
            }
            (Judgement::Failed, Kind::Readiness) => {
                self.probes.passed.remove(&key);
                self.settle_readiness(name);
            }
            (Judgement::Failed, Kind::Startup | Kind::Liveness) => {
                let message = format!("Container {name} failed {} probe, will be restarted", kind.word());
                let grace = grace.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
                self.observed.container(name).kill = Some(Kill { message, grace });
            }
            _ => {}
        }
    }

    /// Recomputes `started` and `ready` of a running container from its hook and probes.
    pub(super) fn settle_readiness(&mut self, name: &str) {
        let known = |kind| self.probes.armed.contains_key(&(name.to_owned(), kind));
        let passed = |kind| !known(kind) || self.probes.passed.contains(&(name.to_owned(), kind));
        let held = self.probes.held.contains(name);
        let container = self.observed.containers.get(name);
        let was_started = container.is_some_and(|container| container.started);
        let started = was_started || (!held && passed(Kind::Startup));
        let ready = started && passed(Kind::Readiness);
        let container = self.observed.container(name);
        if matches!(container.state, State::Running { .. } | State::Stopping { .. }) {
            container.started = started;
            container.ready = ready;
        }
    }

    /// What an adopted container had reached before the agent was restarted still stands.
    pub(super) fn remember_passed(&mut self, name: &str) {
        let (started, ready) =
            self.observed.containers.get(name).map_or((false, false), |container| (container.started, container.ready));
        if started {
            self.probes.passed.insert((name.to_owned(), Kind::Startup));
        }
        if ready {
            self.probes.passed.insert((name.to_owned(), Kind::Readiness));
        }
    }
}
