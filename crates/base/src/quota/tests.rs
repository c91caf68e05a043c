//! What one object of each kind counts as, and against which quotas.

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::time;

fn check(group: &str, plural: &str, object: &Value, expected: Expect) {
    let counter = Counter::of(group, plural).expect("a counter");
    let now = time::parse("2026-01-01T00:01:00Z").expect("a time");
    expected.assert_eq(&counter.usage(object, now).print());
}

fn container(name: &str, cpu: &str, limit: &str) -> Value {
    json!({ "name": name, "resources": { "requests": { "cpu": cpu }, "limits": { "cpu": limit } } })
}

#[test]
fn a_pod_counts_with_what_it_needs_at_its_hungriest_moment() {
    let mut sidecar = container("s", "50m", "50m");
    sidecar["restartPolicy"] = json!("Always");
    let pod = json!({ "spec": {
        "containers": [container("a", "100m", "1"), container("b", "100m", "1")],
        "initContainers": [container("x", "150m", "150m"), sidecar, container("y", "300m", "1")],
        "overhead": { "cpu": "10m", "memory": "1Mi" },
    } });
    check(
        "",
        "pods",
        &pod,
        expect!["count/pods=1,cpu=360m,limits.cpu=2060m,memory=1Mi,pods=1,requests.cpu=360m,requests.memory=1Mi"],
    );
}

#[test]
fn extended_resources_and_huge_pages_count_as_requests() {
    let resources =
        json!({ "requests": { "example.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi" } });
    check(
        "",
        "pods",
        &json!({ "spec": { "containers": [{ "name": "a", "resources": resources }] } }),
        expect![[
            r#"count/pods=1,ephemeral-storage=1Gi,hugepages-2Mi=4Mi,pods=1,requests.ephemeral-storage=1Gi,requests.example.com/gpu=2,requests.hugepages-2Mi=4Mi"#
        ]],
    );
}

#[test]
fn what_the_pod_says_as_a_whole_replaces_the_sum() {
    let pod = json!({ "spec": {
        "containers": [container("a", "100m", "1")],
        "resources": { "requests": { "cpu": "2", "memory": "1Gi" } },
    } });
    check(
        "",
        "pods",
        &pod,
        expect!["count/pods=1,cpu=2,limits.cpu=1,memory=1Gi,pods=1,requests.cpu=2,requests.memory=1Gi"],
    );
}

#[test]
fn a_pod_that_is_resized_counts_with_the_largest_it_has_or_wants() {
    let with = |conditions: Value| {
        json!({
            "spec": { "containers": [container("a", "300m", "1")] },
            "status": { "conditions": conditions, "containerStatuses": [{
                "name": "a", "allocatedResources": { "cpu": "200m" }, "resources": { "requests": { "cpu": "100m" } } }] },
        })
    };
    check("", "pods", &with(json!([])), expect!["count/pods=1,cpu=300m,limits.cpu=1,pods=1,requests.cpu=300m"]);
    let infeasible = json!([{ "type": "PodResizePending", "reason": "Infeasible" }]);
    check("", "pods", &with(infeasible), expect!["count/pods=1,cpu=200m,pods=1,requests.cpu=200m"]);
}

#[test]
fn a_pod_that_is_over_only_exists() {
    let pod = |metadata: Value, phase: &str| json!({ "metadata": metadata, "spec": { "containers": [container("a", "1", "1")] }, "status": { "phase": phase } });
    check("", "pods", &pod(json!({}), "Failed"), expect!["count/pods=1"]);
    let leaving =
        |grace: i64| json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace });
    check("", "pods", &pod(leaving(30), "Running"), expect!["count/pods=1"]);
    check("", "pods", &pod(leaving(90), "Running"), expect!["count/pods=1,cpu=1,limits.cpu=1,pods=1,requests.cpu=1"]);
}

