//! Controllers, and the scheduler, that die of every single write and are started anew on the world as it then is. Those
//! beside them live.

use super::sets::{live_and_die, nodes};
use super::storm::in_virtual_time;
use super::*;
use crate::fake::Life;

/// Starts some controllers that live.
fn beside(fake: &Fake, ctx: &tasks::Context, names: &'static [&'static str]) {
    let clients = fake.clone();
    let config = config_for(Arc::new(move |_: &str| clients.client()));
    let some = CONTROLLERS.iter().filter(|controller| names.contains(&controller.name));
    ctx.children.try_spawn("others", run_some(some, config, ctx.clone()));
}

fn made(fake: &Fake, plural: &str) -> usize {
    fake.edit(|objects| objects.created(plural))
}

fn change(fake: &Fake, plural: &str, change: impl FnOnce(&mut Value)) {
    fake.edit(|objects| objects.change(plural, "shop", "web", change));
}

fn all_run(fake: &Fake, count: usize, image: &str) -> bool {
    let pods = fake.list("pods");
    let runs = |pod: &Value| pod["spec"]["containers"][0]["image"] == image && pod["status"]["phase"] == "Running";
    pods.len() == count && pods.iter().all(runs)
}

fn sizes(fake: &Fake) -> Vec<u64> {
    let mut sizes: Vec<u64> =
        fake.list("replicasets").iter().filter_map(|set| set["spec"]["replicas"].as_u64()).collect();
    sizes.sort_unstable();
    sizes
}

#[test]
fn a_deployment_rolls_however_often_its_controller_dies() {
    in_virtual_time(async {
        let (fake, ctx) = nodes(1);
        beside(&fake, &ctx, &["replicaset-controller"]);
        deploy(&fake, 3);
        let name = "deployment-controller";
        let rolled = |fake: &Fake, count: usize, image: &str| {
            let web = &fake.list("deployments")[0];
            available(fake) == count as u64
                && all_run(fake, count, image)
                && web["status"]["observedGeneration"] == web["metadata"]["generation"]
        };
        let lives = live_and_die(&fake, name, "three pods", |fake| rolled(fake, 3, "v1")).await;
        assert!(lives >= 3, "a set, a revision and a status are written one by one: {lives}");
        let image = |image: &'static str| {
            move |web: &mut Value| web["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image)
        };
        change(&fake, "deployments", image("v2"));
        live_and_die(&fake, name, "the update", |fake| rolled(fake, 3, "v2") && sizes(fake) == [0, 3]).await;
        change(&fake, "deployments", image("v1"));
        live_and_die(&fake, name, "the update undone", |fake| rolled(fake, 3, "v1") && sizes(fake) == [0, 3]).await;
        change(&fake, "deployments", |web| web["spec"]["replicas"] = json!(5));
        live_and_die(&fake, name, "five pods", |fake| rolled(fake, 5, "v1") && sizes(fake) == [0, 5]).await;
        assert_eq!((made(&fake, "pods"), made(&fake, "replicasets")), (11, 2));
        let revisions: BTreeSet<String> = fake
            .list("replicasets")
            .iter()
            .map(|set| set["metadata"]["annotations"]["deployment.kubernetes.io/revision"].to_string())
            .collect();
        assert_eq!(revisions, ["\"2\"", "\"3\""].map(String::from).into());
    });
}

