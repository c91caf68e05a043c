//! watch: the changes of a kind's objects, as JSON lines.
//!
//! An event's object bytes are the ones the store published; a watcher copies them between a fixed head and tail and
//! never encodes them again. Why the copy: one chunk per wake-up costs less on the wire than three per event. A watcher
//! that falls behind the store's history ends with 410 and lists again, so a slow client costs no memory.

use std::{sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use kinds::Kind;
use serde_json::{Value, json};
use store::{Event, Range, Record, Watch, WatchError};
use tokio::time::Instant;

use super::read::parse_revision;
use crate::{
    body::{self, BoxError},
    call::{Answer, Call},
    core::{self, Core},
    error::ApiError,
    negotiate::{Accepts, Format, JSON, Shape},
    select::Selection,
    shape,
};

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without timeoutSeconds ends after one to two times this, so that clients spread over servers again.
const SHORTEST: u64 = 1800;
/// Bytes gathered into one chunk.
const CHUNK: usize = 64 * 1024;
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

struct Feed {
    core: Arc<Core>,
    kind: Arc<Kind>,
    selection: Selection,
    lines: Lines,
    /// What existed when the watch began, still to be told.
    initial: std::vec::IntoIter<Arc<Record>>,
    /// Changes that did not fit into the chunk before.
    pending: std::vec::IntoIter<Arc<Event>>,
    /// The revision to tell once the initial events are through.
    initial_end: Option<u64>,
    source: Result<Watch, ApiError>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    ended: bool,
}

pub(crate) fn watch(core: &Arc<Core>, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    call.options.check_list(true)?;
    if call.accepts.format == Format::Yaml {
        return Err(ApiError::not_acceptable(&[JSON]));
    }
    let selection = Selection::parse(kind, &call.options, &call.info.name)?;
    let feed = Feed::start(core, call, kind, selection)?;
    let chunks = futures::stream::unfold(feed, |mut feed| async move {
        let chunk = feed.next().await?;
        Some((Ok::<Bytes, BoxError>(chunk), feed))
    });
    let response = http::Response::builder()
        .header(http::header::CONTENT_TYPE, JSON)
        .header(http::header::CACHE_CONTROL, "no-cache, private")
        .body(body::stream(chunks))
        .expect("invariant: fixed headers make a response");
    Ok(Answer::Response(response))
}

impl Feed {
    fn start(core: &Arc<Core>, call: &Call, kind: &Arc<Kind>, selection: Selection) -> Result<Self, ApiError> {
        let options = &call.options;
        let namespace = match (call.info.namespace.as_str(), selection.namespace()) {
            ("", Some(namespace)) => namespace,
            (namespace, _) => namespace,
        };
        let prefix = core::prefix(kind, namespace);
        let asked = match options.resource_version.as_str() {
            "" => 0,
            version => parse_revision(version)?,
        };
        let newest = core.store.revision();
        let replay = options.initial_events();
        let (mut initial, mut after, mut failed) = (Vec::new(), asked, None);
        if replay && asked > newest {
            failed = Some(ApiError::too_large_resource_version(asked, newest));
        } else if replay {
            let range = Range { prefix: &prefix, after: None, limit: 0, at: None };
            let page = core.store.range(range).map_err(ApiError::internal)?;
            (initial, after) = (page.records, page.revision);
        } else if asked == 0 {
            after = newest;
        }
        let source = match failed {
            Some(error) => Err(error),
            None => core.store.watch(&prefix, after).map_err(|error| refusal(error, after)),
        };
        let tells_end = replay && options.allow_watch_bookmarks;
        let now = Instant::now();
        let lasts = match options.timeout_seconds {
            None | Some(0) => SHORTEST + base::names::random() % SHORTEST,
            Some(seconds) => seconds,
        };
        Ok(Self {
            lines: Lines::new(core, kind, &call.accepts, &options.include_object),
            core: core.clone(),
            kind: kind.clone(),
            selection,
            initial: initial.into_iter(),
            pending: Vec::new().into_iter(),
            initial_end: tells_end.then_some(after),
            source,
            bookmarks: options.allow_watch_bookmarks,
            next_bookmark: now + BOOKMARK_EVERY,
            deadline: now + Duration::from_secs(lasts),
            ended: false,
        })
    }

    /// The next chunk: one or more whole lines. None ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = BytesMut::new();
        self.tell_initial(&mut out);
        loop {
            while out.len() < CHUNK
                && let Some(event) = self.pending.next()
            {
                self.tell(&mut out, &event);
            }
            if !out.is_empty() {
                return Some(out.freeze());
            }
            let source = match &mut self.source {
                Ok(source) => source,
                Err(error) => {
                    self.ended = true;
                    self.lines.error(&mut out, error);
                    return Some(out.freeze());
                }
            };
            tokio::select! {
                events = source.next() => match events {
                    Ok(events) => self.pending = events.into_iter(),
                    Err(WatchError::Closed) => return None,
                    Err(error) => self.source = Err(refusal(error, source.revision())),
                },
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    let revision = source.revision();
                    self.lines.bookmark(&mut out, revision, false);
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    self.ended = true;
                    let revision = source.revision();
                    if !self.bookmarks {
                        return None;
                    }
                    self.lines.bookmark(&mut out, revision, false);
                }
                () = self.core.closing.cancelled() => return None,
            }
        }
    }

    fn tell_initial(&mut self, out: &mut BytesMut) {
        if self.source.is_err() {
            return;
        }
        while out.len() < CHUNK {
            let Some(record) = self.initial.next() else { break };
            if self.selection.matches(&self.core, &self.kind, &record) {
                self.lines.event(out, "ADDED", &record);
            }
        }
        if self.initial.len() == 0
            && let Some(revision) = self.initial_end.take()
        {
            self.lines.bookmark(out, revision, true);
        }
    }

    /// A change as this selection sees it: an object may enter or leave it.
    fn tell(&mut self, out: &mut BytesMut, event: &Event) {
        let (core, kind) = (&self.core, &self.kind);
        let shown = |record: &Arc<Record>| self.selection.matches(core, kind, record);
        match event {
            Event::Put { record, prev } => match (shown(record), prev.as_ref().filter(|prev| shown(prev))) {
                (true, None) => self.lines.event(out, "ADDED", record),
                (true, Some(_)) => self.lines.event(out, "MODIFIED", record),
                (false, Some(prev)) => self.lines.left(out, prev, record.revision),
                (false, None) => {}
            },
            Event::Delete { record, prev } => {
                if shown(prev) {
                    self.lines.event(out, "DELETED", record);
                }
            }
        }
    }
}

