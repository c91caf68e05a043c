//! What is read of the objects that the scheduler watches.
//!
//! Invariant: only fields that some plugin looks at. Everything else in an event's bytes is skipped, not read and dropped.

use std::collections::BTreeMap;

use informer::{Kept, identity};
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    AWSElasticBlockStoreVolumeSource, Affinity, GCEPersistentDiskVolumeSource, ISCSIVolumeSource, Namespace, Pod,
    RBDVolumeSource, ReplicationController, Service, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use serde::Deserialize;
use serde::de::IgnoredAny;

pub(super) type Amounts = BTreeMap<String, Quantity>;

macro_rules! part_of {
    ($kind:ty, $part:ty) => {
        impl Kept for $part {
            type Kind = $kind;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

mod devices;
mod volumes;

pub(super) use devices::{EXTENDED, SeenDeviceClass, SeenResourceClaim, SeenSlice};
pub(super) use volumes::{SeenAttachment, SeenClaim, SeenClass, SeenCsiNode, SeenDisk, SeenDriver, SeenRoom};

part_of!(Pod, SeenPod);
part_of!(Namespace, SeenNamespace);
part_of!(Service, SeenService);
part_of!(ReplicationController, SeenController);
part_of!(ReplicaSet, SeenReplicaSet);
part_of!(StatefulSet, SeenStatefulSet);
part_of!(PodDisruptionBudget, SeenBudget);

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenPod {
    #[serde(deserialize_with = "identity")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: PodSpec,
    pub(super) status: PodStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodSpec {
    pub(super) node_name: Option<String>,
    pub(super) scheduler_name: Option<String>,
    pub(super) priority: Option<i32>,
    pub(super) preemption_policy: Option<String>,
    pub(super) node_selector: Option<BTreeMap<String, String>>,
    pub(super) affinity: Option<Affinity>,
    pub(super) tolerations: Option<Vec<Toleration>>,
    pub(super) topology_spread_constraints: Option<Vec<TopologySpreadConstraint>>,
    pub(super) scheduling_gates: Option<Vec<Gate>>,
    pub(super) overhead: Option<Amounts>,
    pub(super) resources: Option<Requests>,
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
    pub(super) volumes: Option<Vec<Volume>>,
    pub(super) resource_claims: Option<Vec<PodClaim>>,
    pub(super) host_network: Option<bool>,
    pub(super) host_users: Option<bool>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodClaim {
    pub(super) name: String,
    pub(super) resource_claim_name: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Gate {
    pub(super) name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Requests {
    pub(super) requests: Option<Amounts>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) ports: Option<Vec<Port>>,
    pub(super) resources: Option<Requests>,
    pub(super) restart_policy: Option<String>,
    pub(super) restart_policy_rules: Option<Vec<Rule>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    pub(super) action: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Port {
    pub(super) host_port: Option<i32>,
    #[serde(rename = "hostIP")]
    pub(super) host_ip: Option<String>,
    pub(super) protocol: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) persistent_volume_claim: Option<ClaimSource>,
    pub(super) ephemeral: Option<IgnoredAny>,
    pub(super) csi: Option<CsiSource>,
    pub(super) image: Option<ImageSource>,
    pub(super) gce_persistent_disk: Option<GCEPersistentDiskVolumeSource>,
    pub(super) aws_elastic_block_store: Option<AWSElasticBlockStoreVolumeSource>,
    pub(super) iscsi: Option<ISCSIVolumeSource>,
    pub(super) rbd: Option<RBDVolumeSource>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ClaimSource {
    pub(super) claim_name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CsiSource {
    pub(super) driver: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ImageSource {
    pub(super) reference: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PodStatus {
    pub(super) phase: Option<String>,
    pub(super) conditions: Option<Vec<Condition>>,
    pub(super) start_time: Option<Time>,
    pub(super) nominated_node_name: Option<String>,
    pub(super) resource_claim_statuses: Option<Vec<PodClaim>>,
    pub(super) container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) init_container_statuses: Option<Vec<ContainerStatus>>,
    pub(super) resources: Option<Requests>,
    pub(super) allocated_resources: Option<Amounts>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Condition {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) status: String,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
    pub(super) last_transition_time: Option<Time>,
    pub(super) observed_generation: Option<i64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerStatus {
    pub(super) name: String,
    pub(super) resources: Option<Requests>,
    pub(super) allocated_resources: Option<Amounts>,
}

impl SeenPod {
    /// Succeeded or Failed: it takes no room any more.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    pub(super) fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().flatten().find(|one| one.kind == kind)
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenNamespace {
    #[serde(deserialize_with = "identity")]
    pub(super) metadata: ObjectMeta,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenService {
    #[serde(deserialize_with = "identity")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Plain,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenController {
    #[serde(deserialize_with = "identity")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Plain,
}

/// A selector of the old form.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Plain {
    pub(super) selector: Option<BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenReplicaSet {
    #[serde(deserialize_with = "identity")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Selecting,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenStatefulSet {
    #[serde(deserialize_with = "identity")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Selecting,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Selecting {
    pub(super) selector: Option<LabelSelector>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SeenBudget {
    #[serde(deserialize_with = "identity")]
    pub(super) metadata: ObjectMeta,
    pub(super) spec: Selecting,
    pub(super) status: BudgetStatus,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct BudgetStatus {
    pub(super) disruptions_allowed: i64,
    pub(super) disrupted_pods: Option<BTreeMap<String, IgnoredAny>>,
}
