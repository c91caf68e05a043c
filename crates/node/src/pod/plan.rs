//! Decides what a pod needs next.
//!
//! Invariant: no I/O, no clock, no randomness: the same input gives the same plan, and once the
//! actions are begun, planning again yields none of them. Upstream's counterparts are
//! `computePodActions`, `SyncTerminatingPod` and `SyncTerminatedPod`; here they are one function,
//! because what they share (who is alive, who may start) is most of it.

use std::time::Duration;

use jiff::Timestamp;

use super::observed::{Container, Observed, Resizing, Stage, State, Verdict};
use super::resources::Amounts;

/// When a resize that finds no room is judged again.
const ROOM_AGAIN: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Runs to completion before the next one starts.
    Init,
    /// An init container with `restartPolicy: Always`: started in order, then kept running.
    Sidecar,
    Main,
    /// Added to a running pod to look into it: started at any time, once.
    Ephemeral,
}

impl Role {
    /// Before the main containers.
    pub(crate) fn is_early(self) -> bool {
        matches!(self, Self::Init | Self::Sidecar)
    }
}

/// Whether the node can give the pod what it now asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Room {
    #[default]
    Enough,
    /// Not while the other pods are here.
    Later(String),
    /// The node is too small.
    Never(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    OnFailure,
    Never,
}

impl Restart {
    fn after(self, code: i32) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => code != 0,
            Self::Never => false,
        }
    }
}

/// A container as far as the plan is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub name: String,
    pub role: Role,
    pub restart: Restart,
    pub amounts: Amounts,
}

/// Why the pod has to go, and until when its processes may take their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Deleted {
        by: Timestamp,
    },
    /// The API has forgotten the pod already.
    Gone {
        by: Timestamp,
    },
}

/// What the pod's object asks for.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    /// Init containers and sidecars in their order, then the main ones, then the ephemeral ones.
    pub units: Vec<Unit>,
    pub grace: Duration,
    /// From `activeDeadlineSeconds`.
    pub deadline: Option<Timestamp>,
    pub ending: Option<Ending>,
    pub room: Room,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    MakeSandbox,
    MountVolumes,
    Initialized,
    Start(String),
    Stop {
        name: String,
        by: Timestamp,
        message: String,
    },
    /// Give running containers the resources they now ask for.
    Resize,
    /// Give up preparing the container.
    Cancel(String),
    /// Tell that the container waits before its next attempt.
    BackOff(String),
    Conclude(Verdict),
    TearDown,
    /// Remove the object from the API.
    Delete,
    /// Nothing is left: the worker ends.
    Finish,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Plan {
    pub actions: Vec<Action>,
    /// Plan again at this time at the latest.
    pub wake: Option<Timestamp>,
}

impl Plan {
    fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |now| now.min(at)));
    }

    fn act(&mut self, action: Action) {
        self.actions.push(action);
    }
}

/// The next steps for the pod.
pub(crate) fn plan(desired: &Desired, observed: &Observed, now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if desired.ending.is_some() || observed.verdict.is_some() {
        wind_down(desired, observed, now, &mut plan);
        return plan;
    }
    if let Some(verdict) = verdict(desired, observed, now) {
        plan.act(Action::Conclude(verdict));
        return plan;
    }
    if let Some(deadline) = desired.deadline {
        plan.wake_at(deadline);
    }
    for unit in &desired.units {
        if let Some(container) = observed.containers.get(&unit.name)
            && let (State::Running { .. }, Some(kill)) = (&container.state, &container.kill)
        {
            let by = after(now, kill.grace.unwrap_or(desired.grace));
            plan.act(Action::Stop { name: unit.name.clone(), by, message: kill.message.clone() });
        }
    }
    prepare(observed, now, &mut plan);
    if observed.sandbox == Stage::Ready && observed.volumes == Stage::Ready {
        start(desired, observed, now, &mut plan);
        resize(desired, observed, now, &mut plan);
    }
    plan
}

/// Whether a running container has other resources than it asks for.
pub(crate) fn is_outgrown(unit: &Unit, observed: &Observed) -> bool {
    let found = observed.containers.get(&unit.name);
    unit.role != Role::Ephemeral
        && found.is_some_and(|container| {
            matches!(container.state, State::Running { .. })
                && container.kill.is_none()
                && container.given.as_ref() != Some(&unit.amounts)
        })
}

fn resize(desired: &Desired, observed: &Observed, now: Timestamp, plan: &mut Plan) {
    if !desired.units.iter().any(|unit| is_outgrown(unit, observed)) {
        return;
    }
    match (&desired.room, &observed.resizing) {
        (Room::Never(_), _) | (_, Resizing::Busy) => {}
        (Room::Later(_), _) => plan.wake_at(after(now, ROOM_AGAIN)),
        (Room::Enough, Resizing::Failed { again, .. }) if *again > now => plan.wake_at(*again),
        (Room::Enough, _) => plan.act(Action::Resize),
    }
}

/// Sandbox and volumes; both at once, as neither needs the other.
fn prepare(observed: &Observed, now: Timestamp, plan: &mut Plan) {
    let mut part = |stage: Stage, after: Option<Timestamp>, action: Action| match (stage, after) {
        (Stage::Absent, Some(at)) if at > now => plan.wake_at(at),
        (Stage::Absent, _) => plan.act(action),
        _ => {}
    };
    part(observed.sandbox, observed.sandbox_after, Action::MakeSandbox);
    part(observed.volumes, observed.volumes_after, Action::MountVolumes);
}

