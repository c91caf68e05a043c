use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::world::{self, World};

/// Every ReplicaSet of the world is found, as the shell would find it.
fn scales(world: &World) -> BTreeMap<String, Asked> {
    let deployment = |set: &ReplicaSet| {
        let owner = claim::controller(set)?.uid.clone();
        world.deployments.iter().find(|one| one.metadata.uid.as_ref() == Some(&owner))
    };
    let scale = |set: &Arc<ReplicaSet>| {
        let found = of_replica_set(set, deployment(set).map(|one| &**one));
        (set.uid().expect("a uid"), Ok(found))
    };
    world.replica_sets.iter().map(scale).collect()
}

fn look(world: &World, budget: &PodDisruptionBudget) -> Plan {
    let pods = covered(budget, &world.pods);
    let scales = if needs_scales(budget) { scales(world) } else { BTreeMap::new() };
    plan(budget, &Observed { pods: &pods, scales: &scales, now: world::NOW })
}

fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    let plan = look(&world, &world.budgets[0].clone());
    let mut told = String::from("nothing to write");
    if let Some(status) = &plan.status {
        let count = |count: Option<i32>| count.unwrap_or(-1);
        told = format!(
            "healthy={} desired={} expected={} allowed={}",
            count(status.current_healthy),
            count(status.desired_healthy),
            count(status.expected_pods),
            count(status.disruptions_allowed)
        );
        let names: Vec<&String> = status.disrupted_pods.iter().flat_map(BTreeMap::keys).collect();
        if !names.is_empty() {
            told += &format!(" disrupted={names:?}");
        }
        for one in status.conditions.iter().flatten() {
            told += format!("\n  {}={} {} {}", one.type_, one.status, one.reason, one.message).trim_end();
        }
    }
    for note in &plan.notes {
        let about = note.pod.as_deref().unwrap_or("budget");
        told += &format!("\ntell {about} {}: {}", note.reason, note.message);
    }
    if let Some(wait) = plan.recheck {
        told += &format!("\nlook again in {}s", wait.as_secs());
    }
    expected.assert_eq(&told);
}

