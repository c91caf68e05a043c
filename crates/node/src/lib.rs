//! The node: pods as directories, namespaces, cgroups and one shim process per container.
//!
//! Knows Linux and the Kubernetes API; does not know networks (see `Network`) nor the API server.
//! Reading order: `runtime` (containers), `shim` (the process beside each of them), `image`, `cgroup`.

mod capability;
pub mod cgroup;
pub mod image;
pub mod runtime;
mod sandbox;
mod seccomp;
pub mod shim;
