//! Notices nodes that fall silent, taints them, and moves their pods away.
//!
//! Invariant: silence is measured with a clock of our own that never jumps, from the moment we last saw a heartbeat change;
//! the node's clock is never compared with ours, and setting ours says nothing about a node. Taints follow conditions,
//! evictions follow taints, so each step can be seen and undone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::pod;
use super::taints::{self, Stay};

/// Silence after which a node's state is unknown.
pub const GRACE: Duration = Duration::from_secs(40);
/// The same for a node that has never reported.
pub const STARTUP_GRACE: Duration = Duration::from_secs(60);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// A moment on a clock that never jumps: the time since some start.
pub type Steady = Duration;

/// A heartbeat as last seen, and when we saw it change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub heartbeat: Heartbeat,
    pub at: Steady,
}

/// What changes whenever a node is alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    renewed: Option<Timestamp>,
    reported: Option<Timestamp>,
    ready: Option<String>,
}

impl Heartbeat {
    /// Reads it from the lease and the Ready condition.
    pub fn of(node: &Node, lease: Option<&Lease>) -> Self {
        let ready = condition(node, "Ready");
        Self {
            renewed: lease.and_then(|lease| lease.spec.as_ref()?.renew_time.as_ref()).map(|time| time.0),
            reported: ready.and_then(|ready| ready.last_heartbeat_time.as_ref()).map(|time| time.0),
            ready: ready.map(|ready| ready.status.clone()),
        }
    }

    /// Our own verdict is not a sign of life.
    fn is_alive_after(&self, before: &Self) -> bool {
        self.renewed != before.renewed
            || self.reported != before.reported
            || (self.ready != before.ready && self.ready.as_deref() != Some("Unknown"))
    }
}

/// What was seen last, after looking at the node again.
pub fn observe(before: Option<&Seen>, heartbeat: Heartbeat, now: Steady) -> Seen {
    match before {
        Some(seen) if !heartbeat.is_alive_after(&seen.heartbeat) => Seen { heartbeat, at: seen.at },
        _ => Seen { heartbeat, at: now },
    }
}

/// What to change about the node, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub struct Plan {
    /// Conditions to write.
    pub conditions: Vec<NodeCondition>,
    /// The complete list of taints, if it changes.
    pub taints: Option<Vec<Taint>>,
    pub recheck: Option<Duration>,
    /// Whether pods on the node must not count as ready.
    pub pods_unready: bool,
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.iter().flatten().find(|one| one.type_ == kind)
}

/// Decides conditions and taints about a node that has been silent so long; `now` is what is written.
pub fn plan(node: &Node, silence: Duration, now: Timestamp) -> Plan {
    let reported = condition(node, "Ready").is_some();
    let grace = if reported { GRACE } else { STARTUP_GRACE };
    let silent = silence > grace;
    let conditions = if silent { unknown(node, now) } else { Vec::new() };
    let status = |kind: &str| {
        let written = conditions.iter().find(|one| one.type_ == kind);
        written.or_else(|| condition(node, kind)).map(|one| one.status.clone())
    };
    let ready = status("Ready");
    let taints = retaint(node, &status, now);
    let left = grace.saturating_sub(silence) + Duration::from_millis(1);
    Plan {
        taints,
        // A node that was given up is looked at again when it speaks.
        recheck: (!silent).then_some(left),
        pods_unready: ready.is_some_and(|ready| ready != "True"),
        conditions,
    }
}

fn unknown(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let kinds = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];
    let given_up = kinds.iter().filter_map(|kind| match condition(node, kind) {
        Some(old) if old.status == "Unknown" => None,
        Some(old) => Some(NodeCondition {
            status: "Unknown".into(),
            reason: Some("NodeStatusUnknown".into()),
            message: Some("Kubelet stopped posting node status.".into()),
            last_transition_time: Some(Time(now)),
            ..old.clone()
        }),
        None => Some(NodeCondition {
            type_: (*kind).into(),
            status: "Unknown".into(),
            reason: Some("NodeStatusNeverUpdated".into()),
            message: Some("Kubelet never posted node status.".into()),
            last_heartbeat_time: node.metadata.creation_timestamp.clone(),
            last_transition_time: Some(Time(now)),
        }),
    });
    given_up.collect()
}

