use super::*;
use crate::Catalog;
use expect_test::{Expect, expect};
use proptest::prelude::*;

fn kind(group: &str, name: &str) -> &'static Kind {
    let catalog = Catalog::builtin();
    let kinds = catalog.kinds().iter();
    kinds.filter(|kind| kind.is(group, name)).max_by_key(|kind| kind.preferred).expect("the kind exists")
}

fn noon() -> Timestamp {
    "2026-01-02T12:00:00Z".parse().expect("a time")
}

/// Checks what one object prints as: cells joined by bars.
fn check(group: &str, name: &str, object: Value, expected: Expect) {
    let cells = cells(kind(group, name), &object, noon());
    let shown: Vec<String> =
        cells.iter().map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned)).collect();
    expected.assert_eq(&shown.join(" | "));
}

fn pod(spec: Value, status: Value) -> Value {
    json!({"metadata": {"name": "web", "creationTimestamp": "2026-01-02T11:55:00Z"}, "spec": spec, "status": status})
}

fn check_pod(spec: Value, status: Value, expected: Expect) {
    check("", "Pod", pod(spec, status), expected);
}

fn containers(count: usize) -> Value {
    (0..count).map(|i| json!({"name": format!("c{i}"), "image": "i"})).collect()
}

#[test]
fn columns_and_cells_agree_in_number_for_every_kind() {
    for kind in Catalog::builtin().kinds() {
        let cells = cells(kind, &json!({}), noon());
        assert_eq!(columns(kind).len(), cells.len(), "{kind:?}");
    }
}

#[test]
fn every_column_that_names_a_field_names_one_that_exists() {
    let prose = schema::descriptions();
    for printer in PRINTERS.iter().copied().flatten() {
        for column in printer.columns {
            if let Doc::Field(definition, field) = column.doc {
                assert!(prose_of(&prose, definition, field).is_some(), "{definition}.{field}");
            }
        }
    }
}

#[test]
fn every_printer_belongs_to_a_kind() {
    for printer in PRINTERS.iter().copied().flatten() {
        let of_kind = |kind: &&std::sync::Arc<Kind>| kind.is(printer.group, printer.kind);
        assert!(Catalog::builtin().kinds().iter().any(|kind| of_kind(&kind)), "{}", printer.kind);
    }
}

#[test]
fn a_running_pod_shows_node_and_address() {
    check_pod(
        json!({"containers": containers(2), "nodeName": "n1"}),
        json!({"phase": "Running", "podIPs": [{"ip": "10.42.0.7"}], "containerStatuses": [
            {"ready": true, "restartCount": 2, "state": {"running": {}},
             "lastState": {"terminated": {"finishedAt": "2026-01-02T11:58:00Z"}}},
            {"ready": false, "restartCount": 0, "state": {"running": {}}},
        ]}),
        expect!["web | 1/2 | Running | 2 (2m ago) | 5m | 10.42.0.7 | n1 | <none> | <none>"],
    );
}

#[test]
fn the_status_names_the_latest_trouble_of_a_container() {
    let status = |state: Value| json!({"phase": "Running", "containerStatuses": [{"restartCount": 0, "state": state}]});
    let crash = status(json!({"waiting": {"reason": "CrashLoopBackOff"}}));
    check_pod(
        json!({"containers": containers(1)}),
        crash,
        expect!["web | 0/1 | CrashLoopBackOff | 0 | 5m | <none> | <none> | <none> | <none>"],
    );
    let oom = status(json!({"terminated": {"reason": "OOMKilled", "exitCode": 137}}));
    check_pod(
        json!({"containers": containers(1)}),
        oom,
        expect!["web | 0/1 | OOMKilled | 0 | 5m | <none> | <none> | <none> | <none>"],
    );
    let exit = status(json!({"terminated": {"exitCode": 3}}));
    check_pod(
        json!({"containers": containers(1)}),
        exit,
        expect!["web | 0/1 | ExitCode:3 | 0 | 5m | <none> | <none> | <none> | <none>"],
    );
    let signal = status(json!({"terminated": {"exitCode": 3, "signal": 9}}));
    check_pod(
        json!({"containers": containers(1)}),
        signal,
        expect!["web | 0/1 | Signal:9 | 0 | 5m | <none> | <none> | <none> | <none>"],
    );
}

