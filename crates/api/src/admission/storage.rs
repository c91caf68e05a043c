//! StorageObjectInUseProtection and PersistentVolumeClaimResize: what is used cannot vanish, and only what can grow does.

use async_trait::async_trait;
use base::Quantity;
use serde_json::{Value, json};

use super::{Admission, Admit, Operation, push};
use crate::{
    core::{Core, text},
    error::ApiError,
};

/// Which finalizer keeps which kind: group, plural, finalizer.
const KEPT: &[(&str, &str, &str)] = &[
    ("", "persistentvolumes", "kubernetes.io/pv-protection"),
    ("", "persistentvolumeclaims", "kubernetes.io/pvc-protection"),
    ("storage.k8s.io", "volumeattributesclasses", "kubernetes.io/vac-protection"),
];

pub(super) struct StorageObjectInUseProtection;

#[async_trait]
impl Admission for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    async fn mutate(&self, _core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        if admit.operation != Operation::Create || !admit.subresource.is_empty() {
            return Ok(());
        }
        let row = KEPT.iter().find(|(group, plural, _)| admit.kind.group == *group && admit.kind.plural == *plural);
        let (Some((_, _, finalizer)), Some(object)) = (row, admit.object.as_deref_mut()) else { return Ok(()) };
        let held = object["metadata"]["finalizers"].as_array().map(Vec::as_slice).unwrap_or_default();
        if !held.iter().any(|one| one == finalizer) {
            push(&mut object["metadata"]["finalizers"], json!(finalizer));
        }
        Ok(())
    }
}

pub(super) struct PersistentVolumeClaimResize;

#[async_trait]
impl Admission for PersistentVolumeClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        let claim = admit.kind.group.is_empty() && admit.kind.plural == "persistentvolumeclaims";
        let (Some(new), Some(old)) = (admit.object.as_deref(), admit.old) else { return Ok(()) };
        if !claim || !admit.subresource.is_empty() || size(new) <= size(old) {
            return Ok(());
        }
        let refuse = |why: &str| Err(ApiError::denied(admit.kind, admit.name, why));
        if text(old, "/status/phase") != "Bound" {
            return refuse("Only bound persistent volume claims can be expanded");
        }
        let name = class(new);
        let known = core.kind("storage.k8s.io", "storageclasses").filter(|_| !name.is_empty() && name == class(old));
        let grows =
            known.and_then(|kind| core.get(kind, "", name)).is_some_and(|class| class["allowVolumeExpansion"] == true);
        if grows {
            return Ok(());
        }
        refuse(
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize",
        )
    }
}

fn size(claim: &Value) -> Quantity {
    text(claim, "/spec/resources/requests/storage").parse().unwrap_or_default()
}

fn class(claim: &Value) -> &str {
    match claim.pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class").and_then(Value::as_str) {
        Some(class) => class,
        None => text(claim, "/spec/storageClassName"),
    }
}