#[test]
fn a_deployment_that_recreates_never_mixes_its_pods_however_often_its_controller_dies() {
    in_virtual_time(async {
        let (fake, ctx) = nodes(1);
        beside(&fake, &ctx, &["replicaset-controller"]);
        deploy(&fake, 3);
        change(&fake, "deployments", |web| web["spec"]["strategy"] = json!({ "type": "Recreate" }));
        let name = "deployment-controller";
        live_and_die(&fake, name, "three pods", |fake| available(fake) == 3 && all_run(fake, 3, "v1")).await;
        change(&fake, "deployments", |web| {
            web["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
        live_and_die(&fake, name, "the update", |fake| available(fake) == 3 && all_run(fake, 3, "v2")).await;
        let mut there: HashSet<(String, String)> = HashSet::new();
        for (kind, pod) in fake.edit(|objects| objects.history("pods")) {
            let image = pod["spec"]["containers"][0]["image"].to_string();
            let one = (pod["metadata"]["name"].to_string(), image.clone());
            if kind == "DELETED" {
                there.remove(&one);
            } else {
                there.insert(one);
            }
            assert!(there.iter().all(|(_, other)| *other == image), "{there:?}");
        }
        assert_eq!(made(&fake, "pods"), 6);
    });
}

#[test]
fn a_replicaset_gets_there_however_often_its_controller_dies() {
    in_virtual_time(async {
        let (fake, _ctx) = nodes(1);
        fake.edit(|objects| {
            let template = json!({ "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "v1" }] } });
            let spec = json!({ "replicas": 5, "selector": { "matchLabels": { "app": "web" } }, "template": template });
            objects.create_object(
                "replicasets",
                json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }),
            );
        });
        let told = |fake: &Fake, count: usize| {
            let set = &fake.list("replicasets")[0];
            set["status"]["availableReplicas"].as_u64().unwrap_or(0) as usize == count
                && set["status"]["observedGeneration"] == set["metadata"]["generation"]
                && all_run(fake, count, "v1")
        };
        let lives = live_and_die(&fake, "replicaset-controller", "five pods", |fake| told(fake, 5)).await;
        assert!(lives >= 3, "{lives}");
        change(&fake, "replicasets", |set| set["spec"]["replicas"] = json!(1));
        live_and_die(&fake, "replicaset-controller", "one pod", |fake| told(fake, 1)).await;
        assert_eq!(made(&fake, "pods"), 5);
    });
}

#[test]
fn the_slices_of_a_service_are_right_however_often_their_controller_dies() {
    in_virtual_time(async {
        let (fake, ctx) = nodes(1);
        beside(&fake, &ctx, &["replicaset-controller", "deployment-controller"]);
        deploy(&fake, 3);
        let name = "endpointslice-controller";
        let right = |fake: &Fake, count: usize| {
            let listed: usize =
                fake.list("endpointslices").iter().map(|one| one["endpoints"].as_array().map_or(0, Vec::len)).sum();
            all_run(fake, count, "v1") && listed == count && serving(fake).len() == count
        };
        live_and_die(&fake, name, "three endpoints", |fake| right(fake, 3)).await;
        change(&fake, "deployments", |web| web["spec"]["replicas"] = json!(5));
        live_and_die(&fake, name, "five endpoints", |fake| right(fake, 5)).await;
        assert_eq!(made(&fake, "endpointslices"), 1);
        fake.edit(|objects| objects.remove("services", "shop", "web"));
        live_and_die(&fake, name, "none is left", |fake| fake.list("endpointslices").is_empty()).await;
    });
}

#[test]
fn a_namespace_is_emptied_however_often_its_controller_dies() {
    in_virtual_time(async {
        let (fake, _ctx) = nodes(1);
        fake.edit(|objects| {
            for (plural, count) in [("configmaps", 3), ("gadgets", 2), ("secrets", 1), ("deployments", 1)] {
                for number in 0..count {
                    let metadata = json!({ "name": format!("o{number}"), "namespace": "shop" });
                    objects.create_object(plural, json!({ "metadata": metadata }));
                }
            }
            let spec = json!({ "nodeName": "n1", "containers": [{ "name": "c", "image": "v1" }] });
            objects.create_object("pods", json!({ "metadata": { "name": "p", "namespace": "shop" }, "spec": spec }));
        });
        delete(&fake, "namespaces", "shop", "Background");
        live_and_die(&fake, "namespace-controller", "it is gone", |fake| fake.list("namespaces").is_empty()).await;
        for plural in ["configmaps", "gadgets", "secrets", "deployments", "pods"] {
            assert!(fake.list(plural).is_empty(), "{plural} left behind");
        }
    });
}

/// A gadget that owns three, each of which owns two.
fn tree(fake: &Fake) {
    fake.edit(|objects| {
        let mut gadget = |name: String, owner: Option<&Value>| {
            let owners = owner.map(|owner| {
                json!([{ "apiVersion": "example.com/v1", "kind": "Gadget", "name": owner["metadata"]["name"],
                    "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true }])
            });
            let metadata = json!({ "name": name, "namespace": "shop", "ownerReferences": owners.unwrap_or(json!([])) });
            objects.create_object("gadgets", json!({ "metadata": metadata }))
        };
        let root = gadget("root".into(), None);
        for branch in 0..3 {
            let branch_object = gadget(format!("branch-{branch}"), Some(&root));
            for leaf in 0..2 {
                gadget(format!("leaf-{branch}-{leaf}"), Some(&branch_object));
            }
        }
    });
}

#[test]
fn garbage_is_collected_however_often_its_collector_dies() {
    for policy in ["Background", "Foreground", "Orphan"] {
        in_virtual_time(async {
            let (fake, _ctx) = nodes(1);
            tree(&fake);
            delete(&fake, "gadgets", "root", policy);
            let name = "generic-garbage-collector";
            if policy == "Orphan" {
                let gone = |fake: &Fake| fake.list("gadgets").iter().all(|one| one["metadata"]["name"] != "root");
                live_and_die(&fake, name, policy, gone).await;
                assert_eq!(fake.list("gadgets").len(), 9);
                let owned = |one: &Value| !one["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty);
                assert_eq!(fake.list("gadgets").iter().filter(|one| owned(one)).count(), 6, "the leaves keep theirs");
                return;
            }
            live_and_die(&fake, name, policy, |fake| fake.list("gadgets").is_empty()).await;
            if policy == "Foreground" {
                let history = fake.edit(|objects| objects.history("gadgets"));
                let last = history
                    .iter()
                    .rfind(|(kind, _)| *kind == "DELETED")
                    .map(|(_, one)| one["metadata"]["name"].clone());
                assert_eq!(last, Some(json!("root")), "the owner goes last");
            }
        });
    }
}

#[test]
fn protected_claims_and_volumes_go_when_nobody_uses_them_however_often_their_controllers_die() {
    in_virtual_time(async {
        let (fake, _ctx) = nodes(1);
        fake.edit(|objects| {
            let claim =
                json!({ "metadata": { "name": "data", "namespace": "shop" }, "spec": { "storageClassName": "c" } });
            objects.create_object("persistentvolumeclaims", claim);
            let source = json!([{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } }]);
            let spec = json!({ "nodeName": "n1", "volumes": source, "containers": [{ "name": "c", "image": "v1" }] });
            objects.create_object("pods", json!({ "metadata": { "name": "p", "namespace": "shop" }, "spec": spec }));
        });
        let name = "pvc-protection-controller";
        let kept =
            |fake: &Fake| fake.list("persistentvolumeclaims")[0]["metadata"]["finalizers"].to_string().contains("pvc-");
        live_and_die(&fake, name, "it is kept", kept).await;
        delete(&fake, "persistentvolumeclaims", "data", "Background");
        fake.edit(|objects| objects.remove("pods", "shop", "p"));
        live_and_die(&fake, name, "it is gone", |fake| fake.list("persistentvolumeclaims").is_empty()).await;
    });
}

/// Lets the scheduler live until its first write is done, again and again until `end`.
async fn schedule_and_die(fake: &Fake, what: &str, end: impl Fn(&Fake) -> bool) -> usize {
    for life in 1..200 {
        let (mut services, death) = (tasks::Services::new(), Life::new(1));
        let client = fake.mortal(&death);
        services.start("scheduler".to_owned(), |ctx| scheduler::run(client, scheduler::Config::default(), ctx));
        let ended = std::sync::atomic::AtomicBool::new(false);
        let over = async {
            tokio::select! {
                () = death.over() => {}
                () = fake.until(what, &end) => ended.store(true, std::sync::atomic::Ordering::Relaxed),
            }
        };
        services.run(over, std::time::Duration::from_secs(5)).await.expect("a clean stop");
        if ended.into_inner() {
            return life;
        }
    }
    panic!("never reached: {what}");
}

fn bound(fake: &Fake) -> usize {
    fake.list("pods").iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count()
}

fn pod(name: &str, spec: &Value) -> Value {
    let requests = json!({ "requests": { "cpu": "1" } });
    let mut all = json!({ "containers": [{ "name": "c", "image": "v1", "resources": requests }] });
    for (field, value) in spec.as_object().expect("fields") {
        all[field] = value.clone();
    }
    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": all })
}

/// A server with one node of four cores and no scheduler.
fn one_node() -> Fake {
    let fake = Fake::new();
    fake.edit(|objects| {
        objects.create_object("namespaces", json!({ "metadata": { "name": "shop" } }));
        let status = json!({ "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" } });
        let metadata = json!({ "name": "n1", "labels": { "kubernetes.io/hostname": "n1" } });
        objects.create_object("nodes", json!({ "metadata": metadata, "status": status }));
    });
    fake
}

#[test]
fn pods_are_placed_and_make_room_however_often_the_scheduler_dies() {
    in_virtual_time(async {
        let fake = one_node();
        fake.edit(|objects| {
            for number in 0..6 {
                objects.create_object("pods", pod(&format!("p{number}"), &json!({})));
            }
        });
        let waiting =
            |fake: &Fake| fake.list("pods").iter().filter(|pod| pod["status"]["conditions"].is_array()).count();
        let lives = schedule_and_die(&fake, "four are placed", |fake| (bound(fake), waiting(fake)) == (4, 2)).await;
        assert!(lives >= 6, "each pod is a write: {lives}");
        fake.edit(|objects| objects.create_object("pods", pod("urgent", &json!({ "priority": 10 }))));
        let leaving = |fake: &Fake| {
            fake.list("pods").iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_string()).count()
        };
        schedule_and_die(&fake, "one has to go", |fake| leaving(fake) == 1).await;
        let victims: Vec<Value> =
            fake.list("pods").into_iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_string()).collect();
        fake.edit(|objects| objects.remove("pods", "shop", victims[0]["metadata"]["name"].as_str().expect("a name")));
        let placed = |fake: &Fake| {
            fake.list("pods").iter().any(|pod| pod["metadata"]["name"] == "urgent" && pod["spec"]["nodeName"] == "n1")
        };
        schedule_and_die(&fake, "the urgent one has its room", placed).await;
        assert_eq!((bound(&fake), leaving(&fake)), (4, 0), "one victim was enough");
    });
}

#[test]
fn a_pod_and_its_volume_meet_however_often_the_scheduler_dies() {
    in_virtual_time(async {
        let fake = one_node();
        let (ctx, _) = tasks::context_for_tests();
        beside(&fake, &ctx, &["persistent-volume-binder"]);
        fake.edit(|objects| {
            let class = json!({ "metadata": { "name": "local" }, "provisioner": "kubernetes.io/no-provisioner",
                "volumeBindingMode": "WaitForFirstConsumer" });
            objects.create_object("storageclasses", class);
            for name in ["one", "two"] {
                let spec = json!({ "storageClassName": "local", "capacity": { "storage": "5Gi" },
                    "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain" });
                objects.create_object("persistentvolumes", json!({ "metadata": { "name": name }, "spec": spec }));
            }
            for name in ["data", "log"] {
                let spec = json!({ "storageClassName": "local", "accessModes": ["ReadWriteOnce"],
                    "resources": { "requests": { "storage": "1Gi" } } });
                objects.create_object(
                    "persistentvolumeclaims",
                    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec }),
                );
            }
            let volumes =
                ["data", "log"].map(|name| json!({ "name": name, "persistentVolumeClaim": { "claimName": name } }));
            objects.create_object("pods", pod("db", &json!({ "volumes": volumes })));
        });
        schedule_and_die(&fake, "it is placed", |fake| bound(fake) == 1).await;
        let held: BTreeSet<String> =
            fake.list("persistentvolumeclaims").iter().map(|claim| claim["spec"]["volumeName"].to_string()).collect();
        assert_eq!(held, ["\"one\"", "\"two\""].map(String::from).into());
        assert!(fake.list("persistentvolumeclaims").iter().all(|claim| claim["status"]["phase"] == "Bound"));
    });
}
