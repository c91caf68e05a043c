//! The waiting time between attempts: 10 s doubling to 5 min, forgotten after 10 quiet minutes.
//!
//! Invariant: the same rules as client-go's `flowcontrol.Backoff` as the kubelet uses it, so that
//! the first restart is immediate and the messages name the same times.

use jiff::{SignedDuration, Timestamp};

const FIRST: i64 = 10;
const LONGEST: i64 = 300;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BackOff {
    entry: Option<(i64, Timestamp)>,
}

impl BackOff {
    /// The next attempt may be made at this time, when the latest one failed at `failed`.
    pub(crate) fn due(&self, failed: Timestamp) -> Timestamp {
        match self.entry {
            Some((seconds, updated)) if !expired(updated, failed) => later(failed, seconds),
            _ => failed,
        }
    }

    /// An attempt is being made: the next failure waits longer.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        let seconds = match self.entry {
            Some((seconds, updated)) if !expired(updated, now) => (seconds * 2).min(LONGEST),
            _ => FIRST,
        };
        self.entry = Some((seconds, now));
    }

    /// `10s`, `2m40s`, as Go prints durations.
    pub(crate) fn text(&self) -> String {
        let seconds = self.entry.map_or(0, |(seconds, _)| seconds);
        if seconds >= 60 { format!("{}m{}s", seconds / 60, seconds % 60) } else { format!("{seconds}s") }
    }
}

/// `at` plus whole seconds, saturating.
pub(crate) fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX)
}

fn expired(updated: Timestamp, at: Timestamp) -> bool {
    at.duration_since(updated).as_secs() > 2 * LONGEST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_immediate_then_waits_double_up_to_five_minutes() {
        let mut back_off = BackOff::default();
        let mut now = Timestamp::UNIX_EPOCH;
        let mut waits = Vec::new();
        for _ in 0..8 {
            let due = back_off.due(now);
            waits.push(due.duration_since(now).as_secs());
            now = due;
            back_off.advance(now);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(back_off.text(), "5m0s");
    }

    #[test]
    fn ten_quiet_minutes_are_a_clean_slate() {
        let mut back_off = BackOff::default();
        back_off.advance(Timestamp::UNIX_EPOCH);
        back_off.advance(Timestamp::UNIX_EPOCH);
        let much_later = later(Timestamp::UNIX_EPOCH, 700);
        assert_eq!(back_off.due(much_later), much_later);
        back_off.advance(much_later);
        assert_eq!(back_off.text(), "10s");
    }
}
