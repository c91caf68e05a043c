use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use proptest::prelude::*;

use super::graph::Graph;
use super::*;
use crate::world;

fn kind() -> Arc<Kind> {
    Arc::new(Kind {
        group: String::new(),
        version: "v1".into(),
        kind: "Thing".into(),
        plural: "things".into(),
        namespaced: true,
    })
}

/// `name < owner !blocking-owner + finalizer deleting`
fn meta(text: &str) -> ObjectMeta {
    let mut words = text.split_whitespace();
    let name = words.next().expect("a name").to_owned();
    let mut meta = ObjectMeta { uid: Some(name.clone()), name: Some(name), ..ObjectMeta::default() };
    for word in words {
        match word {
            "deleting" => meta.deletion_timestamp = Some(Time(world::NOW)),
            "+orphan" => meta.finalizers.get_or_insert_default().push(ORPHAN.into()),
            "+foreground" => meta.finalizers.get_or_insert_default().push(FOREGROUND.into()),
            owner => meta.owner_references.get_or_insert_default().push(OwnerReference {
                name: owner.trim_start_matches('!').into(),
                uid: owner.trim_start_matches('!').into(),
                block_owner_deletion: Some(owner.starts_with('!')),
                ..OwnerReference::default()
            }),
        }
    }
    meta
}

fn put(graph: &mut Graph, text: &str) -> Vec<String> {
    let object = Object::of(&kind(), &meta(text)).expect("an object");
    names(graph.put(object))
}

fn names(wakes: Vec<Wake>) -> Vec<String> {
    let name = |wake: Wake| match wake {
        Wake::Judge(uid) => uid.to_string(),
        Wake::Orphan(uid) => format!("orphan {uid}"),
    };
    wakes.into_iter().map(name).collect()
}

#[test]
fn an_object_that_owns_nothing_and_is_not_owned_costs_nothing() {
    let mut graph = Graph::default();
    put(&mut graph, "a");
    assert!(graph.is_empty());
    put(&mut graph, "b a");
    assert_eq!(graph.len(), 2);
    assert!(names(graph.remove("b")).is_empty());
    assert!(graph.is_empty());
}

#[test]
fn when_an_owner_goes_its_dependents_are_judged() {
    let mut graph = Graph::default();
    assert_eq!(put(&mut graph, "pod set"), ["pod"]);
    put(&mut graph, "set deployment");
    assert_eq!(names(graph.remove("set")), ["pod"]);
}

#[test]
fn an_old_answer_does_not_revive_an_owner_that_is_gone() {
    let mut graph = Graph::default();
    let owner = Object::of(&kind(), &meta("set")).expect("an object");
    put(&mut graph, "pod set");
    assert_eq!(names(graph.remove("set")), ["pod"]);
    graph.vouch(owner.clone());
    assert!(graph.get("set").is_none());
    put(&mut graph, "pod2 other");
    graph.vouch(Object::of(&kind(), &meta("other")).expect("an object"));
    assert!(graph.get("other").is_some());
}

#[test]
fn an_orphan_is_deleted_one_with_another_owner_only_disowned() {
    let graph = Graph::default();
    let gone = |owner: &Owner| if owner.name == "lives" { Liveness::Lives } else { Liveness::Gone };
    assert_eq!(judge(&graph, &meta("pod set"), gone), Verdict::Delete(Fate::Background));
    assert_eq!(judge(&graph, &meta("pod lives"), gone), Verdict::Keep);
    assert_eq!(judge(&graph, &meta("pod set deleting"), gone), Verdict::Keep);
    let Verdict::Disown(patch) = judge(&graph, &meta("pod set lives"), gone) else { panic!("must disown") };
    assert_eq!(patch["metadata"]["ownerReferences"].as_array().map(Vec::len), Some(1));
    assert_eq!(judge(&graph, &meta("pod set"), |_| Liveness::Unknown), Verdict::Later);
}

