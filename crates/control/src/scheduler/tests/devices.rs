//! Pods with claims of devices: where they go, and why not.

use serde_json::{Value, json};

use super::*;
use crate::scheduler::seen::{SeenDeviceClass, SeenResourceClaim, SeenSlice};

/// Two nodes with a device each.
const TWO: &[&str] = &["n1", "n2"];

struct Test(World);

fn claim(name: &str, devices: &Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": "default", "uid": format!("uid-{name}"), "resourceVersion": "1" },
        "spec": { "devices": devices } })
}

/// One device of a class.
fn one(class: &str) -> Value {
    json!({ "requests": [{ "name": "r", "exactly": { "deviceClassName": class } }] })
}

/// With devices of a node.
fn given(mut claim: Value, node: &str, device: &str, pods: &[&str]) -> Value {
    let result = json!({ "request": "r", "driver": "d", "pool": node, "device": device });
    let field = json!({ "key": "metadata.name", "operator": "In", "values": [node] });
    let pods = pods.iter().map(|pod| json!({ "resource": "pods", "name": pod, "uid": format!("pod-{pod}") }));
    claim["status"] = json!({
        "allocation": {
            "devices": { "results": [result] },
            "nodeSelector": { "nodeSelectorTerms": [{ "matchFields": [field] }] },
        },
        "reservedFor": pods.collect::<Vec<_>>(),
    });
    claim
}

fn pod(name: &str, claims: &[&str]) -> Value {
    let claims: Vec<Value> = claims.iter().map(|one| json!({ "name": one, "resourceClaimName": one })).collect();
    json!({ "metadata": { "name": name, "namespace": "default", "uid": format!("pod-{name}") },
        "spec": { "containers": [{ "name": "c" }], "resourceClaims": claims } })
}

/// A pod whose container asks for an extended resource.
fn asking(name: &str, resource: &str, amount: &str) -> Value {
    let mut pod = pod(name, &[]);
    pod["spec"]["containers"][0]["resources"] = json!({ "requests": { resource: amount } });
    pod
}

impl Test {
    /// Nodes `n1` to `n3`, of which these have a device, and a class for all of them.
    fn new(with_devices: &[&str]) -> Self {
        let (world, _) = world_of("node n1\nnode n2\nnode n3", Profile::default());
        let mut test = Self(world);
        for node in with_devices {
            test.slice(node, &json!([{ "name": "gpu" }]));
        }
        test.class("gpus", &json!({ "extendedResourceName": "example.com/gpu" }));
        test
    }

    fn slice(&mut self, node: &str, devices: &Value) {
        let pool = json!({ "name": node, "generation": 1, "resourceSliceCount": 1 });
        let slice = json!({ "metadata": { "name": format!("slice-{node}") },
            "spec": { "driver": "d", "nodeName": node, "pool": pool, "devices": devices } });
        self.0.devices.put_slice(seen::<SeenSlice>(&slice).kept());
    }

    fn class(&mut self, name: &str, spec: &Value) {
        let class = json!({ "metadata": { "name": name }, "spec": spec });
        self.0.devices.put_class(name, Some(seen::<SeenDeviceClass>(&class).kept()));
    }

    fn claim(&mut self, claim: &Value) {
        self.0.devices.put_claim(seen::<SeenResourceClaim>(claim).kept());
    }

    fn decide(&mut self, pod: &Value) -> Decision {
        let pod = self.0.read_pod(&pod.to_string()).expect("a pod");
        decide(&mut self.0, &pod, &mut Turn::new(1))
    }

    /// What is decided; a pod that is bound has its devices from then on.
    fn check(&mut self, pod: &Value, expected: Expect) {
        let told = match self.decide(pod) {
            Decision::Bind { node, devices, .. } => {
                self.0.devices.assume(&devices);
                let given = devices.claims.iter().map(|(claim, allocation)| {
                    let results = allocation
                        .iter()
                        .flat_map(|one| one.devices.iter().flat_map(|one| one.results.iter().flatten()));
                    let devices: Vec<String> =
                        results.map(|one| format!("{}={}/{}", one.request, one.pool, one.device)).collect();
                    format!(" {}[{}]", claim.name, devices.join(" "))
                });
                format!("{node}{}", given.collect::<String>())
            }
            Decision::Refused(diagnosis) => diagnosis.message,
            Decision::Failed(message) => format!("failed: {message}"),
        };
        expected.assert_eq(&told);
    }
}

