//! What to make, to grow and to remove. No I/O, no clock.

use std::collections::BTreeMap;

use base::Quantity;
use k8s_openapi::api::core::v1::{
    LocalVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

/// On a node: the directory below which it keeps local volumes.
pub const PLACE: &str = "knarr.dev/local-volumes";
/// On a volume: its node has yet to remove the directory.
pub const FINALIZER: &str = "knarr.dev/local-volume";
const ASKED: [&str; 2] = ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// What to do for a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum ForClaim {
    Nothing,
    Make(Box<PersistentVolume>),
    /// The scheduler's choice cannot be: it is taken back, so that it chooses again.
    Reschedule(String),
    /// It cannot be, whatever the node.
    Refuse(String),
    /// The volume is told its new size first.
    Grow(Box<PersistentVolume>),
    /// Then the claim.
    Tell(Box<PersistentVolumeClaim>),
}

/// What there is beside the claim.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub class: Option<&'a StorageClass>,
    /// The volume of the claim, or the one it would be given.
    pub volume: Option<&'a PersistentVolume>,
    pub nodes: &'a BTreeMap<String, std::sync::Arc<Node>>,
}

/// The name of the volume of a claim.
pub fn name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or(""))
}

/// The volume that matters to the claim.
pub fn volume_of(claim: &PersistentVolumeClaim) -> String {
    let named = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| name(claim))
}

/// Whether the volume is one of ours.
pub fn is_ours(volume: &PersistentVolume, provisioner: &str) -> bool {
    volume.annotations().get(PROVISIONED_BY).is_some_and(|by| by == provisioner)
}

fn storage(list: Option<&BTreeMap<String, Text>>) -> Quantity {
    list.and_then(|list| list.get("storage")).and_then(|text| text.0.parse().ok()).unwrap_or_default()
}

/// Decides for a claim.
pub fn for_claim(claim: &PersistentVolumeClaim, provisioner: &str, seen: Seen<'_>) -> ForClaim {
    let Some(spec) = &claim.spec else { return ForClaim::Nothing };
    if let Some(volume) = seen.volume {
        return grow(claim, volume, provisioner);
    }
    let asked = ASKED.iter().any(|key| claim.annotations().get(*key).is_some_and(|asked| asked == provisioner));
    let unbound = spec.volume_name.as_deref().unwrap_or("").is_empty() && claim.metadata.deletion_timestamp.is_none();
    let Some(class) = seen.class.filter(|class| class.provisioner == provisioner && asked && unbound) else {
        return ForClaim::Nothing;
    };
    if spec.volume_mode.as_deref() == Some("Block") {
        return ForClaim::Refuse("a local volume is a directory; volumeMode Block is not supported".into());
    }
    if spec.selector.is_some() {
        return ForClaim::Refuse("claim Selector is not supported".into());
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return ForClaim::Refuse("a local volume starts empty; dataSource is not supported".into());
    }
    if let Some(mode) = spec.access_modes.iter().flatten().find(|mode| !mode.starts_with("ReadWriteOnce")) {
        let why = format!("a local volume is on one node; accessMode {mode} is not supported");
        return ForClaim::Refuse(why);
    }
    match claim.annotations().get(SELECTED_NODE) {
        Some(selected) => match seen.nodes.get(selected).and_then(|node| place(node).map(|place| (node, place))) {
            Some((node, place)) => ForClaim::Make(Box::new(make(claim, class, provisioner, node, place))),
            None if seen.nodes.contains_key(selected) => {
                ForClaim::Reschedule(format!("node {selected} keeps no local volumes"))
            }
            None => ForClaim::Reschedule(format!("node {selected} does not exist")),
        },
        None if class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer") => ForClaim::Nothing,
        // bound at once, so some node must do: the first by name that takes pods
        None => {
            let open = |node: &&std::sync::Arc<Node>| {
                node.spec.as_ref().is_none_or(|spec| spec.unschedulable != Some(true)) && place(node).is_some()
            };
            match seen.nodes.values().find(open).and_then(|node| Some((node, place(node)?))) {
                Some((node, place)) => ForClaim::Make(Box::new(make(claim, class, provisioner, node, place))),
                None => ForClaim::Refuse("no node keeps local volumes".into()),
            }
        }
    }
}

/// Where the node keeps local volumes.
fn place(node: &Node) -> Option<&str> {
    node.annotations().get(PLACE).map(String::as_str).filter(|place| place.starts_with('/'))
}

