//! What to do with a request, as its header tells. No I/O, no clock.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};
use pingora_http::RequestHeader;

use super::answer::Answer;
use super::{HEADER_LIMIT, cors, headers, redirect};
use crate::connection::Arrival;
use crate::model::{Filter, Rule, Target, canonical};
use crate::table::{Asked, Door, Miss};

/// What to do with a request.
#[derive(Debug)]
pub(super) struct Decision {
    /// The rule it is for, and how much of the path its match took.
    pub(super) rule: Option<(Arc<Rule>, usize)>,
    pub(super) then: Then,
}

#[derive(Debug)]
pub(super) enum Then {
    /// Send it to the share at this position.
    Forward(usize),
    /// Answer, and count it as this; nothing when it is no refusal.
    Answer(Answer, Option<&'static str>),
}

impl Decision {
    fn refuse(status: StatusCode, text: &'static str, why: &'static str) -> Self {
        Self { rule: None, then: Then::Answer(Answer::new(status, text), Some(why)) }
    }
}

/// Decides on a request; `random` chooses among weighted backends.
pub(super) fn decide(door: &Door, request: &RequestHeader, arrival: &Arrival, random: u32) -> Decision {
    let size: usize = request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if size + request.raw_path().len() > HEADER_LIMIT {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Decision::refuse(status, "the request header is too large\n", "header_size");
    }
    let Some(host) = headers::host(request) else {
        return Decision::refuse(StatusCode::BAD_REQUEST, "the request names no host\n", "no_host");
    };
    let asked = Asked {
        path: request.uri.path(),
        query: request.uri.query().unwrap_or_default(),
        method: &request.method,
        headers: &request.headers,
    };
    let greeted = arrival.greeting.as_ref().map(|greeting| greeting.name.as_str());
    let found = match door.find(&canonical(host), greeted, &asked) {
        Ok(found) => found,
        Err(Miss::Misdirected) => {
            let text = "the TLS connection was made for another name; make one for this name\n";
            return Decision::refuse(StatusCode::MISDIRECTED_REQUEST, text, "misdirected");
        }
        Err(Miss::Host | Miss::Path) => {
            let text = "no Ingress or route has a rule for this host and path\n";
            return Decision::refuse(StatusCode::NOT_FOUND, text, "no_route");
        }
    };
    let then = inside(found.rule, found.matched, request, arrival, host, random);
    Decision { rule: Some((Arc::clone(found.rule), found.matched)), then }
}

/// What the rule says.
fn inside(rule: &Rule, matched: usize, request: &RequestHeader, arrival: &Arrival, host: &str, random: u32) -> Then {
    if let Some(refusal) = limits(rule, request) {
        return refusal;
    }
    for filter in &rule.filters {
        match filter {
            Filter::Answer(status, text) => {
                return Then::Answer(Answer::new(*status, text.to_string()), Some("closed"));
            }
            Filter::Cors(policy) => {
                if let Some(answer) = cors::preflight(policy, request) {
                    return Then::Answer(answer, None);
                }
            }
            Filter::Redirect(to) => {
                let from = redirect::From {
                    tls: arrival.greeting.is_some(),
                    host,
                    port: arrival.local.port(),
                    path: request.uri.path(),
                    query: request.uri.query(),
                    matched,
                };
                return Then::Answer(Answer::redirect(to.status, &redirect::place(to, &from)), None);
            }
            _ => {}
        }
    }
    share(rule, &request.headers, random)
}

/// Which share gets it, or why none does.
pub(super) fn share(rule: &Rule, headers: &HeaderMap, random: u32) -> Then {
    let split = &rule.split;
    let Some((at, share)) = split.pick(headers, random) else {
        // GatewayAPI: no backends, or only such with the weight zero, are 500.
        let text = "no backend is named for this, or all have the weight 0\n";
        return Then::Answer(Answer::new(StatusCode::INTERNAL_SERVER_ERROR, text), Some("no_backend"));
    };
    match &share.target {
        Target::Nobody(status, text) => Then::Answer(Answer::new(*status, text.to_string()), Some("no_backend")),
        // A cache may have an answer though nobody is there.
        Target::Backend(backend) if backend.endpoints.is_empty() && rule.cached.is_none() => {
            let answer = Answer::new(StatusCode::SERVICE_UNAVAILABLE, super::fail::NO_POD);
            Then::Answer(answer, Some("no_endpoint"))
        }
        Target::Backend(_) => Then::Forward(at),
    }
}

fn limits(rule: &Rule, request: &RequestHeader) -> Option<Then> {
    let limits = &rule.limits;
    let length = request.headers.get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if limits.body.zip(length).is_some_and(|(most, length)| length > most) {
        let answer = Answer::new(StatusCode::PAYLOAD_TOO_LARGE, super::fail::TOO_LARGE);
        return Some(Then::Answer(answer, Some("body_size")));
    }
    None
}
