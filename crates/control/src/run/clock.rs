//! What happens when the machine's clock is set: everything that waits for a time is looked at again.
//!
//! Invariant: waits are measured by a clock that never jumps, the times waited for are those of the wall; so a jump of the
//! wall clock, or a machine that slept, would be noticed only when an old wait is over.

use std::time::Duration;

use base::Key;
use informer::Queue;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::{Shared, time};

/// How soon a jump is noticed.
const EVERY: Duration = Duration::from_secs(10);
/// Clocks drift; a difference below this is no jump.
const SLACK: SignedDuration = SignedDuration::from_secs(1);

/// Queues everything again when the wall clock was set.
pub(super) fn on_jump(shared: &Shared, queue: &Queue<Key>, keys: impl Fn() -> Vec<Key> + Send + 'static) {
    let queue = queue.clone();
    shared.context.children.spawn("clock", async move {
        let mut before = (Instant::now(), time::now());
        loop {
            tokio::time::sleep(EVERY).await;
            let now = (Instant::now(), time::now());
            if has_jumped(now.0 - before.0, before.1, now.1) {
                tracing::info!("the clock was set; looking at everything that waits for a time");
                keys().into_iter().for_each(|key| queue.add(key));
            }
            before = now;
        }
    });
}

/// Whether the wall clock went from `before` to `now` in a time in which it could not.
fn has_jumped(passed: Duration, before: Timestamp, now: Timestamp) -> bool {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    let difference = now.duration_since(before).saturating_sub(passed);
    difference > SLACK || difference < -SLACK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_passing_of_time_cannot_explain_is_a_jump() {
        let start = Timestamp::UNIX_EPOCH;
        let later = |seconds: i64| start + SignedDuration::from_secs(seconds);
        assert!(!has_jumped(EVERY, start, later(10)));
        assert!(!has_jumped(EVERY, start, later(11)));
        assert!(has_jumped(EVERY, start, later(3600)));
        assert!(has_jumped(EVERY, later(3600), later(10)));
    }
}
