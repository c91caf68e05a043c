//! List, then watch, for ever: the events of one kind as `kube::runtime::watcher` tells them, for a tenth of its memory.
//!
//! Invariant: after `InitDone` the events lead from the listed state to the newest without a gap; where one could be (the
//! version is too old, 410), everything is listed again, from `Init` on. Why not kube's own: it keeps a read buffer of 8 KB
//! and the states of all its adapters for each watch, and copies and scans each line twice; there is a watch per kind, of
//! which a cluster may have thousands. A watch here keeps nothing between two events, and an event is read where it
//! arrived.

use std::marker::PhantomData;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use kube::api::{ListParams, ObjectList, WatchEvent, WatchParams};
use kube::client::Body;
use kube::core::{Request, Status};
use kube::runtime::watcher::{Config, Event};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

/// How long the server is asked to keep a watch, in seconds; as client-go and kube do.
const LASTS: u32 = 290;
/// More than this without a byte, once the server should have ended the watch, and the connection counts as dead.
const GRACE: Duration = Duration::from_secs(5);
/// No event is longer: etcd refuses objects of a few MiB.
const LONGEST: usize = 64 << 20;
const FIRST_WAIT: Duration = Duration::from_millis(800);
const LONGEST_WAIT: Duration = Duration::from_secs(30);
const GONE: u16 = 410;

/// Whole objects, or what all kinds have: apiVersion, kind and metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Object,
    /// `K` must be readable from a PartialObjectMetadata.
    Metadata,
}

/// One kind being followed.
pub struct Follow<K> {
    client: Client,
    request: Request,
    config: Config,
    form: Form,
    state: State,
    /// Read, not yet told; in reverse.
    listed: Vec<K>,
    wait: Duration,
    kind: PhantomData<K>,
}

impl<K> std::fmt::Debug for Follow<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follow").field("path", &self.request.url_path).finish_non_exhaustive()
    }
}

