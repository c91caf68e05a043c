//! Every served row does the same things the same way.

use serde_json::{Value, json};

use crate::support::{Server, server};

/// The least that is valid for a kind; what needs nothing is not listed.
fn least(plural: &str) -> Value {
    let pod_spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
    let template = json!({ "metadata": { "labels": { "app": "x" } }, "spec": pod_spec });
    let workload = json!({ "spec": { "selector": { "matchLabels": { "app": "x" } }, "template": template } });
    let webhook = json!({
        "name": "hook.example.com", "clientConfig": { "url": "https://hook.example.com/" },
        "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore",
        "rules": [{ "operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"] }],
    });
    match plural {
        "endpoints" => json!({ "subsets": [{ "addresses": [{ "ip": "10.1.2.3" }], "ports": [{ "port": 80 }] }] }),
        "events" => json!({
            "involvedObject": { "namespace": "default", "kind": "Pod", "name": "p" },
            "reason": "R", "type": "Normal", "message": "m",
        }),
        "limitranges" => json!({ "spec": { "limits": [{ "type": "Container", "max": { "cpu": "1" } }] } }),
        "persistentvolumeclaims" => json!({
            "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
        }),
        "persistentvolumes" => json!({
            "spec": { "accessModes": ["ReadWriteOnce"], "capacity": { "storage": "1Gi" }, "hostPath": { "path": "/x" } },
        }),
        "pods" => json!({ "spec": pod_spec }),
        "podtemplates" => json!({ "template": template }),
        "replicationcontrollers" => json!({ "spec": { "selector": { "app": "x" }, "template": template } }),
        "resourcequotas" => json!({ "spec": { "hard": { "pods": "10" } } }),
        "services" => json!({ "spec": { "ports": [{ "port": 80 }] } }),
        "mutatingwebhookconfigurations" | "validatingwebhookconfigurations" => json!({ "webhooks": [webhook] }),
        "validatingadmissionpolicies" => json!({ "spec": {
            "matchConstraints": { "resourceRules": [{
                "operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"],
            }] },
            "validations": [{ "expression": "true" }],
        } }),
        "mutatingadmissionpolicies" => json!({ "spec": {
            "reinvocationPolicy": "Never",
            "matchConstraints": { "resourceRules": [{
                "operations": ["CREATE"], "apiGroups": ["example.com"], "apiVersions": ["v1"], "resources": ["x"],
            }] },
            "mutations": [{ "patchType": "JSONPatch", "jsonPatch": { "expression": "[]" } }],
        } }),
        "validatingadmissionpolicybindings" => {
            json!({ "spec": { "policyName": "p.example.com", "validationActions": ["Deny"] } })
        }
        "mutatingadmissionpolicybindings" => json!({ "spec": { "policyName": "p.example.com" } }),
        "customresourcedefinitions" => json!({
            "metadata": { "name": "widgets.example.com" },
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": { "plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList" },
                "versions": [{ "name": "v1", "served": true, "storage": true,
                    "schema": { "openAPIV3Schema": { "type": "object" } } }],
            },
        }),
        "apiservices" => json!({
            "metadata": { "name": "v1.widgets.example.com" },
            "spec": { "group": "widgets.example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10 },
        }),
        "controllerrevisions" => json!({ "revision": 1, "data": { "x": 1 } }),
        "daemonsets" | "deployments" | "replicasets" => workload,
        "statefulsets" => {
            let mut set = workload;
            set["spec"]["serviceName"] = json!("s");
            set
        }
        "cronjobs" => {
            let mut template = template;
            template["spec"]["restartPolicy"] = json!("Never");
            json!({ "spec": { "schedule": "* * * * *", "jobTemplate": { "spec": { "template": template } } } })
        }
        "jobs" => {
            let mut template = template;
            template["spec"]["restartPolicy"] = json!("Never");
            json!({ "spec": { "template": template } })
        }
        "horizontalpodautoscalers" => json!({ "spec": {
            "maxReplicas": 3, "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "d" },
        } }),
        "certificatesigningrequests" => json!({ "spec": {
            "request": CSR, "signerName": "example.com/signer", "usages": ["client auth"],
        } }),
        "endpointslices" => json!({
            "addressType": "IPv4", "endpoints": [{ "addresses": ["10.1.2.3"] }], "ports": [{ "name": "a", "port": 80 }],
        }),
        "flowschemas" => {
            json!({ "spec": { "priorityLevelConfiguration": { "name": "exempt" }, "matchingPrecedence": 5000 } })
        }
        "prioritylevelconfigurations" => json!({ "spec": {
            "type": "Limited", "limited": { "nominalConcurrencyShares": 5, "limitResponse": { "type": "Reject" } },
        } }),
        "ingressclasses" => json!({ "spec": { "controller": "example.com/c" } }),
        "ingresses" => {
            json!({ "spec": { "defaultBackend": { "service": { "name": "s", "port": { "number": 80 } } } } })
        }
        "ipaddresses" => json!({
            "metadata": { "name": "10.43.9.9" },
            "spec": { "parentRef": { "resource": "services", "namespace": "default", "name": "s" } },
        }),
        "networkpolicies" => json!({ "spec": { "podSelector": {} } }),
        "servicecidrs" => json!({ "spec": { "cidrs": ["10.44.0.0/16"] } }),
        "runtimeclasses" => json!({ "handler": "h" }),
        "poddisruptionbudgets" => {
            json!({ "spec": { "minAvailable": 1, "selector": { "matchLabels": { "app": "x" } } } })
        }
        "clusterrolebindings" | "rolebindings" => json!({
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann" }],
        }),
        "clusterroles" | "roles" => {
            json!({ "rules": [{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] }] })
        }
        "deviceclasses" => json!({ "spec": {} }),
        "resourceclaims" => json!({ "spec": {
            "devices": { "requests": [{ "name": "r", "exactly": { "deviceClassName": "c.example.com" } }] },
        } }),
        "resourceclaimtemplates" => json!({ "spec": { "spec": {
            "devices": { "requests": [{ "name": "r", "exactly": { "deviceClassName": "c.example.com" } }] },
        } } }),
        "resourceslices" => json!({ "spec": {
            "driver": "d.example.com", "nodeName": "n",
            "pool": { "name": "p", "generation": 1, "resourceSliceCount": 1 },
            "devices": [{ "name": "d0" }],
        } }),
        "priorityclasses" => json!({ "value": 10 }),
        "csidrivers" => json!({ "spec": {} }),
        "csinodes" => json!({ "spec": { "drivers": [{ "name": "d.example.com", "nodeID": "n" }] } }),
        "csistoragecapacities" => json!({ "storageClassName": "c" }),
        "storageclasses" => json!({ "provisioner": "example.com/p" }),
        "volumeattachments" => json!({ "spec": {
            "attacher": "a.example.com", "nodeName": "n", "source": { "persistentVolumeName": "pv" },
        } }),
        "volumeattributesclasses" => json!({ "driverName": "d.example.com" }),
        "leases" => json!({ "spec": { "holderIdentity": "h", "leaseDurationSeconds": 15 } }),
        _ => json!({}),
    }
}

