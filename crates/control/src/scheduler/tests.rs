use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::world::World;

fn snapshot(world: &World) -> Snapshot {
    let mut snapshot = Snapshot::default();
    world.nodes.iter().for_each(|node| snapshot.put_node(node));
    world.pods.iter().for_each(|pod| snapshot.put_pod(pod));
    snapshot
}

/// Schedules the last pod of the world.
fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    let pod = world.pods.last().expect("a pod");
    expected.assert_eq(&match schedule(pod, &snapshot(&world)) {
        Decision::Bind { node } => node,
        Decision::Unschedulable(diagnosis) => diagnosis.message,
    });
}

#[test]
fn an_empty_cluster_has_no_nodes() {
    check("pod a", expect!["no nodes available to schedule pods"]);
}

#[test]
fn a_pod_goes_where_there_is_most_room() {
    check(
        "node n1 cpu=4
         node n2 cpu=4
         pod busy node=n1 cpu=3
         pod a cpu=1",
        expect!["n2"],
    );
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
            "0/4 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
        ],
    );
    check(
        "node n1 cpu=1 memory=1Gi
         pod b node=n1 cpu=1
         pod a cpu=1 memory=2Gi",
        expect![
            "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
    check(
        "node n1 cpu=1
         pod b node=n1 cpu=1
         pod a cpu=1",
        expect![
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
}

#[test]
fn taints_are_tolerated_by_key_and_preferences_only_weigh() {
    check("node n1 taint=gpu:NoSchedule\npod a tolerate=gpu:NoSchedule", expect!["n1"]);
    check("node n1 taint=gpu:NoExecute\npod a tolerate=*", expect!["n1"]);
    check("node n1 taint=old:PreferNoSchedule\nnode n2\npod x node=n2 cpu=1\npod a", expect!["n2"]);
}

#[test]
fn host_ports_and_pod_counts_are_limits_too() {
    check(
        "node n1
         pod b node=n1 hostport=80
         pod a hostport=80",
        expect![
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
    check(
        "node n1 pods=1
         pod b node=n1
         pod a",
        expect![
            "0/1 nodes are available: 1 Too many pods. preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
    check("node n1\nnode n2 gpu=1\npod a gpu=1", expect!["n2"]);
}

#[test]
fn finished_pods_take_no_room() {
    check("node n1 cpu=1\npod b node=n1 cpu=1 phase=Succeeded\npod a cpu=1", expect!["n1"]);
}

#[test]
fn a_node_that_has_the_image_is_preferred() {
    check("node n1\nnode n2 image=big:v1\nnode n3\npod a image=big:v1", expect!["n2"]);
}

#[test]
fn a_node_that_goes_away_and_comes_back_keeps_its_pods_counted() {
    let world = World::parse("node n1 cpu=1\npod b node=n1 cpu=1\npod a cpu=1");
    let mut snapshot = snapshot(&world);
    snapshot.remove_node("n1");
    snapshot.put_node(&world.nodes[0]);
    assert!(matches!(schedule(&world.pods[1], &snapshot), Decision::Unschedulable(_)));
    assert!(snapshot.remove_pod("pod-b"));
    assert_eq!(schedule(&world.pods[1], &snapshot), Decision::Bind { node: "n1".into() });
}

proptest! {
    #[test]
    fn no_node_is_ever_overcommitted(
        nodes in prop::collection::vec((1..8_u32, 1..16_u32, 1..12_u32), 1..6),
        pods in prop::collection::vec((0..4000_u32, 0..4096_u32, any::<bool>()), 0..60),
    ) {
        let mut text = String::new();
        for (index, (cpu, memory, count)) in nodes.iter().enumerate() {
            text += &format!("node n{index} cpu={cpu} memory={memory}Gi pods={count} gpu=1\n");
        }
        for (index, (cpu, memory, gpu)) in pods.iter().enumerate() {
            let gpu = if *gpu { "gpu=1" } else { "" };
            text += &format!("pod p{index} cpu={cpu}m memory={memory}Mi {gpu}\n");
        }
        let world = World::parse(&text);
        let mut snapshot = Snapshot::default();
        world.nodes.iter().for_each(|node| snapshot.put_node(node));
        for (index, pod) in world.pods.iter().enumerate() {
            if let Decision::Bind { node } = schedule(pod, &snapshot) {
                snapshot.assume(pod, &node);
            }
            prop_assert!(snapshot.is_sound());
            if index % 7 == 3 {
                snapshot.remove_pod(&format!("pod-p{}", index / 2));
                prop_assert!(snapshot.is_sound());
            }
        }
        // Whoever is still without a node really has no room anywhere: asking again gives the same answer.
        for pod in &world.pods {
            prop_assert_eq!(schedule(pod, &snapshot), schedule(pod, &snapshot));
        }
    }
}
