//! A pod's status as the API shows it, computed from what the node has observed.
//!
//! Invariant: pure, and the only place that knows the words of waiting reasons and conditions.
//! Conditions others own (readiness gates) are read but never written: the patch merges by type.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    HostIP, Pod, PodCondition, PodIP, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::pod::desired;
use crate::pod::observed::{self, Exit, Observed, Resizing, Stage, State, Verdict};
use crate::pod::plan::{Role, Room, Unit, is_outgrown};
use crate::pod::resources::{self, Amounts};

pub(crate) mod patch;

/// The prefix of our container ids.
pub(crate) const RUNTIME: &str = "knarr";

/// Everything a status is computed from.
pub(crate) struct Inputs<'a> {
    pub pod: &'a Pod,
    pub units: &'a [Unit],
    pub observed: &'a Observed,
    pub ending: bool,
    pub room: &'a Room,
    /// What was computed before; transition times are kept while a condition stays the same.
    pub previous: &'a PodStatus,
    pub host_ips: &'a [IpAddr],
    pub pod_ips: &'a [IpAddr],
    pub started: Timestamp,
    pub now: Timestamp,
}

/// The status to be shown now.
pub(crate) fn status(inputs: &Inputs<'_>) -> PodStatus {
    let spec = inputs.pod.spec.clone().unwrap_or_default();
    let observed = inputs.observed;
    let over = observed.verdict.is_some() && !observed.any_alive();
    let list = |wanted: fn(Role) -> bool, definitions: &[Container]| {
        let units = inputs.units.iter().filter(|unit| wanted(unit.role));
        units
            .filter_map(|unit| Some((unit, definitions.iter().find(|container| container.name == unit.name)?)))
            .map(|(unit, definition)| container_status(inputs, unit, definition, over))
            .collect::<Vec<_>>()
    };
    let mains = list(|role| role == Role::Main, &spec.containers);
    let inits = list(Role::is_early, spec.init_containers.as_deref().unwrap_or_default());
    let ephemeral: Vec<Container> = spec
        .ephemeral_containers
        .iter()
        .flatten()
        .filter_map(|container| desired::container(inputs.pod, &container.name))
        .collect();
    let ephemeral = list(|role| role == Role::Ephemeral, &ephemeral);
    let (phase, reason, message) = phase(observed, inputs.units, over);
    let conditions = conditions(inputs, &mains, &inits, phase);
    let ips = |ips: &[IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>();
    PodStatus {
        phase: Some(phase.to_owned()),
        reason,
        message,
        conditions: Some(conditions),
        host_ip: inputs.host_ips.first().map(ToString::to_string),
        host_ips: Some(ips(inputs.host_ips).into_iter().map(|ip| HostIP { ip }).collect()),
        pod_ip: inputs.pod_ips.first().map(ToString::to_string),
        pod_ips: (!inputs.pod_ips.is_empty()).then(|| ips(inputs.pod_ips).into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: Some(Time(inputs.started)),
        qos_class: Some(resources::qos_name(resources::qos(&spec)).to_owned()),
        observed_generation: inputs.pod.metadata.generation,
        container_statuses: Some(mains),
        init_container_statuses: (!inits.is_empty()).then_some(inits),
        ephemeral_container_statuses: (!ephemeral.is_empty()).then_some(ephemeral),
        ..PodStatus::default()
    }
}

fn phase(observed: &Observed, units: &[Unit], over: bool) -> (&'static str, Option<String>, Option<String>) {
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    match &observed.verdict {
        Some(Verdict::Succeeded) if over => return ("Succeeded", None, None),
        Some(Verdict::Failed { reason, message }) if over => return ("Failed", some(reason), some(message)),
        _ => {}
    }
    let ran = |unit: &Unit| observed.containers.get(&unit.name).is_some_and(|container| container.run.is_some());
    let all_ran = units.iter().filter(|unit| unit.role == Role::Main).all(ran);
    (if observed.initialized && all_ran { "Running" } else { "Pending" }, None, None)
}

fn container_status(inputs: &Inputs<'_>, unit: &Unit, definition: &Container, over: bool) -> ContainerStatus {
    let fresh = observed::Container::default();
    let container = inputs.observed.containers.get(&unit.name).unwrap_or(&fresh);
    let mut last = container.last.as_ref();
    let state = match &container.state {
        State::Waiting { .. } if over && inputs.ending && inputs.observed.initialized => vanished(),
        State::Waiting { reason, message, .. } if !reason.is_empty() => waiting(reason, message),
        State::Starting { shown: Some((reason, message)), .. } => waiting(reason, message),
        State::Waiting { .. } | State::Starting { .. } => {
            let early = unit.role == Role::Main && !inputs.observed.initialized;
            let early = early && inputs.units.iter().any(|unit| unit.role.is_early());
            let first_init = unit.role.is_early() && !matches!(container.state, State::Starting { .. });
            waiting(if early || first_init { "PodInitializing" } else { "ContainerCreating" }, "")
        }
        State::Running { since } | State::Stopping { since, .. } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(*since)) }),
            ..ContainerState::default()
        },
        State::Exited { exit, backing_off: true } if !over => {
            last = Some(exit);
            waiting("CrashLoopBackOff", &back_off_message(inputs.pod, unit, container))
        }
        State::Exited { exit, .. } => terminated(exit),
    };
    let run = container.run.as_ref();
    let alive = state.running.is_some();
    let done = unit.role == Role::Init && container.exit().is_some_and(|exit| exit.code == 0);
    let regular = unit.role != Role::Ephemeral;
    let given = container.given.as_ref().filter(|_| alive && regular);
    ContainerStatus {
        name: unit.name.clone(),
        image: run.map_or_else(|| definition.image.clone().unwrap_or_default(), |run| run.image.clone()),
        image_id: run.map(|run| run.image_id.clone()).unwrap_or_default(),
        container_id: run.map(|run| format!("{RUNTIME}://{}", run.id)),
        ready: done || (alive && regular && container.ready),
        started: regular.then_some(alive && container.started),
        resources: given.map(Amounts::requirements),
        allocated_resources: given.and_then(|given| given.requirements().requests),
        restart_count: i32::try_from(container.restarts).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(last.map(terminated).unwrap_or_default()),
        ..ContainerStatus::default()
    }
}

