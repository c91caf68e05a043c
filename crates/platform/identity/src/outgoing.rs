//! Requests of our own, to providers and services that are asked.
//!
//! Every one has a time and a size it may not exceed, redirects are not followed, and only addresses are dialled that the
//! resolver lets through. Connections are kept and shared.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tasks::Children;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::means::{Means, Resolve};

const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long an unused connection is kept: less than servers commonly do.
const KEEP_TIME: Duration = Duration::from_secs(15);
const KEPT_PER_HOST: usize = 16;
const HEADER_LIMIT: usize = 64 * 1024;

/// A client with its connections. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Outgoing {
    client: Client<Connector, Full<Bytes>>,
}

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, without TLS too (h2c by prior knowledge).
    Http2,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: HeaderMap,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutgoingError {
    #[error("{0:?} is no URL of http or https")]
    Url(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
    #[error("cannot connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Outgoing {
    /// A client that trusts `authorities`, or those of the machine.
    pub(crate) fn new(means: &Means, authorities: Option<Arc<RootCertStore>>, speech: Speech) -> Self {
        let roots = authorities.unwrap_or_else(|| Arc::clone(&means.roots));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("invariant: the provider has suites of TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = match speech {
            Speech::Http1 => vec![b"http/1.1".to_vec()],
            Speech::Http2 => vec![b"h2".to_vec()],
        };
        let connector = Connector { resolver: Arc::clone(&means.resolver), tls: TlsConnector::from(Arc::new(tls)) };
        let client = Client::builder(Own(means.children.clone()))
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(KEEP_TIME)
            .pool_max_idle_per_host(KEPT_PER_HOST)
            .http1_max_buf_size(HEADER_LIMIT)
            .http2_max_header_list_size(u32::try_from(HEADER_LIMIT).unwrap_or(u32::MAX))
            .http2_only(speech == Speech::Http2)
            .build(connector);
        Self { client }
    }

    /// Gets a document.
    pub(crate) async fn get(&self, url: &str, time: Duration, limit: usize) -> Result<Received, OutgoingError> {
        let request = Request::get(url).header("accept", "application/json").body(Full::default());
        self.send(request.map_err(|_| OutgoingError::Url(url.to_owned()))?, time, limit).await
    }

    /// Sends a request and waits for the whole answer, `time` at most; a body of more than `limit` bytes is an error.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        time: Duration,
        limit: usize,
    ) -> Result<Received, OutgoingError> {
        if !matches!(request.uri().scheme_str(), Some("http" | "https")) || request.uri().host().is_none() {
            return Err(OutgoingError::Url(request.uri().to_string()));
        }
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| OutgoingError::Connect(error.into()))?;
            let (parts, body) = answer.into_parts();
            let whole = Limited::new(body, limit).collect().await.map_err(|error| {
                let too_large = error.is::<http_body_util::LengthLimitError>();
                if too_large { OutgoingError::TooLarge(limit) } else { OutgoingError::Broken(error) }
            })?;
            let trailers = whole.trailers().cloned().unwrap_or_default();
            Ok(Received { status: parts.status, headers: parts.headers, body: whole.to_bytes(), trailers })
        };
        tokio::time::timeout(time, exchange).await.unwrap_or(Err(OutgoingError::Timeout(time)))
    }
}

/// Runs the client's tasks as children of the service.
#[derive(Clone)]
struct Own(Children);

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for Own {
    fn execute(&self, future: F) {
        self.0.spawn("a connection of identity", future);
    }
}

#[derive(Clone)]
struct Connector {
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
}

impl Connector {
    async fn connect(self, uri: Uri) -> io::Result<TokioIo<Wire>> {
        let invalid = |why: &str| io::Error::new(io::ErrorKind::InvalidInput, why.to_owned());
        let secure = uri.scheme_str() == Some("https");
        let host = uri.host().ok_or_else(|| invalid("the URL names no host"))?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = self.dial(host, port).await?;
        stream.set_nodelay(true)?;
        if !secure {
            return Ok(TokioIo::new(Wire { stream: Box::pin(stream), h2: false }));
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| invalid("the URL's host is no name"))?;
        let stream = self.tls.connect(name, stream).await?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(TokioIo::new(Wire { stream: Box::pin(stream), h2 }))
    }

    async fn dial(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in self.resolver.resolve(host, port).await? {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Wire>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let late = || io::Error::new(io::ErrorKind::TimedOut, format!("not connected within {CONNECT_TIME:?}"));
        let connecting = self.clone().connect(uri);
        Box::pin(async move { tokio::time::timeout(CONNECT_TIME, connecting).await.unwrap_or_else(|_| Err(late())) })
    }
}

trait Stream: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Stream for T {}

/// A connection, with or without TLS.
struct Wire {
    stream: Pin<Box<dyn Stream>>,
    h2: bool,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.h2 { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(cx, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}
