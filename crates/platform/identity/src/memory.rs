//! A memory of bounded size and time.
//!
//! Two generations: what was not used since the last turn is forgotten at the next. Why not an exact list of use: nobody
//! notices the difference, and this needs neither links nor a dependency.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// Remembers the latest values, at most `most` of them, each until its time.
#[derive(Debug)]
pub(crate) struct Memory<K, V> {
    most: usize,
    generations: Mutex<Generations<K, V>>,
}

#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, (i64, V)>,
    old: HashMap<K, (i64, V)>,
}

impl<K: Hash + Eq + Clone, V: Clone> Memory<K, V> {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }) }
    }

    /// The value, if it is remembered and its time is not over at `now` (seconds since 1970).
    pub(crate) fn get(&self, key: &K, now: i64) -> Option<V> {
        let mut generations = self.generations.lock();
        if let Some((until, value)) = generations.young.get(key) {
            return (now < *until).then(|| value.clone());
        }
        let (until, value) = generations.old.remove(key)?;
        if now >= until {
            return None;
        }
        let found = value.clone();
        self.keep(&mut generations, key.clone(), (until, value));
        Some(found)
    }

    /// Remembers a value until `until`.
    pub(crate) fn put(&self, key: K, value: V, until: i64) {
        let mut generations = self.generations.lock();
        generations.old.remove(&key);
        self.keep(&mut generations, key, (until, value));
    }

    fn keep(&self, generations: &mut Generations<K, V>, key: K, entry: (i64, V)) {
        if generations.young.len() >= self.most.div_ceil(2) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(key, entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_time_ends_it() {
        let memory = Memory::new(4);
        memory.put("kept", 1, 100);
        for index in 0..20 {
            memory.put(["a", "b", "c", "d", "e"][index % 5], 0, 100);
            assert_eq!(memory.get(&"kept", 99), Some(1), "after {index}");
        }
        assert_eq!(memory.get(&"kept", 100), None);
        let generations = memory.generations.lock();
        assert!(generations.young.len() + generations.old.len() <= 4);
    }
}
