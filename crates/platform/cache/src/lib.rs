//! A shared HTTP cache: RFC 9111 on pingora, in memory and on disk.
//!
//! Knows HTTP caching and disks; knows nothing of clusters, routes or backends. Whoever runs a pingora proxy opens a
//! [`Cache`], compiles [`policy::Rules`] from a [`policy::Policy`], and calls an [`Exchange`] from the callbacks of each
//! request.
//!
//! - [`policy`]: what people may say; [`request`], [`freshness`], [`key`] and [`vary`]: what is decided, purely.
//! - [`Exchange`]: a request on its way; [`store`]: the objects; [`admin`]: purging and figures from outside.

pub mod admin;
pub mod control;
mod counters;
mod exchange;
pub mod freshness;
pub mod key;
pub mod policy;
pub mod request;
mod store;
mod uses;
mod vary;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora_cache::lock::{CacheKeyLockImpl, CacheLock};
use pingora_cache::predictor::Predictor;

pub use counters::Stats;
pub use exchange::Exchange;
pub use key::Site;
pub use policy::{Policy, Rules};
pub use store::purge::{BadPurge, Purge, What};

use counters::Counters;
use store::Store;
use store::disk::Disk;
use store::purge::Log;

/// A request that fetches an object holds others back for so long at most.
const LOCK_AGE: Duration = Duration::from_secs(60);
/// What is remembered as not to be stored, in each of 16 parts.
const PREDICTED: usize = 1024;

/// Where and how much a cache keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes in memory; a mebibyte at least.
    pub memory: u64,
    /// The disk tier.
    pub disk: Option<DiskSettings>,
}

/// Where and how much a cache keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// A directory of the cache's own; made with mode 0700.
    pub dir: PathBuf,
    /// Bytes; 16 MiB at least.
    pub bytes: u64,
}

/// Why a cache cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} for the cache", dir.display())]
pub struct OpenError {
    /// The directory of the disk tier.
    pub dir: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// A cache. It lives as long as the process: pingora wants it so.
pub struct Cache {
    store: &'static Store,
    lock: &'static CacheKeyLockImpl,
    predictor: &'static Predictor<16>,
    uses: &'static uses::Uses,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens a cache, which is never closed.
    ///
    /// # Errors
    /// When the directory cannot be used, or another process uses it.
    pub fn open(settings: &Settings) -> Result<&'static Self, OpenError> {
        let (counters, log) = (Arc::<Counters>::default(), Arc::<Log>::default());
        let disk = match &settings.disk {
            None => None,
            Some(DiskSettings { dir, bytes }) => {
                let disk = Disk::open(dir, *bytes, Arc::clone(&log), Arc::clone(&counters));
                Some(leak(disk.map_err(|source| OpenError { dir: dir.clone(), source })?))
            }
        };
        let cache = Self {
            store: leak(Store::new(settings.memory, disk, log, Arc::clone(&counters))),
            lock: Box::leak(CacheLock::new_boxed(LOCK_AGE)),
            predictor: leak(Predictor::new(PREDICTED, Some(freshness::Refusal::is_of_request))),
            uses: leak(uses::Uses::default()),
            counters,
        };
        Ok(leak(cache))
    }

    /// Reads what the disk tier has kept from before; until `stop` is cancelled.
    pub async fn recollect(&'static self, stop: tasks::CancellationToken) {
        let stopped = Arc::new(AtomicBool::new(false));
        let reading = self.store.scan(Arc::clone(&stopped));
        tokio::select! {
            () = reading => {}
            () = stop.cancelled() => stopped.store(true, Ordering::Relaxed),
        }
    }

    /// Purges, and tells how many objects that was. With a disk tier it waits until its directory has been read: what
    /// was purged stays so when the process is killed.
    ///
    /// # Errors
    /// When what is to be purged is not named properly.
    pub async fn purge(&'static self, purge: &Purge) -> Result<u64, BadPurge> {
        self.store.purge(purge).await
    }

    /// Figures of now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.store.stats()
    }
}

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}
