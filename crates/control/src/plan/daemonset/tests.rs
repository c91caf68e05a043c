use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::world::{self, World};

mod simulation;

/// The plan for the first DaemonSet, whose revision is settled before.
fn look(world: &World, set: &DaemonSet, backoff: &Backoff) -> Plan {
    let spec = set.spec.as_ref().expect("a spec");
    let Revising { step, old, .. } = revise(set, spec, &world.revisions);
    let hash = match &step {
        Step::Keep(one) | Step::Renumber(one, _) => hash(one),
        Step::Create(one) => hash(one),
    };
    let observed = Observed { nodes: &world.nodes, pods: &world.pods, backoff, now: world::NOW };
    plan(set, spec, &hash, &old, &observed)
}

fn describe(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.adopt.iter().map(|pod| format!("adopt {}", pod.name_any())).collect();
    lines.extend(plan.release.iter().map(|pod| format!("release {}", pod.name_any())));
    lines.extend(plan.create.iter().map(|node| format!("create on {node}")));
    lines.extend(plan.delete.iter().map(|(pod, node, why)| match why {
        Why::Surplus => format!("delete {} on {node}", pod.name_any()),
        why => format!("delete {} on {node}: {why:?}", pod.name_any()),
    }));
    lines.extend(plan.forget.iter().map(|one| format!("forget {}", one.name_any())));
    if let Some(status) = &plan.status {
        let shown = |count: Option<i32>| count.unwrap_or(0);
        lines.push(format!(
            "status desired={} current={} misplaced={} ready={} updated={} available={} unavailable={}",
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_misscheduled,
            status.number_ready,
            shown(status.updated_number_scheduled),
            shown(status.number_available),
            shown(status.number_unavailable),
        ));
    }
    lines.join("\n")
}

fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    expected.assert_eq(&describe(&look(&world, &world.daemon_sets[0], &Backoff::default())));
}

