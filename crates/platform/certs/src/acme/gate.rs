//! Whom to leave alone, and for how long: after failures in a row twice as long each time.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// After one failure.
const FIRST: Duration = Duration::from_secs(5);
/// Never longer, unless the server says so.
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// What a server says is believed up to this.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);

/// Whether a server may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    failures: u32,
    closed: Option<(Timestamp, String)>,
}

impl Gate {
    /// How long it is still closed, and why; none when the server may be asked.
    #[must_use]
    pub fn closed(&self, now: Timestamp) -> Option<(Duration, String)> {
        let (until, why) = self.closed.as_ref()?;
        let left = until.duration_since(now);
        (left > SignedDuration::ZERO).then(|| (Duration::try_from(left).unwrap_or_default(), why.clone()))
    }

    /// A server answered: it may be asked.
    pub fn open(&mut self) {
        *self = Self::default();
    }

    /// It failed, or refused by rate, and wants to be asked again after `wait`.
    pub fn close(&mut self, wait: Option<Duration>, why: &str, now: Timestamp) {
        let own = FIRST.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        let wait = wait.map_or(own, |wait| wait.min(BELIEVED).max(own));
        let until = SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok());
        self.closed = until.map(|until| (until, why.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn failures_wait_longer_each_time_and_an_answer_opens_it() {
        let (mut gate, mut now) = (Gate::default(), Timestamp::UNIX_EPOCH);
        let mut waits = Vec::new();
        for _ in 0..12 {
            gate.close(None, "down", now);
            let (wait, _) = gate.closed(now).unwrap();
            waits.push(wait.as_secs());
            now = now.checked_add(SignedDuration::try_from(wait).unwrap()).unwrap();
            assert_eq!(gate.closed(now), None);
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800, 1800]);
        gate.open();
        gate.close(None, "down", now);
        assert_eq!(gate.closed(now).unwrap().0.as_secs(), 5);
    }

    proptest! {
        #[test]
        fn what_the_server_says_is_waited_for(says in 0_u64..200_000, failures in 0_u32..40) {
            let (mut gate, now) = (Gate { failures, closed: None }, Timestamp::UNIX_EPOCH);
            gate.close(Some(Duration::from_secs(says)), "slow down", now);
            let wait = gate.closed(now).unwrap().0;
            prop_assert!(wait.as_secs() >= says.min(24 * 3600) && wait <= BELIEVED);
        }
    }
}
