//! The revisioned datastore: knows disks, does not know HTTP or what an object means.
//!
//! A commit is ordered, fsynced, published and only then answered; reads and watches are served from memory. Read
//! `store` for the contract, `memory` for what readers see, `writer` for the way of a commit, `log` for what
//! is on disk, `open` for how it comes back.

mod embedded;
mod log;
mod memory;
mod open;
mod record;
mod store;
mod watch;
mod writer;

pub use embedded::Embedded;
pub use open::{Clock, History, OpenError, Options, in_memory, open};
pub use record::{Event, Record, Revision, Stamp};
pub use store::{CommitError, CompactError, Expect, Page, Range, RangeError, SnapshotError, Store, WatchError, Write};
pub use watch::Watch;

#[cfg(test)]
mod tests;
