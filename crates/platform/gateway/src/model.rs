//! What is asked of the gateway, whatever objects asked for it.
//!
//! Ingress (`ingress`) and Gateway API (`gateways`) are both translated into this model, and
//! [`crate::table`] is built from it. In reading order:
//! - [`Model`]: sockets, and behind each the listeners, which say who is let in by which name;
//! - [`Route`] and [`Match`]: which requests of a listener a rule is for;
//! - [`Rule`]: what becomes of such a request; [`Filter`]: changes on its way;
//! - [`Split`]: which backend gets it; [`StreamRoute`]: the same for bytes that are not HTTP.
//!
//! Invariant: plain data and shared values, no Kubernetes object in it; only the addresses behind
//! a [`Backend`] change after it was made.

mod filter;
mod matching;
mod split;
mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::Key;
use jiff::Timestamp;

use crate::policy::compile::Settle;
use crate::seen::Figures;

pub use crate::backend::{Backend, Endpoints, Port, Protocol, endpoints};
pub use crate::proxy::Cached;
pub use filter::{AllowOrigin, Cors, Filter, HeaderEdit, Mirror, PathEdit, Redirect, Rewrite};
pub use matching::{Field, Host, Match, PathMatch, TextMatch, canonical, compile, whole};
pub use split::{Share, Split, Steer, SteerBy, Target, cookie};
pub use tls::{Certificates, ClientCheck, Offer, Pair, UpstreamTls};

/// Everything that is served.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// By where it is listened on.
    pub doors: BTreeMap<Socket, Vec<Listener>>,
}

impl Model {
    /// Adds a listener to the socket it is on. Of listeners that contradict each other the one that was added first counts.
    pub fn add(&mut self, socket: Socket, listener: Listener) {
        self.doors.entry(socket).or_default().push(listener);
    }
}

/// Where connections (or datagrams) arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket {
    /// An address of its own, or none for the one all of the gateway shares.
    pub address: Option<IpAddr>,
    /// As bound on this machine.
    pub port: u16,
    /// Which of the two name spaces of ports.
    pub transport: Transport,
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => write!(f, "{}", std::net::SocketAddr::new(address, self.port))?,
            None => write!(f, "*:{}", self.port)?,
        }
        f.write_str(if self.transport == Transport::Udp { "/udp" } else { "" })
    }
}

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Who is let in by which name on a socket, and what is served to them.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The object that asked for it.
    pub source: Arc<Source>,
    /// The names it is for: of the TLS handshake, and of the request.
    pub host: Host,
    /// True when nothing else of the socket serves a host of this listener, even when this one has no route for the request
    /// (GEP-3567). Ingress is not: it is asked last.
    pub isolated: bool,
    /// What happens to TLS.
    pub tls: Tls,
    /// What is spoken.
    pub serves: Serves,
}

/// What happens to TLS at a listener.
#[derive(Clone, Debug)]
pub enum Tls {
    /// There is none.
    None,
    /// It ends here.
    Terminate(Arc<Offer>),
    /// It is passed on as it is; only the name in it is read.
    Passthrough,
}

/// What a listener speaks.
#[derive(Clone, Debug)]
pub enum Serves {
    /// HTTP/1.1 and HTTP/2, and all that runs over them.
    Http(Vec<Route>),
    /// Bytes, or datagrams.
    Streams(Vec<StreamRoute>),
}

/// Which requests of a listener a rule is for.
#[derive(Clone, Debug)]
pub struct Route {
    /// Names, already cut down to those of the listener; never empty.
    pub hosts: Vec<Host>,
    /// Any of these; never empty.
    pub matches: Vec<Match>,
    /// When matches are equally specific the lower rank wins.
    pub rank: Rank,
    /// What becomes of the request.
    pub rule: Arc<Rule>,
}

/// Oldest first, then by name, then in the order of the object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// When the object was made.
    pub created: Option<Timestamp>,
    /// Its name.
    pub key: Key,
    /// Position of the rule in it.
    pub rule: usize,
}

