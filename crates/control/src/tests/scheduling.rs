//! The scheduler alone, against a server in memory.

use super::*;
use crate::scheduler::{Config as Scheduling, Profile};

/// A server with nodes of 4 cores and a scheduler; the context must be kept.
pub(super) fn scheduling(nodes: &[&str], config: Scheduling) -> (Fake, tasks::Context) {
    let fake = Fake::new();
    fake.edit(|objects| {
        objects.create_object("namespaces", json!({ "metadata": { "name": "shop" } }));
        for node in nodes {
            let allocatable = json!({ "cpu": "4", "memory": "8Gi", "pods": "110" });
            let metadata = json!({ "name": node, "labels": { "kubernetes.io/hostname": node } });
            objects.create_object("nodes", json!({ "metadata": metadata, "status": { "allocatable": allocatable } }));
        }
    });
    let (ctx, _) = tasks::context_for_tests();
    ctx.children.try_spawn("scheduler", scheduler::run(fake.client(), config, ctx.clone()));
    (fake, ctx)
}

pub(super) fn pod(fake: &Fake, name: &str, cpu: &str, spec: &Value) {
    let mut all =
        json!({ "containers": [{ "name": "c", "image": "v1", "resources": { "requests": { "cpu": cpu } } }] });
    for (field, value) in spec.as_object().expect("an object") {
        all[field] = value.clone();
    }
    let pod = json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": all });
    fake.edit(|objects| objects.create_object("pods", pod));
}

pub(super) fn get(fake: &Fake, plural: &str, name: &str) -> Value {
    fake.list(plural).into_iter().find(|one| one["metadata"]["name"] == json!(name)).unwrap_or_default()
}

pub(super) fn is_on(fake: &Fake, name: &str, node: &str) -> bool {
    get(fake, "pods", name)["spec"]["nodeName"] == json!(node)
}

