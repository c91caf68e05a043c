//! Purging and figures from outside: a small HTTP interface, on a socket that only its owner can open.
//!
//! - `POST /purge` with a [`Purge`] as JSON answers `{"purged": N}`.
//! - `GET /stats` answers [`Stats`] as JSON, `GET /metrics` the same for Prometheus.
//!
//! Who can open the socket may do all of it. On a listener of the network a bearer token is asked for as well.

mod client;
mod listen;

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};

use crate::store::purge::Purge;
use crate::{Cache, Stats};

pub use client::{Client, ClientError};
pub use listen::serve;

/// The most a request may say.
const MOST: usize = 64 << 10;

/// The word that opens the interface where it is not a socket of its owner's.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token, without the white space around it; nothing when it is too short to be a secret.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (text.len() >= 16).then(|| Self(text.to_owned()))
    }

    /// Whether `header` carries it. Takes as long for a wrong token as for the right one.
    fn is_shown(&self, header: Option<&http::HeaderValue>) -> bool {
        let shown = header.and_then(|value| value.as_bytes().strip_prefix(b"Bearer ")).unwrap_or_default();
        let expected = self.0.as_bytes();
        let differ = expected.iter().enumerate().fold(shown.len() ^ expected.len(), |differ, (at, byte)| {
            differ | usize::from(byte ^ shown.get(at).copied().unwrap_or_default())
        });
        differ == 0
    }
}

/// Answers a request of the interface.
pub async fn answer<B>(cache: &'static Cache, token: Option<&Token>, request: Request<B>) -> Response<Full<Bytes>>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if let Some(token) = token
        && !token.is_shown(request.headers().get(AUTHORIZATION))
    {
        let mut refused =
            text(StatusCode::UNAUTHORIZED, "show the token of the cache as Authorization: Bearer TOKEN\n");
        refused.headers_mut().insert(WWW_AUTHENTICATE, http::HeaderValue::from_static("Bearer"));
        return refused;
    }
    match (request.method(), request.uri().path()) {
        (&Method::POST, "/purge") => purge(cache, request.into_body()).await,
        (&Method::GET, "/stats") => json(&cache.stats()),
        (&Method::GET, "/metrics") => text(StatusCode::OK, &cache.stats().prometheus()),
        (_, "/purge") => only("POST"),
        (_, "/stats" | "/metrics") => only("GET"),
        _ => text(StatusCode::NOT_FOUND, "there is /purge, /stats and /metrics\n"),
    }
}

async fn purge<B>(cache: &'static Cache, body: B) -> Response<Full<Bytes>>
where
    B: http_body::Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let body = match Limited::new(body, MOST).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return text(StatusCode::BAD_REQUEST, &format!("the request cannot be read: {error}\n")),
    };
    let wish: Purge = match serde_json::from_slice(&body) {
        Ok(wish) => wish,
        Err(error) => return text(StatusCode::BAD_REQUEST, &format!("this is no purge: {error}\n")),
    };
    match cache.purge(&wish).await {
        Ok(purged) => {
            tracing::info!(?wish, purged, "purged");
            json(&serde_json::json!({ "purged": purged }))
        }
        Err(error) => text(StatusCode::BAD_REQUEST, &format!("{error}\n")),
    }
}

fn only(method: &'static str) -> Response<Full<Bytes>> {
    let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, &format!("use {method}\n"));
    refused.headers_mut().insert(ALLOW, http::HeaderValue::from_static(method));
    refused
}

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
}

fn json(value: &impl serde::Serialize) -> Response<Full<Bytes>> {
    match serde_json::to_vec(value) {
        Ok(body) => with_type(StatusCode::OK, "application/json", body.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("cannot write the answer: {error}\n")),
    }
}

fn with_type(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}

/// Figures as people read them: a name and a number per line.
#[must_use]
pub fn table(stats: &Stats) -> String {
    let asked = stats.hits + stats.misses + stats.stale + stats.revalidated;
    let served = stats.hits + stats.stale + stats.revalidated;
    let share = if asked == 0 { 0.0 } else { share(served, asked) };
    let rows = [
        ("hits", stats.hits.to_string()),
        ("misses", stats.misses.to_string()),
        ("stale", stats.stale.to_string()),
        ("revalidated", stats.revalidated.to_string()),
        ("bypassed", stats.bypassed.to_string()),
        ("hit ratio", format!("{share:.1} %")),
        ("stored", stats.stored.to_string()),
        ("refused", stats.refused.to_string()),
        ("purged", stats.purged.to_string()),
        ("lock waits", stats.lock_waits.to_string()),
        ("corrupt files", stats.corrupt.to_string()),
        ("memory", size(stats.memory_objects, stats.memory_bytes, stats.memory_capacity, stats.evicted_memory)),
        ("disk", size(stats.disk_objects, stats.disk_bytes, stats.disk_capacity, stats.evicted_disk)),
    ];
    rows.iter().map(|(name, value)| format!("{name:<14} {value}\n")).collect()
}

#[allow(clippy::cast_precision_loss, reason = "one digit of it is shown")]
fn share(of: u64, all: u64) -> f64 {
    of as f64 * 100.0 / all as f64
}

fn size(objects: u64, bytes: u64, capacity: u64, evicted: u64) -> String {
    if capacity == 0 {
        return "none".to_owned();
    }
    format!("{objects} objects, {} of {} MiB, {evicted} evicted", bytes >> 20, capacity >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    async fn asked(token: Option<&Token>, method: &str, path: &str, shown: Option<&str>, body: &str) -> (u16, String) {
        let cache = Cache::open(&Settings { memory: 0, disk: None }).unwrap();
        let mut request = Request::builder().method(method).uri(path);
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, shown);
        }
        let answer = answer(cache, token, request.body(Full::new(Bytes::from(body.to_owned()))).unwrap()).await;
        let status = answer.status().as_u16();
        (status, String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_purges_and_tells_figures() {
        assert_eq!(asked(None, "POST", "/purge", None, r#"{"all":true}"#).await, (200, r#"{"purged":0}"#.to_owned()));
        assert_eq!(asked(None, "GET", "/stats", None, "").await.0, 200);
        assert!(asked(None, "GET", "/metrics", None, "").await.1.contains("knarr_cache_objects{tier=\"memory\"} 0"));
        for (method, path, body, status) in [
            ("GET", "/purge", "", 405),
            ("POST", "/stats", "", 405),
            ("GET", "/", "", 404),
            ("POST", "/purge", "{}", 400),
            ("POST", "/purge", r#"{"url":"/x"}"#, 400),
            ("POST", "/purge", "x", 400),
        ] {
            assert_eq!(asked(None, method, path, None, body).await.0, status, "{method} {path} {body}");
        }
    }

    #[tokio::test]
    async fn a_token_is_asked_for_where_there_is_one() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        for wrong in [
            None,
            Some(""),
            Some("Bearer "),
            Some("Bearer 0123456789abcdeX"),
            Some("Bearer 0123456789abcdef0"),
            Some("0123456789abcdef"),
        ] {
            assert_eq!(asked(Some(&token), "GET", "/stats", wrong, "").await.0, 401, "{wrong:?}");
        }
        assert_eq!(asked(Some(&token), "GET", "/stats", Some("Bearer 0123456789abcdef"), "").await.0, 200);
        assert!(Token::new("short").is_none());
    }

    #[test]
    fn figures_are_readable() {
        let text = table(&Stats { hits: 3, misses: 1, memory_capacity: 64 << 20, ..Stats::default() });
        assert!(text.contains("hit ratio      75.0 %\n") && text.contains("disk           none\n"), "{text}");
    }
}
