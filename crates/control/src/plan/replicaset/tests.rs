use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;
use crate::world::{self, World};

fn describe(plan: &Plan) -> String {
    let lines = plan.actions.iter().map(|action| match action {
        Action::Adopt(pod) => format!("adopt {}", pod.name_any()),
        Action::Release(pod) => format!("release {}", pod.name_any()),
        Action::Create(count) => format!("create {count}"),
        Action::Delete(pod) => format!("delete {}", pod.name_any()),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    let set = world.replica_set("web");
    let others = world.replica_sets.iter().filter(|one| one.name_any() != "web");
    let siblings: Vec<String> = others.filter_map(|one| one.metadata.uid.clone()).collect();
    let observed = Observed { pods: &world.pods, siblings: &siblings, now: world::NOW };
    let plan = plan(&set, &observed);
    let mut text = describe(&plan);
    if let Some(status) = status(&set, &plan, None, world::NOW) {
        text += &format!(
            "\nstatus replicas={} labeled={} ready={} available={} terminating={}",
            status.replicas,
            status.fully_labeled_replicas.unwrap_or(0),
            status.ready_replicas.unwrap_or(0),
            status.available_replicas.unwrap_or(0),
            status.terminating_replicas.unwrap_or(0),
        );
    }
    expected.assert_eq(text.trim_start());
}

#[test]
fn missing_pods_are_created() {
    check(
        "replicaset web replicas=3
         pod web-a of=web ready",
        expect![[r#"
            create 2
            status replicas=1 labeled=1 ready=1 available=1 terminating=0"#]],
    );
}

#[test]
fn a_surplus_loses_unassigned_then_pending_then_unready_pods_first() {
    check(
        "replicaset web replicas=1
         pod web-a of=web ready node=n1 age=1m
         pod web-b of=web phase=Running node=n1 age=9m
         pod web-c of=web phase=Pending node=n1 age=9m
         pod web-d of=web phase=Pending age=9m",
        expect![[r#"
            delete web-d
            delete web-c
            delete web-b
            status replicas=4 labeled=4 ready=1 available=1 terminating=0"#]],
    );
}

#[test]
fn a_cheap_pod_goes_before_a_dear_one_and_a_crowded_node_before_a_lonely_one() {
    check(
        "replicaset web replicas=2
         pod web-a of=web ready node=n1 age=9m
         pod web-b of=web ready node=n2 age=9m
         pod web-c of=web ready node=n2 age=9m cost=5
         pod web-d of=web ready node=n1 age=9m cost=-1",
        expect![[r#"
            delete web-d
            delete web-a
            status replicas=4 labeled=4 ready=4 available=4 terminating=0"#]],
    );
}

#[test]
fn pods_of_the_sibling_sets_count_as_crowd() {
    check(
        "replicaset web replicas=1
         replicaset old replicas=1
         pod old-a of=old ready node=n2 age=9m
         pod web-a of=web ready node=n1 age=9m
         pod web-b of=web ready node=n2 age=9m",
        expect![[r#"
            delete web-b
            status replicas=2 labeled=2 ready=2 available=2 terminating=0"#]],
    );
}

#[test]
fn the_younger_of_two_equal_pods_goes_first() {
    check(
        "replicaset web replicas=1
         pod web-a of=web ready=1m node=n1 age=1m
         pod web-b of=web ready=90m node=n2 age=90m",
        expect![[r#"
            delete web-a
            status replicas=2 labeled=2 ready=2 available=2 terminating=0"#]],
    );
}

#[test]
fn an_orphan_is_adopted_and_a_relabelled_pod_released() {
    check(
        "replicaset web replicas=1
         pod stray labels=app=web ready
         pod gone of=web labels=app=other ready
         pod foreign of=other labels=app=web ready",
        expect![[r#"
            adopt stray
            release gone
            status replicas=1 labeled=1 ready=1 available=1 terminating=0"#]],
    );
}

#[test]
fn terminal_and_terminating_pods_do_not_count() {
    check(
        "replicaset web replicas=2
         pod web-a of=web phase=Failed
         pod web-b of=web ready deleting
         pod web-c of=web ready",
        expect![[r#"
            create 1
            status replicas=1 labeled=1 ready=1 available=1 terminating=1"#]],
    );
}

#[test]
fn a_set_being_deleted_only_reports() {
    check(
        "replicaset web replicas=2 deleting
         pod web-a of=web ready",
        expect!["status replicas=1 labeled=1 ready=1 available=1 terminating=0"],
    );
}

#[test]
fn min_ready_seconds_delays_available_and_asks_for_a_second_look() {
    let text = "replicaset web replicas=2 minready=30
         pod web-a of=web ready=10s
         pod web-b of=web ready=31s";
    check(text, expect!["status replicas=2 labeled=2 ready=2 available=1 terminating=0"]);
    let world = World::parse(text);
    let set = world.replica_set("web");
    let plan = plan(&set, &Observed { pods: &world.pods, siblings: &[], now: world::NOW });
    assert_eq!(recheck(&set, &plan, world::NOW), Some(Duration::from_secs(20)));
}

#[test]
fn a_failure_becomes_a_condition_and_success_takes_it_away() {
    let world = World::parse("replicaset web replicas=2");
    let mut set = (*world.replica_set("web")).clone();
    let observed = Observed { pods: &[], siblings: &[], now: world::NOW };
    let first = plan(&set, &observed);
    let failed = status(&set, &first, Some("quota"), world::NOW).expect("a new status");
    let condition = &failed.conditions.as_ref().expect("conditions")[0];
    assert_eq!((condition.reason.as_deref(), condition.message.as_deref()), (Some("FailedCreate"), Some("quota")));
    set.status = Some(failed);
    let healed = status(&set, &first, None, world::NOW).expect("a new status");
    assert_eq!(healed.conditions, None);
}

fn random_pods() -> impl Strategy<Value = Vec<(bool, u8, u32)>> {
    prop::collection::vec((any::<bool>(), 0..4_u8, 0..100_000_u32), 0..12)
}

proptest! {
    #[test]
    fn planning_after_applying_yields_nothing(replicas in 0..8_i32, pods in random_pods()) {
        let mut text = format!("replicaset web replicas={replicas}\n");
        for (index, (ready, phase, age)) in pods.iter().enumerate() {
            let phase = ["Pending", "Running", "Failed", "Succeeded"][usize::from(*phase)];
            let ready = if *ready { "ready" } else { "" };
            text += &format!("pod web-{index} of=web phase={phase} {ready} age={age}s\n");
        }
        let mut world = World::parse(&text);
        let set = world.replica_set("web");
        let first = plan(&set, &Observed { pods: &world.pods, siblings: &[], now: world::NOW });
        world.apply_pods(&set, &first.actions);
        let second = plan(&set, &Observed { pods: &world.pods, siblings: &[], now: world::NOW });
        prop_assert!(second.actions.is_empty(), "{:?}", describe(&second));
        let mut settled = (*set).clone();
        settled.status = status(&set, &second, None, world::NOW).or(settled.status);
        prop_assert_eq!(status(&settled, &second, None, world::NOW), None);
    }

    #[test]
    fn the_deletion_order_is_total(pods in random_pods()) {
        let mut text = String::from("replicaset web replicas=1\n");
        for (index, (ready, _, age)) in pods.iter().enumerate() {
            let ready = if *ready { format!("ready={age}s") } else { String::new() };
            text += &format!("pod web-{index} of=web phase=Running {ready} age={age}s node=n{}\n", index % 3);
        }
        let world = World::parse(&text);
        for a in &world.pods {
            for b in &world.pods {
                let forth = rank::order((a, 0), (b, 0), world::NOW);
                prop_assert_eq!(forth, rank::order((b, 0), (a, 0), world::NOW).reverse());
            }
        }
    }
}
