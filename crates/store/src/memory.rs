//! The readable half of the store: current records and recent events, in memory, shared by all readers.
//!
//! Invariant: under the one lock, records, rings and the revision always show the same commit; nothing appears here
//! before it is durable. Every event after a topic's `trimmed` is in its ring, so a reader at or after it misses
//! nothing. Why one lock for all topics: a commit may touch several, readers hold it for microseconds, and the only
//! writer is one thread. Why limits are judged per topic: a busy kind must not expire the readers of a quiet one.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{RwLock, RwLockWriteGuard};
use tokio::sync::watch;

use crate::record::{Event, Record, Revision, space, topic};
use crate::store::{Page, Range, RangeError, WatchError};

/// The most events one look at a ring returns, rounded up to a whole commit.
const BATCH: usize = 1000;

pub(crate) struct Memory {
    state: RwLock<State>,
    /// The newest revision, for those who wait for one.
    progress: watch::Sender<Revision>,
}

pub(crate) struct State {
    revision: Revision,
    /// Everything later is in the rings, whatever the topic.
    floor: Revision,
    /// Where `compact` was last asked to cut; nothing older is served even if a quiet topic still could.
    compacted: Revision,
    /// The floor when the store was opened: the limit for topics not heard of since.
    origin: Revision,
    closed: bool,
    topics: BTreeMap<Arc<str>, Topic>,
}

struct Topic {
    records: BTreeMap<Arc<str>, Arc<Record>>,
    /// How many records there are below each `/group/plural/namespace/`.
    spaces: HashMap<Box<str>, usize>,
    ring: VecDeque<Arc<Event>>,
    /// The newest revision this topic has lost from its ring.
    trimmed: Revision,
    /// The newest revision of this topic, for those who wait.
    wake: watch::Sender<Revision>,
}

/// What a cursor finds when it looks.
pub(crate) struct Look {
    pub(crate) events: Vec<Arc<Event>>,
    /// Everything up to here has now been seen.
    pub(crate) seen: Revision,
    pub(crate) more: bool,
}

impl Topic {
    fn new(trimmed: Revision) -> Self {
        Self {
            records: BTreeMap::new(),
            spaces: HashMap::new(),
            ring: VecDeque::new(),
            trimmed,
            wake: watch::Sender::new(trimmed),
        }
    }

    fn insert(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        let replaced = self.records.insert(record.key.clone(), record.clone());
        if replaced.is_none()
            && let Some(space) = space(&record.key)
        {
            match self.spaces.get_mut(space) {
                Some(count) => *count += 1,
                None => drop(self.spaces.insert(space.into(), 1)),
            }
        }
        replaced
    }

    fn remove(&mut self, key: &str) {
        if self.records.remove(key).is_some()
            && let Some(space) = space(key)
            && let Some(count) = self.spaces.get_mut(space)
        {
            *count -= 1;
            if *count == 0 {
                self.spaces.remove(space);
            }
        }
    }

    /// How many records there are under a prefix, if that is known without counting.
    fn count(&self, prefix: &str) -> Option<usize> {
        if topic(prefix) == Some(prefix) {
            return Some(self.records.len());
        }
        (space(prefix) == Some(prefix)).then(|| self.spaces.get(prefix).copied().unwrap_or(0))
    }

    fn newest(&self) -> Revision {
        self.ring.back().map_or(self.trimmed, |event| event.revision())
    }

    /// The place in the ring of the change of `key` at `revision`.
    fn position(&self, key: &str, revision: Revision) -> Option<usize> {
        let first = self.ring.partition_point(|event| event.revision() < revision);
        let same = self.ring.range(first..).take_while(|event| event.revision() == revision);
        same.enumerate().find(|(_, event)| event.key() == key).map(|(offset, _)| first + offset)
    }

    /// The current records under a prefix, after a key.
    fn current<'a>(&'a self, prefix: &'a str, after: Option<&'a str>) -> impl Iterator<Item = &'a Arc<Record>> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.records
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, record)| record)
    }

    /// The records as they were at an older revision: the current ones, with every later change taken back.
    fn historic<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        at: Revision,
    ) -> impl Iterator<Item = &'a Arc<Record>> {
        let mut undone: BTreeMap<&str, Option<&Arc<Record>>> = BTreeMap::new();
        let first = self.ring.partition_point(|event| event.revision() <= at);
        for event in self.ring.range(first..).rev() {
            let key = event.key();
            if key.starts_with(prefix) && after.is_none_or(|after| key > after) {
                undone.insert(key, event.prev());
            }
        }
        let mut current = self.current(prefix, after).peekable();
        let mut undone = undone.into_iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let take_current = match (current.peek(), undone.peek()) {
                    (None, None) => return None,
                    (Some(record), Some((key, _))) => &*record.key < *key,
                    (record, _) => record.is_some(),
                };
                if take_current {
                    return current.next();
                }
                let (key, record) = undone.next()?;
                current.next_if(|record| &*record.key == key);
                if record.is_some() {
                    return record;
                }
            }
        })
    }
}

