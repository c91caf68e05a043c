//! Claims and volumes: who is bound to whom, in which phase, and what becomes of a volume that lost its claim.
//!
//! Invariant: a step is one write, decided from what both objects say by then, so whoever is killed between two writes is
//! continued by the next look. The volume is bound before the claim: it may wait for a claim, a claim never has two.
//! - [`matching`]: which volume a claim may have.
//! - [`bind`]: the four writes of a binding, and how it is undone.
//! - [`claim`], [`persistent`]: the next step of each side.
//! - [`protect`]: finalizers that keep what is used; [`ephemeral`]: claims made for the volumes of one pod.
//!
//! Not as upstream: there are no volume plugins in the controllers. A volume that only such a plugin could delete or
//! recycle fails as it does upstream without the plugin, and claims of in-tree classes are told so.

pub mod bind;
pub mod claim;
pub mod ephemeral;
pub mod matching;
pub mod persistent;
pub mod protect;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
pub const PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
pub const BETA_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
const BETA_CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const DEFAULT_CLASS: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// The one write of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    Volume(Box<PersistentVolume>),
    VolumeStatus(Box<PersistentVolume>),
    Claim(Box<PersistentVolumeClaim>),
    ClaimStatus(Box<PersistentVolumeClaim>),
}

/// Whom a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    Claim,
    Volume,
}

/// What to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub about: About,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

/// What to do next. Notes beside a write belong to it and are told once it is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    pub write: Option<Write>,
    pub notes: Vec<Note>,
}

impl Step {
    fn write(write: Write) -> Self {
        Self { write: Some(write), notes: Vec::new() }
    }

    fn telling(mut self, about: About, warning: bool, reason: &'static str, message: impl Into<String>) -> Self {
        self.notes.push(Note { about, warning, reason, message: message.into() });
        self
    }
}

/// The class a claim asks for; empty for none.
pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let named = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    claim.annotations().get(BETA_CLASS).map(String::as_str).or(named).unwrap_or("")
}

/// Whether a claim has chosen, be it that it wants none.
fn has_class(claim: &PersistentVolumeClaim) -> bool {
    claim.annotations().contains_key(BETA_CLASS)
        || claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some())
}

/// The class of a volume; empty for none.
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let named = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    volume.annotations().get(BETA_CLASS).map(String::as_str).or(named).unwrap_or("")
}

/// Whether claims of the class wait for a pod.
pub fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer")
}

/// The class for claims that have not chosen: the newest that says so, then the first by name.
pub fn default_class<'a>(classes: impl IntoIterator<Item = &'a StorageClass>) -> Option<&'a StorageClass> {
    let is_default = |class: &&StorageClass| {
        DEFAULT_CLASS.iter().any(|key| class.annotations().get(*key).is_some_and(|value| value == "true"))
    };
    let born = |class: &StorageClass| class.metadata.creation_timestamp.as_ref().map(|time| time.0);
    classes
        .into_iter()
        .filter(is_default)
        .min_by(|a, b| born(b).cmp(&born(a)).then_with(|| a.name_any().cmp(&b.name_any())))
}

/// Whom the volume is reserved for or bound to.
pub fn claimed_by(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Whether the reference means this claim, by name and, if it says so, uid.
pub fn refers_to(reference: &ObjectReference, claim: &PersistentVolumeClaim) -> bool {
    reference.name.as_deref() == claim.metadata.name.as_deref()
        && reference.namespace.as_deref() == claim.metadata.namespace.as_deref()
        && reference.uid.as_deref().is_none_or(|uid| uid.is_empty() || claim.metadata.uid.as_deref() == Some(uid))
}

/// The volume that the claim names; empty for none.
pub fn volume_of(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or("")
}

/// The names of the claims that the pod's volumes mean, those made for it included.
pub fn claims_of(pod: &Pod) -> impl Iterator<Item = String> + '_ {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(claim), _) => Some(claim.claim_name.clone()),
        (None, Some(_)) => Some(ephemeral::claim_name(pod, &volume.name)),
        (None, None) => None,
    })
}

#[cfg(test)]
pub(crate) mod tests;
