//! A list that is made while it is sent.
//!
//! Invariant: never more than a chunk of it is in memory, whatever its form. Protobuf wants the length of all items in
//! front of them, so those are measured first, by a pass that keeps nothing; each version remembers its own measure.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use kinds::{cbor, protobuf};
use serde_json::{Value, json};
use store::Record;
use tasks::Children;
use tokio::sync::mpsc;

use crate::{
    body::BoxError,
    negotiate::{Format, Shape},
    view::{View, meta_version},
};

pub(super) const CHUNK: usize = 64 * 1024;
/// A list of so many stored bytes is made on a task of its own, beside the one that encrypts and sends it.
pub(super) const LARGE: usize = 1024 * 1024;
/// Chunks that are made before the first of them is sent.
const AHEAD: usize = 2;
/// Records measured before other tasks get their turn.
const MEASURED: usize = 256;

pub(super) struct Listing {
    view: View,
    metadata: Value,
    records: std::vec::IntoIter<Arc<Record>>,
    stage: Stage,
    /// An item that is being written.
    item: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Head,
    First,
    Items,
    Over,
}

impl Listing {
    pub(super) fn new(view: View, metadata: Value, records: Vec<Arc<Record>>) -> Self {
        Self { view, metadata, records: records.into_iter(), stage: Stage::Head, item: Vec::new() }
    }

    /// All of a list that is known to be short.
    pub(super) fn whole(mut self) -> Vec<u8> {
        let total = self.measure(0..self.records.len());
        let mut out = Vec::with_capacity(CHUNK / 8);
        while self.stage != Stage::Over {
            self.write(&mut out, total);
        }
        out
    }

    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
        let state = (self, 0, 0);
        futures::stream::unfold(state, |(mut listing, mut measured, mut total)| async move {
            while listing.stage == Stage::Head && measured < listing.records.len() {
                let until = (measured + MEASURED).min(listing.records.len());
                total += listing.measure(measured..until);
                measured = until;
                tokio::task::yield_now().await;
            }
            if listing.stage == Stage::Over {
                return None;
            }
            let mut out = Vec::with_capacity(CHUNK + CHUNK / 8);
            while listing.stage != Stage::Over && out.len() < CHUNK {
                listing.write(&mut out, total);
            }
            Some((Ok(Bytes::from(out)), (listing, measured, total)))
        })
    }

    /// As [`Self::stream`], made on a task of its own that ends with whoever reads.
    pub(super) fn beside(self, children: &Children) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
        let (made, taken) = mpsc::channel(AHEAD);
        children.spawn("large list", async move {
            let mut chunks = std::pin::pin!(self.stream());
            while let Some(chunk) = chunks.next().await {
                if made.send(chunk).await.is_err() {
                    return; // nobody reads any more
                }
            }
        });
        futures::stream::unfold(taken, |mut taken| async move { Some((taken.recv().await?, taken)) })
    }

    /// The bytes that some of the items will take in a form that wants to know.
    fn measure(&mut self, range: std::ops::Range<usize>) -> usize {
        if self.view.accepts.format != Format::Protobuf {
            return 0;
        }
        let records = &self.records.as_slice()[range];
        // only the plain form of the version that is stored is worth remembering
        let plain = self.view.accepts.shape == Shape::Object && self.view.is_native();
        let mut total = 0;
        for record in records {
            let known = if plain { record.measure().load(Ordering::Relaxed) as usize } else { 0 };
            let length = if known > 0 {
                known
            } else {
                self.item.clear();
                self.view.message(record, &mut self.item);
                if plain && let Ok(length) = u32::try_from(self.item.len()) {
                    record.measure().store(length, Ordering::Relaxed);
                }
                self.item.len()
            };
            total += protobuf::item_size(length);
        }
        total
    }

    /// Writes the next piece: the head, an item, or the end.
    fn write(&mut self, out: &mut Vec<u8>, total: usize) {
        if self.stage == Stage::Head {
            self.head(out, total);
            self.stage = Stage::First;
            return;
        }
        let first = self.stage == Stage::First;
        self.stage = Stage::Items;
        let Some(record) = self.records.next() else {
            out.extend_from_slice(match self.view.accepts.format {
                Format::Protobuf => protobuf::ENVELOPE_TAIL,
                Format::Cbor => b"",
                Format::Json | Format::Yaml => b"]}\n",
            });
            self.stage = Stage::Over;
            return;
        };
        match (self.view.accepts.format, self.view.accepts.shape) {
            (Format::Protobuf, _) => {
                self.item.clear();
                self.view.message(&record, &mut self.item);
                protobuf::item_head(out, self.item.len());
                out.extend_from_slice(&self.item);
            }
            (Format::Cbor, _) => cbor::item(&self.view.value(&record), out),
            (_, shape) => {
                if !first {
                    out.push(b',');
                }
                if shape == Shape::Table {
                    let object = self.view.core.decode(&self.view.kind, &record);
                    let table = self.view.table(&[object], Value::Null, false);
                    self.view.write(&table["rows"][0], out);
                } else {
                    self.view.object(&record, out);
                }
            }
        }
    }

    fn head(&mut self, out: &mut Vec<u8>, total: usize) {
        let (view, metadata) = (&self.view, std::mem::take(&mut self.metadata));
        let (api_version, kind) = match view.accepts.shape {
            Shape::Table => {
                let text = view.table(&[], metadata, true).to_string();
                // rows are the last member by name
                let head = text.strip_suffix("]}").expect("invariant: a table without rows ends with an empty list");
                out.extend_from_slice(head.as_bytes());
                return;
            }
            Shape::Object => (view.kind.api_version(), view.kind.list_kind()),
            _ => (meta_version(view.accepts.meta_version), "PartialObjectMetadataList".to_owned()),
        };
        match view.accepts.format {
            Format::Protobuf => out.extend(protobuf::list_head(&api_version, &kind, &metadata, total)),
            Format::Cbor => {
                out.extend_from_slice(cbor::SELF_DESCRIBED);
                cbor::map_head(4, out);
                for (name, value) in [("kind", json!(kind)), ("apiVersion", json!(api_version)), ("metadata", metadata)]
                {
                    cbor::put_text(name, out);
                    cbor::item(&value, out);
                }
                cbor::put_text("items", out);
                cbor::array_head(self.records.len(), out);
            }
            Format::Json | Format::Yaml => {
                let (kind, api_version) = (json!(kind), json!(api_version));
                let head =
                    format!("{{\"kind\":{kind},\"apiVersion\":{api_version},\"metadata\":{metadata},\"items\":[");
                out.extend_from_slice(head.as_bytes());
            }
        }
    }
}
