//! The stages of pingora's proxy, in the order a request goes through them.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, StatusCode};
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheKey, CacheMeta, ForcedFreshness, HitHandler, RespCacheable};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use tokio::time::Instant;

use super::answer::Answer;
use super::decide::{self, Then};
use super::traffic::Phase;
use super::{
    CONNECT_TIME, H2_STREAMS, KEEP_TIME, Proxy, READ_TIME, Request, UPGRADED_READ_TIME, arrival, cors, fail, headers,
    is_h2, persist, traffic,
};
use crate::balance::Outcome;
use crate::connection::Connection;
use crate::model::{Filter, Protocol, Rule, UpstreamTls};
use crate::retry::Failure;
use crate::seen::Context;
use crate::upstream::{Dial, Way};

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Request;

    fn new_ctx(&self) -> Request {
        Request { since: Some(Instant::now()), ..Request::default() }
    }

    fn init_downstream_modules(&self, _: &mut HttpModules) {} // none: compression is upstream's, when a policy asks for it

    async fn early_request_filter(&self, session: &mut Session, _: &mut Request) -> Result<()> {
        if let Some(connection) = session.stream().and_then(|stream| (**stream).as_any().downcast_ref::<Connection>()) {
            connection.header_read();
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Request) -> Result<bool> {
        let sample = self.seen.tracer.as_ref().map_or(0.0, |tracer| tracer.sample);
        let traced = self.seen.tracer.is_some() || session.req_header().headers.contains_key("traceparent");
        ctx.trace = traced.then(|| Context::of(&session.req_header().headers, sample));
        if let Some(refused) = traffic::read_path(session.req_header_mut())? {
            return self.refuse(session, refused, ctx).await;
        }
        let Some(arrival) = arrival(session) else {
            return Error::e_explain(ErrorType::InternalError, "a request came by no connection of ours");
        };
        let host = headers::host(session.req_header()).unwrap_or_default();
        if let Some(key) = self.challenges.answer(host, session.req_header().uri.path()) {
            return self.answer(session, &Answer::octets(key), ctx).await;
        }
        let door = arrival.door.load();
        let decision = decide::decide(&door, session.req_header(), arrival, fastrand::u32(..));
        drop(door);
        let client = arrival.client.ip().to_canonical();
        if let Some((rule, matched)) = decision.rule {
            self.enter(session, ctx, rule, matched);
            if let Some(refused) = self.guard(session, client, ctx) {
                return self.refuse(session, refused, ctx).await;
            }
            if let Some(refused) = self.admit(session, client, ctx, Phase::Before) {
                return self.refuse(session, refused, ctx).await;
            }
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
        if let Some(refused) = self.admit(session, client, ctx, Phase::After) {
            return self.refuse(session, refused, ctx).await;
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
        session: &mut Session,
        meta: &CacheMeta,
        _: &mut HitHandler,
        _: bool,
        ctx: &mut Request,
    ) -> Result<Option<ForcedFreshness>> {
        ctx.cache_hit(session, meta)
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
        if ctx.body_limit.is_some_and(|most| ctx.body > most) {
            ctx.refused = Some("body_size");
            return Error::e_explain(ErrorType::HTTPStatus(413), "the body of a request is too large");
        }
        for copy in &mut ctx.mirrored {
            copy.piece(body.as_ref(), end);
        }
        Ok(())
    }

    async fn upstream_peer(&self, session: &mut Session, ctx: &mut Request) -> Result<Box<HttpPeer>> {
        ctx.wait_before_retry().await?;
        let client = arrival(session).map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |arrival| arrival.client.ip());
        let address = ctx.pick(session, client.to_canonical())?;
        ctx.endpoint = Some(address);
        ctx.body = 0; // it is sent anew
        ctx.tries += 1;
        let protocol = ctx.backend().map(|backend| backend.protocol.clone()).unwrap_or_default();
        let times = ctx.timeouts;
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

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _: bool,
        _: &HttpPeer,
        _: RawFd,
        _: Option<&Digest>,
        ctx: &mut Request,
    ) -> Result<()> {
        ctx.connected();
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        ctx: &mut Request,
        mut error: Box<Error>,
    ) -> Box<Error> {
        ctx.report(Outcome::ConnectFailed);
        error.set_retry(ctx.again(session, Failure::Connect));
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Request,
        reused: bool,
    ) -> Box<Error> {
        if *error.etype() == fail::UNWANTED {
            error.set_retry(true); // decided when the answer came
            return error;
        }
        // A connection that was closed while it was kept says nothing of the request, nor of the endpoint.
        error.retry.decide_reuse(reused);
        if error.retry() {
            error.set_retry(ctx.may_send_again(session));
        } else if *error.esource() == ErrorSource::Upstream {
            let late = matches!(error.etype(), ErrorType::ReadTimedout | ErrorType::WriteTimedout);
            ctx.report(Outcome::Failed);
            error.set_retry(ctx.again(session, if late { Failure::Timeout } else { Failure::Reset }));
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
            told: &ctx.told,
        };
        headers::forwarded(request, &origin)?;
        if let Some(trace) = &ctx.trace {
            request.insert_header("traceparent", trace.header())?;
        }
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
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        ctx.report(Outcome::Answered(response.status.as_u16()));
        if session.cache.enabled() {
            session.upstream_compression.adjust_level(0); // what is kept is not compressed for one client
        }
        if ctx.unwanted(session, response) {
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
        if let (Some(rule), Some(endpoint)) = (persistence, ctx.endpoint) {
            let (kept, now) = (ctx.wanted == Some(endpoint), epoch_seconds());
            let begun = ctx.begun.filter(|_| kept).unwrap_or(now);
            if let Some((name, value)) =
                persist::give(rule, endpoint, begun, now).filter(|_| !kept || rule.idle.is_some())
            {
                response.append_header(name, value)?;
            }
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
            let text = traffic::refusal_text(ctx.refused).unwrap_or_else(|| fail::text(status));
            let answer = Answer::new(status, text);
            let body = if session.req_header().method == Method::HEAD { Bytes::new() } else { text.into() };
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
    fn enter(&self, session: &mut Session, ctx: &mut Request, rule: Arc<Rule>, matched: usize) {
        ctx.rule = Some(Arc::clone(&rule));
        traffic::settle(session, ctx);
        let upgrade = session.is_upgrade_req();
        let time = ctx.timeouts.request.filter(|time| !time.is_zero() && !upgrade);
        ctx.deadline = time.zip(ctx.since).map(|(time, since)| since + time);
        if let Some(persistence) = &rule.persistence {
            let found = persist::find(persistence, &rule.split, &session.req_header().headers, epoch_seconds());
            if let Some(found) = found {
                (ctx.share, ctx.wanted, ctx.begun) = (found.share, Some(found.endpoint), Some(found.begun));
            }
        }
        ctx.matched = matched;
    }

    /// Answers with a refusal.
    async fn refuse(&self, session: &mut Session, (answer, why): traffic::Refused, ctx: &mut Request) -> Result<bool> {
        ctx.refused = Some(why);
        self.answer(session, &answer, ctx).await
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
        let any = self.retry.as_ref().is_some_and(|retry| retry.any_method);
        (session.req_header().method.is_idempotent() || any)
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none()
            && !self.is_late()
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
fn encrypt(peer: &mut HttpPeer, tls: &UpstreamTls, h2: bool, timeout: Duration) -> Result<()> {
    let way = match Way::of(tls, h2) {
        Ok(way) => way.clone(),
        Err(why) => return Error::e_explain(ErrorType::InvalidCert, why.to_owned()),
    };
    peer.group_key = way.group;
    peer.options.custom_l4 = Some(Arc::new(Dial { way, timeout }));
    Ok(())
}

fn epoch_seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
