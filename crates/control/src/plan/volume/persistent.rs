//! The next step of a volume.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::ResourceExt;

use super::{About, PROVISIONED_BY, Step, bind, claimed_by, matching, volume_of};

/// What to do, and whether the claim has to act.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    pub step: Step,
    pub wake_claim: bool,
}

impl From<Step> for Plan {
    fn from(step: Step) -> Self {
        Self { step, wake_claim: false }
    }
}

fn phase_of(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("")
}

/// Whether its claim must be known for sure before the volume is given up: a cache may lag behind who made both.
pub fn must_be_sure(volume: &PersistentVolume) -> bool {
    !matches!(phase_of(volume), "Released" | "Failed")
}

/// Decides; `claim` is the one that the volume names, with that uid.
pub fn plan(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Plan {
    let only = |write| Plan::from(Step { write, notes: Vec::new() });
    let Some(held) = claimed_by(volume) else { return only(bind::phase(volume, "Available", "")) };
    if held.uid.as_deref().unwrap_or("").is_empty() {
        return only(bind::phase(volume, "Available", "")); // reserved; the claim comes for it
    }
    let Some(claim) = claim else { return release(volume).into() };
    if volume_of(claim).is_empty() {
        if matching::differ_in_mode(volume, claim) {
            let (of_volume, of_claim) = (volume.name_any(), claim.name_any());
            let step = Step::default()
                .telling(
                    About::Volume,
                    true,
                    "VolumeMismatch",
                    format!("Cannot bind PersistentVolume to requested PersistentVolumeClaim {of_claim:?} due to incompatible volumeMode."),
                )
                .telling(
                    About::Claim,
                    true,
                    "VolumeMismatch",
                    format!("Cannot bind PersistentVolume {of_volume:?} to requested PersistentVolumeClaim due to incompatible volumeMode."),
                );
            return step.into();
        }
        return Plan { step: Step::default(), wake_claim: true };
    }
    if volume_of(claim) == volume.name_any() {
        return only(bind::phase(volume, "Bound", ""));
    }
    // its claim went with another volume
    if volume.annotations().contains_key(PROVISIONED_BY) && reclaim_policy(volume) == "Delete" {
        return release(volume).into();
    }
    only(Some(bind::undo(volume)))
}

fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}

/// A volume that nobody claims any more. A failure told before stays.
fn release(volume: &PersistentVolume) -> Step {
    let phase = phase_of(volume);
    if phase != "Released" && phase != "Failed" {
        return Step { write: bind::phase(volume, "Released", ""), notes: Vec::new() };
    }
    let fail = |reason: &'static str, message: String| match bind::phase(volume, "Failed", &message) {
        None => Step::default(),
        write => Step { write, notes: Vec::new() }.telling(About::Volume, true, reason, message),
    };
    match reclaim_policy(volume) {
        "Retain" => Step::default(),
        "Delete" if is_deleted_by_others(volume) => Step::default(),
        "Delete" => {
            let name = volume.name_any();
            let why =
                format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched");
            fail("VolumeFailedDelete", why)
        }
        "Recycle" => fail("VolumeFailedRecycle", "No recycler plugin found for the volume!".into()),
        _ => fail("VolumeUnknownReclaimPolicy", "Volume has unrecognized PersistentVolumeReclaimPolicy".into()),
    }
}

/// Who provisioned it from outside, or the driver, deletes it.
fn is_deleted_by_others(volume: &PersistentVolume) -> bool {
    let by = volume.annotations().get(PROVISIONED_BY).filter(|by| !by.is_empty());
    by.map_or_else(
        || volume.spec.as_ref().is_some_and(|spec| spec.csi.is_some()),
        |by| !by.starts_with("kubernetes.io/"),
    )
}
