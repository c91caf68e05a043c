//! Devices for pods, from the claim to the node and back, against a server in memory.

use super::scheduling::{get, is_on, pod, scheduling, told};
use super::*;
use crate::scheduler::Config as Scheduling;

fn class(fake: &Fake, extended: Option<&str>) {
    fake.edit(|objects| {
        let spec = json!({ "extendedResourceName": extended,
            "selectors": [{ "cel": { "expression": "device.driver == \"gpu.example.com\"" } }] });
        objects.create_object("deviceclasses", json!({ "metadata": { "name": "gpus" }, "spec": spec }));
    });
}

fn slice(fake: &Fake, node: &str, devices: &Value) {
    let spec = json!({ "driver": "gpu.example.com", "nodeName": node, "devices": devices,
        "pool": { "name": node, "generation": 1, "resourceSliceCount": 1 } });
    fake.edit(|objects| {
        objects.create_object("resourceslices", json!({ "metadata": { "name": node }, "spec": spec }));
    });
}

/// A spec of one device.
fn wanted() -> Value {
    json!({ "devices": { "requests": [
        { "name": "gpu", "exactly": { "deviceClassName": "gpus", "allocationMode": "ExactCount", "count": 1 } }
    ] } })
}

fn claim(fake: &Fake, name: &str) {
    let claim = json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": wanted() });
    fake.edit(|objects| objects.create_object("resourceclaims", claim));
}

fn using(claim: &str) -> Value {
    json!({ "resourceClaims": [{ "name": "gpu", "resourceClaimName": claim }] })
}

fn device(claim: &Value) -> &str {
    claim["status"]["allocation"]["devices"]["results"][0]["device"].as_str().unwrap_or("")
}

fn users(claim: &Value) -> usize {
    claim["status"]["reservedFor"].as_array().map_or(0, Vec::len)
}

