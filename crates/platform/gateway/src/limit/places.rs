//! How much may be under way at once, in all and per client.
//!
//! A client is known only while something of it is under way, so the memory is bounded by what is
//! under way, which the gateway bounds as a whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

/// Parts with a lock each.
const PARTS: usize = 16;

/// What each client has under way.
type ByClient = Mutex<HashMap<[u8; 8], u32>>;

/// Places for what is under way.
#[derive(Debug)]
pub struct Places {
    in_all: u32,
    per_client: u32,
    taken: AtomicU32,
    parts: Box<[ByClient]>,
}

impl Places {
    /// That many places in all, and for each client; `u32::MAX` is no bound.
    #[must_use]
    pub fn new(in_all: u32, per_client: u32) -> Arc<Self> {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Arc::new(Self { in_all, per_client, taken: AtomicU32::new(0), parts })
    }

    /// Takes a place for `client`; none when there is none left.
    #[must_use]
    pub fn take(self: &Arc<Self>, client: [u8; 8]) -> Option<Place> {
        if self.taken.fetch_add(1, Ordering::Relaxed) >= self.in_all {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut place = Place { places: Arc::clone(self), client: None };
        if self.per_client == u32::MAX {
            return Some(place);
        }
        let mut part = self.part(client).lock();
        match part.entry(client) {
            Entry::Occupied(mut known) if *known.get() < self.per_client => *known.get_mut() += 1,
            Entry::Vacant(free) if self.per_client > 0 => drop(free.insert(1)),
            Entry::Occupied(_) | Entry::Vacant(_) => {
                drop(part);
                return None; // and with it the place
            }
        }
        drop(part);
        place.client = Some(client);
        Some(place)
    }

    /// Places taken.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    fn part(&self, client: [u8; 8]) -> &ByClient {
        let hash = crate::balance::hash(&client);
        &self.parts[hash as usize % PARTS]
    }
}

/// A place, taken until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    /// When it counts for a client.
    client: Option<[u8; 8]>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        if let Entry::Occupied(mut known) = self.places.part(client).lock().entry(client) {
            *known.get_mut() -= 1;
            if *known.get() == 0 {
                known.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn places_are_as_many_as_said_and_come_back(
            in_all in 0..10_u32, per_client in 0..5_u32,
            steps in proptest::collection::vec((0..4_u8, any::<bool>(), 0..10_usize), 1..100),
        ) {
            let places = Places::new(in_all, per_client);
            let mut held: Vec<(u8, Place)> = Vec::new();
            for (client, gives, which) in steps {
                if gives {
                    if !held.is_empty() { drop(held.remove(which % held.len())); }
                    continue;
                }
                let own = held.iter().filter(|(owner, _)| *owner == client).count();
                let place = places.take([client; 8]);
                prop_assert_eq!(place.is_some(), held.len() < in_all as usize && own < per_client as usize);
                held.extend(place.map(|place| (client, place)));
                prop_assert_eq!(places.taken() as usize, held.len());
            }
            drop(held);
            prop_assert_eq!(places.taken(), 0);
            prop_assert!(places.parts.iter().all(|part| part.lock().is_empty()), "nobody is remembered");
        }
    }
}