const CSR: &str = include_str!("csr.b64");

/// Kinds whose names may not hold a plain word.
fn name_of(plural: &str) -> &'static str {
    match plural {
        "prioritylevelconfigurations" | "flowschemas" => "mine",
        _ => "row.example.com",
    }
}

async fn live(server: &Server, kind: &kinds::Kind) -> Result<(), String> {
    let root = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let scope = if kind.namespaced { "/namespaces/default" } else { "" };
    let collection = format!("{root}{scope}/{}", kind.plural);
    let mut object = least(&kind.plural);
    if kind.group == "events.k8s.io" {
        object = json!({
            "eventTime": "2026-01-02T03:04:05.000006Z", "reportingController": "example.com/c", "reportingInstance": "i",
            "action": "A", "reason": "R", "type": "Normal", "regarding": { "namespace": "default", "kind": "Pod", "name": "p" },
        });
    }
    if object["metadata"]["name"].is_null() {
        let label_only = ["services", "namespaces", "statefulsets"].contains(&kind.plural.as_str());
        object["metadata"]["name"] = json!(if label_only { "row" } else { name_of(&kind.plural) });
    }
    let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
    let path = format!("{collection}/{name}");
    let step = |what: &str, reply: &crate::support::Reply, code: u16| {
        if reply.code == code { Ok(()) } else { Err(format!("{what} {path}: {} {}", reply.code, reply.text)) }
    };

    let mut events = server.watch(&format!("{collection}?watch=true&fieldSelector=metadata.name={name}")).await;
    let made = server.post(&collection, object.clone()).await;
    step("create", &made, 201)?;
    let again = server.post(&collection, object.clone()).await;
    step("create again", &again, 409)?;
    let got = server.get(&path).await;
    step("get", &got, 200)?;
    if got.body != made.body || got.at("/kind") != kind.kind || got.at("/apiVersion") != kind.api_version() {
        return Err(format!("get {path}: {} is not what was created: {}", got.text, made.text));
    }
    let listed = server.get(&collection).await;
    step("list", &listed, 200)?;
    if listed.at("/kind") != kind.list_kind()
        || !listed.body["items"].as_array().is_some_and(|all| all.contains(&got.body))
    {
        return Err(format!("list {collection}: {}", listed.text));
    }
    // an update that changes nothing writes nothing
    let same = server.put(&path, got.body.clone()).await;
    step("update", &same, 200)?;
    if same.version() != made.version() {
        return Err(format!("update {path} without a change: {} became {}", made.text, same.text));
    }
    let mut changed = got.body.clone();
    changed["metadata"]["labels"]["by"] = json!("update");
    let updated = server.put(&path, changed.clone()).await;
    step("update", &updated, 200)?;
    let stale = server.put(&path, got.body.clone()).await;
    step("stale update", &stale, 409)?;
    let labels = |by: &str| json!({ "metadata": { "labels": { "by": by } } });
    for (dialect, patch) in [
        ("json-patch+json", json!([{ "op": "replace", "path": "/metadata/labels/by", "value": "json" }])),
        ("merge-patch+json", labels("merge")),
        ("strategic-merge-patch+json", labels("strategic")),
    ] {
        let patched = server.patch(&path, dialect, patch).await;
        step(dialect, &patched, 200)?;
    }
    let deleted = server.delete(&path, Value::Null).await;
    step("delete", &deleted, 200)?;
    let lets_go = deleted.body.pointer("/metadata/finalizers").is_some() || kind.plural == "namespaces";
    if lets_go {
        let finalize = if kind.plural == "namespaces" { "/finalize" } else { "" };
        let mut held = server.get(&path).await.body;
        held["metadata"].as_object_mut().expect("metadata").remove("finalizers");
        held["spec"]["finalizers"] = json!([]);
        let freed = server.put(&format!("{path}{finalize}"), held).await;
        step("finalize", &freed, 200)?;
    }
    let gone = server.get(&path).await;
    step("get after delete", &gone, 404)?;
    let mut seen = Vec::new();
    while seen.last().map(String::as_str) != Some("DELETED") {
        let event = events.next().await.ok_or("the watch ended early")?;
        seen.push(event["type"].as_str().unwrap_or_default().to_owned());
        let by = event.pointer("/object/metadata/name").and_then(Value::as_str);
        if by != Some(name.as_str()) {
            return Err(format!("watch {path}: {event}"));
        }
    }
    seen.dedup();
    if seen != ["ADDED", "MODIFIED", "DELETED"] {
        return Err(format!("watch {path}: {seen:?}"));
    }
    Ok(())
}

