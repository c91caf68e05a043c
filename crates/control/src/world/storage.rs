//! Lines for volumes, claims of volumes and their classes.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::{Value, json};

use super::{Line, metadata, object};
use crate::plan::volume::{
    BETA_PROVISIONER, BIND_COMPLETED, BOUND_BY_CONTROLLER, PROVISIONED_BY, PROVISIONER, SELECTED_NODE,
};

fn modes(line: &Line<'_>) -> Vec<&'static str> {
    let long = |short: &str| match short {
        "RWX" => "ReadWriteMany",
        "ROX" => "ReadOnlyMany",
        _ => "ReadWriteOnce",
    };
    line.get("modes").unwrap_or("RWO").split(',').map(long).collect()
}

/// `size modes class phase=<phase> claim=<name>[:<uid>] ours policy by=<provisioner> block labels deleting local csi`
pub(super) fn volume(line: &Line<'_>) -> Arc<PersistentVolume> {
    let mut metadata = metadata("volume", line);
    metadata["namespace"] = Value::Null;
    metadata["labels"] = json!(line.get("labels").map(super::pairs));
    let mut annotations = BTreeMap::new();
    if line.has("ours") {
        annotations.insert(BOUND_BY_CONTROLLER, "yes");
    }
    if let Some(by) = line.get("by") {
        annotations.insert(PROVISIONED_BY, by);
    }
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    let claim = line.get("claim").map(|text| {
        let (name, uid) = text.split_once(':').map_or((text, None), |(name, uid)| (name, Some(uid)));
        json!({ "kind": "PersistentVolumeClaim", "namespace": "default", "name": name, "uid": uid })
    });
    let mut spec = json!({
        "capacity": { "storage": line.get("size").unwrap_or("1Gi") },
        "accessModes": modes(line),
        "storageClassName": line.get("class").unwrap_or("c"),
        "volumeMode": if line.has("block") { "Block" } else { "Filesystem" },
        "persistentVolumeReclaimPolicy": line.get("policy").unwrap_or("Retain"),
        "claimRef": claim,
    });
    if line.has("csi") {
        spec["csi"] = json!({ "driver": "d", "volumeHandle": "h" });
    }
    object(
        json!({ "metadata": metadata, "spec": spec, "status": { "phase": line.get("phase").unwrap_or("Available") } }),
    )
}

/// `size modes class noclass volume=<name> phase complete ours selected=<node> asked=<provisioner> block labels`
pub(super) fn claim(line: &Line<'_>) -> Arc<PersistentVolumeClaim> {
    let mut metadata = metadata("claim", line);
    let mut annotations = BTreeMap::new();
    for (word, key) in [("complete", BIND_COMPLETED), ("ours", BOUND_BY_CONTROLLER)] {
        if line.has(word) {
            annotations.insert(key, "yes");
        }
    }
    if let Some(node) = line.get("selected") {
        annotations.insert(SELECTED_NODE, node);
    }
    if let Some(asked) = line.get("asked") {
        annotations.extend([(PROVISIONER, asked), (BETA_PROVISIONER, asked)]);
    }
    if !annotations.is_empty() {
        metadata["annotations"] = json!(annotations);
    }
    let selector = line.get("labels").map(|labels| json!({ "matchLabels": super::pairs(labels) }));
    let class = if line.has("noclass") { None } else { Some(line.get("class").unwrap_or("c")) };
    let phase = line.get("phase").unwrap_or("Pending");
    let mut status = json!({ "phase": phase });
    if phase == "Bound" {
        status["accessModes"] = json!(modes(line));
        status["capacity"] = json!({ "storage": line.get("has").or(line.get("size")).unwrap_or("1Gi") });
    }
    object(json!({
        "metadata": metadata,
        "spec": {
            "resources": { "requests": { "storage": line.get("size").unwrap_or("1Gi") } },
            "accessModes": modes(line),
            "storageClassName": class,
            "volumeName": line.get("volume"),
            "volumeMode": line.has("block").then_some("Block"),
            "selector": selector,
        },
        "status": status,
    }))
}

/// `by=<provisioner> waits default`
pub(super) fn class(line: &Line<'_>) -> Arc<StorageClass> {
    let mut metadata = metadata("class", line);
    metadata["namespace"] = Value::Null;
    if line.has("default") {
        metadata["annotations"] = json!({ "storageclass.kubernetes.io/is-default-class": "true" });
    }
    object(json!({
        "metadata": metadata,
        "provisioner": line.get("by").unwrap_or("example.com/disk"),
        "volumeBindingMode": if line.has("waits") { "WaitForFirstConsumer" } else { "Immediate" },
    }))
}
