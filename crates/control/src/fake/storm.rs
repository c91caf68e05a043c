//! Bad weather between a client and its server: a layer that lets a share of the calls end as calls over a network and
//! servers under load end.
//!
//! Invariant: what happens to a call follows from the seed and from what was called before; and of one request after
//! another to the same place at most [`MOST`] in a row are spoilt, so who tries again gets there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{Answer, respond};

/// Of a hundred calls so many are spoilt in a storm, and in a breeze.
const STORM: u64 = 30;
const BREEZE: u64 = 3;
/// No more calls to one place in a row.
const MOST: u32 = 2;
/// An answer, or an event, is late by less than this many milliseconds.
const LATE: u64 = 2000;
/// A watch is cut after so many events at the most, or after so many seconds.
const EVENTS: u64 = 40;
const SECONDS: std::ops::Range<u64> = 20..300;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Served,
    /// Nothing is done, and this is the answer.
    Refused(u16, &'static str),
    /// Nothing is done, and nothing answered.
    Unheard,
    /// It is done, and this is the answer.
    Denied(u16, &'static str),
    /// It is done, and nothing answered.
    Unanswered,
}

/// How a watch ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Plain,
    Expired,
    Broken,
    InALine,
}

/// The calls that differ in what can become of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Watch,
    Change,
    /// Of an object whose name the client says.
    Create,
    /// Of an object whose name the server makes.
    Generate,
    Bind,
}

impl Kind {
    fn of(request: &Request<Bytes>) -> Self {
        let path = request.uri().path();
        match *request.method() {
            Method::GET if request.uri().query().is_some_and(|query| query.contains("watch=true")) => Self::Watch,
            Method::GET => Self::Read,
            Method::POST if path.ends_with("/binding") => Self::Bind,
            Method::POST => {
                let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
                if body["metadata"]["name"].is_string() { Self::Create } else { Self::Generate }
            }
            _ => Self::Change,
        }
    }

    fn fates(self) -> Vec<Fate> {
        use Fate::{Denied, Refused, Unanswered, Unheard};
        let mut fates = vec![
            Refused(500, "InternalError"),
            Refused(429, "TooManyRequests"),
            Refused(503, "ServiceUnavailable"),
            Refused(504, "Timeout"),
            Unheard,
        ];
        if !matches!(self, Self::Read | Self::Watch) {
            fates.extend([Unanswered, Denied(504, "Timeout"), Unanswered, Denied(500, "InternalError")]);
        }
        match self {
            Self::Read => {}
            Self::Watch => fates.extend([Refused(410, "Expired"), Refused(410, "Gone")]),
            Self::Change => fates.extend([Refused(409, "Conflict"), Refused(409, "Conflict"), Denied(409, "Conflict")]),
            // the answer to the second try of somebody between us, who did not hear that to the first
            Self::Create => fates.extend([Denied(409, "AlreadyExists"), Denied(409, "AlreadyExists")]),
            Self::Generate => fates.push(Refused(409, "AlreadyExists")),
            Self::Bind => fates.extend([Refused(409, "Conflict"), Denied(409, "Conflict")]),
        }
        fates
    }
}

/// A storm. Clones are the same storm.
#[derive(Clone)]
pub(crate) struct Storm(Arc<Mutex<Chance>>);

struct Chance {
    state: u64,
    share: u64,
    /// Spoilt calls in a row, by place.
    spoilt: HashMap<String, u32>,
}

impl Chance {
    /// SplitMix64.
    fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }
}

impl Storm {
    pub(crate) fn new(seed: u64) -> Self {
        Self::of(seed, STORM)
    }

    /// A weak one.
    pub(crate) fn breeze(seed: u64) -> Self {
        Self::of(seed, BREEZE)
    }

    fn of(seed: u64, share: u64) -> Self {
        Self(Arc::new(Mutex::new(Chance { state: seed, share, spoilt: HashMap::new() })))
    }

    fn fate(&self, request: &Request<Bytes>) -> Fate {
        let kind = Kind::of(request);
        let mut chance = self.0.lock();
        let share = chance.share;
        let spoils = chance.draw(100) < share;
        let row = chance.spoilt.entry(format!("{kind:?} {}", request.uri().path())).or_default();
        *row = if spoils && *row < MOST { *row + 1 } else { 0 };
        if *row == 0 {
            return Fate::Served;
        }
        let fates = kind.fates();
        fates[chance.draw(fates.len() as u64) as usize]
    }

