//! What a tier holds, at most so many bytes of it, and what that is called.
//!
//! Invariant: [`Names`] names exactly what is held; both change under one lock. Reading takes no such lock. Which entry
//! goes first when room is needed is S3-FIFO's decision: what was asked for once does not push out what is asked for often.

use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::sync::Cache;
use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter};

use super::names::Names;
use super::object::{Key, Label};
use super::purge::{Log, Moment, Scope};

/// Something that takes room.
pub(crate) trait Weighs {
    /// Bytes.
    fn weight(&self) -> u64;
}

/// The entries of a tier.
pub(crate) struct Tier<V> {
    entries: Cache<Key, Arc<V>, Weigh, DefaultHashBuilder, Collect>,
    names: Mutex<Names>,
}

#[derive(Clone)]
struct Weigh;

impl<V: Weighs> Weighter<Key, Arc<V>> for Weigh {
    fn weight(&self, _: &Key, entry: &Arc<V>) -> u64 {
        entry.weight()
    }
}

/// Collects what an insertion pushes out.
#[derive(Clone)]
struct Collect;

/// What is pushed out, of whatever kind the tier is.
pub(crate) struct Evicted<V>(Vec<(Key, Arc<V>)>);

impl<V> Default for Evicted<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Lifecycle<Key, Arc<V>> for Collect {
    type RequestState = Evicted<V>;

    fn on_evict(&self, evicted: &mut Evicted<V>, key: Key, entry: Arc<V>) {
        evicted.0.push((key, entry));
    }
}

impl<V: Weighs> Tier<V> {
    /// A tier of `bytes` in `shards` (a power of two), for entries of about `usual` bytes. No entry may be larger than
    /// a shard.
    pub(crate) fn new(bytes: u64, shards: u64, usual: u64) -> Self {
        let options = OptionsBuilder::new()
            .shards(usize::try_from(shards).unwrap_or(1))
            .estimated_items_capacity(usize::try_from((bytes / usual).max(64)).unwrap_or(64))
            .weight_capacity(bytes / shards * shards) // shards round up
            .build()
            .expect("invariant: both capacities are given");
        let entries = Cache::with_options(options, Weigh, DefaultHashBuilder::default(), Collect);
        Self { entries, names: Mutex::default() }
    }

    /// An entry, which counts as a use of it.
    pub(crate) fn get(&self, key: &Key) -> Option<Arc<V>> {
        self.entries.get(key)
    }

    /// An entry, without a use of it.
    pub(crate) fn peek(&self, key: &Key) -> Option<Arc<V>> {
        self.entries.peek(key)
    }

    /// Holds `entry` in place of what had its key, and returns what had to go for it, itself perhaps; nothing when it
    /// was purged since `since` and is not held.
    pub(crate) fn insert(
        &self,
        key: Key,
        label: &Arc<Label>,
        entry: Arc<V>,
        log: &Log,
        since: Moment,
    ) -> Option<Vec<(Key, Arc<V>)>> {
        let mut names = self.names.lock();
        if !log.admits(since, label) {
            return None;
        }
        let mut evicted = Evicted::default();
        self.entries.insert_with_lifecycle(key, Arc::clone(&entry), &mut evicted);
        names.add(key, label);
        let mut gone = evicted.0;
        gone.retain(|(key, _)| !self.entries.contains_key(key));
        if !self.entries.contains_key(&key) && !gone.iter().any(|(known, _)| *known == key) {
            gone.push((key, entry));
        }
        gone.iter().for_each(|(key, _)| names.remove(key));
        Some(gone)
    }

    /// Lets go of an entry.
    pub(crate) fn remove(&self, key: &Key) -> Option<Arc<V>> {
        let mut names = self.names.lock();
        names.remove(key);
        self.entries.remove(key).map(|(_, entry)| entry)
    }

    /// What a purge is about.
    pub(crate) fn find(&self, scope: &Scope) -> Vec<Key> {
        self.names.lock().find(scope)
    }

    /// Lets go of all that `scope` is about, or puts `change` in its place; tells which.
    pub(crate) fn sweep(&self, scope: &Scope, change: impl Fn(&V) -> Option<V>) -> Vec<Key> {
        let mut names = self.names.lock();
        let found = names.find(scope);
        for key in &found {
            let Some((_, entry)) = self.entries.remove(key) else { continue };
            let mut evicted = Evicted::default();
            if let Some(changed) = change(&entry) {
                self.entries.insert_with_lifecycle(*key, Arc::new(changed), &mut evicted);
            }
            for key in evicted.0.iter().map(|(key, _)| key).chain([key]) {
                if !self.entries.contains_key(key) {
                    names.remove(key);
                }
            }
        }
        found
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.entries.capacity()
    }

    pub(crate) fn count(&self) -> usize {
        self.names.lock().len()
    }

    #[cfg(test)]
    pub(crate) fn named(&self) -> std::collections::HashSet<Key> {
        self.names.lock().keys()
    }
}
