//! How often something was asked for of late: a policy may store only what is wanted more than once.
//!
//! A small table of counters that several keys share, so that it costs the same however many there are; counts are
//! never too low, and they are halved as time passes.

use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use pingora_cache::CacheKey;
use pingora_cache::admission::{AdmissionPolicy, Decision};
use pingora_cache::key::CacheHashKey as _;

const SLOTS: usize = 1 << 16;
/// Counts are halved after so many.
const HALVED_AFTER: u32 = 10 << 16;

/// How often an absent object must be asked for before it is stored, told with its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Least(pub(crate) u8);

/// The counters.
pub(crate) struct Uses {
    rows: [Box<[AtomicU8]>; 2],
    seen: AtomicU32,
}

impl Default for Uses {
    fn default() -> Self {
        let row = || (0..SLOTS).map(|_| AtomicU8::new(0)).collect();
        Self { rows: [row(), row()], seen: AtomicU32::new(0) }
    }
}

impl Uses {
    fn one_more(&self, key: [u8; 16]) -> u8 {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == HALVED_AFTER {
            self.seen.store(0, Ordering::Relaxed);
            for slot in self.rows.iter().flatten() {
                slot.store(slot.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
        let at = [u16::from_le_bytes([key[0], key[1]]), u16::from_le_bytes([key[2], key[3]])];
        let counts = self.rows.iter().zip(at).map(|(row, at)| {
            let slot = &row[usize::from(at)];
            let before = slot.load(Ordering::Relaxed);
            slot.store(before.saturating_add(1), Ordering::Relaxed);
            before.saturating_add(1)
        });
        counts.min().unwrap_or(u8::MAX)
    }
}

impl AdmissionPolicy for Uses {
    fn observe(&self, key: &CacheKey) -> Decision {
        let observed = self.one_more(key.primary_bin());
        let least = key.extensions.get::<Least>().map_or(1, |least| least.0);
        let observed_wide = u32::from(observed);
        if observed >= least {
            Decision::Ready { observed: observed_wide }
        } else {
            Decision::Defer { observed: observed_wide }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_stored_when_it_was_asked_for_often_enough() {
        let uses = Uses::default();
        let mut key = CacheKey::new("a", "");
        key.extensions.insert(Least(3));
        assert_eq!(uses.observe(&key), Decision::Defer { observed: 1 });
        assert_eq!(uses.observe(&key), Decision::Defer { observed: 2 });
        assert_eq!(uses.observe(&key), Decision::Ready { observed: 3 });
        for _ in 0..HALVED_AFTER {
            uses.one_more([9; 16]);
        }
        assert_eq!(uses.observe(&key), Decision::Defer { observed: 2 }, "it was long ago");
    }
}
