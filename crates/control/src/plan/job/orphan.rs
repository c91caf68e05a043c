//! Which pods still carry the finalizer of a Job that will never count them.
//!
//! Invariant: only the finalizer of a pod that no unfinished Job of ours owns is taken; else a pod could go uncounted.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;

use super::{ended, is_ours};
use crate::plan::claim;

/// Whether the pod's finalizer is somebody's business; `owner` is the Job of the name that the pod's owner has.
pub fn keeps_finalizer(pod: &Pod, owner: Option<&Job>) -> bool {
    let Some(controller) = claim::controller(pod) else { return false };
    if controller.kind != "Job" || controller.api_version != "batch/v1" {
        return true;
    }
    let owner = owner.filter(|job| job.metadata.uid.as_deref() == Some(&controller.uid));
    owner.is_some_and(|job| !is_ours(job) || ended(job).is_none())
}