pub(super) fn told(fake: &Fake, reason: &str) -> Vec<String> {
    let events = fake.list("events").into_iter().filter(|event| event["reason"] == json!(reason));
    events.filter_map(|event| event["message"].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_more_important_pod_gets_the_room_of_a_less_important_one() {
    let (fake, _ctx) = scheduling(&["n1"], Scheduling::default());
    pod(&fake, "low", "3", &json!({}));
    fake.until("the first pod has the room", |fake| is_on(fake, "low", "n1")).await;
    pod(&fake, "high", "3", &json!({ "priority": 10 }));
    fake.until("the victim is told to go", |fake| {
        let victim = get(fake, "pods", "low");
        let conditions = victim["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let mark = conditions.iter().find(|one| one["type"] == json!("DisruptionTarget"));
        victim["metadata"]["deletionTimestamp"].is_string()
            && mark.is_some_and(|mark| {
                mark["reason"] == json!("PreemptionByScheduler")
                    && mark["message"] == json!("default-scheduler: preempting to accommodate a higher priority pod")
            })
    })
    .await;
    let high = get(&fake, "pods", "high");
    assert_eq!(high["status"]["nominatedNodeName"], json!("n1"));
    assert_eq!(high["status"]["conditions"][0]["message"], json!("0/1 nodes are available: 1 Insufficient cpu."));
    pod(&fake, "late", "3", &json!({ "priority": 5 }));
    fake.until("somebody else waits for the same room", |fake| {
        get(fake, "pods", "late")["status"]["conditions"][0]["reason"] == json!("Unschedulable")
    })
    .await;
    fake.edit(|objects| objects.remove("pods", "shop", "low"));
    fake.until("the room is taken by whom it was made for", |fake| is_on(fake, "high", "n1")).await;
    let uid = high["metadata"]["uid"].as_str().expect("a uid");
    fake.until("it is told", |fake| told(fake, "Preempted") == [format!("Preempted by pod {uid} on node n1")]).await;
    assert!(!is_on(&fake, "late", "n1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_profile_has_its_pods_and_others_are_left_alone() {
    let profiles = ["one", "two"].map(|name| Profile::named(name.to_owned()));
    let config = Scheduling { profiles: profiles.to_vec(), ..Scheduling::default() };
    let (fake, _ctx) = scheduling(&["n1"], config);
    pod(&fake, "third", "1", &json!({ "schedulerName": "three" }));
    pod(&fake, "first", "1", &json!({ "schedulerName": "one" }));
    pod(&fake, "second", "1", &json!({ "schedulerName": "two" }));
    fake.until("both are bound", |fake| is_on(fake, "first", "n1") && is_on(fake, "second", "n1")).await;
    fake.until("it is told", |fake| {
        let told = told(fake, "Scheduled");
        told.contains(&"Successfully assigned shop/first to n1".to_owned()) && told.len() == 2
    })
    .await;
    assert!(!get(&fake, "pods", "third")["spec"]["nodeName"].is_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gate_holds_a_pod_back_until_it_is_opened() {
    let (fake, _ctx) = scheduling(&["n1"], Scheduling::default());
    pod(&fake, "held", "1", &json!({ "schedulingGates": [{ "name": "quota" }] }));
    pod(&fake, "free", "1", &json!({}));
    fake.until("the other is bound", |fake| is_on(fake, "free", "n1")).await;
    assert!(!get(&fake, "pods", "held")["spec"]["nodeName"].is_string());
    fake.edit(|objects| objects.change("pods", "shop", "held", |pod| pod["spec"]["schedulingGates"] = json!([])));
    fake.until("it is bound", |fake| is_on(fake, "held", "n1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_is_bound_when_its_volume_is() {
    let (fake, _ctx) = scheduling(&["n1", "n2"], Scheduling::default());
    fake.edit(|objects| {
        let class = json!({ "metadata": { "name": "local" }, "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer" });
        objects.create_object("storageclasses", class);
        let here =
            json!([{ "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": ["n2"] }] }]);
        let volume = json!({ "metadata": { "name": "disk" }, "status": { "phase": "Available" }, "spec": {
            "storageClassName": "local", "capacity": { "storage": "5Gi" }, "accessModes": ["ReadWriteOnce"],
            "nodeAffinity": { "required": { "nodeSelectorTerms": here } } } });
        objects.create_object("persistentvolumes", volume);
        let claim = json!({ "metadata": { "name": "data", "namespace": "shop" }, "spec": { "storageClassName": "local",
            "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } } });
        objects.create_object("persistentvolumeclaims", claim);
    });
    pod(&fake, "db", "1", &json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] }));
    let claim = get(&fake, "persistentvolumeclaims", "data")["metadata"]["uid"].clone();
    fake.until("the volume is the claim's", |fake| {
        let disk = get(fake, "persistentvolumes", "disk");
        disk["spec"]["claimRef"]["uid"] == claim
            && disk["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"] == json!("yes")
    })
    .await;
    assert!(!get(&fake, "pods", "db")["spec"]["nodeName"].is_string(), "not before the claim is bound");
    assert_eq!(get(&fake, "pods", "db")["status"]["nominatedNodeName"], json!("n2"));
    fake.edit(|objects| {
        objects.change("persistentvolumeclaims", "shop", "data", |claim| {
            claim["spec"]["volumeName"] = json!("disk");
            claim["metadata"]["annotations"] = json!({ "pv.kubernetes.io/bind-completed": "yes" });
        });
    });
    fake.until("the pod is bound", |fake| is_on(fake, "db", "n2")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_that_cannot_be_made_give_the_pod_back() {
    let (fake, _ctx) = scheduling(&["n1"], Scheduling::default());
    fake.edit(|objects| {
        let class =
            json!({ "metadata": { "name": "fast" }, "provisioner": "d", "volumeBindingMode": "WaitForFirstConsumer" });
        objects.create_object("storageclasses", class);
        let claim =
            json!({ "metadata": { "name": "data", "namespace": "shop" }, "spec": { "storageClassName": "fast" } });
        objects.create_object("persistentvolumeclaims", claim);
    });
    pod(&fake, "db", "3", &json!({ "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] }));
    let selected = "volume.kubernetes.io/selected-node";
    fake.until("the claim has a node", |fake| {
        get(fake, "persistentvolumeclaims", "data")["metadata"]["annotations"][selected] == json!("n1")
    })
    .await;
    // The provisioner gives up by taking the node away; then the room is free for others.
    pod(&fake, "other", "3", &json!({}));
    fake.edit(|objects| {
        objects.change("persistentvolumeclaims", "shop", "data", |claim| claim["metadata"]["annotations"] = json!({}));
    });
    fake.until("the room is free", |fake| is_on(fake, "other", "n1")).await;
    fake.until("it is told", |fake| {
        told(fake, "FailedScheduling").iter().any(|one| {
            one == "running PreBind plugin \"VolumeBinding\": binding volumes: provisioning failed for PVC \"data\""
        })
    })
    .await;
}
