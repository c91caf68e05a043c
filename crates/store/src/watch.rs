//! A watcher: a cursor over one topic's ring, and a place to sleep.
//!
//! Invariant: every event of the prefix after the starting revision is returned exactly once and in order, whole
//! commits at a time, or the watch ends with an error. Why no queue per watcher: a thousand watchers would hold a
//! thousand copies of the same pointers, and the slow ones would have to be found and dropped; a cursor that fell
//! behind the ring finds out by itself.

use std::sync::Arc;

use tokio::sync::watch;

use crate::memory::Memory;
use crate::record::{Event, Revision};
use crate::store::WatchError;

pub struct Watch {
    memory: Arc<Memory>,
    prefix: Box<str>,
    seen: Revision,
    wake: watch::Receiver<Revision>,
}

impl Watch {
    pub(crate) fn start(memory: &Arc<Memory>, prefix: &str, after: Revision) -> Result<Self, WatchError> {
        let wake = memory.follow(prefix, after)?;
        Ok(Self { memory: memory.clone(), prefix: prefix.into(), seen: after, wake })
    }

    /// Waits for the next events: at least one, a whole number of commits. May be dropped and called again without
    /// losing any.
    pub async fn next(&mut self) -> Result<Vec<Arc<Event>>, WatchError> {
        loop {
            self.wake.mark_unchanged(); // before looking, so that a change after the look wakes us
            let look = self.memory.look(&self.prefix, self.seen)?;
            self.seen = look.seen;
            if !look.events.is_empty() {
                return Ok(look.events);
            }
            if !look.more && self.wake.changed().await.is_err() {
                return Err(WatchError::Closed);
            }
        }
    }

    /// All events up to this revision have been returned: what a bookmark may say.
    pub fn revision(&self) -> Revision {
        self.memory.seen(&self.prefix, self.seen)
    }
}