fn start(desired: &Desired, observed: &Observed, now: Timestamp, plan: &mut Plan) {
    let fresh = Container::default();
    let find = |unit: &Unit| observed.containers.get(&unit.name).unwrap_or(&fresh);
    for unit in desired.units.iter().filter(|unit| unit.role == Role::Ephemeral) {
        start_if_due(unit, find(unit), now, plan);
    }
    let regular = desired.units.iter().filter(|unit| unit.role != Role::Ephemeral);
    let (early, main): (Vec<&Unit>, Vec<&Unit>) = regular.partition(|unit| unit.role.is_early());
    if observed.initialized {
        for unit in early.iter().filter(|unit| unit.role == Role::Sidecar).chain(&main) {
            start_if_due(unit, find(unit), now, plan);
        }
        return;
    }
    for unit in early {
        let container = find(unit);
        let done = match unit.role {
            Role::Sidecar => {
                start_if_due(unit, container, now, plan);
                container.started && matches!(container.state, State::Running { .. })
            }
            _ => container.exit().is_some_and(|exit| exit.code == 0),
        };
        if !done {
            if unit.role == Role::Init {
                start_if_due(unit, container, now, plan);
            }
            return;
        }
    }
    plan.act(Action::Initialized);
}

/// Starts the container unless it runs, has finished for good, or waits for its next attempt.
fn start_if_due(unit: &Unit, container: &Container, now: Timestamp, plan: &mut Plan) {
    let start = || Action::Start(unit.name.clone());
    match &container.state {
        State::Starting { .. } | State::Running { .. } | State::Stopping { .. } => {}
        State::Waiting { retry: None, .. } => plan.act(start()),
        State::Waiting { retry: Some(retry), .. } => {
            if retry.at <= now {
                plan.act(start());
                return;
            }
            plan.wake_at(retry.at);
            match retry.announce {
                Some(at) if at <= now => plan.act(Action::BackOff(unit.name.clone())),
                Some(at) => plan.wake_at(at),
                None => {}
            }
        }
        State::Exited { exit, backing_off } if unit.restart.after(exit.code) => {
            let due = container.crashes.due(exit.finished);
            if due <= now {
                plan.act(start());
                return;
            }
            plan.wake_at(due);
            if !backing_off {
                plan.act(Action::BackOff(unit.name.clone()));
            }
        }
        State::Exited { .. } => {}
    }
}

/// The end of the pod, if it has come by itself.
fn verdict(desired: &Desired, observed: &Observed, now: Timestamp) -> Option<Verdict> {
    if desired.deadline.is_some_and(|deadline| deadline <= now) {
        return Some(Verdict::Failed {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
        });
    }
    let finished = |unit: &Unit| {
        let exit = observed.containers.get(&unit.name)?.exit()?;
        (!unit.restart.after(exit.code)).then_some(exit.code)
    };
    let failed = || Verdict::Failed { reason: String::new(), message: String::new() };
    if !observed.initialized
        && desired.units.iter().filter(|unit| unit.role == Role::Init).filter_map(finished).any(|code| code != 0)
    {
        return Some(failed());
    }
    let mains: Vec<Option<i32>> = desired.units.iter().filter(|unit| unit.role == Role::Main).map(finished).collect();
    let codes = mains.into_iter().collect::<Option<Vec<i32>>>()?;
    Some(if codes.iter().all(|code| *code == 0) { Verdict::Succeeded } else { failed() })
}

/// Stops everything, sidecars last and in reverse; then takes the pod apart; then lets go of it.
fn wind_down(desired: &Desired, observed: &Observed, now: Timestamp, plan: &mut Plan) {
    let by = match desired.ending {
        Some(Ending::Deleted { by } | Ending::Gone { by }) => by,
        None => after(now, desired.grace),
    };
    let alive = |unit: &&Unit| observed.containers.get(&unit.name).is_some_and(Container::is_alive);
    let workers = desired.units.iter().filter(|unit| unit.role != Role::Sidecar).filter(alive).collect::<Vec<_>>();
    let victims = if workers.is_empty() {
        desired.units.iter().rev().filter(|unit| unit.role == Role::Sidecar).find(alive).into_iter().collect()
    } else {
        workers
    };
    for unit in &victims {
        let state = &observed.containers[&unit.name].state;
        let stop = match state {
            State::Starting { cancelled: false, .. } => {
                plan.act(Action::Cancel(unit.name.clone()));
                false
            }
            State::Running { .. } => true,
            State::Stopping { by: planned, .. } => desired.ending.is_some() && by < *planned,
            _ => false,
        };
        if stop {
            let message = format!("Stopping container {}", unit.name);
            plan.act(Action::Stop { name: unit.name.clone(), by, message });
        }
    }
    if !victims.is_empty() || observed.sandbox == Stage::Busy || observed.volumes == Stage::Busy {
        return;
    }
    if observed.verdict.is_none() {
        plan.act(Action::Conclude(last_verdict(desired, observed)));
    } else if !observed.torn_down {
        if !observed.tearing_down {
            plan.act(Action::TearDown);
        }
    } else {
        match desired.ending {
            Some(Ending::Deleted { .. }) if observed.reported && !observed.deleting => plan.act(Action::Delete),
            Some(Ending::Gone { .. }) => plan.act(Action::Finish),
            _ => {}
        }
    }
}

/// What a pod that was told to go has come to: it succeeded only if every main container did.
fn last_verdict(desired: &Desired, observed: &Observed) -> Verdict {
    let succeeded =
        desired.units.iter().filter(|unit| unit.role == Role::Main).all(|unit| {
            observed.containers.get(&unit.name).and_then(Container::exit).is_some_and(|exit| exit.code == 0)
        });
    if succeeded { Verdict::Succeeded } else { Verdict::Failed { reason: String::new(), message: String::new() } }
}

fn after(at: Timestamp, grace: Duration) -> Timestamp {
    at.checked_add(grace).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
