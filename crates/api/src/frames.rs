//! Objects of events in the forms that are not stored, each made once for all who watch.
//!
//! Invariant: bounded in number and bytes, whatever is written and watched; what fell out is made again. Why not beside
//! the record: it would stay for as long as the version does, and most versions are never told again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use kinds::Kind;
use parking_lot::Mutex;
use store::Record;

use crate::{
    negotiate::{Format, Shape},
    view::View,
};

const MOST: usize = 512;
const MOST_BYTES: usize = 2 * 1024 * 1024;

#[derive(Default)]
pub(crate) struct Frames {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    made: HashMap<Key, (Wanted, Bytes)>,
    /// In the order they were made.
    order: VecDeque<Key>,
    bytes: usize,
}

/// An object in a form. Holds what its key points to, so that no other object gets the same address.
pub(crate) struct Wanted {
    record: Arc<Record>,
    kind: Arc<Kind>,
    format: Format,
    shape: Shape,
    meta_version: &'static str,
}

type Key = (usize, usize, Format, Shape, &'static str);

impl Wanted {
    pub(crate) fn new(record: &Arc<Record>, view: &View) -> Self {
        let accepts = view.accepts;
        let (format, shape, meta_version) = (accepts.format, accepts.shape, accepts.meta_version);
        Self { record: record.clone(), kind: view.kind.clone(), format, shape, meta_version }
    }

    fn key(&self) -> Key {
        let address = (Arc::as_ptr(&self.record).addr(), Arc::as_ptr(&self.kind).addr());
        (address.0, address.1, self.format, self.shape, self.meta_version)
    }
}

impl Frames {
    /// The bytes that somebody made before, or those that `make` makes.
    pub(crate) fn get(&self, wanted: Wanted, make: impl FnOnce() -> Bytes) -> Bytes {
        let key = wanted.key();
        if let Some((_, bytes)) = self.held.lock().made.get(&key) {
            return bytes.clone();
        }
        let bytes = make(); // two may make the same at once; that is cheaper than to wait
        let mut held = self.held.lock();
        let replaced = held.made.insert(key, (wanted, bytes.clone()));
        if replaced.is_none() {
            held.bytes += bytes.len();
            held.order.push_back(key);
        }
        while held.order.len() > MOST || held.bytes > MOST_BYTES {
            let Some(oldest) = held.order.pop_front() else { break };
            if let Some((_, gone)) = held.made.remove(&oldest) {
                held.bytes -= gone.len();
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(record: &Arc<Record>, format: Format) -> Wanted {
        let kind = kinds::Catalog::builtin().resource("", "v1", "pods").expect("a built-in kind").clone();
        Wanted { record: record.clone(), kind, format, shape: Shape::Object, meta_version: "" }
    }

    fn record(revision: u64) -> Arc<Record> {
        Arc::new(Record::new("/core/pods/a/b".into(), Bytes::from_static(b"{}"), revision, revision))
    }

    #[test]
    fn each_form_of_a_version_is_made_once() {
        let (frames, one, two) = (Frames::default(), record(1), record(2));
        let mut made = 0;
        for _ in 0..3 {
            for (record, format) in [(&one, Format::Protobuf), (&two, Format::Protobuf), (&one, Format::Yaml)] {
                frames.get(wanted(record, format), || {
                    made += 1;
                    Bytes::from_static(b"x")
                });
            }
        }
        assert_eq!(made, 3);
    }

    #[test]
    fn neither_many_nor_large_objects_are_kept() {
        let frames = Frames::default();
        for revision in 0..2000 {
            frames.get(wanted(&record(revision), Format::Protobuf), || Bytes::from_static(b"x"));
        }
        assert_eq!(frames.held.lock().made.len(), MOST);
        for revision in 0..5 {
            frames.get(wanted(&record(revision), Format::Protobuf), || Bytes::from(vec![0; MOST_BYTES / 2]));
        }
        let held = frames.held.lock();
        assert!(held.bytes <= MOST_BYTES && held.made.len() == held.order.len());
        assert_eq!(held.bytes, held.made.values().map(|(_, bytes)| bytes.len()).sum::<usize>());
    }
}