impl State {
    pub(crate) fn new(floor: Revision) -> Self {
        Self { revision: floor, floor, compacted: floor, origin: floor, closed: false, topics: BTreeMap::new() }
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.topics.get(topic(key)?)?.records.get(key)
    }

    fn topic(&mut self, name: &str) -> &mut Topic {
        if !self.topics.contains_key(name) {
            self.topics.insert(name.into(), Topic::new(self.origin));
        }
        self.topics.get_mut(name).expect("invariant: inserted above if it was missing")
    }

    /// Puts a record in place without an event: how a load restores what history no longer tells.
    pub(crate) fn restore(&mut self, record: Arc<Record>) -> Option<Arc<Record>> {
        let name = topic(&record.key)?.to_owned();
        self.topic(&name).insert(record)
    }

    /// Makes one change visible. Events come in the order of their revisions.
    pub(crate) fn apply(&mut self, event: Arc<Event>) {
        self.revision = event.revision();
        let Some(name) = topic(event.key()).map(str::to_owned) else { return };
        let topic = self.topic(&name);
        match &*event {
            Event::Put { record, .. } => drop(topic.insert(record.clone())),
            Event::Delete { record, .. } => topic.remove(&record.key),
        }
        topic.ring.push_back(event);
    }

    /// The topics a prefix reaches into, in key order.
    fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a Arc<str>, &'a Topic)> {
        let from = topic(prefix).unwrap_or(prefix);
        let range = (Bound::Included(from), Bound::Unbounded);
        self.topics.range::<str, _>(range).take_while(move |(name, _)| name.starts_with(from))
    }

    /// The oldest revision that can still be read under a prefix.
    fn oldest(&self, prefix: &str) -> Revision {
        match topic(prefix) {
            Some(name) => self.topics.get(name).map_or(self.origin, |topic| topic.trimmed).max(self.compacted),
            None => self.floor,
        }
    }
}

impl Memory {
    pub(crate) fn new(state: State) -> Self {
        Self { progress: watch::Sender::new(state.revision), state: RwLock::new(state) }
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Revision> {
        self.progress.subscribe()
    }

    pub(crate) fn revision(&self) -> Revision {
        self.state.read().revision
    }

    pub(crate) fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.state.read().get(key).cloned()
    }

    pub(crate) fn range(&self, range: Range<'_>) -> Result<Page, RangeError> {
        let Range { prefix, after, limit, at } = range;
        let state = self.state.read();
        let revision = at.unwrap_or(state.revision);
        if revision > state.revision {
            return Err(RangeError::Future { newest: state.revision });
        }
        if revision == state.revision {
            let total = match topic(prefix).map(|name| state.topics.get(name)) {
                Some(Some(topic)) if after.is_none() => topic.count(prefix),
                Some(None) => Some(0),
                _ => None,
            };
            let records = state.under(prefix).flat_map(|(_, topic)| topic.current(prefix, after));
            return Ok(page(records, revision, limit, total));
        }
        let oldest = state.oldest(prefix);
        if revision < oldest {
            return Err(RangeError::Compacted { oldest });
        }
        let records = state.under(prefix).flat_map(|(_, topic)| topic.historic(prefix, after, revision));
        Ok(page(records, revision, limit, None))
    }

    /// Registers interest in a topic, if everything after `after` can still be told.
    pub(crate) fn follow(&self, prefix: &str, after: Revision) -> Result<watch::Receiver<Revision>, WatchError> {
        let Some(name) = topic(prefix) else { return Err(WatchError::Prefix { prefix: prefix.to_owned() }) };
        let mut state = self.state.write();
        if state.closed {
            return Err(WatchError::Closed);
        }
        if after > state.revision {
            return Err(WatchError::Future { newest: state.revision });
        }
        let oldest = state.oldest(prefix);
        if after < oldest {
            return Err(WatchError::Compacted { oldest });
        }
        Ok(state.topic(name).wake.subscribe())
    }

    /// The events of a prefix after `seen`.
    pub(crate) fn look(&self, prefix: &str, seen: Revision) -> Result<Look, WatchError> {
        let state = self.state.read();
        let Some(topic) = topic(prefix).and_then(|name| state.topics.get(name)) else {
            return Err(WatchError::Prefix { prefix: prefix.to_owned() });
        };
        if seen < topic.trimmed {
            return Err(WatchError::Compacted { oldest: topic.trimmed });
        }
        let first = topic.ring.partition_point(|event| event.revision() <= seen);
        let mut look = Look { events: Vec::new(), seen, more: false };
        for event in topic.ring.range(first..) {
            if look.events.len() >= BATCH && event.revision() != look.seen {
                look.more = true;
                return Ok(look);
            }
            look.seen = event.revision();
            if event.key().starts_with(prefix) {
                look.events.push(event.clone());
            }
        }
        if look.events.is_empty() && state.closed {
            return Err(WatchError::Closed);
        }
        look.seen = state.revision;
        Ok(look)
    }

