//! Autoscalers over time, against a load that somebody makes.

use proptest::prelude::*;

use super::*;

/// A deployment under a load that all its pods share, and its autoscaler.
struct World {
    scene: Scene,
    /// Thousandths of a core.
    load: i64,
    now: Timestamp,
}

impl World {
    fn new(size: usize, percent: i32, load: i64) -> Self {
        let mut world = Self { scene: Scene::new(json!([cpu(percent)]), size, Vec::new()), load, now: NOW };
        world.resize(size);
        world
    }

    fn resize(&mut self, size: usize) {
        self.scene.scale = scale(size);
        self.scene.pods = pods(size);
    }

    fn size(&self) -> usize {
        self.scene.pods.len()
    }

    /// Looks once, and does what was decided.
    fn step(&mut self) -> Plan {
        let size = self.size();
        self.scene.readings = vec![used(size, self.load / i64::try_from(size).unwrap())];
        let mut plan = self.scene.plan(self.now);
        plan.done(&self.scene.autoscaler, Ok(()), self.now);
        self.scene.history = plan.history.clone();
        self.scene.autoscaler.status = Some(plan.status.clone());
        if let Some(rescale) = &plan.rescale {
            self.resize(usize::try_from(rescale.to).unwrap());
        }
        self.now += SignedDuration::from_secs(15);
        plan
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_steady_load_comes_to_rest_and_looking_again_changes_nothing(
        size in 1_usize..10, percent in 20_i32..100, load in 0_i64..20_000,
    ) {
        let mut world = World::new(size, percent, load);
        // growth doubles at each look, shrinking waits five minutes
        for _ in 0..60 {
            let plan = world.step();
            let (current, desired) = (plan.status.current_replicas.unwrap(), plan.status.desired_replicas);
            prop_assert!((1..=10).contains(&current) && (1..=10).contains(&desired));
        }
        let before = (world.size(), world.scene.autoscaler.status.clone());
        for _ in 0..4 {
            let plan = world.step();
            prop_assert_eq!(plan.rescale, None);
            prop_assert_eq!(&plan.notes, &[]);
        }
        prop_assert_eq!((world.size(), world.scene.autoscaler.status.clone()), before);
    }

    #[test]
    fn nothing_shrinks_within_the_window_of_a_higher_wish(
        loads in prop::collection::vec(0_i64..20_000, 1..20), percent in 20_i32..100,
    ) {
        let mut world = World::new(2, percent, 0);
        let mut highest = 2;
        for load in loads.into_iter().take(19) {
            world.load = load; // less than five minutes in all
            world.step();
            prop_assert!(world.size() >= highest, "{} < {highest}", world.size());
            highest = highest.max(world.size());
        }
    }

    #[test]
    fn while_metrics_are_missing_the_size_stays(size in 1_usize..=10, percent in 20_i32..100, looks in 1..60) {
        let mut world = World::new(size, percent, 0);
        for _ in 0..looks {
            world.scene.readings = vec![Err("no".into())];
            let plan = world.scene.plan(world.now);
            prop_assert_eq!(plan.rescale, None);
            world.scene.history = plan.history;
            world.now += SignedDuration::from_secs(15);
        }
    }
}
