//! Time as the engines of the gateway see it: a parameter, never asked for.
//!
//! One number that fits an atomic, so that buckets, ejections and windows need no lock. Tests make
//! their own; with a paused runtime [`Clock`] follows it.

use std::ops::Add;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// A moment: nanoseconds since the start of the [`Clock`]. Good for five centuries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The end of time: what never happens.
    pub const NEVER: Self = Self(u64::MAX);

    /// How long ago `earlier` was; nothing when it is still to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

/// Nanoseconds of `duration`, at most what a [`Time`] can say.
#[must_use]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Where times come from: since the process first asked. All who compare times go by the same start,
/// or what outlives a table could not be compared with what is new.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock;

/// A clock never starts at zero: what has happened at [`Time::default`] is past.
const HEAD_START: Duration = Duration::from_secs(1);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(self) -> Time {
        Time::default() + HEAD_START + START.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_clock_follows_the_time_of_the_runtime() {
        let clock = Clock;
        let before = clock.now();
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now().since(before), Duration::from_secs(5));
        assert_eq!(before.since(clock.now()), Duration::ZERO, "the future is not long ago");
        assert_eq!(Time::NEVER + Duration::from_secs(1), Time::NEVER);
    }
}
