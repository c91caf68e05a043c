//! Lines for StatefulSets, DaemonSets, and what belongs to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use serde_json::{Value, json};

use super::{Line, metadata, object, owner, template};

/// A count or a share.
fn bound(text: &str) -> Value {
    text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number))
}

/// `replicas start parallel ondelete partition unavailable minready limit image claim=<template>... deleted scaled current=<revision>`
pub(super) fn stateful_set(line: &Line<'_>) -> Arc<StatefulSet> {
    let templates: Vec<Value> =
        line.all("claim").into_iter().map(|name| json!({ "metadata": { "name": name } })).collect();
    let strategy = if line.has("ondelete") {
        json!({ "type": "OnDelete" })
    } else {
        let partition = line.number("partition").unwrap_or(0);
        let rolling = json!({ "partition": partition, "maxUnavailable": line.get("unavailable").map(bound) });
        json!({ "type": "RollingUpdate", "rollingUpdate": rolling })
    };
    let policy = |word: &str| if line.has(word) { "Delete" } else { "Retain" };
    let mut set = json!({
        "metadata": metadata("statefulset", line),
        "spec": {
            "replicas": line.number("replicas").unwrap_or(1),
            "ordinals": line.number("start").map(|start| json!({ "start": start })),
            "selector": { "matchLabels": { "app": line.name } },
            "serviceName": line.get("service"),
            "podManagementPolicy": if line.has("parallel") { "Parallel" } else { "OrderedReady" },
            "updateStrategy": strategy,
            "minReadySeconds": line.number("minready"),
            "revisionHistoryLimit": line.number("limit").unwrap_or(10),
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": policy("deleted"), "whenScaled": policy("scaled") },
            "volumeClaimTemplates": templates,
            "template": template(line.name, line.get("image").unwrap_or("v1")),
        },
    });
    if let Some(current) = line.get("current") {
        set["status"] = json!({ "replicas": 0, "currentRevision": current });
    }
    object(set)
}

/// `surge unavailable ondelete minready limit image select=<label>=<value> tolerate=<key>... hostnetwork`
pub(super) fn daemon_set(line: &Line<'_>) -> Arc<DaemonSet> {
    let rolling = json!({
        "maxSurge": bound(line.get("surge").unwrap_or("0")),
        "maxUnavailable": bound(line.get("unavailable").unwrap_or(if line.has("surge") { "0" } else { "1" })),
    });
    let strategy = if line.has("ondelete") {
        json!({ "type": "OnDelete" })
    } else {
        json!({ "type": "RollingUpdate", "rollingUpdate": rolling })
    };
    let mut template = template(line.name, line.get("image").unwrap_or("v1"));
    template["spec"]["nodeSelector"] = json!(line.get("select").map(super::pairs));
    template["spec"]["tolerations"] =
        json!(line.all("tolerate").into_iter().map(super::toleration).collect::<Vec<_>>());
    template["spec"]["hostNetwork"] = json!(line.has("hostnetwork").then_some(true));
    object(json!({
        "metadata": metadata("daemonset", line),
        "spec": {
            "selector": { "matchLabels": { "app": line.name } },
            "updateStrategy": strategy,
            "minReadySeconds": line.number("minready"),
            "revisionHistoryLimit": line.number("limit").unwrap_or(10),
            "template": template,
        },
    }))
}

/// `sts=<set>` or `ds=<set>`, `number image hash bare` (without the label); without an owner it is an orphan.
pub(super) fn revision(line: &Line<'_>) -> Arc<ControllerRevision> {
    let mut metadata = metadata("controllerrevision", line);
    let set = [("sts", "StatefulSet"), ("ds", "DaemonSet")]
        .into_iter()
        .find_map(|(word, kind)| Some((kind, line.get(word)?)));
    if let Some((kind, name)) = set {
        metadata["ownerReferences"] = owner(kind, "apps/v1", name);
    }
    let app = set.map_or("web", |(_, name)| name);
    let mut labels = BTreeMap::from([("app", app)]);
    let hash = line.get("hash").unwrap_or(line.name);
    if !line.has("bare") {
        labels.insert("controller-revision-hash", hash);
    }
    metadata["labels"] = json!(labels);
    let mut template = template(app, line.get("image").unwrap_or("v1"));
    template["$patch"] = json!("replace");
    object(json!({
        "metadata": metadata,
        "revision": line.number("number").unwrap_or(1),
        "data": { "spec": { "template": template } },
    }))
}

/// `owner=<Kind>:<name>[:<uid>]...`, the first being the controller
pub(super) fn claim(line: &Line<'_>) -> Arc<PersistentVolumeClaim> {
    let mut metadata = metadata("claim", line);
    let owners: Vec<Value> = line
        .all("owner")
        .into_iter()
        .map(|text| {
            let mut parts = text.split(':');
            let (kind, name) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let uid = parts.next().map_or_else(|| format!("{}-{name}", kind.to_lowercase()), str::to_owned);
            let api_version = if kind == "Pod" { "v1" } else { "apps/v1" };
            json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": !line.has("half") })
        })
        .collect();
    metadata["ownerReferences"] = json!(owners);
    object(json!({ "metadata": metadata }))
}
