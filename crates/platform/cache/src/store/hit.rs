//! Reading the body of an object: one piece when it is in memory, checked blocks when it is in a file.

use std::any::Any;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::CacheKey;
use pingora_cache::storage::{HandleHit, HitHandler, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_core::{Error, ErrorType, OrErr as _, Result};

use super::Store;
use super::object::{Body, FileBody, Object};
use super::record::BLOCK;
use crate::counters::count;

/// Read from a file at once.
const PIECE: u64 = 4 * BLOCK;

struct Hit {
    store: &'static Store,
    object: Arc<Object>,
    at: u64,
    end: u64,
}

/// A reader of `object`.
pub(super) fn handler(store: &'static Store, object: Arc<Object>) -> HitHandler {
    let end = object.body.length();
    Box::new(Hit { store, object, at: 0, end })
}

#[async_trait]
impl HandleHit for Hit {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        if self.at >= self.end {
            return Ok(None);
        }
        match &self.object.body {
            Body::Memory(bytes) => {
                let range = usize::try_from(self.at).unwrap_or(0)..usize::try_from(self.end).unwrap_or(0);
                self.at = self.end;
                Ok(Some(bytes.slice(range)))
            }
            Body::File(body) => {
                let (from, to) = (self.at, self.end.min((self.at / BLOCK) * BLOCK + PIECE));
                let reading = body.clone();
                let read = tokio::task::spawn_blocking(move || read(&reading, from, to)).await;
                let read = read.or_err(ErrorType::InternalError, "cannot read the disk")?;
                if let Err(error) = &read {
                    tracing::warn!("removed an object of the cache that was being read: {error}");
                    count(&self.store.counters.corrupt);
                    let (store, key) = (self.store, self.object.head.key);
                    if let Some(disk) = store.disk {
                        drop(tokio::task::spawn_blocking(move || disk.remove(&key)));
                    }
                }
                self.at = to;
                read.map(Some).or_err(ErrorType::FileReadError, "an object on disk is not as it was written")
            }
        }
    }

    async fn finish(self: Box<Self>, _: &'static (dyn Storage + Sync), _: &CacheKey, _: &SpanHandle) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let length = self.object.body.length();
        let end = end.map_or(length, |end| (end as u64).min(length));
        if start as u64 >= length || (start as u64) > end {
            return Error::e_explain(ErrorType::InternalError, format!("cannot read from byte {start} of {length}"));
        }
        (self.at, self.end) = (start as u64, end);
        Ok(())
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn Any + Send + Sync) {
        self
    }
}

/// The bytes from `from` to `to`, once the blocks they lie in have been checked.
fn read(body: &FileBody, from: u64, to: u64) -> io::Result<Bytes> {
    let start = from / BLOCK * BLOCK;
    let stop = to.div_ceil(BLOCK).saturating_mul(BLOCK).min(body.length);
    let mut bytes = vec![0; usize::try_from(stop - start).unwrap_or(0)];
    body.file.read_exact_at(&mut bytes, start)?;
    let first = usize::try_from(start / BLOCK).unwrap_or(usize::MAX);
    let block = usize::try_from(BLOCK).unwrap_or(usize::MAX);
    let sums = body.sums.get(first..).unwrap_or_default();
    let right = bytes.chunks(block).zip(sums).filter(|(bytes, sum)| crc32fast::hash(bytes) == **sum).count();
    if right != bytes.len().div_ceil(block) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a block is not as it was written"));
    }
    let (from, to) = (usize::try_from(from - start).unwrap_or(0), usize::try_from(to - start).unwrap_or(0));
    Ok(Bytes::from(bytes).slice(from..to))
}
