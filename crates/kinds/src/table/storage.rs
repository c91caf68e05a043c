//! How volumes, claims and what serves them print.

use super::read::{self, UNSET, at, flag, text, text_or};
use super::{AGE, NAME, Printer, Spec};
use base::time::Timestamp;
use serde_json::Value;

const PV_SPEC: &str = "api.core.v1.PersistentVolumeSpec";
const PV_STATUS: &str = "api.core.v1.PersistentVolumeStatus";
const PVC_SPEC: &str = "api.core.v1.PersistentVolumeClaimSpec";
const PVC_STATUS: &str = "api.core.v1.PersistentVolumeClaimStatus";
const CLASS: &str = "api.storage.v1.StorageClass";
const DRIVER: &str = "api.storage.v1.CSIDriverSpec";
const ATTACHMENT: &str = "api.storage.v1.VolumeAttachmentSpec";

const GROUP: &str = "storage.k8s.io";

pub(super) static PRINTERS: [Printer; 8] = [
    Printer::new(
        "",
        "PersistentVolume",
        &[
            NAME,
            Spec::field("Capacity", PV_SPEC, "capacity"),
            Spec::field("Access Modes", PV_SPEC, "accessModes"),
            Spec::field("Reclaim Policy", PV_SPEC, "persistentVolumeReclaimPolicy"),
            Spec::field("Status", PV_STATUS, "phase"),
            Spec::field("Claim", PV_SPEC, "claimRef"),
            Spec::text("StorageClass", "StorageClass of the pv"),
            Spec::text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
            Spec::field("Reason", PV_STATUS, "reason"),
            AGE,
            Spec::field("VolumeMode", PV_SPEC, "volumeMode").wide(),
        ],
        volume,
    ),
    Printer::new(
        "",
        "PersistentVolumeClaim",
        &[
            NAME,
            Spec::field("Status", PVC_STATUS, "phase"),
            Spec::field("Volume", PVC_SPEC, "volumeName"),
            Spec::field("Capacity", PVC_STATUS, "capacity"),
            Spec::field("Access Modes", PVC_STATUS, "accessModes"),
            Spec::text("StorageClass", "StorageClass of the pvc"),
            Spec::text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
            AGE,
            Spec::field("VolumeMode", PVC_SPEC, "volumeMode").wide(),
        ],
        claim,
    ),
    Printer::new(
        GROUP,
        "StorageClass",
        &[
            NAME,
            Spec::field("Provisioner", CLASS, "provisioner"),
            Spec::field("ReclaimPolicy", CLASS, "reclaimPolicy"),
            Spec::field("VolumeBindingMode", CLASS, "volumeBindingMode"),
            Spec::field("AllowVolumeExpansion", CLASS, "allowVolumeExpansion"),
            AGE,
        ],
        storage_class,
    ),
    Printer::new(
        GROUP,
        "VolumeAttributesClass",
        &[NAME, Spec::field("DriverName", "api.storage.v1.VolumeAttributesClass", "driverName"), AGE],
        |object, now| {
            let marks = ["volumeattributesclass.alpha.kubernetes.io/is-default-class"];
            vec![named_default(object, &marks), text(object, "driverName").into(), read::age(object, now)]
        },
    ),
    Printer::new(
        GROUP,
        "VolumeAttachment",
        &[
            NAME,
            Spec { format: "name", ..Spec::field("Attacher", ATTACHMENT, "attacher") },
            Spec::field("PV", "api.storage.v1.VolumeAttachmentSource", "persistentVolumeName"),
            Spec::field("Node", ATTACHMENT, "nodeName"),
            Spec::field("Attached", "api.storage.v1.VolumeAttachmentStatus", "attached").of("boolean"),
            AGE,
        ],
        |object, now| {
            vec![
                read::name(object),
                text(object, "spec.attacher").into(),
                text(object, "spec.source.persistentVolumeName").into(),
                text(object, "spec.nodeName").into(),
                flag(object, "status.attached").into(),
                read::age(object, now),
            ]
        },
    ),
    Printer::new(
        GROUP,
        "CSINode",
        &[
            NAME,
            Spec::text("Drivers", "Drivers indicates the number of CSI drivers registered on the node").of("integer"),
            AGE,
        ],
        |object, now| vec![read::name(object), read::count(object, "spec.drivers").into(), read::age(object, now)],
    ),
    Printer::new(
        GROUP,
        "CSIDriver",
        &[
            NAME,
            Spec::field("AttachRequired", DRIVER, "attachRequired").of("boolean"),
            Spec::field("PodInfoOnMount", DRIVER, "podInfoOnMount").of("boolean"),
            Spec::field("StorageCapacity", DRIVER, "storageCapacity").of("boolean"),
            Spec::field("TokenRequests", DRIVER, "tokenRequests"),
            Spec::field("RequiresRepublish", DRIVER, "requiresRepublish").of("boolean"),
            Spec::field("Modes", DRIVER, "volumeLifecycleModes"),
            AGE,
        ],
        driver,
    ),
    Printer::new(
        GROUP,
        "CSIStorageCapacity",
        &[
            NAME,
            Spec::field("StorageClassName", "api.storage.v1.CSIStorageCapacity", "storageClassName"),
            Spec::field("Capacity", "api.storage.v1.CSIStorageCapacity", "capacity"),
        ],
        |object, _| {
            let capacity = at(object, "capacity").map_or(UNSET.to_owned(), |capacity| read::quantity(Some(capacity)));
            vec![read::name(object), text(object, "storageClassName").into(), capacity.into()]
        },
    ),
];

