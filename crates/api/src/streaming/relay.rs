//! One request carried to somewhere else, and its answer carried back as it arrives.
//!
//! Nothing is buffered: a log that is followed reaches the client line by line, an upgraded connection becomes two byte
//! streams tied together until both directions have ended (an end in one direction is passed on and the other goes on).
//! The connection to the far end is driven by the answer's body itself, so a plain answer needs no task and ends when
//! the client goes away; only a tunnel, which outlives its answer, is a task.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::kubelet::{DialError, Kubelets, Stream, Target};
use crate::{
    authn::WEBSOCKET_BEARER,
    body::{Body, BoxError},
    error::ApiError,
};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("cannot talk HTTP to {authority}")]
    Http {
        authority: String,
        #[source]
        source: hyper::Error,
    },
    #[error("cannot build the request to {authority}")]
    Request {
        authority: String,
        #[source]
        source: http::Error,
    },
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// Bytes carried at once through a tunnel.
const CHUNK: usize = 32 * 1024;

/// True for a request that wants to leave HTTP (WebSocket, SPDY).
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named = connection.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    named && headers.contains_key(header::UPGRADE)
}

/// Sends `request` to `target` as `path`, and returns what it answers; ties the two connections together if it upgrades.
pub(crate) async fn relay(
    kubelets: &Kubelets,
    target: &Target,
    path: &str,
    request: Request<Body>,
) -> Result<Response<Body>, Error> {
    over(kubelets, kubelets.dial(target).await?, &target.authority(), path, request).await
}

/// As [`relay`], over a connection that stands.
pub(crate) async fn over(
    kubelets: &Kubelets,
    stream: Box<dyn Stream>,
    authority: &str,
    path: &str,
    mut request: Request<Body>,
) -> Result<Response<Body>, Error> {
    let upgrade = is_upgrade(request.headers());
    let near = upgrade.then(|| hyper::upgrade::on(&mut request));
    let (parts, body) = request.into_parts();
    let mut far = Request::builder().method(parts.method).uri(path);
    if let Some(headers) = far.headers_mut() {
        *headers = outgoing(&parts.headers, upgrade);
        if let Ok(host) = authority.parse() {
            headers.insert(header::HOST, host);
        }
    }
    let far = far.body(body).map_err(|source| Error::Request { authority: authority.to_owned(), source })?;

    let failed = |source| Error::Http { authority: authority.to_owned(), source };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut connection = Some(Box::pin(connection.with_upgrades()));
    let mut send = std::pin::pin!(sender.send_request(far));
    let mut response = loop {
        tokio::select! {
            response = &mut send => break response.map_err(failed)?,
            ended = ended(&mut connection) => ended.map_err(failed)?,
        }
    };
    if let (StatusCode::SWITCHING_PROTOCOLS, Some(near)) = (response.status(), near) {
        let far = hyper::upgrade::on(&mut response);
        let children = kubelets.children()?;
        // boxed: the compiler cannot prove by itself that the future may change threads
        let tunnel: BoxFuture<'static, Result<(), BoxError>> = Box::pin(tunnel(near, far, connection));
        children.spawn("tunnel", async move {
            if let Err(error) = tunnel.await {
                tracing::debug!(%error, "a tunnel ended");
            }
        });
        return Ok(response.map(|_| crate::body::empty()));
    }
    let (mut parts, body) = response.into_parts();
    for hop in HOP_BY_HOP {
        parts.headers.remove(hop);
    }
    let driven = Driven { connection, body };
    Ok(Response::from_parts(parts, driven.boxed_unsync()))
}

