//! What all pod workers of a node share.
//!
//! Invariant: read-only after start, except for the caches that lock themselves.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use informer::Informer;
use k8s_openapi::api::core::v1::{Pod, Service};
use parking_lot::Mutex;

use super::engine::Engine;
use super::security::Defaults;
use crate::Network;
use crate::agent::events::Recorder;
use crate::agent::objects::Hub;
use crate::env::fields::Facts;
use crate::volume::{Places, claim};

pub(crate) struct Node {
    pub name: String,
    pub client: kube::Client,
    pub engine: Engine,
    pub network: Arc<dyn Network>,
    pub hub: Hub,
    pub events: Recorder,
    pub services: Informer<Service>,
    /// All pods of this node.
    pub pods: Informer<Pod>,
    pub host_ips: Vec<IpAddr>,
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    pub data_dir: PathBuf,
    pub run_dir: PathBuf,
    pub log_dir: PathBuf,
    pub security: Defaults,
    pub insecure_registries: Vec<String>,
    pub memory_capacity: u64,
    /// Allocatable amounts, for resourceFieldRef; the addresses are filled in per pod.
    pub facts: Facts,
    pub pulls: Pulls,
    /// What decides which volumes can be had here.
    pub me: claim::Me,
}

impl Node {
    pub(crate) fn places(&self, uid: &str) -> Places {
        Places { data: self.data_dir.join("volumes").join(uid), run: self.run_dir.join("volumes").join(uid) }
    }

    /// `<logs>/<namespace>_<name>_<uid>`
    pub(crate) fn logs(&self, pod: &Pod) -> PathBuf {
        let meta = &pod.metadata;
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        self.log_dir.join(format!("{}_{}_{}", part(&meta.namespace), part(&meta.name), part(&meta.uid)))
    }

    pub(crate) fn facts(&self, pod_ips: &[IpAddr]) -> Facts {
        Facts {
            node_name: self.name.clone(),
            host_ips: self.host_ips.clone(),
            pod_ips: pod_ips.to_vec(),
            ..self.facts.clone()
        }
    }
}

/// One pull at a time per image: whoever comes second finds it there.
#[derive(Default)]
pub(crate) struct Pulls {
    locks: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl Pulls {
    pub(crate) fn lock(&self, reference: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock();
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(reference).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(reference.to_owned(), Arc::downgrade(&lock));
        lock
    }
}
