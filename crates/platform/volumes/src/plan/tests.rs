//! What a claim is given, and what becomes of a volume.

use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const US: &str = "knarr.dev/local";

fn claim(annotations: Value, spec: Value, status: Value) -> PersistentVolumeClaim {
    let mut whole = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    for (key, value) in spec.as_object().expect("an object") {
        whole[key] = value.clone();
    }
    serde_json::from_value(json!({
        "metadata": { "name": "data", "namespace": "shop", "uid": "u1", "annotations": annotations },
        "spec": whole, "status": status,
    }))
    .expect("a claim")
}

fn asked(more: Value) -> Value {
    let mut annotations = json!({ ASKED[0]: US });
    for (key, value) in more.as_object().expect("an object") {
        annotations[key] = value.clone();
    }
    annotations
}

fn class(mode: &str) -> StorageClass {
    serde_json::from_value(json!({
        "metadata": { "name": "local" }, "provisioner": US, "reclaimPolicy": "Delete", "volumeBindingMode": mode,
    }))
    .expect("a class")
}

fn nodes() -> BTreeMap<String, Arc<Node>> {
    let node = |name: &str, place: Option<&str>, cordoned: bool| {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { HOSTNAME: format!("host-{name}") }, "annotations": { PLACE: place.unwrap_or("") } },
            "spec": { "unschedulable": cordoned },
        }))
        .expect("a node");
        (name.to_owned(), Arc::new(node))
    };
    BTreeMap::from([
        node("a", Some("/data/local"), true),
        node("b", Some("/data/local/"), false),
        node("c", None, false),
    ])
}

fn show(decided: &ForClaim) -> String {
    match decided {
        ForClaim::Nothing => "nothing".into(),
        ForClaim::Make(volume) => {
            let spec = volume.spec.as_ref().expect("a spec");
            let path = &spec.local.as_ref().expect("a local volume").path;
            let size = &spec.capacity.as_ref().expect("a capacity")["storage"].0;
            format!("make {} of {size} at {path} on {}", volume.name_any(), host(volume).unwrap_or(""))
        }
        ForClaim::Reschedule(why) => format!("reschedule: {why}"),
        ForClaim::Refuse(why) => format!("refuse: {why}"),
        ForClaim::Grow(volume) => {
            format!("grow to {}", volume.spec.as_ref().expect("a spec").capacity.as_ref().expect("a size")["storage"].0)
        }
        ForClaim::Tell(claim) => {
            format!("tell {}", claim.status.as_ref().expect("a status").capacity.as_ref().expect("a size")["storage"].0)
        }
    }
}

fn check(mode: &str, claim: &PersistentVolumeClaim, expected: Expect) {
    let (class, nodes) = (class(mode), nodes());
    let seen = Seen { class: Some(&class), volume: None, nodes: &nodes };
    let decided = for_claim(claim, US, seen);
    expected.assert_eq(&show(&decided));
    if let ForClaim::Make(volume) = decided {
        let seen = Seen { class: Some(&class), volume: Some(&volume), nodes: &nodes };
        assert_eq!(for_claim(claim, US, seen), ForClaim::Nothing, "planning again must yield nothing");
        assert_eq!(for_volume(&volume, US, &nodes), ForVolume::Nothing);
    }
}

#[test]
fn a_claim_gets_a_directory_on_the_node_that_was_selected() {
    let late = "WaitForFirstConsumer";
    check(late, &claim(asked(json!({})), json!({}), json!({})), expect!["nothing"]);
    let selected = |node: &str| claim(asked(json!({ SELECTED_NODE: node })), json!({}), json!({}));
    check(late, &selected("a"), expect!["make pvc-u1 of 1Gi at /data/local/pvc-u1 on host-a"]);
    check(late, &selected("b"), expect!["make pvc-u1 of 1Gi at /data/local/pvc-u1 on host-b"]);
    check(late, &selected("c"), expect!["reschedule: node c keeps no local volumes"]);
    check(late, &selected("d"), expect!["reschedule: node d does not exist"]);
}

#[test]
fn a_claim_that_is_bound_at_once_gets_the_first_node_that_takes_pods() {
    let open = claim(asked(json!({})), json!({}), json!({}));
    check("Immediate", &open, expect!["make pvc-u1 of 1Gi at /data/local/pvc-u1 on host-b"]);
}