fn message(fake: &Fake, name: &str) -> String {
    get(fake, "pods", name)["status"]["conditions"][0]["message"].as_str().unwrap_or("").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_from_a_template_is_made_given_devices_and_freed_with_its_pod() {
    let (fake, _ctx) = cluster();
    class(&fake, None);
    slice(&fake, "n1", &json!([{ "name": "one" }]));
    fake.edit(|objects| {
        let template = json!({ "metadata": { "name": "t", "namespace": "shop" }, "spec": { "spec": wanted() } });
        objects.create_object("resourceclaimtemplates", template);
        let spec = json!({ "containers": [{ "name": "c", "image": "v1" }],
            "resourceClaims": [{ "name": "gpu", "resourceClaimTemplateName": "t" }] });
        objects.create_object("pods", json!({ "metadata": { "name": "p", "namespace": "shop" }, "spec": spec }));
    });
    fake.until("the pod runs", |fake| get(fake, "pods", "p")["status"]["phase"] == json!("Running")).await;
    let made = fake.list("resourceclaims").remove(0);
    assert_eq!((device(&made), users(&made)), ("one", 1));
    assert_eq!(made["metadata"]["finalizers"], json!(["resource.kubernetes.io/delete-protection"]));
    assert!(made["status"]["allocation"]["allocationTimestamp"].is_string());
    let field = &made["status"]["allocation"]["nodeSelector"]["nodeSelectorTerms"][0]["matchFields"][0];
    assert_eq!((&field["key"], &field["values"]), (&json!("metadata.name"), &json!(["n1"])));
    assert_eq!(made["status"]["reservedFor"][0]["uid"], get(&fake, "pods", "p")["metadata"]["uid"]);
    claim(&fake, "next");
    pod(&fake, "q", "1", &using("next"));
    fake.until("another pod waits", |fake| !message(fake, "q").is_empty()).await;
    delete(&fake, "pods", "p", "Background");
    fake.until("the devices went to the other", |fake| device(&get(fake, "resourceclaims", "next")) == "one").await;
    fake.until("it is bound", |fake| is_on(fake, "q", "n1")).await;
    fake.until("the claim of the first is gone", |fake| fake.list("resourceclaims").len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pods_share_a_claim() {
    let (fake, _ctx) = scheduling(&["n1", "n2"], Scheduling::default());
    class(&fake, None);
    slice(&fake, "n2", &json!([{ "name": "one" }]));
    claim(&fake, "shared");
    pod(&fake, "a", "1", &using("shared"));
    pod(&fake, "b", "1", &using("shared"));
    fake.until("both are where the device is", |fake| is_on(fake, "a", "n2") && is_on(fake, "b", "n2")).await;
    let shared = get(&fake, "resourceclaims", "shared");
    assert_eq!((device(&shared), users(&shared)), ("one", 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_waits_for_its_claim_and_for_devices_and_is_woken_by_both() {
    let (fake, _ctx) = scheduling(&["n1", "n2"], Scheduling::default());
    class(&fake, None);
    pod(&fake, "p", "1", &using("late"));
    pod(&fake, "other", "1", &json!({}));
    fake.until("others go on", |fake| get(fake, "pods", "other")["spec"]["nodeName"].is_string()).await;
    claim(&fake, "late");
    fake.until("it is told what is missing", |fake| {
        message(fake, "p") == "0/2 nodes are available: 2 cannot allocate all claims. still not schedulable, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
    })
    .await;
    slice(&fake, "n2", &json!([{ "name": "one" }]));
    fake.until("it is bound", |fake| is_on(fake, "p", "n2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_do_two_pods_get_one_device() {
    let (fake, _ctx) = scheduling(&["n1"], Scheduling::default());
    class(&fake, None);
    slice(&fake, "n1", &json!([{ "name": "one" }, { "name": "two" }, { "name": "three" }]));
    for index in 0..6 {
        claim(&fake, &format!("c{index}"));
        pod(&fake, &format!("p{index}"), "100m", &using(&format!("c{index}")));
    }
    let settled = |fake: &Fake| {
        let pods = fake.list("pods");
        let bound = pods.iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count();
        let refused = pods.iter().filter(|pod| pod["status"]["conditions"][0]["reason"] == json!("Unschedulable"));
        bound == 3 && refused.count() == 3
    };
    fake.until("three have devices and three wait", settled).await;
    let claims = fake.list("resourceclaims");
    let given: Vec<&str> = claims.iter().map(device).filter(|name| !name.is_empty()).collect();
    let different: BTreeSet<&str> = given.iter().copied().collect();
    assert_eq!((given.len(), different.len()), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extended_resource_becomes_a_claim_that_the_pod_names() {
    let (fake, _ctx) = scheduling(&["n1", "n2"], Scheduling::default());
    class(&fake, Some("example.com/gpu"));
    slice(&fake, "n2", &json!([{ "name": "one" }]));
    let container = json!({ "name": "main", "image": "v1", "resources": { "requests": { "example.com/gpu": "1" } } });
    pod(&fake, "p", "1", &json!({ "containers": [container] }));
    fake.until("it is bound", |fake| is_on(fake, "p", "n2")).await;
    let made = fake.list("resourceclaims").remove(0);
    assert_eq!((device(&made), users(&made)), ("one", 1));
    assert_eq!(made["metadata"]["annotations"]["resource.kubernetes.io/extended-resource-claim"], json!("true"));
    let status = &get(&fake, "pods", "p")["status"]["extendedResourceClaimStatus"];
    assert_eq!(status["resourceClaimName"], made["metadata"]["name"]);
    assert_eq!(
        status["requestMappings"],
        json!([{ "containerName": "main", "resourceName": "example.com/gpu", "requestName": "container-0-request-0" }])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_bound_when_its_devices_say_that_they_are_ready() {
    let (fake, _ctx) = scheduling(&["n1"], Scheduling::default());
    class(&fake, None);
    let devices = json!([{ "name": "one", "bindingConditions": ["Attached"], "bindingFailureConditions": ["Broken"] }]);
    slice(&fake, "n1", &devices);
    claim(&fake, "c");
    pod(&fake, "p", "1", &using("c"));
    fake.until("it waits", |fake| {
        told(fake, "BindingConditionsPending") == ["waiting for binding conditions for device on node n1"]
    })
    .await;
    assert!(!is_on(&fake, "p", "n1"));
    let attached = |kind: &'static str| {
        move |claim: &mut Value| {
            let condition = json!({ "type": kind, "status": "True", "reason": "Done", "message": "it is",
                "lastTransitionTime": base::time::rfc3339(base::time::now()) });
            let device =
                json!({ "driver": "gpu.example.com", "pool": "n1", "device": "one", "conditions": [condition] });
            claim["status"]["devices"] = json!([device]);
        }
    };
    fake.edit(|objects| objects.change("resourceclaims", "shop", "c", attached("Broken")));
    let failed =
        "running PreBind plugin \"DynamicResources\": device binding failed: claim=c, reason=Done, message=\"it is\"";
    fake.until("it is told of the failure", |fake| told(fake, "FailedScheduling").iter().any(|one| one == failed))
        .await;
    fake.until("the device is given back and given again", |fake| {
        let claim = get(fake, "resourceclaims", "c");
        device(&claim) == "one" && claim["status"]["devices"].is_null()
    })
    .await;
    fake.edit(|objects| objects.change("resourceclaims", "shop", "c", attached("Attached")));
    fake.until("it is bound", |fake| is_on(fake, "p", "n1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_leaves_a_device_that_breaks() {
    let (fake, _ctx) = cluster();
    class(&fake, None);
    slice(&fake, "n1", &json!([{ "name": "one" }]));
    claim(&fake, "c");
    pod(&fake, "p", "1", &using("c"));
    fake.until("the pod runs", |fake| get(fake, "pods", "p")["status"]["phase"] == json!("Running")).await;
    fake.edit(|objects| {
        objects.change("resourceslices", "", "n1", |slice| {
            let since = base::time::rfc3339(base::time::now());
            slice["spec"]["devices"][0]["taints"] =
                json!([{ "key": "hot", "effect": "NoExecute", "timeAdded": since }]);
        });
    });
    fake.until("the pod is gone", |fake| fake.list("pods").is_empty()).await;
    fake.until("it is told", |fake| told(fake, "DeviceTaintManagerEviction") == ["Marking for deletion"]).await;
    fake.until("the device is free", |fake| device(&get(fake, "resourceclaims", "c")).is_empty()).await;
}
