//! The engines of traffic at their places in a request: how its path is read, what is refused,
//! which endpoint gets it, and whether it is sent again.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, Uri, header};
use pingora_core::protocols::http::compression::Algorithm;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use tokio::time::Instant;

use super::answer::Answer;
use super::{Proxy, Request, fail};
use crate::balance::{Algorithm as Balance, Ask, Kind, Outcome, Refusal};
use crate::clock::Clock;
use crate::limit::{self, headers as told};
use crate::model::Timeouts;
use crate::policy::Coding;
use crate::policy::compile::{Limit, Per};
use crate::retry::{Decision, Facts, Failure};
use crate::rules::{self, path};

/// A request that is turned away: the answer, and why, as metrics name it.
pub(super) type Refused = (Answer, &'static str);

/// When a request is counted: before identity was asked, or after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Before,
    After,
}

/// What a request without a policy is sent again for.
static USUAL_RETRY: std::sync::LazyLock<crate::retry::Policy> = std::sync::LazyLock::new(Default::default);

/// Gives the path of a request its one reading, before anything looks at it.
pub(super) fn read_path(request: &mut RequestHeader) -> Result<Option<Refused>> {
    let normal = match path::normalise(request.uri.path()) {
        Ok(std::borrow::Cow::Borrowed(_)) => return Ok(None),
        Ok(std::borrow::Cow::Owned(normal)) => normal,
        Err(trick) => return Ok(Some((Answer::new(trick.status(), format!("{trick}\n")), trick.reason()))),
    };
    let mut parts = request.uri.clone().into_parts();
    let target = match request.uri.query() {
        Some(query) => format!("{normal}?{query}"),
        None => normal,
    };
    let invalid = |_| Error::explain(ErrorType::InvalidHTTPHeader, "a normal path is a path");
    parts.path_and_query = Some(target.parse().map_err(invalid)?);
    let uri =
        Uri::from_parts(parts).map_err(|_| Error::explain(ErrorType::InvalidHTTPHeader, "a normal path is a path"))?;
    request.set_uri(uri);
    Ok(None)
}

/// Takes the parts of the rule's policies that hold for the whole request.
pub(super) fn settle(session: &mut Session, ctx: &mut Request) {
    let Some(rule) = ctx.rule.clone() else { return };
    ctx.timeouts = rule.timeouts;
    ctx.body_limit = rule.limits.body;
    ctx.retry = rule.retry.as_ref().map(|retry| Arc::new(retry.into()));
    let traffic = &rule.traffic;
    if traffic.is_empty() {
        return;
    }
    if let Some(times) = traffic.part(|policy| policy.timeouts) {
        ctx.timeouts = or(ctx.timeouts, times);
    }
    if ctx.retry.is_none() {
        ctx.retry = traffic.part(|policy| policy.retry.clone());
        let per_try = ctx.retry.as_ref().and_then(|retry| retry.per_try);
        ctx.timeouts.backend = ctx.timeouts.backend.or(per_try);
    }
    let most = traffic.part(|policy| policy.rules.as_ref()).and_then(rules::Rules::body_limit);
    ctx.body_limit = ctx.body_limit.into_iter().chain(most).min();
    if let Some((level, codings)) = traffic.part(|policy| policy.compression.as_ref()) {
        for coding in codings {
            let algorithm = match coding {
                Coding::Gzip => Algorithm::Gzip,
                Coding::Br => Algorithm::Brotli,
                Coding::Zstd => Algorithm::Zstd,
            };
            session.upstream_compression.adjust_algorithm_level(algorithm, *level);
        }
    }
}

/// What the one says, and where it says nothing, the other.
fn or(one: Timeouts, other: Timeouts) -> Timeouts {
    Timeouts {
        request: one.request.or(other.request),
        backend: one.backend.or(other.backend),
        connect: one.connect.or(other.connect),
        read: one.read.or(other.read),
        send: one.send.or(other.send),
    }
}

