//! The controllers and the scheduler together, against a server in memory and a kubelet of a few lines.

mod accounts;
mod attach;
mod autoscaler;
mod batch;
mod clocks;
mod devices;
mod dying;
mod owners;
mod restart;
mod scheduling;
mod storm;

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::fake::{Fake, Target};

mod sets;

mod volumes;

/// Controllers that sign nothing, with these clients.
fn config_for(clients: Arc<dyn Fn(&str) -> Client + Send + Sync>) -> Config {
    Config { clients, cluster_ca_pem: "PEM".into(), time_zone: Zone::UTC, sign: None, sign_token: None }
}

/// Says of every bound pod that it runs, and of every pod being deleted that it is gone.
async fn kubelet(fake: Fake) {
    let mut changes = fake.changes();
    loop {
        for pod in fake.list("pods") {
            let text = |value: &Value| value.as_str().unwrap_or("").to_owned();
            let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
            if pod["metadata"]["deletionTimestamp"].is_string() {
                fake.edit(|objects| objects.remove("pods", &namespace, &name));
            } else if pod["spec"]["nodeName"].is_string() && pod["status"]["phase"] == json!("Pending") {
                let number: u64 = text(&pod["metadata"]["uid"]).trim_start_matches("uid-").parse().expect("a serial");
                let ip = format!("10.42.{}.{}", number / 200, number % 200 + 2);
                let status = json!({ "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [
                    { "type": "Ready", "status": "True", "lastTransitionTime": base::time::rfc3339(base::time::now()) }] });
                fake.edit(|objects| objects.change("pods", &namespace, &name, |pod| pod["status"] = status));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn target(plural: &str, name: &str) -> Target {
    let namespace = if plural == "namespaces" || plural == "nodes" { "" } else { "shop" };
    Target {
        plural: plural.into(),
        namespace: namespace.into(),
        name: name.into(),
        subresource: String::new(),
        query: Default::default(),
    }
}

fn delete(fake: &Fake, plural: &str, name: &str, policy: &str) {
    let options = json!({ "propagationPolicy": policy });
    let deleted = fake.edit(|objects| objects.delete(&target(plural, name), &options));
    assert!(deleted.is_ok());
}

/// A server with a node and a namespace, everything running; the context must be kept.
fn cluster() -> (Fake, tasks::Context) {
    let fake = Fake::new();
    fake.edit(|objects| {
        objects.create_object("namespaces", json!({ "metadata": { "name": "shop" } }));
        let allocatable = json!({ "cpu": "4", "memory": "8Gi", "pods": "110" });
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        objects.create_object(
            "nodes",
            json!({ "metadata": { "name": "n1" }, "status": { "allocatable": allocatable, "conditions": ready } }),
        );
    });
    let (ctx, _) = tasks::context_for_tests();
    let clients = fake.clone();
    let config = Config {
        sign_token: Some(Arc::new(|of| Ok(format!("{} in {} of {}", of.account, of.secret, of.uid)))),
        ..config_for(Arc::new(move |_: &str| clients.client()))
    };
    let (controllers, scheduling) = (ctx.clone(), ctx.clone());
    ctx.children.try_spawn("controllers", run(config, controllers));
    ctx.children.try_spawn("scheduler", scheduler::run(fake.client(), scheduler::Config::default(), scheduling));
    ctx.children.spawn("kubelet", kubelet(fake.clone()));
    ctx.children.spawn("provisioner", sets::provisioner(fake.clone()));
    (fake, ctx)
}

fn deploy(fake: &Fake, replicas: u32) {
    let template = json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": "v1" }] } });
    let port = json!([{ "name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP" }]);
    fake.edit(|objects| {
        objects.create_object("services", json!({ "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "selector": { "app": "web" }, "clusterIP": "10.43.0.7", "ipFamilies": ["IPv4"], "ports": port } }));
        objects.create_object("deployments", json!({ "metadata": { "name": "web", "namespace": "shop" },
            "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "progressDeadlineSeconds": 600,
                "template": template } }));
    });
}

fn available(fake: &Fake) -> u64 {
    let deployments = fake.list("deployments");
    let status = deployments.first().map(|one| one["status"].clone()).unwrap_or_default();
    let complete = status["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["reason"] == json!("NewReplicaSetAvailable")));
    if complete { status["availableReplicas"].as_u64().unwrap_or(0) } else { 0 }
}

fn serving(fake: &Fake) -> BTreeSet<String> {
    let slices = fake.list("endpointslices");
    let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default());
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == json!(true));
    ready.filter_map(|endpoint| endpoint["addresses"][0].as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_becomes_serving_pods_rolls_and_goes_away_with_everything_it_owns() {
    let (fake, _ctx) = cluster();
    deploy(&fake, 3);
    fake.until("three pods available", |fake| available(fake) == 3).await;
    fake.until("three endpoints", |fake| serving(fake).len() == 3).await;
    fake.until("classic endpoints", |fake| {
        fake.list("endpoints")
            .iter()
            .any(|one| one["subsets"][0]["addresses"].as_array().is_some_and(|all| all.len() == 3))
    })
    .await;
    assert_eq!(fake.list("pods").len(), 3, "never a pod too many");
    let old: HashSet<String> = fake.list("pods").iter().map(|pod| pod["metadata"]["uid"].to_string()).collect();
    // A new template replaces every pod and keeps the old set for an undo.
    fake.edit(|objects| {
        objects.change("deployments", "shop", "web", |one| {
            one["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v2");
        });
    });
    fake.until("a complete rollout", |fake| {
        let pods = fake.list("pods");
        available(fake) == 3
            && pods.len() == 3
            && pods.iter().all(|pod| !old.contains(&pod["metadata"]["uid"].to_string()))
    })
    .await;
    let sizes: BTreeSet<u64> =
        fake.list("replicasets").iter().filter_map(|set| set["spec"]["replicas"].as_u64()).collect();
    assert_eq!(sizes, BTreeSet::from([0, 3]));
    fake.until("endpoints of the new pods only", |fake| {
        let addresses: BTreeSet<String> =
            fake.list("pods").iter().filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned)).collect();
        serving(fake) == addresses
    })
    .await;
    fake.until("events", |fake| {
        let reasons: HashSet<String> =
            fake.list("events").iter().filter_map(|event| event["reason"].as_str().map(str::to_owned)).collect();
        ["ScalingReplicaSet", "SuccessfulCreate", "SuccessfulDelete", "Scheduled"]
            .iter()
            .all(|one| reasons.contains(*one))
    })
    .await;
    delete(&fake, "deployments", "web", "Background");
    delete(&fake, "services", "web", "Background");
    fake.until("nothing left of it", |fake| {
        ["replicasets", "pods", "endpointslices", "endpoints"].iter().all(|plural| fake.list(plural).is_empty())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_gets_its_account_and_certificates_and_is_emptied_when_it_goes() {
    let (fake, _ctx) = cluster();
    fake.until("account and certificates", |fake| {
        fake.list("serviceaccounts").len() == 1 && fake.list("configmaps").len() == 1
    })
    .await;
    assert_eq!(fake.list("configmaps")[0]["data"]["ca.crt"], json!("PEM"));
    fake.edit(|objects| objects.remove("serviceaccounts", "shop", "default"));
    fake.until("the account is back", |fake| fake.list("serviceaccounts").len() == 1).await;
    deploy(&fake, 2);
    fake.until("two pods available", |fake| available(fake) == 2).await;
    delete(&fake, "namespaces", "shop", "Background");
    fake.until("the namespace is gone", |fake| fake.list("namespaces").is_empty()).await;
    for plural in ["pods", "replicasets", "deployments", "services", "configmaps"] {
        assert!(fake.list(plural).is_empty(), "{plural} left behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreground_deletion_takes_the_pods_first_and_orphaning_leaves_them() {
    let (fake, _ctx) = cluster();
    deploy(&fake, 2);
    fake.until("two pods available", |fake| available(fake) == 2).await;
    delete(&fake, "deployments", "web", "Orphan");
    fake.until("the deployment is gone", |fake| fake.list("deployments").is_empty()).await;
    let sets = fake.list("replicasets");
    assert_eq!((sets.len(), fake.list("pods").len()), (1, 2));
    assert!(sets[0]["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
    let name = sets[0]["metadata"]["name"].as_str().expect("a name").to_owned();
    delete(&fake, "replicasets", &name, "Foreground");
    fake.until("set and pods are gone", |fake| fake.list("replicasets").is_empty() && fake.list("pods").is_empty())
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_without_room_waits_and_is_bound_when_room_appears() {
    let (fake, _ctx) = cluster();
    fake.edit(|objects| {
        let containers = json!([{ "name": "c", "image": "v1", "resources": { "requests": { "cpu": "6" } } }]);
        objects.create_object(
            "pods",
            json!({ "metadata": { "name": "big", "namespace": "shop" }, "spec": { "containers": containers } }),
        );
    });
    fake.until("the pod says why it waits", |fake| {
        let pods = fake.list("pods");
        let message = &pods[0]["status"]["conditions"][0]["message"];
        message.as_str().is_some_and(|text| text.starts_with("0/1 nodes are available: 1 Insufficient cpu."))
    })
    .await;
    fake.edit(|objects| objects.change("nodes", "", "n1", |node| node["status"]["allocatable"]["cpu"] = json!("8")));
    fake.until("the pod is bound", |fake| fake.list("pods")[0]["spec"]["nodeName"] == json!("n1")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_leave_a_node_that_is_not_ready_and_come_back_when_it_is() {
    let (fake, _ctx) = cluster();
    deploy(&fake, 2);
    fake.until("two pods available", |fake| available(fake) == 2).await;
    let ready =
        |status: &'static str| move |node: &mut Value| node["status"]["conditions"][0]["status"] = json!(status);
    fake.edit(|objects| objects.change("nodes", "", "n1", ready("False")));
    fake.until("the node is tainted and empty", |fake| {
        let taints = fake.list("nodes")[0]["spec"]["taints"].as_array().map_or(0, Vec::len);
        taints == 2
            && fake.list("pods").iter().all(|pod| !pod["spec"]["nodeName"].is_string())
            && serving(fake).is_empty()
    })
    .await;
    fake.edit(|objects| objects.change("nodes", "", "n1", ready("True")));
    fake.until("the pods are back", |fake| serving(fake).len() == 2).await;
}

#[test]
fn every_controller_has_a_name_of_its_own_and_says_what_it_reads_and_owns() {
    let names: HashSet<&str> = CONTROLLERS.iter().map(|controller| controller.name).collect();
    assert_eq!(names.len(), CONTROLLERS.len());
    assert!(CONTROLLERS.iter().all(|controller| !controller.reads.is_empty() && !controller.owns.is_empty()));
}
