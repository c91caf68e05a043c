//! Copies of requests to another backend, whose answers nobody sees.
//!
//! Invariants: a copy never slows its request down: what the mirror does not take at once it does
//! not get, and a copy without all of its body is broken off; copies at once are bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderName, Request, header};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use pingora_http::RequestHeader;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::balance::Ask;
use crate::clock::Clock;
use crate::model::{Mirror, Protocol};

/// Copies under way at once.
const AT_ONCE: usize = 256;
/// Pieces of a body that wait for the mirror.
const PIECES: usize = 64;
/// A copy must have been answered by then.
const TIME: Duration = Duration::from_secs(60);
/// Headers that are about one connection.
const HOP: [HeaderName; 6] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::UPGRADE, header::TRAILER, header::HOST];

type Body = http_body_util::combinators::UnsyncBoxBody<Bytes, std::io::Error>;

/// Who sends copies.
#[derive(Debug)]
pub(super) struct Mirrors {
    clients: [Client<HttpConnector, Body>; 2],
    slots: Arc<Semaphore>,
    children: tasks::Children,
}

/// A copy under way, as its request sees it.
#[derive(Debug)]
pub(super) struct Copy {
    pieces: Option<mpsc::Sender<Bytes>>,
    broken: CancellationToken,
}

impl Mirrors {
    pub(super) fn new(children: tasks::Children) -> Self {
        let client = |h2: bool| Client::builder(TokioExecutor::new()).http2_only(h2).build(HttpConnector::new());
        Self { clients: [client(false), client(true)], slots: Arc::new(Semaphore::new(AT_ONCE)), children }
    }

    /// Begins a copy of `request`; none when nobody is there, it speaks TLS, or there are too many copies already.
    pub(super) fn copy(&self, mirror: &Mirror, request: &RequestHeader, body: bool) -> Option<Copy> {
        let ask = Ask { now: Clock.now(), dice: fastrand::u64(..), ..Ask::default() };
        let lease = mirror.backend.endpoints.pool().pick(&ask).ok()?;
        let endpoint = lease.address();
        let client = match mirror.backend.protocol {
            Protocol::Http => self.clients[0].clone(),
            Protocol::H2c => self.clients[1].clone(),
            Protocol::Https(_) | Protocol::H2(_) => return None,
        };
        let slot = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        let mut copy = Request::builder().method(request.method.clone()).uri(format!("http://{endpoint}{target}"));
        for (name, value) in request.headers.iter().filter(|(name, _)| !HOP.contains(name)) {
            copy = copy.header(name, value);
        }
        // As Envoy does, so that a mirror's logs tell copies from requests.
        let host = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = host.or(request.uri.authority().map(|authority| authority.as_str()));
        copy = copy.header(header::HOST, authority.unwrap_or_default());
        let (pieces, taken) = mpsc::channel(PIECES);
        let taken = futures::stream::unfold(taken, async |mut taken: mpsc::Receiver<Bytes>| {
            taken.recv().await.map(|piece| (Ok(Frame::data(piece)), taken))
        });
        let filled = if body {
            StreamBody::new(taken.boxed()).boxed_unsync()
        } else {
            Empty::new().map_err(|never| match never {}).boxed_unsync()
        };
        let copy = copy.body(filled).ok()?;
        let broken = CancellationToken::new();
        let stop = broken.clone();
        self.children.spawn("mirror", async move {
            let _places = (slot, lease);
            let answered = async {
                let answer = client.request(copy).await?;
                let mut body = answer.into_body();
                while let Some(frame) = body.frame().await {
                    drop(frame?);
                }
                anyhow::Ok(())
            };
            tokio::select! {
                ended = tokio::time::timeout(TIME, answered) => {
                    if !matches!(ended, Ok(Ok(()))) {
                        tracing::debug!("a copy of a request was not answered: {ended:?}");
                    }
                }
                () = stop.cancelled() => {}
            }
        });
        Some(Copy { pieces: body.then_some(pieces), broken })
    }
}

impl Copy {
    /// Adds a piece of the body, and ends it with the last.
    pub(super) fn piece(&mut self, piece: Option<&Bytes>, end: bool) {
        if let (Some(piece), Some(pieces)) = (piece.filter(|piece| !piece.is_empty()), &self.pieces)
            && pieces.try_send(piece.clone()).is_err()
        {
            self.broken.cancel();
            self.pieces = None;
        }
        if end {
            self.pieces = None;
        }
    }
}

impl Drop for Copy {
    /// A request that ended before its body breaks off its copies.
    fn drop(&mut self) {
        if self.pieces.is_some() {
            self.broken.cancel();
        }
    }
}
