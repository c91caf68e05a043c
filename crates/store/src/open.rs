//! Opening a store: the lock that keeps two processes apart, the options, and the load of the log into memory.
//!
//! Invariant: a file that cannot be understood is left as it was, and the error says what to do about it. Revisions
//! after the floor have no gaps, so a missing row is noticed and never mistaken for an old state.

use std::fs::{DirBuilder, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use crate::embedded::Embedded;
use crate::log::disk::{Disk, Lock};
use crate::log::ram::Ram;
use crate::log::{Log, LogError, Row};
use crate::memory::State;
use crate::record::{Event, Record, Revision, Stamp, topic};
use crate::writer::ledger::Ledger;

/// Where the time comes from.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

#[derive(Clone)]
pub struct Options {
    pub stamp: Stamp,
    pub history: History,
    /// The most bytes of current keys and values; nothing means no limit. Deletes are always taken.
    pub limit: Option<u64>,
    pub clock: Clock,
}

/// How much of the past is kept for watchers and historic reads; whichever bound is reached first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    pub events: usize,
    pub bytes: u64,
    pub age: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self { events: 20_000, bytes: 32 << 20, age: Duration::from_secs(600) }
    }
}

impl Options {
    pub fn new(stamp: Stamp) -> Self {
        Self { stamp, history: History::default(), limit: None, clock: Arc::new(SystemTime::now) }
    }
}

impl Default for Options {
    /// Values stay as they were written.
    fn default() -> Self {
        Self::new(|raw, _| raw.clone())
    }
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(
        "the data directory {dir} is in use by another process{}; stop it or choose another directory",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    InUse { dir: PathBuf, pid: Option<u32> },
    #[error(
        "the store {path} has format {found}, this program knows formats up to {known}; \
         run the newer release that wrote it, or move the file away to start empty"
    )]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error(
        "the store {path} is damaged: {detail}; it was not changed: \
         restore a snapshot in its place, or move the file away to start empty"
    )]
    Corrupt { path: PathBuf, detail: String },
    #[error("cannot open the store {path}: {detail}")]
    Io { path: PathBuf, detail: String },
}

impl OpenError {
    pub(crate) fn corrupt(path: &Path, detail: impl Into<String>) -> Self {
        OpenError::Corrupt { path: path.to_owned(), detail: detail.into() }
    }

    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        OpenError::Io { path: path.to_owned(), detail: error.to_string() }
    }

    pub(crate) fn log(path: &Path, error: LogError) -> Self {
        match error {
            LogError::Corrupt(detail) => OpenError::corrupt(path, detail),
            LogError::Io(detail) => OpenError::Io { path: path.to_owned(), detail },
        }
    }

    pub(crate) fn database(path: &Path, error: redb::DatabaseError) -> Self {
        match error {
            redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { dir: directory(path), pid: None },
            redb::DatabaseError::UpgradeRequired(version) => {
                OpenError::corrupt(path, format!("its file layout {version} is none a release has written"))
            }
            error => OpenError::log(path, crate::log::disk::failed(error)),
        }
    }
}

/// Opens the store in the file `path`, making file and directory if there are none. Beside it live `PATH.lock` and,
/// for a moment, `PATH.new`.
pub fn open(path: &Path, options: Options) -> Result<Embedded, OpenError> {
    let dir = directory(path);
    DirBuilder::new().recursive(true).create(&dir).map_err(|error| OpenError::io(path, &error))?;
    let lock = lock(path)?;
    // A damaged file may break promises that the engine asserts.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let disk = Disk::open(path, lock)?;
        let loaded = load(&disk, &options).map_err(|error| OpenError::log(path, error))?;
        Ok((disk, loaded))
    }));
    let (disk, loaded) = opened.unwrap_or_else(|panic| Err(OpenError::corrupt(path, words(&*panic))))?;
    Embedded::start(Box::new(disk), loaded, options).map_err(|error| OpenError::io(path, &error))
}

/// A store that lives and dies with the process: for tests, and for clusters meant to be forgotten.
pub fn in_memory(options: Options) -> Result<Embedded, OpenError> {
    on_log(Box::new(Ram::new()), options)
}

