//! One client connection, as pingora sees it.
//!
//! Why not pingora's own listener: it needs its server process, its runtimes and certificates from
//! files. Its transport is a trait, so an accepted socket, with or without TLS, is all it needs.
//! The clock here closes what pingora's per-read timeouts cannot: a client that sends its request
//! header one byte at a time.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::{Buf as _, BytesMut};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use pingora_http::ResponseHeader;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use crate::table::Door;

/// A request header must have arrived this long after its first byte, the first one this long
/// after the connection.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// Writes up to this size wait for more, or for the flush that ends an answer: header and body go out together.
const SMALL: usize = 4 << 10;
/// What HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The most that is read of a request to see that it begins.
const AHEAD: usize = 2 << 10;
/// So much waits at most.
const WAITING: usize = 16 << 10;

/// What is known of a connection before its first request.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// Who connected; by the PROXY protocol where that is spoken.
    pub(crate) client: SocketAddr,
    /// Where to.
    pub(crate) local: SocketAddr,
    /// What is served there, always as it is now.
    pub(crate) door: Arc<ArcSwap<Door>>,
    /// Whether TLS ends here, and what the client said in it.
    pub(crate) greeting: Option<Greeting>,
}

/// What a TLS client said.
#[derive(Debug, Default)]
pub(crate) struct Greeting {
    /// The name it asked for, canonical; empty when it named none.
    pub(crate) name: String,
    /// Its certificates. Whether they were verified is the listener's matter; a guard looks at them itself.
    pub(crate) certificates: Option<Vec<CertificateDer<'static>>>,
}

/// An accepted socket.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Transport,
    fd: RawFd,
    h2: bool,
    socket: Arc<SocketDigest>,
    tls: Option<Arc<SslDigest>>,
    /// Carries the [`Arrival`] to where requests are served.
    arrival: Arc<ProxyDigest>,
    /// Written and not sent yet.
    waiting: BytesMut,
    /// Read and not asked for yet: what showed that a request begins.
    ahead: BytesMut,
    /// True while a request header is waited for or read.
    in_header: AtomicBool,
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// A connection without TLS; see [`Self::begins_h2`].
    pub(crate) fn plain(stream: TcpStream, arrival: Arrival) -> Self {
        let fd = stream.as_raw_fd();
        Self::new(Transport::Plain(stream), fd, false, None, arrival)
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>, arrival: Arrival) -> Self {
        let (socket, session) = stream.get_ref();
        let fd = socket.as_raw_fd();
        let h2 = session.alpn_protocol() == Some(b"h2");
        let cipher = session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or_default();
        let version = session.protocol_version().and_then(|version| version.as_str()).unwrap_or_default();
        let digest = Arc::new(SslDigest::new(cipher, version, None, None, Vec::new()));
        Self::new(Transport::Tls(Box::new(stream)), fd, h2, Some(digest), arrival)
    }

    fn new(transport: Transport, fd: RawFd, h2: bool, tls: Option<Arc<SslDigest>>, arrival: Arrival) -> Self {
        let carrier = Box::new(
            ResponseHeader::build_no_case(http::StatusCode::OK, None)
                .unwrap_or_else(|error| unreachable!("invariant: 200 is a status: {error}")),
        );
        Self {
            transport,
            fd,
            h2,
            socket: Arc::new(SocketDigest::from_raw_fd(fd)),
            tls,
            arrival: Arc::new(ProxyDigest::new(carrier, Some(Box::new(arrival)))),
            waiting: BytesMut::new(),
            ahead: BytesMut::new(),
            in_header: AtomicBool::new(!h2),
            deadline: (!h2).then(|| Box::pin(sleep(HEADER_TIME))),
        }
    }

    pub(crate) fn is_h2(&self) -> bool {
        self.h2
    }

    /// The header of a request is complete: its body and answer take the time they take.
    pub(crate) fn header_read(&self) {
        self.in_header.store(false, Ordering::Relaxed);
    }

    /// Waits for the first bytes of a request: false when the client is gone, or says nothing for so long.
    ///
    /// Why here and not in pingora: while it waits pingora holds what it needs for a whole request, some 30 KB.
    pub(crate) async fn request_begins(&mut self, patience: Duration) -> bool {
        if self.ahead.is_empty() && !matches!(tokio::time::timeout(patience, self.read_ahead()).await, Ok(Ok(1..))) {
            return false;
        }
        self.deadline = Some(Box::pin(sleep(HEADER_TIME)));
        true
    }

    /// Waits until it is clear whether a client without TLS speaks HTTP/2 (RFC 9113, 3.4), and remembers it.
    ///
    /// # Errors
    /// When the client is gone.
    pub(crate) async fn begins_h2(&mut self) -> io::Result<()> {
        while self.ahead.len() < PREFACE.len() {
            if self.read_ahead().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let known = self.ahead.len().min(PREFACE.len());
            if self.ahead[..known] != PREFACE[..known] {
                return Ok(());
            }
        }
        self.h2 = true;
        *self.in_header.get_mut() = false;
        self.deadline = None;
        Ok(())
    }

    /// Reads what there is, to be asked for later: how much it was.
    async fn read_ahead(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| {
            let mut start = [0; AHEAD];
            let mut start = ReadBuf::new(&mut start);
            std::task::ready!(self.transport().poll_read(cx, &mut start))?;
            self.ahead.extend_from_slice(start.filled());
            Poll::Ready(Ok(start.filled().len()))
        })
        .await
    }

    /// The connection is kept for another request, whose time starts with its first byte.
    pub(crate) fn expect_request(&mut self) {
        *self.in_header.get_mut() = true;
        self.deadline = None;
        if self.waiting.capacity() > SMALL {
            self.waiting = BytesMut::new(); // an idle connection keeps no room
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let in_header = *this.in_header.get_mut();
        if in_header
            && let Some(deadline) = &mut this.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request header took too long")));
        }
        if !this.ahead.is_empty() {
            let count = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..count]);
            this.ahead.advance(count);
            if this.ahead.is_empty() {
                this.ahead = BytesMut::new();
            }
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = this.transport().poll_read(cx, buf);
        if in_header && this.deadline.is_none() && buf.filled().len() > before {
            this.deadline = Some(Box::pin(sleep(HEADER_TIME)));
        }
        read
    }
}

