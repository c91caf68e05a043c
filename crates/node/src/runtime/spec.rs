//! What a caller asks of the runtime: sandboxes, containers and commands inside them.
//!
//! Invariant: these are plain values with everything already decided (references resolved, paths
//! made, limits computed). The runtime adds nothing but mechanics, so what a pod means is decided
//! in one place, by the agent.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cgroup::{Limits, Qos};
use crate::image::Image;

/// Which pod a sandbox or a container belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PodRef {
    pub uid: String,
    pub namespace: String,
    pub name: String,
}

/// The shared part of a pod: namespaces, host name, sysctls, the pod's cgroup.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SandboxSpec {
    pub pod: PodRef,
    pub hostname: String,
    pub host_network: bool,
    pub host_ipc: bool,
    pub host_pid: bool,
    /// All containers see one process tree, whose first process is ours and only reaps.
    pub share_process_namespace: bool,
    pub sysctls: BTreeMap<String, String>,
    pub qos: Qos,
    /// Limits of the pod as a whole (the sum over its containers).
    pub limits: Limits,
}

/// A sandbox that exists. Its directory may hold `hosts` and `resolv.conf`: when a container
/// starts and the files are there, they are bind-mounted at `/etc/hosts` and `/etc/resolv.conf`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sandbox {
    pub spec: SandboxSpec,
    pub dir: PathBuf,
}

impl Sandbox {
    /// The pinned network namespace; none when the pod uses the host's.
    #[must_use]
    pub fn netns(&self) -> Option<PathBuf> {
        (!self.spec.host_network).then(|| self.dir.join("ns/net"))
    }

    /// Where the pod's `/etc/hosts` comes from.
    #[must_use]
    pub fn hosts(&self) -> PathBuf {
        self.dir.join("hosts")
    }

    /// Where the pod's `/etc/resolv.conf` comes from.
    #[must_use]
    pub fn resolv_conf(&self) -> PathBuf {
        self.dir.join("resolv.conf")
    }
}

/// How mounts made later on one side appear on the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    #[default]
    Private,
    HostToContainer,
    Bidirectional,
}

/// A host path inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    pub host: PathBuf,
    pub target: String,
    pub read_only: bool,
    pub propagation: Propagation,
}

/// A device node of the host offered to the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    pub host: PathBuf,
    pub target: String,
    /// Any of `r`, `w`, `m`.
    pub access: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seccomp {
    Unconfined,
    #[default]
    RuntimeDefault,
    /// A profile file on the node, in the JSON form Kubernetes documents.
    Localhost(PathBuf),
}

/// The security context of a container with the pod's merged in.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Security {
    pub privileged: bool,
    pub run_as_user: Option<i64>,
    pub run_as_group: Option<i64>,
    pub run_as_non_root: bool,
    /// `fsGroup` and `supplementalGroups`.
    pub supplemental_groups: Vec<i64>,
    /// With or without the `CAP_` prefix; `ALL` is understood.
    pub add_capabilities: Vec<String>,
    pub drop_capabilities: Vec<String>,
    pub read_only_root: bool,
    /// False sets no-new-privileges.
    pub allow_privilege_escalation: bool,
    pub seccomp: Seccomp,
    /// `procMount: Unmasked`.
    pub unmasked_proc: bool,
}

/// A container to start.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Unique on the node, letters and digits; [`crate::runtime::container_id`] makes one.
    pub id: String,
    pub pod: PodRef,
    pub name: String,
    pub attempt: u32,
    pub image: Image,
    /// Replaces the image's entry point (and its arguments) when not empty.
    pub command: Vec<String>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<String>,
    /// Added to the image's environment; later entries win.
    pub env: Vec<(String, String)>,
    /// Instead of the image's working directory.
    pub working_dir: Option<String>,
    pub mounts: Vec<Mount>,
    pub devices: Vec<Device>,
    pub limits: Limits,
    pub security: Security,
    /// The container whose processes this one sees and is seen by.
    #[serde(default)]
    pub joins: Option<String>,
    pub oom_score_adj: i32,
    pub tty: bool,
    pub stdin: bool,
    pub stdin_once: bool,
    /// CRI-format log file; its directory is made if missing.
    pub log_path: PathBuf,
    /// Target of the termination message file; empty means `/dev/termination-log`.
    pub termination_path: String,
    pub annotations: BTreeMap<String, String>,
}

/// A command to run inside a running container.
#[derive(Clone, Debug, Default)]
pub struct ExecSpec {
    pub args: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Added to the container's environment.
    pub env: Vec<(String, String)>,
    /// Initial size of the terminal.
    pub size: Option<Size>,
}

/// A terminal's size in character cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}
