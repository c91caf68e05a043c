//! The pods that wait for a node.
//!
//! Invariant: a pod is in one state; while it is being scheduled or bound nobody else gets it. A pod that failed waits
//! for a change that its refusing plugins care about, not for time to pass; back-off only decides who goes first, and
//! when nothing fresh waits a resting pod goes at once, so the path from "room appeared" to "bound" has no delay in it.
//! Pure: the time is an argument.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use tokio::time::Instant;

use super::plugins::{TABLE, Wake};

const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(10);
/// A pod that no event woke is tried again after this long anyway.
const FLUSH: Duration = Duration::from_secs(300);

type Place = (Reverse<i32>, u64);

#[derive(Debug)]
enum State {
    Active(Place),
    /// Woken before its rest is over.
    Resting(Instant, u64),
    /// An error happened; time must pass.
    Recovering(Instant),
    /// Being scheduled; wakes seen meanwhile.
    InFlight(Vec<Wake>),
    Waiting {
        plugins: Vec<&'static str>,
        since: Instant,
    },
    Gated,
    /// Bound; waiting for the watch to show it.
    Bound,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<Pod>,
    state: State,
    attempts: u32,
    failed: Option<Instant>,
    serial: u64,
}

/// All pods without a node that are ours.
#[derive(Debug, Default)]
pub(super) struct Pending {
    entries: HashMap<Key, Entry>,
    active: BTreeMap<Place, Key>,
    resting: BTreeMap<(Instant, u64), Key>,
    /// When waiting and recovering pods are tried again even if nothing happens.
    timers: BTreeMap<(Instant, u64), Key>,
    serial: u64,
}

/// How long a pod rests after so many attempts.
fn rest(attempts: u32) -> Duration {
    FIRST_REST.saturating_mul(1 << attempts.saturating_sub(1).min(8)).min(LONGEST_REST)
}

fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0)
}

/// The gates that keep a pod from being scheduled.
pub(super) fn gates(pod: &Pod) -> Vec<&str> {
    let gates = pod.spec.iter().flat_map(|spec| spec.scheduling_gates.iter().flatten());
    gates.map(|gate| gate.name.as_str()).collect()
}

pub(super) fn key(pod: &Pod) -> Key {
    Key::new(pod.namespace().unwrap_or_default(), pod.name_any())
}

impl Pending {
    /// A pod without a node appeared or changed.
    pub(super) fn put(&mut self, pod: Arc<Pod>, now: Instant) {
        let name = key(&pod);
        if self.entries.get(&name).is_some_and(|entry| entry.pod.metadata.uid != pod.metadata.uid) {
            self.remove(&name);
        }
        let gated = !gates(&pod).is_empty();
        if let Some(entry) = self.entries.get_mut(&name) {
            let edited = entry.pod.spec != pod.spec || entry.pod.labels() != pod.labels();
            entry.pod = pod;
            let idle = matches!(entry.state, State::Waiting { .. } | State::Gated);
            if idle && edited && !gated {
                self.activate(&name, now);
            }
            return;
        }
        self.serial += 1;
        let entry = Entry { pod, state: State::Gated, attempts: 0, failed: None, serial: self.serial };
        self.entries.insert(name.clone(), entry);
        if !gated {
            self.activate(&name, now);
        }
    }

    /// The pod is gone, finished or bound.
    pub(super) fn remove(&mut self, key: &Key) {
        let Some(entry) = self.entries.remove(key) else { return };
        match entry.state {
            State::Active(place) => drop(self.active.remove(&place)),
            State::Resting(until, serial) => drop(self.resting.remove(&(until, serial))),
            State::Recovering(until) => drop(self.timers.remove(&(until, entry.serial))),
            State::Waiting { since, .. } => drop(self.timers.remove(&(since + FLUSH, entry.serial))),
            State::InFlight(_) | State::Gated | State::Bound => {}
        }
    }

    /// Whether the entry is about this very pod.
    pub(super) fn has(&self, key: &Key, uid: Option<&str>) -> bool {
        self.entries.get(key).is_some_and(|entry| entry.pod.metadata.uid.as_deref() == uid)
    }

    /// The keys of all pods here, to compare with a complete list.
    pub(super) fn keys(&self) -> Vec<Key> {
        self.entries.keys().cloned().collect()
    }

    fn activate(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match entry.state {
            State::Recovering(until) => drop(self.timers.remove(&(until, entry.serial))),
            State::Waiting { since, .. } => drop(self.timers.remove(&(since + FLUSH, entry.serial))),
            _ => {}
        }
        let rest = rest(entry.attempts);
        match entry.failed.map(|failed| failed + rest).filter(|until| *until > now) {
            Some(until) => {
                entry.state = State::Resting(until, entry.serial);
                self.resting.insert((until, entry.serial), key.clone());
            }
            None => {
                let place = (Reverse(priority(&entry.pod)), entry.serial);
                entry.state = State::Active(place);
                self.active.insert(place, key.clone());
            }
        }
    }

