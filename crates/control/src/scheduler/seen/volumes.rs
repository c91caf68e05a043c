//! What is read of claims, volumes and their like.

use std::collections::BTreeMap;

use base::quantity::Quantity as Amount;
use informer::{Kept, identity};
use k8s_openapi::api::core::v1::{NodeSelector, PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm};
use k8s_openapi::api::storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Deserialize;

use super::{Amounts, Requests};
use crate::scheduler::storage::{Attached, Claim, Class, Disk, Holder, Room};

part_of!(PersistentVolumeClaim, SeenClaim);
part_of!(PersistentVolume, SeenDisk);
part_of!(StorageClass, SeenClass);
part_of!(CSINode, SeenCsiNode);
part_of!(CSIDriver, SeenDriver);
part_of!(CSIStorageCapacity, SeenRoom);
part_of!(VolumeAttachment, SeenAttachment);

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";
const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

fn bytes(amount: Option<&Quantity>) -> i64 {
    amount.and_then(|text| text.0.parse::<Amount>().ok()).map_or(0, |amount| amount.value())
}

fn annotation(metadata: &ObjectMeta, name: &str) -> Option<String> {
    metadata.annotations.as_ref()?.get(name).cloned()
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::scheduler) struct SeenClaim {
    pub(in crate::scheduler) metadata: ObjectMeta,
    spec: ClaimSpec,
    status: Phase,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ClaimSpec {
    access_modes: Option<Vec<String>>,
    resources: Requests,
    selector: Option<LabelSelector>,
    storage_class_name: Option<String>,
    volume_mode: Option<String>,
    volume_name: Option<String>,
    volume_attributes_class_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Phase {
    phase: Option<String>,
}

impl SeenClaim {
    pub(in crate::scheduler) fn kept(self) -> Claim {
        let Self { metadata, spec, status } = self;
        let controller = metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        Claim {
            class: annotation(&metadata, CLASS).or(spec.storage_class_name).unwrap_or_default(),
            volume: spec.volume_name.unwrap_or_default(),
            bound: annotation(&metadata, BIND_COMPLETED).is_some(),
            selected: annotation(&metadata, SELECTED_NODE).map(Into::into),
            lost: status.phase.as_deref() == Some("Lost"),
            deleting: metadata.deletion_timestamp.is_some(),
            modes: spec.access_modes.unwrap_or_default(),
            size: bytes(spec.resources.requests.as_ref().and_then(|amounts| amounts.get("storage"))),
            selector: spec.selector,
            block: spec.volume_mode.as_deref() == Some("Block"),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
            controller: controller.map(|owner| owner.uid.clone()),
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::scheduler) struct SeenDisk {
    pub(in crate::scheduler) metadata: ObjectMeta,
    spec: DiskSpec,
    status: Phase,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DiskSpec {
    access_modes: Option<Vec<String>>,
    capacity: Option<Amounts>,
    claim_ref: Option<ClaimRef>,
    csi: Option<Csi>,
    node_affinity: Option<Affinity>,
    storage_class_name: Option<String>,
    volume_mode: Option<String>,
    volume_attributes_class_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ClaimRef {
    namespace: String,
    name: String,
    uid: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Csi {
    driver: String,
    volume_handle: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Affinity {
    required: Option<NodeSelector>,
}

impl SeenDisk {
    pub(in crate::scheduler) fn kept(self) -> Disk {
        let Self { metadata, spec, status } = self;
        let holder = |claim: ClaimRef| Holder { namespace: claim.namespace, name: claim.name, uid: claim.uid };
        Disk {
            class: annotation(&metadata, CLASS).or(spec.storage_class_name).unwrap_or_default(),
            holder: spec.claim_ref.map(holder),
            size: bytes(spec.capacity.as_ref().and_then(|amounts| amounts.get("storage"))),
            modes: spec.access_modes.unwrap_or_default(),
            block: spec.volume_mode.as_deref() == Some("Block"),
            attributes: spec.volume_attributes_class_name.unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            available: status.phase.as_deref() == Some("Available"),
            required: spec.node_affinity.and_then(|affinity| affinity.required),
            csi: spec.csi.map(|csi| (csi.driver, csi.volume_handle)),
            labels: metadata.labels.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            version: metadata.resource_version.unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::scheduler) struct SeenClass {
    #[serde(deserialize_with = "identity")]
    pub(in crate::scheduler) metadata: ObjectMeta,
    provisioner: String,
    volume_binding_mode: Option<String>,
    allowed_topologies: Option<Vec<TopologySelectorTerm>>,
}

impl SeenClass {
    pub(in crate::scheduler) fn kept(self) -> Class {
        Class {
            provisioner: self.provisioner,
            waits: self.volume_binding_mode.map(|mode| mode == "WaitForFirstConsumer"),
            topologies: self.allowed_topologies.unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::scheduler) struct SeenCsiNode {
    #[serde(deserialize_with = "identity")]
    pub(in crate::scheduler) metadata: ObjectMeta,
    spec: CsiNodeSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct CsiNodeSpec {
    drivers: Option<Vec<NodeDriver>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeDriver {
    name: String,
    allocatable: Option<NodeLimit>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct NodeLimit {
    count: Option<i64>,
}

impl SeenCsiNode {
    pub(in crate::scheduler) fn kept(self) -> BTreeMap<String, Option<i64>> {
        let drivers = self.spec.drivers.into_iter().flatten();
        drivers.map(|driver| (driver.name, driver.allocatable.and_then(|limit| limit.count))).collect()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::scheduler) struct SeenDriver {
    #[serde(deserialize_with = "identity")]
    pub(in crate::scheduler) metadata: ObjectMeta,
    spec: DriverSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DriverSpec {
    storage_capacity: Option<bool>,
}

impl SeenDriver {
    pub(in crate::scheduler) fn tells(&self) -> bool {
        self.spec.storage_capacity == Some(true)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::scheduler) struct SeenRoom {
    #[serde(deserialize_with = "identity")]
    pub(in crate::scheduler) metadata: ObjectMeta,
    storage_class_name: String,
    capacity: Option<Quantity>,
    maximum_volume_size: Option<Quantity>,
    node_topology: Option<LabelSelector>,
}

impl SeenRoom {
    pub(in crate::scheduler) fn kept(self) -> Room {
        let limit = self.maximum_volume_size.or(self.capacity);
        Room {
            class: self.storage_class_name,
            limit: limit.as_ref().map(|limit| bytes(Some(limit))),
            topology: self.node_topology,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(in crate::scheduler) struct SeenAttachment {
    #[serde(deserialize_with = "identity")]
    pub(in crate::scheduler) metadata: ObjectMeta,
    spec: AttachmentSpec,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttachmentSpec {
    attacher: String,
    node_name: String,
    source: AttachmentSource,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AttachmentSource {
    persistent_volume_name: Option<String>,
}

impl SeenAttachment {
    pub(in crate::scheduler) fn kept(self) -> Option<Attached> {
        let AttachmentSpec { attacher, node_name, source } = self.spec;
        let volume = source.persistent_volume_name.filter(|_| !attacher.is_empty())?;
        Some(Attached { node: node_name, attacher, volume })
    }
}