#[test]
fn every_node_gets_a_pod() {
    check(
        "daemonset web
         revision v1 ds=web
         node n1
         node n2
         pod web-a ds=web rev=v1 node=n1 ready
         node n3 cordoned taint=node.kubernetes.io/unschedulable:NoSchedule",
        expect![[r#"
            create on n2
            create on n3
            status desired=3 current=1 misplaced=0 ready=1 updated=1 available=1 unavailable=2"#]],
    );
}

#[test]
fn the_template_and_the_taints_say_which_nodes() {
    check(
        "daemonset web select=disk=ssd tolerate=dedicated
         revision v1 ds=web
         node hdd labels=disk=hdd
         node ssd labels=disk=ssd
         node kept labels=disk=ssd taint=dedicated:NoSchedule
         node shut labels=disk=ssd taint=other:NoSchedule
         node sick labels=disk=ssd taint=node.kubernetes.io/not-ready:NoExecute taint=node.kubernetes.io/disk-pressure:NoSchedule
         node lone labels=disk=ssd taint=node.kubernetes.io/network-unavailable:NoSchedule
         node soft labels=disk=ssd taint=other:PreferNoSchedule",
        expect![[r#"
            create on kept
            create on sick
            create on soft
            create on ssd
            status desired=4 current=0 misplaced=0 ready=0 updated=0 available=0 unavailable=4"#]],
    );
    check(
        "daemonset web hostnetwork
         revision v1 ds=web
         node lone taint=node.kubernetes.io/network-unavailable:NoSchedule",
        expect![[r#"
            create on lone
            status desired=1 current=0 misplaced=0 ready=0 updated=0 available=0 unavailable=1"#]],
    );
}

#[test]
fn a_pod_stays_on_a_node_that_takes_no_new_ones_and_leaves_one_that_evicts() {
    check(
        "daemonset web
         revision v1 ds=web
         node n1 taint=other:NoSchedule
         node n2 taint=other:NoExecute
         pod web-a ds=web rev=v1 node=n1 ready
         pod web-b ds=web rev=v1 node=n2 ready",
        expect![[r#"
            delete web-b on n2
            status desired=0 current=0 misplaced=2 ready=0 updated=0 available=0 unavailable=0"#]],
    );
}

#[test]
fn a_pod_is_known_by_the_node_it_was_made_for() {
    check(
        "daemonset web
         revision v1 ds=web
         node n1
         node n2
         pod web-a ds=web rev=v1 for=n1
         pod web-b ds=web rev=v1 for=gone
         pod web-c ds=web rev=v1 node=gone",
        expect![[r#"
            create on n2
            delete web-b on gone
            status desired=2 current=1 misplaced=0 ready=0 updated=1 available=0 unavailable=2"#]],
    );
}

#[test]
fn of_several_pods_on_a_node_the_oldest_that_is_bound_stays() {
    check(
        "daemonset web
         revision v1 ds=web
         node n1
         pod web-a ds=web rev=v1 for=n1 age=9m
         pod web-b ds=web rev=v1 node=n1 ready age=2m
         pod web-c ds=web rev=v1 node=n1 ready age=5m",
        expect![[r#"
            delete web-b on n1
            delete web-a on n1
            status desired=1 current=1 misplaced=0 ready=1 updated=1 available=1 unavailable=0"#]],
    );
}

#[test]
fn a_pod_on_its_way_out_keeps_its_place_until_it_is_gone() {
    let set = "daemonset web
         revision v1 ds=web
         node n1\n";
    check(
        &format!("{set} pod web-a ds=web rev=v1 node=n1 ready deleting"),
        expect!["status desired=1 current=1 misplaced=0 ready=1 updated=1 available=1 unavailable=0"],
    );
    check(
        &format!("{set} pod web-a ds=web rev=v1 node=n1 phase=Failed deleting"),
        expect![[r#"
        create on n1
        status desired=1 current=0 misplaced=0 ready=0 updated=0 available=0 unavailable=1"#]],
    );
}

#[test]
fn pods_that_ended_are_replaced() {
    check(
        "daemonset web
         revision v1 ds=web
         node n1
         node n2
         pod web-a ds=web rev=v1 node=n1 phase=Failed
         pod web-b ds=web rev=v1 node=n2 phase=Succeeded",
        expect![[r#"
            delete web-a on n1: Failed
            delete web-b on n2: Succeeded
            status desired=2 current=2 misplaced=0 ready=0 updated=2 available=0 unavailable=2"#]],
    );
}

#[test]
fn a_pod_that_fails_again_waits() {
    let world = World::parse(
        "daemonset web
         revision v1 ds=web
         node n1
         pod web-a ds=web rev=v1 node=n1 phase=Failed",
    );
    let set = &world.daemon_sets[0];
    let mut backoff = Backoff::default();
    backoff.failed(set, "n1", world::NOW);
    let plan = look(&world, set, &backoff);
    assert!(plan.delete.is_empty());
    assert_eq!(plan.recheck, Some(Duration::from_secs(1)));
}

#[test]
fn an_update_replaces_as_many_as_may_be_missing() {
    let nodes = "revision v1 ds=web number=1 image=v1
         revision v2 ds=web number=2 image=v2
         node n1
         node n2
         node n3
         node n4
         pod web-a ds=web rev=v1 node=n1 ready
         pod web-b ds=web rev=v1 node=n2 ready
         pod web-c ds=web rev=v1 node=n3 ready\n";
    let fourth = "pod web-d ds=web rev=v1 node=n4 ready";
    check(
        &format!("daemonset web image=v2\n{nodes}{fourth}"),
        expect![[r#"
        delete web-a on n1
        status desired=4 current=4 misplaced=0 ready=4 updated=0 available=4 unavailable=0"#]],
    );
    check(
        &format!("daemonset web image=v2 unavailable=50%\n{nodes}{fourth}"),
        expect![[r#"
        delete web-a on n1
        delete web-b on n2
        status desired=4 current=4 misplaced=0 ready=4 updated=0 available=4 unavailable=0"#]],
    );
    check(
        &format!("daemonset web image=v2 unavailable=2\n{nodes}{fourth} deleting"),
        expect![[r#"
        delete web-a on n1
        status desired=4 current=4 misplaced=0 ready=4 updated=0 available=4 unavailable=0"#]],
    );
    check(
        &format!("daemonset web image=v2\n{nodes}pod web-d ds=web rev=v2 node=n4"),
        expect!["status desired=4 current=4 misplaced=0 ready=3 updated=1 available=3 unavailable=1"],
    );
    check(
        &format!("daemonset web image=v2\n{nodes}pod web-d ds=web rev=v1 node=n4"),
        expect![[r#"
        delete web-d on n4
        status desired=4 current=4 misplaced=0 ready=3 updated=0 available=3 unavailable=1"#]],
    );
    check(
        &format!("daemonset web image=v2 ondelete\n{nodes}{fourth}"),
        expect!["status desired=4 current=4 misplaced=0 ready=4 updated=0 available=4 unavailable=0"],
    );
}

#[test]
fn what_is_wrong_is_put_right_before_the_update_goes_on() {
    check(
        "daemonset web image=v2
         revision v1 ds=web number=1 image=v1
         revision v2 ds=web number=2 image=v2
         node n1
         node n2
         pod web-a ds=web rev=v1 node=n1 ready",
        expect![[r#"
            create on n2
            status desired=2 current=1 misplaced=0 ready=1 updated=0 available=1 unavailable=1"#]],
    );
}

#[test]
fn a_surge_adds_the_new_pod_first_and_then_takes_the_old_one_away() {
    let nodes = "daemonset web image=v2 surge=1
         revision v1 ds=web number=1 image=v1
         revision v2 ds=web number=2 image=v2
         node n1
         node n2
         pod web-a ds=web rev=v1 node=n1 ready
         pod web-b ds=web rev=v1 node=n2 ready\n";
    check(
        nodes,
        expect![[r#"
        create on n1
        status desired=2 current=2 misplaced=0 ready=2 updated=0 available=2 unavailable=0"#]],
    );
    check(
        &format!("{nodes} pod web-c ds=web rev=v2 for=n1"),
        expect!["status desired=2 current=2 misplaced=0 ready=2 updated=0 available=2 unavailable=0"],
    );
    check(
        &format!("{nodes} pod web-c ds=web rev=v2 node=n1 ready"),
        expect![[r#"
        delete web-a on n1
        status desired=2 current=2 misplaced=0 ready=2 updated=0 available=2 unavailable=0"#]],
    );
}

#[test]
fn a_surge_does_not_wait_for_pods_that_do_not_work_anyway() {
    check(
        "daemonset web image=v2 surge=1
         revision v1 ds=web number=1 image=v1
         revision v2 ds=web number=2 image=v2
         node n1
         node n2
         node n3
         pod web-a ds=web rev=v1 node=n1
         pod web-b ds=web rev=v1 node=n2
         pod web-c ds=web rev=v1 node=n3 ready",
        expect![[r#"
            create on n1
            create on n2
            create on n3
            status desired=3 current=3 misplaced=0 ready=1 updated=0 available=1 unavailable=2"#]],
    );
    check(
        "daemonset web image=v2 surge=1
         revision v1 ds=web number=1 image=v1
         revision v2 ds=web number=2 image=v2
         node n1
         pod web-a ds=web rev=v1 node=n1
         pod web-b ds=web rev=v2 node=n1",
        expect![[r#"
            delete web-a on n1
            status desired=1 current=1 misplaced=0 ready=0 updated=0 available=0 unavailable=1"#]],
    );
}

#[test]
fn with_a_surge_a_pod_that_is_out_of_place_waits_for_one_elsewhere() {
    let nodes = "daemonset web image=v2 surge=1
         revision v1 ds=web number=1 image=v1
         revision v2 ds=web number=2 image=v2
         node n1
         node n2 taint=other:NoSchedule
         pod web-b ds=web rev=v1 node=n2 ready\n";
    check(
        &format!("{nodes} pod web-a ds=web rev=v2 node=n1"),
        expect!["status desired=1 current=1 misplaced=1 ready=0 updated=1 available=0 unavailable=1"],
    );
    check(
        &format!("{nodes} pod web-a ds=web rev=v2 node=n1 ready"),
        expect![[r#"
        delete web-b on n2
        status desired=1 current=1 misplaced=1 ready=1 updated=1 available=1 unavailable=0"#]],
    );
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    check(
        "daemonset web
         revision v1 ds=web
         node n1
         pod stray labels=app=web rev=v1 node=n1 ready
         pod moved ds=web labels=app=other rev=v1 node=n1 ready",
        expect![[r#"
            adopt stray
            release moved
            status desired=1 current=1 misplaced=0 ready=1 updated=1 available=1 unavailable=0"#]],
    );
}

#[test]
fn old_revisions_beyond_the_limit_are_forgotten_unless_a_pod_has_them() {
    check(
        "daemonset web image=v4 limit=1
         revision v1 ds=web number=1 image=v1
         revision v2 ds=web number=2 image=v2
         revision v3 ds=web number=3 image=v3
         revision v4 ds=web number=4 image=v4
         node n1
         pod web-a ds=web rev=v1 node=n1 ready deleting",
        expect![[r#"
            forget v2
            forget v3
            status desired=1 current=1 misplaced=0 ready=1 updated=0 available=1 unavailable=0"#]],
    );
}

#[test]
fn revisions_are_labelled_numbered_and_not_kept_twice() {
    let world = World::parse(
        "daemonset web image=v1
         revision a ds=web number=1 image=v1
         revision b ds=web number=2 image=v2 bare
         revision c ds=web number=3 image=v1
         revision d ds=web number=4 image=v3
         pod web-a ds=web rev=a node=n1
         pod web-b ds=web rev=d node=n2",
    );
    let set = &world.daemon_sets[0];
    let revising = revise(set, set.spec.as_ref().expect("a spec"), &world.revisions);
    let names = |list: &[Arc<ControllerRevision>]| list.iter().map(|one| one.name_any()).collect::<Vec<_>>().join(" ");
    assert!(matches!(&revising.step, Step::Renumber(one, 5) if one.name_any() == "c"), "{:?}", revising.step);
    assert_eq!(
        (names(&revising.label), names(&revising.duplicates), names(&revising.old)),
        ("b".into(), "a".into(), "b d".into())
    );
    let misled: Vec<String> = misled(set, &revising.duplicates, &world.pods).map(|pod| pod.name_any()).collect();
    assert_eq!(misled, ["web-a"]);
}

#[test]
fn min_ready_seconds_asks_for_a_second_look() {
    let world = World::parse(
        "daemonset web minready=30
         revision v1 ds=web
         node n1
         node n2
         pod web-a ds=web rev=v1 node=n1 ready=10s
         pod web-b ds=web rev=v1 node=n2 ready=40s",
    );
    let plan = look(&world, &world.daemon_sets[0], &Backoff::default());
    assert_eq!(plan.recheck, Some(Duration::from_secs(20)));
    expect!["status desired=2 current=2 misplaced=0 ready=2 updated=2 available=1 unavailable=1"]
        .assert_eq(&describe(&plan));
}

#[test]
fn a_pod_tolerates_what_its_node_suffers_from_and_is_bound_to_it() {
    let world = World::parse("daemonset web tolerate=node.kubernetes.io/not-ready:NoExecute:300 select=disk=ssd");
    let pod = new_pod(&world.daemon_sets[0], "abc", "n1");
    expect![[r#"
        {
          "apiVersion": "v1",
          "kind": "Pod",
          "metadata": {
            "generateName": "web-",
            "labels": {
              "app": "web",
              "controller-revision-hash": "abc"
            },
            "namespace": "default",
            "ownerReferences": [
              {
                "apiVersion": "apps/v1",
                "blockOwnerDeletion": true,
                "controller": true,
                "kind": "DaemonSet",
                "name": "web",
                "uid": "daemonset-web"
              }
            ]
          },
          "spec": {
            "affinity": {
              "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                  "nodeSelectorTerms": [
                    {
                      "matchFields": [
                        {
                          "key": "metadata.name",
                          "operator": "In",
                          "values": [
                            "n1"
                          ]
                        }
                      ]
                    }
                  ]
                }
              }
            },
            "containers": [
              {
                "image": "v1",
                "name": "c"
              }
            ],
            "nodeSelector": {
              "disk": "ssd"
            },
            "tolerations": [
              {
                "effect": "NoExecute",
                "key": "node.kubernetes.io/not-ready",
                "operator": "Exists"
              },
              {
                "effect": "NoExecute",
                "key": "node.kubernetes.io/unreachable",
                "operator": "Exists"
              },
              {
                "effect": "NoSchedule",
                "key": "node.kubernetes.io/disk-pressure",
                "operator": "Exists"
              },
              {
                "effect": "NoSchedule",
                "key": "node.kubernetes.io/memory-pressure",
                "operator": "Exists"
              },
              {
                "effect": "NoSchedule",
                "key": "node.kubernetes.io/pid-pressure",
                "operator": "Exists"
              },
              {
                "effect": "NoSchedule",
                "key": "node.kubernetes.io/unschedulable",
                "operator": "Exists"
              }
            ]
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&json!(pod)).expect("text"));
}
