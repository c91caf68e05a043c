//! The contract every backend keeps: what can be asked of a store, and how each question can fail.
//!
//! Invariant: a commit that returned `Ok` is durable, and every later read in this process sees it. Reads never wait
//! for a disk. Why one trait for reads and writes: the request pipeline needs both to stand at the same revision.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use crate::record::{Record, Revision};
use crate::watch::Watch;

/// What must be true of the stored object for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    Any,
    Absent,
    Revision(Revision),
    Present,
}

impl Expect {
    pub(crate) fn holds(self, current: Option<&Record>) -> bool {
        match self {
            Expect::Any => true,
            Expect::Absent => current.is_none(),
            Expect::Present => current.is_some(),
            Expect::Revision(revision) => current.is_some_and(|record| record.revision == revision),
        }
    }
}

/// One change to make. A delete needs an existing object whatever it expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put {
        key: String,
        value: Bytes,
        expect: Expect,
    },
    Delete {
        key: String,
        expect: Expect,
        /// The final state, stamped with the revision of the deletion and shown to watchers.
        last: Bytes,
    },
}

impl Write {
    pub fn key(&self) -> &str {
        match self {
            Write::Put { key, .. } | Write::Delete { key, .. } => key,
        }
    }
}

/// What to read: the keys under `prefix`, in order, beginning after the key `after`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range<'a> {
    pub prefix: &'a str,
    /// The last key of the page before.
    pub after: Option<&'a str>,
    /// The most records to return; 0 is all.
    pub limit: usize,
    /// The state as it was at this revision; nothing is the newest.
    pub at: Option<Revision>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<Arc<Record>>,
    /// The revision this page shows.
    pub revision: Revision,
    /// Whether records of the range follow this page.
    pub more: bool,
    /// How many, where that is known without counting them: on the first page of all keys or of one namespace, now.
    pub remaining: Option<usize>,
}

/// Why a range cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    #[error("the requested revision has been compacted; the oldest one still readable is {oldest}")]
    Compacted { oldest: Revision },
    #[error("the requested revision lies in the future; the newest one is {newest}")]
    Future { newest: Revision },
}

/// Why a watch cannot start or go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    #[error("the requested revision has been compacted; list again and watch from there (oldest: {oldest})")]
    Compacted { oldest: Revision },
    #[error("the requested revision lies in the future; the newest one is {newest}")]
    Future { newest: Revision },
    #[error("cannot watch {prefix:?}: a watch needs a prefix of the form /group/plural/")]
    Prefix { prefix: String },
    #[error("the store has been closed")]
    Closed,
}

/// Why nothing was written. After any of these except [`CommitError::Io`] the store is as if it was never asked.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("write {index} did not find the state it expected")]
    Conflict {
        index: usize,
        /// The state it found.
        current: Option<Arc<Record>>,
    },
    #[error("write {index} is malformed: {key:?} is not a key of the form /group/plural/name, or appears twice")]
    Key { index: usize, key: String },
    #[error("the store is full: {used} of {limit} bytes are in use; delete objects or raise the size limit")]
    Full { used: u64, limit: u64 },
    #[error("the store has been closed")]
    Closed,
    /// The write may or may not be there after a restart; never half of it.
    #[error("cannot write to the store; it takes no more writes until a restart, check the disk first: {detail}")]
    Io { detail: String },
}

/// Why history was not compacted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    #[error("the store has been closed")]
    Closed,
    #[error("cannot compact the store; it takes no more writes until a restart, check the disk first: {detail}")]
    Io { detail: String },
}

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot write a snapshot to {path}: the file exists; choose another name or remove it")]
    Exists { path: PathBuf },
    #[error("cannot write a snapshot to {path}: {detail}")]
    Io { path: PathBuf, detail: String },
    #[error("the store has been closed")]
    Closed,
}

/// A revisioned, ordered map with history.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The newest published revision. An empty store stands at 1.
    fn revision(&self) -> Revision;

    /// Follows the newest published revision, for those who wait until there is one.
    fn progress(&self) -> watch::Receiver<Revision>;

    /// The newest version of an object, from memory.
    fn get(&self, key: &str) -> Option<Arc<Record>>;

    /// A page of objects, now or as they were.
    fn range(&self, range: Range<'_>) -> Result<Page, RangeError>;

    /// Makes all writes or none, as one revision; durable and published when it returns. The records answer the
    /// writes one by one: the new version, or the final state of a deleted object. No writes, no revision.
    ///
    /// Dropping the future does not take the writes back.
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Record>>, CommitError>;

    /// Follows a prefix of one topic (`/group/plural/...`) from just after a revision.
    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, WatchError>;

    /// Forgets history up to and including a revision; current objects stay. Older reads get `Compacted`.
    async fn compact(&self, upto: Revision) -> Result<(), CompactError>;

    /// Writes a consistent, fsynced copy that opens as a store, while this one goes on.
    async fn snapshot(&self, to: &Path) -> Result<(), SnapshotError>;
}