#[tokio::test]
async fn every_served_kind_lives_from_create_to_delete() {
    let server = server().await;
    let rows = kinds::Catalog::builtin().kinds();
    let mut failures = Vec::new();
    let mut lived = 0;
    for kind in rows.iter().filter(|kind| kind.served && kind.persisted) {
        match live(&server, kind).await {
            Ok(()) => lived += 1,
            Err(why) => failures.push(why),
        }
    }
    assert!(failures.is_empty(), "{lived} kinds lived, {} did not:\n{}", failures.len(), failures.join("\n"));
    assert!(lived >= 60, "{lived} rows are served");
}

#[tokio::test]
async fn a_kind_is_one_object_in_all_its_versions() {
    let server = server().await;
    let mut autoscaler = least("horizontalpodautoscalers");
    autoscaler["metadata"]["name"] = json!("a");
    autoscaler["spec"]["targetCPUUtilizationPercentage"] = json!(70);
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let v2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers";
    let made = server.post(v1, autoscaler).await.expect(201);
    let seen = server.get(&format!("{v2}/a")).await.expect(200);
    assert_eq!(
        seen.body.pointer("/spec/metrics/0/resource/target/averageUtilization"),
        Some(&json!(70)),
        "{}",
        seen.text
    );
    assert_eq!(seen.version(), made.version());
    let listed = server.get(v1).await.expect(200);
    assert_eq!(listed.body.pointer("/items/0/spec/targetCPUUtilizationPercentage"), Some(&json!(70)));
    server.merge(&format!("{v2}/a"), json!({ "spec": { "maxReplicas": 9 } })).await.expect(200);
    let back = server.get(&format!("{v1}/a")).await.expect(200);
    assert_eq!(back.body.pointer("/spec/maxReplicas"), Some(&json!(9)));
}
