//! Sandboxes and containers of this node, seen from the agent.
//!
//! Invariant: all state is in files under the run directory and in the kernel; the agent's memory
//! is a cache of it, rebuilt by [`Runtime::adopt`] after a restart.
//! Invariant: libcontainer is never called here. Each container has a [`crate::shim`] process of
//! its own, which outlives the agent.

pub mod session;
pub mod spec;
pub mod status;

use std::path::PathBuf;
use std::time::Duration;

pub use session::{Control, Reader, Session, Writer};
pub use spec::{
    ContainerSpec, Device, ExecSpec, Mount, PodRef, Propagation, Sandbox, SandboxSpec, Seccomp, Security, Size,
};
pub use status::{Adopted, Container, Error, ExecError, Exit, StartError, StartReason, State};

use crate::cgroup::Stats;

/// Where a cluster's runtime keeps its things.
#[derive(Clone, Debug)]
pub struct Config {
    pub cluster: String,
    pub run_dir: PathBuf,
    pub data_dir: PathBuf,
    /// Executable and first arguments that reach [`crate::shim::main`], usually `[our exe, "shim"]`.
    pub shim: Vec<std::ffi::OsString>,
}

#[derive(Clone)]
pub struct Runtime {}

impl Runtime {
    /// Prepares the directories and finds out what the kernel offers.
    pub fn open(config: Config, _children: tasks::Children) -> Result<Self, Error> {
        drop(config);
        Ok(Self {})
    }

    /// Finds what an earlier agent left: call once, before anything else.
    pub async fn adopt(&self) -> Result<Adopted, Error> {
        Ok(Adopted::default())
    }

    /// Makes the pod's namespaces and cgroup; a sandbox that exists is returned as it is.
    pub async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, Error> {
        Err(Error::NoContainer(spec.pod.uid))
    }

    #[must_use]
    pub fn sandbox(&self, _uid: &str) -> Option<Sandbox> {
        None
    }

    /// Kills and removes whatever is left in the sandbox, then the sandbox. Fine when absent.
    pub async fn remove_sandbox(&self, _uid: &str) -> Result<(), Error> {
        Ok(())
    }

    /// Starts a container; its process runs when this returns.
    pub async fn start(&self, _spec: ContainerSpec) -> Result<Container, StartError> {
        Err(StartError::create(""))
    }

    #[must_use]
    pub fn containers(&self) -> Vec<Container> {
        Vec::new()
    }

    #[must_use]
    pub fn container(&self, _id: &str) -> Option<Container> {
        None
    }

    /// Waits for the container's end (pushed by the kernel, not polled).
    pub async fn wait(&self, id: &str) -> Result<Exit, Error> {
        Err(Error::NoContainer(id.to_owned()))
    }

    pub fn signal(&self, id: &str, _signal: i32) -> Result<(), Error> {
        Err(Error::NoContainer(id.to_owned()))
    }

    /// Sends `signal`, and SIGKILL after `grace`; returns how it ended.
    pub async fn stop(&self, id: &str, _signal: i32, _grace: Duration) -> Result<Exit, Error> {
        Err(Error::NoContainer(id.to_owned()))
    }

    /// Kills the container if it lives, unmounts and deletes everything but its log.
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        Err(Error::NoContainer(id.to_owned()))
    }

    pub async fn exec(&self, id: &str, _spec: ExecSpec) -> Result<Session, ExecError> {
        Err(ExecError::NotRunning(id.to_owned()))
    }

    /// Joins the output (and input, if it has one) of the container's own process.
    pub async fn attach(&self, id: &str) -> Result<Session, ExecError> {
        Err(ExecError::NotRunning(id.to_owned()))
    }

    /// After the log file was renamed: continue in a new one.
    pub async fn reopen_log(&self, id: &str) -> Result<(), Error> {
        Err(Error::NoContainer(id.to_owned()))
    }

    pub fn stats(&self, id: &str) -> Result<Stats, Error> {
        Err(Error::NoContainer(id.to_owned()))
    }

    pub fn pod_stats(&self, uid: &str) -> Result<Stats, Error> {
        Err(Error::NoContainer(uid.to_owned()))
    }

    /// What the container wrote to its termination message path, at most 4096 bytes.
    #[must_use]
    pub fn termination_message(&self, _id: &str) -> String {
        String::new()
    }
}

/// A new container id: 64 hexadecimal digits, as other runtimes make them.
#[must_use]
pub fn container_id() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

/// Removes everything of a cluster's runtime: processes, mounts, cgroups, files under `run_dir`
/// and the containers under `data_dir` (the images stay). Works without a running agent.
pub fn purge(_run_dir: &std::path::Path, _data_dir: &std::path::Path, _cluster: &str) -> Result<(), Error> {
    Ok(())
}
