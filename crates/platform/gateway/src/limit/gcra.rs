//! One bucket.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Time, nanos};

/// So many per time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests per [`Rate::per`].
    pub requests: u32,
    /// The time they are for.
    pub per: Duration,
    /// How many may come at once after a quiet time; at least one.
    pub burst: u32,
}

impl Rate {
    /// The distance of two requests at this rate. Rounded up: never more than the rate.
    fn distance(&self) -> u64 {
        nanos(self.per).div_ceil(u64::from(self.requests.max(1)))
    }

    /// How far a bucket may be ahead of the time.
    fn depth(&self) -> u64 {
        self.distance().saturating_mul(u64::from(self.burst.max(1)))
    }
}

/// What is left of a bucket after a request was let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Requests that may come at once now.
    pub requests: u32,
    /// When the bucket is full again.
    pub full_in: Duration,
}

/// How long until a request that was refused may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait(pub Duration);

/// A bucket: when it will be full ("theoretical arrival time"), in nanoseconds. A bucket that is
/// full is the same as a new one.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Takes one request out of the bucket.
    ///
    /// # Errors
    /// When it is empty; tells how long.
    pub fn take(&self, rate: &Rate, now: Time) -> Result<Left, Wait> {
        let (distance, depth) = (rate.distance(), rate.depth());
        let mut full_at = self.0.load(Ordering::Relaxed);
        loop {
            let next = full_at.max(now.0).saturating_add(distance);
            let ahead = next - now.0;
            if ahead > depth {
                return Err(Wait(Duration::from_nanos(ahead - depth)));
            }
            match self.0.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    let requests = (depth - ahead).checked_div(distance).unwrap_or(0);
                    let requests = u32::try_from(requests).unwrap_or(u32::MAX);
                    return Ok(Left { requests, full_in: Duration::from_nanos(ahead) });
                }
                Err(other) => full_at = other,
            }
        }
    }

    /// True when nothing is remembered in it.
    #[must_use]
    pub fn is_full(&self, now: Time) -> bool {
        self.0.load(Ordering::Relaxed) <= now.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Time = Time(1_000_000_000);

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let rate = Rate { requests: 10, per: Duration::from_secs(1), burst: 3 };
        let cell = Cell::default();
        let left = |requests, ms| Ok(Left { requests, full_in: Duration::from_millis(ms) });
        assert_eq!(cell.take(&rate, START), left(2, 100));
        assert_eq!(cell.take(&rate, START), left(1, 200));
        assert_eq!(cell.take(&rate, START), left(0, 300));
        assert_eq!(cell.take(&rate, START), Err(Wait(Duration::from_millis(100))));
        assert_eq!(cell.take(&rate, START + Duration::from_millis(100)), left(0, 300));
        assert!(!cell.is_full(START + Duration::from_millis(399)) && cell.is_full(START + Duration::from_millis(400)));
    }

    proptest! {
        #[test]
        fn a_bucket_never_gives_more_than_its_rate_and_burst(
            requests in 1..1000_u32, per in 1..100_000_u64, burst in 0..50_u32,
            gaps in proptest::collection::vec(0..5_000_u64, 1..300),
        ) {
            let rate = Rate { requests, per: Duration::from_micros(per), burst };
            let cell = Cell::default();
            let mut now = START;
            let mut given = Vec::new();
            for gap in gaps {
                now = now + Duration::from_micros(gap);
                match cell.take(&rate, now) {
                    Ok(_) => given.push(now),
                    Err(Wait(wait)) => {
                        prop_assert!(cell.take(&rate, Time((now + wait).0 - 1)).is_err(), "not a moment before");
                        let then = now + wait;
                        prop_assert!(cell.take(&rate, then).is_ok(), "who waits as told is let through");
                        given.push(then);
                        now = then;
                    }
                }
            }
            for (first, from) in given.iter().enumerate() {
                for (count, to) in given[first..].iter().enumerate() {
                    let span = to.since(*from).as_nanos() as f64;
                    let most = span * f64::from(requests) / rate.per.as_nanos() as f64 + f64::from(burst.max(1));
                    prop_assert!((count + 1) as f64 <= most + 1e-6, "{} in {span} ns", count + 1);
                }
            }
        }
    }
}
