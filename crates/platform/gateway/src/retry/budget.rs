//! How many retries there may be beside the requests of late.
//!
//! A window of ten slots, each a number of requests and one of retries, told apart by the time
//! they stand for. Counting takes no lock; at the edge of a slot a count may be lost or come into
//! the next, which a share does not mind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Time, nanos};

const SLOTS: u64 = 10;

/// What is allowed (GEP-3388).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Retries in percent of the requests of the interval.
    pub percent: u32,
    /// The time that is looked back.
    pub interval: Duration,
    /// Retries per second that are allowed whatever the requests are.
    pub least_per_second: u32,
}

impl Default for Share {
    fn default() -> Self {
        Self { percent: 20, interval: Duration::from_secs(10), least_per_second: 10 }
    }
}

/// The requests and retries of late of one backend.
#[derive(Debug, Default)]
pub struct Budget {
    requests: [AtomicU64; SLOTS as usize],
    retries: [AtomicU64; SLOTS as usize],
}

impl Budget {
    /// Counts a first try.
    pub fn request(&self, share: &Share, now: Time) {
        let era = era(share, now);
        add(&self.requests[(era % SLOTS) as usize], era);
    }

    /// Counts a retry if it is allowed.
    #[must_use]
    pub fn retry(&self, share: &Share, now: Time) -> bool {
        let era = era(share, now);
        let requests = sum(&self.requests, era);
        let retries = sum(&self.retries, era);
        let always = u64::from(share.least_per_second) * nanos(share.interval) / 1_000_000_000;
        let allowed = (requests * u64::from(share.percent) / 100).saturating_add(always);
        let allows = retries < allowed;
        if allows {
            add(&self.retries[(era % SLOTS) as usize], era);
        }
        allows
    }
}

/// Which slot of all time; fits 32 bits for a slot of a millisecond and more for seven weeks, after
/// which it comes round again, harmlessly.
fn era(share: &Share, now: Time) -> u64 {
    let slot = (nanos(share.interval) / SLOTS).max(1_000_000);
    (now.0 / slot) & 0xffff_ffff
}

/// A slot: the era above, the count below.
fn add(slot: &AtomicU64, era: u64) {
    let fresh = era << 32;
    let step = |known: u64| Some(if known >> 32 == era { known.saturating_add(1) } else { fresh + 1 });
    if slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_err() {
        tracing::trace!("invariant: the step always gives a value");
    }
}

fn sum(slots: &[AtomicU64], era: u64) -> u64 {
    let slots = slots.iter().map(|slot| slot.load(Ordering::Relaxed));
    slots.filter(|slot| (era.wrapping_sub(slot >> 32) & 0xffff_ffff) < SLOTS).map(|slot| slot & 0xffff_ffff).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Time = Time(1_000_000_000_000);

    #[test]
    fn retries_are_a_share_of_the_requests_of_late_and_a_few_besides() {
        let share = Share { percent: 20, interval: Duration::from_secs(10), least_per_second: 1 };
        let budget = Budget::default();
        let granted = |now: Time| (0..1000).filter(|_| budget.retry(&share, now)).count();
        assert_eq!(granted(START), 10, "one per second of the interval");
        (0..100).for_each(|_| budget.request(&share, START));
        assert_eq!(granted(START), 20);
        let later = START + Duration::from_secs(20);
        assert_eq!(granted(later), 10, "what was long ago does not count");
    }

    proptest! {
        #[test]
        fn the_share_is_never_exceeded(
            percent in 0..100_u32, least in 0..5_u32,
            steps in proptest::collection::vec((any::<bool>(), 0..2000_u64), 1..400),
        ) {
            let share = Share { percent, interval: Duration::from_secs(10), least_per_second: least };
            let budget = Budget::default();
            let (mut now, mut requests, mut retries) = (START, Vec::new(), Vec::new());
            for (retry, after) in steps {
                now = now + Duration::from_millis(after);
                let late = |times: &[Time]| times.iter().filter(|time| now.since(**time) < Duration::from_secs(10)).count();
                if !retry {
                    budget.request(&share, now);
                    requests.push(now);
                } else if budget.retry(&share, now) {
                    retries.push(now);
                    // a window of slots is up to a slot shorter than the interval
                    let windows = |times: &[Time]| times.iter().filter(|time| now.since(**time) < Duration::from_secs(9)).count();
                    prop_assert!(windows(&retries) <= late(&requests) * percent as usize / 100 + least as usize * 10);
                }
            }
        }
    }
}