#[test]
fn a_number_that_must_be_there_is_held_against_the_pods_there_are() {
    check(
        "budget web min=2
         pod a ready
         pod b ready
         pod c ready
         pod d
         pod e ready deleting
         pod f labels=app=other ready",
        expect![[r#"
            healthy=3 desired=2 expected=5 allowed=1
              DisruptionAllowed=True SufficientPods"#]],
    );
    check(
        "budget web min=2
         pod a ready
         pod b",
        expect![[r#"
            healthy=1 desired=2 expected=2 allowed=0
              DisruptionAllowed=False InsufficientPods"#]],
    );
    check(
        "budget web min=0",
        expect![[r#"
        healthy=0 desired=0 expected=0 allowed=0
          DisruptionAllowed=False InsufficientPods
        tell budget NoPods: No matching pods found"#]],
    );
    check(
        "budget web min=0 all
         pod f labels=app=other ready",
        expect![[r#"
            healthy=1 desired=0 expected=1 allowed=1
              DisruptionAllowed=True SufficientPods"#]],
    );
}

#[test]
fn a_share_is_one_of_what_the_controllers_want() {
    check(
        "budget web min=50% app=web
         replicaset web replicas=5
         pod a of=web ready
         pod b of=web ready
         pod c of=web ready
         pod d of=web ready",
        expect![[r#"
            healthy=4 desired=3 expected=5 allowed=1
              DisruptionAllowed=True SufficientPods"#]],
    );
    check(
        "budget web max=30%
         replicaset web replicas=5
         pod a of=web ready
         pod b of=web ready
         pod c of=web ready
         pod d of=web ready
         pod e of=web ready",
        expect![[r#"
            healthy=5 desired=3 expected=5 allowed=2
              DisruptionAllowed=True SufficientPods"#]],
    );
    check(
        "budget web max=1
         replicaset web replicas=3
         pod a of=web ready
         pod b of=web ready",
        expect![[r#"
            healthy=2 desired=2 expected=3 allowed=0
              DisruptionAllowed=False InsufficientPods"#]],
    );
    check(
        "budget web max=9
         replicaset web replicas=3
         pod a of=web ready",
        expect![[r#"
            healthy=1 desired=0 expected=3 allowed=1
              DisruptionAllowed=True SufficientPods"#]],
    );
}

#[test]
fn two_sets_of_one_deployment_count_once_with_what_the_deployment_wants() {
    check(
        "budget web max=1 all
         deployment site replicas=4
         replicaset one of=site replicas=3
         replicaset two of=site replicas=2
         pod a of=one ready
         pod b of=two ready
         pod c of=two ready",
        expect![[r#"
            healthy=3 desired=3 expected=4 allowed=0
              DisruptionAllowed=False InsufficientPods"#]],
    );
}

#[test]
fn pods_that_nobody_controls_are_told_where_a_share_is_asked_for() {
    check(
        "budget web max=1
         replicaset web replicas=2
         pod a of=web ready
         pod b ready",
        expect![[r#"
            healthy=2 desired=1 expected=2 allowed=1
              DisruptionAllowed=True SufficientPods
            tell budget UnmanagedPods: Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}) were found to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set ".spec.minAvailable" field of the PDB to an integer value."#]],
    );
    check(
        "budget web max=1",
        expect![[r#"
        healthy=0 desired=0 expected=0 allowed=0
          DisruptionAllowed=False InsufficientPods
        tell budget NoPods: No matching pods found"#]],
    );
}

#[test]
fn nothing_may_go_when_the_pods_cannot_be_counted() {
    check(
        "budget web max=1
         pod a of=web ready",
        expect![[r#"
            healthy=0 desired=0 expected=0 allowed=0
              DisruptionAllowed=False SyncFailed found no controllers for pod "a"
            tell budget CalculateExpectedPodCountFailed: Failed to calculate the number of expected pods: found no controllers for pod "a""#]],
    );
    let world = World::parse("budget web max=1\npod a of=web ready");
    let fault = "things.example.com does not implement the scale subresource";
    let scales = BTreeMap::from([("replicaset-web".to_owned(), Err(fault.to_owned()))]);
    let mut budget = (*world.budgets[0]).clone();
    let observed = Observed { pods: &world.pods, scales: &scales, now: world::NOW };
    let failed = plan(&budget, &observed).status.expect("a status");
    assert_eq!((failed.disruptions_allowed, failed.observed_generation), (Some(0), None));
    assert_eq!(failed.conditions.as_ref().expect("conditions")[0].message, fault);
    budget.status = Some(failed);
    assert!(plan(&budget, &observed).status.is_none(), "a failure is written once");
}

#[test]
fn a_pod_named_by_an_eviction_is_lost_until_it_is_seen_to_stay() {
    check(
        "budget web min=1 disrupted=a:30s,b:121s,c:10s,gone:10s
         pod a ready
         pod b ready
         pod c ready deleting
         pod d ready",
        expect![[r#"
            healthy=2 desired=1 expected=4 allowed=1 disrupted=["a"]
              DisruptionAllowed=True SufficientPods
            tell b NotDeleted: Pod was expected by PDB default/web to be deleted but it wasn't
            look again in 90s"#]],
    );
}

#[test]
fn a_status_that_is_right_is_not_written_again_and_its_time_is_that_of_the_last_change() {
    let world = World::parse("budget web min=1\npod a ready\npod b ready");
    let mut budget = (*world.budgets[0]).clone();
    budget.status = look(&world, &budget).status;
    assert!(look(&world, &budget).status.is_none());
    let since = budget.status.as_ref().and_then(|status| status.conditions.clone()).expect("conditions");
    budget.metadata.generation = Some(2);
    let later =
        Observed { pods: &world.pods, scales: &BTreeMap::new(), now: world::NOW + SignedDuration::from_secs(9) };
    let next = plan(&budget, &later).status.expect("a status for the new generation");
    let conditions = next.conditions.expect("conditions");
    assert_eq!(conditions[0].last_transition_time, since[0].last_transition_time);
    assert_eq!((next.observed_generation, conditions[0].observed_generation), (Some(2), Some(2)));
}

#[test]
fn the_owner_of_a_pod_says_where_to_ask() {
    let of = |version: &str, kind: &str| {
        let owner = json!({ "apiVersion": version, "kind": kind, "name": "x", "uid": "x", "controller": true });
        source(&serde_json::from_value(owner).expect("a reference"))
    };
    assert_eq!(of("v1", "ReplicationController"), Source::ReplicationController);
    assert_eq!(of("apps/v1", "ReplicaSet"), Source::ReplicaSet);
    assert_eq!(of("apps/v1", "StatefulSet"), Source::StatefulSet);
    assert_eq!(of("example.com/v1", "StatefulSet"), Source::Scale);
    assert_eq!(of("batch/v1", "Job"), Source::Scale);
}

#[test]
fn a_set_whose_deployment_is_not_known_is_asked_for_at_the_server() {
    let world = World::parse("deployment site\nreplicaset one of=site replicas=3\nreplicaset two of=other replicas=3");
    let deployment = Some(&*world.deployments[0]);
    let scale = of_replica_set(&world.replica_sets[0], deployment).expect("a scale");
    assert_eq!((scale.uid.as_str(), scale.replicas), ("deployment-site", 1));
    assert_eq!(of_replica_set(&world.replica_sets[1], deployment), None);
    assert_eq!(of_replica_set(&world.replica_sets[0], None), None);
}

#[test]
fn shares_are_rounded_up_and_what_is_no_share_is_refused() {
    let percent = |text: &str, of| share(&IntOrString::String(text.into()), of);
    assert_eq!(
        (percent("50%", 5), percent("1%", 5), percent("100%", 7), percent("0%", 7)),
        (Ok(3), Ok(1), Ok(7), Ok(0))
    );
    assert_eq!(share(&IntOrString::Int(4), 2), Ok(4));
    let fault = "invalid value for IntOrString: invalid type: string is not a percentage";
    assert_eq!(percent("half", 5), Err(fault.to_owned()));
}

#[test]
fn a_mark_of_disruption_that_nobody_followed_becomes_stale() {
    let stale = |words: &str| stale_disruption(&World::parse(&format!("pod a {words}")).pods[0], world::NOW);
    assert_eq!(stale("ready disrupted=EvictionByEvictionAPI marked=30s"), Some(Duration::from_secs(90)));
    assert_eq!(stale("ready disrupted=PreemptionByScheduler marked=2h"), Some(Duration::ZERO));
    assert_eq!(stale("ready disrupted=TerminationByKubelet marked=2h"), None);
    assert_eq!(stale("ready deleting disrupted=EvictionByEvictionAPI marked=2h"), None);
    assert_eq!(stale("phase=Failed disrupted=EvictionByEvictionAPI marked=2h"), None);
    assert_eq!(stale("ready"), None);
}

proptest! {
    /// Whoever evicts as long as the budget allows it never takes one pod more, whether the controller sees the pods go,
    /// does not see it yet, or is started anew in between.
    #[test]
    fn a_budget_is_never_overdrawn(
        bound in prop::sample::select(vec!["min=1", "min=3", "min=40%", "max=1", "max=2", "max=34%"]),
        replicas in 1..8_usize,
        steps in prop::collection::vec((any::<bool>(), any::<bool>()), 1..20),
    ) {
        let mut text = format!("budget web {bound}\nreplicaset web replicas={replicas}\n");
        for index in 0..replicas {
            text += &format!("pod p{index} of=web ready\n");
        }
        let mut world = World::parse(&text);
        let mut budget = (*world.budgets[0]).clone();
        budget.status = look(&world, &budget).status;
        let desired = budget.status.as_ref().and_then(|status| status.desired_healthy).expect("a number");
        let mut evicted: Vec<String> = Vec::new();
        for (evict, seen) in steps {
            let status = budget.status.as_mut().expect("a status");
            let allowed = status.disruptions_allowed.expect("a number");
            let next = world.pods.iter().map(|pod| pod.name_any()).find(|name| !evicted.contains(name));
            if let (true, Some(name), true) = (evict, next, allowed > 0) {
                // what the eviction does in one write
                status.disruptions_allowed = Some(allowed - 1);
                status.disrupted_pods.get_or_insert_default().insert(name.clone(), Time(world::NOW));
                evicted.push(name);
            }
            let left = i32::try_from(replicas - evicted.len()).expect("small");
            prop_assert!(left >= desired.min(i32::try_from(replicas).expect("small")), "{left} left of {desired}");
            if seen {
                for pod in world.pods.iter_mut().filter(|pod| evicted.contains(&pod.name_any())) {
                    Arc::make_mut(pod).metadata.deletion_timestamp.get_or_insert(Time(world::NOW));
                }
            }
            let plan = look(&world, &budget);
            budget.status = plan.status.or(budget.status);
            prop_assert!(look(&world, &budget).status.is_none(), "planning after applying must yield nothing");
        }
    }
}