impl Connection {
    fn transport(&mut self) -> Pin<&mut (dyn Both + '_)> {
        match &mut self.transport {
            Transport::Plain(stream) => Pin::new(stream) as Pin<&mut dyn Both>,
            Transport::Tls(stream) => Pin::new(stream),
        }
    }

    /// Sends what waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            let sent = self.transport().poll_write(cx, &waiting);
            self.waiting = waiting;
            match std::task::ready!(sent)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.waiting.advance(count),
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// A connection, whatever carries it.
trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if buf.len() <= SMALL {
            if this.waiting.len() + buf.len() > WAITING {
                std::task::ready!(this.poll_send(cx))?;
            }
            this.waiting.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        while !this.waiting.is_empty() {
            // Together with what waits, without a copy.
            let waiting = std::mem::take(&mut this.waiting);
            let both = [io::IoSlice::new(&waiting), io::IoSlice::new(buf)];
            let sent = this.transport().poll_write_vectored(cx, &both);
            this.waiting = waiting;
            let sent = std::task::ready!(sent)?;
            let of_waiting = sent.min(this.waiting.len());
            this.waiting.advance(of_waiting);
            match sent - of_waiting {
                0 if sent == 0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                0 => {}
                count => return Poll::Ready(Ok(count)),
            }
        }
        this.transport().poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let total: usize = bufs.iter().map(|buf| buf.len()).sum();
        if total <= SMALL {
            if this.waiting.len() + total > WAITING {
                std::task::ready!(this.poll_send(cx))?;
            }
            bufs.iter().for_each(|buf| this.waiting.extend_from_slice(buf));
            return Poll::Ready(Ok(total));
        }
        std::task::ready!(this.poll_send(cx))?;
        this.transport().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.poll_send(cx))?;
        this.transport().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        std::task::ready!(this.poll_send(cx))?;
        this.transport().poll_shutdown(cx)
    }
}

#[async_trait]
impl Shutdown for Connection {
    async fn shutdown(&mut self) {
        if let Err(error) = tokio::io::AsyncWriteExt::shutdown(self).await {
            tracing::trace!("a client was gone before its connection was closed: {error}");
        }
    }
}

impl UniqueID for Connection {
    fn id(&self) -> UniqueIDType {
        self.fd
    }
}

impl Ssl for Connection {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.tls.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        self.is_h2().then_some(ALPN::H2)
    }
}

impl GetTimingDigest for Connection {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        Vec::new()
    }
}

impl GetProxyDigest for Connection {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.arrival))
    }
}

impl GetSocketDigest for Connection {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        Some(Arc::clone(&self.socket))
    }
}

impl Peek for Connection {}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_header_past_its_time_ends_the_connection_and_a_body_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, address) = listener.accept().await.unwrap();
        let arrival = Arrival { client: address, local: address, door: Arc::default(), greeting: None };
        let mut connection = Connection::plain(accepted, arrival);
        connection.deadline = Some(Box::pin(sleep(Duration::ZERO)));
        assert_eq!(connection.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);

        connection.header_read();
        client.write_all(b"body").await.unwrap();
        let mut body = [0; 4];
        connection.read_exact(&mut body).await.unwrap();

        connection.expect_request();
        client.write_all(b"G").await.unwrap();
        assert!(connection.deadline.is_none(), "an idle connection has no header to be late");
        connection.read_u8().await.unwrap();
        assert!(connection.deadline.is_some(), "the first byte starts the clock");
    }
}
