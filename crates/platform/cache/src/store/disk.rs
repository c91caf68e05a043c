//! The disk tier: a record per object, a large body in a file beside it.
//!
//! Every file is written under another name and renamed whole, so a process that is killed leaves whole files and
//! leftovers, and leftovers are known by where they lie. A file that is not as it was written is a miss and is removed.
//! Nothing is synced: what a power failure tears, a checksum finds.
//!
//! The index is read from the directory after the start, beside the serving ([`scan`]); until it is whole, an object is
//! also looked for where it would lie. All of this blocks: it runs on the threads for that.
//!
//! Invariant: who changes the files of a key holds its stripe, and no two stripes are ever held at once.

mod scan;
mod spill;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Semaphore, watch};

use super::object::{Body, FileBody, Head, Key, Object};
use super::purge::{Log, Moment, Scope};
use super::record::{self, MOST_HEAD, PRELUDE, Place, Record};
use super::tier::{Tier, Weighs};
use crate::counters::{Counters, count};

pub(crate) use spill::{Room, Spill};

/// A body up to this size lies in its record.
const MOST_HERE: u64 = 64 << 10;
/// The smallest disk tier that makes sense.
pub(crate) const LEAST: u64 = 16 << 20;
/// Objects written behind the answers at once; with more, some are not written.
const WRITERS: usize = 32;
const STRIPES: usize = 64;
/// File systems give room in blocks.
const FILE_BLOCK: u64 = 4096;

/// Objects on disk.
pub(crate) struct Disk {
    root: PathBuf,
    /// Keeps other processes out for as long as it is open.
    _lock: File,
    tier: Tier<Entry>,
    stripes: [Mutex<()>; STRIPES],
    known: watch::Sender<bool>,
    /// Bodies of this process have the upper half of this number, which is random.
    first_generation: u64,
    next_generation: AtomicU64,
    being_written: AtomicU64,
    most_being_written: u64,
    pub(crate) writers: Arc<Semaphore>,
    log: Arc<Log>,
    counters: Arc<Counters>,
}

/// What is known of an object on disk.
#[derive(Debug)]
pub(crate) struct Entry {
    bytes: u64,
    generation: Option<u64>,
}

impl Weighs for Entry {
    fn weight(&self) -> u64 {
        self.bytes
    }
}

/// A body that is to be kept.
pub(crate) enum Staged {
    /// In memory.
    Bytes(Bytes),
    /// Already in a file, of another name.
    File(Spill),
}

