//! Stored objects as the version asked for shows them.
//!
//! What is stored was written in some version, by the schema of its time. A reader gets it pruned and defaulted by the
//! schema of that version as it is now, then converted. The bytes of a record are shown as they are whenever that changes
//! nothing, which is looked up once per record and schema and remembered with the record; otherwise the reader gets a
//! record of its own, so that nobody behind this module knows the difference.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use kinds::{Kind, managed, structural::Conversion};
use serde_json::Value;
use store::{Event, Record};

use super::webhook;
use crate::{
    core::{Core, parse, text},
    encode,
    error::ApiError,
};

/// The row by which a record was last found to need no change; zero for none.
struct Fresh(AtomicU64);

fn fresh(record: &Record) -> &AtomicU64 {
    &record.memo(|_| Fresh(AtomicU64::new(0))).0
}

/// Notes that a record was written by the row's schema just now.
pub(crate) fn written(kind: &Kind, record: &Record) {
    if let Some(custom) = kind.custom.as_ref().filter(|custom| custom.storage_version == kind.version) {
        fresh(record).store(custom.id, Ordering::Relaxed);
    }
}

/// An object on its way from the store to a reader.
struct Pending {
    /// Which of the records asked for.
    index: usize,
    object: Value,
}

impl Core {
    /// The record as the version of `kind` shows it.
    pub(crate) async fn read(&self, kind: &Kind, record: Arc<Record>) -> Result<Arc<Record>, ApiError> {
        if kind.custom.is_none() {
            return Ok(record);
        }
        let viewed = self.read_all(kind, vec![record]).await?;
        viewed.into_iter().next().ok_or_else(|| ApiError::internal("a view of one record is empty"))
    }

    /// The records as the version of `kind` shows them; those that must be converted are so together.
    pub(crate) async fn read_all(
        &self,
        kind: &Kind,
        mut records: Vec<Arc<Record>>,
    ) -> Result<Vec<Arc<Record>>, ApiError> {
        let Some(custom) = &kind.custom else { return Ok(records) };
        let wanted = kind.api_version();
        let (mut pending, catalog) = (Vec::new(), self.catalog());
        for (index, shown) in records.iter_mut().enumerate() {
            let record: &Record = shown;
            if fresh(record).load(Ordering::Relaxed) == custom.id {
                continue;
            }
            let mut object = parse(record);
            let version = text(&object, "/apiVersion").to_owned();
            let row = catalog.by_api_version(&version, &kind.kind);
            let changed = row.is_some_and(|row| kinds::structural::refresh(row, &mut object));
            match (version == wanted, changed) {
                (true, false) => fresh(record).store(custom.id, Ordering::Relaxed),
                (true, true) => *shown = rewritten(record, &object),
                (false, _) => pending.push(Pending { index, object }),
            }
        }
        let objects = pending.iter_mut().map(|pending| pending.object.take()).collect();
        let converted = self.convert(kind, objects, &wanted).await?;
        for (Pending { index, .. }, object) in pending.into_iter().zip(converted) {
            records[index] = rewritten(&records[index], &object);
        }
        Ok(records)
    }

    /// The events as the version of `kind` shows their records; what was before only if somebody reads it.
    pub(crate) async fn read_events(
        &self,
        kind: &Kind,
        events: Vec<Arc<Event>>,
        before: bool,
    ) -> Result<Vec<Arc<Event>>, ApiError> {
        if kind.custom.is_none() {
            return Ok(events);
        }
        let mut shown = Vec::with_capacity(events.len());
        for event in events {
            shown.push(match &*event {
                Event::Put { record, prev: None } => {
                    Event::Put { record: self.read(kind, record.clone()).await?, prev: None }
                }
                Event::Put { record, prev: Some(prev) } => {
                    let record = self.read(kind, record.clone()).await?;
                    let prev = if before { self.read(kind, prev.clone()).await? } else { prev.clone() };
                    Event::Put { record, prev: Some(prev) }
                }
                Event::Delete { record, prev } => {
                    let record = self.read(kind, record.clone()).await?;
                    let prev = if before { self.read(kind, prev.clone()).await? } else { prev.clone() };
                    Event::Delete { record, prev }
                }
            });
        }
        Ok(shown.into_iter().map(Arc::new).collect())
    }

