use super::*;
use crate::scheduler::devices::Devices;
use crate::scheduler::facts::Facts;
use crate::scheduler::pod::Shapes;
use crate::scheduler::profile::Profile;
use crate::scheduler::tests::{facts, pods};
use crate::world::World as Text;

struct Test {
    queue: Queue,
    now: Instant,
    shapes: Shapes,
    profile: Profile,
    facts: Facts,
    devices: Devices,
}

fn queue(text: &str) -> Test {
    let now = Instant::now();
    let mut test = Test {
        queue: Queue::new(BackOff::default(), now),
        now,
        shapes: Shapes::default(),
        profile: Profile::default(),
        facts: Facts::default(),
        devices: Devices::default(),
    };
    test.put(text);
    test
}

fn key(name: &str) -> Key {
    Key::new("default", name)
}

impl Test {
    fn put(&mut self, text: &str) {
        let context = Context { profile: &self.profile, facts: &self.facts, devices: &self.devices };
        for pod in pods(&mut self.shapes, &Text::parse(text)) {
            self.queue.put(pod, context, self.now);
        }
    }

    fn pop(&mut self) -> String {
        self.queue.pop(self.now).map_or_else(|| "-".to_owned(), |pod| pod.key.name.clone())
    }

    fn fail(&mut self, name: &str, plugins: &[Plugin]) {
        let context = Context { profile: &self.profile, facts: &self.facts, devices: &self.devices };
        self.queue.failed(&key(name), plugins.iter().copied().collect(), context, self.now);
    }

    fn wake(&mut self, change: Change<'_>) -> bool {
        let context = Context { profile: &self.profile, facts: &self.facts, devices: &self.devices };
        self.queue.wake(change, |_| true, |_| Some(context), self.now)
    }

    /// A pod with these words left its node.
    fn pod_gone(&mut self, words: &str) -> bool {
        let gone = pods(&mut self.shapes, &Text::parse(&format!("pod gone node=n1 {words}"))).remove(0);
        self.wake(Change::PodGone(&gone))
    }

    fn pod_placed(&mut self, words: &str) -> bool {
        let placed = pods(&mut self.shapes, &Text::parse(&format!("pod new node=n1 {words}"))).remove(0);
        self.wake(Change::PodPlaced(&placed))
    }

