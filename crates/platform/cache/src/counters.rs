//! What the cache did, as counters, and their text for Prometheus.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Counts since the start. Each only goes up.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) stale: AtomicU64,
    pub(crate) revalidated: AtomicU64,
    pub(crate) bypassed: AtomicU64,
    pub(crate) background: AtomicU64,
    pub(crate) lock_waits: AtomicU64,
    pub(crate) stored: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) purged: AtomicU64,
    pub(crate) evicted_memory: AtomicU64,
    pub(crate) evicted_disk: AtomicU64,
    pub(crate) disk_hits: AtomicU64,
    pub(crate) disk_skipped: AtomicU64,
    pub(crate) corrupt: AtomicU64,
}

/// The cache at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Answered from the cache, fresh.
    pub hits: u64,
    /// Fetched from the origin.
    pub misses: u64,
    /// Answered from the cache, stale, as permitted.
    pub stale: u64,
    /// Answered from the cache after the origin said that it still holds.
    pub revalidated: u64,
    /// Passed by the cache.
    pub bypassed: u64,
    /// Fetched anew behind an answer that was stale.
    pub background: u64,
    /// Requests that waited for another to fetch the same.
    pub lock_waits: u64,
    /// Responses stored.
    pub stored: u64,
    /// Responses that came for a request that may be stored, and may not be stored themselves.
    pub refused: u64,
    /// Objects purged.
    pub purged: u64,
    /// Objects evicted for room in memory.
    pub evicted_memory: u64,
    /// Objects evicted for room on disk.
    pub evicted_disk: u64,
    /// Objects read from disk.
    pub disk_hits: u64,
    /// Objects not written to disk because it did not keep up.
    pub disk_skipped: u64,
    /// Files that were not as they were written, and were removed.
    pub corrupt: u64,
    /// Objects in memory.
    pub memory_objects: u64,
    /// Bytes in memory.
    pub memory_bytes: u64,
    /// The most bytes in memory.
    pub memory_capacity: u64,
    /// Objects on disk.
    pub disk_objects: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// The most bytes on disk.
    pub disk_capacity: u64,
    /// The directory has been read: what was kept before the start is known.
    pub disk_known: bool,
}

impl Counters {
    /// The counts, with sizes of zero.
    pub(crate) fn stats(&self) -> Stats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            hits: of(&self.hits),
            misses: of(&self.misses),
            stale: of(&self.stale),
            revalidated: of(&self.revalidated),
            bypassed: of(&self.bypassed),
            background: of(&self.background),
            lock_waits: of(&self.lock_waits),
            stored: of(&self.stored),
            refused: of(&self.refused),
            purged: of(&self.purged),
            evicted_memory: of(&self.evicted_memory),
            evicted_disk: of(&self.evicted_disk),
            disk_hits: of(&self.disk_hits),
            disk_skipped: of(&self.disk_skipped),
            corrupt: of(&self.corrupt),
            ..Stats::default()
        }
    }
}

/// Name, kind, help, and a value for each set of labels.
type Family<'a> = (&'static str, &'static str, &'static str, &'a [(&'static str, u64)]);

impl Stats {
    /// The text Prometheus reads.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let families: &[Family<'_>] = &[
            (
                "knarr_cache_requests_total",
                "counter",
                "Requests by what the cache did.",
                &[
                    ("result=\"hit\"", self.hits),
                    ("result=\"miss\"", self.misses),
                    ("result=\"stale\"", self.stale),
                    ("result=\"revalidated\"", self.revalidated),
                    ("result=\"bypass\"", self.bypassed),
                ],
            ),
            (
                "knarr_cache_background_updates_total",
                "counter",
                "Fetches behind an answer that was stale.",
                &[("", self.background)],
            ),
            (
                "knarr_cache_lock_waits_total",
                "counter",
                "Requests that waited for another to fetch the same.",
                &[("", self.lock_waits)],
            ),
            ("knarr_cache_stored_total", "counter", "Responses stored.", &[("", self.stored)]),
            ("knarr_cache_refused_total", "counter", "Responses that may not be stored.", &[("", self.refused)]),
            ("knarr_cache_purged_total", "counter", "Objects purged.", &[("", self.purged)]),
            (
                "knarr_cache_evicted_total",
                "counter",
                "Objects evicted for room.",
                &[("tier=\"memory\"", self.evicted_memory), ("tier=\"disk\"", self.evicted_disk)],
            ),
            ("knarr_cache_disk_reads_total", "counter", "Objects read from disk.", &[("", self.disk_hits)]),
            (
                "knarr_cache_disk_skipped_total",
                "counter",
                "Objects the disk had no time for.",
                &[("", self.disk_skipped)],
            ),
            (
                "knarr_cache_corrupt_total",
                "counter",
                "Files that were not as they were written.",
                &[("", self.corrupt)],
            ),
            (
                "knarr_cache_objects",
                "gauge",
                "Objects kept.",
                &[("tier=\"memory\"", self.memory_objects), ("tier=\"disk\"", self.disk_objects)],
            ),
            (
                "knarr_cache_bytes",
                "gauge",
                "Bytes kept.",
                &[("tier=\"memory\"", self.memory_bytes), ("tier=\"disk\"", self.disk_bytes)],
            ),
            (
                "knarr_cache_capacity_bytes",
                "gauge",
                "The most bytes kept.",
                &[("tier=\"memory\"", self.memory_capacity), ("tier=\"disk\"", self.disk_capacity)],
            ),
        ];
        let mut text = String::new();
        for (name, kind, help, rows) in families {
            put(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            for (labels, value) in *rows {
                let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
                put(&mut text, format_args!("{name}{labels} {value}\n"));
            }
        }
        text
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("invariant: a string takes all that is written");
}

/// One more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_rendered_once() {
        let counters = Counters::default();
        count(&counters.hits);
        count(&counters.hits);
        count(&counters.evicted_disk);
        let text = counters.stats().prometheus();
        assert!(text.contains("knarr_cache_requests_total{result=\"hit\"} 2\n"), "{text}");
        assert!(text.contains("knarr_cache_evicted_total{tier=\"disk\"} 1\n"), "{text}");
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let names: std::collections::HashSet<&str> = lines.iter().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(names.len(), lines.len());
    }
}
