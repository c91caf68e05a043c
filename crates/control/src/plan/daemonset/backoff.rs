//! How long a node waits before its next failed pod is replaced.
//!
//! Invariant: the wait doubles with each failure in a row, from one second to a quarter of an hour; after twice the
//! longest wait without a failure it starts over (upstream `flowcontrol.Backoff`).

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::DaemonSet;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(900);

/// The failures so far, by set, generation and node.
#[derive(Debug, Default)]
pub struct Backoff {
    entries: HashMap<String, (Duration, Timestamp)>,
}

fn key(set: &DaemonSet, node: &str) -> String {
    let generation = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
    format!("{}/{generation}/{node}", set.metadata.uid.as_deref().unwrap_or(""))
}

/// The time since then, unless it was so long ago that it is forgotten. What has not happened yet is forgotten too: the
/// clock was set back.
fn since(then: Timestamp, now: Timestamp) -> Option<Duration> {
    let passed = Duration::try_from(now.duration_since(then)).ok()?;
    (passed <= LONGEST * 2).then_some(passed)
}

impl Backoff {
    /// How long the failed pod on `node` must stay.
    pub fn wait(&self, set: &DaemonSet, node: &str, now: Timestamp) -> Option<Duration> {
        let (wait, then) = self.entries.get(&key(set, node))?;
        wait.checked_sub(since(*then, now)?).filter(|left| !left.is_zero())
    }

    /// A failed pod on `node` is replaced now.
    pub fn failed(&mut self, set: &DaemonSet, node: &str, now: Timestamp) {
        self.entries.retain(|_, (_, then)| since(*then, now).is_some());
        let known = self.entries.get(&key(set, node));
        let wait = known.map_or(FIRST, |(wait, _)| wait.saturating_mul(2).min(LONGEST));
        self.entries.insert(key(set, node), (wait, now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::NOW;

    #[test]
    fn each_failure_waits_twice_as_long_up_to_a_limit_and_a_long_peace_is_a_new_start() {
        let (mut backoff, set) = (Backoff::default(), DaemonSet::default());
        let mut now = NOW;
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.failed(&set, "n1", now);
            let wait = backoff.wait(&set, "n1", now).expect("a wait");
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(backoff.wait(&set, "n1", now), None, "the wait is over");
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(backoff.wait(&set, "n2", now), None, "another node does not wait");
        now += LONGEST * 2;
        backoff.failed(&set, "n1", now);
        assert_eq!(backoff.wait(&set, "n1", now), Some(FIRST));
        now -= LONGEST * 4;
        assert_eq!(backoff.wait(&set, "n1", now), None, "a clock that was set back does not make the wait longer");
    }
}