#[test]
fn a_pod_that_initializes_shows_how_far_it_is() {
    let spec = json!({"initContainers": containers(3), "containers": containers(1)});
    let done = json!({"name": "c0", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}});
    let after = |second: Value| json!({"phase": "Pending", "initContainerStatuses": [done.clone(), second]});
    check_pod(
        spec.clone(),
        after(json!({"name": "c1", "state": {"running": {}}})),
        expect!["web | 0/1 | Init:1/3 | 0 | 5m | <none> | <none> | <none> | <none>"],
    );
    check_pod(
        spec.clone(),
        after(json!({"name": "c1", "restartCount": 4, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}})),
        expect!["web | 0/1 | Init:Error | 4 | 5m | <none> | <none> | <none> | <none>"],
    );
    check_pod(
        spec.clone(),
        after(json!({"name": "c1", "state": {"terminated": {"exitCode": 2}}})),
        expect!["web | 0/1 | Init:ExitCode:2 | 0 | 5m | <none> | <none> | <none> | <none>"],
    );
    check_pod(
        spec,
        after(json!({"name": "c1", "state": {"waiting": {"reason": "ImagePullBackOff"}}})),
        expect!["web | 0/1 | Init:ImagePullBackOff | 0 | 5m | <none> | <none> | <none> | <none>"],
    );
}

#[test]
fn a_sidecar_counts_as_a_container() {
    let spec = json!({
        "initContainers": [{"name": "side", "image": "i", "restartPolicy": "Always"}],
        "containers": containers(1),
    });
    let status = json!({
        "phase": "Running",
        "initContainerStatuses": [
            {"name": "side", "started": true, "ready": true, "restartCount": 3, "state": {"running": {}}},
        ],
        "containerStatuses": [{"ready": true, "restartCount": 1, "state": {"running": {}}}],
    });
    check_pod(spec, status, expect!["web | 2/2 | Running | 4 | 5m | <none> | <none> | <none> | <none>"]);
}

