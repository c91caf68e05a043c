//! What happens to one request, as the stages of pingora's proxy.
//!
//! Invariants: what a client says about who it is and where it came from never reaches a backend
//! (the forwarding headers are ours); a request is sent again only when the first backend could
//! not be connected to, the kept connection it went to was already closed, or its rule says so and
//! nothing of an answer was passed on. Of protocol upgrades only WebSocket passes: letting `h2c`
//! through would let requests past the routes.

mod answer;
mod cached;
mod cors;
mod decide;
mod fail;
mod guard;
mod headers;
mod mirror;
mod note;
mod persist;
mod redirect;
mod stages;
#[cfg(test)]
mod tests;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderName, StatusCode};
use pingora_core::Result;
use pingora_proxy::Session;
use tokio::time::Instant;

use crate::balance::Lease;
use crate::challenges::Challenges;
use crate::connection::Arrival;
use crate::limit::Place;
use crate::model::{Filter, Protocol, Rule, Share, Target, Timeouts};
use crate::retry;
use crate::seen::Seen;

pub use cached::Cached;

const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long a backend may be silent in the middle of a request.
const READ_TIME: Duration = Duration::from_secs(60);
/// How long both sides of an upgraded connection may be silent.
const UPGRADED_READ_TIME: Duration = Duration::from_secs(3600);
/// How long an unused connection to a backend is kept.
const KEEP_TIME: Duration = Duration::from_secs(30);
/// Streams on one HTTP/2 connection to a backend.
const H2_STREAMS: usize = 100;
/// Names and values of all headers of a request.
const HEADER_LIMIT: usize = 64 * 1024;

/// The proxy of one gateway.
#[derive(Debug)]
pub struct Proxy {
    mirrors: mirror::Mirrors,
    seen: Arc<Seen>,
    challenges: Challenges,
}

/// What is remembered while a request is served.
#[derive(Debug, Default)]
pub struct Request {
    since: Option<Instant>,
    /// The rule, and how much of the path its match took.
    rule: Option<Arc<Rule>>,
    matched: usize,
    /// Position of the share in the rule's split.
    share: usize,
    endpoint: Option<SocketAddr>,
    /// The endpoint a session stays with.
    wanted: Option<SocketAddr>,
    /// When its session began, in seconds of the epoch.
    begun: Option<u64>,
    /// Written into the answer: cookies of sessions, what browsers are told of origins.
    respond: Vec<(HeaderName, HeaderValue)>,
    /// The place at the endpoint of the try under way, and whether was told how it went.
    lease: Option<Lease>,
    answered: bool,
    /// Endpoints of the tries so far.
    tried: Vec<SocketAddr>,
    /// The headers of the request that guards have set.
    told: Vec<HeaderName>,
    /// Who it is, as guards say.
    who: Option<String>,
    /// Where it stands in its trace.
    trace: Option<crate::seen::Context>,
    tries: u32,
    /// When it is sent again, and how long it waits before the next try.
    retry: Option<Arc<retry::Policy>>,
    pause: Option<Duration>,
    /// How long things may take.
    timeouts: Timeouts,
    /// Bytes of its body at most.
    body_limit: Option<u64>,
    /// Its place among what may be under way at once.
    place: Option<Place>,
    /// Bytes of the request's body so far.
    body: u64,
    /// When the answer must have ended.
    deadline: Option<Instant>,
    /// When the try under way must have ended.
    try_deadline: Option<Instant>,
    /// Copies under way.
    mirrored: Vec<mirror::Copy>,
    /// Why a request was refused, as metrics name it.
    refused: Option<&'static str>,
    /// What the cache has to do with it.
    exchange: Option<cache::Exchange>,
}

impl Request {
    fn share(&self) -> Option<&Share> {
        self.rule.as_ref()?.split.shares().get(self.share)
    }

    fn backend(&self) -> Option<&crate::model::Backend> {
        match &self.share()?.target {
            Target::Backend(backend) => Some(backend),
            Target::Nobody(..) => None,
        }
    }

    /// The filters of the rule, then those of the share.
    fn filters(&self) -> impl Iterator<Item = &Filter> {
        let of_rule = self.rule.iter().flat_map(|rule| &rule.filters);
        of_rule.chain(self.share().into_iter().flat_map(|share| &share.filters))
    }
}

impl Proxy {
    /// A proxy; copies of requests are sent by tasks of `children`.
    #[must_use]
    pub fn new(seen: Arc<Seen>, challenges: Challenges, children: tasks::Children) -> Self {
        Self { mirrors: mirror::Mirrors::new(children), seen, challenges }
    }

    /// Answers in place of a backend. The connection is kept unless a body is still on its way.
    async fn answer(&self, session: &mut Session, answer: &answer::Answer, ctx: &Request) -> Result<bool> {
        if !session.as_downstream_mut().is_body_empty() {
            session.set_keepalive(None);
        }
        let head = session.req_header().method == http::Method::HEAD;
        let mut response = answer.header()?;
        for (name, value) in &ctx.respond {
            response.append_header(name.clone(), value)?;
        }
        let text = answer.text();
        session.write_response_header(Box::new(response), head || text.is_empty()).await?;
        if !head && !text.is_empty() {
            session.write_response_body(Some(Bytes::copy_from_slice(text.as_bytes())), true).await?;
        }
        Ok(true)
    }
}

/// What is known of the connection a request came by.
fn arrival(session: &Session) -> Option<&Arrival> {
    session.digest()?.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
}

fn is_h2(protocol: &Protocol) -> bool {
    matches!(protocol, Protocol::H2c | Protocol::H2(_))
}

/// The status of an answer that was written, for logs and metrics.
fn status(session: &Session) -> Option<StatusCode> {
    session.response_written().map(|response| response.status)
}
