//! Leaving HTTP: which protocol the two sides go on with, WebSocket or SPDY/3.1.
//!
//! Invariant: a connection is only upgraded to a protocol that was offered and that the path knows; the refusals are
//! upstream's, for clients fall back to SPDY when they see one.

use std::io;

use bytes::Bytes;
use futures::{Sink, SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::codec::{BytesCodec, FramedWrite};
use tokio_util::io::ReaderStream;

use super::{Body, Refusal};

const SPDY: &str = "SPDY/3.1";
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const LARGEST_MESSAGE: usize = 4 << 20;

/// The protocols a path speaks, best first.
pub(super) struct Spoken {
    pub(super) websocket: &'static [&'static str],
    /// A WebSocket may also come without a protocol.
    pub(super) unnamed: bool,
    pub(super) spdy: &'static [&'static str],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Agreed {
    /// The subprotocol; empty if the client named none.
    WebSocket(&'static str, String),
    Spdy(&'static str),
}

fn words(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|word| word.trim().to_owned())
        .filter(|word| !word.is_empty())
        .collect()
}

pub(super) fn negotiate(headers: &HeaderMap, spoken: &Spoken) -> Result<Agreed, Refusal> {
    let has =
        |name: HeaderName, wanted: &str| words(headers, &name).iter().any(|word| word.eq_ignore_ascii_case(wanted));
    if !has(header::CONNECTION, "upgrade") {
        return Err(Refusal::bad("unable to upgrade: missing upgrade headers in request"));
    }
    if has(header::UPGRADE, SPDY) {
        return spdy(&words(headers, &STREAM_PROTOCOL), spoken.spdy);
    }
    if !has(header::UPGRADE, "websocket") {
        return Err(Refusal::bad("unable to upgrade: missing upgrade headers in request"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| Refusal::bad("Sec-WebSocket-Key is missing"))?;
    let accept = derive_accept_key(key.as_bytes());
    let offered = words(headers, &header::SEC_WEBSOCKET_PROTOCOL);
    if offered.is_empty() && spoken.unnamed {
        return Ok(Agreed::WebSocket("", accept));
    }
    match spoken.websocket.iter().find(|known| offered.iter().any(|word| word == *known)) {
        Some(protocol) => Ok(Agreed::WebSocket(protocol, accept)),
        None => Err(mismatch(&offered, spoken.websocket, StatusCode::BAD_REQUEST)),
    }
}

/// The client's order counts, as upstream; a client that names nothing speaks the oldest.
fn spdy(offered: &[String], known: &'static [&'static str]) -> Result<Agreed, Refusal> {
    if offered.is_empty() {
        return known
            .last()
            .map(|oldest| Agreed::Spdy(oldest))
            .ok_or_else(|| mismatch(offered, known, StatusCode::FORBIDDEN));
    }
    let common = offered.iter().find_map(|word| known.iter().find(|known| word == *known));
    common.map(|protocol| Agreed::Spdy(protocol)).ok_or_else(|| mismatch(offered, known, StatusCode::FORBIDDEN))
}

fn mismatch(offered: &[String], known: &[&str], code: StatusCode) -> Refusal {
    let (offered, known) = (offered.join(" "), known.join(" "));
    let why = format!(
        "unable to upgrade: unable to negotiate protocol: client supports [{offered}], server accepts [{known}]"
    );
    Refusal::new(code, why)
}

/// The answer that ends HTTP.
pub(super) fn switching(agreed: &Agreed) -> Result<Response<Body>, Refusal> {
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    match agreed {
        Agreed::WebSocket(protocol, accept) => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            if !protocol.is_empty() {
                headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            let accept = HeaderValue::from_str(accept).map_err(|error| Refusal::bad(error.to_string()))?;
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        Agreed::Spdy(protocol) => {
            headers.insert(header::UPGRADE, HeaderValue::from_static(SPDY));
            headers.insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
        }
    }
    Ok(response)
}

pub(super) type Socket = TokioIo<Upgraded>;

/// The connection behind the answer; none if it did not come about.
pub(super) async fn upgraded(upgrade: OnUpgrade) -> Option<Socket> {
    match upgrade.await {
        Ok(socket) => Some(TokioIo::new(socket)),
        Err(error) => {
            tracing::debug!("a session's connection did not come about: {error}");
            None
        }
    }
}

pub(super) async fn websocket(socket: Socket) -> WebSocketStream<Socket> {
    let limits =
        WebSocketConfig::default().max_message_size(Some(LARGEST_MESSAGE)).max_frame_size(Some(LARGEST_MESSAGE));
    WebSocketStream::from_raw_socket(socket, Role::Server, Some(limits)).await
}

/// A connection as chunks of bytes.
pub(super) fn chunks(
    socket: Socket,
) -> (impl futures::Stream<Item = io::Result<Bytes>> + Unpin, impl Sink<Bytes, Error = io::Error> + Unpin) {
    let (read, write) = tokio::io::split(socket);
    (ReaderStream::with_capacity(read, 32 << 10), FramedWrite::new(write, BytesCodec::new()))
}

/// The bytes inside a WebSocket's messages, for a protocol that has its own frames.
pub(super) fn tunnel(
    socket: WebSocketStream<Socket>,
) -> (impl futures::Stream<Item = io::Result<Bytes>> + Unpin, impl Sink<Bytes, Error = io::Error> + Unpin) {
    let (sink, stream) = socket.split();
    let read = stream.filter_map(|message| {
        std::future::ready(match message {
            Ok(Message::Binary(data)) => Some(Ok(data)),
            Ok(_) => None, // pings are answered by the library, a close is followed by the end
            Err(Error::ConnectionClosed | Error::AlreadyClosed) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    let write = sink
        .sink_map_err(io::Error::other)
        .with(|data: Bytes| std::future::ready(Ok::<_, io::Error>(Message::Binary(data))));
    (read, write)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXEC: Spoken = Spoken {
        websocket: &["v5.channel.k8s.io", "v4.channel.k8s.io"],
        unnamed: false,
        spdy: &["v4.channel.k8s.io", "channel.k8s.io"],
    };

    fn check(upgrade: &'static str, name: HeaderName, protocols: &'static str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="));
        if !protocols.is_empty() {
            headers.insert(name, HeaderValue::from_static(protocols));
        }
        match negotiate(&headers, &EXEC) {
            Ok(Agreed::WebSocket(protocol, _)) => Ok(format!("websocket {protocol}")),
            Ok(Agreed::Spdy(protocol)) => Ok(format!("spdy {protocol}")),
            Err(refusal) => Err(format!("{} {}", refusal.code.as_u16(), refusal.message)),
        }
    }

    #[test]
    fn the_best_common_protocol_is_taken() {
        let named = header::SEC_WEBSOCKET_PROTOCOL;
        assert_eq!(
            check("websocket", named.clone(), "v4.channel.k8s.io, v5.channel.k8s.io").unwrap(),
            "websocket v5.channel.k8s.io"
        );
        assert_eq!(check("websocket", named, "v4.channel.k8s.io").unwrap(), "websocket v4.channel.k8s.io");
        assert_eq!(
            check("SPDY/3.1", STREAM_PROTOCOL, "v5.channel.k8s.io,v4.channel.k8s.io").unwrap(),
            "spdy v4.channel.k8s.io"
        );
        assert_eq!(check("spdy/3.1", STREAM_PROTOCOL, "").unwrap(), "spdy channel.k8s.io");
    }

    #[test]
    fn what_nobody_speaks_is_refused_so_that_clients_fall_back() {
        let refused = check("websocket", header::SEC_WEBSOCKET_PROTOCOL, "x").unwrap_err();
        assert_eq!(
            refused,
            "400 unable to upgrade: unable to negotiate protocol: client supports [x], server accepts \
             [v5.channel.k8s.io v4.channel.k8s.io]"
        );
        assert!(check("SPDY/3.1", STREAM_PROTOCOL, "x").unwrap_err().starts_with("403 unable to upgrade"));
        assert!(check("h2c", STREAM_PROTOCOL, "").unwrap_err().starts_with("400 unable to upgrade: missing"));
    }
}
