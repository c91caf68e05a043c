//! ResourceClaims, as decisions see them, and which ones a pod has.

use std::sync::Arc;

use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceClaim, DeviceRequestAllocationResult, ResourceClaimConsumerReference,
};

use crate::scheduler::pod::PodInfo;

/// Namespace and name.
pub(in crate::scheduler) type ClaimKey = (String, String);

/// A ResourceClaim.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::scheduler) struct Claim {
    pub(in crate::scheduler) namespace: String,
    pub(in crate::scheduler) name: String,
    pub(in crate::scheduler) uid: String,
    pub(in crate::scheduler) version: String,
    pub(in crate::scheduler) deleting: bool,
    pub(in crate::scheduler) finalizers: Vec<String>,
    /// The uid of its controller: of one made from a template the pod.
    pub(in crate::scheduler) controller: Option<String>,
    /// Whether it stands for a pod's extended resources.
    pub(in crate::scheduler) extended: bool,
    pub(in crate::scheduler) spec: Arc<DeviceClaim>,
    pub(in crate::scheduler) allocation: Option<Arc<AllocationResult>>,
    pub(in crate::scheduler) reserved: Vec<ResourceClaimConsumerReference>,
    /// What drivers say of its devices.
    pub(in crate::scheduler) devices: Vec<AllocatedDeviceStatus>,
}

impl Claim {
    pub(in crate::scheduler) fn key(&self) -> ClaimKey {
        (self.namespace.clone(), self.name.clone())
    }

    /// As messages name it.
    pub(in crate::scheduler) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(in crate::scheduler) fn is_reserved_for(&self, uid: &str) -> bool {
        self.reserved.iter().any(|one| one.uid == uid)
    }

    /// Whether nobody but the pod has it reserved.
    pub(in crate::scheduler) fn is_idle_for(&self, uid: &str) -> bool {
        self.reserved.iter().all(|one| one.uid == uid)
    }

    pub(in crate::scheduler) fn has_same_status(&self, other: &Self) -> bool {
        self.allocation == other.allocation && self.reserved == other.reserved && self.devices == other.devices
    }

    /// The devices it was given.
    pub(in crate::scheduler) fn results(&self) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
        let devices = self.allocation.iter().filter_map(|allocation| allocation.devices.as_ref());
        devices.flat_map(|devices| devices.results.iter().flatten())
    }

    /// Whether some of its devices have to be made ready before a pod can be bound.
    pub(in crate::scheduler) fn waits(&self) -> bool {
        self.results().any(|one| one.binding_conditions.as_ref().is_some_and(|all| !all.is_empty()))
    }

    /// Whether its devices are ready for a pod (KEP-5007).
    ///
    /// # Errors
    /// When one of them says that it never will be.
    pub(in crate::scheduler) fn is_ready(&self) -> Result<bool, String> {
        for given in self.results() {
            let wanted = given.binding_conditions.as_deref().unwrap_or_default();
            if wanted.is_empty() {
                continue;
            }
            let status = self
                .devices
                .iter()
                .find(|one| one.device == given.device && one.driver == given.driver && one.pool == given.pool);
            let Some(status) = status else { return Ok(false) };
            let holds = |kind: &String| {
                status.conditions.iter().flatten().find(|one| one.type_ == *kind && one.status == "True")
            };
            if let Some(failed) = given.binding_failure_conditions.iter().flatten().find_map(holds) {
                let (name, reason, message) = (&self.name, &failed.reason, &failed.message);
                return Err(format!("device binding failed: claim={name}, reason={reason}, message={message:?}"));
            }
            if !wanted.iter().all(|kind| holds(kind).is_some()) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether its devices had `patience` to become ready.
    pub(in crate::scheduler) fn is_overdue(&self, patience: std::time::Duration, now: jiff::Timestamp) -> bool {
        let since = self.allocation.as_ref().and_then(|allocation| allocation.allocation_timestamp.as_ref());
        let patience = jiff::SignedDuration::try_from(patience).unwrap_or(jiff::SignedDuration::MAX);
        self.waits() && since.is_some_and(|since| now.duration_since(since.0) > patience)
    }
}

/// One of a pod's claims, as its spec has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::scheduler) struct Wish {
    pub(in crate::scheduler) name: String,
    /// The claim; none when it is made from a template.
    pub(in crate::scheduler) claim: Option<String>,
}

/// Claims that were made for a pod, by its own name for them; some turn out not to be needed.
pub(in crate::scheduler) type Made = Arc<[(String, Option<String>)]>;

/// Why a pod's claim is not there.
pub(super) fn not_made(pod: &PodInfo) -> String {
    format!("pod \"{}/{}\": ResourceClaim not created yet", pod.key.namespace, pod.key.name)
}
