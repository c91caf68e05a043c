use expect_test::{Expect, expect};
use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;
use crate::plan::replicaset;
use crate::world::{self, World};

fn describe(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan
        .actions
        .iter()
        .map(|action| match action {
            Action::Adopt(set) => format!("adopt {}", set.name_any()),
            Action::Release(set) => format!("release {}", set.name_any()),
            Action::Create(set) => {
                let annotations = set.annotations();
                let note = |key: &str| annotations.get(key).cloned().unwrap_or_default();
                let (revision, maximum) = (note(history::REVISION), note(history::MAXIMUM));
                format!("create replicas={} revision={revision} max={maximum}", size(set))
            }
            Action::Update { set, scale: Some((from, to)), .. } => format!("scale {} {from} -> {to}", set.name_any()),
            Action::Update { set, scale: None, patch } => format!("annotate {} {patch}", set.name_any()),
            Action::Remove(set) => format!("remove {}", set.name_any()),
            Action::Revision(number) => format!("revision {number}"),
        })
        .collect();
    if let Some(status) = &plan.status {
        let shown = |count: Option<i32>| count.unwrap_or(0);
        lines.push(format!(
            "status replicas={} updated={} ready={} available={} unavailable={}",
            shown(status.replicas),
            shown(status.updated_replicas),
            shown(status.ready_replicas),
            shown(status.available_replicas),
            shown(status.unavailable_replicas),
        ));
        for condition in status.conditions.iter().flatten() {
            lines.push(format!(
                "  {}={} {}: {}",
                condition.type_,
                condition.status,
                condition.reason.as_deref().unwrap_or(""),
                condition.message.as_deref().unwrap_or(""),
            ));
        }
    }
    lines.join("\n")
}

fn look(world: &World, deployment: &Deployment, now: Timestamp) -> Plan {
    plan(deployment, &Observed { sets: &world.replica_sets, pods: &world.pods, now })
}

fn check(text: &str, expected: Expect) {
    let world = World::parse(text);
    // The name of a set has the hash of its template in it; tests show the rest.
    let text = describe(&look(&world, &world.deployments[0], world::NOW));
    let name = template::replica_set(&world.deployments[0]).name_any();
    expected.assert_eq(&text.replace(&name, "web-HASH"));
}

