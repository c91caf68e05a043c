//! Decisions as tables: a world in text, and what is decided about its last pod.

mod affinity;
mod basic;
mod devices;
mod preemption;
mod resources;
mod spread;
mod volumes;

use std::sync::Arc;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::cycle::{self, Cycle, Start, View};
use super::facts::{Budget, OwnerKind};
use super::node::{NodeFacts, NodeId};
use super::nominated::Nominate;
use super::pod::Shapes;
use super::seen::{SeenBudget, SeenClaim, SeenClass, SeenCsiNode, SeenDisk, SeenDriver, SeenPod, SeenRoom};
use super::*;
use crate::world::World as Text;

/// The nodes of a text.
pub(super) fn facts(text: &Text) -> Vec<Arc<NodeFacts>> {
    text.nodes.iter().map(|node| Arc::new(NodeFacts::read(node))).collect()
}

/// Reads a typed object the way it is read from the wire.
fn seen<T: serde::de::DeserializeOwned>(object: &impl serde::Serialize) -> T {
    serde_json::from_value(serde_json::to_value(object).expect("an object")).expect("a part of it")
}

/// The pods of a text.
pub(super) fn pods(shapes: &mut Shapes, text: &Text) -> Vec<Arc<PodInfo>> {
    text.pods.iter().map(|pod| Arc::new(shapes.read(seen::<SeenPod>(&**pod)))).collect()
}

/// The world of a text, and its pods without a node.
pub(super) fn world_of(text: &str, profile: Profile) -> (World, Vec<Arc<PodInfo>>) {
    let text = Text::parse(text);
    let mut world = World::new([profile]);
    facts(&text).into_iter().for_each(|node| drop(world.cache.put_node(node)));
    for namespace in &text.namespaces {
        let name = namespace.metadata.name.as_deref().expect("a name");
        world.facts.put_namespace(name, namespace.metadata.labels.clone());
    }
    for service in &text.services {
        let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone());
        world.facts.put_service("default", service.metadata.name.as_deref().expect("a name"), selector);
    }
    for set in &text.replica_sets {
        let selector = set.spec.as_ref().map(|spec| spec.selector.clone());
        let name = set.metadata.name.as_deref().expect("a name");
        world.facts.put_owner(OwnerKind::ReplicaSet, "default", name, selector);
    }
    for budget in &text.budgets {
        let SeenBudget { metadata, spec, status } = seen(&**budget);
        let disrupted = status.disrupted_pods.unwrap_or_default().into_keys().collect();
        let budget = Budget { selector: spec.selector, allowed: status.disruptions_allowed, disrupted };
        world.facts.put_budget("default", metadata.name.as_deref().expect("a name"), Some(budget));
    }
    for (plural, object) in &text.storage {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let storage = &mut world.storage;
        match *plural {
            "persistentvolumeclaims" => drop(storage.put_claim(seen::<SeenClaim>(object).kept())),
            "persistentvolumes" => drop(storage.put_disk(seen::<SeenDisk>(object).kept())),
            "storageclasses" => drop(storage.put_class(name, Some(seen::<SeenClass>(object).kept()))),
            "csinodes" => drop(storage.put_limits(name, Some(seen::<SeenCsiNode>(object).kept()))),
            "csidrivers" => drop(storage.put_driver(name, Some(seen::<SeenDriver>(object).tells()))),
            _ => drop(storage.put_room((String::new(), name.to_owned()), Some(seen::<SeenRoom>(object).kept()))),
        }
    }
    let mut waiting = Vec::new();
    for pod in pods(&mut world.shapes, &text) {
        if pod.node.is_empty() {
            world.nominated.put(&pod, &Nominate::Keep);
            waiting.push(pod);
        } else {
            world.cache.put_pod(pod);
        }
    }
    (world, waiting)
}

/// Decides about the last pod of the world.
fn decided(text: &str, profile: Profile) -> Decision {
    let (mut world, waiting) = world_of(text, profile);
    decide(&mut world, waiting.last().expect("a pod without a node"), &mut Turn::new(1))
}

fn check_with(text: &str, profile: Profile, expected: Expect) {
    expected.assert_eq(&match decided(text, profile) {
        Decision::Bind { node, .. } => node.to_string(),
        Decision::Refused(diagnosis) => diagnosis.message,
        Decision::Failed(message) => format!("failed: {message}"),
    });
}

fn check(text: &str, expected: Expect) {
    check_with(text, Profile::default(), expected);
}

/// Only this plugin scores.
fn only(plugin: Plugin) -> Profile {
    Profile { scores: vec![(plugin, 1)], ..Profile::default() }
}

/// The scores of all nodes for the last pod of the world.
fn rated(text: &str, profile: &Profile) -> String {
    let (mut world, waiting) = world_of(text, profile.clone());
    let pod = waiting.last().expect("a pod without a node");
    world.cache.prepare(cycle::topology_keys(&pod.shape, profile));
    let view = View {
        cache: &world.cache,
        facts: &world.facts,
        storage: &world.storage,
        devices: &world.devices,
        clock: world.clock,
        nominated: &world.nominated,
        profile,
    };
    let mut cycle = Cycle::new(view, pod);
    assert!(matches!(cycle.start(), Start::Nodes(..)));
    let mut nodes: Vec<NodeId> = world.cache.order().to_vec();
    nodes.sort_by_key(|id| world.cache.node(*id).name().clone());
    let scores = cycle.scores(&nodes);
    let lines = nodes.iter().zip(scores).map(|(id, score)| format!("{}={score}", world.cache.node(*id).name()));
    lines.collect::<Vec<String>>().join(" ")
}

