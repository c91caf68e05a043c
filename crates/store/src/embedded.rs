//! The store in this process: reads from memory, writes through the writer thread.
//!
//! Invariant: the thread is joined when the store is closed or dropped, with every accepted commit answered. The
//! queue holds at most `QUEUE` requests; further callers wait their turn, which is how a slow disk is felt.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use crate::log::Log;
use crate::memory::Memory;
use crate::open::{Loaded, Options};
use crate::record::{Record, Revision};
use crate::store::{CommitError, CompactError, Page, Range, RangeError, SnapshotError, Store, WatchError, Write};
use crate::watch::Watch;
use crate::writer::{Commit, Request, Writer};

const QUEUE: usize = 1024;

pub struct Embedded {
    memory: Arc<Memory>,
    /// Places in the queue: with one in hand, sending never blocks.
    places: Arc<Semaphore>,
    door: Mutex<Option<SyncSender<Request>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Gone;

impl Embedded {
    pub(crate) fn start(log: Box<dyn Log>, loaded: Loaded, options: Options) -> io::Result<Self> {
        let memory = Arc::new(Memory::new(loaded.state));
        let (door, queue) = sync_channel(QUEUE);
        let writer = Writer::new(log, memory.clone(), loaded.ledger, (loaded.revision, loaded.live), options);
        let thread = thread::Builder::new().name("store-writer".into()).spawn(move || writer.run(&queue))?;
        Ok(Self {
            memory,
            places: Arc::new(Semaphore::new(QUEUE)),
            door: Mutex::new(Some(door)),
            writer: Mutex::new(Some(thread)),
        })
    }

    /// Answers what was accepted, ends the watches and stops the writer. Reads go on; commits get `Closed`.
    pub fn close(&self) {
        self.places.close();
        drop(self.door.lock().take());
        if let Some(thread) = self.writer.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the writer thread of the store panicked");
        }
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>, OwnedSemaphorePermit) -> Request,
    ) -> Result<T, Gone> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| Gone)?;
        let (answer, answered) = oneshot::channel();
        let sent = self.door.lock().as_ref().is_some_and(|door| door.try_send(request(answer, place)).is_ok());
        if sent { answered.await.map_err(|_| Gone) } else { Err(Gone) }
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for Embedded {
    fn revision(&self) -> Revision {
        self.memory.revision()
    }

    fn progress(&self) -> watch::Receiver<Revision> {
        self.memory.progress()
    }

    fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.memory.get(key)
    }

    fn range(&self, range: Range<'_>) -> Result<Page, RangeError> {
        self.memory.range(range)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Record>>, CommitError> {
        let answer = self.ask(|answer, place| Request::Commit(Commit { writes, answer, place })).await;
        answer.unwrap_or(Err(CommitError::Closed))
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, WatchError> {
        Watch::start(&self.memory, prefix, after)
    }

    async fn compact(&self, upto: Revision) -> Result<(), CompactError> {
        let answer = self.ask(|answer, place| Request::Compact { upto, answer, _place: place }).await;
        answer.unwrap_or(Err(CompactError::Closed))
    }

    async fn snapshot(&self, to: &Path) -> Result<(), SnapshotError> {
        let to = to.to_owned();
        let answer = self.ask(|answer, place| Request::Snapshot { to, answer, _place: place }).await;
        answer.unwrap_or(Err(SnapshotError::Closed))
    }
}
