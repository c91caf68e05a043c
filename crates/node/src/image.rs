//! Container images on this node: pulled or loaded, unpacked one directory per layer.
//!
//! Invariant: a layer directory is complete or absent (made aside, synced, renamed), and the index
//! names only images whose layers exist. Any process may change the store: writers hold the file
//! lock, readers notice a new index by its inode and modification time.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// An image ready to run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:...` of the image's configuration: the image id.
    pub id: String,
    /// `sha256:...` of the manifest it came with.
    pub digest: String,
    /// Full references with a tag (`docker.io/library/busybox:latest`).
    pub repo_tags: Vec<String>,
    /// Full references with a digest (`docker.io/library/busybox@sha256:...`).
    pub repo_digests: Vec<String>,
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

/// Who we are to a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    #[default]
    Anonymous,
    Basic {
        username: String,
        password: String,
    },
    Bearer(String),
}

/// How far a pull is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub layers: usize,
    pub layers_done: usize,
    pub bytes: u64,
    pub bytes_done: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("image reference {0:?} is not valid: {1}")]
    Reference(String, &'static str),
    #[error("cannot {what}")]
    Io { what: String, source: std::io::Error },
    #[error("{archive} is not an image archive: {why}")]
    Archive { archive: String, why: String },
    #[error("image {0} is damaged: {1}")]
    Damaged(String, String),
}

#[derive(Debug, thiserror::Error)]
pub enum PullError {
    #[error(transparent)]
    Store(#[from] Error),
    #[error("failed to pull and unpack image {reference:?}: not found")]
    NotFound { reference: String },
    #[error("failed to pull and unpack image {reference:?}: the registry refused our credentials: {message}")]
    Denied { reference: String, message: String },
    #[error("failed to pull and unpack image {reference:?}: {message}")]
    Registry { reference: String, message: String },
}

/// How to reach registries.
#[derive(Clone, Debug, Default)]
pub struct PullOptions {
    pub auth: Auth,
    /// Registries (`host[:port]`) spoken to over plain http; localhost always is.
    pub insecure: Vec<String>,
}

/// The image store below `<data dir>/images`. Cloning shares it.
#[derive(Clone)]
pub struct Store {}

impl Store {
    /// Opens or makes the store. Cheap; several processes may have it open.
    pub fn open(_dir: &std::path::Path) -> Result<Self, Error> {
        Ok(Self {})
    }

    /// The image a reference (or an image id) names, if it is on this node.
    pub fn resolve(&self, _reference: &str) -> Result<Option<Image>, Error> {
        Ok(None)
    }

    pub fn list(&self) -> Result<Vec<Image>, Error> {
        Ok(Vec::new())
    }

    /// Loads every image of an OCI layout or docker archive (plain, gzip or zstd). Blocking.
    pub fn load_archive(&self, _path: &std::path::Path) -> Result<Vec<Image>, Error> {
        Ok(Vec::new())
    }

    /// As [`Store::load_archive`], from a stream. Blocking.
    pub fn load_reader(&self, _name: &str, _reader: impl std::io::Read) -> Result<Vec<Image>, Error> {
        Ok(Vec::new())
    }

    /// Pulls from a registry; layers that are here are not fetched again.
    pub async fn pull(
        &self,
        reference: &str,
        _options: &PullOptions,
        _progress: impl Fn(Progress) + Send + Sync + 'static,
    ) -> Result<Image, PullError> {
        Err(PullError::NotFound { reference: reference.to_owned() })
    }

    /// Forgets a reference, or with an image id all its references. False when there was none.
    pub fn remove(&self, _reference: &str) -> Result<bool, Error> {
        Ok(false)
    }

    /// Deletes images without references (except `in_use`, by id) and layers without images;
    /// returns the bytes freed.
    pub fn collect_garbage(&self, _in_use: &std::collections::BTreeSet<String>) -> Result<u64, Error> {
        Ok(0)
    }
}
