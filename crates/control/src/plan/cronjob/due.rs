//! Which time of a schedule is due: the last one that was missed, and how many there were.
//!
//! Invariant: the work does not grow with the time that was missed: how many times fit into it is estimated from the first
//! two, and only the last of them are walked through, as upstream does.

use std::time::Duration;

use base::cron::Schedule;
use base::zone::Zone;
use jiff::{SignedDuration, Timestamp};

use super::LEEWAY;

/// More missed times than this are told as a fault.
const MANY: i64 = 100;

pub(super) struct Due<'a> {
    pub(super) schedule: &'a Schedule,
    pub(super) here: Zone,
    pub(super) now: Timestamp,
}

/// How many times were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missed {
    None,
    Few,
    Many,
}

impl Due<'_> {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.schedule.next(after, self.here)
    }

    /// The last time after `since` that is not in the future.
    pub(super) fn missed(&self, since: Timestamp) -> Result<(Option<Timestamp>, Missed), &'static str> {
        let first = self.next(since);
        let second = first.and_then(|first| self.next(first));
        if first.is_some_and(|first| self.now < first) {
            return Ok((None, Missed::None));
        }
        if second.is_some_and(|second| self.now < second) {
            return Ok((first, Missed::None));
        }
        let (Some(first), Some(second)) = (first, second) else {
            return Err("time difference between two schedules is less than 1 second");
        };
        let between = second.as_second() - first.as_second();
        let count = self.now.duration_since(first).as_secs() / between + 1;
        let near = first.checked_add(SignedDuration::from_secs((count - 2) * between)).unwrap_or(first);
        let times = std::iter::successors(self.next(near), |time| self.next(*time));
        let last = times.take_while(|time| *time <= self.now).last();
        Ok((last, if count > MANY { Missed::Many } else { Missed::Few }))
    }

    /// How long until the time after the last one that has passed since `since`.
    pub(super) fn wait(&self, since: Timestamp) -> Duration {
        let last = match self.missed(since) {
            Ok((Some(last), _)) => last,
            Ok((None, Missed::None)) => since,
            Ok((None, _)) | Err(_) => self.now,
        };
        let left = self.next(last).map_or(SignedDuration::MAX, |next| next.duration_since(self.now));
        Duration::try_from(left.saturating_add(LEEWAY)).unwrap_or(Duration::ZERO)
    }
}