/// The phase, or that the object is being deleted.
fn phase(object: &Value) -> Value {
    if read::is_deleted(object) { "Terminating" } else { text(object, "status.phase") }.into()
}

fn access_modes(object: &Value, path: &str) -> String {
    const SHORT: [(&str, &str); 4] =
        [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];
    let has = |long: &str| read::texts(object, path).any(|mode| mode == long);
    read::join(SHORT.iter().filter(|(long, _)| has(long)).map(|(_, short)| *short), ",")
}

/// The class of a volume or claim: the old annotation wins, as upstream.
fn class(object: &Value) -> Value {
    let annotated = object.pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class");
    annotated.and_then(Value::as_str).unwrap_or_else(|| text(object, "spec.storageClassName")).into()
}

fn volume(volume: &Value, now: Timestamp) -> Vec<Value> {
    let claim = at(volume, "spec.claimRef")
        .map_or_else(String::new, |claim| format!("{}/{}", text(claim, "namespace"), text(claim, "name")));
    vec![
        read::name(volume),
        read::quantity(at(volume, "spec.capacity.storage")).into(),
        access_modes(volume, "spec.accessModes").into(),
        text(volume, "spec.persistentVolumeReclaimPolicy").into(),
        phase(volume),
        claim.into(),
        class(volume),
        text_or(volume, "spec.volumeAttributesClassName", UNSET).into(),
        text(volume, "status.reason").into(),
        read::age(volume, now),
        text_or(volume, "spec.volumeMode", UNSET).into(),
    ]
}

fn claim(claim: &Value, now: Timestamp) -> Vec<Value> {
    let name = text(claim, "spec.volumeName");
    let (capacity, modes) = if name.is_empty() {
        (String::new(), String::new())
    } else {
        (read::quantity(at(claim, "status.capacity.storage")), access_modes(claim, "status.accessModes"))
    };
    vec![
        read::name(claim),
        phase(claim),
        name.into(),
        capacity.into(),
        modes.into(),
        class(claim),
        text_or(claim, "spec.volumeAttributesClassName", UNSET).into(),
        read::age(claim, now),
        text_or(claim, "spec.volumeMode", UNSET).into(),
    ]
}

/// The name, with `(default)` if one of the annotations says so.
fn named_default(object: &Value, annotations: &[&str]) -> Value {
    let marks = read::fields(object, "metadata.annotations");
    let is_default =
        annotations.iter().any(|name| marks.and_then(|marks| marks.get(*name)).is_some_and(|mark| mark == "true"));
    let name = text(object, "metadata.name");
    if is_default { format!("{name} (default)").into() } else { name.into() }
}

fn storage_class(class: &Value, now: Timestamp) -> Vec<Value> {
    const MARKS: [&str; 2] =
        ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
    vec![
        named_default(class, &MARKS),
        text(class, "provisioner").into(),
        text_or(class, "reclaimPolicy", "Delete").into(),
        text_or(class, "volumeBindingMode", "Immediate").into(),
        flag(class, "allowVolumeExpansion").into(),
        read::age(class, now),
    ]
}

fn driver(driver: &Value, now: Timestamp) -> Vec<Value> {
    let audiences = at(driver, "spec.tokenRequests").map_or(UNSET.to_owned(), |_| {
        let requests = read::items(driver, "spec.tokenRequests").iter();
        read::join(requests.map(|request| text(request, "audience")), ",")
    });
    let modes = read::join(read::texts(driver, "spec.volumeLifecycleModes"), ",");
    vec![
        read::name(driver),
        at(driver, "spec.attachRequired").and_then(Value::as_bool).unwrap_or(true).into(),
        flag(driver, "spec.podInfoOnMount").into(),
        flag(driver, "spec.storageCapacity").into(),
        audiences.into(),
        flag(driver, "spec.requiresRepublish").into(),
        if modes.is_empty() { read::NONE } else { &modes }.into(),
        read::age(driver, now),
    ]
}