    /// The next pod to schedule: by priority, then by age; resting pods when nothing else waits.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Arc<Pod>> {
        self.end_rests(now);
        let key = match self.active.pop_first() {
            Some((_, key)) => key,
            None => self.resting.pop_first()?.1,
        };
        let entry = self.entries.get_mut(&key)?;
        entry.state = State::InFlight(Vec::new());
        entry.attempts += 1;
        Some(Arc::clone(&entry.pod))
    }

    fn end_rests(&mut self, now: Instant) {
        while let Some(((until, _), _)) = self.resting.first_key_value()
            && *until <= now
            && let Some((_, key)) = self.resting.pop_first()
        {
            self.activate(&key, now);
        }
        while let Some(((until, _), _)) = self.timers.first_key_value()
            && *until <= now
            && let Some((_, key)) = self.timers.pop_first()
        {
            self.activate(&key, now);
        }
    }

    /// When time alone makes a pod ready to be tried.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// No node was good for the pod.
    pub(super) fn refused(&mut self, key: &Key, plugins: Vec<&'static str>, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let State::InFlight(wakes) = &entry.state else { return };
        let again = wakes.iter().any(|wake| cares(&plugins, *wake));
        entry.failed = Some(now);
        entry.state = State::Waiting { plugins, since: now };
        self.timers.insert((now + FLUSH, entry.serial), key.clone());
        if again {
            self.activate(key, now);
        }
    }

    /// Binding or talking to the API failed.
    pub(super) fn errored(&mut self, key: &Key, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let until = now + rest(entry.attempts);
        entry.failed = Some(now);
        entry.state = State::Recovering(until);
        self.timers.insert((until, entry.serial), key.clone());
    }

    /// The pod has a node; its update is on the way.
    pub(super) fn bound(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.state = State::Bound;
        }
    }

    /// Something changed that may make room. True when a pod can be tried again.
    pub(super) fn wake(&mut self, wake: Wake, now: Instant) -> bool {
        let mut woken = Vec::new();
        for (key, entry) in &mut self.entries {
            match &mut entry.state {
                State::Waiting { plugins, .. } if cares(plugins, wake) => woken.push((entry.serial, key.clone())),
                State::InFlight(wakes) if !wakes.contains(&wake) => wakes.push(wake),
                _ => {}
            }
        }
        woken.sort();
        woken.iter().for_each(|(_, key)| self.activate(key, now));
        !woken.is_empty()
    }
}

fn cares(plugins: &[&str], wake: Wake) -> bool {
    TABLE.iter().any(|plugin| plugins.contains(&plugin.name) && plugin.wakes.contains(&wake))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    struct Test {
        pending: Pending,
        now: Instant,
    }

    fn queue(text: &str) -> Test {
        let mut test = Test { pending: Pending::default(), now: Instant::now() };
        World::parse(text).pods.into_iter().for_each(|pod| test.pending.put(pod, test.now));
        test
    }

    impl Test {
        fn pop(&mut self) -> String {
            self.pending.pop(self.now).map_or_else(|| "-".to_owned(), |pod| pod.name_any())
        }

        fn refuse(&mut self, name: &str, plugin: &'static str) {
            self.pending.refused(&Key::new("default", name), vec![plugin], self.now);
        }
    }

    #[test]
    fn higher_priority_goes_first_then_the_older_request() {
        let mut test = queue("pod a\npod b priority=10\npod c\npod d gate=quota");
        assert_eq!([test.pop(), test.pop(), test.pop(), test.pop()], ["b", "a", "c", "-"]);
    }

    #[test]
    fn a_refused_pod_waits_for_a_change_its_plugin_cares_about() {
        let mut test = queue("pod a");
        test.pop();
        test.refuse("a", "NodeResourcesFit");
        assert_eq!(test.pop(), "-");
        assert!(!test.pending.wake(Wake::NodeLabels, test.now));
        assert!(test.pending.wake(Wake::PodGone, test.now));
        assert_eq!(test.pop(), "a", "a resting pod goes at once when nothing else waits");
    }

    #[test]
    fn a_woken_pod_lets_fresh_ones_go_first_while_it_rests() {
        let mut test = queue("pod a priority=10");
        test.pop();
        test.refuse("a", "NodeResourcesFit");
        test.pending.wake(Wake::PodGone, test.now);
        World::parse("pod b\npod c").pods.into_iter().for_each(|pod| test.pending.put(pod, test.now));
        assert_eq!(test.pop(), "b");
        test.now += FIRST_REST;
        assert_eq!([test.pop(), test.pop()], ["a", "c"]);
    }

    #[test]
    fn a_change_during_scheduling_is_not_lost() {
        let mut test = queue("pod a");
        test.pop();
        test.pending.wake(Wake::PodGone, test.now);
        test.refuse("a", "NodeResourcesFit");
        assert_eq!(test.pop(), "a");
    }

    #[test]
    fn an_error_needs_time_and_a_forgotten_pod_is_tried_again() {
        let mut test = queue("pod a\npod b");
        test.pop();
        test.pending.errored(&Key::new("default", "a"), test.now);
        test.pop();
        test.refuse("b", "NodeAffinity");
        assert_eq!(test.pop(), "-");
        assert_eq!(test.pending.deadline(), Some(test.now + FIRST_REST));
        test.now += FIRST_REST;
        assert_eq!(test.pop(), "a");
        test.now += FLUSH;
        assert_eq!(test.pop(), "b");
    }

    #[test]
    fn a_bound_pod_is_not_scheduled_again_by_a_late_update() {
        let mut test = queue("pod a");
        test.pop();
        test.pending.bound(&Key::new("default", "a"));
        World::parse("pod a labels=x=y").pods.into_iter().for_each(|pod| test.pending.put(pod, test.now));
        assert_eq!(test.pop(), "-");
    }

    #[test]
    fn opening_the_gate_or_editing_the_pod_makes_it_active() {
        let mut test = queue("pod a gate=quota");
        assert_eq!(test.pop(), "-");
        World::parse("pod a").pods.into_iter().for_each(|pod| test.pending.put(pod, test.now));
        assert_eq!(test.pop(), "a");
    }
}
