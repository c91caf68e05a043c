//! StatefulSets, DaemonSets and ReplicationControllers against a server in memory; also with a controller that dies of
//! every single write and is started anew on the world as it then is.

use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use super::*;
use crate::fake::Life;
use crate::plan::revision::Step;
use crate::plan::statefulset;

/// A server with `nodes` nodes, a scheduler and a kubelet, but no controllers; the context must be kept.
pub(super) fn nodes(nodes: usize) -> (Fake, tasks::Context) {
    let fake = Fake::new();
    fake.edit(|objects| {
        objects.create_object("namespaces", json!({ "metadata": { "name": "shop" } }));
        for node in 1..=nodes {
            let allocatable = json!({ "cpu": "4", "memory": "8Gi", "pods": "110" });
            let metadata = json!({ "name": format!("n{node}") });
            objects.create_object("nodes", json!({ "metadata": metadata, "status": { "allocatable": allocatable } }));
        }
    });
    let (ctx, _) = tasks::context_for_tests();
    ctx.children.try_spawn("scheduler", scheduler::run(fake.client(), scheduler::Config::default(), ctx.clone()));
    ctx.children.spawn("kubelet", kubelet(fake.clone()));
    ctx.children.spawn("provisioner", provisioner(fake.clone()));
    (fake, ctx)
}

/// Gives each claim without a class a volume of its own, as a provisioner and the binder would.
pub(super) async fn provisioner(fake: Fake) {
    let mut changes = fake.changes();
    loop {
        for claim in fake.list("persistentvolumeclaims") {
            if claim["spec"]["volumeName"].is_string() || claim["spec"]["storageClassName"].is_string() {
                continue;
            }
            let name = claim["metadata"]["name"].as_str().unwrap_or("").to_owned();
            let volume = json!({ "metadata": { "name": format!("pv-{name}") }, "spec": {
                "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "hostPath": { "path": "/x" },
                "claimRef": { "namespace": "shop", "name": name, "uid": claim["metadata"]["uid"] },
            } });
            fake.edit(|objects| {
                objects.remove("persistentvolumes", "", &format!("pv-{name}"));
                objects.create_object("persistentvolumes", volume);
                objects.change("persistentvolumeclaims", "shop", &name, |claim| {
                    claim["spec"]["volumeName"] = json!(format!("pv-{name}"));
                    claim["metadata"]["annotations"]["pv.kubernetes.io/bind-completed"] = json!("yes");
                    claim["status"] = json!({ "phase": "Bound" });
                });
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Lets a controller live until its first write is done, again and again until `end`. How many lives that took.
pub(super) async fn live_and_die(fake: &Fake, name: &str, what: &str, end: impl Fn(&Fake) -> bool) -> usize {
    let index = CONTROLLERS.iter().position(|one| one.name == name).expect("a controller of that name");
    let ended = AtomicBool::new(false);
    for life in 1..500 {
        let (mut services, death) = (tasks::Services::new(), Life::new(1));
        let (server, dies) = (fake.clone(), death.clone());
        let clients = Arc::new(move |_: &str| server.mortal(&dies));
        let config = config_for(clients);
        services.start(name.to_owned(), |ctx| run_some(&CONTROLLERS[index..=index], config, ctx));
        let over = async {
            tokio::select! {
                () = death.over() => {}
                () = fake.until(what, &end) => ended.store(true, Ordering::Relaxed),
            }
        };
        services.run(over, std::time::Duration::from_secs(5)).await.expect("a clean stop");
        if ended.load(Ordering::Relaxed) {
            return life;
        }
    }
    panic!("never reached: {what}");
}

fn made(fake: &Fake, plural: &str) -> usize {
    fake.edit(|objects| objects.created(plural))
}

fn template(image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": image }] } })
}

/// A set of two pods with a claim each, whose claims go with their pods when it shrinks.
fn stateful_set(policy: &Value) -> Value {
    json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": {
        "replicas": 2,
        "selector": { "matchLabels": { "app": "web" } },
        "serviceName": "web",
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
        "persistentVolumeClaimRetentionPolicy": policy,
        "volumeClaimTemplates": [{ "metadata": { "name": "data" } }],
        "template": template("v1"),
    } })
}

fn daemon_set(rolling: &Value) -> Value {
    json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": {
        "selector": { "matchLabels": { "app": "web" } },
        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": rolling },
        "template": template("v1"),
    } })
}

