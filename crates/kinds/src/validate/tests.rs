//! Golden texts: objects that people get wrong, and what they are told.

mod kinds;

use super::*;
use crate::Catalog;
use crate::default;
use expect_test::{Expect, expect};
use serde_json::json;

fn kind(plural: &str) -> &'static Kind {
    let (plural, group) = plural.split_once('.').unwrap_or((plural, ""));
    Catalog::builtin().resource(group, "v1", plural).unwrap()
}

fn told(faults: &[FieldError]) -> String {
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

/// Completes the object as the pipeline does, with a name and a namespace.
fn complete(kind: &Kind, mut value: Value) -> Value {
    let meta = json!({"name": "a", "uid": "u", "resourceVersion": "1"});
    if value.get("metadata").is_none() {
        value["metadata"] = json!({});
    }
    for (name, default) in meta.as_object().unwrap() {
        crate::json::fill(value["metadata"].as_object_mut().unwrap(), name, default.clone());
    }
    if kind.namespaced {
        crate::json::fill(value["metadata"].as_object_mut().unwrap(), "namespace", "default");
    }
    default(kind, &mut value);
    crate::strategy::prepare_create(kind, &mut value);
    value
}

#[track_caller]
fn check(plural: &str, value: Value, expected: Expect) {
    let kind = kind(plural);
    expected.assert_eq(&told(&validate_create(kind, &complete(kind, value))));
}

#[track_caller]
fn check_change(plural: &str, old: Value, new: Value, expected: Expect) {
    let kind = kind(plural);
    expected.assert_eq(&told(&validate_update(kind, &complete(kind, new), &complete(kind, old))));
}

fn pod(spec: Value) -> Value {
    let mut pod = json!({"spec": {"containers": [{"name": "c", "image": "i"}]}});
    for (name, value) in spec.as_object().unwrap() {
        pod["spec"][name] = value.clone();
    }
    pod
}

fn container(members: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i"});
    for (name, value) in members.as_object().unwrap() {
        container[name] = value.clone();
    }
    pod(json!({"containers": [container]}))
}

fn workload(labels: Value) -> Value {
    let mut template = pod(json!({}));
    template["metadata"] = json!({"labels": labels});
    json!({"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}})
}

#[test]
fn good_objects_pass() {
    check("pods", pod(json!({})), expect![""]);
    check("deployments.apps", workload(json!({"app": "web"})), expect![""]);
    check("daemonsets.apps", workload(json!({"app": "web"})), expect![""]);
    check("statefulsets.apps", workload(json!({"app": "web"})), expect![""]);
    check("services", json!({"spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}), expect![""]);
    check("services", json!({"spec": {"clusterIP": "None"}}), expect![""]);
    check("services", json!({"spec": {"type": "ExternalName", "externalName": "a.b."}}), expect![""]);
    check("services", json!({"spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}}), expect![""]);
    let job = pod(json!({"restartPolicy": "Never"}));
    check("jobs.batch", json!({"spec": {"template": job}}), expect![""]);
    check(
        "cronjobs.batch",
        json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": job}}}}),
        expect![""],
    );
    check("namespaces", json!({}), expect![""]);
    check("nodes", json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}), expect![""]);
    check("secrets", json!({"stringData": {"a": "b"}}), expect![""]);
    check("roles.rbac.authorization.k8s.io", json!({"metadata": {"name": "system:a"}}), expect![""]);
    check("leases.coordination.k8s.io", json!({"spec": {"leaseDurationSeconds": 40}}), expect![""]);
    check("storageclasses.storage.k8s.io", json!({"provisioner": "knarr.dev/local"}), expect![""]);
    check(
        "customresourcedefinitions.apiextensions.k8s.io",
        json!({
            "metadata": {"name": "crons.example.com"},
            "spec": {
                "group": "example.com", "scope": "Namespaced", "names": {"plural": "crons", "kind": "Cron"},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}],
            },
        }),
        expect![""],
    );
    check(
        "persistentvolumeclaims",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        expect![""],
    );
    check(
        "endpointslices.discovery.k8s.io",
        json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}]}),
        expect![""],
    );
}

#[test]
fn metadata_is_checked_for_all_kinds_alike() {
    check(
        "configmaps",
        json!({"metadata": {
            "name": "My_Map", "labels": {"a b": "c", "d": "e f"}, "annotations": {"x y": ""},
            "ownerReferences": [{"apiVersion": "", "kind": "Pod"}], "finalizers": ["a b"],
        }}),
        expect![[r#"
            metadata.name: Invalid value: "My_Map": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            metadata.finalizers: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.labels: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.labels[d]: Invalid value: "e f": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')
            metadata.annotations: Invalid value: "x y": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty
            metadata.ownerReferences.name: Invalid value: "": must not be empty
            metadata.ownerReferences.uid: Invalid value: "": must not be empty
        "#]],
    );
    check(
        "namespaces",
        json!({"metadata": {"name": "a.b", "namespace": "x"}}),
        expect![[r#"
        metadata.name: Invalid value: "a.b": must not contain dots
        metadata.namespace: Forbidden: not allowed on this type
    "#]],
    );
    check(
        "services",
        json!({"metadata": {"name": "1a"}, "spec": {"clusterIP": "None"}}),
        expect![[r#"
        metadata.name: Invalid value: "1a": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')
    "#]],
    );
}

#[test]
fn metadata_that_identifies_never_changes() {
    check_change(
        "configmaps",
        json!({"metadata": {"name": "a"}}),
        json!({"metadata": {"name": "b", "uid": "other", "resourceVersion": ""}}),
        expect![[r#"
            metadata.resourceVersion: Invalid value: "": must be specified for an update
            metadata.name: Invalid value: "b": field is immutable
            metadata.uid: Invalid value: "other": field is immutable
        "#]],
    );
}

#[test]
fn a_pod_needs_containers_with_names_and_images() {
    check(
        "pods",
        json!({"spec": {}}),
        expect![[r#"
        spec.containers: Required value
    "#]],
    );
    check(
        "pods",
        pod(
            json!({"containers": [{"name": "a"}, {"name": "a", "image": " i"}, {"image": "i"}, {"name": "A", "image": "i"}]}),
        ),
        expect![[r#"
            spec.containers[0].image: Required value
            spec.containers[1].image: Invalid value: " i": must not have leading or trailing whitespace
            spec.containers[1].name: Duplicate value: "a"
            spec.containers[2].name: Required value
            spec.containers[3].name: Invalid value: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
        "#]],
    );
}

#[test]
fn ports_are_checked() {
    check(
        "pods",
        container(json!({"ports": [
            {"name": "http", "containerPort": 80}, {"name": "http", "containerPort": 0},
            {"containerPort": 70000, "protocol": "HTTP"}, {"name": "1", "containerPort": 1, "hostIP": "x"},
        ]})),
        expect![[r#"
            spec.containers[0].ports[1].name: Duplicate value: "http"
            spec.containers[0].ports[1].containerPort: Required value
            spec.containers[0].ports[2].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive
            spec.containers[0].ports[2].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"
            spec.containers[0].ports[3].name: Invalid value: "1": must contain at least one letter (a-z)
            spec.containers[0].ports[3].hostIP: Invalid value: "x": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)
        "#]],
    );
}

#[test]
fn environment_variables_are_checked() {
    check(
        "pods",
        container(json!({
            "env": [
                {"value": "x"}, {"name": "a=b"}, {"name": "A", "valueFrom": {}},
                {"name": "B", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "status.nope"}}},
                {"name": "C", "valueFrom": {"secretKeyRef": {"key": "a b"}}},
            ],
            "envFrom": [{}, {"configMapRef": {}}],
        })),
        expect![[r#"
            spec.containers[0].env[0].name: Required value
            spec.containers[0].env[1].name: Invalid value: "a=b": a valid environment variable name must consist only of printable ASCII characters other than '='
            spec.containers[0].env[2].valueFrom: Invalid value: "": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`
            spec.containers[0].env[3].valueFrom: Invalid value: "": may not be specified when `value` is not empty
            spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Unsupported value: "status.nope": supported values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"
            spec.containers[0].env[4].valueFrom.secretKeyRef.name: Required value
            spec.containers[0].env[4].valueFrom.secretKeyRef.key: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')
            spec.containers[0].envFrom[0]: Invalid value: "": must specify one of: `configMapRef` or `secretRef`
            spec.containers[0].envFrom[1].configMapRef.name: Required value
        "#]],
    );
}

#[test]
fn mounts_need_volumes_and_volumes_one_source() {
    check(
        "pods",
        json!({"spec": {
            "containers": [{"name": "c", "image": "i", "volumeMounts": [
                {"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a", "subPath": "../x"}, {"mountPath": ""},
            ]}],
            "volumes": [
                {"name": "v", "secret": {}, "configMap": {"name": "a"}}, {"name": "v"}, {"name": "V"},
                {"name": "h", "hostPath": {"path": "/a/../b", "type": "Nope"}},
                {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"expirationSeconds": 5}}]}},
            ],
        }}),
        expect![[r#"
            spec.volumes[0].secret: Forbidden: may not specify more than 1 volume type
            spec.volumes[1].name: Duplicate value: "v"
            spec.volumes[2].name: Invalid value: "V": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.volumes[3].hostPath.path: Invalid value: "/a/../b": must not contain '..'
            spec.volumes[3].hostPath.type: Unsupported value: "Nope": supported values: "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"
            spec.volumes[4].projected.sources[0].serviceAccountToken.path: Required value
            spec.volumes[4].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes
            spec.containers[0].volumeMounts[1].name: Not found: "w"
            spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/a": must be unique
            spec.containers[0].volumeMounts[1].subPath: Invalid value: "../x": must not contain '..'
            spec.containers[0].volumeMounts[2].name: Required value
            spec.containers[0].volumeMounts[2].mountPath: Required value
        "#]],
    );
}

#[test]
fn resources_and_probes_are_checked() {
    check(
        "pods",
        container(json!({
            "resources": {"requests": {"cpu": "2", "memory": "-1"}, "limits": {"cpu": "1", "gpu": "1", "example.com/gpu": "1.5"}},
            "livenessProbe": {"successThreshold": 2, "httpGet": {"port": 0}, "exec": {}},
            "readinessProbe": {"periodSeconds": -1},
            "lifecycle": {"preStop": {"exec": {}}},
        })),
        expect![[r#"
            spec.containers[0].resources.limits[example.com/gpu]: Invalid value: "1500m": must be an integer
            spec.containers[0].resources.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers
            spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1
            spec.containers[0].resources.requests[example.com/gpu]: Invalid value: "1500m": must be an integer
            spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers
            spec.containers[0].resources.requests[memory]: Invalid value: "-1": must be greater than or equal to 0
            spec.containers[0].livenessProbe.exec.command: Required value
            spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type
            spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1
            spec.containers[0].readinessProbe: Required value: must specify a handler type
            spec.containers[0].readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0
            spec.containers[0].lifecycle.preStop.exec.command: Required value
        "#]],
    );
}

#[test]
fn policies_and_scheduling_are_checked() {
    check(
        "pods",
        pod(json!({
            "restartPolicy": "Sometimes", "dnsPolicy": "None", "nodeSelector": {"a b": "c"}, "hostname": "A.b",
            "tolerations": [{"operator": "Equal"}, {"key": "a", "operator": "Exists", "value": "b"}],
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}},
                "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 0, "podAffinityTerm": {}}]},
            },
            "topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "", "whenUnsatisfiable": "Never"}],
            "securityContext": {"runAsUser": -1, "seccompProfile": {"type": "Localhost"}},
            "initContainers": [{"name": "c", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}}],
        })),
        expect![[r#"
            spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always
            spec.initContainers[0].name: Duplicate value: "c"
            spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"
            spec.hostname: Invalid value: "A.b": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.nodeSelector: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')
            spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None
            spec.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive
            spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when profile type is Localhost
            spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight: Invalid value: 0: must be in the range 1-100
            spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.topologyKey: Required value: can not be empty
            spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, which means "match all values and all keys"
            spec.tolerations[1].operator: Invalid value: "b": value must be empty when `operator` is 'Exists'
            spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero
            spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty
            spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: "Never": supported values: "DoNotSchedule", "ScheduleAnyway"
        "#]],
    );
}

#[test]
fn little_of_a_pod_may_change() {
    let old = pod(json!({"tolerations": [{"key": "a", "operator": "Exists"}]}));
    let mut image = old.clone();
    image["spec"]["containers"][0]["image"] = json!("other");
    image["spec"]["tolerations"] = json!([{"key": "a", "operator": "Exists"}, {"key": "b", "operator": "Exists"}]);
    check_change("pods", old.clone(), image, expect![""]);
    let mut command = old.clone();
    command["spec"]["containers"][0]["command"] = json!(["x"]);
    command["spec"]["tolerations"] = json!([]);
    check_change(
        "pods",
        old,
        command,
        expect![[r#"
        spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds
        spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)
        changed: containers
    "#]],
    );
}
