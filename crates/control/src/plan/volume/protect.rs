//! Finalizers that keep a claim while a pod uses it, and a volume while it is bound.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Resource, ResourceExt};

use super::super::pod;
use super::ephemeral;

pub const CLAIM: &str = "kubernetes.io/pvc-protection";
pub const VOLUME: &str = "kubernetes.io/pv-protection";
pub const ATTRIBUTES: &str = "kubernetes.io/vac-protection";

/// What the object waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    Nothing,
    /// The finalizer, which admission gives to what is new.
    Finalizer,
    /// To be let go, once it is not used.
    Release,
}

/// What the object needs of `finalizer`.
pub fn needs<K: Resource>(object: &K, finalizer: &str) -> Needs {
    let has = object.finalizers().iter().any(|one| one == finalizer);
    match (object.meta().deletion_timestamp.is_some(), has) {
        (true, true) => Needs::Release,
        (false, false) => Needs::Finalizer,
        _ => Needs::Nothing,
    }
}

/// The object with the finalizer, or without.
pub fn changed<K: Resource + Clone>(object: &K, finalizer: &str, has: bool) -> K {
    let mut next = object.clone();
    let finalizers = next.finalizers_mut();
    finalizers.retain(|one| one != finalizer);
    if has {
        finalizers.push(finalizer.to_owned());
    }
    next
}

/// Whether the pod keeps the claim. A pod without a node does not: the node will not start it with a claim that is going.
pub fn uses(one: &Pod, claim: &PersistentVolumeClaim) -> bool {
    if pod::node_name(one).is_empty() || one.namespace() != claim.namespace() {
        return false;
    }
    let name = claim.name_any();
    let shut_down = one.metadata.deletion_timestamp.is_some() && one.metadata.deletion_grace_period_seconds == Some(0);
    one.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).any(|volume| {
        volume.persistent_volume_claim.as_ref().is_some_and(|source| source.claim_name == name)
            || (!shut_down
                && volume.ephemeral.is_some()
                && ephemeral::claim_name(one, &volume.name) == name
                && ephemeral::is_for(one, claim))
    })
}

/// Whether the volume is in use: its phase tells.
pub fn is_bound(volume: &PersistentVolume) -> bool {
    volume.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound"))
}

/// Whether the class of attributes is used by the claim or volume.
pub fn claim_uses_attributes(claim: &PersistentVolumeClaim, class: &str) -> bool {
    let status = claim.status.as_ref();
    let names = [
        claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref()),
        status.and_then(|status| status.current_volume_attributes_class_name.as_deref()),
        status.and_then(|status| status.modify_volume_status.as_ref()?.target_volume_attributes_class_name.as_deref()),
    ];
    names.contains(&Some(class))
}

/// The same of a volume.
pub fn volume_uses_attributes(volume: &PersistentVolume, class: &str) -> bool {
    volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref()) == Some(class)
}