    /// The bytes to store for an object in the version of `kind`.
    pub(crate) async fn stored(&self, kind: &Kind, object: &Value) -> Result<Bytes, ApiError> {
        let Some(custom) = &kind.custom else { return Ok(encode::stored(&self.to_storage(kind, object))) };
        if custom.storage_version == kind.version {
            return Ok(encode::stored_custom(object));
        }
        let storage = kinds::catalog::api_version(&kind.group, &custom.storage_version);
        let converted = self.convert(kind, vec![object.clone()], &storage).await?;
        match converted.first() {
            Some(object) => Ok(encode::stored_custom(object)),
            None => Err(ApiError::internal("a conversion of one object is empty")),
        }
    }

    /// As [`Self::stored`], if the store takes it. What is too large loses the record of who owns its fields first, which
    /// may be large itself, unless it is to be kept.
    pub(crate) async fn fitted(&self, kind: &Kind, object: &mut Value, keep: bool) -> Result<Bytes, ApiError> {
        let bytes = self.stored(kind, object).await?;
        if fits(kind, object, &bytes) {
            return Ok(bytes);
        }
        if !keep {
            drop(managed::detach(object));
            let bytes = self.stored(kind, object).await?;
            if fits(kind, object, &bytes) {
                return Ok(bytes);
            }
        }
        Err(ApiError::new(500, "", "etcdserver: request is too large"))
    }

    /// Whether a record is stored in the form that a write would give it.
    pub(crate) fn is_current(&self, kind: &Kind, record: &Record) -> bool {
        let Some(custom) = &kind.custom else { return true };
        let storage = kinds::catalog::api_version(&kind.group, &custom.storage_version);
        if custom.storage_version == kind.version {
            return fresh(record).load(Ordering::Relaxed) == custom.id;
        }
        text(&parse(record), "/apiVersion") == storage
    }

    /// An object as another row of the same resource has it.
    pub(crate) async fn in_version(&self, from: &Kind, to: &Kind, mut object: Value) -> Result<Value, ApiError> {
        if (&from.group, &from.version) == (&to.group, &to.version) {
            return Ok(object);
        }
        if from.custom.is_none() {
            kinds::convert(&mut object, from, to);
            return Ok(object);
        }
        let converted = self.convert(from, vec![object], &to.api_version()).await?;
        converted.into_iter().next().ok_or_else(|| ApiError::internal("a conversion answered nothing"))
    }

    /// Turns objects of one kind into another version of it.
    async fn convert(&self, kind: &Kind, objects: Vec<Value>, version: &str) -> Result<Vec<Value>, ApiError> {
        let Some(custom) = kind.custom.as_ref().filter(|_| !objects.is_empty()) else { return Ok(objects) };
        let mut converted = match &custom.conversion {
            Conversion::None => {
                let renamed = objects.into_iter().map(|mut object| {
                    object["apiVersion"] = version.into();
                    object
                });
                renamed.collect()
            }
            Conversion::Webhook(webhook) => webhook::convert(self, custom, webhook, objects, version).await?,
        };
        let catalog = self.catalog();
        if let Some(row) = catalog.by_api_version(version, &kind.kind) {
            for object in &mut converted {
                kinds::prune(row, object);
            }
        }
        Ok(converted)
    }
}

/// A record of the same version with other bytes.
fn rewritten(record: &Record, object: &Value) -> Arc<Record> {
    let value = serde_json::to_vec(object).expect("invariant: a JSON value encodes into memory");
    Arc::new(Record::new(record.key.clone(), value.into(), record.created, record.revision))
}

/// Upstream's storage takes this many bytes at once: of protobuf, or of JSON if the kind has no other form.
const LARGEST: usize = 1536 * 1024;

fn fits(kind: &Kind, object: &Value, stored: &Bytes) -> bool {
    let measured = || kinds::protobuf::encode(object).filter(|_| kind.custom.is_none()).map(|message| message.len());
    stored.len() <= LARGEST || measured().is_some_and(|length| length <= LARGEST)
}
