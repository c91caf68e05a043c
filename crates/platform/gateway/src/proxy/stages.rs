//! The stages of pingora's proxy, in the order a request goes through them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheKey, CacheMeta, ForcedFreshness, HitHandler, RespCacheable};
use pingora_core::modules::http::HttpModules;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::time::Instant;

use super::answer::Answer;
use super::decide::{self, Then};
use super::{
    CONNECT_TIME, CONNECTS, H2_STREAMS, KEEP_TIME, LONGEST_BACKOFF, Proxy, READ_TIME, Request, UPGRADED_READ_TIME,
    arrival, cors, fail, headers, is_h2, persist,
};
use crate::connection::Connection;
use crate::model::{Filter, Protocol, Rule, UpstreamTls};
use crate::upstream::{self, Dial};

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Request;

    fn new_ctx(&self) -> Request {
        Request { since: Some(Instant::now()), ..Request::default() }
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {} // none: compression is the backend's choice

    async fn early_request_filter(&self, session: &mut Session, _: &mut Request) -> Result<()> {
        if let Some(connection) = session.stream().and_then(|stream| (**stream).as_any().downcast_ref::<Connection>()) {
            connection.header_read();
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Request) -> Result<bool> {
        let Some(arrival) = arrival(session) else {
            return Error::e_explain(ErrorType::InternalError, "a request came by no connection of ours");
        };
        let door = arrival.door.load();
        let decision = decide::decide(&door, session.req_header(), arrival, fastrand::u32(..));
        drop(door);
        if let Some((rule, matched)) = decision.rule {
            self.enter(session, ctx, rule, matched);
        }
        match decision.then {
            Then::Forward(share) => {
                if ctx.wanted.is_none() {
                    ctx.share = share;
                }
            }
            Then::Answer(answer, refused) => {
                ctx.refused = refused;
                return self.answer(session, &answer, ctx).await;
            }
        }
        if self.guarded(session, ctx).await? {
            return Ok(true);
        }
        self.mirror(session, ctx);
        if session.is_upgrade_req() {
            session.set_read_timeout(Some(UPGRADED_READ_TIME));
        }
        Ok(false)
    }

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Request) -> Result<()> {
        ctx.enter_cache(session);
        Ok(())
    }

    fn cache_key_callback(&self, _: &Session, ctx: &mut Request) -> Result<CacheKey> {
        ctx.cache_key()
    }

    async fn cache_hit_filter(
        &self,
        _: &mut Session,
        meta: &CacheMeta,
        _: &mut HitHandler,
        _: bool,
        ctx: &mut Request,
    ) -> Result<Option<ForcedFreshness>> {
        Ok(ctx.cache_hit(meta))
    }

    fn cache_vary_filter(&self, meta: &CacheMeta, _: &mut Request, request: &RequestHeader) -> Option<HashBinary> {
        cache::Exchange::vary(meta, request)
    }

    async fn proxy_upstream_filter(&self, session: &mut Session, ctx: &mut Request) -> Result<bool> {
        ctx.may_ask_origin(session).await
    }

    fn response_cache_filter(
        &self,
        _: &Session,
        response: &ResponseHeader,
        ctx: &mut Request,
    ) -> Result<RespCacheable> {
        Ok(ctx.cacheable(response))
    }

    fn should_serve_stale(&self, _: &mut Session, _: &mut Request, error: Option<&Error>) -> bool {
        cache::Exchange::may_be_stale(error)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Request,
    ) -> Result<()> {
        ctx.body += body.as_ref().map_or(0, |piece| piece.len() as u64);
        let most = ctx.rule.as_ref().and_then(|rule| rule.limits.body);
        if most.is_some_and(|most| ctx.body > most) {
            ctx.refused = Some("body_size");
            return Error::e_explain(ErrorType::HTTPStatus(413), "the body of a request is too large");
        }
        for copy in &mut ctx.mirrored {
            copy.piece(body.as_ref(), end);
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Request) -> Result<Box<HttpPeer>> {
        let Some(rule) = ctx.rule.clone() else { return Error::err(ErrorType::HTTPStatus(500)) };
        ctx.wait_before_retry(&rule).await?;
        let failed_now = ctx.endpoint;
        let avoid = |address: &std::net::SocketAddr| Some(*address) == failed_now || self.failed.recently(address);
        let wanted = ctx.wanted.filter(|address| !avoid(address));
        let picked = wanted.or_else(|| ctx.backend().and_then(|backend| backend.endpoints.pick(avoid)));
        let Some(address) = picked else { return Error::err(ErrorType::HTTPStatus(503)) };
        ctx.endpoint = Some(address);
        ctx.tries += 1;
        let protocol = ctx.backend().map(|backend| backend.protocol.clone()).unwrap_or_default();
        let times = &rule.timeouts;
        let upgrade = session.is_upgrade_req();
        let connect = times.connect.filter(|time| !time.is_zero()).unwrap_or(CONNECT_TIME);
        let silent = if upgrade { UPGRADED_READ_TIME } else { READ_TIME };
        let mut read = bounded(times.read, silent);
        let now = Instant::now();
        if let Some(time) = times.backend.filter(|time| !time.is_zero() && !upgrade) {
            ctx.try_deadline = Some(now + time);
        }
        for deadline in [ctx.deadline, ctx.try_deadline].into_iter().flatten() {
            read = read.min(deadline.saturating_duration_since(now));
        }
        let mut peer = HttpPeer::new(address, false, String::new());
        peer.options.connection_timeout = Some(connect);
        peer.options.total_connection_timeout = Some(connect);
        peer.options.read_timeout = Some(read);
        peer.options.write_timeout = Some(bounded(times.send, READ_TIME));
        peer.options.idle_timeout = Some(KEEP_TIME);
        if is_h2(&protocol) {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = H2_STREAMS;
        }
        if let Protocol::Https(tls) | Protocol::H2(tls) = &protocol {
            encrypt(&mut peer, tls, is_h2(&protocol), connect)?;
        }
        Ok(Box::new(peer))
    }

    fn fail_to_connect(&self, _: &mut Session, _: &HttpPeer, ctx: &mut Request, mut error: Box<Error>) -> Box<Error> {
        if let Some(address) = ctx.endpoint {
            self.failed.remember(address);
        }
        ctx.connects += 1;
        let asked = ctx.rule.as_ref().and_then(|rule| rule.retry.as_ref()).map_or(0, |retry| retry.attempts);
        error.set_retry(ctx.connects < CONNECTS.max(asked.saturating_add(1)) && !ctx.is_late());
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        ctx: &mut Request,
        reused: bool,
    ) -> Box<Error> {
        let mut error = error;
        let may = ctx.may_send_again(session) && !ctx.is_late();
        if *error.etype() == fail::UNWANTED {
            error.set_retry(may);
            return error;
        }
        if !may {
            error.set_retry(false);
            return error;
        }
        // A connection that was closed while it was kept says nothing of the request; other failures count as tries.
        error.retry.decide_reuse(reused);
        if !error.retry() && *error.esource() == ErrorSource::Upstream {
            error.set_retry(ctx.may_try_again());
        }
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Request,
    ) -> Result<()> {
        ctx.cache_asks(session, request)?;
        let Some(arrival) = arrival(session) else { return Ok(()) };
        let origin = headers::Origin {
            client: Some(arrival.client.ip().to_canonical()),
            host: headers::host(session.req_header()).unwrap_or_default(),
            port: arrival.local.port(),
            tls: arrival.greeting.is_some(),
        };
        headers::forwarded(request, &origin)?;
        ctx.passed_on(request)?;
        for filter in ctx.filters() {
            match filter {
                Filter::Request(edit) => headers::edit_request(request, edit)?,
                Filter::Rewrite(rewrite) => {
                    if let Some(path) = &rewrite.path {
                        let mut target = path.apply(request.uri.path(), ctx.matched);
                        if let Some(query) = request.uri.query() {
                            target.push(if target.contains('?') { '&' } else { '?' });
                            target.push_str(query);
                        }
                        headers::set_target(request, &target)?;
                    }
                    if let Some(host) = &rewrite.host {
                        headers::set_host(request, host.clone())?;
                    }
                }
                _ => {}
            }
        }
        let host = ctx.rule.as_ref().and_then(|rule| rule.limits.upstream_host.as_ref());
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
            headers::set_host(request, host)?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Request,
    ) -> Result<()> {
        let retry = ctx.rule.as_ref().and_then(|rule| rule.retry.as_ref());
        let unwanted = retry.is_some_and(|retry| retry.codes.contains(&response.status.as_u16()));
        if unwanted && ctx.may_try_again() && ctx.may_send_again(session) {
            return Error::e_explain(fail::UNWANTED, format!("the backend answered {}", response.status));
        }
        ctx.cache_hears(session, response);
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Request,
    ) -> Result<()> {
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        ctx.cache_answers(session, response)?;
        for filter in ctx.filters() {
            match filter {
                Filter::Response(edit) => headers::edit_response(response, edit)?,
                Filter::Cors(policy) => {
                    let marks = cors::marks(policy, session.req_header());
                    cors::OWN.iter().for_each(|name| drop(response.remove_header(name)));
                    for (name, value) in marks {
                        response.append_header(name, value)?;
                    }
                }
                _ => {}
            }
        }
        let persistence = ctx.rule.as_ref().and_then(|rule| rule.persistence.as_ref());
        if let (Some(rule), Some(endpoint)) = (persistence, ctx.endpoint)
            && ctx.wanted != ctx.endpoint
            && let Some((name, value)) = persist::give(rule, endpoint, epoch_seconds())
        {
            response.append_header(name, value)?;
        }
        for (name, value) in &ctx.respond {
            response.append_header(name.clone(), value)?;
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _: &mut Session,
        _: &mut Option<Bytes>,
        _: bool,
        ctx: &mut Request,
    ) -> Result<Option<Duration>> {
        if ctx.is_late() {
            return Error::e_explain(fail::LATE, "the answer took longer than its route allows");
        }
        Ok(None)
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Request) -> FailToProxy {
        let late = ctx.is_late() && session.response_written().is_none() && *error.esource() == ErrorSource::Upstream;
        let status = if late { Some(StatusCode::GATEWAY_TIMEOUT) } else { fail::status(error) };
        if let Some(status) = status.filter(|_| session.response_written().is_none()) {
            let answer = Answer::new(status, fail::text(status));
            let body =
                if session.req_header().method == Method::HEAD { Bytes::new() } else { fail::text(status).into() };
            let written = match answer.header() {
                Ok(response) => session.write_error_response(response, body).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                tracing::debug!("cannot tell a client of status {status}: {error}");
            }
        }
        FailToProxy { error_code: status.map_or(0, |status| status.as_u16()), can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Request) {
        self.note(session, error, ctx);
    }

    fn suppress_error_log(&self, _: &Session, _: &Request, _: &Error) -> bool {
        true // told by `logging`
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Request, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }
}

impl Proxy {
    /// Remembers the rule a request is for, and what follows from it alone.
    fn enter(&self, session: &Session, ctx: &mut Request, rule: Arc<Rule>, matched: usize) {
        let upgrade = session.is_upgrade_req();
        let time = rule.timeouts.request.filter(|time| !time.is_zero() && !upgrade);
        ctx.deadline = time.zip(ctx.since).map(|(time, since)| since + time);
        if let Some(persistence) = &rule.persistence {
            let found = persist::find(persistence, &rule.split, &session.req_header().headers, epoch_seconds());
            if let Some((share, endpoint)) = found {
                (ctx.share, ctx.wanted) = (share, Some(endpoint));
            }
        }
        ctx.matched = matched;
        ctx.rule = Some(rule);
    }

    /// Begins the copies that the rule asks for.
    fn mirror(&self, session: &mut Session, ctx: &mut Request) {
        let mut copies = Vec::new();
        if ctx.filters().any(|filter| matches!(filter, Filter::Mirror(_))) {
            let body = !session.as_downstream_mut().is_body_empty();
            for filter in ctx.filters() {
                if let Filter::Mirror(mirror) = filter
                    && fastrand::u32(0..mirror.out_of.max(1)) < mirror.share
                {
                    copies.extend(self.mirrors.copy(mirror, session.req_header(), body));
                }
            }
        }
        ctx.mirrored = copies;
    }
}

impl Request {
    fn is_late(&self) -> bool {
        let passed = |deadline: Option<Instant>| deadline.is_some_and(|deadline| Instant::now() >= deadline);
        passed(self.deadline) || passed(self.try_deadline)
    }

    /// True when the request is still whole, may be repeated, and nothing of an answer was passed on.
    fn may_send_again(&self, session: &Session) -> bool {
        let any = self.rule.as_ref().and_then(|rule| rule.retry.as_ref()).is_some_and(|retry| retry.any_method);
        (session.req_header().method.is_idempotent() || any)
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none()
    }

    /// True when the rule allows one more try.
    fn may_try_again(&self) -> bool {
        let retry = self.rule.as_ref().and_then(|rule| rule.retry.as_ref());
        let late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        retry.is_some_and(|retry| self.tries <= retry.attempts) && !late
    }

    /// Waits as the rule says before a try that is not the first: longer each time, and not all at once.
    async fn wait_before_retry(&mut self, rule: &Rule) -> Result<()> {
        self.try_deadline = None;
        let Some(retry) = rule.retry.as_ref().filter(|retry| self.tries > 0 && !retry.backoff.is_zero()) else {
            return Ok(());
        };
        let doubled = retry.backoff.saturating_mul(1 << (self.tries - 1).min(10)).min(LONGEST_BACKOFF);
        let wait = doubled.mul_f64(0.75 + fastrand::f64() / 2.0).max(retry.backoff);
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        tokio::time::sleep(left.map_or(wait, |left| wait.min(left))).await;
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Error::e_explain(fail::LATE, "no time is left for another try");
        }
        Ok(())
    }
}

/// A time of a rule: its own, or the usual; zero is the longest there is.
fn bounded(own: Option<Duration>, usual: Duration) -> Duration {
    match own {
        Some(Duration::ZERO) => Duration::from_secs(365 * 24 * 3600),
        Some(time) => time,
        None => usual,
    }
}

/// Makes the connection to `peer` an encrypted one.
fn encrypt(peer: &mut HttpPeer, tls: &UpstreamTls, h2: bool, connect: Duration) -> Result<()> {
    let dial = match Dial::new(tls, h2, connect) {
        Ok(dial) => dial,
        Err(why) => return Error::e_explain(ErrorType::InvalidCert, why),
    };
    peer.options.custom_l4 = Some(Arc::new(dial));
    peer.group_key = upstream::group(tls, h2);
    Ok(())
}

fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
