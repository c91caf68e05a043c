//! Readiness follows the store: a server that cannot write says so until it can.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;
use store::{
    CommitError, CompactError, Page, Range, RangeError, Record, Revision, SnapshotError, Store, Watch, WatchError,
    Write,
};

use crate::support::{MAPS, config_map, server_on};

/// A store whose disk is full when told so.
struct Filling {
    inner: Box<dyn Store>,
    full: AtomicBool,
}

#[async_trait::async_trait]
impl Store for Filling {
    fn revision(&self) -> Revision {
        self.inner.revision()
    }

    fn progress(&self) -> tokio::sync::watch::Receiver<Revision> {
        self.inner.progress()
    }

    fn get(&self, key: &str) -> Option<Arc<Record>> {
        self.inner.get(key)
    }

    fn range(&self, range: Range<'_>) -> Result<Page, RangeError> {
        self.inner.range(range)
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Arc<Record>>, CommitError> {
        if self.full.load(Ordering::Relaxed) {
            return Err(CommitError::Full { used: 2, limit: 1 });
        }
        self.inner.commit(writes).await
    }

    fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, WatchError> {
        self.inner.watch(prefix, after)
    }

    async fn compact(&self, upto: Revision) -> Result<(), CompactError> {
        self.inner.compact(upto).await
    }

    async fn snapshot(&self, to: &Path) -> Result<(), SnapshotError> {
        self.inner.snapshot(to).await
    }
}

#[tokio::test]
async fn a_server_that_cannot_write_is_not_ready_but_alive() {
    let inner = Box::new(store::in_memory(store::Options::new(api::stamp)).expect("a store in memory"));
    let store = Arc::new(Filling { inner, full: AtomicBool::new(false) });
    let server = server_on(store.clone()).await;
    server.get("/readyz").await.expect(200);
    store.full.store(true, Ordering::Relaxed);
    server.post(MAPS, config_map("a")).await.expect(500);
    let unready = server.get("/readyz").await.expect(500);
    assert!(unready.text.contains("[-]etcd-readiness failed"), "{}", unready.text);
    server.get("/livez").await.expect(200);
    server.get("/readyz?exclude=etcd-readiness").await.expect(200);
    store.full.store(false, Ordering::Relaxed);
    server.delete(&format!("{MAPS}/none"), Value::Null).await.expect(404);
    server.get("/readyz").await.expect(500);
    server.post(MAPS, config_map("a")).await.expect(201);
    server.get("/readyz").await.expect(200);
}
