//! What happens to one request, as the stages of pingora's proxy.
//!
//! Invariants: what a client says about who it is and where it came from never reaches a backend
//! (the forwarding headers are ours); a request is sent again only when the first backend could
//! not be connected to, or the kept connection it went to was already closed and the method allows
//! it. Of protocol upgrades only WebSocket passes: letting `h2c` through would let requests past
//! the routes.

mod headers;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, StatusCode, header};
use parking_lot::Mutex;
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::time::Instant;

use crate::connection::Connection;
use crate::routes::{self, Backend};

const CONNECT_TIME: Duration = Duration::from_secs(2);
/// How long a backend may be silent in the middle of a request.
const READ_TIME: Duration = Duration::from_secs(60);
/// How long both sides of an upgraded connection may be silent.
const UPGRADED_READ_TIME: Duration = Duration::from_secs(3600);
/// How long an unused connection to a backend is kept.
const KEEP_TIME: Duration = Duration::from_secs(30);
/// An address that could not be connected to is left alone this long.
const AVOID_TIME: Duration = Duration::from_secs(3);
/// Names and values of all headers of a request.
const HEADER_LIMIT: usize = 64 * 1024;
/// One try, and one more on another endpoint when the first cannot be connected to.
const CONNECTS: u32 = 2;
const NO_POD: &str = "no pod is ready to serve this\n";

/// The proxy of one gateway.
#[derive(Debug)]
pub struct Proxy {
    table: routes::Shared,
    http_port: u16,
    https_port: u16,
    failed: Failed,
}

/// What is remembered while a request is served.
#[derive(Debug)]
pub struct Request {
    since: Instant,
    backend: Option<Arc<Backend>>,
    endpoint: Option<SocketAddr>,
    connects: u32,
}

/// What to do with a request, as its header tells.
enum Decision {
    Forward(Arc<Backend>),
    Answer(StatusCode, &'static str),
    Redirect(String),
}

impl Proxy {
    /// A proxy for `table`; the ports are those clients use, for redirects and headers.
    #[must_use]
    pub fn new(table: routes::Shared, http_port: u16, https_port: u16) -> Self {
        Self { table, http_port, https_port, failed: Failed::default() }
    }

    /// Answers in place of a backend. The connection is kept unless a body is still on its way.
    async fn answer(
        &self,
        session: &mut Session,
        code: StatusCode,
        location: Option<&str>,
        text: &str,
    ) -> Result<bool> {
        if !session.as_downstream_mut().is_body_empty() {
            session.set_keepalive(None);
        }
        let head = session.req_header().method == Method::HEAD;
        let response = plain(code, location, text)?;
        session.write_response_header(Box::new(response), head).await?;
        if !head {
            session.write_response_body(Some(Bytes::copy_from_slice(text.as_bytes())), true).await?;
        }
        Ok(true)
    }

    fn decide(&self, request: &RequestHeader, tls: bool) -> Decision {
        let size: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if size + request.raw_path().len() > HEADER_LIMIT {
            return Decision::Answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request header is too large\n");
        }
        let Some(host) = headers::host(request) else {
            return Decision::Answer(StatusCode::BAD_REQUEST, "the request names no host\n");
        };
        let table = self.table.load();
        let Some(route) = table.find(host, request.uri.path()) else {
            return Decision::Answer(StatusCode::NOT_FOUND, "no Ingress has a rule for this host and path\n");
        };
        if route.redirect && !tls && table.has_tls(host) {
            return Decision::Redirect(self.redirect(host, request));
        }
        if route.backend.is_empty() {
            return Decision::Answer(StatusCode::SERVICE_UNAVAILABLE, NO_POD);
        }
        Decision::Forward(Arc::clone(&route.backend))
    }