#[test]
fn a_pod_goes_where_its_devices_are_and_two_never_get_one() {
    let mut test = Test::new(&["n2"]);
    test.claim(&claim("a", &one("gpus")));
    test.claim(&claim("b", &one("gpus")));
    test.check(&pod("p", &["a"]), expect!["n2 a[r=n2/gpu]"]);
    test.check(
        &pod("q", &["b"]),
        expect!["0/3 nodes are available: 3 cannot allocate all claims. still not schedulable, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."],
    );
    test.check(
        &pod("r", &["a"]),
        expect!["0/3 nodes are available: resource claim default/a is in the process of being allocated. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."],
    );
}

#[test]
fn a_claim_that_has_devices_brings_its_pods_to_them() {
    let mut test = Test::new(TWO);
    test.claim(&given(claim("a", &one("gpus")), "n2", "gpu", &["p"]));
    test.check(&pod("q", &["a"]), expect!["n2 a[]"]);
    test.check(&pod("p", &["a"]), expect!["n2"]);
}

#[test]
fn what_is_missing_is_told_before_any_node() {
    let mut test = Test::new(TWO);
    let tail =
        "no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    let check = |test: &mut Test, pod: &Value, why: &str| match test.decide(pod) {
        Decision::Refused(diagnosis) => {
            assert_eq!(diagnosis.message, format!("0/3 nodes are available: {why}. {tail}"));
        }
        other => panic!("{other:?}"),
    };
    check(&mut test, &pod("p", &["a"]), "could not find ResourceClaim \"default/a\"");
    test.claim(&claim("a", &one("none")));
    check(&mut test, &pod("p", &["a"]), "request r: device class none does not exist");
    let alternatives =
        json!({ "requests": [{ "name": "r", "firstAvailable": [{ "name": "s", "deviceClassName": "none" }] }] });
    test.claim(&claim("b", &alternatives));
    check(&mut test, &pod("p", &["b"]), "request r/s: device class none does not exist");
    let mut leaving = claim("c", &one("gpus"));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    test.claim(&leaving);
    check(&mut test, &pod("p", &["c"]), "resourceclaim \"c\" is being deleted");
    let mut templated = pod("p", &[]);
    templated["spec"]["resourceClaims"] = json!([{ "name": "gpu", "resourceClaimTemplateName": "t" }]);
    check(&mut test, &templated, "pod \"default/p\": ResourceClaim not created yet");
    templated["status"] = json!({ "resourceClaimStatuses": [{ "name": "gpu", "resourceClaimName": "d" }] });
    test.claim(&claim("d", &one("gpus")));
    check(&mut test, &templated, "ResourceClaim default/d was not created for Pod default/p (Pod is not owner)");
    templated["status"] = json!({ "resourceClaimStatuses": [{ "name": "gpu" }] });
    assert!(matches!(test.decide(&templated), Decision::Bind { .. }), "it turned out not to be needed");
}