impl Proxy {
    /// What the rules of policies refuse. Asked before identity, which may cost more.
    pub(super) fn guard(&self, session: &Session, client: IpAddr, ctx: &Request) -> Option<Refused> {
        let rules = ctx.rule.as_ref()?.traffic.part(|policy| policy.rules.as_ref())?;
        let request = session.req_header();
        let facts = rules::Facts {
            method: &request.method,
            path: request.uri.path(),
            target_bytes: request.uri.path_and_query().map_or(0, |target| target.as_str().len()),
            headers: &request.headers,
            client: Some(client),
        };
        let mut refused = None;
        for finding in rules.judge(&facts) {
            self.seen.found(&finding.rule, finding.enforced);
            if finding.enforced {
                refused =
                    Some((Answer::new(finding.status, "the request is against the rules of this route\n"), "rule"));
            } else {
                tracing::info!(%client, rule = %finding.rule, path = request.uri.path(), "a rule would refuse a request");
            }
        }
        refused
    }

    /// Takes a request out of all buckets it counts for, and its places: before identity, whose answers may be dear, but for
    /// clients that are told apart by a header, which identity may set.
    pub(super) fn admit(&self, session: &Session, client: IpAddr, ctx: &mut Request, phase: Phase) -> Option<Refused> {
        let rule = ctx.rule.clone()?;
        let now = |limit: &&Limit| {
            matches!(limit.per, Per::Header(..)) == (phase == Phase::After) && !limit.exempt.contains(client)
        };
        for limit in rule.traffic.part(|policy| policy.limits.as_ref()).into_iter().flatten().filter(now) {
            match take(limit, session.req_header(), client) {
                Ok(left) if limit.headers => {
                    ctx.respond.push((named(told::POLICY), told::policy(&limit.name, &limit.rate)));
                    ctx.respond.push((named(told::LIMIT), told::left(&limit.name, &left)));
                }
                Ok(_) => {}
                Err(wait) => {
                    self.seen.found(&limit.name, true);
                    let mut answer = Answer::new(limit.status, "there were too many requests; wait a moment\n");
                    answer.headers = vec![
                        (header::RETRY_AFTER, told::retry_after(wait)),
                        (named(told::POLICY), told::policy(&limit.name, &limit.rate)),
                        (named(told::LIMIT), told::refused(&limit.name, wait)),
                    ];
                    return Some((answer, "rate_limit"));
                }
            }
        }
        if phase == Phase::After {
            return None;
        }
        if let Some(places) = rule.traffic.part(|policy| policy.places.as_ref()) {
            ctx.place = places.take(limit::client_key(client).0);
            if ctx.place.is_none() {
                let mut answer =
                    Answer::new(StatusCode::SERVICE_UNAVAILABLE, "there is too much under way; wait a moment\n");
                answer.headers = vec![(header::RETRY_AFTER, HeaderValue::from(1))];
                return Some((answer, "requests_at_once"));
            }
        }
        None
    }
}

fn named(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

fn take(limit: &Limit, request: &RequestHeader, client: IpAddr) -> Result<limit::Left, limit::Wait> {
    let now = Clock.now();
    match &limit.per {
        Per::All(cell) => cell.take(&limit.rate, now),
        Per::Client(clients) => {
            let (own, network) = limit::client_key(client);
            clients.take(&own, &network, now)
        }
        Per::Header(name, clients) => {
            let value = request.headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
            let (_, network) = limit::client_key(client);
            clients.take(value, &network, now)
        }
    }
}

/// What a client is told when no endpoint takes its request.
pub(super) fn refusal_text(reason: Option<&str>) -> Option<&'static str> {
    let circuit = reason.is_some_and(|reason| reason.starts_with("circuit_"));
    circuit.then_some("the backend has as much to do as its policy allows; wait a moment\n")
}

