use expect_test::{Expect, expect};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::world::{self, World};

mod claims;
mod simulation;
mod update;

/// A set called `web` that has its revision; the plan is made for that.
pub(super) fn look(world: &World, set: &StatefulSet) -> (Step, Plan) {
    let spec = set.spec.as_ref().expect("a spec");
    let Revising { step, others, .. } = revise(set, spec, &world.revisions);
    let update = match &step {
        Step::Keep(one) | Step::Renumber(one, _) => (**one).clone(),
        Step::Create(one) => (**one).clone(),
    };
    let revisions = Revisions::new(set, spec, &update, others).expect("readable revisions");
    let observed = Observed { pods: &world.pods, claims: &world.claims, now: world::NOW };
    (step, plan(set, spec, &revisions, &observed))
}

fn describe_action(action: &Action) -> String {
    match action {
        Action::CreateClaim(claim) => {
            format!("create claim {}{}", claim.name_any(), owners(claim))
        }
        Action::Own(claim) => format!("write claim {}{}", claim.name_any(), owners(claim)),
        Action::CreatePod(pod) => format!("create {} of {}", pod.name_any(), identity::revision(pod)),
        Action::Repair(pod, patch) => format!("repair {} {patch}", pod.name_any()),
        Action::Delete(pod) => format!("delete {}", pod.name_any()),
        Action::Refuse(why) => format!("refuse: {why}"),
    }
}

fn owners(claim: &PersistentVolumeClaim) -> String {
    let names: Vec<String> = claim.owner_references().iter().map(|one| format!("{}/{}", one.kind, one.name)).collect();
    if names.is_empty() { String::new() } else { format!(" of {}", names.join(" and ")) }
}

pub(super) fn describe(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan.adopt.iter().map(|pod| format!("adopt {}", pod.name_any())).collect();
    lines.extend(plan.release.iter().map(|pod| format!("release {}", pod.name_any())));
    for unit in plan.phases.iter().flatten() {
        lines.extend(unit.actions.iter().map(describe_action));
        lines.extend(unit.conflicts.iter().map(|claim| format!("conflict over {claim}")));
    }
    lines.extend(plan.forget.iter().map(|one| format!("forget {}", one.name_any())));
    lines.join("\n")
}

fn describe_status(status: &StatefulSetStatus) -> String {
    let shown = |count: Option<i32>| count.unwrap_or(0);
    let revisions = [&status.current_revision, &status.update_revision].map(|one| one.as_deref().unwrap_or(""));
    format!(
        "status replicas={} ready={} available={} current={} updated={} {}",
        status.replicas,
        shown(status.ready_replicas),
        shown(status.available_replicas),
        shown(status.current_replicas),
        shown(status.updated_replicas),
        revisions.join(" -> "),
    )
}

fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    let (step, plan) = look(&world, &world.stateful_sets[0]);
    assert!(matches!(step, Step::Keep(_)), "{step:?}");
    let mut lines = describe(&plan);
    if let Some(status) = &plan.status {
        lines += "\n";
        lines += &describe_status(status);
    }
    expected.assert_eq(lines.trim_start());
}

