//! The clock on the wall of a test whose time is virtual: it goes with tokio's, and can be set.
//!
//! Invariant: it belongs to a thread, as the runtime of such a test does; elsewhere it is the machine's.

use std::cell::Cell;

use base::time::{SignedDuration, Timestamp};
use tokio::time::Instant;

thread_local! {
    /// What the clock showed then.
    static WALL: Cell<Option<(Instant, Timestamp)>> = const { Cell::new(None) };
}

/// The present, as [`base::time::now`].
pub(crate) fn now() -> Timestamp {
    match WALL.get() {
        None => base::time::now(),
        Some((then, shown)) => shown + SignedDuration::try_from(then.elapsed()).expect("a test is short"),
    }
}

/// From now on this thread's clock goes with tokio's, and shows `at`.
pub(crate) fn show(at: Timestamp) {
    WALL.set(Some((Instant::now(), at)));
}

/// Sets the clock forward, or back.
pub(crate) fn jump(by: SignedDuration) {
    show(now() + by);
}

/// Whether time on this thread is virtual.
pub(crate) fn is_virtual() -> bool {
    WALL.get().is_some()
}
