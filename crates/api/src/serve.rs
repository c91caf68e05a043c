//! The network side: accept, TLS, HTTP/1.1 and h2, each connection a task of its own.
//!
//! The accept loop never waits for a connection and no connection waits for another. On stop nothing new is accepted,
//! watches end, connections finish the requests they are in and are dropped by their owner after that.

mod gather;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    api::Inner,
    pipeline::{self, PeerCertificate},
};
use gather::Gather;

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(30);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const STREAMS: u32 = 1000;
const WINDOW: u32 = 1024 * 1024;
/// What connections get to finish their requests once the server stops.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) async fn serve(inner: Arc<Inner>, listener: TcpListener, tls: Arc<ServerConfig>, ctx: &tasks::Context) {
    let acceptor = TlsAcceptor::from(tls);
    let connections = tokio_util::task::TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ctx.stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (inner, acceptor, stop) = (inner.clone(), acceptor.clone(), ctx.stop.clone());
                let children = ctx.children.clone();
                let open = connections.token();
                ctx.children.spawn("connection", async move {
                    if let Err(error) = connection(inner, stream, acceptor, children, stop).await {
                        tracing::debug!(%peer, error = %error, "connection ended");
                    }
                    drop(open);
                });
            }
            Err(error) => {
                // out of descriptors, or the peer gave up: neither is a reason to stop serving the others
                tracing::warn!(%error, "cannot accept a connection; trying again");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(GRACE, connections.wait()).await.is_err() {
        tracing::debug!("connections were still busy {GRACE:?} after the stop signal");
    }
}

async fn connection(
    inner: Arc<Inner>,
    stream: TcpStream,
    acceptor: TlsAcceptor,
    children: tasks::Children,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let certificate = certificate.map(|der| PeerCertificate(Bytes::copy_from_slice(der)));
    // an answer over HTTP/1.1 is one write anyway
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        converse(inner, Gather::new(stream), certificate, children, stop).await
    } else {
        converse(inner, stream, certificate, children, stop).await
    }
}

async fn converse<S>(
    inner: Arc<Inner>,
    stream: S,
    certificate: Option<PeerCertificate>,
    children: tasks::Children,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let inner = inner.clone();
        if let Some(certificate) = &certificate {
            request.extensions_mut().insert(certificate.clone());
        }
        // boxed: h2 keeps the room of this future for as long as the answer streams, and a watch may stream for an hour
        async move { Ok::<_, std::convert::Infallible>(Box::pin(pipeline::handle(&inner, request)).await) }
    });
    let builder = builder(Streams(children));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

/// Where h2 runs the streams of a connection: among the children of the service, like everything else.
#[derive(Clone)]
struct Streams(tasks::Children);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.spawn("h2 stream", async move {
            stream.await;
        });
    }
}

fn builder(streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(4 * WINDOW)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .keep_alive_timeout(KEEP_ALIVE);
    builder
}