#[test]
fn a_new_deployment_creates_its_set_at_full_size() {
    check(
        "deployment web replicas=3",
        expect![[r#"
            create replicas=3 revision=1 max=4
            revision 1
            status replicas=0 updated=0 ready=0 available=0 unavailable=3
              Progressing=True NewReplicaSetCreated: Created new replica set "web-HASH"
              Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability."#]],
    );
}

#[test]
fn a_new_template_starts_with_the_surge() {
    check(
        "deployment web replicas=4 image=v2 annotations=deployment.kubernetes.io/revision=1
         replicaset web-1 of=web replicas=4 available=4 rev=1 desired=4 max=5",
        expect![[r#"
            create replicas=1 revision=2 max=5
            revision 2
            status replicas=4 updated=0 ready=4 available=4 unavailable=1
              Available=True MinimumReplicasAvailable: Deployment has minimum availability.
              Progressing=True ReplicaSetUpdated: ReplicaSet "web-HASH" is progressing."#]],
    );
}

#[test]
fn an_old_set_shrinks_by_what_is_available_beyond_the_minimum() {
    check(
        "deployment web replicas=4 image=v2 annotations=deployment.kubernetes.io/revision=2
         replicaset web-1 of=web replicas=4 available=4 rev=1 desired=4 max=5
         replicaset web-2 of=web replicas=1 available=1 rev=2 desired=4 max=5 image=v2",
        expect![[r#"
            scale web-1 4 -> 2
            status replicas=5 updated=1 ready=5 available=5 unavailable=0
              Available=True MinimumReplicasAvailable: Deployment has minimum availability.
              Progressing=True ReplicaSetUpdated: ReplicaSet "web-2" is progressing."#]],
    );
}

#[test]
fn broken_pods_of_the_old_set_go_first_and_do_not_block() {
    check(
        "deployment web replicas=4 image=v2 unavailable=0 surge=1 annotations=deployment.kubernetes.io/revision=2
         replicaset web-1 of=web replicas=4 pods=4 available=2 rev=1 desired=4 max=5
         replicaset web-2 of=web replicas=1 pods=1 available=1 rev=2 desired=4 max=5 image=v2",
        expect![[r#"
            scale web-1 4 -> 3
            status replicas=5 updated=1 ready=3 available=3 unavailable=1
              Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.
              Progressing=True ReplicaSetUpdated: ReplicaSet "web-2" is progressing."#]],
    );
}

#[test]
fn undo_gives_the_old_set_a_new_revision() {
    check(
        "deployment web replicas=2 image=v1 annotations=deployment.kubernetes.io/revision=2
         replicaset web-1 of=web replicas=0 rev=1 desired=2 max=3
         replicaset web-2 of=web replicas=2 available=2 rev=2 desired=2 max=3 image=v2",
        expect![[r#"
            scale web-1 0 -> 1
            revision 3
            status replicas=2 updated=0 ready=2 available=2 unavailable=1
              Available=True MinimumReplicasAvailable: Deployment has minimum availability.
              Progressing=True ReplicaSetUpdated: ReplicaSet "web-1" is progressing."#]],
    );
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    check(
        "deployment web replicas=2 image=v2 recreate annotations=deployment.kubernetes.io/revision=1
         replicaset web-1 of=web replicas=2 available=2 rev=1 desired=2 max=2",
        expect![[r#"
            scale web-1 2 -> 0
            status replicas=2 updated=0 ready=2 available=2 unavailable=0
              Available=True MinimumReplicasAvailable: Deployment has minimum availability.
              Progressing=True ReplicaSetUpdated: Deployment "web" is progressing."#]],
    );
    check(
        "deployment web replicas=2 image=v2 recreate annotations=deployment.kubernetes.io/revision=1
         replicaset web-1 of=web replicas=0 rev=1 desired=2 max=2
         pod web-1-a of=web-1 ready deleting",
        expect![[r#"
            status replicas=0 updated=0 ready=0 available=0 unavailable=0
              Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability."#]],
    );
    check(
        "deployment web replicas=2 image=v2 recreate annotations=deployment.kubernetes.io/revision=1
         replicaset web-1 of=web replicas=0 rev=1 desired=2 max=2",
        expect![[r#"
            create replicas=2 revision=2 max=2
            revision 2
            status replicas=0 updated=0 ready=0 available=0 unavailable=2
              Progressing=True NewReplicaSetCreated: Created new replica set "web-HASH"
              Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability."#]],
    );
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    check(
        "deployment web replicas=5 image=v2 paused annotations=deployment.kubernetes.io/revision=1
         replicaset web-1 of=web replicas=3 available=3 rev=1 desired=3 max=4",
        expect![[r#"
            scale web-1 3 -> 5
            status replicas=3 updated=0 ready=3 available=3 unavailable=2
              Progressing=Unknown DeploymentPaused: Deployment is paused
              Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability."#]],
    );
}

#[test]
fn scaling_in_the_middle_of_a_rollout_keeps_the_proportions() {
    check(
        "deployment web replicas=20 image=v2 annotations=deployment.kubernetes.io/revision=2
         replicaset web-1 of=web replicas=8 available=8 rev=1 desired=10 max=13
         replicaset web-2 of=web replicas=5 available=2 rev=2 desired=10 max=13 image=v2",
        expect![[r#"
            scale web-2 5 -> 10
            scale web-1 8 -> 15
            status replicas=10 updated=2 ready=10 available=10 unavailable=15
              Progressing=True FoundNewReplicaSet: Found new replica set "web-2"
              Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability."#]],
    );
}

#[test]
fn only_empty_sets_beyond_the_limit_are_forgotten() {
    let text = "deployment web replicas=1 image=v4 limit=1 annotations=deployment.kubernetes.io/revision=4
         replicaset web-1 of=web replicas=0 rev=1 image=v1
         replicaset web-2 of=web replicas=0 rev=2 image=v2
         replicaset web-3 of=web replicas=0 rev=3 image=v3
         replicaset web-4 of=web replicas=1 available=1 rev=4 image=v4 desired=1 max=2";
    let world = World::parse(text);
    let mut deployment = (*world.deployments[0]).clone();
    deployment.status = look(&world, &deployment, world::NOW).status;
    expect![[r#"
        remove web-1
        remove web-2"#]]
    .assert_eq(&describe(&look(&world, &deployment, world::NOW)));
}

#[test]
fn a_rollout_that_does_not_move_times_out_once() {
    let world = World::parse(
        "deployment web replicas=1 deadline=60 annotations=deployment.kubernetes.io/revision=1
         replicaset web-1 of=web replicas=1 pods=1 rev=1 desired=1 max=2",
    );
    let mut deployment = (*world.deployments[0]).clone();
    let first = look(&world, &deployment, world::NOW);
    assert_eq!(first.recheck, Some(Duration::from_secs(61)));
    deployment.status = first.status;
    assert!(look(&world, &deployment, world::NOW).status.is_none());
    let late = look(&world, &deployment, world::NOW + SignedDuration::from_secs(61));
    expect![[r#"
        status replicas=1 updated=1 ready=0 available=0 unavailable=1
          Available=False MinimumReplicasUnavailable: Deployment does not have minimum availability.
          Progressing=False ProgressDeadlineExceeded: ReplicaSet "web-1" has timed out progressing."#]]
    .assert_eq(&describe(&late));
    deployment.status = late.status;
    let later = look(&world, &deployment, world::NOW + SignedDuration::from_secs(90));
    assert!(later.status.is_none() && later.recheck.is_none());
}

#[test]
fn an_orphan_set_is_adopted_and_used() {
    check(
        "deployment web replicas=1 annotations=deployment.kubernetes.io/revision=1
         replicaset web-1 app=web replicas=1 available=1 rev=1 desired=1 max=2",
        expect![[r#"
            adopt web-1
            status replicas=1 updated=1 ready=1 available=1 unavailable=0
              Available=True MinimumReplicasAvailable: Deployment has minimum availability.
              Progressing=True NewReplicaSetAvailable: ReplicaSet "web-1" has successfully progressed."#]],
    );
}

/// A cluster in miniature: the Deployment's plans are applied to its sets, the sets' plans to pods, pods become ready or
/// fail as `chances` says.
struct Simulation {
    world: World,
    deployment: Deployment,
    serial: usize,
}

impl Simulation {
    fn step(&mut self) -> bool {
        let plan = look(&self.world, &self.deployment, world::NOW);
        let mut moved = plan.status.is_some();
        for action in plan.actions {
            moved = true;
            match action {
                Action::Create(mut set) => {
                    self.serial += 1;
                    set.metadata.uid = Some(format!("set-{}", self.serial));
                    set.metadata.creation_timestamp =
                        Some(Time(world::NOW + SignedDuration::from_secs(i64::try_from(self.serial).expect("small"))));
                    set.metadata.generation = Some(1);
                    self.world.replica_sets.push(Arc::new(*set));
                }
                Action::Update { set, scale, patch } => {
                    let found = self.world.replica_sets.iter_mut().find(|one| one.metadata.uid == set.metadata.uid);
                    let set = Arc::make_mut(found.expect("a known set"));
                    let new: Labels =
                        serde_json::from_value(patch["metadata"]["annotations"].clone()).unwrap_or_default();
                    set.metadata.annotations.get_or_insert_default().extend(new);
                    if let (Some((_, to)), Some(spec)) = (scale, &mut set.spec) {
                        spec.replicas = Some(to);
                    }
                }
                Action::Remove(set) => self.world.replica_sets.retain(|one| one.metadata.uid != set.metadata.uid),
                Action::Revision(number) => {
                    let annotations = self.deployment.metadata.annotations.get_or_insert_default();
                    annotations.insert(history::REVISION.into(), number);
                }
                Action::Adopt(_) | Action::Release(_) => unreachable!("nothing to adopt here"),
            }
        }
        if let Some(status) = plan.status {
            self.deployment.status = Some(status);
        }
        moved
    }

    /// One pass of the ReplicaSet controller over the sets chosen by `chance`.
    fn pods_follow(&mut self, chance: impl Fn(usize) -> bool) -> bool {
        let mut moved = false;
        for index in 0..self.world.replica_sets.len() {
            if !chance(index) {
                continue;
            }
            let set = self.world.replica_sets[index].clone();
            let observed = replicaset::Observed { pods: &self.world.pods, siblings: &[], now: world::NOW };
            let plan = replicaset::plan(&set, &observed);
            moved |= !plan.actions.is_empty();
            let mut after = plan;
            self.world.apply_pods(&set, &after.actions);
            let observed = replicaset::Observed { pods: &self.world.pods, siblings: &[], now: world::NOW };
            after = replicaset::plan(&set, &observed);
            if let Some(status) = replicaset::status(&set, &after, None, world::NOW) {
                moved = true;
                Arc::make_mut(&mut self.world.replica_sets[index]).status = Some(status);
            }
        }
        moved
    }

    fn pods_become_ready(&mut self, chance: impl Fn(usize) -> bool) -> bool {
        let mut moved = false;
        for (index, pod) in self.world.pods.iter_mut().enumerate() {
            if chance(index) && !crate::plan::pod::is_ready(pod) {
                moved = true;
                let since = serde_json::to_value(Time(world::NOW)).expect("a time");
                let status = json!({ "phase": "Running", "conditions": [
                    { "type": "Ready", "status": "True", "lastTransitionTime": since }] });
                Arc::make_mut(pod).status = Some(serde_json::from_value(status).expect("a status"));
            }
        }
        moved
    }

    fn available(&self) -> usize {
        self.world.pods.iter().filter(|pod| crate::plan::pod::is_ready(pod)).count()
    }

    fn settle(&mut self) {
        for _ in 0..200 {
            let mut moved = self.step();
            moved |= self.pods_follow(|_| true);
            moved |= self.pods_become_ready(|_| true);
            if !moved {
                return;
            }
        }
        panic!("the rollout never settles: {:#?}", self.deployment.status);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn a_rollout_stays_within_its_bounds_at_every_step_and_ends(
        replicas in 1..9_i32,
        surge in 0..4_i32,
        unavailable in 0..4_i32,
        chances in prop::collection::vec(any::<u8>(), 40),
    ) {
        let world = World::parse(&format!(
            "deployment web replicas={replicas} surge={surge} unavailable={unavailable}"));
        let mut sim = Simulation { deployment: (*world.deployments[0]).clone(), world, serial: 0 };
        sim.settle();
        prop_assert_eq!(sim.available(), usize::try_from(replicas).expect("positive"));
        // A new template: from here on the bounds must hold after every single step.
        sim.deployment.metadata.generation = Some(2);
        let container = |d: &mut Deployment| {
            let spec = d.spec.as_mut().and_then(|spec| spec.template.spec.as_mut()).expect("a template");
            spec.containers[0].image = Some("v2".into());
        };
        container(&mut sim.deployment);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable }.min(replicas);
        let most = replicas + surge;
        let least = usize::try_from(replicas - unavailable).expect("not negative");
        for chance in &chances {
            let bit = |index: usize| (chance >> (index % 6)) & 1 == 1;
            sim.step();
            let wanted: i32 = sim.world.replica_sets.iter().map(|set| size(set)).sum();
            prop_assert!(wanted <= most, "{wanted} pods wanted, {most} allowed");
            sim.pods_follow(bit);
            prop_assert!(sim.available() >= least, "{} available, {least} needed", sim.available());
            sim.pods_become_ready(bit);
        }
        sim.settle();
        let old: i32 = sim.world.replica_sets[..1].iter().map(|set| size(set)).sum();
        prop_assert_eq!((old, sim.available()), (0, usize::try_from(replicas).expect("positive")));
        prop_assert!(!sim.step(), "planning after applying must yield nothing");
        let reason = sim.deployment.status.as_ref().and_then(|status| status.conditions.as_ref())
            .and_then(|all| all.iter().find(|one| one.type_ == "Progressing")).and_then(|one| one.reason.clone());
        prop_assert_eq!(reason.as_deref(), Some("NewReplicaSetAvailable"));
    }
}
