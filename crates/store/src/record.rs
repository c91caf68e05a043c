//! What the store holds and tells: records (one version of one object) and events (one change).
//!
//! Invariant: a record never changes after it was published; a newer version is a newer record. That is why every
//! list, watcher and cache may share the same `Arc` and the same bytes, and why a derived fact can live beside it.
//! Why not parsed objects: the store does not know what a value means; [`Record::memo`] lets the layer above keep what
//! it parsed without the store learning its type.

use std::any::Any;
use std::fmt;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

/// The one counter of the store. An empty store stands at 1; every commit adds one.
pub type Revision = u64;

/// Writes the revision into a value when it becomes readable. Disk keeps the raw value, because the revision of a
/// write is only known once the writer has put it in order.
pub type Stamp = fn(raw: &Bytes, revision: Revision) -> Bytes;

/// One version of one object.
pub struct Record {
    pub key: Arc<str>,
    /// The stamped value.
    pub value: Bytes,
    /// The revision in which the object appeared.
    pub created: Revision,
    /// The revision of this version.
    pub revision: Revision,
    memos: Memo,
    measure: AtomicU32,
}

/// A list of derived facts, one per type. It only grows, so a reference into it lives as long as the record.
#[derive(Default)]
struct Memo(OnceLock<Box<Node<dyn Any + Send + Sync>>>);

struct Node<T: ?Sized> {
    next: Memo,
    fact: T,
}

impl Record {
    /// A record as the layer above would receive it; tests of that layer build their own.
    pub fn new(key: Arc<str>, value: Bytes, created: Revision, revision: Revision) -> Self {
        Self { key, value, created, revision, memos: Memo::default(), measure: AtomicU32::new(0) }
    }

    /// A number that the layer above keeps with this version, such as its length in another form; 0 at first. It is
    /// part of the record and not a memo, because a memo costs as much as ten of it.
    pub fn measure(&self) -> &AtomicU32 {
        &self.measure
    }

    /// Computes `derive` at most once per object version (and type `T`) and shares the result with every reader.
    ///
    /// The fact lives as long as this version does, so keep it small. Superseded versions that stay in the history
    /// lose theirs after some seconds and would compute it again. `derive` must not ask the same record for a memo.
    pub fn memo<T: Send + Sync + 'static>(&self, derive: impl FnOnce(&Record) -> T) -> &T {
        let mut derive = Some(derive);
        let mut memo = &self.memos;
        loop {
            let node: &Node<dyn Any + Send + Sync> = memo.0.get_or_init(|| {
                let derive = derive.take().expect("invariant: the node made here has our type and ends the loop");
                Box::new(Node { next: Memo::default(), fact: derive(self) })
            });
            if let Some(fact) = node.fact.downcast_ref::<T>() {
                return fact;
            }
            memo = &node.next;
        }
    }

    /// The same version without its derived facts, or nothing if it has none.
    pub(crate) fn bare(&self) -> Option<Arc<Record>> {
        self.memos.0.get()?;
        Some(Arc::new(Record::new(self.key.clone(), self.value.clone(), self.created, self.revision)))
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("key", &self.key)
            .field("value", &self.value)
            .field("created", &self.created)
            .field("revision", &self.revision)
            .finish()
    }
}

impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.value, self.created, self.revision)
            == (&other.key, &other.value, other.created, other.revision)
    }
}

impl Eq for Record {}

/// One change of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The object was created (`prev` is empty) or replaced.
    Put { record: Arc<Record>, prev: Option<Arc<Record>> },
    /// The object is gone: `record` is its final state, stamped with the revision of the deletion.
    Delete { record: Arc<Record>, prev: Arc<Record> },
}

impl Event {
    pub fn record(&self) -> &Arc<Record> {
        match self {
            Event::Put { record, .. } | Event::Delete { record, .. } => record,
        }
    }

    /// The version this change replaced or removed.
    pub fn prev(&self) -> Option<&Arc<Record>> {
        match self {
            Event::Put { prev, .. } => prev.as_ref(),
            Event::Delete { prev, .. } => Some(prev),
        }
    }

    pub fn revision(&self) -> Revision {
        self.record().revision
    }

    pub fn key(&self) -> &str {
        &self.record().key
    }

    pub fn is_delete(&self) -> bool {
        matches!(self, Event::Delete { .. })
    }
}

/// The part of a key that names its kind: `/group/plural/`. Watches live in one topic; nothing crosses it.
pub(crate) fn topic(key: &str) -> Option<&str> {
    let rest = key.strip_prefix('/')?;
    let (group, rest) = rest.split_once('/')?;
    let (plural, _) = rest.split_once('/')?;
    (!group.is_empty() && !plural.is_empty()).then(|| &key[..group.len() + plural.len() + 3])
}

/// The part of a key that names its kind and namespace: `/group/plural/namespace/`; none without a namespace.
pub(crate) fn space(key: &str) -> Option<&str> {
    let topic = topic(key)?;
    let end = key[topic.len()..].find('/')?;
    Some(&key[..=topic.len() + end])
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_memo_is_computed_once_per_type_and_shared() {
        let record = Record::new("/core/pods/a/b".into(), Bytes::from_static(b"12"), 2, 2);
        let runs = AtomicUsize::new(0);
        let length = |record: &Record| {
            runs.fetch_add(1, Ordering::Relaxed);
            record.value.len()
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(*record.memo(length), 2));
                scope.spawn(|| assert_eq!(record.memo(|r| r.key.to_string()), "/core/pods/a/b"));
            }
        });
        assert_eq!(runs.load(Ordering::Relaxed), 1);
        assert!(record.bare().is_some());
    }

    #[test]
    fn a_space_is_a_topic_and_a_namespace() {
        assert_eq!(space("/core/pods/default/web"), Some("/core/pods/default/"));
        assert_eq!(space("/core/pods/default/"), Some("/core/pods/default/"));
        assert_eq!((space("/core/nodes/a"), space("/core/pods/"), space("/core")), (None, None, None));
    }

    #[test]
    fn a_topic_is_the_group_and_plural_of_a_key() {
        assert_eq!(topic("/core/pods/default/web"), Some("/core/pods/"));
        assert_eq!(topic("/core/nodes/a"), Some("/core/nodes/"));
        assert_eq!(topic("/core/pods/"), Some("/core/pods/"));
        for key in ["", "/", "core/pods/a", "/core/pods", "//pods/a", "/core//a"] {
            assert_eq!(topic(key), None, "{key}");
        }
    }
}
