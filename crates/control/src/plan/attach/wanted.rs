//! Which volumes pods need at which nodes.
//!
//! Invariant: a want has the name of the attachment that fulfils it, which is made of driver, handle and node: two volumes
//! with one handle are one volume to the driver.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::ResourceExt;
use ring::digest;

use super::super::pod;
use super::super::volume::ephemeral;

/// What the names of these volumes begin with in a node's status.
pub(super) const PREFIX: &str = "kubernetes.io/csi/";
/// By this a node says that it does not attach volumes by itself.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// A volume that a driver attaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Of the persistent volume.
    pub name: String,
    pub driver: String,
    pub handle: String,
    /// At one node at a time.
    pub exclusive: bool,
}

/// The name of a volume in a node's status.
pub(super) fn unique_name(driver: &str, handle: &str) -> String {
    format!("{PREFIX}{driver}^{handle}")
}

impl Volume {
    /// Its name in a node's status.
    pub fn unique_name(&self) -> String {
        unique_name(&self.driver, &self.handle)
    }

    /// The name of its attachment to a node, which external attachers and kubelets compute as well.
    pub fn attachment(&self, node: &str) -> String {
        let hash = digest::digest(&digest::SHA256, format!("{}{}{node}", self.handle, self.driver).as_bytes());
        hash.as_ref().iter().fold("csi-".to_owned(), |name, byte| format!("{name}{byte:02x}"))
    }
}

/// A volume that pods need at a node.
#[derive(Clone, Debug)]
pub struct Want {
    pub volume: Volume,
    pub node: String,
    pub pods: Vec<Arc<Pod>>,
}

/// By the name of the attachment.
pub type Wants = BTreeMap<String, Want>;

/// Everything that is looked at.
pub struct World<'a> {
    pub pods: &'a [Arc<Pod>],
    pub nodes: &'a [Arc<Node>],
    pub attachments: &'a [Arc<VolumeAttachment>],
    /// By namespace and name.
    pub claims: &'a dyn Fn(&str, &str) -> Option<Arc<PersistentVolumeClaim>>,
    pub volumes: &'a dyn Fn(&str) -> Option<Arc<PersistentVolume>>,
    pub drivers: &'a dyn Fn(&str) -> Option<Arc<CSIDriver>>,
}

/// What of a persistent volume matters here, if CSI attaches it.
pub fn volume(volume: &PersistentVolume) -> Option<Volume> {
    let spec = volume.spec.as_ref()?;
    let source = spec.csi.as_ref()?;
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    // without a mode nobody knows, and the driver is asked
    let shared = modes.is_empty() || modes.iter().any(|mode| mode == "ReadWriteMany" || mode == "ReadOnlyMany");
    Some(Volume {
        name: volume.name_any(),
        driver: source.driver.clone(),
        handle: source.volume_handle.clone(),
        exclusive: !shared,
    })
}

/// Whether volumes are attached to the node by us.
pub fn is_managed(node: &Node) -> bool {
    node.annotations().contains_key(MANAGED)
}

/// The node at which a pod may need volumes of claims.
pub fn node_of(one: &Pod) -> Option<&str> {
    let node = pod::node_name(one);
    let claims = one.spec.as_ref()?.volumes.iter().flatten();
    let any = claims.into_iter().any(|it| it.persistent_volume_claim.is_some() || it.ephemeral.is_some());
    (any && !node.is_empty() && !is_terminated(one)).then_some(node)
}

/// No container runs or will run (upstream `IsPodTerminated`).
fn is_terminated(one: &Pod) -> bool {
    let Some(status) = &one.status else { return false };
    let rests = |statuses: &Option<Vec<ContainerStatus>>| {
        statuses.iter().flatten().all(|status| {
            status.state.as_ref().is_some_and(|state| state.terminated.is_some() || state.waiting.is_some())
        })
    };
    pod::is_terminal(one)
        || (one.metadata.deletion_timestamp.is_some()
            && rests(&status.init_container_statuses)
            && rests(&status.container_statuses)
            && rests(&status.ephemeral_container_statuses))
}

/// What pods need, where.
pub fn wants(world: &World<'_>) -> Wants {
    let managed: BTreeMap<String, bool> = world.nodes.iter().map(|node| (node.name_any(), is_managed(node))).collect();
    let mut wants = Wants::new();
    for pod in world.pods {
        let Some(node) = node_of(pod).filter(|node| managed.get(*node) == Some(&true)) else { continue };
        for volume in volumes_of(pod, world) {
            let want = wants.entry(volume.attachment(node)).or_insert_with(|| Want {
                volume,
                node: node.to_owned(),
                pods: Vec::new(),
            });
            want.pods.push(Arc::clone(pod));
        }
    }
    wants
}

fn volumes_of(pod: &Pod, world: &World<'_>) -> Vec<Volume> {
    let namespace = pod.namespace().unwrap_or_default();
    let mut found: Vec<Volume> = Vec::new();
    for one in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        let name = match (&one.persistent_volume_claim, &one.ephemeral) {
            (Some(source), _) => source.claim_name.clone(),
            (None, Some(_)) => ephemeral::claim_name(pod, &one.name),
            (None, None) => continue,
        };
        let Some(claim) = (world.claims)(&namespace, &name) else { continue };
        if one.ephemeral.is_some() && !ephemeral::is_for(pod, &claim) {
            continue;
        }
        let volume = bound(&claim, world).filter(|volume| attaches(volume, world));
        found.extend(volume.filter(|volume| !found.contains(volume)));
    }
    found
}

/// The volume of a claim, if both say that they are bound to each other.
fn bound(claim: &PersistentVolumeClaim, world: &World<'_>) -> Option<Volume> {
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).filter(|name| !name.is_empty())?;
    let persistent = (world.volumes)(name).filter(|_| phase == Some("Bound"))?;
    let holder = persistent.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref())?;
    volume(&persistent).filter(|_| holder.uid.is_some() && holder.uid == claim.metadata.uid)
}

/// Whether the driver attaches at all; one that nobody knows may.
fn attaches(volume: &Volume, world: &World<'_>) -> bool {
    (world.drivers)(&volume.driver).is_none_or(|driver| driver.spec.attach_required != Some(false))
}
