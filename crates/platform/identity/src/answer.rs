//! Answers in place of a backend's: short texts that are never cached.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};

/// What a part of a policy says of a request.
#[derive(Debug)]
pub(crate) enum Outcome {
    Pass(crate::Pass),
    /// The request shows nothing, or the wrong thing, and this part answers.
    Refuse(Response<Bytes>),
}

/// How long a client is asked to wait when a service cannot be asked.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// A short text.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response<Bytes> {
    let mut body: String = text.into();
    body.push('\n');
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 401, with what the client may try.
pub(crate) fn unauthorized(challenge: &str, why: &str) -> Response<Bytes> {
    let mut response = text(StatusCode::UNAUTHORIZED, why);
    if let Ok(challenge) = HeaderValue::from_str(challenge) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// 403.
pub(crate) fn forbidden(why: &str) -> Response<Bytes> {
    text(StatusCode::FORBIDDEN, why)
}

/// 503: it cannot be decided now whether the request may pass.
pub(crate) fn unavailable(why: &str) -> Response<Bytes> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, why);
    response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    response
}

/// Sends a browser elsewhere with a GET.
pub(crate) fn redirect(to: &str) -> Response<Bytes> {
    match HeaderValue::from_str(to) {
        Ok(location) => {
            let mut response = text(StatusCode::FOUND, "see the Location header");
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(_) => text(StatusCode::BAD_REQUEST, "the request's target makes no link"),
    }
}

/// A page of HTML that loads nothing and may be framed by nobody.
pub(crate) fn page(title: &str, body: &str) -> Response<Bytes> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title></head>\
         <body><h1>{title}</h1>{body}</body></html>\n"
    );
    let mut response = Response::new(Bytes::from(html));
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("content-security-policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
    ] {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

/// Text for a quoted string of a header (RFC 9110 5.6.4).
pub(crate) fn quoted(text: &str) -> String {
    let plain = |character: &char| matches!(character, ' '..='~');
    format!("\"{}\"", text.chars().filter(plain).collect::<String>().replace('\\', "\\\\").replace('"', "\\\""))
}
