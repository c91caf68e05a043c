//! What is written down of a request when it has ended.

use std::time::{Duration, SystemTime};

use http::StatusCode;
use pingora_core::Error;
use pingora_proxy::Session;

use super::{Proxy, Request, arrival, headers, status};
use crate::seen::{Context, Ended, Line, Span};

impl Proxy {
    /// Counts a request, and writes its line.
    pub(super) fn note(&self, session: &Session, error: Option<&Error>, ctx: &Request) {
        let time = ctx.since.map(|since| since.elapsed()).unwrap_or_default();
        let status = status(session);
        let sent = session.body_bytes_sent() as u64;
        let backend = ctx.backend().filter(|_| ctx.endpoint.is_some());
        self.seen.count(&Ended {
            rule: ctx.rule.as_deref(),
            backend,
            method: &session.req_header().method,
            status,
            time,
            bytes: (ctx.body, sent),
            refused: ctx.refused,
        });
        if let Some(error) = error {
            tracing::debug!(endpoint = ctx.endpoint.map(tracing::field::display), "a request failed: {error}");
        }
        self.trace(session, status, time, ctx);
        let Some(access) = self.seen.access.as_ref().filter(|access| access.takes()) else { return };
        let request = session.req_header();
        let arrival = arrival(session);
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok());
        access.write(&Line {
            time: jiff::Timestamp::try_from(SystemTime::now()).map(|now| now.to_string()).unwrap_or_default(),
            client: arrival.map(|arrival| arrival.client),
            method: request.method.as_str(),
            scheme: if arrival.is_some_and(|arrival| arrival.greeting.is_some()) { "https" } else { "http" },
            host: headers::host(request).unwrap_or_default(),
            path: request.uri.path(),
            protocol: format!("{:?}", request.version),
            status: status.map_or(0, |status| status.as_u16()),
            received: ctx.body,
            sent,
            seconds: time.as_secs_f64(),
            route: ctx.rule.as_ref().map(|rule| rule.source.to_string()),
            backend: backend.map(crate::model::Backend::name),
            endpoint: ctx.endpoint,
            who: ctx.who.as_deref(),
            tries: ctx.tries,
            refused: ctx.refused,
            error: error.map(|error| error.etype().as_str().to_owned()),
            trace: ctx.trace.map(|trace| trace.trace()),
            agent: header("user-agent"),
        });
    }

    /// Tells the collector of a request that is sampled.
    fn trace(&self, session: &Session, status: Option<StatusCode>, time: Duration, ctx: &Request) {
        let (Some(tracer), Some(context)) = (&self.seen.tracer, ctx.trace.filter(Context::is_sampled)) else { return };
        let request = session.req_header();
        let arrival = arrival(session);
        let scheme = if arrival.is_some_and(|arrival| arrival.greeting.is_some()) { "https" } else { "http" };
        let mut attributes = vec![
            ("url.scheme", scheme.to_owned()),
            ("url.path", request.uri.path().to_owned()),
            ("server.address", headers::host(request).unwrap_or_default().to_owned()),
        ];
        attributes.extend(arrival.map(|arrival| ("client.address", arrival.client.ip().to_string())));
        attributes.extend(ctx.endpoint.map(|endpoint| ("network.peer.address", endpoint.to_string())));
        attributes.extend(ctx.refused.map(|why| ("error.type", why.to_owned())));
        tracer.tell(&Span {
            context,
            method: request.method.to_string(),
            route: ctx.rule.as_ref().map_or_else(|| "no route".to_owned(), |rule| rule.source.to_string()),
            time,
            status: status.map_or(0, |status| status.as_u16()),
            attributes,
        });
    }
}
