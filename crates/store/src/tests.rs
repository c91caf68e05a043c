//! How the store is tested: one battery over every log, a model, crashes at every step, kills, crowds, files.
//!
//! The helpers here are the only code that knows how a test store is made and spoken to.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::log::ram::Ram;
use crate::open::on_log;
use crate::{Embedded, Event, Expect, Options, Record, Revision, Store, Watch, WatchError, Write, open};

mod battery;
mod crash;
mod crowd;
mod file;
mod kill;
mod model;
mod speed;

/// Stamps tests can read: the value, then `@` and the revision.
pub(crate) fn stamp(raw: &Bytes, revision: Revision) -> Bytes {
    [raw, format!("@{revision}").as_bytes()].concat().into()
}

pub(crate) fn options() -> Options {
    Options::new(stamp)
}

/// Somewhere a store can be closed and opened again.
pub(crate) enum Place {
    Ram(Ram),
    Disk(tempfile::TempDir),
}

impl Place {
    pub(crate) fn ram() -> Self {
        Place::Ram(Ram::new())
    }

    pub(crate) fn disk() -> Self {
        Place::Disk(tempfile::tempdir().unwrap())
    }

    pub(crate) fn open(&self, options: Options) -> Embedded {
        match self {
            Place::Ram(ram) => on_log(Box::new(ram.clone()), options).unwrap(),
            Place::Disk(dir) => open(&file(dir.path()), options).unwrap(),
        }
    }
}

pub(crate) fn file(dir: &Path) -> PathBuf {
    dir.join("store.redb")
}

pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

pub(crate) fn put(key: &str, value: &str, expect: Expect) -> Write {
    Write::Put { key: key.into(), value: Bytes::copy_from_slice(value.as_bytes()), expect }
}

pub(crate) fn delete(key: &str, last: &str, expect: Expect) -> Write {
    Write::Delete { key: key.into(), expect, last: Bytes::copy_from_slice(last.as_bytes()) }
}

/// Commits puts that must succeed, one revision each.
pub(crate) fn fill(store: &dyn Store, pairs: &[(&str, &str)]) {
    for (key, value) in pairs {
        wait(store.commit(vec![put(key, value, Expect::Any)])).unwrap();
    }
}

/// What is there to read from a watch right now.
pub(crate) fn drain(watch: &mut Watch) -> Result<Vec<Arc<Event>>, WatchError> {
    let mut all = Vec::new();
    loop {
        match pin!(watch.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return Ok(all),
            Poll::Ready(Ok(events)) => all.extend(events),
            Poll::Ready(Err(error)) if all.is_empty() => return Err(error),
            Poll::Ready(Err(_)) => return Ok(all),
        }
    }
}

pub(crate) fn show_record(record: &Record) -> String {
    let value = String::from_utf8_lossy(&record.value);
    format!("{}={value} c{} r{}", record.key, record.created, record.revision)
}

pub(crate) fn show_records(records: &[Arc<Record>]) -> String {
    records.iter().map(|record| show_record(record)).collect::<Vec<_>>().join("\n")
}

pub(crate) fn show_event(event: &Event) -> String {
    let verb = if event.is_delete() { "delete" } else { "put" };
    let prev = event.prev().map(|prev| format!(" was {}", String::from_utf8_lossy(&prev.value))).unwrap_or_default();
    format!("{verb} {}{prev}", show_record(event.record()))
}

pub(crate) fn show_events(events: &[Arc<Event>]) -> String {
    events.iter().map(|event| show_event(event)).collect::<Vec<_>>().join("\n")
}
