//! The node: pods as directories, namespaces, cgroups and one shim process per container.
//!
//! Knows Linux and the Kubernetes API; does not know networks (see [`Network`]) nor the API server.
//! Reading order: `agent` (what runs), `pod` (one worker per pod), `status`, `env`, `volume`, `probe`
//! (its parts), `server` (the kubelet API); below them `runtime` (containers), `shim` (the process
//! beside each of them), `image`, `cgroup`.

mod agent;
mod env;
pub mod hollow;
mod pod;
mod probe;
mod server;
mod status;
mod volume;

mod capability;
pub mod cgroup;
pub mod image;
pub mod runtime;
mod sandbox;
mod seccomp;
pub mod shim;

use std::net::IpAddr;
use std::path::Path;

use async_trait::async_trait;

pub use agent::{Config, LocalVolumes, describe_host, forget_logs, purge, run};
pub use runtime::PodRef;

/// Connects pods to a network. The agent calls it and knows nothing else of networks.
#[async_trait]
pub trait Network: Send + Sync {
    /// Connects the pod whose network namespace is at `netns`; the pod's addresses. Attaching a pod
    /// that is attached changes nothing and gives the same addresses.
    async fn attach(&self, pod: &PodRef, netns: &Path) -> anyhow::Result<Vec<IpAddr>>;

    /// Gives the pod's addresses back. Fine for a pod that is not attached.
    async fn detach(&self, uid: &str) -> anyhow::Result<()>;
}
