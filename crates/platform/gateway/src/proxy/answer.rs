//! Answers of our own.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use pingora_core::Result;
use pingora_http::ResponseHeader;

/// An answer in place of a backend's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) text: Cow<'static, str>,
}

impl Answer {
    /// A status, and what a person is told.
    pub(super) fn new(status: StatusCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self { status, headers: Vec::new(), text: text.into() }
    }

    /// A text for machines.
    pub(super) fn octets(text: String) -> Self {
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        Self { status: StatusCode::OK, headers: vec![kind], text: text.into() }
    }

    /// Another place; none when the place is no value of a header.
    pub(super) fn redirect(status: StatusCode, to: &str) -> Self {
        match HeaderValue::from_str(to) {
            Ok(to) => Self { status, headers: vec![(header::LOCATION, to)], text: "".into() },
            Err(_) => Self::new(StatusCode::BAD_REQUEST, "the request would be redirected to an impossible place\n"),
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn header(&self) -> Result<ResponseHeader> {
        let mut response = ResponseHeader::build(self.status, Some(4 + self.headers.len()))?;
        if self.status != StatusCode::NO_CONTENT {
            response.insert_header(header::CONTENT_LENGTH, self.text.len())?;
        }
        for (name, value) in &self.headers {
            response.append_header(name.clone(), value)?;
        }
        if !self.text.is_empty() && !response.headers.contains_key(header::CONTENT_TYPE) {
            response.insert_header(header::CONTENT_TYPE, "text/plain; charset=utf-8")?;
            response.insert_header(header::CACHE_CONTROL, "no-store")?;
        }
        Ok(response)
    }
}
