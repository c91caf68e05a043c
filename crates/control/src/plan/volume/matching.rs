//! Which volume a claim may have (upstream `FindMatchingVolume`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::Quantity;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use kube::ResourceExt;

use super::super::labels;
use super::{claimed_by, class_of_claim, class_of_volume, refers_to};

/// What a resource list says of storage; nothing counts as zero.
pub fn storage(list: Option<&BTreeMap<String, Text>>) -> Quantity {
    list.and_then(|list| list.get("storage")).and_then(|text| text.0.parse().ok()).unwrap_or_default()
}

/// How much the claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    storage(claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()))
}

/// How much the volume holds.
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

fn modes(list: Option<&Vec<String>>) -> BTreeSet<&str> {
    list.into_iter().flatten().map(String::as_str).collect()
}

fn modes_of_volume(volume: &PersistentVolume) -> BTreeSet<&str> {
    modes(volume.spec.as_ref().and_then(|spec| spec.access_modes.as_ref()))
}

fn modes_of_claim(claim: &PersistentVolumeClaim) -> BTreeSet<&str> {
    modes(claim.spec.as_ref().and_then(|spec| spec.access_modes.as_ref()))
}

/// Whether one is a file system and the other a block device.
pub fn differ_in_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()).unwrap_or("Filesystem");
    of_volume != claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()).unwrap_or("Filesystem")
}

fn attributes_differ(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let of_volume = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let of_claim = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    of_volume.unwrap_or("") != of_claim.unwrap_or("")
}

/// Why a volume that the claim names cannot be its volume.
pub fn unfit(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Option<String> {
    if volume.metadata.deletion_timestamp.is_some() {
        return Some(format!("the volume is marked for deletion {:?}", volume.name_any()));
    }
    let why = if capacity(volume).value() < requested(claim).value() {
        "requested PV is too small"
    } else if class_of_volume(volume) != class_of_claim(claim) {
        "storageClassName does not match"
    } else if attributes_differ(volume, claim) {
        "volumeAttributesClassName does not match"
    } else if differ_in_mode(volume, claim) {
        "incompatible volumeMode"
    } else if !modes_of_volume(volume).is_superset(&modes_of_claim(claim)) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.to_owned())
}

/// The volume that is reserved for the claim, or else the smallest that fits among those that can the least besides.
/// While `delayed` only a reserved one is given: the scheduler chooses among the others.
pub fn find<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &'a [Arc<PersistentVolume>],
    delayed: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let wanted = modes_of_claim(claim);
    let mut groups: BTreeMap<(usize, Vec<&str>), Vec<&'a Arc<PersistentVolume>>> = BTreeMap::new();
    for volume in volumes {
        let modes = modes_of_volume(volume);
        if modes.is_superset(&wanted) {
            groups.entry((modes.len(), modes.into_iter().collect())).or_default().push(volume);
        }
    }
    groups.into_values().find_map(|volumes| find_among(claim, &volumes, delayed))
}

fn find_among<'a>(
    claim: &PersistentVolumeClaim,
    volumes: &[&'a Arc<PersistentVolume>],
    delayed: bool,
) -> Option<&'a Arc<PersistentVolume>> {
    let size = requested(claim);
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let mut smallest: Option<(&'a Arc<PersistentVolume>, Quantity)> = None;
    for volume in volumes.iter().copied() {
        let reserved = claimed_by(volume).map(|reference| refers_to(reference, claim));
        let held = capacity(volume);
        if reserved == Some(false)
            || held < size
            || differ_in_mode(volume, claim)
            || attributes_differ(volume, claim)
            || volume.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        if reserved == Some(true) {
            return Some(volume);
        }
        let available = volume.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Available"));
        let selected = selector.is_none_or(|selector| labels::matches(selector, volume.labels()));
        if delayed || !available || !selected || class_of_volume(volume) != class_of_claim(claim) {
            continue;
        }
        if smallest.as_ref().is_none_or(|(_, least)| held < *least) {
            smallest = Some((volume, held));
        }
    }
    smallest.map(|(volume, _)| volume)
}
