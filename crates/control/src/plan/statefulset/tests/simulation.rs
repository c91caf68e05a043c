//! A set and its pods over many passes: pods become ready, fail and go at random, and the set is edited on the way.

use std::sync::Arc;

use super::*;
use crate::plan::pod;

pub(super) struct Simulation {
    pub(super) world: World,
    pub(super) set: StatefulSet,
}

impl Simulation {
    pub(super) fn new(text: &str) -> Self {
        let mut world = World::parse(text);
        let set = Arc::unwrap_or_clone(world.stateful_sets.remove(0));
        Self { world, set }
    }

    fn spec(&mut self) -> &mut StatefulSetSpec {
        self.set.spec.as_mut().expect("a spec")
    }

    /// What the controller does in one pass; how many pods and claims it touched.
    pub(super) fn step(&mut self) -> (usize, bool) {
        let (step, _) = look(&self.world, &self.set);
        let mut moved = self.settle_revision(step);
        let (_, plan) = look(&self.world, &self.set);
        let actions: Vec<Action> = plan.phases.into_iter().flatten().flat_map(|unit| unit.actions).collect();
        let count = actions.len();
        actions.into_iter().for_each(|action| self.apply(action));
        self.world.revisions.retain(|one| !plan.forget.iter().any(|gone| gone.metadata.name == one.metadata.name));
        moved |= plan.status.is_some() || !plan.forget.is_empty();
        if let Some(status) = plan.status {
            self.set.status = Some(status);
        }
        (count, moved)
    }

    fn settle_revision(&mut self, step: Step) -> bool {
        match step {
            Step::Keep(_) => return false,
            Step::Renumber(one, number) => {
                let known = self.world.revisions.iter_mut().find(|known| known.metadata.name == one.metadata.name);
                Arc::make_mut(known.expect("a known revision")).revision = number;
            }
            Step::Create(one) => self.world.revisions.push(Arc::from(one)),
        }
        true
    }

    fn apply(&mut self, action: Action) {
        match action {
            Action::CreateClaim(mut claim) => {
                claim.metadata.uid = Some(format!("claim-{}", claim.name_any()));
                assert!(!self.world.claims.iter().any(|one| one.metadata.name == claim.metadata.name), "made twice");
                self.world.claims.push(Arc::from(claim));
            }
            Action::Own(claim) => {
                let known = self.world.claims.iter_mut().find(|one| one.metadata.name == claim.metadata.name);
                *known.expect("a known claim") = Arc::from(claim);
            }
            Action::CreatePod(mut pod) => {
                assert!(!self.world.pods.iter().any(|one| one.metadata.name == pod.metadata.name), "made twice");
                pod.metadata.uid = Some(format!("pod-{}-{}", pod.name_any(), self.world.pods.len()));
                pod.status = serde_json::from_value(json!({ "phase": "Pending" })).expect("a status");
                self.world.pods.push(Arc::from(pod));
            }
            Action::Repair(pod, _) => self.world.edit_pod(&pod, |pod| {
                let name = pod.name_any();
                pod.metadata.labels.get_or_insert_default().insert("statefulset.kubernetes.io/pod-name".into(), name);
            }),
            Action::Delete(pod) => {
                self.world.edit_pod(&pod, |pod| pod.metadata.deletion_timestamp = Some(Time(world::NOW)));
            }
            Action::Refuse(why) => panic!("refused: {why}"),
        }
    }

    /// Pods chosen by `chance` go if they should, else become ready, or fail.
    fn kubelet(&mut self, chance: impl Fn(usize) -> u8) -> bool {
        let before = self.world.pods.len();
        let mut index = 0;
        self.world.pods.retain(|pod| {
            index += 1;
            pod.metadata.deletion_timestamp.is_none() || chance(index) & 1 == 0
        });
        let mut moved = before != self.world.pods.len();
        for (index, pod) in self.world.pods.iter_mut().enumerate() {
            let phase = match chance(index) {
                _ if pod::is_terminal(pod) => continue,
                odds if odds & 3 == 1 && !pod::is_ready(pod) => "Running",
                odds if odds & 31 == 30 => "Failed",
                _ => continue,
            };
            moved = true;
            let ready = json!([{ "type": "Ready", "status": if phase == "Running" { "True" } else { "False" },
                "lastTransitionTime": Time(world::NOW) }]);
            let status = json!({ "phase": phase, "conditions": ready });
            Arc::make_mut(pod).status = serde_json::from_value(status).expect("a status");
        }
        moved
    }

    fn settle(&mut self) {
        for _ in 0..400 {
            let (count, mut moved) = self.step();
            moved |= self.kubelet(|_| 1);
            if count == 0 && !moved {
                return;
            }
        }
        panic!("the set never settles: {:?}", self.set.status);
    }

    fn is_ready(&self, ordinal: i32) -> bool {
        let name = format!("web-{ordinal}");
        self.world
            .pods
            .iter()
            .any(|pod| pod.name_any() == name && pod::is_ready(pod) && pod.metadata.deletion_timestamp.is_none())
    }

