//! The one thread that writes: it puts commits in order, makes them durable in groups, then visible, then answers.
//!
//! Invariant: a commit is answered with success only after its group is on disk and published. Within a group each
//! commit sees those before it, as if it had waited its turn. After a failed write the thread answers every commit
//! with the failure: what the disk holds is only known again after a restart. Why a thread and not a task: fsync
//! blocks. Why housekeeping is here: the log has one owner, and trimming in slices between groups delays a commit by
//! one slice at most.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::log::{Log, Row};
use crate::memory::Memory;
use crate::open::{Clock, Options};
use crate::record::{Event, Record, Revision, Stamp, topic};
use crate::store::{CommitError, CompactError, SnapshotError, Write};
use ledger::Ledger;

pub(crate) mod ledger;

/// The most commits made durable together, and the bytes after which a group is closed early.
const GROUP: usize = 256;
const GROUP_BYTES: usize = 16 << 20;

type Outcome = Result<Vec<Arc<Record>>, CommitError>;

/// What the thread can be asked. Each carries its place in the bounded queue, free again when it is answered.
pub(crate) enum Request {
    Commit(Commit),
    Compact { upto: Revision, answer: oneshot::Sender<Result<(), CompactError>>, _place: OwnedSemaphorePermit },
    Snapshot { to: PathBuf, answer: oneshot::Sender<Result<(), SnapshotError>>, _place: OwnedSemaphorePermit },
}

pub(crate) struct Commit {
    pub(crate) writes: Vec<Write>,
    pub(crate) answer: oneshot::Sender<Outcome>,
    pub(crate) place: OwnedSemaphorePermit,
}

impl Commit {
    fn bytes(&self) -> usize {
        let value = |write: &Write| match write {
            Write::Put { value, .. } | Write::Delete { last: value, .. } => value.len(),
        };
        self.writes.iter().map(value).sum()
    }
}

pub(crate) struct Writer {
    log: Box<dyn Log>,
    memory: Arc<Memory>,
    ledger: Ledger,
    stamp: Stamp,
    clock: Clock,
    limit: Option<u64>,
    revision: Revision,
    live: u64,
    /// Why nothing is written any more.
    failed: Option<String>,
    /// History up to here is being forgotten.
    target: Revision,
    compactions: Vec<(Revision, oneshot::Sender<Result<(), CompactError>>)>,
    copies: Vec<JoinHandle<()>>,
}

/// A group on its way to the disk.
struct Staged {
    revision: Revision,
    live: u64,
    time: u64,
    changed: HashMap<Arc<str>, Option<Arc<Record>>>,
    events: Vec<Arc<Event>>,
    /// The raw value of each event, and its place within its commit.
    raw: Vec<(Bytes, u32)>,
}

/// Ends the watches when the thread ends, even by a panic.
struct Curtain(Arc<Memory>);

impl Drop for Curtain {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Writer {
    pub(crate) fn new(
        log: Box<dyn Log>,
        memory: Arc<Memory>,
        ledger: Ledger,
        (revision, live): (Revision, u64),
        options: Options,
    ) -> Self {
        let Options { stamp, limit, clock, .. } = options;
        Self {
            log,
            memory,
            ledger,
            stamp,
            clock,
            limit,
            revision,
            live,
            failed: None,
            target: 0,
            compactions: Vec::new(),
            copies: Vec::new(),
        }
    }

