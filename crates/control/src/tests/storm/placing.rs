//! Where pods and volumes go, and how things go away.

use super::*;

#[test]
fn no_node_gets_more_than_it_has_room_for_in_storms() {
    in_storms(2, |fake| async move {
        let pod = |name: &str| {
            let requests = json!({ "requests": { "cpu": "1" } });
            json!({ "metadata": { "name": name, "namespace": "shop" },
                "spec": { "containers": [{ "name": "c", "image": "v1", "resources": requests }] } })
        };
        fake.edit(|objects| {
            for number in 0..11 {
                objects.create_object("pods", pod(&format!("p{number:02}")));
            }
        });
        let bound = |fake: &Fake| fake.list("pods").iter().filter(|pod| pod["spec"]["nodeName"].is_string()).count();
        let waiting = |fake: &Fake| {
            let pods = fake.list("pods");
            let told = |pod: &&Value| pod["status"]["conditions"][0]["reason"] == "Unschedulable";
            pods.iter().filter(|pod| !pod["spec"]["nodeName"].is_string()).filter(told).count()
        };
        fake.until("eight have room, three wait", |fake| (bound(fake), waiting(fake)) == (8, 3)).await;
        let first =
            fake.list("pods").into_iter().find(|pod| pod["spec"]["nodeName"].is_string()).expect("one of eight");
        delete(&fake, "pods", first["metadata"]["name"].as_str().expect("a name"), "Background");
        fake.until("another has its room", |fake| (bound(fake), waiting(fake)) == (8, 2)).await;
        fake.rests(REST).await;
        assert_eq!((bound(&fake), fake.list("pods").len()), (8, 10));
        replay(&fake, "pods", |pods| {
            for node in ["n1", "n2"] {
                let there = pods.values().filter(|pod| pod["spec"]["nodeName"] == node && !is_ended(pod)).count();
                assert!(there <= 4, "{there} pods of one core each on a node of four");
            }
        });
        let told_wrongly = fake.list("pods").iter().any(|pod| {
            pod["spec"]["nodeName"].is_string() && pod["status"]["conditions"].to_string().contains("SchedulerError")
        });
        assert!(!told_wrongly, "a pod that has a node is not told that it has none");
    });
}

#[test]
fn each_claim_gets_one_volume_in_storms() {
    in_storms(1, |fake| async move {
        let spec = |volume: bool| {
            let size = json!({ "storage": "1Gi" });
            let mut spec = json!({ "accessModes": ["ReadWriteOnce"], "storageClassName": "c" });
            if volume {
                spec["capacity"] = size;
                spec["persistentVolumeReclaimPolicy"] = json!("Retain");
            } else {
                spec["resources"] = json!({ "requests": size });
            }
            spec
        };
        fake.edit(|objects| {
            let class = json!({ "metadata": { "name": "c" }, "provisioner": "example.com/disk", "volumeBindingMode": "Immediate" });
            objects.create_object("storageclasses", class);
            for number in 0..4 {
                let metadata = json!({ "name": format!("v{number}") });
                objects.create_object("persistentvolumes", json!({ "metadata": metadata, "spec": spec(true) }));
                let metadata = json!({ "name": format!("c{number}"), "namespace": "shop" });
                objects.create_object("persistentvolumeclaims", json!({ "metadata": metadata, "spec": spec(false) }));
            }
        });
        let all = |fake: &Fake, plural: &str| fake.list(plural).iter().all(|one| one["status"]["phase"] == "Bound");
        fake.until("all are bound", |fake| all(fake, "persistentvolumes") && all(fake, "persistentvolumeclaims")).await;
        fake.rests(REST).await;
        for claim in fake.list("persistentvolumeclaims") {
            let volume = the(&fake, "persistentvolumes", claim["spec"]["volumeName"].as_str().expect("a volume"));
            assert_eq!(volume["spec"]["claimRef"]["uid"], claim["metadata"]["uid"]);
        }
        delete(&fake, "persistentvolumeclaims", "c2", "Background");
        fake.until("its volume is released", |fake| {
            let released =
                fake.list("persistentvolumes").iter().filter(|one| one["status"]["phase"] == "Released").count();
            released == 1 && fake.list("persistentvolumeclaims").len() == 3
        })
        .await;
    });
}

#[test]
fn what_is_deleted_goes_with_all_it_owns_in_storms() {
    in_storms(2, |fake| async move {
        deploy(&fake, 3);
        fake.until("three pods", |fake| available(fake) == 3).await;
        delete(&fake, "deployments", "web", "Orphan");
        fake.until("the deployment is gone", |fake| fake.list("deployments").is_empty()).await;
        fake.rests(REST).await;
        assert_eq!((fake.list("replicasets").len(), fake.list("pods").len()), (1, 3));
        assert!(fake.list("replicasets").iter().all(|set| is_none(&set["metadata"]["ownerReferences"])));
        let set = text(&fake.list("replicasets")[0]["metadata"]["name"]);
        delete(&fake, "replicasets", &set, "Foreground");
        fake.until("the set is gone", |fake| fake.list("replicasets").is_empty()).await;
        assert!(fake.list("pods").is_empty(), "its pods went first");
        delete(&fake, "services", "web", "Background");
        let listed = |fake: &Fake| ["endpointslices", "endpoints"].map(|plural| fake.list(plural).len());
        fake.until("nothing tells of its pods any more", |fake| listed(fake) == [0, 0]).await;
        assert_eq!(made(&fake, "pods"), 3);
    });
}

/// Not in a storm: it is certain to be empty only when each of its kinds was listed without a fault, one after the other.
#[test]
fn a_namespace_goes_whole_in_a_breeze() {
    in_weathers(2, Storm::breeze, |fake| async move {
        deploy(&fake, 3);
        fake.edit(|objects| {
            objects.create_object("gadgets", json!({ "metadata": { "name": "g", "namespace": "shop" } }))
        });
        fake.until("three pods", |fake| available(fake) == 3).await;
        delete(&fake, "namespaces", "shop", "Background");
        fake.until("the namespace is gone", |fake| fake.list("namespaces").is_empty()).await;
        fake.rests(REST).await;
        let plurals = [
            "pods",
            "replicasets",
            "deployments",
            "services",
            "endpointslices",
            "endpoints",
            "configmaps",
            "serviceaccounts",
            "gadgets",
        ];
        for plural in plurals {
            assert!(fake.list(plural).is_empty(), "{plural} left behind");
        }
    });
}
