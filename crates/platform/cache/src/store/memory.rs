//! The memory tier: whole objects, shared with all who read them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::object::{Key, Object};
use super::purge::{Log, Moment, Scope};
use super::tier::{Tier, Weighs};
use crate::counters::Counters;

/// The smallest memory tier that makes sense.
pub(crate) const LEAST: u64 = 1 << 20;
/// What an object is thought to weigh, to size tables.
const USUAL: u64 = 16 << 10;
const MOST_SHARDS: u64 = 16;

/// Objects in memory.
pub(crate) struct Memory {
    tier: Tier<Object>,
    largest: u64,
    counters: Arc<Counters>,
}

impl Weighs for Object {
    fn weight(&self) -> u64 {
        Self::weight(self)
    }
}

impl Memory {
    /// A tier of `bytes`.
    pub(crate) fn new(bytes: u64, counters: Arc<Counters>) -> Self {
        let bytes = bytes.max(LEAST);
        // A shard has room for a few of the largest objects.
        let largest = (bytes / 16).clamp(LEAST / 4, 8 << 20);
        let shards = (bytes / (4 * largest)).clamp(1, MOST_SHARDS);
        let shards = if shards.is_power_of_two() { shards } else { shards.next_power_of_two() / 2 };
        Self { tier: Tier::new(bytes, shards, USUAL), largest, counters }
    }

    /// The largest body kept here.
    pub(crate) fn largest(&self) -> u64 {
        self.largest
    }

    pub(crate) fn tier(&self) -> &Tier<Object> {
        &self.tier
    }

    /// Keeps `object`, unless it was purged since `since`.
    pub(crate) fn insert(&self, object: Arc<Object>, log: &Log, since: Moment) -> bool {
        let (key, label) = (object.head.key, Arc::clone(&object.head.label));
        let gone = self.tier.insert(key, &label, object, log, since);
        let count = gone.as_ref().map_or(0, Vec::len) as u64;
        self.counters.evicted_memory.fetch_add(count, Ordering::Relaxed);
        gone.is_some()
    }

    /// Changes an object that is there, unless it was purged since `since`.
    pub(crate) fn update(&self, key: &Key, change: impl FnOnce(&Object) -> Object, log: &Log, since: Moment) -> bool {
        let Some(object) = self.tier.peek(key) else { return false };
        self.insert(Arc::new(change(&object)), log, since)
    }

    /// Removes or expires what `scope` is about; tells which.
    pub(crate) fn purge(&self, scope: &Scope, soft: Option<SystemTime>) -> Vec<Key> {
        self.tier.sweep(scope, |object| {
            let mut stale = object.clone();
            stale.head.life = stale.head.life.expired(soft?);
            Some(stale)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::object::Body;
    use crate::store::record::tests::head;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn object(key: u8, size: usize, tag: &str) -> Arc<Object> {
        let url = format!("https://a/{key}");
        Arc::new(Object { head: head([key; 16], &url, &[tag]), body: Body::Memory(vec![key; size].into()) })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u8, usize, u8),
        Get(u8),
        Purge(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0_u8..60, 0_usize..300_000, 0_u8..4).prop_map(|(key, size, tag)| Step::Insert(key, size, tag)),
            4 => (0_u8..60).prop_map(Step::Get),
            1 => (0_u8..4).prop_map(Step::Purge),
        ];
        prop::collection::vec(step, 1..200)
    }

    proptest! {
        #[test]
        fn never_over_the_bound_and_what_is_read_is_what_was_written_last(steps in steps()) {
            let (memory, log) = (Memory::new(LEAST, Arc::default()), Log::default());
            let mut model: HashMap<u8, (usize, u8)> = HashMap::new();
            for step in steps {
                match step {
                    Step::Insert(key, size, tag) => {
                        memory.insert(object(key, size, &tag.to_string()), &log, log.now());
                        model.insert(key, (size, tag));
                    }
                    Step::Get(key) => {
                        if let Some(found) = memory.tier.get(&[key; 16]) {
                            prop_assert_eq!(Some(found.body.length() as usize), model.get(&key).map(|(size, _)| *size));
                        }
                    }
                    Step::Purge(tag) => {
                        memory.purge(&Scope::Tag(tag.to_string()), None);
                        model.retain(|_, (_, known)| *known != tag);
                    }
                }
                prop_assert!(memory.tier.bytes() <= memory.tier.capacity() && memory.tier.capacity() <= LEAST);
                let held = (0..60_u8).map(|key| [key; 16]).filter(|key| memory.tier.peek(key).is_some()).collect();
                prop_assert_eq!(memory.tier.named(), held, "names are of what is held");
            }
        }
    }

    #[test]
    fn a_soft_purge_keeps_objects_that_are_stale() {
        let (memory, log) = (Memory::new(LEAST, Arc::default()), Log::default());
        assert!(memory.insert(object(1, 10, "t"), &log, log.now()));
        let at = SystemTime::UNIX_EPOCH;
        assert_eq!(memory.purge(&Scope::Tag("t".to_owned()), Some(at)).len(), 1);
        assert_eq!(memory.tier.get(&[1; 16]).map(|object| object.head.life.fresh_until), Some(at));
        let (before, purge) = (log.now(), log.begin(Scope::All));
        assert!(!memory.insert(object(2, 10, "t"), &log, before));
        drop(purge);
        assert!(memory.tier.get(&[2; 16]).is_none());
    }
}
