//! What the runtime reports: states, exits, and the errors of each operation.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::spec::{ContainerSpec, Sandbox};

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 128 + the signal when a signal ended it, as upstream reports.
    pub code: i32,
    pub signal: Option<i32>,
    /// The kernel killed it for exceeding its memory limit.
    pub oom: bool,
    pub finished: Timestamp,
    /// Set when the end was not observed: the container's shim had died.
    pub lost: bool,
}

impl Exit {
    /// The `reason` of a terminated container state.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self { lost: true, .. } => "ContainerStatusUnknown",
            Self { oom: true, .. } => "OOMKilled",
            Self { code: 0, .. } => "Completed",
            _ => "Error",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Exited(Exit),
}

/// A container the runtime knows, running or ended, not yet removed.
#[derive(Clone, Debug)]
pub struct Container {
    pub spec: std::sync::Arc<ContainerSpec>,
    /// Process id on the host.
    pub pid: u32,
    pub started: Timestamp,
    pub state: State,
    /// The numeric user the container runs as.
    pub uid: u32,
    /// Host file behind the termination message path.
    pub termination_log: PathBuf,
}

/// What a restarted agent found.
#[derive(Clone, Debug, Default)]
pub struct Adopted {
    pub sandboxes: Vec<Sandbox>,
    /// Lost containers are among them, as exited with [`Exit::lost`].
    pub containers: Vec<Container>,
}

/// Which step of starting a container failed; the names are the reasons upstream reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartReason {
    /// The container's definition cannot be carried out (unknown user, bad mount...).
    CreateContainerConfigError,
    /// Something failed before the container existed.
    CreateContainerError,
    /// The container's program could not be run.
    StartError,
}

impl StartReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateContainerConfigError => "CreateContainerConfigError",
            Self::CreateContainerError => "CreateContainerError",
            Self::StartError => "StartError",
        }
    }
}

/// A container did not start. Upstream shows `message` to the user; [`StartReason::StartError`]
/// counts as an exit with code 128 (`RunContainerError` while waiting for the retry).
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    pub reason: StartReason,
    pub message: String,
}

impl StartError {
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self { reason: StartReason::CreateContainerConfigError, message: message.into() }
    }

    pub(crate) fn create(message: impl Into<String>) -> Self {
        Self { reason: StartReason::CreateContainerError, message: message.into() }
    }

    pub(crate) fn start(message: impl Into<String>) -> Self {
        Self { reason: StartReason::StartError, message: message.into() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The message is as upstream's runtime words it (`exec: "x": executable file not found in $PATH`).
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    PermissionDenied(String),
    #[error("{0}")]
    Failed(String),
}

/// Any other failure of the runtime.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no container {0}")]
    NoContainer(String),
    #[error("cannot {what}")]
    Io { what: String, source: std::io::Error },
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::Error),
    #[error("cannot make the sandbox of pod {pod}: {message}")]
    Sandbox { pod: String, message: String },
    #[error("attempting to set {what} memory limit ({limit}) below current usage ({used})")]
    TooSmall { what: String, limit: u64, used: u64 },
    #[error("container {id}: its shim does not answer: {message}")]
    Shim { id: String, message: String },
}

impl Error {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