async fn tunnel(
    near: hyper::upgrade::OnUpgrade,
    far: hyper::upgrade::OnUpgrade,
    mut connection: Option<Pin<Box<impl Future<Output = hyper::Result<()>>>>>,
) -> Result<(), BoxError> {
    let upgrades = async { tokio::join!(near, far) };
    let mut upgrades = std::pin::pin!(upgrades);
    let (near, far) = loop {
        tokio::select! {
            upgraded = &mut upgrades => break upgraded,
            ended = ended(&mut connection) => ended?,
        }
    };
    let (near, far) = (tokio::io::split(TokioIo::new(near?)), tokio::io::split(TokioIo::new(far?)));
    let (there, back) = tokio::join!(carry(near.0, far.1), carry(far.0, near.1));
    there.and(back)?;
    Ok(())
}

/// One direction to its end. However it ends, what was read is delivered first and then the end is passed on: a peer that
/// goes without saying goodbye must not cost the last bytes it sent.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let ended = loop {
        match from.read(&mut buffer).await {
            Ok(0) => break Ok(()),
            Ok(count) => {
                to.write_all(&buffer[..count]).await?;
                to.flush().await?;
            }
            Err(error) => break Err(error),
        }
    };
    to.shutdown().await?;
    ended
}

/// The end of a connection, which is told once: later calls wait for ever.
async fn ended<C: Future<Output = hyper::Result<()>>>(connection: &mut Option<Pin<Box<C>>>) -> hyper::Result<()> {
    let Some(running) = connection else { return std::future::pending().await };
    let result = running.await;
    *connection = None;
    result
}

/// A body that drives the connection it comes from.
struct Driven<C> {
    connection: Option<Pin<Box<C>>>,
    body: Incoming,
}

impl<C: Future<Output = hyper::Result<()>>> http_body::Body for Driven<C> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if let Some(connection) = &mut this.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            this.connection = None; // an error reaches us through the body
        }
        Pin::new(&mut this.body).poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

const HOP_BY_HOP: [HeaderName; 5] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::TE, header::TRAILER, HeaderName::from_static("keep-alive")];

