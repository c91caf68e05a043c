//! A set and its nodes over many passes: pods become ready or fail, nodes change, the template changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::*;

struct Simulation {
    world: World,
    set: DaemonSet,
    serial: usize,
}

impl Simulation {
    fn new(nodes: usize, words: &str) -> Self {
        let mut text = format!("daemonset web limit=2 {words}\n");
        for node in 0..nodes {
            text += &format!("node n{node}\n");
        }
        let mut world = World::parse(&text);
        let set = Arc::unwrap_or_clone(world.daemon_sets.remove(0));
        Self { world, set, serial: 0 }
    }

    fn step(&mut self) -> (usize, bool) {
        let spec = self.set.spec.clone().expect("a spec");
        let Revising { step, duplicates, .. } = revise(&self.set, &spec, &self.world.revisions);
        assert!(duplicates.is_empty(), "{duplicates:?}");
        let mut moved = !matches!(step, Step::Keep(_));
        match step {
            Step::Keep(_) => {}
            Step::Renumber(one, number) => {
                let known = self.world.revisions.iter_mut().find(|known| known.metadata.name == one.metadata.name);
                Arc::make_mut(known.expect("a known revision")).revision = number;
            }
            Step::Create(one) => self.world.revisions.push(Arc::from(one)),
        }
        let plan = look(&self.world, &self.set, &Backoff::default());
        let hash = self.hash();
        for node in &plan.create {
            self.serial += 1;
            let mut pod = new_pod(&self.set, &hash, node);
            pod.metadata.name = Some(format!("web-{}", self.serial));
            pod.metadata.uid = Some(format!("pod-{}", self.serial));
            pod.metadata.creation_timestamp = Some(Time(world::NOW));
            pod.status = serde_json::from_value(json!({ "phase": "Pending" })).expect("a status");
            self.world.pods.push(Arc::new(pod));
        }
        for (pod, _, _) in &plan.delete {
            self.world.edit_pod(pod, |pod| pod.metadata.deletion_timestamp = Some(Time(world::NOW)));
        }
        self.world.revisions.retain(|one| !plan.forget.iter().any(|gone| gone.metadata.name == one.metadata.name));
        moved |= plan.status.is_some() || !plan.forget.is_empty();
        if let Some(status) = plan.status {
            self.set.status = Some(status);
        }
        (plan.create.len() + plan.delete.len(), moved)
    }

    fn hash(&self) -> String {
        let latest = self.world.revisions.iter().max_by_key(|one| one.revision);
        hash(latest.expect("a revision"))
    }

