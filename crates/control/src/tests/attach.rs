//! Volumes that are attached, against a server in memory and a driver of a few lines.

use super::sets::live_and_die;
use super::*;

const NAME: &str = "kubernetes.io/csi/d^disk";

/// Attaches what is asked for and lets go of what is deleted, never two at once.
async fn attacher(fake: Fake) {
    let mut changes = fake.changes();
    loop {
        let attachments = fake.list("volumeattachments");
        assert!(attachments.len() <= 1, "a disk is at one node at a time: {attachments:?}");
        for one in attachments {
            let name = one["metadata"]["name"].as_str().expect("a name");
            if one["metadata"]["deletionTimestamp"].is_string() {
                let node = one["spec"]["nodeName"].as_str().expect("a node");
                assert!(!reported(&fake, node), "a node is told before its disk goes");
                fake.edit(|objects| objects.remove("volumeattachments", "", name));
            } else if one["status"]["attached"] != json!(true) {
                fake.edit(|objects| {
                    objects.change("volumeattachments", "", name, |one| {
                        one["metadata"]["finalizers"] = json!(["external-attacher/d"]);
                        one["status"] = json!({ "attached": true });
                    });
                });
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn reported(fake: &Fake, node: &str) -> bool {
    let nodes = fake.list("nodes");
    let node = nodes.iter().find(|one| one["metadata"]["name"] == json!(node));
    let attached = node.and_then(|node| node["status"]["volumesAttached"].as_array().cloned()).unwrap_or_default();
    attached.iter().any(|volume| volume["name"] == json!(NAME))
}

fn told(fake: &Fake, reason: &str, words: &str) -> bool {
    fake.list("events").iter().any(|event| {
        event["reason"] == json!(reason) && event["message"].as_str().is_some_and(|message| message.contains(words))
    })
}

/// Two nodes, and a claim bound to a disk.
fn disk() -> (Fake, tasks::Context) {
    let fake = Fake::new();
    fake.edit(|objects| {
        objects.create_object("namespaces", json!({ "metadata": { "name": "shop" } }));
        for node in ["n1", "n2"] {
            let managed = json!({ "volumes.kubernetes.io/controller-managed-attach-detach": "true" });
            let status = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
            objects.create_object(
                "nodes",
                json!({ "metadata": { "name": node, "annotations": managed }, "status": status }),
            );
        }
        let claim = json!({ "metadata": { "name": "data", "namespace": "shop" },
            "spec": { "volumeName": "pv" }, "status": { "phase": "Bound" } });
        let claim = objects.create_object("persistentvolumeclaims", claim);
        let holder = json!({ "namespace": "shop", "name": "data", "uid": claim["metadata"]["uid"] });
        let spec = json!({ "accessModes": ["ReadWriteOnce"], "claimRef": holder,
            "csi": { "driver": "d", "volumeHandle": "disk" } });
        objects.create_object("persistentvolumes", json!({ "metadata": { "name": "pv" }, "spec": spec }));
    });
    let (ctx, _) = tasks::context_for_tests();
    ctx.children.spawn("attacher", attacher(fake.clone()));
    (fake, ctx)
}

fn pod(fake: &Fake, name: &str, node: &str) {
    let volumes = json!([{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } }]);
    let spec = json!({ "nodeName": node, "volumes": volumes, "containers": [{ "name": "c", "image": "v1" }] });
    fake.edit(|objects| {
        objects.create_object("pods", json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec }));
    });
}

fn gone(fake: &Fake, name: &str) {
    fake.edit(|objects| objects.remove("pods", "shop", name));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_follows_its_pod_from_node_to_node() {
    let (fake, ctx) = disk();
    let clients = fake.clone();
    let config = config_for(Arc::new(move |_: &str| clients.client()));
    let only = CONTROLLERS.iter().filter(|one| one.name == "attachdetach-controller");
    ctx.children.try_spawn("controllers", run_some(only, config, ctx.clone()));
    pod(&fake, "p", "n1");
    fake.until("the first node has the disk", |fake| reported(fake, "n1")).await;
    fake.until("its pod is told", |fake| {
        told(fake, "SuccessfulAttachVolume", "AttachVolume.Attach succeeded for volume \"pv\"")
    })
    .await;
    pod(&fake, "q", "n2");
    let message = "Multi-Attach error for volume \"pv\" Volume is already used by pod(s) p";
    fake.until("the other pod is told why it waits", |fake| told(fake, "FailedAttachVolume", message)).await;
    gone(&fake, "p");
    fake.until("the disk has moved", |fake| reported(fake, "n2") && !reported(fake, "n1")).await;
    gone(&fake, "q");
    fake.until("the disk is free", |fake| !reported(fake, "n2") && fake.list("volumeattachments").is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_moves_however_often_the_controller_dies() {
    let (fake, _ctx) = disk();
    pod(&fake, "p", "n1");
    live_and_die(&fake, "attachdetach-controller", "the disk is there", |fake| reported(fake, "n1")).await;
    gone(&fake, "p");
    pod(&fake, "q", "n2");
    let moved = |fake: &Fake| reported(fake, "n2") && !reported(fake, "n1");
    let lives = live_and_die(&fake, "attachdetach-controller", "the disk has moved", moved).await;
    assert!(lives >= 4, "to tell one node, to detach, to attach, to tell the other: {lives}");
    assert_eq!(fake.edit(|objects| objects.created("volumeattachments")), 2);
}