/// A store over any log.
pub(crate) fn on_log(log: Box<dyn Log>, options: Options) -> Result<Embedded, OpenError> {
    let path = Path::new("in memory");
    let loaded = load(&*log, &options).map_err(|error| OpenError::log(path, error))?;
    Embedded::start(log, loaded, options).map_err(|error| OpenError::io(path, &error))
}

fn directory(path: &Path) -> PathBuf {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
}

/// Takes the lock beside the store and leaves our process id in it. The kernel releases it when we end, however.
fn lock(path: &Path) -> Result<Lock, OpenError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let fail = |error: io::Error| OpenError::io(&name, &error);
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&name).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(fail)?;
            write!(file, "{}", std::process::id()).map_err(fail)?;
            Ok(Lock(file))
        }
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            Err(OpenError::InUse { dir: directory(path), pid })
        }
        Err(TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// The memory half as a log tells it, with what the writer needs to go on.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) ledger: Ledger,
    pub(crate) revision: Revision,
    /// Bytes of current records.
    pub(crate) live: u64,
}

struct Change {
    place: u32,
    time: u64,
    prev: Revision,
    event: Event,
}

pub(crate) fn load(log: &dyn Log, options: &Options) -> Result<Loaded, LogError> {
    let floor = log.floor();
    let mut loaded =
        Loaded { state: State::new(floor), ledger: Ledger::new(options.history), revision: floor, live: 0 };
    let mut commit: Vec<Change> = Vec::new();
    log.scan(&mut |row| {
        if topic(row.key).is_none() {
            return Err(LogError::Corrupt(format!("{:?} is not a key", row.key)));
        }
        if row.revision <= floor {
            return loaded.restore(&row, options.stamp);
        }
        if commit.first().is_some_and(|first| first.event.revision() != row.revision) {
            loaded.replay(&mut commit)?;
        }
        commit.push(loaded.change(&row, options.stamp));
        Ok(())
    })?;
    loaded.replay(&mut commit)?;
    loaded.ledger.mark_cool();
    Ok(loaded)
}

impl Loaded {
    /// A row from before the history: a current object, so far.
    fn restore(&mut self, row: &Row<'_>, stamp: Stamp) -> Result<(), LogError> {
        let value = stamp(&Bytes::copy_from_slice(row.value), row.revision);
        let record = Arc::new(Record::new(row.key.into(), value, row.created, row.revision));
        self.live += record.bytes();
        if row.delete || self.state.restore(record).is_some() {
            return Err(LogError::Corrupt(format!("{} has an old version at revision {}", row.key, row.revision)));
        }
        Ok(())
    }

    fn change(&self, row: &Row<'_>, stamp: Stamp) -> Change {
        let value = stamp(&Bytes::copy_from_slice(row.value), row.revision);
        let prev = self.state.get(row.key).cloned();
        let key = prev.as_ref().map_or_else(|| row.key.into(), |prev| prev.key.clone());
        let record = Arc::new(Record::new(key, value, row.created, row.revision));
        let event = match prev {
            Some(prev) if row.delete => Event::Delete { record, prev },
            prev => Event::Put { record, prev },
        };
        Change { place: row.place, time: row.time, prev: row.prev, event }
    }

    /// Applies one commit, whose rows came in the order of keys.
    fn replay(&mut self, commit: &mut Vec<Change>) -> Result<(), LogError> {
        commit.sort_by_key(|change| change.place);
        for (place, change) in commit.drain(..).enumerate() {
            let event = change.event;
            let prev = event.prev().map_or(0, |prev| prev.revision);
            let expected = self.revision + u64::from(place == 0);
            if event.revision() != expected || change.place as usize != place || change.prev != prev {
                let (key, revision) = (event.key(), event.revision());
                return Err(LogError::Corrupt(format!("rows are missing before {key} at revision {revision}")));
            }
            self.revision = event.revision();
            self.live -= event.prev().map_or(0, |prev| prev.bytes());
            if !event.is_delete() {
                self.live += event.record().bytes();
            }
            self.ledger.push(&event, change.time);
            self.state.apply(Arc::new(event));
        }
        Ok(())
    }
}
