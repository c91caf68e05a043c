//! Guards are asked before anything of a request reaches a backend.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use identity::{Asked, Guard, Pass, Verdict};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::answer::Answer;
use super::{Proxy, Request, arrival, fail, headers};
use crate::model::Filter;

/// The most of a body that can be shown to a guard: what pingora keeps to send it again.
const BODY: usize = 64 << 10;

impl Proxy {
    /// Asks the guards of the rule, in its order: true when one has answered in place of the backend.
    pub(super) async fn guarded(&self, session: &mut Session, ctx: &mut Request) -> Result<bool> {
        let guards: Vec<Arc<Guard>> = ctx
            .filters()
            .filter_map(|filter| match filter {
                Filter::Guard(guard) => Some(Arc::clone(guard)),
                _ => None,
            })
            .collect();
        if guards.is_empty() {
            return Ok(false);
        }
        let most = guards.iter().filter_map(|guard| guard.body_limit()).max();
        let body = match most {
            None => None,
            Some(most) => match read(session, most.min(BODY)).await? {
                Some(body) => Some(body),
                None => {
                    ctx.refused = Some("body_size");
                    let answer = Answer::new(StatusCode::PAYLOAD_TOO_LARGE, fail::TOO_LARGE);
                    return self.answer(session, &answer, ctx).await;
                }
            },
        };
        for guard in guards {
            match ask(session, &guard, body.as_ref()).await {
                Some(Verdict::Pass(pass)) => {
                    change(session.req_header_mut(), &pass)?;
                    ctx.told.extend(pass.set.into_iter().map(|(name, _)| name));
                    ctx.who = pass.who.or(ctx.who.take());
                    ctx.respond.extend(pass.respond);
                }
                Some(Verdict::Answer(answer)) => {
                    ctx.refused = Some("identity");
                    return respond(session, answer, ctx).await;
                }
                None => return Ok(false),
            }
        }
        Ok(false)
    }
}

async fn ask(session: &Session, guard: &Guard, body: Option<&Bytes>) -> Option<Verdict> {
    let arrival = arrival(session)?;
    let request = session.req_header();
    let greeting = arrival.greeting.as_ref();
    let asked = Asked {
        method: &request.method,
        scheme: if greeting.is_some() { "https" } else { "http" },
        host: headers::host(request).unwrap_or_default(),
        target: request.uri.path_and_query().map_or("/", |target| target.as_str()),
        headers: &request.headers,
        client: arrival.client.ip().to_canonical(),
        certificate: greeting.and_then(|greeting| greeting.certificates.as_deref()),
        body,
    };
    Some(guard.ask(&asked).await)
}

/// All of the body; none when it is larger than `most`. pingora keeps it for the backend.
async fn read(session: &mut Session, most: usize) -> Result<Option<Bytes>> {
    session.enable_retry_buffering();
    let mut body = BytesMut::new();
    while let Some(piece) = session.read_request_body().await? {
        if body.len() + piece.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body.freeze()))
}

/// A guard's own answer.
async fn respond(session: &mut Session, answer: http::Response<Bytes>, ctx: &Request) -> Result<bool> {
    if !session.as_downstream_mut().is_body_empty() {
        session.set_keepalive(None);
    }
    let (parts, body) = answer.into_parts();
    let mut response = ResponseHeader::build(parts.status, Some(parts.headers.len() + 1))?;
    for (name, value) in &parts.headers {
        response.append_header(name.clone(), value)?;
    }
    for (name, value) in &ctx.respond {
        response.append_header(name.clone(), value)?;
    }
    response.insert_header(http::header::CONTENT_LENGTH, body.len())?;
    let bare = session.req_header().method == http::Method::HEAD || body.is_empty();
    session.write_response_header(Box::new(response), bare).await?;
    if !bare {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(true)
}

/// Changes the request as a guard said: for everything that comes after, and for the backend.
fn change(request: &mut RequestHeader, pass: &Pass) -> Result<()> {
    for name in &pass.remove {
        request.remove_header(name);
    }
    for (name, value) in &pass.set {
        request.insert_header(name.clone(), value)?;
    }
    match &pass.target {
        Some(target) => headers::set_target(request, target),
        None => Ok(()),
    }
}