fn make(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    provisioner: &str,
    node: &Node,
    place: &str,
) -> PersistentVolume {
    let name = name(claim);
    let policy = class.reclaim_policy.clone().unwrap_or_else(|| "Delete".into());
    let hostname = node.labels().get(HOSTNAME).cloned().unwrap_or_else(|| node.name_any());
    let spec = claim.spec.clone().unwrap_or_default();
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let size = requests.get("storage").cloned().unwrap_or_else(|| Text("0".into()));
    let reference = ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: claim.namespace(),
        name: claim.metadata.name.clone(),
        uid: claim.uid(),
        resource_version: claim.resource_version(),
        ..ObjectReference::default()
    };
    let required =
        NodeSelectorRequirement { key: HOSTNAME.into(), operator: "In".into(), values: Some(vec![hostname]) };
    let term = NodeSelectorTerm { match_expressions: Some(vec![required]), match_fields: None };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), provisioner.to_owned())])),
            finalizers: Some(vec![FINALIZER.into()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: spec.access_modes,
            capacity: Some(BTreeMap::from([("storage".to_owned(), size)])),
            claim_ref: Some(reference),
            local: Some(LocalVolumeSource { fs_type: None, path: format!("{}/{name}", place.trim_end_matches('/')) }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: Some(policy),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: Some("Filesystem".into()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// A directory grows by being told so.
fn grow(claim: &PersistentVolumeClaim, volume: &PersistentVolume, provisioner: &str) -> ForClaim {
    let Some(status) = claim.status.as_ref().filter(|status| status.phase.as_deref() == Some("Bound")) else {
        return ForClaim::Nothing;
    };
    let held = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let wanted = storage(requests);
    if !is_ours(volume, provisioner)
        || held.is_none_or(|held| held.uid != claim.metadata.uid)
        || wanted <= storage(status.capacity.as_ref())
    {
        return ForClaim::Nothing;
    }
    let Some(size) = requests.and_then(|requests| requests.get("storage")) else { return ForClaim::Nothing };
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    if storage(capacity) < wanted {
        let mut next = volume.clone();
        let spec = next.spec.get_or_insert_default();
        spec.capacity.get_or_insert_default().insert("storage".into(), size.clone());
        return ForClaim::Grow(Box::new(next));
    }
    let mut next = claim.clone();
    let status = next.status.get_or_insert_default();
    status.capacity.get_or_insert_default().insert("storage".into(), size.clone());
    let resizing = ["Resizing", "FileSystemResizePending"];
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| !resizing.contains(&condition.type_.as_str()));
    }
    ForClaim::Tell(Box::new(next))
}

/// What to do with a volume of ours.
#[derive(Clone, Debug, PartialEq)]
pub enum ForVolume {
    Nothing,
    Delete,
    /// Its node is gone, and the directory with it.
    LetGo(Box<PersistentVolume>),
}

/// Decides for a volume.
pub fn for_volume(
    volume: &PersistentVolume,
    provisioner: &str,
    nodes: &BTreeMap<String, std::sync::Arc<Node>>,
) -> ForVolume {
    if !is_ours(volume, provisioner) {
        return ForVolume::Nothing;
    }
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    if volume.metadata.deletion_timestamp.is_none() {
        let policy = volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
        let gone = matches!(phase, Some("Released" | "Failed")) && policy == Some("Delete");
        return if gone { ForVolume::Delete } else { ForVolume::Nothing };
    }
    let held = volume.finalizers().iter().any(|finalizer| finalizer == FINALIZER);
    let named = host(volume);
    let is_there = |node: &std::sync::Arc<Node>| {
        node.labels().get(HOSTNAME).map_or(node.metadata.name.as_deref(), |name| Some(name.as_str())) == named
    };
    if !held || phase == Some("Bound") || nodes.values().any(is_there) {
        return ForVolume::Nothing;
    }
    let mut next = volume.clone();
    next.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
    ForVolume::LetGo(Box::new(next))
}

/// The host name that the volume is bound to.
pub fn host(volume: &PersistentVolume) -> Option<&str> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let terms = required.node_selector_terms.iter().flat_map(|term| term.match_expressions.iter().flatten());
    terms.filter(|one| one.key == HOSTNAME).find_map(|one| one.values.as_ref()?.first()).map(String::as_str)
}

#[cfg(test)]
mod tests;
