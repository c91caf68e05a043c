//! watch: the changes of a kind's objects, as lines of JSON or framed in protobuf.
//!
//! An event's object bytes are the ones the store published, or made once for all who watch in the same form; a watcher
//! copies them between a fixed head and tail. Why the copy: one chunk per wake-up costs less on the wire than three per
//! event. A watcher that falls behind the store's history ends with 410 and lists again, so a slow client costs no memory.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use kinds::Kind;
use serde_json::{Value, json};
use store::{Event, Range, Record, Watch, WatchError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{fresh, read::parse_revision};
use crate::{
    body::{self, BoxError},
    call::{Answer, Call},
    core::{self, Core},
    error::ApiError,
    frames,
    negotiate::{self, Accepts, Format, Shape},
    select::Selection,
    shape,
    view::View,
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
    /// Nothing up to this revision is told as a change. It may lie ahead: then the watch is silent until it comes.
    from: u64,
    source: Result<Watch, ApiError>,
    bookmarks: bool,
    next_bookmark: Instant,
    deadline: Instant,
    /// Cancelled when the kind goes, or its objects are to be read in another way.
    row_ended: CancellationToken,
    ended: bool,
}

pub(crate) async fn watch(core: &Arc<Core>, call: &Call, kind: &Arc<Kind>) -> Result<Answer, ApiError> {
    call.options.check_list(true)?;
    let selection = Selection::parse(kind, &call.options, &call.info.name)?;
    let mut feed = Feed::start(core, call, kind, selection).await?;
    shape::check(call)?;
    let content_type = call.accepts.format.stream_type().ok_or_else(negotiate::no_stream)?;
    let initial = core.read_all(kind, std::mem::take(&mut feed.initial).collect()).await?;
    feed.initial = initial.into_iter();
    let chunks = futures::stream::unfold(feed, |mut feed| async move {
        let chunk = feed.next().await?;
        Some((Ok::<Bytes, BoxError>(chunk), feed))
    });
    let response = http::Response::builder()
        .header(http::header::CONTENT_TYPE, content_type)
        .header(http::header::CACHE_CONTROL, "no-cache, private")
        .body(body::stream(chunks))
        .expect("invariant: fixed headers make a response");
    Ok(Answer::Response(response))
}

impl Feed {
    async fn start(core: &Arc<Core>, call: &Call, kind: &Arc<Kind>, selection: Selection) -> Result<Self, ApiError> {
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
        if let Err(error) = fresh::reach(core, kind, if replay { asked } else { 0 }).await {
            failed = Some(error);
        } else if replay {
            let range = Range { prefix: &prefix, after: None, limit: 0, at: None };
            let page = core.store.range(range).map_err(ApiError::internal)?;
            (initial, after) = (page.records, page.revision);
        } else if asked == 0 || asked > newest {
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
            lines: Lines::new(core, kind, call.accepts, &options.include_object),
            core: core.clone(),
            kind: kind.clone(),
            selection,
            initial: initial.into_iter(),
            pending: Vec::new().into_iter(),
            initial_end: tells_end.then_some(after),
            from: asked,
            source,
            bookmarks: options.allow_watch_bookmarks,
            next_bookmark: now + BOOKMARK_EVERY,
            deadline: now + Duration::from_secs(lasts),
            row_ended: kind.custom.as_ref().map(|custom| core.customs.ended(custom)).unwrap_or_default(),
            ended: false,
        })
    }

    /// The next chunk: one or more whole lines. None ends the watch.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = Vec::new();
        self.tell_initial(&mut out);
        loop {
            while out.len() < CHUNK
                && let Some(event) = self.pending.next()
            {
                self.tell(&mut out, &event);
            }
            if self.lines.misshapen {
                return None; // upstream cannot write the event either and hangs up
            }
            if !out.is_empty() {
                return Some(Bytes::from(out));
            }
            let source = match &mut self.source {
                Ok(source) => source,
                Err(error) => {
                    self.ended = true;
                    self.lines.error(&mut out, error);
                    return Some(Bytes::from(out));
                }
            };
            tokio::select! {
                events = source.next() => match events {
                    Ok(events) => {
                        let before = !self.selection.is_everything();
                        match self.core.read_events(&self.kind, events, before).await {
                            Ok(events) => self.pending = events.into_iter(),
                            Err(error) => self.source = Err(error),
                        }
                    }
                    Err(WatchError::Closed) => return None,
                    Err(error) => self.source = Err(refusal(error, source.revision())),
                },
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    let revision = source.revision();
                    if revision >= self.from {
                        self.lines.bookmark(&mut out, revision, false);
                    }
                }
                () = tokio::time::sleep_until(self.deadline) => {
                    self.ended = true;
                    let revision = source.revision();
                    if !self.bookmarks || revision < self.from {
                        return None;
                    }
                    self.lines.bookmark(&mut out, revision, false);
                }
                () = self.row_ended.cancelled() => return None,
                () = self.core.closing.cancelled() => return None,
            }
        }
    }

    fn tell_initial(&mut self, out: &mut Vec<u8>) {
        if self.source.is_err() {
            return;
        }
        while out.len() < CHUNK {
            let Some(record) = self.initial.next() else { break };
            if self.selection.matches(&self.core, &self.kind, &record) {
                self.lines.event(out, "ADDED", &record, false);
            }
        }
        if self.initial.len() == 0 {
            self.initial = Vec::new().into_iter(); // a watch lives long; its list need not
        }
        if self.initial.len() == 0
            && let Some(revision) = self.initial_end.take()
        {
            self.lines.bookmark(out, revision, true);
        }
    }

    /// A change as this selection sees it: an object may enter or leave it.
    fn tell(&mut self, out: &mut Vec<u8>, event: &Event) {
        if event.revision() <= self.from {
            return;
        }
        let (core, kind) = (&self.core, &self.kind);
        let shown = |record: &Arc<Record>| self.selection.matches(core, kind, record);
        match event {
            Event::Put { record, prev } => match (shown(record), prev.as_ref().filter(|prev| shown(prev))) {
                (true, None) => self.lines.event(out, "ADDED", record, true),
                (true, Some(_)) => self.lines.event(out, "MODIFIED", record, true),
                (false, Some(prev)) => self.lines.left(out, prev, record.revision),
                (false, None) => {}
            },
            Event::Delete { record, prev } => {
                if shown(prev) {
                    self.lines.event(out, "DELETED", record, true);
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
    view: View,
    /// Columns are told with the first row only.
    headers_told: bool,
    /// There was an event, and the shape that was asked for has no place for one object.
    misshapen: bool,
}

impl Lines {
    fn new(core: &Arc<Core>, kind: &Arc<Kind>, accepts: Accepts, include_object: &str) -> Self {
        let view = View::new(core, kind, Accepts { pretty: false, ..accepts }, include_object);
        Self { view, headers_told: false, misshapen: false }
    }

    /// `shared` events are told to others too, so what is made of them is kept for a while.
    fn event(&mut self, out: &mut Vec<u8>, change: &str, record: &Arc<Record>, shared: bool) {
        if self.view.accepts.shape == Shape::MetadataList {
            self.misshapen = true;
            return;
        }
        let view = &mut self.view;
        let format = view.accepts.format;
        if view.is_verbatim() {
            out.reserve(record.value.len() + 40);
            frame(out, format, change, |out| out.extend_from_slice(&record.value));
        } else if view.accepts.shape == Shape::Table {
            let object = view.core.decode(&view.kind, record);
            self.object(out, change, object);
        } else if shared {
            let core = view.core.clone();
            let bytes = core.frames.get(frames::Wanted::new(record, view), || {
                let mut made = Vec::new();
                view.object(record, &mut made);
                made.into()
            });
            frame(out, format, change, |out| out.extend_from_slice(&bytes));
        } else {
            frame(out, format, change, |out| view.object(record, out));
        }
    }

    /// An object left the selection: its last visible state, at the revision of the change.
    fn left(&mut self, out: &mut Vec<u8>, prev: &Record, revision: u64) {
        let mut object = self.view.core.decode(&self.view.kind, prev);
        object["metadata"]["resourceVersion"] = Value::String(revision.to_string());
        self.object(out, "DELETED", object);
    }

    fn object(&mut self, out: &mut Vec<u8>, change: &str, object: Value) {
        let shaped = match self.view.accepts.shape {
            Shape::Table => self.table(object),
            Shape::MetadataList => {
                self.misshapen = true;
                return;
            }
            Shape::Object | Shape::Metadata => self.view.shaped(object),
        };
        self.write(out, change, &shaped);
    }

    /// A table of one row, for a bookmark too. What tells the end of the initial events is shown whatever was asked.
    fn table(&mut self, object: Value) -> Value {
        let told = std::mem::replace(&mut self.headers_told, true);
        let metadata = json!({ "resourceVersion": object["metadata"]["resourceVersion"] });
        let objects = [object];
        let mut table = self.view.table(&objects, metadata, !told);
        if told {
            table["columnDefinitions"] = Value::Null;
        }
        let [object] = objects;
        if object["metadata"]["annotations"][INITIAL_EVENTS_END] == "true" && table["rows"][0]["object"].is_null() {
            table["rows"][0]["object"] = self.view.partial(&object);
        }
        table
    }

    fn bookmark(&mut self, out: &mut Vec<u8>, revision: u64, initial_end: bool) {
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if initial_end {
            metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
        }
        let kind = &self.view.kind;
        let object = json!({ "kind": kind.kind, "apiVersion": kind.api_version(), "metadata": metadata });
        self.object(out, "BOOKMARK", object);
    }

    fn error(&self, out: &mut Vec<u8>, error: &ApiError) {
        self.write(out, "ERROR", &error.status());
    }

    fn write(&self, out: &mut Vec<u8>, change: &str, object: &Value) {
        frame(out, self.view.accepts.format, change, |out| self.view.write(object, out));
    }
}

/// One event, so that its end can be told.
fn frame(out: &mut Vec<u8>, format: Format, change: &str, object: impl FnOnce(&mut Vec<u8>)) {
    match format {
        Format::Protobuf => {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            kinds::protobuf::watch_event(out, change, object);
            let length = u32::try_from(out.len() - start - 4).expect("invariant: an event is smaller than 4 GB");
            out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        }
        Format::Cbor => {
            out.extend_from_slice(kinds::cbor::SELF_DESCRIBED);
            kinds::cbor::map_head(2, out);
            kinds::cbor::put_text("type", out);
            kinds::cbor::put_text(change, out);
            kinds::cbor::put_text("object", out);
            object(out);
        }
        Format::Json | Format::Yaml => {
            out.extend_from_slice(b"{\"type\":\"");
            out.extend_from_slice(change.as_bytes());
            out.extend_from_slice(b"\",\"object\":");
            object(out);
            out.extend_from_slice(b"}\n");
        }
    }
}