/// The taints that follow from conditions and `spec.unschedulable`: (key, effect).
fn wanted(node: &Node, status: &dyn Fn(&str) -> Option<String>) -> Vec<(&'static str, &'static str)> {
    let mut wanted = Vec::new();
    match status("Ready").as_deref() {
        Some("False") => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        Some("Unknown") => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
        _ => {}
    }
    for (kind, key) in PRESSURES {
        if status(kind).as_deref() == Some("True") {
            wanted.push((key, "NoSchedule"));
        }
    }
    if node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true)) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    wanted
}

const PRESSURES: &[(&str, &str)] = &[
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];

fn retaint(node: &Node, status: &dyn Fn(&str) -> Option<String>, now: Timestamp) -> Option<Vec<Taint>> {
    let old: Vec<Taint> = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let wanted = wanted(node, status);
    let ours = |taint: &Taint| {
        let key = taint.key.as_str();
        match taint.effect.as_str() {
            "NoExecute" => key == NOT_READY || key == UNREACHABLE,
            // A node registers itself with not-ready:NoSchedule before its first report; that one must go as well.
            "NoSchedule" => {
                [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&key) || PRESSURES.iter().any(|(_, one)| *one == key)
            }
            _ => false,
        }
    };
    let is = |taint: &Taint, (key, effect): &(&str, &str)| taint.key == *key && taint.effect == *effect;
    let known = status("Ready").is_some();
    let keep =
        |taint: &&Taint| !ours(taint) || wanted.iter().any(|one| is(taint, one)) || (!known && taint.key == NOT_READY);
    let mut new: Vec<Taint> = old.iter().filter(keep).cloned().collect();
    for one in &wanted {
        if !new.iter().any(|taint| is(taint, one)) {
            let (key, effect) = *one;
            new.push(Taint { key: key.into(), effect: effect.into(), value: None, time_added: Some(Time(now)) });
        }
    }
    (new != old).then_some(new)
}

/// Which pods must leave the node now, and when the next one must.
#[derive(Debug, Default)]
pub struct Evictions {
    pub now: Vec<Arc<Pod>>,
    /// Those that must leave later.
    pub later: Vec<Arc<Pod>>,
    pub next: Option<Duration>,
}

impl Evictions {
    /// Whether the pod must leave, be it later.
    pub fn includes(&self, pod: &Pod) -> bool {
        self.now.iter().chain(&self.later).any(|one| one.metadata.uid == pod.metadata.uid)
    }
}

/// Since when a node has had its NoExecute taints, as first seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tainted {
    /// When the last of them was added, as the wall said.
    added: Option<Timestamp>,
    /// When we saw it, and how old it was then.
    seen: Steady,
    age: Duration,
}

impl Tainted {
    /// What is known after looking at the node again; nothing when it has no such taint.
    pub fn observe(before: Option<&Self>, node: &Node, steady: Steady, now: Timestamp) -> Option<Self> {
        // who sets a taint by hand does not say when
        let added = no_execute(node).map(|taint| taint.time_added.as_ref().map(|time| time.0)).max()?;
        let age = || Duration::try_from(now.duration_since(added.unwrap_or(now))).unwrap_or(Duration::ZERO);
        let known = before.filter(|before| before.added == added).cloned();
        Some(known.unwrap_or_else(|| Self { added, seen: steady, age: age() }))
    }

    /// How long the node has had them.
    pub fn age(&self, now: Steady) -> Duration {
        self.age + now.saturating_sub(self.seen)
    }
}

fn no_execute(node: &Node) -> impl Iterator<Item = &Taint> {
    node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter(|taint| taint.effect == "NoExecute")
}