#[test]
fn an_expression_that_fails_is_an_error_and_not_a_matter_of_nodes() {
    let mut test = Test::new(TWO);
    test.class("odd", &json!({ "selectors": [{ "cel": { "expression": "device.attributes[\"d\"].size > 1" } }] }));
    test.claim(&claim("a", &one("odd")));
    test.check(
        &pod("p", &["a"]),
        expect![[r#"failed: running "DynamicResources" filter plugin: class odd: selector #0: CEL runtime error: no such key: size"#]],
    );
}

#[test]
fn idle_devices_elsewhere_are_given_back() {
    let mut test = Test::new(&["n1"]);
    test.claim(&given(claim("a", &one("gpus")), "n9", "gpu", &[]));
    test.check(
        &pod("p", &["a"]),
        expect!["0/3 nodes are available: 3 resourceclaim not available on the node. deallocation of ResourceClaim completed, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."],
    );
    test.claim(&given(claim("a", &one("gpus")), "n9", "gpu", &["other"]));
    test.check(
        &pod("p", &["a"]),
        expect!["0/3 nodes are available: 3 resourceclaim not available on the node. still not schedulable, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."],
    );
}

#[test]
fn devices_that_failed_or_took_too_long_to_be_ready_are_given_back() {
    let waiting = |since: &str, status: &str| {
        let mut claim = given(claim("a", &one("gpus")), "n1", "gpu", &[]);
        let allocation = &mut claim["status"]["allocation"];
        allocation["allocationTimestamp"] = json!(since);
        allocation["devices"]["results"][0]["bindingConditions"] = json!(["Ready"]);
        allocation["devices"]["results"][0]["bindingFailureConditions"] = json!(["Broken"]);
        let condition =
            json!({ "type": status, "status": "True", "reason": "r", "message": "m", "lastTransitionTime": since });
        claim["status"]["devices"] =
            json!([{ "driver": "d", "pool": "n1", "device": "gpu", "conditions": [condition] }]);
        claim
    };
    let cure = |claim: &Value| {
        let mut test = Test::new(TWO);
        test.claim(claim);
        match test.decide(&pod("p", &["a"])) {
            Decision::Bind { node, .. } => node.to_string(),
            Decision::Refused(diagnosis) => diagnosis.message.split_once(". ").expect("a reason").1.to_owned(),
            Decision::Failed(message) => message,
        }
    };
    assert_eq!(cure(&waiting("1970-01-01T00:00:00Z", "Ready")), "n1");
    assert_eq!(cure(&waiting("1970-01-01T00:00:00Z", "Odd")), "n1", "there is time");
    assert!(cure(&waiting("1969-12-31T00:00:00Z", "Odd")).starts_with("deallocation of ResourceClaim completed"));
    assert!(cure(&waiting("1970-01-01T00:00:00Z", "Broken")).starts_with("deallocation of ResourceClaim completed"));
}

#[test]
fn a_node_that_satisfies_earlier_alternatives_is_liked_more() {
    let mut test = Test::new(&[]);
    for (node, model) in [("n1", "slow"), ("n2", "fast"), ("n3", "slow")] {
        test.slice(node, &json!([{ "name": "gpu", "attributes": { "model": { "string": model } } }]));
    }
    let alternative = |model: &str| {
        let expression = format!("device.attributes[\"d\"].model == \"{model}\"");
        json!({ "name": model, "deviceClassName": "gpus", "selectors": [{ "cel": { "expression": expression } }] })
    };
    let devices =
        json!({ "requests": [{ "name": "r", "firstAvailable": [alternative("fast"), alternative("slow")] }] });
    test.claim(&claim("a", &devices));
    test.check(&pod("p", &["a"]), expect!["n2 a[r/fast=n2/gpu]"]);
}

#[test]
fn an_extended_resource_is_satisfied_by_devices_of_its_class() {
    let mut test = Test::new(&["n2"]);
    test.check(&asking("p", "example.com/gpu", "1"), expect!["n2 <extended-resources>[container-0-request-0=n2/gpu]"]);
    test.check(
        &asking("q", "deviceclass.resource.kubernetes.io/gpus", "1"),
        expect!["0/3 nodes are available: 3 cannot allocate all claims. still not schedulable, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."],
    );
    test.check(
        &asking("r", "example.com/other", "1"),
        expect!["0/3 nodes are available: 3 Insufficient example.com/other. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."],
    );
}

#[test]
fn a_claim_for_extended_resources_of_an_attempt_that_failed_is_deleted() {
    let mut test = Test::new(&["n2"]);
    let mut left = claim("p-extended-resources-x", &one("gpus"));
    left["metadata"]["annotations"] = json!({ "resource.kubernetes.io/extended-resource-claim": "true" });
    left["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod-p", "controller": true }]);
    test.claim(&left);
    test.check(
        &asking("p", "example.com/gpu", "1"),
        expect!["0/3 nodes are available: 3 cannot schedule extended resource claim. deletion of ResourceClaim completed, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."],
    );
}

#[test]
fn a_node_with_devices_of_its_own_needs_none_of_a_class() {
    let (world, _) = world_of("node n1 gpu=1\nnode n2", Profile::default());
    let mut test = Test(world);
    test.class("gpus", &json!({ "extendedResourceName": "example.com/gpu" }));
    test.check(&asking("p", "example.com/gpu", "1"), expect!["n1"]);
}
