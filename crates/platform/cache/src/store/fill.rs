//! Collecting the body of a response that is to be stored.
//!
//! Invariant: nothing is stored before the body is whole: its end was seen and it is as long as its head said. A body
//! that cannot be kept is let go, which costs the client that receives it nothing.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use pingora_cache::storage::{HandleMiss, MissFinishType};
use pingora_core::{Error, ErrorType, Result};

use super::Store;
use super::disk::{Disk, Room, Spill, Staged};
use super::object::Head;
use super::purge::Moment;
use crate::counters::count;

/// Written to a file at once.
const PIECE: usize = 256 << 10;

pub(super) struct Fill {
    store: &'static Store,
    head: Head,
    since: Moment,
    declared: Option<u64>,
    length: u64,
    kept: Kept,
    collected: Collected,
}

/// Where the body is so far.
enum Kept {
    Memory(Vec<u8>),
    File {
        spill: Spill,
        pending: Vec<u8>,
        room: Room,
    },
    /// Nowhere any more.
    LetGo,
}

/// A share of the memory for bodies under way, given back when it is dropped.
struct Collected {
    store: &'static Store,
    bytes: u64,
}

impl Collected {
    fn take(&mut self, bytes: u64) -> bool {
        let before = self.store.collected.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before + bytes <= self.store.most_collected
    }

    fn give_back(&mut self) {
        self.store.collected.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Collected {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Fill {
    pub(super) fn new(store: &'static Store, head: Head, since: Moment) -> Self {
        let declared = head.header.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let expected = usize::try_from(declared.unwrap_or(0).min(1 << 20)).unwrap_or(0);
        let kept = Kept::Memory(Vec::with_capacity(expected));
        Self { store, head, since, declared, length: 0, kept, collected: Collected { store, bytes: 0 } }
    }

    async fn append(&mut self, data: &Bytes) -> std::io::Result<()> {
        let kept = std::mem::replace(&mut self.kept, Kept::LetGo);
        self.kept = match kept {
            Kept::LetGo => Kept::LetGo,
            Kept::Memory(mut bytes) if self.length <= self.store.memory.largest() => {
                if !self.collected.take(data.len() as u64) {
                    return Ok(());
                }
                bytes.extend_from_slice(data);
                Kept::Memory(bytes)
            }
            Kept::Memory(mut bytes) => {
                let Some(disk) = self.store.disk else { return Ok(()) };
                self.collected.give_back();
                bytes.extend_from_slice(data);
                let (spill, room) = (on_disk(disk, Disk::spill).await?, Room::none(disk));
                flush(spill, bytes, room).await?
            }
            Kept::File { spill, mut pending, room } => {
                pending.extend_from_slice(data);
                if pending.len() < PIECE {
                    Kept::File { spill, pending, room }
                } else {
                    flush(spill, pending, room).await?
                }
            }
        };
        Ok(())
    }
}

/// Runs `work` where it may block.
async fn on_disk<T: Send + 'static>(
    disk: &'static Disk,
    work: impl FnOnce(&'static Disk) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(move || work(disk)).await.map_err(std::io::Error::other)?
}

/// Writes what is pending, when there is room for it.
async fn flush(mut spill: Spill, pending: Vec<u8>, mut room: Room) -> std::io::Result<Kept> {
    if !room.take(pending.len() as u64) {
        return Ok(Kept::LetGo);
    }
    let written = tokio::task::spawn_blocking(move || spill.write(&pending).map(|()| spill)).await;
    let spill = written.map_err(std::io::Error::other)??;
    Ok(Kept::File { spill, pending: Vec::with_capacity(PIECE), room })
}

#[async_trait]
impl HandleMiss for Fill {
    async fn write_body(&mut self, data: Bytes, _: bool) -> Result<()> {
        self.length += data.len() as u64;
        if self.length > self.store.largest() || self.declared.is_some_and(|declared| self.length > declared) {
            self.kept = Kept::LetGo;
        }
        if let Err(error) = self.append(&data).await {
            tracing::warn!("cannot write an object of the cache: {error}");
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        if self.declared.is_some_and(|declared| declared != self.length) {
            return Error::e_explain(ErrorType::InternalError, "a response to be stored is not as long as it said");
        }
        if !self.store.log.admits(self.since, &self.head.label) {
            return Ok(MissFinishType::Created(0));
        }
        let mut head = self.head;
        if !matches!(head.header.status.as_u16(), 204 | 304) {
            head.header.remove_header(&TRANSFER_ENCODING);
            head.header.insert_header(CONTENT_LENGTH, self.length)?;
        }
        match self.kept {
            Kept::LetGo => return Error::e_explain(ErrorType::InternalError, "there was no room for a response"),
            Kept::Memory(bytes) => self.store.keep(head, exact(bytes), self.since),
            Kept::File { spill, pending, room } => {
                let kept = flush(spill, pending, room).await;
                let Ok(Kept::File { spill, room, .. }) = kept else {
                    return Error::e_explain(ErrorType::InternalError, "cannot write a response to disk");
                };
                let (disk, since) = (self.store.disk, self.since);
                let Some(disk) = disk else { return Ok(MissFinishType::Created(0)) };
                // An older one in memory would hide it.
                self.store.memory.tier().remove(&head.key);
                let written = on_disk(disk, move |disk| disk.write(head, Staged::File(spill), since)).await;
                drop(room);
                if let Err(error) = written {
                    return Error::e_explain(ErrorType::FileWriteError, format!("cannot keep a response: {error}"));
                }
                count(&self.store.counters.stored);
            }
        }
        Ok(MissFinishType::Created(usize::try_from(self.length).unwrap_or(usize::MAX)))
    }
}

/// The bytes, without room to grow.
fn exact(bytes: Vec<u8>) -> Bytes {
    Bytes::from(bytes.into_boxed_slice())
}