#[test]
fn services_count_the_ports_they_will_be_given() {
    let service = |spec: Value| json!({ "spec": spec });
    let ports = json!([{ "port": 80 }, { "port": 81, "nodePort": 30001 }]);
    let one = service(json!({ "type": "NodePort", "ports": ports }));
    check("", "services", &one, expect!["count/services=1,services=1,services.loadbalancers=0,services.nodeports=2"]);
    let one = service(json!({ "type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false }));
    check("", "services", &one, expect!["count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"]);
    let one = service(json!({ "type": "ClusterIP", "ports": ports }));
    check("", "services", &one, expect!["count/services=1,services=1,services.loadbalancers=0,services.nodeports=0"]);
}

#[test]
fn claims_count_for_all_and_for_their_class() {
    let claim = json!({
        "spec": { "storageClassName": "gold", "resources": { "requests": { "storage": "1Gi" } } },
        "status": { "allocatedResources": { "storage": "2Gi" } },
    });
    check(
        "",
        "persistentvolumeclaims",
        &claim,
        expect![[
            r#"count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/requests.storage=2Gi,persistentvolumeclaims=1,requests.storage=2Gi"#
        ]],
    );
    let small = json!({ "spec": { "resources": { "requests": { "storage": "1500m" } } } });
    check(
        "",
        "persistentvolumeclaims",
        &small,
        expect!["count/persistentvolumeclaims=1,persistentvolumeclaims=1,requests.storage=2"],
    );
}

#[test]
fn claims_of_devices_count_the_most_that_they_may_be_given() {
    let claim = json!({ "spec": { "devices": { "requests": [
        { "exactly": { "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2 } },
        { "firstAvailable": [
            { "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1 },
            { "deviceClassName": "nic", "allocationMode": "All" },
        ] },
    ] } } });
    check(
        "resource.k8s.io",
        "resourceclaims",
        &claim,
        expect![[
            r#"count/resourceclaims.resource.k8s.io=1,gpu.deviceclass.resource.k8s.io/devices=3,nic.deviceclass.resource.k8s.io/devices=32,requests.deviceclass.resource.kubernetes.io/gpu=3,requests.deviceclass.resource.kubernetes.io/nic=32"#
        ]],
    );
}

#[test]
fn everything_else_counts_as_one_and_events_as_nothing() {
    check("", "secrets", &json!({}), expect!["count/secrets=1,secrets=1"]);
    check("apps", "deployments", &json!({}), expect!["count/deployments.apps=1"]);
    assert_eq!(Counter::of("", "events"), None);
    assert_eq!(Counter::counted("count/deployments.apps"), Some(("apps", "deployments")));
    assert_eq!(Counter::counted("count/secrets"), Some(("", "secrets")));
}

#[test]
fn scopes_hold_all_or_the_quota_is_not_asked() {
    let pods = Counter::of("", "pods").expect("a counter");
    let holds = |quota: Value, spec: Value| pods.is_in_scope(&json!({ "spec": quota }), &json!({ "spec": spec }));
    let scopes = |scopes: &[&str]| json!({ "scopes": scopes });
    assert!(holds(json!({}), json!({})));
    assert!(holds(scopes(&["NotTerminating", "BestEffort"]), json!({ "containers": [{ "name": "a" }] })));
    assert!(!holds(scopes(&["Terminating", "BestEffort"]), json!({ "containers": [{ "name": "a" }] })));
    assert!(holds(scopes(&["Terminating"]), json!({ "activeDeadlineSeconds": 5 })));
    assert!(holds(scopes(&["NotBestEffort"]), json!({ "containers": [container("a", "1m", "1")] })));
    let class = |operator: &str, values: &[&str]| {
        let one = json!({ "scopeName": "PriorityClass", "operator": operator, "values": values });
        json!({ "scopeSelector": { "matchExpressions": [one] } })
    };
    assert!(holds(class("In", &["high"]), json!({ "priorityClassName": "high" })));
    assert!(!holds(class("In", &["high"]), json!({})));
    assert!(holds(class("NotIn", &["high"]), json!({})));
    assert!(holds(class("Exists", &[]), json!({ "priorityClassName": "low" })));
    assert!(holds(class("DoesNotExist", &[]), json!({})));
    let term = json!({ "namespaceSelector": {}, "topologyKey": "a" });
    let affinity = json!({ "podAntiAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [
        { "weight": 1, "podAffinityTerm": term }] } });
    assert!(holds(scopes(&["CrossNamespacePodAffinity"]), json!({ "affinity": affinity })));
    assert!(!holds(scopes(&["CrossNamespacePodAffinity"]), json!({})));
    let claims = Counter::of("", "persistentvolumeclaims").expect("a counter");
    let quota = json!({ "spec": { "scopeSelector": { "matchExpressions": [
        { "scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"] }] } } });
    assert!(claims.is_in_scope(&quota, &json!({ "status": { "currentVolumeAttributesClassName": "fast" } })));
    assert!(!claims.is_in_scope(&quota, &json!({ "spec": { "volumeAttributesClassName": "slow" } })));
    let services = Counter::of("", "services").expect("a counter");
    assert!(!services.is_in_scope(&json!({ "spec": scopes(&["BestEffort"]) }), &json!({})));
}

#[test]
fn containers_must_say_what_is_limited() {
    let pods = Counter::of("", "pods").expect("a counter");
    let pod = json!({ "spec": { "containers": [container("b", "1", "1"), { "name": "a" }] } });
    assert_eq!(pods.check(&["pods", "requests.ephemeral-storage"], &pod), Ok(()));
    let why = "must specify limits.cpu for: a; requests.memory for: a,b";
    assert_eq!(pods.check(&["limits.cpu", "requests.memory", "pods"], &pod), Err(why.to_owned()));
    let whole = json!({ "spec": { "resources": { "limits": { "cpu": "1" } }, "containers": [{ "name": "a" }] } });
    assert_eq!(pods.check(&["requests.memory"], &whole), Ok(()));
}

#[test]
fn only_writes_that_can_use_more_are_asked_about() {
    let handles = |plural: &str, act: Act<'_>, sub: &str, new: Value| {
        Counter::of("", plural).expect("a counter").handles(act, sub, &new)
    };
    let old = json!({ "spec": {} });
    assert!(handles("configmaps", Act::Create, "", json!({})));
    assert!(!handles("configmaps", Act::Update(&old), "", json!({})));
    assert!(!handles("pods", Act::Update(&old), "", json!({})));
    assert!(handles("pods", Act::Update(&old), "", json!({ "spec": { "activeDeadlineSeconds": 1 } })));
    assert!(handles("pods", Act::Update(&old), "resize", json!({})));
    assert!(handles("services", Act::Update(&old), "", json!({})));
    let given = json!({ "status": { "allocatedResources": { "storage": "1Gi" } } });
    assert!(handles("persistentvolumeclaims", Act::Update(&old), "status", given));
    assert!(!handles("persistentvolumeclaims", Act::Update(&old), "status", json!({})));
}

fn amounts() -> impl Strategy<Value = Amounts> {
    let name = prop::sample::select(vec!["cpu", "memory", "pods"]);
    prop::collection::btree_map(name, 0u32..1000, 0..4).prop_map(|map| {
        map.into_iter().map(|(name, number)| (name.to_owned(), Amounts::number(number as usize))).collect()
    })
}

proptest! {
    #[test]
    fn what_is_beyond_added_again_is_the_larger(a in amounts(), b in amounts()) {
        prop_assert_eq!(b.plus(&a.beyond(&b)), a.at_least(&b));
    }

    #[test]
    fn nothing_exceeds_what_it_is_part_of(a in amounts(), b in amounts()) {
        let sum = a.plus(&b);
        prop_assert_eq!(a.exceeding(&sum).count(), 0);
        prop_assert_eq!(Amounts::read(&sum.to_json()), sum);
    }
}