    /// How far a cursor that has seen `seen` may say it is: to the newest revision if its topic had nothing since.
    pub(crate) fn seen(&self, prefix: &str, seen: Revision) -> Revision {
        let state = self.state.read();
        match topic(prefix).and_then(|name| state.topics.get(name)) {
            Some(topic) if topic.newest() <= seen => state.revision,
            _ => seen,
        }
    }

    /// Makes durable commits visible, then wakes the watchers of the topics they touched.
    pub(crate) fn publish(&self, events: &[Arc<Event>]) {
        let mut state = self.state.write();
        for event in events {
            state.apply(event.clone());
        }
        let state = RwLockWriteGuard::downgrade(state); // watchers may already read while the others are woken
        let mut last = None;
        for name in events.iter().filter_map(|event| topic(event.key())) {
            if last != Some(name)
                && let Some(topic) = state.topics.get(name)
            {
                topic.wake.send_if_modified(|newest| std::mem::replace(newest, topic.newest()) != topic.newest());
                last = Some(name);
            }
        }
        self.progress.send_replace(state.revision);
    }

    /// Drops the events up to and including `floor`.
    pub(crate) fn trim(&self, floor: Revision) {
        let mut garbage = Vec::new(); // freed after the lock
        let mut state = self.state.write();
        state.floor = state.floor.max(floor);
        for topic in state.topics.values_mut() {
            while topic.ring.front().is_some_and(|event| event.revision() <= floor) {
                let event = topic.ring.pop_front().expect("invariant: looked at above");
                topic.trimmed = event.revision();
                garbage.push(event);
            }
        }
        drop(state);
        drop(garbage);
    }

    /// Serves nothing older than this, whatever a quiet topic could still tell.
    pub(crate) fn refuse_before(&self, revision: Revision) {
        let mut state = self.state.write();
        state.compacted = state.compacted.max(revision);
    }

    /// Lets go of what was derived from superseded versions, which only the history still holds.
    pub(crate) fn cool<'a>(&self, changes: impl Iterator<Item = (&'a str, Revision)>) {
        let mut garbage = Vec::new();
        let mut state = self.state.write();
        for (key, revision) in changes {
            let Some(topic) = topic(key).and_then(|name| state.topics.get_mut(name)) else { continue };
            let Some(here) = topic.position(key, revision) else { continue };
            let event = topic.ring[here].clone();
            let Some(prev) = event.prev() else { continue };
            if let Some(bare) = prev.bare() {
                if let Some(before) = topic.position(key, prev.revision) {
                    let older = match &*topic.ring[before] {
                        Event::Put { prev, .. } => Event::Put { record: bare.clone(), prev: prev.clone() },
                        Event::Delete { prev, .. } => Event::Delete { record: bare.clone(), prev: prev.clone() },
                    };
                    garbage.push(std::mem::replace(&mut topic.ring[before], Arc::new(older)));
                }
                let cooled = match &*event {
                    Event::Put { record, .. } => Event::Put { record: record.clone(), prev: Some(bare) },
                    Event::Delete { record, .. } => {
                        Event::Delete { record: record.bare().unwrap_or_else(|| record.clone()), prev: bare }
                    }
                };
                garbage.push(std::mem::replace(&mut topic.ring[here], Arc::new(cooled)));
            }
        }
        drop(state);
        drop(garbage);
    }

    /// Ends all watches once they have seen everything; reads go on.
    pub(crate) fn close(&self) {
        let mut state = self.state.write();
        state.closed = true;
        for topic in state.topics.values() {
            topic.wake.send_modify(|_| ());
        }
    }

    #[cfg(test)]
    pub(crate) fn ring_records_with_memos(&self) -> usize {
        let state = self.state.read();
        let events = state.topics.values().flat_map(|topic| &topic.ring);
        events.flat_map(|event| [Some(event.record()), event.prev()]).flatten().filter(|r| r.bare().is_some()).count()
    }
}

/// Takes one page from the records of a range; `total` is their number if it is known without counting.
fn page<'a>(
    mut records: impl Iterator<Item = &'a Arc<Record>>,
    revision: Revision,
    limit: usize,
    total: Option<usize>,
) -> Page {
    if limit == 0 {
        let mut all = Vec::with_capacity(total.unwrap_or(0));
        all.extend(records.cloned());
        return Page { records: all, revision, more: false, remaining: Some(0) };
    }
    let taken: Vec<_> = records.by_ref().take(limit).cloned().collect();
    let more = records.next().is_some();
    let remaining = if more { total.map(|total| total.saturating_sub(taken.len())) } else { Some(0) };
    Page { records: taken, revision, more, remaining }
}