/// The client's headers without its credentials, and without what concerns only its own connection.
fn outgoing(headers: &HeaderMap, upgrade: bool) -> HeaderMap {
    let mut kept = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        let ours = *name == header::AUTHORIZATION || name.as_str().starts_with("impersonate-") || *name == header::HOST;
        let hop = HOP_BY_HOP.contains(name) && !(upgrade && *name == header::CONNECTION);
        if ours || hop || (*name == header::UPGRADE && !upgrade) {
            continue;
        }
        if *name == header::SEC_WEBSOCKET_PROTOCOL {
            let offered = value.to_str().unwrap_or_default().split(',').map(str::trim);
            let open: Vec<&str> = offered.filter(|protocol| !protocol.starts_with(WEBSOCKET_BEARER)).collect();
            if let (false, Ok(value)) = (open.is_empty(), open.join(", ").parse()) {
                kept.append(name, value);
            }
            continue;
        }
        kept.append(name, value.clone());
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streaming::kubelet::Security;

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        list.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn credentials_never_leave_with_the_request() {
        let sent = outgoing(
            &headers(&[
                ("authorization", "Bearer x"),
                ("impersonate-user", "root"),
                ("host", "api"),
                ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.eA, v5.channel.k8s.io"),
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("accept", "*/*"),
            ]),
            true,
        );
        let expected = headers(&[
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("accept", "*/*"),
        ]);
        assert_eq!(sent, expected);
    }

    #[test]
    fn a_plain_request_takes_no_hop_headers_along() {
        let sent = outgoing(&headers(&[("connection", "keep-alive"), ("te", "trailers"), ("accept", "*/*")]), false);
        assert_eq!(sent, headers(&[("accept", "*/*")]));
    }

    #[test]
    fn an_upgrade_is_asked_for_by_two_headers() {
        assert!(is_upgrade(&headers(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")])));
        assert!(!is_upgrade(&headers(&[("connection", "keep-alive"), ("upgrade", "h2c")])));
        assert!(!is_upgrade(&headers(&[("connection", "upgrade")])));
    }

    /// A server at the far end that answers with `head`, sends back what it gets, and says goodbye when we stop sending.
    async fn far_end(listener: tokio::net::TcpListener, head: &'static str) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(socket.read_u8().await.unwrap());
        }
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = [0; 1024];
        loop {
            match socket.read(&mut buffer).await.unwrap() {
                0 => break,
                got => socket.write_all(&buffer[..got]).await.unwrap(),
            }
        }
        socket.write_all(b"bye").await.unwrap();
        socket.shutdown().await.unwrap();
    }

    /// A connection whose requests are relayed to a server that answers with `head`.
    async fn connection(head: &'static str) -> (tokio::io::DuplexStream, tasks::Context) {
        let (ctx, _) = tasks::context_for_tests();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target = Target { host: "127.0.0.1".to_owned(), port, security: Security::Plain };
        ctx.children.spawn("far", far_end(listener, head));
        let kubelets = std::sync::Arc::new(Kubelets::new(&crate::testing::config()).unwrap());
        kubelets.start(&ctx.children);
        let (near, server) = tokio::io::duplex(64 * 1024);
        let service = hyper::service::service_fn(move |request: Request<Incoming>| {
            let (kubelets, target) = (std::sync::Arc::clone(&kubelets), target.clone());
            async move {
                let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
                relay(&kubelets, &target, "/exec/ns/p/c?command=sh", request).await
            }
        });
        ctx.children.spawn("near", async move {
            let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
            serving.with_upgrades().await.unwrap();
        });
        (near, ctx)
    }

    async fn head_of(near: &mut tokio::io::DuplexStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(near.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    #[tokio::test]
    async fn an_upgraded_connection_carries_bytes_both_ways_and_each_end_ends_alone() {
        let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        let (mut near, _ctx) = connection(head).await;
        let request = "GET /x HTTP/1.1\r\nhost: api\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
        near.write_all(request.as_bytes()).await.unwrap();
        assert!(head_of(&mut near).await.starts_with("HTTP/1.1 101"));
        let mut echoed = [0; 4];
        near.write_all(b"ping").await.unwrap();
        near.read_exact(&mut echoed).await.unwrap();
        assert_eq!(&echoed, b"ping");
        near.shutdown().await.unwrap();
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"bye", "what the far end says after we stopped talking still arrives");
    }

    #[tokio::test]
    async fn the_last_bytes_before_a_broken_end_are_delivered() {
        let broken = breaking();
        let (to, mut out) = tokio::io::duplex(16);
        let reading = async {
            let mut all = Vec::new();
            out.read_to_end(&mut all).await.unwrap();
            all
        };
        let (ended, all) = tokio::join!(carry(broken, to), reading);
        assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
        assert_eq!(all, vec![b'x'; 100]);
    }

    /// A hundred bytes and then an error.
    fn breaking() -> impl AsyncRead + Unpin {
        let bytes = futures::stream::iter([
            Ok(Bytes::from(vec![b'x'; 100])),
            Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)),
        ]);
        tokio_util::io::StreamReader::new(bytes)
    }

    #[tokio::test]
    async fn an_answer_arrives_while_it_is_still_being_written() {
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
        let (mut near, _ctx) = connection(head).await;
        near.write_all(b"GET /x HTTP/1.1\r\nhost: api\r\n\r\n").await.unwrap();
        assert!(head_of(&mut near).await.starts_with("HTTP/1.1 200"));
        let mut chunk = [0; 10];
        near.read_exact(&mut chunk).await.unwrap();
        assert_eq!(&chunk, b"5\r\nhello\r\n");
    }

    #[tokio::test]
    async fn a_far_end_that_is_not_there_is_told_as_upstream_tells_it() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let kubelets = Kubelets::new(&crate::testing::config()).unwrap();
        let target = Target { host: "127.0.0.1".to_owned(), port, security: Security::Kubelet };
        let error = relay(&kubelets, &target, "/", Request::new(crate::body::empty())).await.unwrap_err();
        assert_eq!(error.to_string(), format!("dial tcp 127.0.0.1:{port}: connect: connection refused"));
    }
}
