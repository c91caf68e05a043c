//! The pods that wait for a node.
//!
//! Invariant: a pod is in one state; while it is being scheduled or bound nobody else gets it. A pod that was refused
//! waits for a change that one of its refusing plugins hopes for, not for time to pass. Back-off only decides who goes
//! first, and when nothing fresh waits a pod that backs off goes at once (KEP-5142); only errors need time.
//! Pure: the time is an argument. No change can come between a decision and its result, for both happen under one lock.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use tokio::time::Instant;

use super::hints::{Change, Context};
use super::names::{Plugin, Plugins};
use super::pod::PodInfo;

/// A pod that no change woke is tried again after this long anyway.
const FLUSH: Duration = Duration::from_secs(300);
/// Pods whose back-off ends in the same window go by priority.
const WINDOW: Duration = Duration::from_secs(1);

/// How long failed pods wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    pub first: Duration,
    pub longest: Duration,
}

impl Default for BackOff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(10) }
    }
}

impl BackOff {
    fn after(self, failures: u32) -> Duration {
        let doubled = self.first.checked_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.unwrap_or(self.longest).min(self.longest)
    }
}

/// By priority, then by when the pod came or failed last.
type Place = (Reverse<i32>, Duration, u64);

#[derive(Debug)]
enum State {
    Active(Place),
    /// Wanted, but it failed recently; whether that was an error.
    BackingOff {
        until: Duration,
        place: Place,
        error: bool,
    },
    /// Refused by these plugins.
    Waiting(Plugins),
    /// Not to be tried as long as this plugin says so; whether something happened meanwhile that may help.
    Gated {
        by: Plugin,
        refused: Plugins,
        missed: bool,
    },
    /// Being scheduled, or bound and the API has not shown it yet.
    InFlight,
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    state: State,
    /// When it came or failed last.
    since: Duration,
    refusals: u32,
    errors: u32,
    serial: u64,
}

/// All pods without a node that are ours.
#[derive(Debug)]
pub(super) struct Queue {
    back_off: BackOff,
    epoch: Instant,
    entries: HashMap<Key, Entry>,
    active: BTreeMap<Place, Key>,
    resting: BTreeMap<(Duration, Place), Key>,
    recovering: BTreeMap<(Duration, Place), Key>,
    /// Waiting pods by when they began to wait.
    waiting: BTreeMap<(Duration, u64), Key>,
    /// Pods for which others are being evicted.
    preempting: BTreeSet<Key>,
    /// Pods whose claims of devices are not there yet.
    unclaimed: BTreeSet<Key>,
    /// How many waiting pods each plugin refused.
    refused: HashMap<Plugin, usize>,
    serial: u64,
}

impl Queue {
    /// An empty queue; times are counted from `epoch`.
    pub(super) fn new(back_off: BackOff, epoch: Instant) -> Self {
        Self {
            back_off,
            epoch,
            entries: HashMap::new(),
            active: BTreeMap::new(),
            resting: BTreeMap::new(),
            recovering: BTreeMap::new(),
            waiting: BTreeMap::new(),
            preempting: BTreeSet::new(),
            unclaimed: BTreeSet::new(),
            refused: HashMap::new(),
            serial: 0,
        }
    }

    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    /// A pod without a node appeared or changed. Gives what was known of it.
    pub(super) fn put(&mut self, pod: Arc<PodInfo>, context: Context<'_>, now: Instant) -> Option<Arc<PodInfo>> {
        let key = pod.key.clone();
        if self.entries.get(&key).is_some_and(|entry| entry.pod.uid != pod.uid) {
            self.remove(&key);
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            self.serial += 1;
            let (serial, since) = (self.serial, self.age(now));
            let state = State::InFlight;
            self.entries.insert(key.clone(), Entry { pod, state, since, refusals: 0, errors: 0, serial });
            self.enqueue(&key, context, now, false);
            return None;
        };
        let old = std::mem::replace(&mut entry.pod, pod.clone());
        let refused = match &entry.state {
            State::Waiting(plugins) => *plugins,
            State::Gated { by, refused, .. } => {
                let mut all = *refused;
                all.insert(*by);
                all
            }
            _ => return Some(old),
        };
        let change = Change::Own { old: &old, new: &pod };
        if is_worth(change, refused, &pod, context) {
            self.enqueue(&key, context, now, true);
        }
        Some(old)
    }

    /// The pod is gone, finished or bound. Gives it if it was here.
    pub(super) fn remove(&mut self, key: &Key) -> Option<Arc<PodInfo>> {
        self.leave(key);
        self.preempting.remove(key);
        self.entries.remove(key).map(|entry| entry.pod)
    }

