//! What is read of claims of devices, of slices and of classes.

use std::sync::Arc;

use informer::{Kept, identity};
use k8s_openapi::api::resource::v1::{
    DeviceClass, DeviceClassSpec, ResourceClaim, ResourceClaimSpec, ResourceClaimStatus, ResourceSlice,
    ResourceSliceSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

use crate::scheduler::devices::{Claim, Slice};

part_of!(ResourceClaim, SeenResourceClaim);
part_of!(ResourceSlice, SeenSlice);
part_of!(DeviceClass, SeenDeviceClass);

/// Marks the claims that stand for extended resources.
pub(in crate::scheduler) const EXTENDED: &str = "resource.kubernetes.io/extended-resource-claim";

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::scheduler) struct SeenResourceClaim {
    pub(in crate::scheduler) metadata: ObjectMeta,
    spec: ResourceClaimSpec,
    status: Option<ResourceClaimStatus>,
}

impl SeenResourceClaim {
    pub(in crate::scheduler) fn kept(self) -> Claim {
        let Self { metadata, spec, status } = self;
        let status = status.unwrap_or_default();
        let controller = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        Claim {
            controller: controller.map(|owner| owner.uid.clone()),
            extended: metadata.annotations.iter().flatten().any(|(name, value)| name == EXTENDED && value == "true"),
            deleting: metadata.deletion_timestamp.is_some(),
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
            finalizers: metadata.finalizers.unwrap_or_default(),
            spec: Arc::new(spec.devices.unwrap_or_default()),
            allocation: status.allocation.map(Arc::new),
            reserved: status.reserved_for.unwrap_or_default(),
            devices: status.devices.unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::scheduler) struct SeenSlice {
    #[serde(deserialize_with = "identity")]
    pub(in crate::scheduler) metadata: ObjectMeta,
    spec: ResourceSliceSpec,
}

impl SeenSlice {
    pub(in crate::scheduler) fn kept(self) -> Slice {
        Slice::read(self.metadata.name.unwrap_or_default(), self.spec)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::scheduler) struct SeenDeviceClass {
    pub(in crate::scheduler) metadata: ObjectMeta,
    spec: DeviceClassSpec,
}

impl SeenDeviceClass {
    pub(in crate::scheduler) fn kept(self) -> (DeviceClassSpec, Option<jiff::Timestamp>) {
        (self.spec, self.metadata.creation_timestamp.map(|time| time.0))
    }
}
