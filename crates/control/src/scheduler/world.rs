//! Everything one scheduler process knows.
//!
//! Invariant: changed only under the shell's lock, and only through what the API showed or what was decided here.

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use super::cache::Cache;
use super::devices::Devices;
use super::facts::Facts;
use super::hints::Context;
use super::node::NodeFacts;
use super::nominated::Nominated;
use super::pod::{PodInfo, Shapes};
use super::profile::Profile;
use super::storage::Storage;
use crate::plan::labels::Labels;

/// All that decisions are made on.
#[derive(Debug, Default)]
pub struct World {
    pub(super) cache: Cache,
    pub(super) facts: Facts,
    pub(super) storage: Storage,
    pub(super) devices: Devices,
    pub(super) nominated: Nominated,
    pub(super) shapes: Shapes,
    /// By scheduler name.
    pub(super) profiles: HashMap<String, Arc<Profile>>,
    pub(super) clock: Clock,
}

/// What time it is. Decisions are made at one moment, unless they are told otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(pub(super) fn() -> jiff::Timestamp);

impl Default for Clock {
    fn default() -> Self {
        Self(|| jiff::Timestamp::UNIX_EPOCH)
    }
}

impl World {
    /// A world without nodes and pods in which these profiles decide.
    pub fn new(profiles: impl IntoIterator<Item = Profile>) -> Self {
        let profiles = profiles.into_iter().map(|profile| (profile.name.clone(), Arc::new(profile)));
        Self { profiles: profiles.collect(), ..Self::default() }
    }
}

impl World {
    /// What hints are decided on for pods of the profile.
    pub(super) fn context<'a>(&'a self, profile: &'a Profile) -> Context<'a> {
        Context { profile, facts: &self.facts, devices: &self.devices }
    }
}

/// For whoever drives decisions without an API.
impl World {
    /// A node appeared or changed.
    pub fn put_node(&mut self, node: &Node) {
        self.cache.put_node(Arc::new(NodeFacts::read(node)));
    }

    /// A service selects these pods.
    pub fn put_service(&mut self, namespace: &str, name: &str, selector: Labels) {
        self.facts.put_service(namespace, name, Some(selector));
    }

    /// Reads a pod as the API shows it.
    ///
    /// # Errors
    /// When the text is no pod.
    pub fn read_pod(&mut self, text: &str) -> serde_json::Result<Arc<PodInfo>> {
        Ok(Arc::new(self.shapes.read(serde_json::from_str(text)?)))
    }

    /// Counts the pod on the node from now on.
    pub fn assume(&mut self, pod: &PodInfo, node: &Arc<str>) {
        self.cache.assume(Arc::new(pod.on(node)));
    }
}