impl Disk {
    /// Opens the directory of a cache of `bytes`, and makes it when it is not there.
    ///
    /// # Errors
    /// When it cannot be used, or another process uses it.
    pub(crate) fn open(root: &Path, bytes: u64, log: Arc<Log>, counters: Arc<Counters>) -> io::Result<Self> {
        let bytes = bytes.max(LEAST);
        for dir in [root.to_path_buf(), root.join("objects"), root.join("new")] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
        }
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(root.join("lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| io::Error::new(io::ErrorKind::WouldBlock, "another process uses it"))?;
        for leftover in fs::read_dir(root.join("new"))? {
            fs::remove_file(leftover?.path())?;
        }
        let first_generation = u64::from(fastrand::u32(..)) << 32;
        let most_being_written = bytes / 10;
        Ok(Self {
            root: root.to_path_buf(),
            _lock: lock,
            tier: Tier::new(bytes - most_being_written, 1, MOST_HERE),
            stripes: std::array::from_fn(|_| Mutex::new(())),
            known: watch::Sender::new(false),
            first_generation,
            next_generation: AtomicU64::new(first_generation),
            being_written: AtomicU64::new(0),
            most_being_written,
            writers: Arc::new(Semaphore::new(WRITERS)),
            log,
            counters,
        })
    }

    pub(crate) fn tier(&self) -> &Tier<Entry> {
        &self.tier
    }

    /// The largest body kept here.
    pub(crate) fn largest(&self) -> u64 {
        self.most_being_written / 2
    }

    /// Whether it is worth looking for an object.
    pub(crate) fn may_have(&self, key: &Key) -> bool {
        self.tier.get(key).is_some() || !*self.known.borrow()
    }

    /// True once the directory has been read.
    pub(crate) fn is_known(&self) -> bool {
        *self.known.borrow()
    }

    /// Waits until the directory has been read.
    pub(crate) async fn known(&self) {
        let mut known = self.known.subscribe();
        // The sender lives as long as this does.
        if known.wait_for(|known| *known).await.is_err() {
            tracing::debug!("the reading of the cache directory was given up");
        }
    }

    /// Reads an object. Also tells since when what it says counts: what was purged since must not be served.
    pub(crate) fn read(&self, key: &Key, now: Moment) -> Option<(Object, Moment)> {
        let since = if self.tier.peek(key).is_some() { now } else { Moment::START };
        let _stripe = self.stripe(key);
        let read = match self.read_files(key) {
            Ok(Some(object)) => object,
            Ok(None) => return None,
            Err(error) => {
                tracing::warn!("removed an object of the cache: {error}");
                count(&self.counters.corrupt);
                self.discard(key);
                return None;
            }
        };
        count(&self.counters.disk_hits);
        Some((read, since))
    }

    fn read_files(&self, key: &Key) -> io::Result<Option<Object>> {
        let bytes = match read_all(&self.record_path(key)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", hex::encode(key)));
        let (record, rest) =
            record::decode(&bytes).ok_or_else(|| broken("has a record that is not as it was written"))?;
        if record.head.key != *key {
            return Err(broken("has the record of another"));
        }
        let body = match record.place {
            Place::Here { length, sum } => {
                if rest.len() as u64 != length || crc32fast::hash(rest) != sum {
                    return Err(broken("has a body that is not as it was written"));
                }
                let start = bytes.len() - rest.len();
                Body::Memory(Bytes::copy_from_slice(&bytes[start..]))
            }
            Place::Beside { generation, length, sums } => {
                let file = File::open(self.body_path(key, generation))?;
                if file.metadata()?.len() != length {
                    return Err(broken("has a body of another length"));
                }
                Body::File(FileBody { file: Arc::new(file), generation, length, sums })
            }
        };
        Ok(Some(Object { head: record.head, body }))
    }

    /// Keeps an object, unless it was purged since `since`. Returns its body when that lies in a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, head: Head, body: Staged, since: Moment) -> io::Result<Option<FileBody>> {
        let key = head.key;
        if !self.log.admits(since, &head.label) {
            return Ok(None);
        }
        let body = match body {
            Staged::Bytes(bytes) if bytes.len() as u64 > MOST_HERE => {
                let mut spill = self.spill()?;
                spill.write(&bytes)?;
                Staged::File(spill)
            }
            other => other,
        };
        let stripe = self.stripe(&key);
        let (place, here, file) = match body {
            Staged::Bytes(bytes) => {
                let place = Place::Here { length: bytes.len() as u64, sum: crc32fast::hash(&bytes) };
                (place, bytes, None)
            }
            Staged::File(spill) => {
                let path = self.body_path(&key, spill.generation());
                let body = spill.keep(&path)?;
                let place =
                    Place::Beside { generation: body.generation, length: body.length, sums: Arc::clone(&body.sums) };
                (place, Bytes::new(), Some(body))
            }
        };
        let record = Record { head, place };
        let bytes = self.put_record(&record, &here)?;
        let gone = self.index(&record, bytes, since);
        drop(stripe);
        self.sweep(gone);
        Ok(file)
    }

    /// Takes a record that was written into the index; what had to go for it is returned.
    fn index(&self, record: &Record, bytes: u64, since: Moment) -> Vec<(Key, Arc<Entry>)> {
        let Record { head, place } = record;
        let generation = match place {
            Place::Here { .. } => None,
            Place::Beside { generation, .. } => Some(*generation),
        };
        let before =
            self.tier.peek(&head.key).and_then(|entry| entry.generation).filter(|old| Some(*old) != generation);
        if let Some(old) = before {
            remove(&self.body_path(&head.key, old));
        }
        let entry = Arc::new(Entry { bytes, generation });
        match self.tier.insert(head.key, &head.label, Arc::clone(&entry), &self.log, since) {
            Some(gone) => gone,
            None => {
                self.tier.remove(&head.key);
                vec![(head.key, entry)]
            }
        }
    }

    /// Removes the files of what is no longer in the index.
    fn sweep(&self, gone: Vec<(Key, Arc<Entry>)>) {
        self.counters.evicted_disk.fetch_add(gone.len() as u64, Ordering::Relaxed);
        for (key, entry) in gone {
            let _stripe = self.stripe(&key);
            let now = self.tier.peek(&key);
            if now.is_none() {
                remove(&self.record_path(&key));
            }
            if let Some(generation) = entry.generation.filter(|old| now.is_none_or(|now| now.generation != Some(*old)))
            {
                remove(&self.body_path(&key, generation));
            }
        }
    }

    /// Changes the head of an object, unless it was purged since `since`.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub(crate) fn update(&self, key: &Key, change: impl FnOnce(Head) -> Head, since: Moment) -> io::Result<bool> {
        let stripe = self.stripe(key);
        if self.tier.peek(key).is_none() {
            return Ok(false);
        }
        let bytes = read_all(&self.record_path(key))?;
        let Some((record, rest)) = record::decode(&bytes) else {
            count(&self.counters.corrupt);
            self.discard(key);
            return Ok(false);
        };
        let record = Record { head: change(record.head), place: record.place };
        let bytes = self.put_record(&record, rest)?;
        let gone = self.index(&record, bytes, since);
        drop(stripe);
        self.sweep(gone);
        Ok(true)
    }

    /// Removes one object.
    pub(crate) fn remove(&self, key: &Key) -> bool {
        let _stripe = self.stripe(key);
        self.discard(key)
    }