#[test]
fn claims_of_others_and_what_a_directory_cannot_be_are_refused() {
    check("Immediate", &claim(json!({}), json!({}), json!({})), expect!["nothing"]);
    check("Immediate", &claim(json!({ ASKED[0]: "other" }), json!({}), json!({})), expect!["nothing"]);
    check("Immediate", &claim(asked(json!({})), json!({ "volumeName": "x" }), json!({})), expect!["nothing"]);
    let with = |spec: Value| claim(asked(json!({})), spec, json!({}));
    check(
        "Immediate",
        &with(json!({ "volumeMode": "Block" })),
        expect!["refuse: a local volume is a directory; volumeMode Block is not supported"],
    );
    check(
        "Immediate",
        &with(json!({ "accessModes": ["ReadWriteMany"] })),
        expect!["refuse: a local volume is on one node; accessMode ReadWriteMany is not supported"],
    );
    check("Immediate", &with(json!({ "selector": {} })), expect!["refuse: claim Selector is not supported"]);
    check(
        "Immediate",
        &with(json!({ "dataSource": { "kind": "PersistentVolumeClaim", "name": "o" } })),
        expect!["refuse: a local volume starts empty; dataSource is not supported"],
    );
}

fn made() -> PersistentVolume {
    let (class, nodes) = (class("Immediate"), nodes());
    let seen = Seen { class: Some(&class), volume: None, nodes: &nodes };
    match for_claim(&claim(asked(json!({})), json!({}), json!({})), US, seen) {
        ForClaim::Make(volume) => *volume,
        other => panic!("{other:?}"),
    }
}

fn with_phase(phase: &str, leaving: bool) -> PersistentVolume {
    let mut volume = made();
    volume.status.get_or_insert_default().phase = Some(phase.into());
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(base::time::Timestamp::UNIX_EPOCH);
    volume.metadata.deletion_timestamp = leaving.then_some(time);
    volume
}

#[test]
fn a_claim_grows_volume_first() {
    let nodes = nodes();
    let mut volume = with_phase("Bound", false);
    let mut claim = claim(
        json!({}),
        json!({ "volumeName": "pvc-u1", "resources": { "requests": { "storage": "3Gi" } } }),
        json!({ "phase": "Bound", "capacity": { "storage": "1Gi" }, "conditions": [{ "type": "Resizing", "status": "True" }] }),
    );
    let mut told = Vec::new();
    for _ in 0..5 {
        let decided = for_claim(&claim, US, Seen { class: None, volume: Some(&volume), nodes: &nodes });
        told.push(show(&decided));
        match decided {
            ForClaim::Grow(next) => volume = *next,
            ForClaim::Tell(next) => claim = *next,
            _ => break,
        }
    }
    assert_eq!(told, ["grow to 3Gi", "tell 3Gi", "nothing"]);
    assert_eq!(claim.status.and_then(|status| status.conditions), Some(Vec::new()));
}

#[test]
fn a_released_volume_is_deleted_and_let_go_if_its_node_is_gone() {
    let nodes = nodes();
    assert_eq!(for_volume(&with_phase("Bound", false), US, &nodes), ForVolume::Nothing);
    assert_eq!(for_volume(&with_phase("Released", false), US, &nodes), ForVolume::Delete);
    assert_eq!(for_volume(&with_phase("Released", false), "other", &nodes), ForVolume::Nothing);
    let mut kept = with_phase("Released", false);
    kept.spec.get_or_insert_default().persistent_volume_reclaim_policy = Some("Retain".into());
    assert_eq!(for_volume(&kept, US, &nodes), ForVolume::Nothing);
    assert_eq!(for_volume(&with_phase("Released", true), US, &nodes), ForVolume::Nothing, "its node removes it");
    let none = BTreeMap::new();
    assert_eq!(for_volume(&with_phase("Bound", true), US, &none), ForVolume::Nothing);
    let ForVolume::LetGo(free) = for_volume(&with_phase("Released", true), US, &none) else { panic!("let go") };
    assert!(free.finalizers().is_empty());
    assert_eq!(for_volume(&free, US, &none), ForVolume::Nothing, "planning again must yield nothing");
}

proptest! {
    #[test]
    fn growing_ends(wanted in 1u32..9, told in 1u32..9, held in 1u32..9) {
        let nodes = nodes();
        let gi = |number: u32| format!("{number}Gi");
        let mut volume = with_phase("Bound", false);
        volume.spec.get_or_insert_default().capacity = Some(BTreeMap::from([("storage".to_owned(), Text(gi(held)))]));
        let mut claim = claim(
            json!({}),
            json!({ "volumeName": "pvc-u1", "resources": { "requests": { "storage": gi(wanted) } } }),
            json!({ "phase": "Bound", "capacity": { "storage": gi(told) } }),
        );
        for _ in 0..2 {
            match for_claim(&claim, US, Seen { class: None, volume: Some(&volume), nodes: &nodes }) {
                ForClaim::Grow(next) => volume = *next,
                ForClaim::Tell(next) => claim = *next,
                _ => {}
            }
        }
        prop_assert_eq!(for_claim(&claim, US, Seen { class: None, volume: Some(&volume), nodes: &nodes }), ForClaim::Nothing);
        let size = storage(claim.status.as_ref().and_then(|status| status.capacity.as_ref()));
        prop_assert_eq!(size, gi(wanted.max(told)).parse().expect("a quantity"));
    }
}