    fn redirect(&self, host: &str, request: &RequestHeader) -> String {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
        match self.https_port {
            443 => format!("https://{name}{target}"),
            port => format!("https://{name}:{port}{target}"),
        }
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Request;

    fn new_ctx(&self) -> Request {
        Request { since: Instant::now(), backend: None, endpoint: None, connects: 0 }
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {} // none: compression is the backend's choice

    async fn early_request_filter(&self, session: &mut Session, _: &mut Request) -> Result<()> {
        if let Some(connection) = session.stream().and_then(|stream| (**stream).as_any().downcast_ref::<Connection>()) {
            connection.header_read();
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Request) -> Result<bool> {
        match self.decide(session.req_header(), is_tls(session)) {
            Decision::Forward(backend) => ctx.backend = Some(backend),
            Decision::Answer(code, text) => return self.answer(session, code, None, text).await,
            Decision::Redirect(to) => {
                return self.answer(session, StatusCode::PERMANENT_REDIRECT, Some(&to), "").await;
            }
        }
        if session.is_upgrade_req() {
            session.set_read_timeout(Some(UPGRADED_READ_TIME));
        }
        Ok(false)
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Request) -> Result<Box<HttpPeer>> {
        let failed_now = ctx.endpoint;
        let avoid = |address: &SocketAddr| Some(*address) == failed_now || self.failed.recently(address);
        let picked = ctx.backend.as_ref().and_then(|backend| backend.pick(avoid));
        let Some(address) = picked else { return Error::err(ErrorType::HTTPStatus(503)) };
        ctx.endpoint = Some(address);
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options.connection_timeout = Some(CONNECT_TIME);
        peer.options.total_connection_timeout = Some(CONNECT_TIME);
        let upgrade = session.is_upgrade_req();
        peer.options.read_timeout = Some(if upgrade { UPGRADED_READ_TIME } else { READ_TIME });
        peer.options.write_timeout = Some(READ_TIME);
        peer.options.idle_timeout = Some(KEEP_TIME);
        Ok(Box::new(peer))
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Request, mut error: Box<Error>) -> Box<Error> {
        if let Some(address) = ctx.endpoint {
            self.failed.remember(address);
        }
        ctx.connects += 1;
        error.set_retry(ctx.connects < CONNECTS);
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _: &mut Request,
    ) -> Result<()> {
        let tls = is_tls(session);
        let port = if tls { self.https_port } else { self.http_port };
        let client = client_of(session).map(|address| address.ip().to_canonical());
        let host = headers::host(session.req_header()).unwrap_or_default();
        headers::forwarded(request, &headers::Origin { client, host, port, tls })
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, _: &mut Request) -> FailToProxy {
        let code = code_of(error);
        if let Some(status) = code {
            let text = match status {
                StatusCode::SERVICE_UNAVAILABLE => NO_POD,
                StatusCode::BAD_GATEWAY => "the pod did not answer properly\n",
                StatusCode::GATEWAY_TIMEOUT => "the pod did not answer in time\n",
                _ => "the request cannot be served\n",
            };
            let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { text.into() };
            let written = match plain(status, None, text) {
                Ok(response) => session.write_error_response(response, body).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                tracing::debug!("cannot tell a client of status {status}: {error}");
            }
        }
        FailToProxy { error_code: code.map_or(0, |code| code.as_u16()), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Request) {
        tracing::debug!(
            client = client_of(session).map(tracing::field::display),
            method = %session.req_header().method,
            host = headers::host(session.req_header()).unwrap_or_default(),
            path = session.req_header().uri.path(),
            status = session.response_written().map_or(0, |response| response.status.as_u16()),
            endpoint = ctx.endpoint.map(tracing::field::display),
            time = ?ctx.since.elapsed(),
            error = error.map(tracing::field::display),
            "request"
        );
    }

    fn suppress_error_log(&self, _: &Session, _: &Request, _: &Error) -> bool {
        true // told by `logging`
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Request, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

/// The status that tells a client of `error`; none when it is the client that is gone.
fn code_of(error: &Error) -> Option<StatusCode> {
    use ErrorType::{
        ConnectTimedout, ConnectionClosed, HTTPStatus, ReadError, ReadTimedout, WriteError, WriteTimedout,
    };
    match (error.esource(), error.etype()) {
        (_, HTTPStatus(code)) => Some(StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)),
        (ErrorSource::Upstream, ConnectTimedout | ReadTimedout | WriteTimedout) => Some(StatusCode::GATEWAY_TIMEOUT),
        (ErrorSource::Upstream, _) => Some(StatusCode::BAD_GATEWAY),
        (ErrorSource::Downstream, WriteError | ReadError | ConnectionClosed | WriteTimedout) => None,
        (ErrorSource::Downstream, ReadTimedout) => Some(StatusCode::REQUEST_TIMEOUT),
        (ErrorSource::Downstream, _) => Some(StatusCode::BAD_REQUEST),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn plain(code: StatusCode, location: Option<&str>, text: &str) -> Result<ResponseHeader> {
    let mut response = ResponseHeader::build(code, Some(4))?;
    response.insert_header(header::CONTENT_LENGTH, text.len())?;
    match location {
        Some(location) => response.insert_header(header::LOCATION, location)?,
        None => {
            response.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
            response.insert_header(header::CACHE_CONTROL, "no-store")?;
        }
    }
    Ok(response)
}

fn is_tls(session: &Session) -> bool {
    session.digest().is_some_and(|digest| digest.ssl_digest.is_some())
}

fn client_of(session: &Session) -> Option<SocketAddr> {
    session.client_addr().and_then(|address| address.as_inet()).copied()
}

/// Addresses that could not be connected to a moment ago. An own memory, not the table's: it must
/// outlive the swap of the table.
#[derive(Debug, Default)]
struct Failed {
    any: AtomicBool,
    since: Mutex<HashMap<SocketAddr, Instant>>,
}

impl Failed {
    fn remember(&self, address: SocketAddr) {
        let mut since = self.since.lock();
        since.retain(|_, at| at.elapsed() < AVOID_TIME);
        since.insert(address, Instant::now());
        self.any.store(true, Ordering::Relaxed);
    }

    fn recently(&self, address: &SocketAddr) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let mut since = self.since.lock();
        since.retain(|_, at| at.elapsed() < AVOID_TIME);
        self.any.store(!since.is_empty(), Ordering::Relaxed);
        since.contains_key(address)
    }
}