fn refusal(error: WatchError, asked: u64) -> ApiError {
    match error {
        WatchError::Compacted { oldest } => ApiError::expired(format!("too old resource version: {asked} ({oldest})")),
        WatchError::Future { newest } => ApiError::too_large_resource_version(asked, newest),
        other => ApiError::internal(other),
    }
}

/// How events are written down, for one watcher.
struct Lines {
    core: Arc<Core>,
    kind: Arc<Kind>,
    accepts: Accepts,
    include_object: String,
    /// The stored bytes are what the client wants.
    verbatim: bool,
    /// Columns are told with the first row only.
    headers_told: bool,
}

impl Lines {
    fn new(core: &Arc<Core>, kind: &Arc<Kind>, accepts: &Accepts, include_object: &str) -> Self {
        let verbatim = accepts.shape == Shape::Object && core.foreign_storage(kind).is_none();
        let (core, kind, accepts) = (core.clone(), kind.clone(), accepts.clone());
        Self { core, kind, accepts, include_object: include_object.to_owned(), verbatim, headers_told: false }
    }

    fn event(&mut self, out: &mut BytesMut, change: &str, record: &Record) {
        if self.verbatim {
            out.reserve(record.value.len() + 40);
            line(out, change, |out| out.put_slice(&record.value));
        } else {
            let object = self.core.decode(&self.kind, record);
            self.object(out, change, object);
        }
    }

    /// An object left the selection: its last visible state, at the revision of the change.
    fn left(&mut self, out: &mut BytesMut, prev: &Record, revision: u64) {
        let mut object = self.core.decode(&self.kind, prev);
        object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        self.object(out, "DELETED", object);
    }

    fn object(&mut self, out: &mut BytesMut, change: &str, object: Value) {
        let shaped = match self.accepts.shape {
            Shape::Object => object,
            Shape::Metadata => shape::metadata(&object),
            Shape::Table => {
                let mut table = shape::table(&self.kind, &[object], &self.include_object, self.accepts.meta_version);
                if std::mem::replace(&mut self.headers_told, true) {
                    table["columnDefinitions"] = Value::Null;
                }
                table
            }
        };
        write_value(out, change, &shaped);
    }

    fn bookmark(&mut self, out: &mut BytesMut, revision: u64, initial_end: bool) {
        let mut metadata = json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if initial_end {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let object = match self.accepts.shape {
            Shape::Object => {
                json!({ "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata })
            }
            Shape::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata })
            }
            Shape::Table => {
                let mut table = shape::table(&self.kind, &[], &self.include_object, self.accepts.meta_version);
                table["metadata"] = metadata;
                table
            }
        };
        write_value(out, "BOOKMARK", &object);
    }

    fn error(&self, out: &mut BytesMut, error: &ApiError) {
        write_value(out, "ERROR", &error.status());
    }
}

fn write_value(out: &mut BytesMut, change: &str, object: &Value) {
    line(out, change, |out| {
        serde_json::to_writer(out.writer(), object).expect("invariant: a JSON value encodes into memory");
    });
}

fn line(out: &mut BytesMut, change: &str, object: impl FnOnce(&mut BytesMut)) {
    out.put_slice(b"{\"type\":\"");
    out.put_slice(change.as_bytes());
    out.put_slice(b"\",\"object\":");
    object(out);
    out.put_slice(b"}\n");
}