impl Request {
    /// Takes a place at an endpoint for a try.
    pub(super) fn pick(&mut self, session: &Session, client: IpAddr) -> Result<std::net::SocketAddr> {
        self.lease = None; // the place of the try before is free
        let Some(endpoints) = self.backend().map(|backend| Arc::clone(&backend.endpoints)) else {
            return Error::err(ErrorType::HTTPStatus(500));
        };
        let (pool, now) = (endpoints.pool(), Clock.now());
        let request = session.req_header();
        let key = match &pool.policy_in_force().algorithm {
            Balance::RingHash(source) => {
                let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
                source.key(&request.headers, target, Some(client))
            }
            _ => None,
        };
        let kind = if self.tries == 0 { Kind::Request } else { Kind::Retry };
        let ask = Ask { now, dice: fastrand::u64(..), key, stay: self.wanted, tried: &self.tried, kind };
        match pool.pick(&ask) {
            Ok(lease) => {
                if self.tries == 0 {
                    endpoints.budget.request(&endpoints.settings().budget, now);
                }
                let address = lease.address();
                (self.lease, self.answered) = (Some(lease), false);
                self.tried.push(address);
                Ok(address)
            }
            Err(refusal) => {
                self.refused = Some(refusal.reason());
                let text =
                    if refusal == Refusal::Empty { "no endpoint is ready" } else { "as much is under way as may be" };
                Error::e_explain(ErrorType::HTTPStatus(503), text)
            }
        }
    }

    /// The backend has a connection for the request.
    pub(super) fn connected(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.connected();
        }
    }

    /// Tells how a try went, once.
    pub(super) fn report(&mut self, outcome: Outcome) {
        if let Some(lease) = &self.lease
            && !std::mem::replace(&mut self.answered, true)
        {
            lease.report(outcome, Clock.now());
        }
    }

    /// Whether the request is sent again after `failure`; then it waits as its policy says.
    pub(super) fn again(&mut self, session: &Session, failure: Failure) -> bool {
        let Some(endpoints) = self.backend().map(|backend| Arc::clone(&backend.endpoints)) else { return false };
        let policy = self.retry.as_deref().unwrap_or(&USUAL_RETRY);
        let kept = !session.as_ref().retry_buffer_truncated() && self.body <= policy.body_limit as u64;
        let facts = Facts {
            method: &session.req_header().method,
            tries: self.tries,
            body_kept: kept,
            answering: session.response_written().is_some(),
            time_left: self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())),
        };
        match policy.decide(failure, &facts, fastrand::u64(..)) {
            Decision::GiveUp(why) => {
                tracing::trace!(?failure, why, "a request is not sent again");
                false
            }
            Decision::Again(_) if !endpoints.budget.retry(&endpoints.settings().budget, Clock.now()) => {
                tracing::debug!(backend = %endpoints.pool().name, "a request is not sent again: the budget of retries is used up");
                false
            }
            Decision::Again(pause) => {
                self.pause = Some(pause);
                true
            }
        }
    }

    /// Whether an answer is worth another try.
    pub(super) fn unwanted(&mut self, session: &Session, response: &ResponseHeader) -> bool {
        let Some(policy) = &self.retry else { return false };
        let status = response.status.as_u16();
        let grpc = || response.headers.get("grpc-status")?.to_str().ok()?.parse::<u16>().ok();
        let failure = match grpc().filter(|grpc| policy.grpc.contains(grpc)) {
            Some(grpc) => Failure::Grpc(grpc),
            None if policy.statuses.contains(&status) => Failure::Status(status),
            None => return false,
        };
        self.again(session, failure)
    }

    /// Waits as the policy says before a try that is not the first.
    pub(super) async fn wait_before_retry(&mut self) -> Result<()> {
        self.try_deadline = None;
        let Some(pause) = self.pause.take().filter(|pause| !pause.is_zero()) else { return Ok(()) };
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        tokio::time::sleep(left.map_or(pause, |left| pause.min(left))).await;
        if left.is_some_and(|left| left <= pause) {
            return Error::e_explain(fail::LATE, "no time is left for another try");
        }
        Ok(())
    }
}

impl From<&crate::model::Retry> for crate::retry::Policy {
    /// As GEP-1731 says: whatever way a try fails, when its method allows it; the back-off is the least wait.
    fn from(retry: &crate::model::Retry) -> Self {
        Self {
            retries: retry.attempts,
            statuses: retry.codes.clone(),
            reset: true,
            timeout: true,
            any_method: retry.any_method,
            least_backoff: retry.backoff,
            backoff: retry.backoff,
            longest_backoff: Duration::from_secs(10).max(retry.backoff),
            ..Self::default()
        }
    }
}