#[test]
fn a_foreground_deletion_waits_for_the_dependents_that_block() {
    let mut graph = Graph::default();
    put(&mut graph, "pod !set");
    put(&mut graph, "map set");
    assert_eq!(put(&mut graph, "set deleting +foreground"), ["map", "pod", "set"]);
    let owner = meta("set deleting +foreground");
    let waits = judge(&graph, &owner, |_| Liveness::Lives);
    assert_eq!(waits, Verdict::WaitFor(vec!["pod".into()]));
    let dependent = judge(&graph, &meta("pod !set"), |_| Liveness::WaitsForDependents);
    assert_eq!(dependent, Verdict::Delete(Fate::Background));
    assert_eq!(names(graph.remove("pod")), ["set"]);
    assert!(matches!(judge(&graph, &owner, |_| Liveness::Lives), Verdict::RemoveFinalizer(_)));
}

#[test]
fn a_foreground_deletion_goes_down_the_tree() {
    let mut graph = Graph::default();
    put(&mut graph, "pod !set");
    put(&mut graph, "set !deployment");
    let verdict = judge(&graph, &meta("set !deployment"), |_| Liveness::WaitsForDependents);
    assert_eq!(verdict, Verdict::Delete(Fate::Foreground));
}

#[test]
fn a_circle_of_foreground_deletions_is_broken() {
    let mut graph = Graph::default();
    put(&mut graph, "a !b deleting +foreground");
    put(&mut graph, "b !a");
    let verdict = judge(&graph, &meta("b !a"), |_| Liveness::WaitsForDependents);
    assert!(matches!(verdict, Verdict::BreakCircle(_)), "{verdict:?}");
}

#[test]
fn an_orphaning_deletion_frees_the_dependents_then_the_owner() {
    let mut graph = Graph::default();
    put(&mut graph, "pod set");
    assert_eq!(put(&mut graph, "set deleting +orphan"), ["orphan set"]);
    let freed = orphan_patch(&meta("pod set other"), "set");
    assert_eq!(freed["metadata"]["ownerReferences"][0]["uid"], "other");
    let owner = orphan_patch(&meta("set deleting +orphan"), "set");
    assert_eq!(owner["metadata"]["finalizers"].as_array().map(Vec::len), Some(0));
}

#[test]
fn a_new_list_shows_what_went_away_unseen() {
    let mut graph = Graph::default();
    put(&mut graph, "pod set");
    put(&mut graph, "set deployment");
    assert_eq!(names(graph.retain(&kind(), |uid| uid == "pod")), ["pod"]);
}

proptest! {
    /// Whatever the order of events, deleting what must be deleted ends with exactly the objects a living root keeps.
    #[test]
    fn only_what_a_living_root_keeps_survives(
        owners in prop::collection::vec(prop::option::of(0..12_usize), 12),
        gone in prop::collection::vec(any::<bool>(), 12),
        order in Just((0..12_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        // Object i is owned by an earlier object, or is a root.
        let owner = |index: usize| owners[index].filter(|owner| *owner < index);
        let text = |index: usize| owner(index).map_or(format!("o{index}"), |owner| format!("o{index} o{owner}"));
        let mut alive: BTreeMap<String, ObjectMeta> = (0..12).map(|index| (format!("o{index}"), meta(&text(index)))).collect();
        let mut graph = Graph::default();
        let mut queue: Vec<Wake> = order.iter().flat_map(|index| graph.put(Object::of(&kind(), &meta(&text(*index))).expect("an object"))).collect();
        for index in (0..12).filter(|index| gone[*index]) {
            alive.remove(&format!("o{index}"));
            queue.extend(graph.remove(&format!("o{index}")));
        }
        while let Some(wake) = queue.pop() {
            let Wake::Judge(uid) = wake else { continue };
            let Some(live) = alive.get(&*uid).cloned() else { continue };
            let fate = |owner: &Owner| if alive.contains_key(&owner.name) { Liveness::Lives } else { Liveness::Gone };
            if let Verdict::Delete(_) = judge(&graph, &live, fate) {
                alive.remove(&*uid);
                queue.extend(graph.remove(&uid));
            }
        }
        let keeps = |index: usize| {
            let mut next = Some(index);
            while let Some(index) = next {
                if gone[index] { return false; }
                next = owner(index);
            }
            true
        };
        for index in 0..12 {
            prop_assert_eq!(alive.contains_key(&format!("o{index}")), keeps(index), "object {}", index);
        }
    }
}