    /// Takes the entry out of whatever order it is in.
    fn leave(&mut self, key: &Key) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        match std::mem::replace(&mut entry.state, State::InFlight) {
            State::Active(place) => drop(self.active.remove(&place)),
            State::BackingOff { until, place, error } => {
                let queue = if error { &mut self.recovering } else { &mut self.resting };
                queue.remove(&(until, place));
            }
            State::Waiting(plugins) => {
                self.waiting.remove(&(entry.since, entry.serial));
                for plugin in plugins.iter() {
                    if let Some(count) = self.refused.get_mut(&plugin) {
                        *count -= 1;
                    }
                }
            }
            State::Gated { .. } => drop(self.unclaimed.remove(key)),
            State::InFlight => {}
        }
    }

    /// The pod of that name, if it waits here.
    pub(super) fn get(&self, key: &Key) -> Option<&Arc<PodInfo>> {
        self.entries.get(key).map(|entry| &entry.pod)
    }

    /// All pods here.
    pub(super) fn pods(&self) -> impl Iterator<Item = &Arc<PodInfo>> {
        self.entries.values().map(|entry| &entry.pod)
    }

    /// Wants the pod tried: at once, or when its back-off ends, or when its gate opens.
    fn enqueue(&mut self, key: &Key, context: Context<'_>, now: Instant, rest: bool) {
        self.leave(key);
        let now = self.age(now);
        let preempting = self.preempting.contains(key);
        let Some(entry) = self.entries.get_mut(key) else { return };
        let gates = &context.profile.pre_enqueue;
        let gate = if gates.has(Plugin::SchedulingGates) && !entry.pod.ask().gates.is_empty() {
            Some(Plugin::SchedulingGates)
        } else if gates.has(Plugin::DynamicResources)
            && !entry.pod.ask().claims.is_empty()
            && context.devices.of_pod(&entry.pod).is_err()
        {
            self.unclaimed.insert(key.clone());
            Some(Plugin::DynamicResources)
        } else if gates.has(Plugin::DefaultPreemption) && preempting {
            Some(Plugin::DefaultPreemption)
        } else {
            None
        };
        if let Some(by) = gate {
            entry.state = State::Gated { by, refused: Plugins::default(), missed: true };
            return;
        }
        let place = (Reverse(entry.pod.priority()), entry.since, entry.serial);
        let until = rests_until(self.back_off, entry);
        if rest && until >= floor(now) && entry.refusals + entry.errors > 0 {
            let error = entry.errors > 0;
            entry.state = State::BackingOff { until, place, error };
            let queue = if error { &mut self.recovering } else { &mut self.resting };
            queue.insert((until, place), key.clone());
        } else {
            entry.state = State::Active(place);
            self.active.insert(place, key.clone());
        }
    }

    /// The next pod to schedule: by priority, then by age; pods that back off when nothing else waits.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Arc<PodInfo>> {
        self.pass(now);
        let key = match self.active.pop_first() {
            Some((_, key)) => key,
            None => self.resting.pop_first()?.1,
        };
        let entry = self.entries.get_mut(&key)?;
        entry.state = State::InFlight;
        Some(entry.pod.clone())
    }

    /// Time passed.
    fn pass(&mut self, now: Instant) {
        let now = self.age(now);
        for error in [false, true] {
            loop {
                let queue = if error { &mut self.recovering } else { &mut self.resting };
                if queue.first_key_value().is_none_or(|((until, _), _)| *until >= floor(now)) {
                    break;
                }
                let Some(((_, place), key)) = queue.pop_first() else { break };
                if let Some(entry) = self.entries.get_mut(&key) {
                    entry.state = State::Active(place);
                    self.active.insert(place, key);
                }
            }
        }
        while let Some(((since, _), key)) = self.waiting.first_key_value()
            && *since + FLUSH <= now
        {
            let key = key.clone();
            self.leave(&key);
            let Some(entry) = self.entries.get_mut(&key) else { continue };
            let place = (Reverse(entry.pod.priority()), entry.since, entry.serial);
            entry.state = State::Active(place);
            self.active.insert(place, key);
        }
    }

    /// When time alone makes a pod ready to be tried.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let flushed = self.waiting.first_key_value().map(|((since, _), _)| *since + FLUSH);
        let recovered = self.recovering.first_key_value().map(|((until, _), _)| *until + WINDOW);
        flushed.into_iter().chain(recovered).min().map(|age| self.epoch + age)
    }

    /// Scheduling the pod failed: these plugins refused it, or, when there are none, something went wrong.
    pub(super) fn failed(&mut self, key: &Key, plugins: Plugins, context: Context<'_>, now: Instant) {
        let age = self.age(now);
        let Some(entry) = self.entries.get_mut(key) else { return };
        if !matches!(entry.state, State::InFlight) {
            return;
        }
        entry.since = age;
        if plugins.is_empty() {
            entry.errors += 1;
            return self.enqueue(key, context, now, true);
        }
        entry.refusals += 1;
        entry.errors = 0;
        if self.preempting.contains(key) {
            entry.state = State::Gated { by: Plugin::DefaultPreemption, refused: plugins, missed: false };
            return;
        }
        self.wait(key, plugins);
    }

    fn wait(&mut self, key: &Key, plugins: Plugins) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        entry.state = State::Waiting(plugins);
        self.waiting.insert((entry.since, entry.serial), key.clone());
        for plugin in plugins.iter() {
            *self.refused.entry(plugin).or_insert(0) += 1;
        }
    }

    /// Others are being evicted for the pod; until that is over it is not tried.
    pub(super) fn preempts(&mut self, key: &Key) {
        self.preempting.insert(key.clone());
    }

    /// All victims were told to go, or that failed. True when the pod can be tried.
    pub(super) fn preempted(&mut self, key: &Key, failed: bool, context: Context<'_>, now: Instant) -> bool {
        self.preempting.remove(key);
        let Some(entry) = self.entries.get(key) else { return false };
        let State::Gated { by: Plugin::DefaultPreemption, refused, missed } = &entry.state else { return false };
        let (refused, again) = (*refused, failed || *missed);
        if again {
            self.enqueue(key, context, now, !failed);
        } else {
            self.wait(key, refused);
        }
        again
    }

    /// A claim of devices appeared or changed: pods that waited for it to be there can be tried. True when there are such.
    pub(super) fn claimed<'a>(
        &mut self,
        (namespace, name): (&str, &str),
        context: impl Fn(&PodInfo) -> Option<Context<'a>>,
        now: Instant,
    ) -> bool {
        let names = |key: &&Key| self.entries.get(*key).is_some_and(|entry| entry.pod.has_device_claim(name));
        let own = self.unclaimed.iter().filter(|key| key.namespace == namespace);
        let waiting: Vec<Key> = own.filter(names).cloned().collect();
        let mut woken = false;
        for key in waiting {
            let Some(entry) = self.entries.get(&key) else { continue };
            let Some(context) = context(&entry.pod) else { continue };
            if context.devices.of_pod(&entry.pod).is_ok() {
                self.enqueue(&key, context, now, true);
                woken = true;
            }
        }
        woken
    }

    /// Something happened that may help pods that `may` be helped. True when one can be tried.
    pub(super) fn wake<'a>(
        &mut self,
        change: Change<'_>,
        may: impl Fn(&PodInfo) -> bool,
        context: impl Fn(&PodInfo) -> Option<Context<'a>>,
        now: Instant,
    ) -> bool {
        for key in &self.preempting {
            if let Some(entry) = self.entries.get_mut(key)
                && let State::Gated { refused, missed, .. } = &mut entry.state
                && let Some(context) = context(&entry.pod)
            {
                *missed |= may(&entry.pod) && is_worth(change, *refused, &entry.pod, context);
            }
        }
        let cures = change.cures();
        if !cures.iter().any(|plugin| self.refused.get(&plugin).is_some_and(|count| *count > 0)) {
            return false;
        }
        let mut woken = Vec::new();
        for key in self.waiting.values() {
            let Some(entry) = self.entries.get(key) else { continue };
            let State::Waiting(plugins) = &entry.state else { continue };
            if let Some(context) = context(&entry.pod)
                && may(&entry.pod)
                && is_worth(change, *plugins, &entry.pod, context)
            {
                woken.push((key.clone(), context));
            }
        }
        for (key, context) in &woken {
            self.enqueue(key, *context, now, true);
        }
        !woken.is_empty()
    }
}

/// Whether the change may cure one of the refusals.
fn is_worth(change: Change<'_>, refused: Plugins, pod: &PodInfo, context: Context<'_>) -> bool {
    let cures = change.cures();
    refused.iter().any(|plugin| cures.has(plugin) && change.helps(plugin, pod, context))
}

/// The start of the window that `age` is in.
fn floor(age: Duration) -> Duration {
    Duration::from_secs(age.as_secs())
}

fn rests_until(back_off: BackOff, entry: &Entry) -> Duration {
    let failures = if entry.errors > 0 { entry.errors } else { entry.refusals };
    floor(entry.since + back_off.after(failures))
}

#[cfg(test)]
mod tests;
