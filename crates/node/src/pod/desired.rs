//! From the pod's object to what the plan works with.
//!
//! Invariant: pure; the object is read again on every change, so nothing of it is remembered here.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, EphemeralContainer, Pod, PodSpec};

use super::plan::{Desired, Ending, Restart, Role, Room, Unit};
use super::resources::Amounts;

/// What has been said about the pod's end, and when this node first heard it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Farewell {
    Deleted { heard: Timestamp, grace: Duration },
    Gone { heard: Timestamp, grace: Duration },
}

impl Farewell {
    fn ending(self) -> Ending {
        let by = |heard: Timestamp, grace: Duration| heard.checked_add(grace).unwrap_or(Timestamp::MAX);
        match self {
            Self::Deleted { heard, grace } => Ending::Deleted { by: by(heard, grace) },
            Self::Gone { heard, grace } => Ending::Gone { by: by(heard, grace) },
        }
    }
}

/// What the plan needs to know of the pod.
pub(crate) fn desired(pod: &Pod, started: Timestamp, farewell: Option<Farewell>) -> Desired {
    let spec = pod.spec.clone().unwrap_or_default();
    let deadline = spec.active_deadline_seconds;
    Desired {
        units: units(&spec),
        grace: grace(&spec),
        deadline: deadline.and_then(|seconds| started.checked_add(SignedDuration::from_secs(seconds)).ok()),
        ending: farewell.map(Farewell::ending),
        room: Room::Enough,
    }
}

/// `terminationGracePeriodSeconds`.
pub(crate) fn grace(spec: &PodSpec) -> Duration {
    seconds(spec.termination_grace_period_seconds.unwrap_or(30))
}

/// The grace the deletion of the pod gave.
pub(crate) fn deletion_grace(pod: &Pod) -> Duration {
    let own = pod.spec.as_ref().map_or(Duration::from_secs(30), grace);
    pod.metadata.deletion_grace_period_seconds.map_or(own, seconds)
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Init containers and sidecars in order, then the main containers, then the ephemeral ones.
pub(crate) fn units(spec: &PodSpec) -> Vec<Unit> {
    let policy = restart(spec.restart_policy.as_deref().unwrap_or("Always"));
    let init_policy = if policy == Restart::Never { Restart::Never } else { Restart::OnFailure };
    let early = spec.init_containers.iter().flatten().map(|container| match container.restart_policy.as_deref() {
        Some("Always") => unit(container, Role::Sidecar, Restart::Always),
        Some(own) => unit(container, Role::Init, restart(own)),
        None => unit(container, Role::Init, init_policy),
    });
    let main = spec.containers.iter().map(|container| {
        let own = container.restart_policy.as_deref().map(restart);
        unit(container, Role::Main, own.unwrap_or(policy))
    });
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.map(|container| unit(&plain(container), Role::Ephemeral, Restart::Never));
    early.chain(main).chain(ephemeral).collect()
}

/// The definition of a container by name.
pub(crate) fn container(pod: &Pod, name: &str) -> Option<Container> {
    let spec = pod.spec.as_ref()?;
    let mut all = spec.init_containers.iter().flatten().chain(&spec.containers);
    let ephemeral = || spec.ephemeral_containers.iter().flatten().find(|container| container.name == name);
    all.find(|container| container.name == name).cloned().or_else(|| ephemeral().map(plain))
}

/// The container whose processes an ephemeral one joins.
pub(crate) fn joins(pod: &Pod, name: &str) -> Option<String> {
    let all = pod.spec.as_ref()?.ephemeral_containers.iter().flatten();
    let found = all.into_iter().find(|container| container.name == name)?;
    found.target_container_name.clone().filter(|target| !target.is_empty())
}

/// An ephemeral container as a container: it has no ports, probes, hooks or resources.
fn plain(container: &EphemeralContainer) -> Container {
    let container = container.clone();
    Container {
        name: container.name,
        image: container.image,
        command: container.command,
        args: container.args,
        working_dir: container.working_dir,
        env_from: container.env_from,
        env: container.env,
        volume_mounts: container.volume_mounts,
        volume_devices: container.volume_devices,
        termination_message_path: container.termination_message_path,
        termination_message_policy: container.termination_message_policy,
        image_pull_policy: container.image_pull_policy,
        security_context: container.security_context,
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        ..Container::default()
    }
}

/// Where a container stands in the object, for events: `spec.containers{web}`.
pub(crate) fn field_path(unit: &Unit) -> String {
    let list = match unit.role {
        Role::Main => "containers",
        Role::Ephemeral => "ephemeralContainers",
        Role::Init | Role::Sidecar => "initContainers",
    };
    format!("spec.{list}{{{}}}", unit.name)
}

fn unit(container: &Container, role: Role, restart: Restart) -> Unit {
    Unit { name: container.name.clone(), role, restart, amounts: Amounts::of(container) }
}

fn restart(text: &str) -> Restart {
    match text {
        "OnFailure" => Restart::OnFailure,
        "Never" => Restart::Never,
        _ => Restart::Always,
    }
}