fn change(fake: &Fake, plural: &str, change: impl FnOnce(&mut Value)) {
    fake.edit(|objects| objects.change(plural, "shop", "web", change));
}

fn set_image(fake: &Fake, plural: &str, image: &str) {
    change(fake, plural, |set| set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image));
}

/// The images of the pods that are not on their way out.
fn images(fake: &Fake) -> Vec<String> {
    let pods = fake.list("pods");
    let staying = pods.iter().filter(|pod| !pod["metadata"]["deletionTimestamp"].is_string());
    staying.map(|pod| pod["spec"]["containers"][0]["image"].as_str().unwrap_or("").to_owned()).collect()
}

/// Whether the set has told that all its `count` pods run `image`.
fn complete(fake: &Fake, count: u64, image: &str) -> bool {
    let (set, pods) = (&fake.list("statefulsets")[0], fake.list("pods"));
    let status = &set["status"];
    let counts = ["replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas"];
    pods.len() as u64 == count
        && images(fake).iter().all(|one| one == image)
        && counts.iter().all(|name| status[name].as_u64().unwrap_or(0) == count)
        && status["currentRevision"] == status["updateRevision"]
        && status["observedGeneration"] == set["metadata"]["generation"]
}

/// The same of a DaemonSet.
fn everywhere(fake: &Fake, count: u64, image: &str) -> bool {
    let (set, pods) = (&fake.list("daemonsets")[0], fake.list("pods"));
    let status = &set["status"];
    let counts = ["desiredNumberScheduled", "numberReady", "numberAvailable", "updatedNumberScheduled"];
    pods.len() as u64 == count
        && images(fake).iter().all(|one| one == image)
        && counts.iter().all(|name| status[name].as_u64().unwrap_or(0) == count)
        && status["observedGeneration"] == set["metadata"]["generation"]
}

fn revision_numbers(fake: &Fake) -> Vec<i64> {
    let mut numbers: Vec<i64> =
        fake.list("controllerrevisions").iter().filter_map(|one| one["revision"].as_i64()).collect();
    numbers.sort_unstable();
    numbers
}