    /// A node changed from one set of words to another.
    fn node(&mut self, old: Option<&str>, new: &str) -> bool {
        let read = |words: &str| facts(&Text::parse(&format!("node n1 {words}"))).remove(0);
        let new = read(new);
        match old.map(read) {
            None => self.wake(Change::NodeAdded(&new)),
            Some(old) => self.wake(Change::NodeChanged { old: &old, new: &new }),
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn higher_priority_goes_first_then_the_older_request() {
    let mut test = queue("pod a\npod b priority=10\npod c\npod d gate=quota");
    assert_eq!([test.pop(), test.pop(), test.pop(), test.pop()], ["b", "a", "c", "-"]);
}

#[test]
fn a_refused_pod_waits_for_a_change_its_plugin_hopes_for() {
    let mut test = queue("pod a cpu=1");
    test.pop();
    test.fail("a", &[Plugin::NodeResourcesFit]);
    assert_eq!(test.pop(), "-");
    assert!(!test.node(Some("cpu=4"), "cpu=4 labels=a=b"));
    assert!(!test.pod_placed("cpu=1"));
    assert!(test.pod_gone("cpu=1"));
    assert_eq!(test.pop(), "a", "a pod that backs off goes at once when nothing else waits");
}

#[test]
fn a_woken_pod_lets_fresh_ones_go_first_while_it_backs_off() {
    let mut test = queue("pod a priority=10");
    test.pop();
    test.fail("a", &[Plugin::NodeResourcesFit]);
    test.pod_gone("");
    test.put("pod b\npod c");
    assert_eq!(test.pop(), "b");
    test.pass(2);
    assert_eq!([test.pop(), test.pop()], ["a", "c"]);
}

#[test]
fn back_off_doubles_up_to_ten_seconds_and_errors_count_apart() {
    let mut test = queue("pod a");
    let mut waits = Vec::new();
    for round in 0..6 {
        assert_eq!(test.pop(), "a");
        test.fail("a", &[]);
        let start = test.now;
        while test.pop() == "-" {
            test.pass(1);
        }
        waits.push((test.now - start).as_secs());
        if round < 5 {
            // Put back as it was, for the next round.
            test.queue.entries.get_mut(&key("a")).expect("an entry").errors = round + 1;
            let context = Context { profile: &test.profile, facts: &test.facts, devices: &test.devices };
            test.queue.enqueue(&key("a"), context, test.now, false);
        }
    }
    assert_eq!(waits, [2, 3, 5, 9, 11, 11], "to the end of the window in which the back-off of 1, 2, 4, 8, 10 s ends");
    let mut test = queue("pod a\npod b");
    test.pop();
    test.pop();
    for _ in 0..3 {
        test.fail("a", &[Plugin::NodeResourcesFit]);
        test.pod_gone("");
        assert_eq!(test.pop(), "a");
    }
    test.fail("a", &[]);
    assert_eq!(test.queue.deadline(), Some(test.now + Duration::from_secs(2)), "the first error, whatever came before");
}

#[test]
fn a_forgotten_pod_is_tried_again_after_five_minutes() {
    let mut test = queue("pod a");
    test.pop();
    test.fail("a", &[Plugin::NodeAffinity]);
    assert_eq!(test.queue.deadline(), Some(test.now + FLUSH));
    test.pass(299);
    assert_eq!(test.pop(), "-");
    test.pass(1);
    assert_eq!(test.pop(), "a");
}

#[test]
fn a_bound_pod_is_not_scheduled_again_by_a_late_update() {
    let mut test = queue("pod a");
    test.pop();
    test.put("pod a labels=x=y");
    assert_eq!(test.pop(), "-");
    assert!(test.queue.remove(&key("a")).is_some());
}

#[test]
fn a_pod_of_the_same_name_is_another_pod() {
    let mut test = queue("pod a");
    test.pop();
    let mut other = (*pods(&mut test.shapes, &Text::parse("pod a")).remove(0)).clone();
    other.uid = "another".into();
    let context = Context { profile: &test.profile, facts: &test.facts, devices: &test.devices };
    test.queue.put(Arc::new(other), context, test.now);
    assert_eq!(test.pop(), "a");
}

#[test]
fn opening_the_gate_or_editing_what_was_refused_makes_it_active() {
    let mut test = queue("pod a gate=quota");
    test.put("pod a gate=quota labels=x=y");
    assert_eq!(test.pop(), "-");
    test.put("pod a");
    assert_eq!(test.pop(), "a");
    test.fail("a", &[Plugin::TaintToleration]);
    test.put("pod a labels=x=y");
    assert_eq!(test.pop(), "-");
    test.put("pod a labels=x=y tolerate=t");
    assert_eq!(test.pop(), "a");
}

#[test]
fn a_pod_for_which_others_are_evicted_waits_for_that() {
    let mut test = queue("pod a cpu=1 priority=10");
    test.pop();
    test.queue.preempts(&key("a"));
    test.fail("a", &[Plugin::NodeResourcesFit]);
    assert!(!test.pod_gone("cpu=1"), "the gate is closed");
    assert_eq!(test.pop(), "-");
    let done = |test: &mut Test, failed: bool| {
        let context = Context { profile: &test.profile, facts: &test.facts, devices: &test.devices };
        test.queue.preempted(&key("a"), failed, context, test.now)
    };
    assert!(done(&mut test, false), "a victim left meanwhile");
    assert_eq!(test.pop(), "a");
    test.queue.preempts(&key("a"));
    test.fail("a", &[Plugin::NodeResourcesFit]);
    assert!(!done(&mut test, false), "nothing happened yet");
    assert!(test.pod_gone("cpu=1"));
    assert_eq!(test.pop(), "a");
    test.queue.preempts(&key("a"));
    test.fail("a", &[Plugin::NodeResourcesFit]);
    assert!(done(&mut test, true), "what failed is tried again");
    assert_eq!(test.pop(), "a");
}

/// Whether the change wakes a pod that the plugin refused.
fn wakes(pod: &str, plugin: Plugin, change: impl FnOnce(&mut Test) -> bool) -> bool {
    let mut test = queue(&format!("pod a {pod}"));
    test.pop();
    test.fail("a", &[plugin]);
    change(&mut test)
}

#[test]
fn each_plugin_hopes_for_its_own_changes() {
    use Plugin::{
        InterPodAffinity, NodeAffinity, NodePorts, NodeResourcesFit, NodeUnschedulable, PodTopologySpread,
        TaintToleration,
    };
    let node = |old: &'static str, new: &'static str| move |test: &mut Test| test.node(Some(old), new);
    let added = |words: &'static str| move |test: &mut Test| test.node(None, words);
    let gone = |words: &'static str| move |test: &mut Test| test.pod_gone(words);
    let placed = |words: &'static str| move |test: &mut Test| test.pod_placed(words);
    assert!(wakes("", NodeUnschedulable, node("cordoned", "")));
    assert!(!wakes("", NodeUnschedulable, node("", "cordoned")));
    assert!(wakes("", TaintToleration, node("taint=a:NoSchedule", "")));
    assert!(!wakes("", TaintToleration, node("", "taint=a:NoSchedule")));
    assert!(!wakes("", TaintToleration, added("taint=a:NoSchedule")));
    assert!(wakes("select=k=v", NodeAffinity, node("", "labels=k=v")));
    assert!(!wakes("select=k=v", NodeAffinity, node("labels=k=v", "labels=k=v,x=y")));
    assert!(wakes("cpu=6", NodeResourcesFit, node("cpu=4", "cpu=8")));
    assert!(!wakes("cpu=9", NodeResourcesFit, node("cpu=4", "cpu=8")));
    assert!(!wakes("cpu=2", NodeResourcesFit, added("cpu=1")));
    assert!(wakes("hostport=80", NodePorts, gone("hostport=80")));
    assert!(!wakes("hostport=80", NodePorts, gone("hostport=81")));
    assert!(wakes("near=zone:app=db", InterPodAffinity, placed("labels=app=db")));
    assert!(!wakes("near=zone:app=db", InterPodAffinity, placed("")));
    assert!(wakes("far=zone:app=db", InterPodAffinity, gone("labels=app=db")));
    assert!(wakes("", InterPodAffinity, gone("far=zone:app=web labels=app=db")));
    assert!(!wakes("far=zone:app=db", InterPodAffinity, gone("labels=app=x")));
    assert!(wakes("near=zone:app=db", InterPodAffinity, node("zone=a", "zone=b")));
    assert!(wakes("spread=zone:1", PodTopologySpread, placed("")));
    assert!(!wakes("spread=zone:1", PodTopologySpread, placed("labels=app=db")));
    assert!(wakes("spread=zone:1", PodTopologySpread, added("zone=c")));
    assert!(!wakes("spread=zone:1", PodTopologySpread, added("")));
}