#[test]
fn the_first_pod_comes_first_and_alone() {
    check(
        "statefulset web replicas=3
         revision v1 sts=web",
        expect![[r#"
            create web-0 of v1
            status replicas=0 ready=0 available=0 current=0 updated=0 v1 -> v1"#]],
    );
}

#[test]
fn the_next_pod_waits_until_all_before_it_are_available() {
    let set = "statefulset web replicas=3 minready=10
         revision v1 sts=web\n";
    check(
        &format!("{set} pod web-0 sts=web rev=v1"),
        expect!["status replicas=1 ready=0 available=0 current=1 updated=1 v1 -> v1"],
    );
    check(
        &format!("{set} pod web-0 sts=web rev=v1 ready=5s"),
        expect!["status replicas=1 ready=1 available=0 current=1 updated=1 v1 -> v1"],
    );
    check(
        &format!("{set} pod web-0 sts=web rev=v1 ready=10s deleting"),
        expect!["status replicas=1 ready=1 available=1 current=0 updated=0 v1 -> v1"],
    );
    check(
        &format!("{set} pod web-0 sts=web rev=v1 ready=10s"),
        expect![[r#"
        create web-1 of v1
        status replicas=1 ready=1 available=1 current=1 updated=1 v1 -> v1"#]],
    );
}

#[test]
fn parallel_management_makes_and_deletes_all_at_once() {
    check(
        "statefulset web replicas=3 parallel
         revision v1 sts=web
         pod web-1 sts=web rev=v1
         pod web-4 sts=web rev=v1
         pod web-3 sts=web rev=v1 ready",
        expect![[r#"
            create web-0 of v1
            create web-2 of v1
            delete web-4
            delete web-3
            status replicas=3 ready=1 available=1 current=3 updated=3 v1 -> v1"#]],
    );
}

#[test]
fn pods_that_have_ended_wait_for_nobody_when_they_are_too_many() {
    check(
        "statefulset web replicas=1
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready
         pod web-1 sts=web rev=v1 phase=Failed
         pod web-2 sts=web rev=v1 phase=Failed",
        expect![[r#"
            delete web-2
            status replicas=3 ready=1 available=1 current=3 updated=3 v1 -> v1"#]],
    );
}

#[test]
fn ordinals_may_begin_anywhere() {
    check(
        "statefulset web replicas=2 start=5
         revision v1 sts=web
         pod web-5 sts=web rev=v1 ready
         pod web-4 sts=web rev=v1 ready",
        expect![[r#"
            create web-6 of v1
            status replicas=2 ready=2 available=2 current=2 updated=2 v1 -> v1"#]],
    );
}

#[test]
fn a_smaller_set_loses_the_highest_ordinal_first() {
    let set = "statefulset web replicas=1
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready
         pod web-1 sts=web rev=v1 ready\n";
    check(
        &format!("{set} pod web-2 sts=web rev=v1 ready"),
        expect![[r#"
        delete web-2
        status replicas=3 ready=3 available=3 current=3 updated=3 v1 -> v1"#]],
    );
    check(
        &format!("{set} pod web-2 sts=web rev=v1 ready deleting"),
        expect!["status replicas=3 ready=3 available=3 current=2 updated=2 v1 -> v1"],
    );
}

#[test]
fn a_pod_that_is_not_well_is_not_deleted_before_others_that_are_not() {
    check(
        "statefulset web replicas=1
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready
         pod web-1 sts=web rev=v1
         pod web-2 sts=web rev=v1",
        expect!["status replicas=3 ready=1 available=1 current=3 updated=3 v1 -> v1"],
    );
    check(
        "statefulset web replicas=1
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready
         pod web-1 sts=web rev=v1 ready
         pod web-2 sts=web rev=v1",
        expect![[r#"
            delete web-2
            status replicas=3 ready=2 available=2 current=3 updated=3 v1 -> v1"#]],
    );
}

#[test]
fn scaling_waits_for_the_pods_that_stay() {
    check(
        "statefulset web replicas=1
         revision v1 sts=web
         pod web-0 sts=web rev=v1
         pod web-1 sts=web rev=v1 ready",
        expect!["status replicas=2 ready=1 available=1 current=2 updated=2 v1 -> v1"],
    );
}

#[test]
fn a_pod_that_ended_is_replaced_whatever_its_exit_code() {
    let ended = |phase: &str| {
        format!(
            "statefulset web replicas=2
             revision v1 sts=web
             pod web-0 sts=web rev=v1 phase={phase}
             pod web-1 sts=web rev=v1 ready"
        )
    };
    check(
        &ended("Failed"),
        expect![[r#"
        delete web-0
        status replicas=2 ready=1 available=1 current=2 updated=2 v1 -> v1"#]],
    );
    check(
        &ended("Succeeded"),
        expect![[r#"
        delete web-0
        status replicas=2 ready=1 available=1 current=2 updated=2 v1 -> v1"#]],
    );
}

#[test]
fn orphans_of_the_right_name_are_adopted_and_strangers_released() {
    check(
        "statefulset web replicas=2
         revision v1 sts=web
         pod web-0 labels=app=web,statefulset.kubernetes.io/pod-name=web-0 rev=v1 ready
         pod other-1 labels=app=web rev=v1 ready
         pod web-007 labels=app=web rev=v1 ready
         pod web-1 sts=web labels=app=changed rev=v1 ready",
        expect![[r#"
            adopt web-0
            release web-1
            create web-1 of v1
            status replicas=1 ready=1 available=1 current=1 updated=1 v1 -> v1"#]],
    );
}

#[test]
fn a_set_being_deleted_only_reports() {
    check(
        "statefulset web replicas=3 deleting
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready
         pod web-1 sts=web rev=v1 phase=Failed",
        expect!["status replicas=2 ready=1 available=1 current=2 updated=2 v1 -> v1"],
    );
}

#[test]
fn old_revisions_beyond_the_limit_are_forgotten_unless_a_pod_has_them() {
    check(
        "statefulset web replicas=2 image=v5 current=v4 limit=1 ondelete
         revision v1 sts=web number=1 image=v1
         revision v2 sts=web number=2 image=v2
         revision v3 sts=web number=3 image=v3
         revision v4 sts=web number=4 image=v4
         revision v5 sts=web number=5 image=v5
         pod web-0 sts=web rev=v1 ready
         pod web-1 sts=web rev=v5 ready",
        expect![[r#"
            forget v2
            status replicas=2 ready=2 available=2 current=0 updated=1 v4 -> v5"#]],
    );
}

#[test]
fn a_template_that_comes_back_renumbers_its_revision_and_a_new_one_makes_one() {
    let steps = |image: &str| {
        let world = World::parse(&format!(
            "statefulset web image={image} current=v2
             revision v1 sts=web number=1 image=v1
             revision v2 sts=web number=2 image=v2
             revision foreign sts=other number=7 image=v3
             revision orphan number=4 image=v4"
        ));
        let set = &world.stateful_sets[0];
        let revising = revise(set, set.spec.as_ref().expect("a spec"), &world.revisions);
        let adopted: Vec<String> = revising.adopt.iter().map(|one| one.name_any()).collect();
        let step = match revising.step {
            Step::Keep(one) => format!("keep {}", one.name_any()),
            Step::Renumber(one, number) => format!("{} becomes {number}", one.name_any()),
            Step::Create(one) => format!("create {}", one.revision),
        };
        format!("{step}, adopt {}", adopted.join(" "))
    };
    assert_eq!(steps("v1"), "v1 becomes 5, adopt orphan");
    assert_eq!(steps("v3"), "create 5, adopt orphan");
    assert_eq!(steps("v4"), "keep orphan, adopt orphan");
}

#[test]
fn min_ready_seconds_asks_for_a_second_look() {
    let world = World::parse(
        "statefulset web replicas=2 minready=30
         revision v1 sts=web
         pod web-0 sts=web rev=v1 ready=10s",
    );
    assert_eq!(look(&world, &world.stateful_sets[0]).1.recheck, Some(Duration::from_secs(20)));
}

#[test]
fn a_huge_number_of_replicas_is_made_bit_by_bit() {
    let world = World::parse("statefulset web replicas=2147483647 start=5 parallel\nrevision v1 sts=web");
    let (_, plan) = look(&world, &world.stateful_sets[0]);
    assert_eq!(plan.phases.iter().flatten().count(), BURST);
}

#[test]
fn a_pod_is_what_its_template_and_its_ordinal_say() {
    let world = World::parse(
        "statefulset web replicas=1 start=3 service=peers claim=data
         revision v1 sts=web",
    );
    let (_, plan) = look(&world, &world.stateful_sets[0]);
    let actions = plan.phases.iter().flatten().flat_map(|unit| &unit.actions);
    let pod = actions.filter_map(|action| if let Action::CreatePod(pod) = action { Some(pod) } else { None }).next();
    let pod = json!(pod.expect("a pod"));
    expect![[r#"
        {
          "apiVersion": "v1",
          "kind": "Pod",
          "metadata": {
            "generateName": "web-",
            "labels": {
              "app": "web",
              "apps.kubernetes.io/pod-index": "3",
              "controller-revision-hash": "v1",
              "statefulset.kubernetes.io/pod-name": "web-3"
            },
            "name": "web-3",
            "namespace": "default",
            "ownerReferences": [
              {
                "apiVersion": "apps/v1",
                "blockOwnerDeletion": true,
                "controller": true,
                "kind": "StatefulSet",
                "name": "web",
                "uid": "statefulset-web"
              }
            ]
          },
          "spec": {
            "containers": [
              {
                "image": "v1",
                "name": "c"
              }
            ],
            "hostname": "web-3",
            "subdomain": "peers",
            "volumes": [
              {
                "name": "data",
                "persistentVolumeClaim": {
                  "claimName": "data-web-3"
                }
              }
            ]
          }
        }"#]]
    .assert_eq(&serde_json::to_string_pretty(&pod).expect("text"));
}
