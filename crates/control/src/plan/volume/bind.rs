//! The writes of a binding, one after the other, and how a binding is undone.

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec};
use kube::ResourceExt;

use super::{BIND_COMPLETED, BOUND_BY_CONTROLLER, Write, claimed_by, matching, refers_to, volume_of};

/// What of the size of a volume its file system does not have yet.
const PRE_RESIZE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

/// The next write that binds them, if one is missing: the volume, its phase, the claim, its status.
pub fn next(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<Write> {
    volume_to_claim(volume, claim)
        .or_else(|| phase(volume, "Bound", ""))
        .or_else(|| claim_to_volume(claim, volume))
        .or_else(|| status(claim, "Bound", Some(volume)))
}

fn volume_to_claim(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<Write> {
    let (name, namespace, uid) =
        (claim.metadata.name.clone(), claim.metadata.namespace.clone(), claim.metadata.uid.clone());
    let mut next = volume.clone();
    let held = claimed_by(volume);
    if held.is_none_or(|held| (&held.name, &held.namespace, &held.uid) != (&name, &namespace, &uid)) {
        spec(&mut next).claim_ref = Some(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("PersistentVolumeClaim".into()),
            name,
            namespace,
            uid,
            resource_version: claim.resource_version(),
            ..ObjectReference::default()
        });
    }
    if !held.is_some_and(|held| refers_to(held, claim)) {
        next.annotations_mut().entry(BOUND_BY_CONTROLLER.into()).or_insert_with(|| "yes".into());
    }
    (next != *volume).then(|| Write::Volume(Box::new(next)))
}

fn claim_to_volume(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Option<Write> {
    let mut next = claim.clone();
    if volume_of(claim) != volume.name_any() {
        next.spec.get_or_insert_default().volume_name = volume.metadata.name.clone();
        next.annotations_mut().entry(BOUND_BY_CONTROLLER.into()).or_insert_with(|| "yes".into());
    }
    next.annotations_mut().entry(BIND_COMPLETED.into()).or_insert_with(|| "yes".into());
    (next != *claim).then(|| Write::Claim(Box::new(next)))
}

/// The phase of a volume, and why.
pub fn phase(volume: &PersistentVolume, phase: &str, message: &str) -> Option<Write> {
    if volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some(phase) {
        return None;
    }
    let mut next = volume.clone();
    let status = next.status.get_or_insert_default();
    status.phase = Some(phase.to_owned());
    status.message = (!message.is_empty()).then(|| message.to_owned());
    Some(Write::VolumeStatus(Box::new(next)))
}

/// The status of a claim: what its volume says of itself, or nothing. The size is told once, when the phase changes: later
/// it is for those who resize to say.
pub fn status(claim: &PersistentVolumeClaim, phase: &str, volume: Option<&PersistentVolume>) -> Option<Write> {
    let mut next = claim.clone();
    let before = claim.status.clone().unwrap_or_default();
    let status = next.status.get_or_insert_default();
    let changes = before.phase.as_deref() != Some(phase);
    status.phase = Some(phase.to_owned());
    match volume.and_then(|volume| Some((volume, volume.spec.as_ref()?))) {
        None => {
            status.access_modes = None;
            status.capacity = None;
            status.current_volume_attributes_class_name = None;
        }
        Some((volume, spec)) => {
            status.access_modes = spec.access_modes.clone();
            if changes {
                let pre = volume.annotations().get(PRE_RESIZE).filter(|text| text.parse::<base::Quantity>().is_ok());
                if let Some(pre) = pre {
                    let size = k8s_openapi::apimachinery::pkg::api::resource::Quantity(pre.clone());
                    status.capacity.get_or_insert_default().insert("storage".into(), size);
                } else if before.capacity.is_none()
                    || matching::storage(before.capacity.as_ref()) != matching::capacity(volume)
                {
                    status.capacity = spec.capacity.clone();
                }
                if before.phase.as_deref().is_none_or(|phase| phase == "Pending") && phase == "Bound" {
                    status.current_volume_attributes_class_name = spec.volume_attributes_class_name.clone();
                }
            }
        }
    }
    let same = claim.status.is_some() && next == *claim;
    (!same).then(|| Write::ClaimStatus(Box::new(next)))
}

/// A volume whose claim went with another: free again if we had bound it, reserved as before if somebody else had.
pub fn undo(volume: &PersistentVolume) -> Write {
    let mut next = volume.clone();
    if next.annotations_mut().remove(BOUND_BY_CONTROLLER).is_some() {
        spec(&mut next).claim_ref = None;
    } else if let Some(held) = &mut spec(&mut next).claim_ref {
        held.uid = None;
    }
    if next.annotations().is_empty() {
        next.metadata.annotations = None;
    }
    Write::Volume(Box::new(next))
}

fn spec(volume: &mut PersistentVolume) -> &mut PersistentVolumeSpec {
    volume.spec.get_or_insert_default()
}
