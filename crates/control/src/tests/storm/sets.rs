//! What keeps pods: Deployments, ReplicaSets, StatefulSets, DaemonSets, and what follows their pods.

use super::*;

#[test]
fn a_deployment_rolls_through_storms_and_never_has_a_pod_too_many() {
    in_storms(2, |fake| async move {
        deploy(&fake, 3);
        fake.edit(|objects| {
            let selector = json!({ "matchLabels": { "app": "web" } });
            let budget = json!({ "metadata": { "name": "web", "namespace": "shop" },
                "spec": { "minAvailable": 2, "selector": selector } });
            objects.create_object("poddisruptionbudgets", budget);
            let hard = json!({ "pods": "9", "services": "5" });
            let quota = json!({ "metadata": { "name": "all", "namespace": "shop" }, "spec": { "hard": hard } });
            objects.create_object("resourcequotas", quota);
        });
        fake.until("three pods", |fake| available(fake) == 3 && all_run(fake, 3, "v1")).await;
        set_image(&fake, "deployments", "v2");
        fake.until("the update", |fake| available(fake) == 3 && all_run(fake, 3, "v2")).await;
        change(&fake, "deployments", "web", |web| web["spec"]["replicas"] = json!(5));
        fake.until("five pods", |fake| available(fake) == 5 && all_run(fake, 5, "v2")).await;
        fake.rests(REST).await;
        assert!(all_run(&fake, 5, "v2") && serving(&fake).len() == 5);
        assert_eq!((made(&fake, "pods"), made(&fake, "replicasets")), (8, 2));
        replay(&fake, "pods", |pods| {
            let staying = pods.values().filter(|pod| !is_leaving(pod)).count();
            assert!(staying <= 5, "three and a surge, or five: {staying}");
        });
        let endpoints: usize =
            fake.list("endpointslices").iter().map(|slice| slice["endpoints"].as_array().map_or(0, Vec::len)).sum();
        assert_eq!(endpoints, 5, "each pod is in one slice");
        assert!(tells(
            &the(&fake, "poddisruptionbudgets", "web"),
            &[("currentHealthy", 5), ("desiredHealthy", 2), ("expectedPods", 5), ("disruptionsAllowed", 3)]
        ));
        assert_eq!(the(&fake, "resourcequotas", "all")["status"]["used"], json!({ "pods": "5", "services": "1" }));
        let sizes: Vec<u64> =
            fake.list("replicasets").iter().filter_map(|set| set["spec"]["replicas"].as_u64()).collect();
        assert_eq!(sizes.iter().sum::<u64>(), 5, "{sizes:?}");
    });
}

#[test]
fn a_replicaset_makes_no_pod_twice_in_storms() {
    in_storms(2, |fake| async move {
        fake.edit(|objects| {
            let spec =
                json!({ "replicas": 7, "selector": { "matchLabels": { "app": "web" } }, "template": template("v1") });
            objects.create_object(
                "replicasets",
                json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }),
            );
        });
        let told = |fake: &Fake, count: u64| {
            let numbers = [("replicas", count), ("readyReplicas", count), ("availableReplicas", count)];
            all_run(fake, count as usize, "v1") && tells(&the(fake, "replicasets", "web"), &numbers)
        };
        fake.until("seven pods", |fake| told(fake, 7)).await;
        change(&fake, "replicasets", "web", |set| set["spec"]["replicas"] = json!(2));
        fake.until("two pods", |fake| told(fake, 2)).await;
        fake.rests(REST).await;
        assert!(told(&fake, 2));
        assert_eq!((made(&fake, "pods"), most(&fake, "pods")), (7, 7));
    });
}