fn scores(text: &str, plugin: Plugin, expected: Expect) {
    expected.assert_eq(&rated(text, &only(plugin)));
}

#[test]
fn an_empty_cluster_has_no_nodes() {
    check("pod a", expect!["no nodes available to schedule pods"]);
}

#[test]
fn a_pod_of_a_scheduler_that_is_not_here_fails() {
    check("node n1\npod a scheduler=other", expect![[r#"failed: profile not found for scheduler name "other""#]]);
}

#[test]
fn the_message_counts_the_reasons_as_upstream() {
    check(
        "node n1 cpu=1
         node n2 cordoned
         node n3 taint=gpu:NoSchedule
         node n4 labels=disk=hdd
         pod a cpu=2 select=disk=ssd",
        expect![
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
        ],
    );
    check(
        "node n1 cpu=1 memory=1Gi
         pod b node=n1 cpu=1
         pod a cpu=1 memory=2Gi",
        expect![
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    check(
        "node n1 cpu=1
         pod b node=n1 cpu=1
         pod a cpu=1",
        expect![
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
}

#[test]
fn a_pod_for_one_node_says_so_of_all_others() {
    let text = "node n1\nnode n2 cordoned\nnode n3\npod a for=n2";
    check(
        text,
        expect![
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        ],
    );
    check("node n1\nnode n2\npod a for=n2", expect!["n2"]);
}

#[test]
fn no_more_nodes_are_looked_at_than_are_enough_and_the_next_search_goes_on_from_there() {
    let mut text: String = (0..150).map(|node| format!("node n{node:03}\n")).collect();
    text += "pod a";
    let (mut world, waiting) = world_of(&text, Profile::default());
    let mut turn = Turn::new(1);
    let Decision::Bind { node: first, .. } = decide(&mut world, &waiting[0], &mut turn) else { panic!("room for one") };
    assert!(*first < *"n100", "{first}");
    let (mut again, mut same) = (turn, turn);
    assert_eq!(decide(&mut world, &waiting[0], &mut again), decide(&mut world, &waiting[0], &mut same));
    let chosen: std::collections::BTreeSet<Arc<str>> = (0..20)
        .map(|_| match decide(&mut world, &waiting[0], &mut turn) {
            Decision::Bind { node, .. } => node,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(chosen.len() > 10, "equals are chosen among by chance: {chosen:?}");
    assert!(chosen.iter().any(|node| **node >= *"n100"), "{chosen:?}");
}

proptest! {
    #[test]
    fn no_node_is_ever_overcommitted(
        nodes in prop::collection::vec((1..8_u32, 1..16_u32, 1..12_u32), 1..6),
        pods in prop::collection::vec((0..4000_u32, 0..4096_u32, any::<bool>(), 0..3_i32), 0..60),
        seed in any::<u64>(),
    ) {
        let mut text = String::new();
        for (index, (cpu, memory, count)) in nodes.iter().enumerate() {
            text += &format!("node n{index} cpu={cpu} memory={memory}Gi pods={count} gpu=1 zone=z{}\n", index % 2);
        }
        for (index, (cpu, memory, gpu, priority)) in pods.iter().enumerate() {
            let gpu = if *gpu { "gpu=1 spread=zone:2" } else { "far=host:app=db labels=app=db" };
            text += &format!("pod p{index} cpu={cpu}m memory={memory}Mi priority={priority} {gpu}\n");
        }
        let (mut world, waiting) = world_of(&text, Profile::default());
        let mut turn = Turn::new(seed);
        for (index, pod) in waiting.iter().enumerate() {
            let (before, mut same) = (turn, turn);
            let decision = decide(&mut world, pod, &mut turn);
            prop_assert_eq!(&decision, &decide(&mut world, pod, &mut same), "deterministic for a turn");
            match decision {
                Decision::Bind { node, .. } => world.cache.assume(Arc::new(pod.on(&node))),
                Decision::Refused(diagnosis) => {
                    let victims = &diagnosis.victims;
                    prop_assert!(victims.iter().all(|victim| victim.priority() < pod.priority()));
                    if let Nominate::Set(Some(node)) = &diagnosis.nominate {
                        // With the victims gone the pod fits there.
                        victims.iter().for_each(|victim| drop(world.cache.remove_pod(&victim.uid)));
                        let nominated = PodInfo { nominated: Some(node.clone()), ..(**pod).clone() };
                        prop_assert_eq!(decide(&mut world, &nominated, &mut turn), Decision::Bind { node: node.clone(), volumes: Default::default(), devices: Default::default() });
                        world.cache.assume(Arc::new(pod.on(node)));
                    }
                }
                Decision::Failed(message) => prop_assert!(false, "{}", message),
            }
            prop_assert!(world.cache.is_sound(), "{before:?}");
            if index % 7 == 3 {
                world.cache.remove_pod(&format!("pod-p{}", index / 2));
                prop_assert!(world.cache.is_sound());
            }
        }
    }
}
