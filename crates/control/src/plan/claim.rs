//! Who owns what: sorting candidates into owned, adoptable and to be released.
//!
//! Invariant: an object with another controller is never touched, and an owner that is being deleted neither adopts nor
//! releases (as upstream `controller_ref_manager.go`).

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::{Resource, ResourceExt};
use serde_json::{Value, json};

use super::labels;

/// Candidates, sorted.
#[derive(Debug)]
pub struct Claim<K> {
    /// Controlled by us and selected.
    pub owned: Vec<Arc<K>>,
    /// Selected orphans.
    pub adopt: Vec<Arc<K>>,
    /// Controlled by us but no longer selected.
    pub release: Vec<Arc<K>>,
}

/// Sorts `candidates` for the controller object `owner`.
pub fn claim<O, K>(owner: &O, selector: &LabelSelector, candidates: impl IntoIterator<Item = Arc<K>>) -> Claim<K>
where
    O: Resource,
    K: Resource,
{
    claim_where(owner, |candidate| labels::matches(selector, candidate.labels()), candidates)
}

/// As [`claim`], for an owner who wants more than a selector says.
pub fn claim_where<O, K>(
    owner: &O,
    wants: impl Fn(&K) -> bool,
    candidates: impl IntoIterator<Item = Arc<K>>,
) -> Claim<K>
where
    O: Resource,
    K: Resource,
{
    let uid = owner.meta().uid.as_deref().unwrap_or("");
    let leaving = owner.meta().deletion_timestamp.is_some();
    let mut sorted = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for candidate in candidates {
        match controller(&*candidate) {
            Some(controller) if controller.uid == uid => {
                if wants(&candidate) {
                    sorted.owned.push(candidate);
                } else if !leaving {
                    sorted.release.push(candidate);
                }
            }
            Some(_) => {}
            None => {
                let free = !leaving && candidate.meta().deletion_timestamp.is_none();
                if free && wants(&candidate) {
                    sorted.adopt.push(candidate);
                }
            }
        }
    }
    sorted
}

/// The owner reference that is marked as the controller.
pub fn controller<K: Resource>(object: &K) -> Option<&OwnerReference> {
    object.meta().owner_references.iter().flatten().find(|reference| reference.controller == Some(true))
}

/// Whether `object` is controlled by the object with `uid`.
pub fn is_controlled_by<K: Resource>(object: &K, uid: &str) -> bool {
    controller(object).is_some_and(|reference| reference.uid == uid)
}

/// A reference that makes `owner` the controller of what carries it.
pub fn reference<O: Resource<DynamicType = ()>>(owner: &O) -> OwnerReference {
    OwnerReference {
        api_version: O::api_version(&()).into_owned(),
        kind: O::kind(&()).into_owned(),
        name: owner.name_any(),
        uid: owner.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// The merge patch that makes `owner` the controller of `object`.
pub fn adoption<O: Resource<DynamicType = ()>, K: Resource>(owner: &O, object: &K) -> Value {
    let mut references: Vec<OwnerReference> = object.meta().owner_references.clone().unwrap_or_default();
    references.retain(|one| Some(&one.uid) != owner.meta().uid.as_ref());
    references.push(reference(owner));
    owners_patch(object, &references)
}

/// The merge patch that takes the owner with `uid` off `object`.
pub fn release<K: Resource>(object: &K, uid: &str) -> Value {
    let mut references: Vec<OwnerReference> = object.meta().owner_references.clone().unwrap_or_default();
    references.retain(|one| one.uid != uid);
    owners_patch(object, &references)
}

/// Replaces the owner references of exactly the version that was seen: a concurrent change makes the patch fail.
pub(crate) fn owners_patch<K: Resource>(object: &K, references: &[OwnerReference]) -> Value {
    json!({ "metadata": {
        "uid": object.meta().uid,
        "resourceVersion": object.meta().resource_version,
        "ownerReferences": references,
    }})
}
