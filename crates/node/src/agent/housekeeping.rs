//! What piles up when nobody looks: unused images, and the directories of pods long gone.
//!
//! Invariant: an image some container was made from is never removed, and neither is one that
//! could not be pulled again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::image::Store;
use crate::runtime::Runtime;

const PERIOD: Duration = Duration::from_secs(5 * 60);
/// Above this part of the disk in use, images without containers are removed.
const HIGH_PERCENT: u64 = 85;

/// Collects garbage now and then, for ever.
pub(super) async fn images(store: Store, runtime: Runtime, data_dir: PathBuf) {
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + PERIOD, PERIOD);
    loop {
        beat.tick().await;
        let in_use: BTreeSet<String> =
            runtime.containers().into_iter().map(|container| container.spec.image.id.clone()).collect();
        let (total, free) = super::machine::storage(&data_dir);
        let tight = total > 0 && free < total / 100 * (100 - HIGH_PERCENT);
        let store = store.clone();
        let done = tokio::task::spawn_blocking(move || collect(&store, &in_use, tight)).await;
        match done {
            Ok(Ok(0)) => {}
            Ok(Ok(bytes)) => tracing::info!("removed unused images: {bytes} bytes"),
            Ok(Err(error)) => tracing::warn!("collecting unused images: {}", base::error::chain(&error)),
            Err(error) => tracing::warn!("collecting unused images: {error}"),
        }
    }
}

fn collect(store: &Store, in_use: &BTreeSet<String>, tight: bool) -> Result<u64, crate::image::Error> {
    if tight {
        for image in store.list()? {
            if image.pulled && !in_use.contains(&image.id) {
                store.remove(&image.id)?;
            }
        }
    }
    store.collect_garbage(in_use)
}

/// The pods that have directories on this node.
pub(super) fn known_pods(data_dir: &Path, run_dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for dir in [data_dir.join("volumes"), run_dir.join("volumes")] {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        found.extend(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()));
    }
    found
}

/// Removes the logs of a pod known by its uid only.
pub(super) fn remove_logs(log_dir: &Path, uid: &str) {
    let Ok(entries) = std::fs::read_dir(log_dir) else { return };
    let suffix = format!("_{uid}");
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().ends_with(&suffix)
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!("cannot remove {}: {error}", entry.path().display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tight_disk_costs_no_image_that_only_an_archive_gave() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::open(dir.path()).expect("a store");
        let id = |number: u8| format!("sha256:{number:064x}");
        let image = |pulled: bool| serde_json::json!({"digest": id(9), "diff_ids": [], "config": {}, "pulled": pulled});
        let index = serde_json::json!({
            "images": {id(1): image(false), id(2): image(true), id(3): image(true)},
            "references": {"a/loaded:1": id(1), "a/pulled:1": id(2), "a/used:1": id(3)},
        });
        std::fs::write(dir.path().join("index.json"), index.to_string()).expect("written");
        let ids = || store.list().expect("a list").into_iter().map(|image| image.id).collect::<Vec<_>>();
        let in_use = BTreeSet::from([id(3)]);
        collect(&store, &in_use, false).expect("collected");
        assert_eq!(ids(), [id(1), id(2), id(3)]);
        collect(&store, &in_use, true).expect("collected");
        assert_eq!(ids(), [id(1), id(3)]);
    }
}
