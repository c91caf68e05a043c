//! What the shell does with decisions and with what the watches show, without an API.

use std::collections::HashSet;
use std::time::Duration;

use super::*;
use crate::scheduler::node::NodeFacts;
use crate::scheduler::tests::world_of;

struct Test {
    state: State,
    now: Instant,
}

fn state(text: &str) -> Test {
    let (world, waiting) = world_of(text, Profile::default());
    let now = Instant::now();
    let queue = Queue::new(BackOff::default(), now);
    let mut test = Test { state: State { world, queue, turn: Turn::new(1) }, now };
    for pod in waiting {
        test.state.pod_is(pod, now);
    }
    test
}

impl Test {
    fn next(&mut self) -> String {
        match self.state.next(self.now) {
            None => "-".to_owned(),
            Some(Job::Bind { pod, node, .. }) => format!("{}={node}", pod.key.name),
            Some(Job::Report(report)) => report.summary(),
        }
    }

    fn pod(&self, name: &str) -> Arc<PodInfo> {
        let key = base::Key::new("default", name);
        self.state.queue.get(&key).expect("a pod that waits").clone()
    }
}

#[test]
fn a_failed_binding_gives_the_room_back_and_wakes_who_waits_for_it() {
    let mut test = state("node n1 cpu=1\npod a cpu=1\npod b cpu=1");
    assert_eq!(test.next(), "a=n1");
    assert!(test.next().starts_with("b 0/1 nodes are available: 1 Insufficient cpu."));
    let a = test.pod("a");
    assert!(test.state.forget(&a, test.now));
    test.state.failed(&a, Plugins::default(), test.now);
    assert_eq!(test.next(), "b=n1");
    assert_eq!(test.next(), "-", "an error needs time");
    test.now += Duration::from_secs(3);
    assert!(test.next().starts_with("a 0/1"));
}

#[test]
fn what_the_api_shows_confirms_what_was_assumed() {
    let mut test = state("node n1 cpu=1\npod a cpu=1");
    assert_eq!(test.next(), "a=n1");
    let a = test.pod("a");
    let shown = Arc::new(a.on(&"n1".into()));
    test.state.pod_is(shown, test.now);
    assert!(!test.state.world.cache.is_assumed(&a.uid));
    assert!(!test.state.forget(&a, test.now), "a late failure changes nothing");
    assert!(test.state.world.cache.pod(&a.uid).is_some() && test.state.queue.get(&a.key).is_none());
}

#[test]
fn a_pod_deleted_while_it_is_bound_takes_no_room() {
    let mut test = state("node n1 cpu=1\npod a cpu=1\npod b cpu=1");
    assert_eq!(test.next(), "a=n1");
    test.next();
    let leaving = PodInfo { deleting: true, ..(*test.pod("a")).clone() };
    assert!(test.state.pod_is(Arc::new(leaving), test.now));
    assert_eq!(test.next(), "b=n1");
}

#[test]
fn a_pod_that_is_leaving_is_not_scheduled() {
    let mut test = state("node n1\npod a deleting");
    assert_eq!(test.next(), "a skip schedule deleting pod: default/a");
    assert_eq!(test.next(), "-");
}

#[test]
fn a_new_list_ends_what_it_does_not_have() {
    let mut test = state("node n1 cpu=1\npod x node=n1 cpu=1\npod a cpu=1\npod b cpu=1");
    assert!(test.next().starts_with("a 0/1"));
    let seen = HashSet::from(["pod-a".to_owned()]);
    assert!(test.state.forget_unseen(&seen, test.now));
    assert_eq!(test.next(), "a=n1");
    assert_eq!(test.next(), "-");
}

#[test]
fn a_node_that_tells_nothing_new_wakes_nobody() {
    let mut test = state("node n1 cpu=1\npod a cpu=2");
    test.next();
    let facts = test.state.world.cache.named("n1").and_then(|info| info.facts.clone()).expect("a node");
    assert!(!test.state.node_is(Arc::new((*facts).clone()), test.now));
    let mut larger: NodeFacts = (*facts).clone();
    larger.allocatable.milli_cpu = 4000;
    assert!(test.state.node_is(Arc::new(larger), test.now));
    assert_eq!(test.next(), "a=n1");
}

#[test]
fn room_that_is_being_made_is_nominated_and_kept() {
    let mut test = state("node n1 cpu=1\npod x node=n1 cpu=1\npod a cpu=1 priority=10\npod b cpu=1 priority=5");
    assert_eq!(test.next(), "a 0/1 nodes are available: 1 Insufficient cpu. evicts x");
    assert_eq!(test.state.world.nominated.of("pod-a"), Some("n1"));
    let victim = test.state.world.cache.pod("pod-x").expect("a pod").clone();
    test.state.pod_gone(&victim, test.now);
    assert!(test.next().starts_with("b 0/1"), "the pod itself is held back until its victims were told");
    let profile = test.state.world.profiles[crate::scheduler::NAME].clone();
    let State { world, queue, .. } = &mut test.state;
    assert!(queue.preempted(&base::Key::new("default", "a"), false, world.context(&profile), test.now));
    assert_eq!(test.next(), "a=n1");
}