    /// Serves requests until every sender is gone and the queue is empty.
    pub(crate) fn run(mut self, queue: &Receiver<Request>) {
        let _curtain = Curtain(self.memory.clone());
        loop {
            match self.wait(queue) {
                Ok(request) => self.serve(request, queue),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.tend();
        }
        for copy in self.copies {
            if copy.join().is_err() {
                tracing::error!("the thread writing a snapshot panicked");
            }
        }
    }

    fn wait(&self, queue: &Receiver<Request>) -> Result<Request, RecvTimeoutError> {
        let quiet = if self.target > 0 { Some(Duration::ZERO) } else { self.ledger.quiet(self.now()) };
        match quiet.filter(|_| self.failed.is_none()) {
            Some(quiet) => queue.recv_timeout(quiet),
            None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn now(&self) -> u64 {
        let since = (self.clock)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn serve(&mut self, first: Request, queue: &Receiver<Request>) {
        let (mut group, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        let other = loop {
            match next {
                Some(Request::Commit(commit)) => {
                    bytes += commit.bytes();
                    group.push(commit);
                }
                other => break other,
            }
            if group.len() >= GROUP || bytes >= GROUP_BYTES {
                break None;
            }
            next = queue.try_recv().ok();
        };
        if !group.is_empty() {
            self.commit(group);
        }
        match other {
            Some(Request::Compact { upto, answer, .. }) => {
                let upto = upto.min(self.revision);
                self.target = self.target.max(upto);
                self.compactions.push((upto, answer));
            }
            Some(Request::Snapshot { to, answer, .. }) => self.snapshot(to, answer),
            Some(Request::Commit(_)) | None => {}
        }
    }

    fn commit(&mut self, group: Vec<Commit>) {
        let mut staged = Staged {
            revision: self.revision,
            live: self.live,
            time: self.now(),
            changed: HashMap::new(),
            events: Vec::new(),
            raw: Vec::new(),
        };
        let mut answers = Vec::with_capacity(group.len());
        for Commit { writes, answer, place } in group {
            let outcome = self.stage(&mut staged, writes);
            answers.push((answer, outcome, place));
        }
        self.make_durable(&staged);
        if self.failed.is_none() && !staged.events.is_empty() {
            self.revision = staged.revision;
            self.live = staged.live;
            for event in &staged.events {
                self.ledger.push(event, staged.time);
            }
            self.memory.publish(&staged.events);
        }
        for (answer, outcome, place) in answers {
            let outcome = match &self.failed {
                Some(detail) => Err(CommitError::Io { detail: detail.clone() }),
                None => outcome,
            };
            drop(answer.send(outcome)); // the caller may have gone away; the write stays
            drop(place);
        }
    }

    /// Checks one commit against the state as the group left it so far, and adds it to the group if it holds.
    fn stage(&self, staged: &mut Staged, writes: Vec<Write>) -> Outcome {
        let mut keys = HashSet::new();
        let mut growth = 0_i128;
        let mut found = Vec::with_capacity(writes.len());
        for (index, write) in writes.iter().enumerate() {
            let key = write.key();
            if topic(key).is_none_or(|topic| topic == key) || !keys.insert(key) {
                return Err(CommitError::Key { index, key: key.to_owned() });
            }
            let current = match staged.changed.get(key) {
                Some(current) => current.clone(),
                None => self.memory.get(key),
            };
            let (expect, size) = match write {
                Write::Put { value, expect, .. } => (expect, key.len() + value.len()),
                Write::Delete { expect, .. } => (expect, 0),
            };
            let deletes_nothing = matches!(write, Write::Delete { .. }) && current.is_none();
            if deletes_nothing || !expect.holds(current.as_deref()) {
                return Err(CommitError::Conflict { index, current });
            }
            growth += size as i128 - current.as_ref().map_or(0, |current| i128::from(current.bytes()));
            found.push(current);
        }
        if let Some(limit) = self.limit
            && growth > 0
            && i128::from(staged.live) + growth > i128::from(limit)
        {
            return Err(CommitError::Full { used: staged.live, limit });
        }
        if writes.is_empty() {
            return Ok(Vec::new());
        }
        staged.revision += 1;
        let writes = writes.into_iter().zip(found).zip(0..);
        Ok(writes.map(|((write, prev), place)| staged.add(write, prev, place, self.stamp)).collect())
    }

    fn make_durable(&mut self, staged: &Staged) {
        if self.failed.is_some() || staged.events.is_empty() {
            return;
        }
        let rows: Vec<Row<'_>> =
            staged.events.iter().zip(&staged.raw).map(|(event, raw)| row(event, raw, staged.time)).collect();
        if let Err(error) = self.log.append(&rows) {
            self.fail(error.to_string());
        }
    }

    fn fail(&mut self, detail: String) {
        tracing::error!(detail, "the store cannot write and takes no more commits until a restart");
        for (_, answer) in self.compactions.drain(..) {
            drop(answer.send(Err(CompactError::Io { detail: detail.clone() }))); // the caller may have gone away
        }
        self.failed = Some(detail);
    }

    /// Does one slice of what can wait: forgetting history, letting go of memos.
    fn tend(&mut self) {
        if let Some(detail) = self.failed.clone() {
            for (_, answer) in self.compactions.drain(..) {
                drop(answer.send(Err(CompactError::Io { detail: detail.clone() }))); // the caller may have gone away
            }
            return;
        }
        let now = self.now();
        if self.target == 0 {
            self.target = self.ledger.overdue(now).unwrap_or(0);
        }
        self.trim_a_slice();
        self.answer_compactions();
        if self.ledger.has_warm(now) {
            self.memory.cool(self.ledger.take_warm(now));
        }
    }

    fn trim_a_slice(&mut self) {
        if self.target <= self.log.floor() {
            return;
        }
        let cut = self.ledger.slice(self.target);
        let (reached, slots) = (cut.floor, cut.slots());
        match self.log.trim(reached, &cut.dead) {
            Ok(()) => {
                self.ledger.forget(slots);
                self.memory.trim(reached);
            }
            Err(error) => self.fail(error.to_string()),
        }
    }

    fn answer_compactions(&mut self) {
        let floor = self.log.floor();
        if floor >= self.target {
            self.target = 0;
        }
        for (upto, answer) in self.compactions.extract_if(.., |(upto, _)| *upto <= floor) {
            self.memory.refuse_before(upto);
            drop(answer.send(Ok(()))); // the caller may have gone away
        }
    }

    fn snapshot(&mut self, to: PathBuf, answer: oneshot::Sender<Result<(), SnapshotError>>) {
        self.copies.retain(|copy| !copy.is_finished());
        let path = to.clone();
        let copy = match self.log.copy(to) {
            Ok(copy) => copy,
            Err(error) => return drop(answer.send(Err(error))), // the caller may have gone away
        };
        let work = move || drop(answer.send(copy()));
        match thread::Builder::new().name("store-snapshot".into()).spawn(work) {
            Ok(copy) => self.copies.push(copy),
            Err(error) => tracing::error!(%error, path = %path.display(), "cannot start the thread for a snapshot"),
        }
    }
}

impl Staged {
    fn add(&mut self, write: Write, prev: Option<Arc<Record>>, place: u32, stamp: Stamp) -> Arc<Record> {
        let (key, raw, delete) = match write {
            Write::Put { key, value, .. } => (key, value, false),
            Write::Delete { key, last, .. } => (key, last, true),
        };
        let key = prev.as_ref().map_or_else(|| key.into(), |prev| prev.key.clone());
        let created = prev.as_ref().map_or(self.revision, |prev| prev.created);
        let value = stamp(&raw, self.revision);
        let record = Arc::new(Record::new(key, value, created, self.revision));
        self.live -= prev.as_ref().map_or(0, |prev| prev.bytes());
        let now = if delete { None } else { Some(record.clone()) };
        self.live += now.as_ref().map_or(0, |record| record.bytes());
        self.changed.insert(record.key.clone(), now);
        self.raw.push((raw, place));
        self.events.push(Arc::new(match prev {
            Some(prev) if delete => Event::Delete { record: record.clone(), prev },
            prev => Event::Put { record: record.clone(), prev },
        }));
        record
    }
}

fn row<'a>(event: &'a Event, (raw, place): &'a (Bytes, u32), time: u64) -> Row<'a> {
    let record = event.record();
    Row {
        revision: record.revision,
        key: &record.key,
        delete: event.is_delete(),
        place: *place,
        created: record.created,
        prev: event.prev().map_or(0, |prev| prev.revision),
        time,
        value: raw,
    }
}
