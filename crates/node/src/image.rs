//! Container images on this node: pulled or loaded, unpacked one directory per layer.
//!
//! Invariant: a layer directory is complete or absent (made aside, synced, renamed), and the index
//! names only images whose layers exist. Any process may change the store: writers hold the file
//! lock, readers notice a new index by its inode and modification time.
//! Compressed layers are not kept; configurations are, by digest.

mod archive;
mod layer;
mod pull;
mod reference;
mod store;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use pull::{Auth, Progress, PullError, PullOptions};
pub use reference::Reference;
pub use store::Store;

/// An image ready to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:...` of the image's configuration: the image id.
    pub id: String,
    /// `sha256:...` of the manifest it came with; empty for docker archives, which have none.
    pub digest: String,
    /// Full references with a tag (`docker.io/library/busybox:latest`).
    pub repo_tags: Vec<String>,
    /// Full references with a digest (`docker.io/library/busybox@sha256:...`).
    pub repo_digests: Vec<String>,
    /// A registry gave it, so a registry can give it again; what was only loaded from an archive cannot come back.
    pub pulled: bool,
    /// Size in bytes of the unpacked layers.
    pub size: u64,
    pub config: Config,
    /// Unpacked layers, lowest first.
    pub layers: Vec<PathBuf>,
}

/// What an image says about how to run it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    pub user: String,
    pub working_dir: String,
    pub stop_signal: Option<String>,
    /// `8080/tcp`.
    pub exposed_ports: Vec<String>,
    pub volumes: Vec<String>,
    pub labels: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("couldn't parse image name {0:?}: {1}")]
    Reference(String, &'static str),
    #[error("cannot {what}")]
    Io { what: String, source: std::io::Error },
    #[error("{archive} is not an image archive: {why}; make one with `docker save` or as an OCI layout tar")]
    Archive { archive: String, why: String },
    #[error("image {0} is damaged: {1}")]
    Damaged(String, String),
}

impl Error {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// The configuration file of an image, as registries and archives hold it.
#[derive(Deserialize)]
struct ConfigFile {
    #[serde(default)]
    config: Option<RawConfig>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Every field may be missing or null.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    env: Option<Vec<String>>,
    user: Option<String>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    exposed_ports: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    volumes: Option<std::collections::BTreeMap<String, serde_json::Value>>,
    labels: Option<std::collections::BTreeMap<String, String>>,
}

impl From<RawConfig> for Config {
    fn from(raw: RawConfig) -> Self {
        Self {
            entrypoint: raw.entrypoint.unwrap_or_default(),
            cmd: raw.cmd.unwrap_or_default(),
            env: raw.env.unwrap_or_default(),
            user: raw.user.unwrap_or_default(),
            working_dir: raw.working_dir.unwrap_or_default(),
            stop_signal: raw.stop_signal.filter(|signal| !signal.is_empty()),
            exposed_ports: raw.exposed_ports.unwrap_or_default().into_keys().collect(),
            volumes: raw.volumes.unwrap_or_default().into_keys().collect(),
            labels: raw.labels.unwrap_or_default(),
        }
    }
}
