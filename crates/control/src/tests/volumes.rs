//! Claims, volumes and quotas against a server in memory, also with controllers that die of every write.

use super::sets::{live_and_die, nodes};
use super::*;

fn class(fake: &Fake, mode: &str) {
    fake.edit(|objects| {
        objects.create_object(
            "storageclasses",
            json!({ "metadata": { "name": "c" }, "provisioner": "example.com/disk", "volumeBindingMode": mode }),
        )
    });
}

fn volume(name: &str, claim: &Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
        "storageClassName": "c", "persistentVolumeReclaimPolicy": "Retain", "claimRef": claim } })
}

fn claim(name: &str) -> Value {
    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": { "accessModes": ["ReadWriteOnce"],
        "storageClassName": "c", "resources": { "requests": { "storage": "1Gi" } } } })
}

fn phase(fake: &Fake, plural: &str, name: &str) -> String {
    let all = fake.list(plural);
    let one = all.iter().find(|one| one["metadata"]["name"] == json!(name));
    one.and_then(|one| one["status"]["phase"].as_str()).unwrap_or("").to_owned()
}

fn told(fake: &Fake, reason: &str, words: &str) -> bool {
    fake.list("events").iter().any(|event| {
        event["reason"] == json!(reason) && event["message"].as_str().is_some_and(|message| message.contains(words))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_bound_however_often_the_binder_dies() {
    let (fake, _ctx) = nodes(1);
    class(&fake, "Immediate");
    fake.edit(|objects| {
        objects.create_object("persistentvolumes", volume("one", &Value::Null));
        objects.create_object("persistentvolumes", volume("two", &Value::Null));
        objects.create_object("persistentvolumeclaims", claim("data"));
        objects.create_object("persistentvolumeclaims", claim("log"));
    });
    let bound = |fake: &Fake| {
        ["data", "log"].iter().all(|name| phase(fake, "persistentvolumeclaims", name) == "Bound")
            && ["one", "two"].iter().all(|name| phase(fake, "persistentvolumes", name) == "Bound")
    };
    let lives = live_and_die(&fake, "persistent-volume-binder", "both claims bound", bound).await;
    assert!(lives >= 10, "two phases and four writes for each claim: {lives}");
    let held: BTreeSet<String> =
        fake.list("persistentvolumeclaims").iter().map(|claim| claim["spec"]["volumeName"].to_string()).collect();
    assert_eq!(held.len(), 2, "each has its own");
    fake.edit(|objects| objects.remove("persistentvolumeclaims", "shop", "data"));
    let released = |fake: &Fake| ["one", "two"].iter().any(|name| phase(fake, "persistentvolumes", name) == "Released");
    live_and_die(&fake, "persistent-volume-binder", "a volume released", released).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_asked_for_bound_used_and_let_go() {
    let (fake, _ctx) = cluster();
    class(&fake, "Immediate");
    fake.edit(|objects| objects.create_object("persistentvolumeclaims", claim("data")));
    fake.until("the provisioner is asked", |fake| told(fake, "ExternalProvisioning", "'example.com/disk'")).await;
    let asked = fake.list("persistentvolumeclaims")[0].clone();
    assert_eq!(asked["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"], json!("example.com/disk"));
    let reference = json!({ "namespace": "shop", "name": "data", "uid": asked["metadata"]["uid"] });
    fake.edit(|objects| objects.create_object("persistentvolumes", volume("pvc-1", &reference)));
    fake.until("bound", |fake| phase(fake, "persistentvolumeclaims", "data") == "Bound").await;
    fake.until("kept", |fake| {
        let finalizer = |plural: &str| fake.list(plural)[0]["metadata"]["finalizers"][0].clone();
        finalizer("persistentvolumeclaims") == json!("kubernetes.io/pvc-protection")
            && finalizer("persistentvolumes") == json!("kubernetes.io/pv-protection")
    })
    .await;
    fake.edit(|objects| {
        let source = json!([{ "name": "d", "persistentVolumeClaim": { "claimName": "data" } }]);
        objects.create_object(
            "pods",
            json!({ "metadata": { "name": "p", "namespace": "shop" },
            "spec": { "nodeName": "n1", "volumes": source, "containers": [{ "name": "c", "image": "v1" }] } }),
        );
    });
    fake.until("the pod runs", |fake| phase(fake, "pods", "p") == "Running").await;
    delete(&fake, "persistentvolumeclaims", "data", "Background");
    fake.edit(|objects| {
        objects.change("pods", "shop", "p", |pod| pod["metadata"]["labels"] = json!({ "still": "here" }))
    });
    assert_eq!(fake.list("persistentvolumeclaims").len(), 1, "a pod uses it");
    delete(&fake, "pods", "p", "Background");
    fake.until("the claim is gone", |fake| fake.list("persistentvolumeclaims").is_empty()).await;
    fake.until("its volume is released", |fake| phase(fake, "persistentvolumes", "pvc-1") == "Released").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_gets_its_ephemeral_claims_and_takes_them_along() {
    let (fake, _ctx) = cluster();
    class(&fake, "WaitForFirstConsumer");
    fake.edit(|objects| {
        let template = json!({ "spec": claim("x")["spec"] });
        let source = json!([{ "name": "tmp", "ephemeral": { "volumeClaimTemplate": template } }]);
        objects.create_object(
            "pods",
            json!({ "metadata": { "name": "p", "namespace": "shop" },
            "spec": { "nodeName": "n1", "volumes": source, "containers": [{ "name": "c", "image": "v1" }] } }),
        );
    });
    fake.until("a claim", |fake| fake.list("persistentvolumeclaims").len() == 1).await;
    let made = fake.list("persistentvolumeclaims")[0].clone();
    assert_eq!(
        (&made["metadata"]["name"], &made["metadata"]["ownerReferences"][0]["kind"]),
        (&json!("p-tmp"), &json!("Pod"))
    );
    fake.until("it waits", |fake| told(fake, "WaitForFirstConsumer", "waiting for first consumer")).await;
    delete(&fake, "pods", "p", "Background");
    fake.until("it went with its pod", |fake| fake.list("persistentvolumeclaims").is_empty()).await;
}

fn used(fake: &Fake) -> Value {
    fake.list("resourcequotas")[0]["status"]["used"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_quota_limits_is_counted_and_given_back() {
    let (fake, _ctx) = cluster();
    deploy(&fake, 3);
    fake.until("three pods", |fake| available(fake) == 3).await;
    fake.edit(|objects| {
        let hard = json!({ "pods": "9", "count/gadgets.example.com": "5", "secrets": "5", "services": "5" });
        objects.create_object("gadgets", json!({ "metadata": { "name": "g", "namespace": "shop" } }));
        objects.create_object(
            "resourcequotas",
            json!({ "metadata": { "name": "q", "namespace": "shop" }, "spec": { "hard": hard } }),
        );
    });
    fake.until("everything is counted", |fake| {
        used(fake) == json!({ "pods": "3", "count/gadgets.example.com": "1", "secrets": "0", "services": "1" })
    })
    .await;
    fake.edit(|objects| objects.remove("gadgets", "shop", "g"));
    fake.until("what is gone is given back", |fake| used(fake)["count/gadgets.example.com"] == json!("0")).await;
    fake.edit(|objects| objects.change("deployments", "shop", "web", |web| web["spec"]["replicas"] = json!(1)));
    fake.until("pods too", |fake| used(fake)["pods"] == json!("1")).await;
    fake.edit(|objects| {
        objects.change("resourcequotas", "shop", "q", |quota| quota["spec"]["hard"] = json!({ "pods": "2" }))
    });
    fake.until("the new limit is told", |fake| {
        fake.list("resourcequotas")[0]["status"] == json!({ "hard": { "pods": "2" }, "used": { "pods": "1" } })
    })
    .await;
}