enum State {
    /// Nothing is known.
    Unknown,
    /// Some pages are read; the rest follows from the token.
    Paging {
        token: Option<String>,
        version: String,
    },
    /// All that is known is of this version.
    Known {
        version: String,
    },
    Watching {
        lines: Box<Lines>,
        version: String,
        since: Instant,
    },
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Client(#[from] kube::Error),
    #[error("{0}")]
    Refused(Box<Status>),
    #[error("cannot read an event: {0}")]
    Text(#[from] serde_json::Error),
    #[error("the connection broke: {0}")]
    Broken(String),
    #[error("nothing was heard for {0:?}, not even the end of the watch")]
    Silent(Duration),
    #[error("the watch ended as soon as it began")]
    Brief,
}

impl Fault {
    /// What is known is too old for the server, or not to be trusted.
    fn starts_over(&self) -> bool {
        match self {
            Self::Client(kube::Error::Api(status)) | Self::Refused(status) => status.code == GONE,
            Self::Text(_) => true,
            _ => false,
        }
    }
}

impl<K: Resource + DeserializeOwned + Clone + std::fmt::Debug> Follow<K> {
    /// Follows the objects below `path`, such as `/api/v1/pods`, with the selectors of `config`. The kind of list and its
    /// page size follow `config` too.
    #[must_use]
    pub fn new(client: Client, path: &str, config: Config, form: Form) -> Self {
        let (request, state, listed) = (Request::new(path), State::Unknown, Vec::new());
        Self { client, request, config, form, state, listed, wait: FIRST_WAIT, kind: PhantomData }
    }

    /// As [`Self::new`], for the objects that `api` reaches.
    #[must_use]
    pub fn of(api: kube::Api<K>, config: Config) -> Self {
        let path = api.resource_url().to_owned();
        Self::new(api.into_client(), &path, config, Form::Object)
    }

    /// The next event. Faults are told to the log and tried again, later and later, for up to half a minute.
    pub async fn next(&mut self) -> Event<K> {
        loop {
            if let Some(object) = self.listed.pop() {
                return Event::InitApply(object);
            }
            match self.step().await {
                Ok(Some(event)) => {
                    if !matches!(event, Event::Init) {
                        self.wait = FIRST_WAIT;
                    }
                    return event;
                }
                Ok(None) => {}
                Err(fault) => {
                    tracing::warn!(path = self.request.url_path, "watch interrupted, trying again: {fault}");
                    self.state = match std::mem::replace(&mut self.state, State::Unknown) {
                        State::Known { version } | State::Watching { version, .. } if !fault.starts_over() => {
                            State::Known { version }
                        }
                        _ => State::Unknown,
                    };
                    let jitter = self.wait.mul_f64(f64::from(base::names::random() as u32) / f64::from(u32::MAX));
                    tokio::time::sleep((self.wait + jitter).min(LONGEST_WAIT)).await;
                    self.wait = (self.wait * 2).min(LONGEST_WAIT);
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Option<Event<K>>, Fault> {
        match &mut self.state {
            State::Unknown => {
                self.state = State::Paging { token: None, version: String::new() };
                Ok(Some(Event::Init))
            }
            State::Paging { token: None, version } if !version.is_empty() => {
                self.state = State::Known { version: std::mem::take(version) };
                self.listed = Vec::new(); // a watch lives long; its list need not
                Ok(Some(Event::InitDone))
            }
            State::Paging { token, .. } => {
                let token = token.take();
                self.page(token).await?;
                Ok(None)
            }
            State::Known { version } => {
                let version = std::mem::take(version);
                let opened = self.open(&version).await;
                self.state = match opened {
                    Ok(body) => State::Watching { lines: Box::new(Lines::new(body)), version, since: Instant::now() },
                    Err(fault) => {
                        self.state = State::Known { version };
                        return Err(fault);
                    }
                };
                Ok(None)
            }
            State::Watching { .. } => self.heard().await,
        }
    }

    async fn page(&mut self, token: Option<String>) -> Result<(), Fault> {
        let Config { label_selector, field_selector, page_size, .. } = self.config.clone();
        let params = ListParams {
            label_selector,
            field_selector,
            limit: page_size,
            continue_token: token,
            ..ListParams::default()
        };
        let request = match self.form {
            Form::Object => self.request.list(&params),
            Form::Metadata => self.request.list_metadata(&params),
        };
        let list: ObjectList<K> = self.client.request(request.map_err(kube::Error::BuildRequest)?).await?;
        self.listed = list.items;
        self.listed.reverse();
        // a server without versions is told apart from one that has not answered yet
        let version = list.metadata.resource_version.filter(|version| !version.is_empty());
        let token = list.metadata.continue_.filter(|token| !token.is_empty());
        self.state = State::Paging { token, version: version.unwrap_or_else(|| "0".to_owned()) };
        Ok(())
    }

    async fn open(&mut self, version: &str) -> Result<Body, Fault> {
        let params = WatchParams {
            label_selector: self.config.label_selector.clone(),
            field_selector: self.config.field_selector.clone(),
            timeout: Some(self.config.timeout.unwrap_or(LASTS)),
            bookmarks: self.config.bookmarks,
            send_initial_events: false,
        };
        let request = match self.form {
            Form::Object => self.request.watch(&params, version),
            Form::Metadata => self.request.watch_metadata(&params, version),
        };
        let mut request = request.map_err(kube::Error::BuildRequest)?;
        // each event would be a gzip member of its own
        request.headers_mut().insert(http::header::ACCEPT_ENCODING, http::HeaderValue::from_static("identity"));
        let response = self.client.send(request.map(Body::from)).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response.into_body());
        }
        let body = response.into_body().collect().await.map_err(|error| Fault::Broken(error.to_string()))?;
        let told = serde_json::from_slice::<Status>(&body.to_bytes()).unwrap_or_default();
        Err(Fault::Refused(Box::new(Status { code: status.as_u16(), ..told })))
    }

    async fn heard(&mut self) -> Result<Option<Event<K>>, Fault> {
        let silence = Duration::from_secs(self.config.timeout.unwrap_or(LASTS).into()) + GRACE;
        let State::Watching { lines, version, since } = &mut self.state else { return Ok(None) };
        let line = tokio::time::timeout(silence, lines.next()).await.map_err(|_| Fault::Silent(silence))??;
        let Some(line) = line else {
            let brief = since.elapsed() < FIRST_WAIT && !lines.told;
            self.state = State::Known { version: std::mem::take(version) };
            return if brief { Err(Fault::Brief) } else { Ok(None) };
        };
        let event = serde_json::from_slice::<WatchEvent<K>>(&line)?;
        lines.told = true;
        let mut at = |object: &K| {
            if let Some(newer) = &object.meta().resource_version {
                newer.clone_into(version);
            }
        };
        match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                at(&object);
                Ok(Some(Event::Apply(object)))
            }
            WatchEvent::Deleted(object) => {
                at(&object);
                Ok(Some(Event::Delete(object)))
            }
            WatchEvent::Bookmark(bookmark) => {
                *version = bookmark.metadata.resource_version;
                Ok(None)
            }
            WatchEvent::Error(status) => Err(Fault::Refused(status)),
        }
    }
}

/// The lines of a body. What is read and not yet told is the frame as it came, and the beginning of a line that goes on in
/// the next one.
struct Lines<B = Body> {
    body: B,
    frame: Bytes,
    begun: Vec<u8>,
    /// An event has been read.
    told: bool,
}

impl<B> Lines<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    fn new(body: B) -> Self {
        Self { body, frame: Bytes::new(), begun: Vec::new(), told: false }
    }

    /// The next line; none at the end. A line that was cut off is no line: its event will be told again.
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.frame) {
                let line = self.frame.split_to(end + 1);
                if self.begun.is_empty() {
                    return Ok(Some(line));
                }
                self.begun.extend_from_slice(&line);
                return Ok(Some(std::mem::take(&mut self.begun).into()));
            }
            let rest = std::mem::take(&mut self.frame);
            if self.begun.len() + rest.len() > LONGEST {
                return Err(Fault::Broken(format!("an event has more than {LONGEST} bytes")));
            }
            self.begun.extend_from_slice(&rest);
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => self.frame = frame.into_data().unwrap_or_default(),
                Some(Err(error)) => return Err(Fault::Broken(error.to_string())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