fn claims(fake: &Fake) -> Vec<String> {
    fake.list("persistentvolumeclaims")
        .iter()
        .map(|claim| claim["metadata"]["name"].as_str().unwrap_or("").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statefulset_gets_there_however_often_its_controller_dies() {
    let (fake, _ctx) = nodes(1);
    let policy = json!({ "whenDeleted": "Delete", "whenScaled": "Delete" });
    fake.edit(|objects| objects.create_object("statefulsets", stateful_set(&policy)));
    let name = "statefulset-controller";
    let lives = live_and_die(&fake, name, "two pods", |fake| complete(fake, 2, "v1")).await;
    assert!(lives >= 6, "a revision, two claims, two pods and a status are written one by one: {lives}");
    assert_eq!((made(&fake, "pods"), made(&fake, "persistentvolumeclaims")), (2, 2));
    assert_eq!(revision_numbers(&fake), [1]);
    set_image(&fake, "statefulsets", "v2");
    live_and_die(&fake, name, "the update", |fake| complete(fake, 2, "v2")).await;
    assert_eq!(revision_numbers(&fake), [1, 2]);
    set_image(&fake, "statefulsets", "v1");
    live_and_die(&fake, name, "the update undone", |fake| complete(fake, 2, "v1")).await;
    assert_eq!(revision_numbers(&fake), [2, 3]);
    assert_eq!((made(&fake, "pods"), made(&fake, "persistentvolumeclaims")), (6, 2));
    assert_eq!(made(&fake, "controllerrevisions"), 2);
    change(&fake, "statefulsets", |set| set["spec"]["replicas"] = json!(1));
    live_and_die(&fake, name, "one pod", |fake| complete(fake, 1, "v1")).await;
    let owners: Vec<Value> = fake
        .list("persistentvolumeclaims")
        .iter()
        .flat_map(|claim| claim["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default())
        .map(|owner| json!([owner["kind"], owner["name"], owner["controller"]]))
        .collect();
    assert_eq!(owners, [json!(["StatefulSet", "web", true]), json!(["Pod", "web-1", true])]);
    assert_eq!(made(&fake, "pods"), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parallel_statefulset_gets_there_however_often_its_controller_dies() {
    let (fake, _ctx) = nodes(1);
    let mut set = stateful_set(&json!({}));
    set["spec"]["replicas"] = json!(4);
    set["spec"]["podManagementPolicy"] = json!("Parallel");
    fake.edit(|objects| objects.create_object("statefulsets", set));
    live_and_die(&fake, "statefulset-controller", "four pods", |fake| complete(fake, 4, "v1")).await;
    change(&fake, "statefulsets", |set| set["spec"]["replicas"] = json!(1));
    live_and_die(&fake, "statefulset-controller", "one pod", |fake| complete(fake, 1, "v1")).await;
    assert_eq!((made(&fake, "pods"), made(&fake, "persistentvolumeclaims")), (4, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemonset_gets_there_however_often_its_controller_dies() {
    for rolling in [json!({ "maxSurge": 1, "maxUnavailable": 0 }), json!({ "maxSurge": 0, "maxUnavailable": 1 })] {
        let (fake, _ctx) = nodes(3);
        fake.edit(|objects| objects.create_object("daemonsets", daemon_set(&rolling)));
        let name = "daemon-set-controller";
        live_and_die(&fake, name, "a pod on each node", |fake| everywhere(fake, 3, "v1")).await;
        assert_eq!((made(&fake, "pods"), revision_numbers(&fake)), (3, vec![1]));
        set_image(&fake, "daemonsets", "v2");
        live_and_die(&fake, name, "the update", |fake| everywhere(fake, 3, "v2")).await;
        set_image(&fake, "daemonsets", "v1");
        live_and_die(&fake, name, "the update undone", |fake| everywhere(fake, 3, "v1")).await;
        assert_eq!((made(&fake, "pods"), revision_numbers(&fake)), (9, vec![2, 3]));
        let places: BTreeSet<String> =
            fake.list("pods").iter().map(|pod| pod["spec"]["nodeName"].to_string()).collect();
        assert_eq!(places.len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replicationcontroller_gets_there_however_often_it_dies() {
    let (fake, _ctx) = nodes(1);
    fake.edit(|objects| {
        objects.create_object(
            "replicationcontrollers",
            json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": {
                "replicas": 3, "selector": { "app": "web" }, "template": template("v1") } }),
        );
    });
    let told = |fake: &Fake, count: usize| {
        let controller = &fake.list("replicationcontrollers")[0];
        let available = controller["status"]["availableReplicas"].as_u64().unwrap_or(0) as usize;
        available == count
            && fake.list("pods").len() == count
            && controller["status"]["observedGeneration"] == controller["metadata"]["generation"]
    };
    live_and_die(&fake, "replication-controller", "three pods", |fake| told(fake, 3)).await;
    let owner = fake.list("pods")[0]["metadata"]["ownerReferences"][0].clone();
    assert_eq!((&owner["apiVersion"], &owner["kind"]), (&json!("v1"), &json!("ReplicationController")));
    change(&fake, "replicationcontrollers", |controller| controller["spec"]["replicas"] = json!(1));
    live_and_die(&fake, "replication-controller", "one pod", |fake| told(fake, 1)).await;
    assert_eq!(made(&fake, "pods"), 3);
    assert!(fake.list("replicationcontrollers")[0]["status"]["terminatingReplicas"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_go_with_their_pod_or_their_set_or_stay() {
    let (fake, _ctx) = cluster();
    let policy = json!({ "whenDeleted": "Delete", "whenScaled": "Delete" });
    fake.edit(|objects| objects.create_object("statefulsets", stateful_set(&policy)));
    fake.until("two pods", |fake| complete(fake, 2, "v1")).await;
    assert_eq!(claims(&fake), ["data-web-0", "data-web-1"]);
    change(&fake, "statefulsets", |set| set["spec"]["replicas"] = json!(1));
    fake.until("the claim is gone with its pod", |fake| complete(fake, 1, "v1") && claims(fake) == ["data-web-0"])
        .await;
    change(&fake, "statefulsets", |set| set["spec"]["replicas"] = json!(2));
    fake.until("a new claim comes with the new pod", |fake| complete(fake, 2, "v1") && claims(fake).len() == 2).await;
    delete(&fake, "statefulsets", "web", "Background");
    let all = ["pods", "controllerrevisions", "persistentvolumeclaims"];
    fake.until("nothing is left", |fake| all.iter().all(|plural| fake.list(plural).is_empty())).await;
    let mut keeping = stateful_set(&json!({}));
    keeping["spec"]["volumeClaimTemplates"][0]["metadata"]["name"] = json!("log");
    fake.edit(|objects| objects.create_object("statefulsets", keeping));
    fake.until("two pods", |fake| complete(fake, 2, "v1")).await;
    delete(&fake, "statefulsets", "web", "Background");
    fake.until("the pods are gone", |fake| fake.list("pods").is_empty() && fake.list("statefulsets").is_empty()).await;
    assert_eq!(claims(&fake), ["log-web-0", "log-web-1"]);
    let told = |words: &str| {
        fake.list("events").iter().any(|event| event["message"].as_str().is_some_and(|message| message == words))
    };
    fake.until("events", |_| {
        told("Create Claim data-web-0 Pod web-0 in StatefulSet web success")
            && told("Create Pod web-0 in StatefulSet web successful")
            && told("Delete Pod web-1 in StatefulSet web successful")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_whose_name_is_taken_gets_another() {
    let (fake, ctx) = nodes(1);
    let made = fake.edit(|objects| objects.create_object("statefulsets", stateful_set(&json!({}))));
    let set: StatefulSet = serde_json::from_value(made).expect("a set");
    let spec = set.spec.as_ref().expect("a spec");
    let Step::Create(wanted) = statefulset::revise(&set, spec, &[]).step else { panic!("nothing is there yet") };
    fake.edit(|objects| {
        let metadata = json!({ "name": wanted.name_any(), "namespace": "shop" });
        objects
            .create_object("controllerrevisions", json!({ "metadata": metadata, "revision": 1, "data": { "a": "b" } }));
    });
    let clients = fake.clone();
    let config = config_for(Arc::new(move |_: &str| clients.client()));
    ctx.children.try_spawn("controllers", run(config, ctx.clone()));
    fake.until("two pods", |fake| complete(fake, 2, "v1")).await;
    let status = &fake.list("statefulsets")[0]["status"];
    assert_eq!(status["collisionCount"], json!(1));
    assert_ne!(status["currentRevision"], json!(wanted.name_any()));
    assert_eq!(fake.list("controllerrevisions").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn daemons_follow_the_nodes_and_failed_ones_are_replaced() {
    let (fake, _ctx) = cluster();
    fake.edit(|objects| objects.create_object("daemonsets", daemon_set(&json!({ "maxUnavailable": 1 }))));
    fake.until("a pod", |fake| everywhere(fake, 1, "v1")).await;
    fake.edit(|objects| {
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let status = json!({ "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" }, "conditions": ready });
        objects.create_object("nodes", json!({ "metadata": { "name": "n2" }, "status": status }));
    });
    fake.until("a pod on the new node", |fake| everywhere(fake, 2, "v1")).await;
    fake.edit(|objects| {
        objects.change("nodes", "", "n2", |node| {
            node["spec"]["taints"] = json!([{ "key": "mine", "effect": "NoExecute" }])
        });
    });
    fake.until("the pod has left", |fake| everywhere(fake, 1, "v1")).await;
    let pod = fake.list("pods")[0]["metadata"].clone();
    let name = pod["name"].as_str().expect("a name").to_owned();
    fake.edit(|objects| objects.change("pods", "shop", &name, |pod| pod["status"] = json!({ "phase": "Failed" })));
    fake.until("another pod", |fake| {
        everywhere(fake, 1, "v1") && fake.list("pods").first().is_some_and(|one| one["metadata"]["uid"] != pod["uid"])
    })
    .await;
    let text = format!("Found failed daemon pod shop/{name} on node n1, will try to kill it");
    fake.until("an event", |fake| {
        fake.list("events").iter().any(|event| {
            event["message"] == json!(text)
                && event["reason"] == json!("FailedDaemonPod")
                && event["source"]["component"] == json!("daemonset-controller")
        })
    })
    .await;
}