#[test]
fn a_statefulset_keeps_its_order_and_its_claims_in_storms() {
    in_storms(2, |fake| async move {
        let (ctx, _) = tasks::context_for_tests();
        ctx.children.spawn("provisioner", super::super::sets::provisioner(fake.clone()));
        fake.edit(|objects| {
            let spec = json!({ "replicas": 3, "serviceName": "web", "selector": { "matchLabels": { "app": "web" } },
                "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } },
                "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Delete" },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" } }], "template": template("v1") });
            objects.create_object(
                "statefulsets",
                json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }),
            );
        });
        let told = |fake: &Fake, count: u64, image: &str| {
            let names = ["replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas"];
            let numbers = names.map(|name| (name, count));
            all_run(fake, count as usize, image) && tells(&the(fake, "statefulsets", "web"), &numbers)
        };
        fake.until("three pods", |fake| told(fake, 3, "v1")).await;
        set_image(&fake, "statefulsets", "v2");
        fake.until("the update", |fake| told(fake, 3, "v2")).await;
        change(&fake, "statefulsets", "web", |set| set["spec"]["replicas"] = json!(1));
        let claims = |fake: &Fake| fake.list("persistentvolumeclaims").len();
        fake.until("one pod and one claim", |fake| told(fake, 1, "v2") && claims(fake) == 1).await;
        fake.rests(REST).await;
        assert!(told(&fake, 1, "v2") && claims(&fake) == 1);
        assert_eq!((made(&fake, "pods"), made(&fake, "persistentvolumeclaims")), (6, 3));
        assert_eq!(made(&fake, "controllerrevisions"), 2);
        let mut before: BTreeMap<String, Value> = BTreeMap::new();
        replay(&fake, "pods", |pods| {
            for name in pods.keys().filter(|name| !before.contains_key(*name)) {
                let ordinal: u32 = name.trim_start_matches("web-").parse().expect("an ordinal");
                let ready =
                    |one: u32| pods.get(&format!("web-{one}")).is_some_and(|pod| pod["status"]["phase"] == "Running");
                assert!((0..ordinal).all(ready), "{name} was made before the one below it ran");
            }
            before.clone_from(pods);
        });
    });
}

#[test]
fn a_daemonset_has_one_pod_for_each_node_in_storms() {
    for rolling in [json!({ "maxSurge": 1, "maxUnavailable": 0 }), json!({ "maxSurge": 0, "maxUnavailable": 1 })] {
        in_storms(3, |fake| {
            let rolling = rolling.clone();
            async move {
                let surge = rolling["maxSurge"] == 1;
                fake.edit(|objects| {
                    let spec = json!({ "selector": { "matchLabels": { "app": "web" } }, "template": template("v1"),
                        "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": rolling } });
                    objects.create_object(
                        "daemonsets",
                        json!({ "metadata": { "name": "web", "namespace": "shop" }, "spec": spec }),
                    );
                });
                let told = |fake: &Fake, image: &str| {
                    let names = ["desiredNumberScheduled", "numberReady", "numberAvailable", "updatedNumberScheduled"];
                    all_run(fake, 3, image) && tells(&the(fake, "daemonsets", "web"), &names.map(|name| (name, 3)))
                };
                fake.until("a pod on each node", |fake| told(fake, "v1")).await;
                set_image(&fake, "daemonsets", "v2");
                fake.until("the update", |fake| told(fake, "v2")).await;
                fake.rests(REST).await;
                assert!(told(&fake, "v2"));
                assert_eq!((made(&fake, "pods"), made(&fake, "controllerrevisions")), (6, 2));
                assert!(most(&fake, "pods") <= if surge { 4 } else { 3 });
            }
        });
    }
}

#[test]
fn a_busy_deployment_grows_to_its_bound_in_storms() {
    in_storms(2, |fake| async move {
        deploy(&fake, 1);
        fake.until("a pod", |fake| available(fake) == 1).await;
        let pod = text(&fake.list("pods")[0]["metadata"]["name"]);
        fake.edit(|objects| {
            let usage = json!({ "cpu": "1m", "memory": "900Mi" });
            let metrics = json!({ "metadata": { "name": pod, "namespace": "shop", "labels": { "app": "web" } },
                "timestamp": base::time::rfc3339(clock::now()), "window": "15s",
                "containers": [{ "name": "c", "usage": usage }] });
            objects.create_object("podmetrics", metrics);
            let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
            let memory = json!({ "name": "memory", "target": { "type": "AverageValue", "averageValue": "100Mi" } });
            let spec = json!({ "scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3,
                "metrics": [{ "type": "Resource", "resource": memory }] });
            let metadata = json!({ "name": "web", "namespace": "shop" });
            objects.create_object("horizontalpodautoscalers", json!({ "metadata": metadata, "spec": spec }));
        });
        fake.until("three pods", |fake| available(fake) == 3 && all_run(fake, 3, "v1")).await;
        assert_eq!((made(&fake, "pods"), most(&fake, "pods")), (3, 3));
    });
}