    /// Every pod with its revision, in order.
    fn pods(&self) -> Vec<(i32, String)> {
        let ordinal = |pod: &Pod| identity::ordinal("web", &pod.name_any()).expect("a member");
        let mut pods: Vec<_> =
            self.world.pods.iter().map(|pod| (ordinal(pod), identity::revision(pod).to_owned())).collect();
        pods.sort();
        pods
    }
}

/// One change of the set by its user.
#[derive(Clone, Debug)]
struct Edit {
    replicas: i32,
    start: i32,
    image: u8,
    partition: i32,
    chances: Vec<u8>,
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let edit = (0..5_i32, 0..3_i32, 0..3_u8, 0..4_i32, prop::collection::vec(any::<u8>(), 0..12))
        .prop_map(|(replicas, start, image, partition, chances)| Edit { replicas, start, image, partition, chances });
    prop::collection::vec(edit, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_on_the_way_the_set_becomes_what_it_should_be(
        edits in edits(),
        parallel in any::<bool>(),
        claims in any::<bool>(),
    ) {
        let words = [if parallel { "parallel" } else { "" }, if claims { "claim=data" } else { "" }].join(" ");
        let mut sim = Simulation::new(&format!("statefulset web replicas=1 limit=2 {words}"));
        for edit in &edits {
            let spec = sim.spec();
            spec.replicas = Some(edit.replicas);
            spec.ordinals.get_or_insert_default().start = Some(edit.start);
            let rolling = spec.update_strategy.as_mut().and_then(|strategy| strategy.rolling_update.as_mut());
            rolling.expect("a rolling update").partition = Some(edit.partition);
            spec.template.spec.as_mut().expect("a pod").containers[0].image = Some(format!("v{}", edit.image));
            for chance in &edit.chances {
                let before: Vec<i32> = sim.pods().into_iter().map(|(ordinal, _)| ordinal).collect();
                let ready: Vec<bool> = (0..8).map(|ordinal| sim.is_ready(ordinal)).collect();
                sim.step();
                let made: Vec<i32> =
                    sim.pods().into_iter().map(|(ordinal, _)| ordinal).filter(|one| !before.contains(one)).collect();
                if !parallel {
                    prop_assert!(made.len() < 2, "one at a time: {made:?}");
                    let waiting = made.iter().flat_map(|one| edit.start..*one).find(|one| !ready[usize::try_from(*one).expect("small")]);
                    prop_assert_eq!(waiting, None, "made {:?} too early", made);
                }
                sim.kubelet(|index| chance.rotate_left(u32::try_from(index % 8).expect("small")));
            }
        }
        sim.settle();
        let last = edits.last().expect("an edit");
        let status = sim.set.status.clone().expect("a status");
        let (current, update) = (status.current_revision.expect("a name"), status.update_revision.expect("a name"));
        let pods = sim.pods();
        let wanted: Vec<i32> = (last.start..last.start + last.replicas).collect();
        prop_assert_eq!(pods.iter().map(|(ordinal, _)| *ordinal).collect::<Vec<_>>(), wanted.clone());
        for (ordinal, revision) in &pods {
            if *ordinal >= last.start + last.partition {
                prop_assert_eq!(revision, &update, "pod {} is out of date", ordinal);
            }
        }
        if last.partition == 0 {
            prop_assert_eq!(&current, &update, "a complete update is told");
        }
        if claims {
            for ordinal in wanted {
                let name = format!("data-web-{ordinal}");
                prop_assert_eq!(sim.world.claims.iter().filter(|claim| claim.name_any() == name).count(), 1);
            }
        }
        prop_assert!(sim.world.revisions.len() <= 2 + 2 + pods.len(), "history is limited");
        prop_assert_eq!(sim.step(), (0, false), "planning after applying must yield nothing");
    }

    #[test]
    fn one_pass_is_enough_until_something_happens(
        replicas in 0..5_i32,
        parallel in any::<bool>(),
        policy in 0..4_u8,
        pods in prop::collection::vec((0..6_u8, any::<bool>(), any::<bool>(), any::<bool>()), 6),
    ) {
        let mut text = format!("statefulset web replicas={replicas} image=v2 current=v1 claim=data");
        text += if parallel { " parallel" } else { "" };
        text += ["", " deleted", " scaled", " deleted scaled"][usize::from(policy)];
        text += "\nrevision v1 sts=web number=1\nrevision v2 sts=web number=2 image=v2\n";
        for (ordinal, (state, updated, named, claimed)) in pods.iter().enumerate() {
            let state = ["", "ready", "ready deleting", "phase=Failed", "phase=Running", "absent"][usize::from(*state)];
            if state != "absent" {
                let (rev, name) = (if *updated { "v2" } else { "v1" }, if *named { "" } else { "nameless" });
                text += &format!("pod web-{ordinal} sts=web rev={rev} {state} {name} mount=data:data-web-{ordinal}\n");
            }
            if *claimed {
                text += &format!("claim data-web-{ordinal} owner=StatefulSet:web\n");
            }
        }
        let mut sim = Simulation::new(&text);
        sim.step();
        prop_assert_eq!(sim.step().0, 0);
        sim.step();
        prop_assert_eq!(sim.step(), (0, false));
    }
}