/// Which connections of a listener go where.
#[derive(Clone, Debug)]
pub struct StreamRoute {
    /// Names of the TLS handshake; [`Host::Any`] where there is none.
    pub hosts: Vec<Host>,
    /// Where to.
    pub split: Split,
    /// When hosts are equally specific the lower rank wins.
    pub rank: Rank,
    /// The object that asked for it.
    pub source: Arc<Source>,
}

/// The object that asked for something, as logs, metrics and `knarr gateway routes` name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// `Ingress`, `HTTPRoute`, `Gateway`, ...
    pub kind: &'static str,
    /// Namespace and name.
    pub key: Key,
    /// The rule or listener in it: its name, else its position.
    pub section: String,
}

impl Source {
    /// A section of an object.
    #[must_use]
    pub fn new(kind: &'static str, key: Key, section: impl Into<String>) -> Self {
        Self { kind, key, section: section.into() }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.key)?;
        if self.section.is_empty() { Ok(()) } else { write!(f, " ({})", self.section) }
    }
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The object that asked for it.
    pub source: Arc<Source>,
    /// Changes, in this order.
    pub filters: Vec<Filter>,
    /// Who answers.
    pub split: Split,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// When a request is sent again.
    pub retry: Option<Retry>,
    /// How a client stays with one endpoint.
    pub persistence: Option<Persistence>,
    /// Bounds and other settings of the route.
    pub limits: Limits,
    /// How its answers are cached; not at all when none.
    pub cached: Option<Cached>,
    /// Where its requests are counted, once there was one.
    pub figures: OnceLock<Arc<Figures>>,
    /// The traffic policies in force for it ([`crate::policies`]).
    pub traffic: Settle,
}

impl Rule {
    /// A rule that sends everything to `split` as it is.
    #[must_use]
    pub fn new(source: Arc<Source>, split: Split) -> Self {
        Self {
            source,
            filters: Vec::new(),
            split,
            timeouts: Timeouts::default(),
            retry: None,
            persistence: None,
            limits: Limits::default(),
            cached: None,
            figures: OnceLock::new(),
            traffic: Settle::default(),
        }
    }
}

/// How long things may take; none is the gateway's default, zero is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// From the request's header to the end of the answer.
    pub request: Option<Duration>,
    /// One try at a backend, from sending to the end of its answer.
    pub backend: Option<Duration>,
    /// Connecting to an endpoint.
    pub connect: Option<Duration>,
    /// A backend's silence between two reads.
    pub read: Option<Duration>,
    /// A backend's silence between two writes.
    pub send: Option<Duration>,
}

/// When a request is sent again (GEP-1731).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Answers that are not taken.
    pub codes: Vec<u16>,
    /// Tries after the first.
    pub attempts: u32,
    /// The least wait between two.
    pub backoff: Duration,
    /// Sent again though the method is not idempotent.
    pub any_method: bool,
}

/// How a client stays with one endpoint (GEP-1619, and the cookie affinity of ingress-nginx).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Where the token is.
    pub by: PersistBy,
    /// How long a session lives at most; none is as long as the browser's.
    pub absolute: Option<Duration>,
    /// How long it may be idle.
    pub idle: Option<Duration>,
    /// The cookie outlives the browser (`Max-Age` is written).
    pub permanent: bool,
    /// Path of the cookie.
    pub path: String,
    /// `SameSite` of the cookie.
    pub same_site: Option<&'static str>,
    /// The cookie is for HTTPS only.
    pub secure: bool,
}

/// What carries the token of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersistBy {
    /// A cookie of this name.
    Cookie(String),
    /// A header of this name.
    Header(http::HeaderName),
}

/// Bounds and other settings of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Largest body of a request, bytes; none is no bound.
    pub body: Option<u64>,
    /// Requests of one client.
    pub rate: Option<Rate>,
    /// Connections or streams of one client at once.
    pub at_once: Option<u32>,
    /// Networks whose clients have no rate.
    pub unlimited: Vec<ipnet::IpNet>,
    /// The `Host` the backend sees; none is the client's.
    pub upstream_host: Option<String>,
}

/// How many requests of one client pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests.
    pub requests: u32,
    /// In this time.
    pub per: Duration,
    /// This many times as much at once.
    pub burst: u32,
}