#[test]
fn a_deleted_pod_is_terminating_until_it_is_done() {
    let mut object = pod(json!({"containers": containers(1)}), json!({"phase": "Running"}));
    object["metadata"]["deletionTimestamp"] = json!("2026-01-02T12:00:00Z");
    check("", "Pod", object.clone(), expect!["web | 0/1 | Terminating | 0 | 5m | <none> | <none> | <none> | <none>"]);
    object["status"] = json!({"phase": "Running", "reason": "NodeLost"});
    check("", "Pod", object.clone(), expect!["web | 0/1 | Unknown | 0 | 5m | <none> | <none> | <none> | <none>"]);
    object["status"] = json!({"phase": "Succeeded", "containerStatuses": [
        {"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]});
    check("", "Pod", object, expect!["web | 0/1 | Completed | 0 | 5m | <none> | <none> | <none> | <none>"]);
}

#[test]
fn a_finished_pod_is_marked_in_its_row() {
    let row = row(kind("", "Pod"), &pod(json!({}), json!({"phase": "Failed"})), noon(), Include::None);
    expect![[r#"[{"message":"The pod failed.","reason":"Failed","status":"True","type":"Completed"}]"#]]
        .assert_eq(&row["conditions"].to_string());
    assert_eq!(row["object"], Value::Null);
}

#[test]
fn readiness_gates_count_the_open_ones() {
    check_pod(
        json!({"containers": containers(1), "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]}),
        json!({"phase": "Pending", "conditions": [
            {"type": "a", "status": "True"},
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"},
        ]}),
        expect!["web | 0/1 | SchedulingGated | 0 | 5m | <none> | <none> | <none> | 1/2"],
    );
}

fn meta(name: &str) -> Value {
    json!({"name": name, "creationTimestamp": "2026-01-01T09:00:00Z"})
}

#[test]
fn workloads_show_their_counts() {
    let template = json!({"spec": {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "image": "y"}]}});
    check(
        "apps",
        "Deployment",
        json!({"metadata": meta("web"),
            "spec": {"replicas": 3, "template": template, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}}),
        expect!["web | 2/3 | 3 | 2 | 27h | a,b | x:1,y | app=web"],
    );
    check(
        "apps",
        "ReplicaSet",
        json!({"metadata": meta("web-1"), "spec": {"replicas": 1, "template": template}, "status": {"replicas": 1}}),
        expect!["web-1 | 1 | 1 | 0 | 27h | a,b | x:1,y | <none>"],
    );
    check(
        "apps",
        "DaemonSet",
        json!({"metadata": meta("ds"), "spec": {"template": {"spec": {"nodeSelector": {"b": "2", "a": "1"}}}},
            "status": {"desiredNumberScheduled": 5}}),
        expect!["ds | 5 | 0 | 0 | 0 | 0 | a=1,b=2 | 27h |  |  | <none>"],
    );
    check(
        "batch",
        "Job",
        json!({"metadata": meta("job"), "spec": {"completions": 4}, "status": {"succeeded": 4,
            "startTime": "2026-01-02T11:00:00Z", "completionTime": "2026-01-02T11:03:05Z",
            "conditions": [{"type": "Complete", "status": "True"}]}}),
        expect!["job | Complete | 4/4 | 3m5s | 27h |  |  | <none>"],
    );
    check(
        "batch",
        "CronJob",
        json!({"metadata": meta("cron"), "spec": {"schedule": "* * * * *", "suspend": false},
            "status": {"active": [{}], "lastScheduleTime": "2026-01-02T11:59:30Z"}}),
        expect!["cron | * * * * * | <none> | False | 1 | 30s | 27h |  |  | <none>"],
    );
    check(
        "apps",
        "ControllerRevision",
        json!({"metadata": {"name": "r", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true}]}, "revision": 7}),
        expect!["r | statefulset.apps/db | 7 | <unknown>"],
    );
}

#[test]
fn an_autoscaler_names_what_it_scales_by() {
    check(
        "autoscaling",
        "HorizontalPodAutoscaler",
        json!({"metadata": meta("hpa"),
            "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "web"}, "maxReplicas": 9, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
                {"type": "Pods", "pods": {"target": {"averageValue": "1k"}}},
                {"type": "Object", "object": {"target": {"value": "5"}}}]},
            "status": {"currentReplicas": 2, "currentMetrics": [
                {"type": "Resource", "resource": {"current": {"averageUtilization": 41}}}]}}),
        expect!["hpa | Deployment/web | cpu: 41%/80%, <unknown>/1k + 1 more... | <unset> | 9 | 2 | 27h"],
    );
    check(
        "autoscaling",
        "HorizontalPodAutoscaler",
        json!({"metadata": meta("old"), "spec": {"minReplicas": 1, "targetCPUUtilizationPercentage": 50}}),
        expect!["old | / | cpu: <unknown>/50% | 1 | 0 | 0 | 27h"],
    );
}

#[test]
fn services_show_addresses_and_ports() {
    check(
        "",
        "Service",
        json!({"metadata": meta("web"), "spec": {"type": "NodePort", "clusterIPs": ["10.43.0.9"],
            "selector": {"app": "web"},
            "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}}),
        expect!["web | NodePort | 10.43.0.9 | <none> | 80:30080/TCP,53/UDP | 27h | app=web"],
    );
    check(
        "",
        "Service",
        json!({"metadata": meta("lb"), "spec": {"type": "LoadBalancer"}}),
        expect!["lb | LoadBalancer | <none> | <pending> | <none> | 27h | <none>"],
    );
    check(
        "",
        "Endpoints",
        json!({"metadata": meta("web"), "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}, {"port": 81}]}]}),
        expect!["web | 10.0.0.1:80,[fd00::1]:80,10.0.0.1:81 + 1 more... | 27h"],
    );
    check(
        "discovery.k8s.io",
        "EndpointSlice",
        json!({"metadata": meta("web-x"), "addressType": "IPv4", "ports": [{"name": "http", "port": 8080}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]}),
        expect!["web-x | IPv4 | 8080 | 10.0.0.1,10.0.0.2 | 27h"],
    );
    check(
        "networking.k8s.io",
        "Ingress",
        json!({"metadata": meta("web"), "spec": {"ingressClassName": "knarr", "tls": [{}],
            "rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}}),
        expect!["web | knarr | a,b,c + 1 more... | 192.0.2.1 | 80, 443 | 27h"],
    );
}

#[test]
fn a_node_shows_its_state_and_roles() {
    check(
        "",
        "Node",
        json!({"metadata": {"name": "n1", "labels": {"node-role.kubernetes.io/control-plane": "",
                "kubernetes.io/role": "edge", "node-role.kubernetes.io/": "x"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "192.0.2.7"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "osImage": "Debian"}}}),
        expect![
            "n1 | Ready,SchedulingDisabled | control-plane,edge | <unknown> | v1.36.0 | 192.0.2.7 | <none> | Debian | <unknown> | <unknown>"
        ],
    );
}

#[test]
fn events_of_both_groups_read_alike() {
    let old = json!({"metadata": {"name": "e"}, "type": "Warning", "reason": "BackOff", "message": "no\n", "count": 3,
        "involvedObject": {"kind": "Pod", "name": "web"}, "source": {"component": "kubelet", "host": "n1"},
        "firstTimestamp": "2026-01-02T11:00:00Z", "lastTimestamp": "2026-01-02T11:59:00Z"});
    check("", "Event", old, expect!["60s | Warning | BackOff | pod/web |  | kubelet, n1 | no | 60m | 3 | e"]);
    let new = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Scheduled", "note": "ok",
        "regarding": {"kind": "Pod", "name": "web"}, "reportingController": "scheduler", "reportingInstance": "s-1",
        "eventTime": "2026-01-02T11:59:30.000000Z"});
    check(
        "events.k8s.io",
        "Event",
        new,
        expect!["30s | Normal | Scheduled | pod/web |  | scheduler, s-1 | ok | 30s | 1 | e"],
    );
}

#[test]
fn storage_shows_sizes_and_modes() {
    check(
        "",
        "PersistentVolume",
        json!({"metadata": meta("pv"), "spec": {"capacity": {"storage": "1024Mi"}, "storageClassName": "fast",
            "accessModes": ["ReadWriteMany", "ReadWriteOnce"], "claimRef": {"namespace": "a", "name": "b"},
            "persistentVolumeReclaimPolicy": "Retain", "volumeMode": "Filesystem"}, "status": {"phase": "Bound"}}),
        expect!["pv | 1Gi | RWO,RWX | Retain | Bound | a/b | fast | <unset> |  | 27h | Filesystem"],
    );
    check(
        "storage.k8s.io",
        "StorageClass",
        json!({"metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "local"}),
        expect!["fast (default) | local | Delete | Immediate | false | <unknown>"],
    );
}

#[test]
fn kinds_without_a_printer_show_when_they_were_created() {
    check("rbac.authorization.k8s.io", "Role", json!({"metadata": meta("r")}), expect!["r | 2026-01-01T09:00:00Z"]);
    let columns: Vec<&str> = columns(kind("", "LimitRange")).iter().map(|column| column.name).collect();
    assert_eq!(columns, ["Name", "Created At"]);
}

#[test]
fn a_table_has_columns_rows_and_the_metadata_of_the_objects() {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": meta("a"), "status": {"phase": "Active"}});
    let metadata = json!({"resourceVersion": "7"});
    let table = table(kind("", "Namespace"), [&object], noon(), Include::Metadata, metadata, true);
    expect![[r#"
        {
          "apiVersion": "meta.k8s.io/v1",
          "columnDefinitions": [
            {
              "description": "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names",
              "format": "name",
              "name": "Name",
              "priority": 0,
              "type": "string"
            },
            {
              "description": "The status of the namespace",
              "format": "",
              "name": "Status",
              "priority": 0,
              "type": "string"
            }
          ],
          "kind": "Table",
          "metadata": {
            "resourceVersion": "7"
          },
          "rows": [
            {
              "cells": [
                "a",
                "Active",
                "27h"
              ],
              "object": {
                "apiVersion": "meta.k8s.io/v1",
                "kind": "PartialObjectMetadata",
                "metadata": {
                  "creationTimestamp": "2026-01-01T09:00:00Z",
                  "name": "a"
                }
              }
            }
          ]
        }"#]]
    .assert_eq(&without_last_column(table));
}

/// The table as text, without the long-winded age column.
fn without_last_column(mut table: Value) -> String {
    if let Some(columns) = table["columnDefinitions"].as_array_mut() {
        columns.pop();
    }
    serde_json::to_string_pretty(&table).expect("JSON")
}

#[test]
fn a_scale_is_printed_as_such_through_any_kind() {
    let scale = json!({"kind": "Scale", "metadata": meta("web"), "spec": {"replicas": 3}, "status": {"replicas": 2}});
    let table = table(kind("apps", "Deployment"), [&scale], noon(), Include::None, json!({}), true);
    assert_eq!(table["columnDefinitions"].as_array().map(Vec::len), Some(4));
    assert_eq!(table["rows"][0]["cells"], json!(["web", 3, 2, "27h"]));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-zA-Z0-9:.TZ-]{0,8}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "metadata",
        "spec",
        "status",
        "name",
        "containers",
        "containerStatuses",
        "initContainerStatuses",
        "state",
        "terminated",
        "exitCode",
        "conditions",
        "type",
        "ports",
        "port",
        "subsets",
        "addresses",
        "metrics",
        "rules",
        "creationTimestamp",
        "restartCount",
        "labels",
        "selector",
        "matchLabels",
        "capacity",
        "storage",
    ]);
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|fields| fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_object_makes_a_printer_panic(object in any_json()) {
        for kind in Catalog::builtin().kinds() {
            let cells = cells(kind, &object, noon());
            prop_assert_eq!(cells.len(), printer(kind).columns.len());
        }
    }
}
