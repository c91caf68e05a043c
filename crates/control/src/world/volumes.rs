//! Lines about claims and volumes, as JSON: what reads them reads only parts.
//!
//! Words: a claim has `class=`, `size=`, `volume=` (and then is bound), `half` (not finished), `selected=`, `mode=`, `lost`,
//! `deleting`, `ofpod=`; a volume `class=`, `size=`, `zone=`, `host=`, `held=claim`, `handle=`, `taken`; a class `waits`,
//! `provisioner=`, `in=zone+zone`; a csinode `driver=name:count`; a csidriver `tells`; a room `class=`, `size=`, `zone=`.

use serde_json::{Value, json};

use super::{Line, metadata};

const ZONE: &str = "topology.kubernetes.io/zone";
const HOST: &str = "kubernetes.io/hostname";

/// The object of a line, if it is one of these.
pub(super) fn object(kind: &str, line: &Line<'_>) -> Option<(&'static str, Value)> {
    Some(match kind {
        "pvc" => ("persistentvolumeclaims", claim(line)),
        "pv" => ("persistentvolumes", volume(line)),
        "class" => ("storageclasses", class(line)),
        "csinode" => ("csinodes", csi_node(line)),
        "csidriver" => {
            let spec = json!({ "storageCapacity": line.has("tells") });
            ("csidrivers", json!({ "metadata": cluster(line), "spec": spec }))
        }
        "room" => {
            let topology = line.get("zone").map(|zone| json!({ "matchLabels": { ZONE: zone } }));
            let room = json!({ "metadata": metadata("room", line), "storageClassName": line.get("class").unwrap_or(""),
                "capacity": line.get("size"), "nodeTopology": topology });
            ("csistoragecapacities", room)
        }
        _ => return None,
    })
}

fn cluster(line: &Line<'_>) -> Value {
    json!({ "name": line.name, "uid": format!("uid-{}", line.name), "resourceVersion": "1" })
}

fn claim(line: &Line<'_>) -> Value {
    let mut metadata = metadata("pvc", line);
    metadata["resourceVersion"] = json!("1");
    let mut annotations = json!({});
    if line.has("volume") && !line.has("half") {
        annotations["pv.kubernetes.io/bind-completed"] = json!("yes");
    }
    if let Some(node) = line.get("selected") {
        annotations["volume.kubernetes.io/selected-node"] = json!(node);
    }
    metadata["annotations"] = annotations;
    if let Some(pod) = line.get("ofpod") {
        metadata["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": format!("pod-{pod}"), "controller": true }]);
    }
    json!({
        "metadata": metadata,
        "spec": {
            "storageClassName": line.get("class"),
            "volumeName": line.get("volume"),
            "accessModes": [line.get("mode").unwrap_or("ReadWriteOnce")],
            "resources": { "requests": { "storage": line.get("size").unwrap_or("1Gi") } },
        },
        "status": { "phase": if line.has("lost") { "Lost" } else { "Pending" } },
    })
}

fn volume(line: &Line<'_>) -> Value {
    let mut metadata = cluster(line);
    metadata["labels"] = json!({ ZONE: line.get("labelled") });
    if !line.has("labelled") {
        metadata["labels"] = Value::Null;
    }
    let term = |key: &str, value: &str| json!({ "key": key, "operator": "In", "values": [value] });
    let terms: Vec<Value> = [(ZONE, line.get("zone")), (HOST, line.get("host"))]
        .into_iter()
        .filter_map(|(key, value)| Some(json!({ "matchExpressions": [term(key, value?)] })))
        .collect();
    let affinity = (!terms.is_empty()).then(|| json!({ "required": { "nodeSelectorTerms": terms } }));
    let holder = line.get("held").map(|claim| json!({ "namespace": "default", "name": claim, "uid": "" }));
    json!({
        "metadata": metadata,
        "spec": {
            "storageClassName": line.get("class"),
            "capacity": { "storage": line.get("size").unwrap_or("1Gi") },
            "accessModes": ["ReadWriteOnce"],
            "nodeAffinity": affinity,
            "claimRef": holder,
            "csi": line.get("handle").map(|handle| json!({ "driver": "d", "volumeHandle": handle })),
        },
        "status": { "phase": if line.has("taken") { "Bound" } else { "Available" } },
    })
}

fn class(line: &Line<'_>) -> Value {
    let expression = |zones: &str| json!({ "key": ZONE, "values": zones.split('+').collect::<Vec<_>>() });
    let terms = line.get("in").map(|zones| json!([{ "matchLabelExpressions": [expression(zones)] }]));
    json!({
        "metadata": cluster(line),
        "provisioner": line.get("provisioner").unwrap_or("d"),
        "volumeBindingMode": if line.has("waits") { "WaitForFirstConsumer" } else { "Immediate" },
        "allowedTopologies": terms,
    })
}

fn csi_node(line: &Line<'_>) -> Value {
    let driver = |text: &str| {
        let (name, count) = text.split_once(':').expect("driver:count");
        json!({ "name": name, "allocatable": { "count": count.parse::<i64>().expect("a count") } })
    };
    let drivers: Vec<Value> = line.all("driver").into_iter().map(driver).collect();
    json!({ "metadata": cluster(line), "spec": { "drivers": drivers } })
}
