//! The objects: a memory tier before a disk tier, as pingora's `Storage`.
//!
//! Everything stored goes to memory, when it is not too large for it, and to disk, when there is one. What is read from
//! disk comes into memory again. A purge ends when neither tier holds what it is about, and nothing that was asked for
//! before its end is stored after it ([`purge::Log`]).

pub(crate) mod disk;
mod fill;
mod hit;
pub(crate) mod memory;
mod names;
pub(crate) mod object;
pub(crate) mod purge;
pub(crate) mod record;
mod tier;

use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_cache::key::CacheHashKey as _;
use pingora_cache::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget, PurgeType, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, CacheMeta};
use pingora_core::{ErrorType, OrErr as _, Result};

use crate::counters::{Counters, Stats, count};
use disk::{Disk, Staged};
use memory::Memory;
use object::{Body, Head, Key, Label, Life, Object, kept};
use purge::{BadPurge, Log, Moment, Purge, Scope};

/// What the exchange tells the store with the key.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    /// When the request began, in the order of purges.
    pub(crate) since: Moment,
    /// The URL it is called by.
    pub(crate) url: Arc<str>,
}

/// Tags of a response, with its meta.
#[derive(Clone, Debug)]
pub(crate) struct Tags(pub(crate) Arc<[Arc<str>]>);

/// Both tiers.
pub(crate) struct Store {
    memory: Memory,
    disk: Option<&'static Disk>,
    log: Arc<Log>,
    counters: Arc<Counters>,
    /// Bytes of bodies that are being collected in memory.
    collected: AtomicU64,
    most_collected: u64,
}

impl Store {
    pub(crate) fn new(memory: u64, disk: Option<&'static Disk>, log: Arc<Log>, counters: Arc<Counters>) -> Self {
        let memory = Memory::new(memory, Arc::clone(&counters));
        let most_collected = memory.tier().capacity().max(16 << 20);
        Self { memory, disk, log, counters, collected: AtomicU64::new(0), most_collected }
    }

    /// The largest body that can be kept.
    pub(crate) fn largest(&self) -> u64 {
        self.memory.largest().max(self.disk.map_or(0, Disk::largest))
    }

    pub(crate) fn now(&self) -> Moment {
        self.log.now()
    }

    /// Reads the directory of the disk tier.
    pub(crate) async fn scan(&self, stop: Arc<AtomicBool>) {
        let Some(disk) = self.disk else { return };
        if let Err(error) = tokio::task::spawn_blocking(move || disk.scan(&stop)).await {
            tracing::error!("cannot read the directory of the cache: {error}");
        }
    }

    /// Purges, and tells how many objects that was.
    pub(crate) async fn purge(&'static self, purge: &Purge) -> Result<u64, BadPurge> {
        let scope = Scope::of(&purge.what)?;
        let soft = purge.soft.then(SystemTime::now);
        let under_way = self.log.begin(scope.clone());
        // The disk first: what is read from it now does not come into memory any more.
        let mut found: HashSet<Key> = HashSet::new();
        if let Some(disk) = self.disk {
            disk.known().await;
            let scope = scope.clone();
            match tokio::task::spawn_blocking(move || disk.purge(&scope, soft)).await {
                Ok(keys) => found.extend(keys),
                Err(error) => tracing::error!("cannot purge the disk: {error}"),
            }
        }
        found.extend(self.memory.purge(&scope, soft));
        drop(under_way);
        self.counters.purged.fetch_add(found.len() as u64, Ordering::Relaxed);
        Ok(found.len() as u64)
    }