/// `back-off 10s restarting failed container=c pod=p_ns(uid)`
pub(crate) fn back_off_message(pod: &Pod, unit: &Unit, container: &observed::Container) -> String {
    let meta = &pod.metadata;
    format!(
        "back-off {} restarting failed container={} pod={}_{}({})",
        container.crashes.text(),
        unit.name,
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
    )
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = (!message.is_empty()).then(|| message.to_owned());
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
        ..ContainerState::default()
    }
}

fn terminated(exit: &Exit) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: (!exit.run.id.is_empty()).then(|| format!("{RUNTIME}://{}", exit.run.id)),
            exit_code: exit.code,
            signal: exit.signal,
            reason: Some(exit.reason.clone()),
            message: (!exit.message.is_empty()).then(|| exit.message.clone()),
            started_at: exit.started.map(Time),
            finished_at: Some(Time(exit.finished)),
        }),
        ..ContainerState::default()
    }
}

/// A container that had not run when its pod was ended, in upstream's words.
fn vanished() -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some("ContainerStatusUnknown".into()),
            message: Some("The container could not be located when the pod was terminated".into()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

/// A condition before its transition time is known.
struct Claim {
    kind: &'static str,
    holds: bool,
    reason: &'static str,
    message: String,
}

impl Claim {
    fn new(kind: &'static str, holds: bool, reason: &'static str, message: String) -> Self {
        Self { kind, holds, reason, message }
    }
}

fn conditions(
    inputs: &Inputs<'_>,
    mains: &[ContainerStatus],
    inits: &[ContainerStatus],
    phase: &str,
) -> Vec<PodCondition> {
    let observed = inputs.observed;
    let sandbox = observed.sandbox == Stage::Ready && !observed.torn_down;
    let ready = containers_ready(inputs.units, mains, inits, phase);
    let pod_ready = gated(inputs.pod, &ready);
    let claims = [
        Claim::new("PodReadyToStartContainers", sandbox, "", String::new()),
        initialized(inputs, inits, phase),
        pod_ready,
        ready,
        Claim::new("PodScheduled", true, "", String::new()),
    ];
    claims.into_iter().chain(resizing(inputs)).map(|claim| condition(inputs, claim)).collect()
}

/// How a change of resources stands, while it is not carried out.
fn resizing(inputs: &Inputs<'_>) -> Option<Claim> {
    if !inputs.units.iter().any(|unit| is_outgrown(unit, inputs.observed)) {
        return None;
    }
    let pending = |reason, why: &String| Some(Claim::new("PodResizePending", true, reason, why.clone()));
    match (inputs.room, &inputs.observed.resizing) {
        (Room::Later(why), _) => pending("Deferred", why),
        (Room::Never(why), _) => pending("Infeasible", why),
        (Room::Enough, Resizing::Failed { message, .. }) => {
            Some(Claim::new("PodResizeInProgress", true, "Error", message.clone()))
        }
        (Room::Enough, Resizing::Busy) => Some(Claim::new("PodResizeInProgress", true, "", String::new())),
        (Room::Enough, Resizing::Idle) => None,
    }
}

fn condition(inputs: &Inputs<'_>, claim: Claim) -> PodCondition {
    let status = if claim.holds { "True" } else { "False" };
    let before = |all: &Option<Vec<PodCondition>>| {
        let all = all.as_deref().unwrap_or_default();
        all.iter().find(|old| old.type_ == claim.kind && old.status == status)?.last_transition_time.clone()
    };
    let api = inputs.pod.status.as_ref().and_then(|status| before(&status.conditions));
    let since = before(&inputs.previous.conditions).or(api).unwrap_or(Time(inputs.now));
    PodCondition {
        type_: claim.kind.to_owned(),
        status: status.to_owned(),
        reason: (!claim.reason.is_empty()).then(|| claim.reason.to_owned()),
        message: (!claim.message.is_empty()).then_some(claim.message),
        last_transition_time: Some(since),
        last_probe_time: None,
        observed_generation: inputs.pod.metadata.generation,
    }
}

fn initialized(inputs: &Inputs<'_>, inits: &[ContainerStatus], phase: &str) -> Claim {
    const KIND: &str = "Initialized";
    if phase == "Succeeded" {
        return Claim::new(KIND, true, "PodCompleted", String::new());
    }
    if inits.is_empty() || inputs.observed.initialized {
        return Claim::new(KIND, true, "", String::new());
    }
    let late: Vec<&str> = inits.iter().filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    let message = format!("containers with incomplete status: [{}]", late.join(" "));
    Claim::new(KIND, false, "ContainersNotInitialized", message)
}

fn containers_ready(units: &[Unit], mains: &[ContainerStatus], inits: &[ContainerStatus], phase: &str) -> Claim {
    const KIND: &str = "ContainersReady";
    match phase {
        "Succeeded" => return Claim::new(KIND, false, "PodCompleted", String::new()),
        "Failed" => return Claim::new(KIND, false, "PodFailed", String::new()),
        _ => {}
    }
    let sidecar = |name: &str| units.iter().any(|unit| unit.name == name && unit.role == Role::Sidecar);
    let counted = inits.iter().filter(|status| sidecar(&status.name)).chain(mains);
    let late: Vec<&str> = counted.filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
    if late.is_empty() {
        return Claim::new(KIND, true, "", String::new());
    }
    Claim::new(KIND, false, "ContainersNotReady", format!("containers with unready status: [{}]", late.join(" ")))
}

/// `Ready`: the containers are, and every readiness gate says so too.
fn gated(pod: &Pod, containers: &Claim) -> Claim {
    const KIND: &str = "Ready";
    if !containers.holds {
        return Claim::new(KIND, false, containers.reason, containers.message.clone());
    }
    let all = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_deref()).unwrap_or_default();
    let complaints: Vec<String> = gates
        .iter()
        .filter_map(|gate| {
            let name = &gate.condition_type;
            match all.iter().find(|condition| condition.type_ == *name) {
                None => Some(format!("corresponding condition of pod readiness gate \"{name}\" does not exist.")),
                Some(condition) if condition.status != "True" => Some(format!(
                    "the status of pod readiness gate \"{name}\" is not \"True\", but {}",
                    condition.status
                )),
                Some(_) => None,
            }
        })
        .collect();
    if complaints.is_empty() {
        return Claim::new(KIND, true, "", String::new());
    }
    Claim::new(KIND, false, "ReadinessGatesNotReady", complaints.join(", "))
}

#[cfg(test)]
mod tests;