/// Decides evictions by the NoExecute taints of the node, which it has had for `age`.
pub fn evictions(node: &Node, pods: &[Arc<Pod>], age: Duration) -> Evictions {
    let taints: Vec<&Taint> = no_execute(node).collect();
    let mut evictions = Evictions::default();
    if taints.is_empty() {
        return evictions;
    }
    for pod in pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
        let Stay::For(allowed) = taints::stay(pod, taints.iter().copied()) else { continue };
        match allowed.checked_sub(age).filter(|left| !left.is_zero()) {
            None => evictions.now.push(pod.clone()),
            Some(left) => {
                evictions.later.push(pod.clone());
                evictions.next = Some(evictions.next.map_or(left, |next| next.min(left)));
            }
        }
    }
    evictions
}

/// The pods whose Ready condition must be taken back because their node is not ready.
pub fn unready<'a>(pods: &'a [Arc<Pod>]) -> impl Iterator<Item = &'a Arc<Pod>> + 'a {
    pods.iter().filter(|pod| pod::is_ready(pod))
}

/// The pods of each node.
pub fn by_node(pods: &[Arc<Pod>]) -> BTreeMap<&str, Vec<&Arc<Pod>>> {
    let mut nodes: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for one in pods {
        nodes.entry(pod::node_name(one)).or_default().push(one);
    }
    nodes
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use kube::ResourceExt;

    use super::*;
    use crate::world::{self, World};

    const LATER: Steady = Duration::from_secs(1000);

    fn check(text: &str, silence: u64, expected: Expect) {
        let world = World::parse(text);
        let mut node = (*world.nodes[0]).clone();
        let silence = Duration::from_secs(silence);
        let seen = Seen { heartbeat: Heartbeat::of(&node, None), at: LATER - silence };
        let first = plan(&node, silence, world::NOW);
        let mut lines: Vec<String> = first
            .conditions
            .iter()
            .map(|one| format!("{}={} {}", one.type_, one.status, one.reason.as_deref().unwrap_or("")))
            .collect();
        if let Some(taints) = &first.taints {
            let taints: Vec<String> = taints.iter().map(|one| format!("{}:{}", one.key, one.effect)).collect();
            lines.push(format!("taints [{}]", taints.join(" ")));
        }
        lines.push(format!(
            "recheck {:?} pods_unready {}",
            first.recheck.map(|wait| wait.as_secs()),
            first.pods_unready
        ));
        expected.assert_eq(&lines.join("\n"));
        // Apply, and plan again.
        let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
        for new in first.conditions {
            conditions.retain(|one| one.type_ != new.type_);
            conditions.push(new);
        }
        if let Some(taints) = first.taints {
            node.spec.get_or_insert_default().taints = Some(taints);
        }
        let heartbeat = Heartbeat::of(&node, None);
        let second = plan(&node, LATER - observe(Some(&seen), heartbeat, LATER).at, world::NOW);
        assert_eq!((second.conditions.len(), second.taints), (0, None), "planning again must yield nothing");
    }

    #[test]
    fn a_healthy_node_loses_its_old_taints_and_keeps_foreign_ones() {
        check(
            "node n1 Ready=True taint=node.kubernetes.io/not-ready:NoSchedule taint=gpu:NoSchedule",
            5,
            expect![[r#"
                taints [gpu:NoSchedule]
                recheck Some(35) pods_unready false"#]],
        );
    }

    #[test]
    fn a_silent_node_becomes_unknown_and_unreachable() {
        check(
            "node n1 Ready=True MemoryPressure=False",
            41,
            expect![[r#"
                Ready=Unknown NodeStatusUnknown
                MemoryPressure=Unknown NodeStatusUnknown
                DiskPressure=Unknown NodeStatusNeverUpdated
                PIDPressure=Unknown NodeStatusNeverUpdated
                taints [node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute]
                recheck None pods_unready true"#]],
        );
    }

    #[test]
    fn a_node_that_never_reported_has_longer() {
        check(
            "node n1 taint=node.kubernetes.io/not-ready:NoSchedule",
            41,
            expect!["recheck Some(19) pods_unready false"],
        );
    }

    #[test]
    fn an_unready_node_under_pressure_and_cordoned_has_a_taint_for_each() {
        check(
            "node n1 Ready=False DiskPressure=True cordoned",
            1,
            expect![[r#"
                taints [node.kubernetes.io/not-ready:NoSchedule node.kubernetes.io/not-ready:NoExecute node.kubernetes.io/disk-pressure:NoSchedule node.kubernetes.io/unschedulable:NoSchedule]
                recheck Some(39) pods_unready true"#]],
        );
    }

    #[test]
    fn our_own_verdict_is_not_a_heartbeat() {
        let alive = Heartbeat { ready: Some("True".into()), ..Heartbeat::default() };
        let seen = Seen { heartbeat: alive, at: LATER - Duration::from_secs(60) };
        let verdict = Heartbeat { ready: Some("Unknown".into()), ..Heartbeat::default() };
        let after = observe(Some(&seen), verdict.clone(), LATER);
        assert_eq!(after.at, seen.at);
        let renewed = Heartbeat { renewed: Some(world::NOW), ..verdict };
        assert_eq!(observe(Some(&after), renewed, LATER).at, LATER);
    }

    #[test]
    fn pods_leave_a_tainted_node_when_their_patience_ends() {
        let world = World::parse(
            "node n1 taint=node.kubernetes.io/unreachable:NoExecute:2m
             pod impatient node=n1
             pod patient node=n1 tolerate=node.kubernetes.io/unreachable:NoExecute:300
             pod stubborn node=n1 tolerate=node.kubernetes.io/unreachable:NoExecute
             pod late node=n1 tolerate=node.kubernetes.io/unreachable:NoExecute:60",
        );
        let tainted = Tainted::observe(None, &world.nodes[0], LATER, world::NOW).expect("a taint");
        let evictions = evictions(&world.nodes[0], &world.pods, tainted.age(LATER));
        let names: Vec<String> = evictions.now.iter().map(|pod| pod.name_any()).collect();
        assert_eq!(names, ["impatient", "late"]);
        let later: Vec<String> = evictions.later.iter().map(|pod| pod.name_any()).collect();
        assert_eq!(later, ["patient"]);
        assert!(evictions.includes(&world.pods[1]) && !evictions.includes(&world.pods[2]));
        assert_eq!(evictions.next, Some(Duration::from_secs(180)));
    }

    #[test]
    fn a_taint_that_does_not_say_since_when_counts_from_when_it_was_seen() {
        let world = World::parse(
            "node n1 taint=mine:NoExecute
             pod p node=n1 tolerate=mine:NoExecute:60",
        );
        let (node, second) = (&world.nodes[0], Duration::from_secs(1));
        let mut tainted = Tainted::observe(None, node, LATER, world::NOW).expect("a taint");
        for passed in [0, 30, 59] {
            let now = LATER + passed * second;
            tainted = Tainted::observe(Some(&tainted), node, now, world::NOW).expect("a taint");
            let evictions = evictions(node, &world.pods, tainted.age(now));
            assert_eq!((evictions.now.len(), evictions.next), (0, Some((60 - passed) * second)));
        }
        assert_eq!(evictions(node, &world.pods, tainted.age(LATER + 60 * second)).now.len(), 1);
    }

    #[test]
    fn a_clock_that_is_set_makes_no_taint_older_or_younger() {
        let world = World::parse("node n1 taint=node.kubernetes.io/unreachable:NoExecute:2m");
        let (node, minute) = (&world.nodes[0], Duration::from_secs(60));
        let first = Tainted::observe(None, node, LATER, world::NOW).expect("a taint");
        for hours in [-3, 3] {
            let set = world::NOW + jiff::SignedDuration::from_hours(hours);
            let again = Tainted::observe(Some(&first), node, LATER + minute, set).expect("a taint");
            assert_eq!(again.age(LATER + minute), 3 * minute);
        }
        assert_eq!(Tainted::observe(Some(&first), &Node::default(), LATER, world::NOW), None);
    }
}
