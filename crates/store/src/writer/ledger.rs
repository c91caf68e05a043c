//! The writer's book of the history: what each change still costs, how old it is, which row it keeps alive.
//!
//! Invariant: one slot per event in the rings, in the order of revisions; cutting the book at a revision yields
//! exactly the rows that only history needed. Why slack above the bounds: trimming event by event would cost one
//! disk commit each; a tenth more than asked lets it happen in slices. Why it holds no events: it would keep the
//! versions alive that cooling tries to let go of.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::open::History;
use crate::record::{Event, Revision};

/// The most changes cut or cooled at once, so that a waiting commit does not wait long.
const SLICE: usize = 1000;
const COOL_SLICE: usize = 256;
/// After this time a superseded version loses its memos.
const COOL_AFTER: u64 = 5_000;
/// What an event costs beside keys and values.
const OVERHEAD: u64 = 200;

pub(crate) struct Ledger {
    slots: VecDeque<Slot>,
    bytes: u64,
    /// How many slots from the front have been cooled.
    cool: usize,
    bounds: History,
}

struct Slot {
    key: Arc<str>,
    revision: Revision,
    /// The version this change superseded; its row lives as long as this slot. 0 if none.
    prev: Revision,
    delete: bool,
    time: u64,
    cost: u64,
}

/// The next piece of history to forget.
pub(crate) struct Cut<'a> {
    pub(crate) floor: Revision,
    pub(crate) dead: Vec<(Revision, &'a str)>,
    slots: usize,
}

impl Ledger {
    pub(crate) fn new(bounds: History) -> Self {
        Self { slots: VecDeque::new(), bytes: 0, cool: 0, bounds }
    }

    pub(crate) fn push(&mut self, event: &Event, time: u64) {
        let prev = event.prev();
        let cost =
            OVERHEAD + prev.map_or(0, |prev| prev.bytes()) + if event.is_delete() { event.record().bytes() } else { 0 };
        self.bytes += cost;
        self.slots.push_back(Slot {
            key: event.record().key.clone(),
            revision: event.revision(),
            prev: prev.map_or(0, |prev| prev.revision),
            delete: event.is_delete(),
            time,
            cost,
        });
    }

    /// Nothing in here has anything to cool, as after a load.
    pub(crate) fn mark_cool(&mut self) {
        self.cool = self.slots.len();
    }

    /// Where to cut, if a bound with its slack is exceeded.
    pub(crate) fn overdue(&self, now: u64) -> Option<Revision> {
        let History { events, bytes, .. } = self.bounds;
        let age = self.age();
        let over = self.slots.len() > events + events / 10
            || self.bytes > bytes + bytes / 10
            || self.slots.front().is_some_and(|slot| slot.time.saturating_add(age + age / 10) <= now);
        if !over {
            return None;
        }
        let (mut left, mut weight, mut target) = (self.slots.len(), self.bytes, None);
        for slot in &self.slots {
            if left <= events && weight <= bytes && slot.time.saturating_add(age) > now {
                break;
            }
            (left, weight, target) = (left - 1, weight - slot.cost, Some(slot.revision));
        }
        target
    }

    /// The next slice of a cut at `target`, whole commits at a time.
    pub(crate) fn slice(&self, target: Revision) -> Cut<'_> {
        let mut cut = Cut { floor: target, dead: Vec::new(), slots: 0 };
        let mut last = 0;
        for slot in self.slots.iter().take_while(|slot| slot.revision <= target) {
            if cut.slots >= SLICE && slot.revision != last {
                cut.floor = last;
                break;
            }
            cut.slots += 1;
            last = slot.revision;
            if slot.prev != 0 {
                cut.dead.push((slot.prev, &slot.key));
            }
            if slot.delete {
                cut.dead.push((slot.revision, &slot.key));
            }
        }
        cut
    }

    /// Forgets the slots of a cut that has been made.
    pub(crate) fn forget(&mut self, slots: usize) {
        self.bytes -= self.slots.drain(..slots).map(|slot| slot.cost).sum::<u64>();
        self.cool = self.cool.saturating_sub(slots);
        if self.slots.capacity() > 4 * self.slots.len() + SLICE {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }

    /// The changes old enough to be cooled, and never again.
    pub(crate) fn take_warm(&mut self, now: u64) -> impl Iterator<Item = (&str, Revision)> {
        let warm = self.slots.range(self.cool..).take(COOL_SLICE);
        let count = warm.take_while(|slot| slot.time.saturating_add(COOL_AFTER) <= now).count();
        let from = self.cool;
        self.cool += count;
        self.slots.range(from..self.cool).map(|slot| (&*slot.key, slot.revision))
    }

    pub(crate) fn has_warm(&self, now: u64) -> bool {
        self.slots.get(self.cool).is_some_and(|slot| slot.time.saturating_add(COOL_AFTER) <= now)
    }

    /// How long nothing will fall due if nothing is written.
    pub(crate) fn quiet(&self, now: u64) -> Option<Duration> {
        let age = self.age();
        let old = self.slots.front().map(|slot| slot.time.saturating_add(age + age / 10));
        let warm = self.slots.get(self.cool).map(|slot| slot.time.saturating_add(COOL_AFTER));
        let due = old.into_iter().chain(warm).min()?;
        Some(Duration::from_millis(due.saturating_sub(now)))
    }

    fn age(&self) -> u64 {
        u64::try_from(self.bounds.age.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
    }
}

impl Cut<'_> {
    pub(crate) fn slots(&self) -> usize {
        self.slots
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::record::Record;

    fn ledger(events: usize, bytes: u64, age: u64) -> Ledger {
        Ledger::new(History { events, bytes, age: Duration::from_millis(age) })
    }

    fn put(revision: Revision, prev: Option<Revision>) -> Event {
        let record = |revision| Arc::new(Record::new("/a/b/c".into(), Bytes::from_static(&[0; 94]), 1, revision));
        Event::Put { record: record(revision), prev: prev.map(record) }
    }

    #[test]
    fn a_full_count_is_cut_back_to_its_bound() {
        let mut ledger = ledger(20, u64::MAX / 2, 1000);
        for revision in 2..24 {
            ledger.push(&put(revision, None), 0);
        }
        assert_eq!(ledger.overdue(0), None, "a tenth more is tolerated");
        ledger.push(&put(24, Some(23)), 0);
        assert_eq!(ledger.overdue(0), Some(4));
    }

    #[test]
    fn heavy_history_is_cut_by_bytes_and_old_history_by_age() {
        let mut ledger = ledger(1000, 1000, 1000);
        for revision in 2..6 {
            ledger.push(&put(revision, Some(revision - 1)), revision * 100);
        }
        assert_eq!(ledger.overdue(0), Some(2), "four times 300 bytes");
        ledger.forget(1);
        assert_eq!(ledger.overdue(1399), None);
        assert_eq!(ledger.quiet(1300), Some(Duration::from_millis(100)));
        assert_eq!(ledger.overdue(1400), Some(4), "what is due within the slack goes too");
    }

    #[test]
    fn a_slice_names_the_rows_that_only_history_needed() {
        let mut ledger = ledger(1000, 1000, 1000);
        ledger.push(&put(2, None), 0);
        ledger.push(&put(3, Some(2)), 0);
        let cut = ledger.slice(9);
        assert_eq!((cut.floor, cut.slots(), cut.dead), (9, 2, vec![(2, "/a/b/c")]));
    }
}
