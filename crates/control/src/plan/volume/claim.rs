//! The next step of a claim.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;

use super::super::pod;
use super::{
    About, BETA_PROVISIONER, BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONER, SELECTED_NODE, Step, Write, bind,
    claimed_by, claims_of, class_of_claim, default_class, has_class, matching, refers_to, volume_of,
    waits_for_consumer,
};

/// What a claim is decided with.
#[derive(Debug)]
pub struct Observed<'a> {
    pub volumes: &'a [Arc<PersistentVolume>],
    pub classes: &'a [Arc<StorageClass>],
    /// The pods of the claim's namespace.
    pub pods: &'a [Arc<Pod>],
}

impl Observed<'_> {
    fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name))
    }

    fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.iter().find(|class| class.metadata.name.as_deref() == Some(name))
    }
}

/// Decides.
pub fn plan(claim: &PersistentVolumeClaim, observed: &Observed<'_>) -> Step {
    if claim.annotations().contains_key(BIND_COMPLETED) {
        bound(claim, observed)
    } else if volume_of(claim).is_empty() {
        free(claim, observed)
    } else {
        asking(claim, observed)
    }
}

/// Binds, or says that there is nothing to bind any more.
fn binding(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Step {
    Step { write: bind::next(volume, claim), notes: Vec::new() }
}

/// Nothing to write, or that the claim waits.
fn pending(claim: &PersistentVolumeClaim) -> Step {
    Step { write: bind::status(claim, "Pending", None), notes: Vec::new() }
}

/// Tells, once nothing is left to write.
fn then(step: Step, warning: bool, reason: &'static str, message: impl Into<String>) -> Step {
    if step.write.is_some() { step } else { step.telling(About::Claim, warning, reason, message) }
}

/// A claim that takes any volume.
fn free(claim: &PersistentVolumeClaim, observed: &Observed<'_>) -> Step {
    let name = class_of_claim(claim);
    let class = observed.class(name).filter(|_| !name.is_empty());
    let delayed = class.is_some_and(|class| waits_for_consumer(class));
    if let Some(volume) = matching::find(claim, observed.volumes, delayed) {
        return binding(volume, claim);
    }
    if !has_class(claim)
        && let Some(class) = default_class(observed.classes.iter().map(|class| &**class))
    {
        let mut next = claim.clone();
        next.spec.get_or_insert_default().storage_class_name = class.metadata.name.clone();
        return Step::write(Write::Claim(Box::new(next)));
    }
    if delayed && !claim.annotations().contains_key(SELECTED_NODE) {
        let (reason, message) = waiting(claim, observed.pods);
        return then(pending(claim), false, reason, message);
    }
    if name.is_empty() {
        let message = "no persistent volumes available for this claim and no storage class is set";
        return then(pending(claim), false, "FailedBinding", message);
    }
    let Some(class) = class else {
        let message = format!("storageclass.storage.k8s.io {name:?} not found");
        return Step::default().telling(About::Claim, true, "ProvisioningFailed", message);
    };
    provision(claim, &class.provisioner)
}

/// For whom a claim waits that its class binds late.
fn waiting(claim: &PersistentVolumeClaim, pods: &[Arc<Pod>]) -> (&'static str, String) {
    let name = claim.name_any();
    let uses = |one: &&Arc<Pod>| {
        !pod::is_terminal(one) && pod::node_name(one).is_empty() && claims_of(one).any(|claim| claim == name)
    };
    let names: Vec<String> = pods.iter().filter(uses).map(|pod| pod.name_any()).collect();
    match names.as_slice() {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".into()),
        [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
        several => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", several.join(","))),
    }
}

/// Asks the provisioner of the class for a volume.
fn provision(claim: &PersistentVolumeClaim, provisioner: &str) -> Step {
    if provisioner.starts_with("kubernetes.io/") {
        let message = format!("no volume plugin matched name: {provisioner}");
        return Step::default().telling(About::Claim, true, "ProvisioningFailed", message);
    }
    if claim.annotations().get(PROVISIONER).is_none_or(|asked| asked != provisioner) {
        let mut next = claim.clone();
        for key in [BETA_PROVISIONER, PROVISIONER] {
            next.annotations_mut().insert(key.into(), provisioner.to_owned());
        }
        return Step::write(Write::Claim(Box::new(next)));
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    Step::default().telling(About::Claim, false, "ExternalProvisioning", message)
}

/// A claim that asks for one volume.
fn asking(claim: &PersistentVolumeClaim, observed: &Observed<'_>) -> Step {
    let Some(volume) = observed.volume(volume_of(claim)) else { return pending(claim) };
    match claimed_by(volume) {
        None => match matching::unfit(volume, claim) {
            Some(why) => {
                let message = format!("Cannot bind to requested volume {:?}: {why}", volume.name_any());
                then(pending(claim), true, "VolumeMismatch", message)
            }
            None => binding(volume, claim),
        },
        Some(held) if refers_to(held, claim) => binding(volume, claim),
        Some(_) => {
            let message = format!("volume {:?} already bound to a different claim.", volume.name_any());
            // bound by us and yet not complete: somebody took the annotation away; its phase is left alone
            let ours = claim.annotations().contains_key(BOUND_BY_CONTROLLER);
            then(if ours { Step::default() } else { pending(claim) }, true, "FailedBinding", message)
        }
    }
}

/// A claim that had a volume once.
fn bound(claim: &PersistentVolumeClaim, observed: &Observed<'_>) -> Step {
    let lost = |reason: &'static str, message: &str| {
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            return Step::default();
        }
        Step { write: bind::status(claim, "Lost", None), notes: Vec::new() }.telling(
            About::Claim,
            true,
            reason,
            message,
        )
    };
    if volume_of(claim).is_empty() {
        return lost("ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!");
    }
    let Some(volume) = observed.volume(volume_of(claim)) else {
        return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    match claimed_by(volume) {
        None => binding(volume, claim),
        Some(held) if held.uid == claim.metadata.uid => binding(volume, claim),
        Some(_) => lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"),
    }
}
