//! The response body: bytes at once, or a stream of them. Requests in process and over TCP are answered with the same type.

use bytes::Bytes;
use futures::Stream;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};

/// Why a body broke off. Not a boxed `dyn Error`: the compiler then fails to see that futures over bodies are `Send`.
pub(crate) type BoxError = anyhow::Error;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn empty() -> Body {
    full(Bytes::new())
}

pub(crate) fn stream(chunks: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
    use futures::TryStreamExt;
    StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync()
}
