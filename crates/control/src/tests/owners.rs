//! Who owns what when it is not plain: several who select the same, orphans that two want, owners in a circle.

use std::time::Duration;

use super::storm::{REST, calm, in_virtual_time};
use super::*;

/// The garbage collector has no full pass, and asks again after half a minute.
const SHORT_REST: Duration = Duration::from_secs(2 * 60);

fn template() -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": "v1" }] } })
}

/// A set, or a deployment, that selects the pods of all others.
fn keeper(name: &str, replicas: u64) -> Value {
    let spec = json!({ "replicas": replicas, "selector": { "matchLabels": { "app": "web" } }, "template": template() });
    json!({ "metadata": { "name": name, "namespace": "shop" }, "spec": spec })
}

fn made(fake: &Fake, plural: &str) -> usize {
    fake.edit(|objects| objects.created(plural))
}

/// How many pods have this controller; each has one owner.
fn owned(fake: &Fake, uid: &Value) -> usize {
    let pods = fake.list("pods");
    let owners = |pod: &Value| pod["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    assert!(pods.iter().all(|pod| owners(pod).len() <= 1), "nobody has two owners");
    pods.iter().filter(|pod| owners(pod).iter().any(|owner| owner["uid"] == *uid)).count()
}

#[test]
fn of_two_sets_with_one_selector_one_adopts_the_orphan_and_each_keeps_its_number() {
    in_virtual_time(async {
        let (fake, _ctx) = calm(2);
        let uids = fake.edit(|objects| {
            let mut orphan = template();
            orphan["metadata"] = json!({ "name": "orphan", "namespace": "shop", "labels": { "app": "web" } });
            objects.create_object("pods", orphan);
            [("one", 2), ("two", 3)].map(|(name, replicas)| {
                objects.create_object("replicasets", keeper(name, replicas))["metadata"]["uid"].clone()
            })
        });
        let kept = |fake: &Fake| uids.each_ref().map(|uid| owned(fake, uid)) == [2, 3];
        fake.until("each has its number", kept).await;
        fake.rests(REST).await;
        assert!(kept(&fake));
        assert_eq!(made(&fake, "pods"), 5, "the orphan is one of them");
        // A pod that loses its owner has a new one, and is not one too many for long.
        let freed = fake.list("pods")[0]["metadata"]["name"].as_str().expect("a name").to_owned();
        fake.edit(|objects| {
            objects.change("pods", "shop", &freed, |pod| pod["metadata"]["ownerReferences"] = json!([]))
        });
        fake.rests(REST).await;
        assert!(kept(&fake));
        assert_eq!(fake.list("pods").len(), 5);
    });
}

#[test]
fn a_pod_is_not_adopted_in_the_place_of_another_of_its_name() {
    in_virtual_time(async {
        let fake = Fake::new();
        let orphan = |labels: Value| json!({ "metadata": { "name": "orphan", "namespace": "shop", "labels": labels }, "spec": template()["spec"] });
        let first = fake.edit(|objects| objects.create_object("pods", orphan(json!({ "app": "web" }))));
        let set = fake.edit(|objects| objects.create_object("replicasets", keeper("one", 1)));
        let set: k8s_openapi::api::apps::v1::ReplicaSet = serde_json::from_value(set).expect("a set");
        let pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(first).expect("a pod");
        // While the patch is on its way the pod is replaced by a stranger.
        fake.edit(|objects| {
            objects.remove("pods", "shop", "orphan");
            objects.create_object("pods", orphan(json!({})));
        });
        let patch = plan::claim::adoption(&set, &pod);
        let error = run::write::patch(&fake.client(), &pod, &patch).await.expect_err("it is another pod");
        assert!(run::write::is_conflict(&error), "{error}");
        assert!(fake.list("pods")[0]["metadata"]["ownerReferences"].is_null());
        let error = run::write::delete(&fake.client(), &pod, Default::default()).await.expect_err("nor is it deleted");
        assert!(run::write::is_conflict(&error), "{error}");
        assert_eq!(fake.list("pods").len(), 1);
    });
}

#[test]
fn deployments_that_select_each_others_pods_do_not_fight() {
    in_virtual_time(async {
        let (fake, _ctx) = calm(2);
        fake.edit(|objects| {
            objects.create_object("deployments", keeper("one", 2));
            objects.create_object("deployments", keeper("two", 3));
        });
        let complete = |fake: &Fake| {
            let told = |one: &Value| one["status"]["availableReplicas"] == one["spec"]["replicas"];
            fake.list("deployments").iter().all(told) && fake.list("pods").len() == 5
        };
        fake.until("both are complete", complete).await;
        fake.rests(REST).await;
        assert!(complete(&fake));
        assert_eq!((made(&fake, "pods"), made(&fake, "replicasets")), (5, 2));
        // A set that lost its owner goes to one of them, once.
        let lost = fake.list("replicasets")[0]["metadata"]["name"].as_str().expect("a name").to_owned();
        fake.edit(|objects| {
            objects.change("replicasets", "shop", &lost, |set| set["metadata"]["ownerReferences"] = json!([]));
        });
        fake.rests(REST).await;
        let owners = |set: &Value| set["metadata"]["ownerReferences"].as_array().map_or(0, Vec::len);
        assert!(fake.list("replicasets").iter().all(|set| owners(set) == 1));
        assert!(complete(&fake));
    });
}

/// Gadgets each of which is owned by the one before it, and the first by the last.
fn circle(fake: &Fake, names: &[&str], blocks: bool) {
    fake.edit(|objects| {
        let uids: Vec<Value> = names
            .iter()
            .map(|name| {
                let gadget = json!({ "metadata": { "name": name, "namespace": "shop" } });
                objects.create_object("gadgets", gadget)["metadata"]["uid"].clone()
            })
            .collect();
        for (index, name) in names.iter().enumerate() {
            let before = (index + names.len() - 1) % names.len();
            let owner = json!([{ "apiVersion": "example.com/v1", "kind": "Gadget", "name": names[before],
                "uid": uids[before], "blockOwnerDeletion": blocks }]);
            objects.change("gadgets", "shop", name, |gadget| gadget["metadata"]["ownerReferences"] = owner);
        }
    });
}

#[test]
fn owners_in_a_circle_stay_until_one_is_deleted_and_then_all_go() {
    for policy in ["Background", "Foreground"] {
        for blocks in [true, false] {
            for names in [&["a"][..], &["a", "b"], &["a", "b", "c"]] {
                in_virtual_time(async {
                    let (fake, _ctx) = calm(2);
                    circle(&fake, names, blocks);
                    fake.rests(SHORT_REST).await;
                    assert_eq!(fake.list("gadgets").len(), names.len(), "who is owned by who lives stays");
                    delete(&fake, "gadgets", "a", policy);
                    let what = format!("{policy} deletion of {names:?}, blocking: {blocks}");
                    fake.until(&what, |fake| fake.list("gadgets").is_empty()).await;
                });
            }
        }
    }
}

#[test]
fn a_circle_that_is_orphaned_at_one_place_is_open_there() {
    in_virtual_time(async {
        let (fake, _ctx) = calm(2);
        circle(&fake, &["a", "b", "c"], true);
        fake.rests(SHORT_REST).await;
        delete(&fake, "gadgets", "a", "Orphan");
        fake.until("it is gone", |fake| fake.list("gadgets").len() == 2).await;
        fake.rests(SHORT_REST).await;
        let left = fake.list("gadgets");
        assert_eq!(left.len(), 2, "b has no owner any more, and c belongs to b");
        assert!(left[0]["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty));
    });
}