    /// Removes or expires what `scope` is about; tells which. The directory must have been read.
    pub(crate) fn purge(&self, scope: &Scope, soft: Option<SystemTime>) -> Vec<Key> {
        let found = self.tier.find(scope);
        for key in &found {
            let Some(now) = soft else {
                self.remove(key);
                continue;
            };
            let expire = |mut head: Head| {
                head.life = head.life.expired(now);
                head
            };
            if let Err(error) = self.expire(key, expire) {
                tracing::warn!("removed an object of the cache that could not be marked as stale: {error}");
                self.remove(key);
            }
        }
        found
    }

    /// As [`Self::update`], in the name of the purge that is under way.
    fn expire(&self, key: &Key, change: impl FnOnce(Head) -> Head) -> io::Result<()> {
        let _stripe = self.stripe(key);
        let bytes = read_all(&self.record_path(key))?;
        let broken = || io::Error::new(io::ErrorKind::InvalidData, "its record is not as it was written");
        let (record, rest) = record::decode(&bytes).ok_or_else(broken)?;
        self.put_record(&Record { head: change(record.head), place: record.place }, rest)?;
        Ok(())
    }

    /// Starts a body that is too large for memory.
    ///
    /// # Errors
    /// When no file can be made.
    pub(crate) fn spill(&self) -> io::Result<Spill> {
        Spill::new(self, self.next_generation.fetch_add(1, Ordering::Relaxed))
    }

    /// Writes a record whole; returns the room its object takes.
    fn put_record(&self, record: &Record, here: &[u8]) -> io::Result<u64> {
        let key = &record.head.key;
        let number = self.next_generation.fetch_add(1, Ordering::Relaxed);
        let new = self.root.join("new").join(format!("{number:016x}.o"));
        let bytes = record::encode(record, here);
        let written = create(&new)
            .and_then(|mut file| file.write_all(&bytes))
            .and_then(|()| rename(&new, &self.record_path(key)));
        if let Err(error) = written {
            remove(&new);
            return Err(error);
        }
        Ok(room(bytes.len() as u64, &record.place))
    }

    /// Removes the files of a key whose stripe is held.
    fn discard(&self, key: &Key) -> bool {
        let entry = self.tier.remove(key);
        let generation = entry.as_ref().and_then(|entry| entry.generation).or_else(|| self.generation_of(key));
        let removed = remove(&self.record_path(key));
        if let Some(generation) = generation {
            remove(&self.body_path(key, generation));
        }
        entry.is_some() || removed
    }

    fn generation_of(&self, key: &Key) -> Option<u64> {
        match read_head(&self.record_path(key)).ok()?.place {
            Place::Here { .. } => None,
            Place::Beside { generation, .. } => Some(generation),
        }
    }

    fn stripe(&self, key: &Key) -> MutexGuard<'_, ()> {
        self.stripes[usize::from(key[15]) % STRIPES].lock()
    }

    fn record_path(&self, key: &Key) -> PathBuf {
        let name = hex::encode(key);
        self.root.join("objects").join(&name[..2]).join(format!("{name}.o"))
    }

    fn body_path(&self, key: &Key, generation: u64) -> PathBuf {
        let name = hex::encode(key);
        self.root.join("objects").join(&name[..2]).join(format!("{name}-{generation:016x}.b"))
    }
}

/// The room an object takes on disk and in the index.
fn room(record: u64, place: &Place) -> u64 {
    let blocks = |bytes: u64| bytes.div_ceil(FILE_BLOCK) * FILE_BLOCK;
    let beside = match place {
        Place::Here { .. } => 0,
        Place::Beside { length, .. } => blocks(*length),
    };
    blocks(record) + beside + 512
}

fn read_all(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let most = (PRELUDE + MOST_HEAD) as u64 + MOST_HERE;
    let length = file.metadata()?.len();
    if length > most {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a record of the cache is larger than records are"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The record of a file, without its body.
fn read_head(path: &Path) -> io::Result<Record> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "its record is not as it was written");
    let file = File::open(path)?;
    let mut bytes = vec![0; PRELUDE];
    file.read_exact_at(&mut bytes, 0)?;
    let length = record::head_length(&bytes).ok_or_else(broken)?;
    let total = file.metadata()?.len();
    if ((PRELUDE + length) as u64) > total {
        return Err(broken());
    }
    bytes.resize(PRELUDE + length, 0);
    file.read_exact_at(&mut bytes[PRELUDE..], PRELUDE as u64)?;
    let (record, _) = record::decode(&bytes).ok_or_else(broken)?;
    match record.place {
        Place::Here { length: body, .. } if (PRELUDE + length) as u64 + body != total => Err(broken()),
        _ => Ok(record),
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().create_new(true).read(true).write(true).mode(0o600).open(path)
}

/// Renames, and makes the directory when it is not there.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(dir) = to.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            }
            fs::rename(from, to)
        }
        done => done,
    }
}

/// Removes a file; true when there was one.
fn remove(path: &Path) -> bool {
    match fs::remove_file(path) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => {
            tracing::warn!("cannot remove {}: {error}", path.display());
            false
        }
    }
}

#[cfg(test)]
mod tests;