    /// Removes all variants of some URLs because a request may have changed them (RFC 9111 section 4.4). Does not wait
    /// for the disk.
    pub(crate) fn invalidate(&'static self, urls: Vec<String>) {
        let scope = Scope::Urls(urls);
        let under_way = self.log.begin(scope.clone());
        let found = self.memory.purge(&scope, None).len() as u64;
        self.counters.purged.fetch_add(found, Ordering::Relaxed);
        // What lies on disk and is not known yet is not taken in any more, so only what is known is work.
        if let Some(disk) = self.disk.filter(|disk| !disk.tier().find(&scope).is_empty()) {
            let work = move || {
                disk.purge(&scope, None);
                // Again: what was read from disk meanwhile is in memory now, though nothing new comes.
                self.memory.purge(&scope, None);
                drop(under_way);
            };
            drop(tokio::task::spawn_blocking(work));
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.counters.stats();
        stats.memory_objects = self.memory.tier().count() as u64;
        stats.memory_bytes = self.memory.tier().bytes();
        stats.memory_capacity = self.memory.tier().capacity();
        stats.disk_known = true;
        if let Some(disk) = self.disk {
            stats.disk_objects = disk.tier().count() as u64;
            stats.disk_bytes = disk.tier().bytes();
            stats.disk_capacity = disk.tier().capacity();
            stats.disk_known = disk.is_known();
        }
        stats
    }

    async fn find(&'static self, key: Key) -> Option<Arc<Object>> {
        if let Some(object) = self.memory.tier().get(&key) {
            return Some(object);
        }
        let disk = self.disk.filter(|disk| disk.may_have(&key))?;
        let now = self.now();
        let read = tokio::task::spawn_blocking(move || disk.read(&key, now)).await;
        let (object, since) = read.inspect_err(|error| tracing::error!("cannot read the disk: {error}")).ok()??;
        let object = Arc::new(object);
        if !self.log.admits(since, &object.head.label) {
            return None;
        }
        if matches!(&object.body, Body::Memory(bytes) if bytes.len() as u64 <= self.memory.largest()) {
            self.memory.insert(Arc::clone(&object), &self.log, since);
        }
        Some(object)
    }

    /// Keeps a whole object: in memory at once, on disk behind the answer.
    fn keep(&'static self, head: Head, body: Bytes, since: Moment) {
        let object = Arc::new(Object { head, body: Body::Memory(body) });
        if !self.memory.insert(Arc::clone(&object), &self.log, since) {
            return;
        }
        count(&self.counters.stored);
        let Some(disk) = self.disk else { return };
        let Ok(permit) = Arc::clone(&disk.writers).try_acquire_owned() else {
            count(&self.counters.disk_skipped);
            // What lies there is older than what is in memory.
            drop(tokio::task::spawn_blocking(move || disk.remove(&object.head.key)));
            return;
        };
        let work = move || {
            // Writes may overtake each other: only what still counts is written.
            let now = self.memory.tier().peek(&object.head.key);
            let Object { head, body } = (*object).clone();
            if now.is_none_or(|now| Arc::ptr_eq(&now, &object))
                && let Body::Memory(bytes) = body
                && let Err(error) = disk.write(head, Staged::Bytes(bytes), since)
            {
                tracing::warn!("cannot write an object of the cache: {error}");
            }
            drop(permit);
        };
        drop(tokio::task::spawn_blocking(work));
    }
}

/// The key an object is kept under.
fn key_of(key: &CacheKey) -> Key {
    key.combined_bin()
}

#[async_trait]
impl Storage for Store {
    async fn lookup(&'static self, key: &CacheKey, _: &SpanHandle) -> Result<Option<(CacheMeta, HitHandler)>> {
        let found = self.find(key_of(key)).await;
        Ok(found.map(|object| (object.head.meta(), hit::handler(self, object))))
    }

    async fn get_miss_handler(&'static self, key: &CacheKey, meta: &CacheMeta, _: &SpanHandle) -> Result<MissHandler> {
        let (since, url) = match key.extensions.get::<Note>() {
            Some(note) => (note.since, Arc::clone(&note.url)),
            None => (self.now(), Arc::from("")),
        };
        let tags = meta.extensions().get::<Tags>().map_or_else(|| Arc::from([]), |tags| Arc::clone(&tags.0));
        let head = Head {
            key: key_of(key),
            label: Arc::new(Label { url, tags }),
            life: Life::of(meta),
            header: kept(meta.response_header()),
        };
        Ok(Box::new(fill::Fill::new(self, head, since)))
    }

    async fn purge(&'static self, target: PurgeTarget<'_>, _: PurgeType, _: &SpanHandle) -> Result<PurgeOutcome> {
        let key = target.key().combined_bin();
        let mut removed = self.memory.tier().remove(&key).is_some();
        if let Some(disk) = self.disk {
            let on_disk = tokio::task::spawn_blocking(move || disk.remove(&key)).await;
            removed |= on_disk.or_err(ErrorType::InternalError, "cannot remove an object from disk")?;
        }
        Ok(if removed { PurgeOutcome::Purged(None) } else { PurgeOutcome::NotFound })
    }

    async fn update_meta(&'static self, key: &CacheKey, meta: &CacheMeta, _: &SpanHandle) -> Result<bool> {
        let since = key.extensions.get::<Note>().map_or_else(|| self.now(), |note| note.since);
        let tags = meta.extensions().get::<Tags>().map(|tags| Arc::clone(&tags.0));
        let (key, life, header) = (key_of(key), Life::of(meta), kept(meta.response_header()));
        let renew = move |old: &Head| {
            let label = match &tags {
                Some(tags) if **tags != *old.label.tags => {
                    Arc::new(Label { url: Arc::clone(&old.label.url), tags: Arc::clone(tags) })
                }
                _ => Arc::clone(&old.label),
            };
            Head { key: old.key, label, life, header }
        };
        let on_disk = renew.clone();
        let change = |object: &Object| Object { head: renew(&object.head), body: object.body.clone() };
        let mut updated = self.memory.update(&key, change, &self.log, since);
        if let Some(disk) = self.disk {
            let work = move || disk.update(&key, |head| on_disk(&head), since);
            let done =
                tokio::task::spawn_blocking(work).await.or_err(ErrorType::InternalError, "cannot write to disk")?;
            updated |= done.or_err(ErrorType::InternalError, "cannot update an object on disk")?;
        }
        Ok(updated)
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

#[cfg(test)]
mod tests;