    /// Now and then an answer takes its time.
    async fn wait(&self) {
        let late = {
            let mut chance = self.0.lock();
            let share = chance.share;
            (chance.draw(100) < share).then(|| chance.draw(LATE))
        };
        if let Some(late) = late {
            tokio::time::sleep(Duration::from_millis(late)).await;
        }
    }
}

impl<S> Layer<S> for Storm {
    type Service = Weathered<S>;

    fn layer(&self, inner: S) -> Weathered<S> {
        Weathered { inner, storm: self.clone() }
    }
}

/// A service in a storm.
#[derive(Clone)]
pub(crate) struct Weathered<S> {
    inner: S,
    storm: Storm,
}

type Blown = Response<UnsyncBoxBody<Bytes, io::Error>>;

impl<S> Service<Request<Body>> for Weathered<S>
where
    S: Service<Request<Body>, Response = Answer, Error = Infallible, Future: Send> + Clone + Send + 'static,
{
    type Response = Blown;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Blown>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Self { mut inner, storm } = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
            let request = Request::from_parts(parts, body);
            let (fate, is_watch) = (storm.fate(&request), Kind::of(&request) == Kind::Watch);
            let request = request.map(Body::from);
            storm.wait().await;
            let answer = match fate {
                Fate::Refused(code, reason) => refusal(code, reason),
                Fate::Unheard => return Err(io::ErrorKind::ConnectionRefused.into()),
                Fate::Served => inner.call(request).await.unwrap_or_else(|never| match never {}),
                Fate::Denied(code, reason) => {
                    inner.call(request).await.unwrap_or_else(|never| match never {});
                    refusal(code, reason)
                }
                Fate::Unanswered => {
                    inner.call(request).await.unwrap_or_else(|never| match never {});
                    return Err(io::ErrorKind::ConnectionReset.into());
                }
            };
            storm.wait().await;
            let whole = is_watch && answer.status().is_success();
            Ok(answer
                .map(|body| if whole { cut(body, storm) } else { body.map_err(|never| match never {}).boxed_unsync() }))
        })
    }
}

fn refusal(code: u16, reason: &str) -> Answer {
    let mut answer = respond(StatusCode::from_u16(code).expect("a status code"), &status(code, reason));
    if code == 429 {
        answer.headers_mut().insert("Retry-After", http::HeaderValue::from_static("1"));
    }
    answer
}

fn status(code: u16, reason: &str) -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "reason": reason,
        "message": format!("the storm: {reason}") })
}

/// A watch whose events are late at times and which ends some time.
fn cut(body: UnsyncBoxBody<Bytes, Infallible>, storm: Storm) -> UnsyncBoxBody<Bytes, io::Error> {
    let (events, end, last) = {
        let mut chance = storm.0.lock();
        let ends = [End::Plain, End::Expired, End::Broken, End::InALine];
        let seconds = SECONDS.start + chance.draw(SECONDS.end - SECONDS.start);
        let end = ends[chance.draw(ends.len() as u64) as usize];
        (chance.draw(EVENTS), end, Instant::now() + Duration::from_secs(seconds))
    };
    let frames = futures::stream::unfold(Some((body, events)), move |state| {
        let storm = storm.clone();
        async move {
            let (mut body, left) = state?;
            let next = tokio::time::timeout_at(last, body.frame()).await;
            let data = match next {
                Ok(frame) => frame?.unwrap_or_else(|never| match never {}).into_data().unwrap_or_default(),
                Err(_) => Bytes::new(),
            };
            storm.wait().await;
            if left > 0 && !data.is_empty() {
                return Some((Ok(Frame::data(data)), Some((body, left - 1))));
            }
            let rest = match end {
                End::Plain => Ok(Frame::data(data)),
                End::Expired => Ok(Frame::data(Bytes::from(format!("{}\n", expired())))),
                End::Broken => Err(io::ErrorKind::ConnectionReset.into()),
                End::InALine => Ok(Frame::data(data.slice(..data.len() / 2))),
            };
            Some((rest, None))
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

fn expired() -> Value {
    json!({ "type": "ERROR", "object": status(410, "Expired") })
}