    fn kubelet(&mut self, chance: impl Fn(usize) -> u8) -> bool {
        let before = self.world.pods.len();
        let mut index = 0;
        self.world.pods.retain(|pod| {
            index += 1;
            pod.metadata.deletion_timestamp.is_none() || chance(index) & 1 == 0
        });
        let mut moved = before != self.world.pods.len();
        for (index, pod) in self.world.pods.iter_mut().enumerate() {
            if chance(index) & 3 != 1 || pod::is_ready(pod) {
                continue;
            }
            moved = true;
            let node = place::target(pod).map(str::to_owned);
            let pod = Arc::make_mut(pod);
            pod.spec.as_mut().expect("a spec").node_name = node;
            let ready = json!([{ "type": "Ready", "status": "True", "lastTransitionTime": Time(world::NOW) }]);
            pod.status = serde_json::from_value(json!({ "phase": "Running", "conditions": ready })).expect("a status");
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

    fn on(&self, node: &str) -> Vec<&Arc<Pod>> {
        let there = |pod: &&Arc<Pod>| place::target(pod) == Some(node) && pod.metadata.deletion_timestamp.is_none();
        self.world.pods.iter().filter(there).collect()
    }

    fn nodes(&self) -> Vec<String> {
        self.world.nodes.iter().map(|node| node.name_any()).collect()
    }

    /// The nodes that have a pod that works.
    fn served(&self) -> usize {
        self.nodes().iter().filter(|node| self.on(node).iter().any(|pod| pod::is_ready(pod))).count()
    }

    /// The nodes that have a second pod beside one that works.
    fn doubled(&self) -> usize {
        let working = |pods: &[&Arc<Pod>]| pods.iter().any(|pod| pod::is_ready(pod));
        self.nodes().iter().map(|node| self.on(node)).filter(|pods| pods.len() == 2 && working(pods)).count()
    }

    fn set_image(&mut self, image: &str) {
        let spec = self.set.spec.as_mut().expect("a spec");
        spec.template.spec.as_mut().expect("a pod").containers[0].image = Some(image.into());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn an_update_stays_within_its_bounds_at_every_step_and_ends(
        nodes in 1..7_usize,
        surge in 0..3_usize,
        unavailable in 1..4_usize,
        chances in prop::collection::vec(any::<u8>(), 30),
        images in prop::collection::vec(1..4_u8, 1..4),
    ) {
        let words = if surge > 0 { format!("surge={surge}") } else { format!("unavailable={unavailable}") };
        let mut sim = Simulation::new(nodes, &words);
        sim.settle();
        prop_assert_eq!(sim.served(), nodes);
        let missing = if surge > 0 { 0 } else { unavailable };
        for image in &images {
            sim.set_image(&format!("v{image}"));
            for chance in &chances {
                sim.step();
                prop_assert!(sim.served() + missing >= nodes, "{} of {nodes} nodes are served", sim.served());
                prop_assert!(sim.doubled() <= surge, "{} nodes have two pods", sim.doubled());
                sim.kubelet(|index| chance.rotate_left(u32::try_from(index % 8).expect("small")));
            }
        }
        sim.settle();
        let hash = sim.hash();
        for node in sim.nodes() {
            let pods = sim.on(&node);
            prop_assert_eq!(pods.len(), 1, "on {}", node);
            prop_assert_eq!(pods[0].labels().get(HASH), Some(&hash));
        }
        let status = sim.set.status.clone().expect("a status");
        let nodes = i32::try_from(nodes).expect("small");
        prop_assert_eq!((status.updated_number_scheduled, status.number_available), (Some(nodes), Some(nodes)));
        prop_assert_eq!(sim.step(), (0, false), "planning after applying must yield nothing");
    }

    #[test]
    fn a_few_passes_are_enough_until_something_happens(
        words in prop::sample::select(vec!["", "surge=1", "ondelete", "unavailable=50%"]),
        nodes in prop::collection::vec(0..4_u8, 1..5),
        pods in prop::collection::vec((0..6_usize, 0..5_u8, any::<bool>()), 0..9),
    ) {
        let mut text = format!("daemonset web image=v2 {words}\nrevision v1 ds=web number=1\nrevision v2 ds=web number=2 image=v2\n");
        for (index, kind) in nodes.iter().enumerate() {
            let taint = ["", "", "taint=other:NoSchedule", "taint=other:NoExecute"][usize::from(*kind)];
            text += &format!("node n{index} {taint}\n");
        }
        for (index, (node, state, updated)) in pods.iter().enumerate() {
            let state = ["", "ready", "ready deleting", "phase=Failed", "phase=Succeeded"][usize::from(*state)];
            let place = if index % 3 == 0 && state.is_empty() { "for" } else { "node" };
            let rev = if *updated { "v2" } else { "v1" };
            text += &format!("pod web-p{index} ds=web rev={rev} {place}=n{node} {state} age={index}m\n");
        }
        let mut world = World::parse(&text);
        let set = Arc::unwrap_or_clone(world.daemon_sets.remove(0));
        let mut sim = Simulation { world, set, serial: 100 };
        // First what is wrong is put right, then the update takes a step, then the old pod of a surge goes.
        prop_assert!((0..6).any(|_| sim.step() == (0, false)), "{:?}", sim.set.status);
    }
}
