//! One connection of a client, from the choice of an endpoint to the last byte.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;

use super::copy::{self, Bytes};
use super::hello::{self, Hello};
use super::{End, Figures};
use crate::balance::{Ask, Kind, Lease, Outcome, Pool, Refusal};
use crate::clock::Clock;
use crate::proxy_protocol;

/// Endpoints tried at most.
const TRIES: usize = 3;

/// The version of the PROXY protocol an endpoint is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announce {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How long things may take, and what the endpoint is told.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Connecting to one endpoint.
    pub connect: Duration,
    /// Silence in both directions.
    pub idle: Duration,
    /// Whether the endpoint is told where the client is.
    pub announce: Option<Announce>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), idle: Duration::from_secs(3600), announce: None }
    }
}

/// Where a client comes from, and where it connected to.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// The client.
    pub client: SocketAddr,
    /// The gateway.
    pub local: SocketAddr,
}

/// What all streams share.
#[derive(Clone, Debug)]
pub struct Relay {
    /// The clock of the pools.
    pub clock: Clock,
    /// Figures of all streams.
    pub figures: Arc<Figures>,
}

impl Relay {
    /// Connects `client`, who has said `start` already, with an endpoint of `pool`, until it ends.
    pub async fn run<S>(&self, mut client: S, start: &[u8], ends: Ends, pool: &Arc<Pool>, settings: &Settings) -> End
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.figures.open.fetch_add(1, Ordering::Relaxed);
        let bytes = Bytes::default();
        let end = match self.connect(ends, pool, settings).await {
            Ok((backend, lease)) => self.between(&mut client, backend, start, ends, &lease, settings, &bytes).await,
            Err(end) => end,
        };
        self.figures.open.fetch_sub(1, Ordering::Relaxed);
        self.count(end, &bytes);
        let (up, down) = (bytes.up.into_inner(), bytes.down.into_inner());
        let backend = &pool.name;
        match end {
            End::Closed | End::ClientGone | End::Idle => {
                tracing::debug!(client = %ends.client, %backend, up, down, end = end.reason(), "a stream has ended");
            }
            _ => tracing::warn!(client = %ends.client, %backend, up, down, end = end.reason(), "a stream has failed"),
        }
        end
    }

    /// Counts a stream that ended before it began.
    pub fn refuse(&self, end: End) {
        self.figures.end(end);
    }

    fn count(&self, end: End, bytes: &Bytes) {
        self.figures.end(end);
        self.figures.up.fetch_add(bytes.up.load(Ordering::Relaxed), Ordering::Relaxed);
        self.figures.down.fetch_add(bytes.down.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// A connection to an endpoint, another when one cannot be connected to.
    async fn connect(&self, ends: Ends, pool: &Arc<Pool>, settings: &Settings) -> Result<(TcpStream, Lease), End> {
        let key = crate::balance::Source::Client.key(&http::HeaderMap::new(), "", Some(ends.client.ip()));
        let mut tried = Vec::new();
        loop {
            let ask = Ask {
                now: self.clock.now(),
                dice: fastrand::u64(..),
                key,
                tried: &tried,
                kind: Kind::Connection,
                ..Ask::default()
            };
            let mut lease = pool.pick(&ask).map_err(|refusal: Refusal| {
                tracing::debug!(backend = %pool.name, "a stream is refused: {refusal}");
                End::Refused
            })?;
            let address = lease.address();
            match tokio::time::timeout(settings.connect, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    lease.connected();
                    lease.report(Outcome::Answered(200), self.clock.now());
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!("cannot switch off delayed sending: {error}");
                    }
                    return Ok((stream, lease));
                }
                failed => {
                    let why = failed.map_or_else(
                        |_| "no answer in time".to_owned(),
                        |failed| failed.map_or_else(|error| error.to_string(), |_| String::new()),
                    );
                    tracing::debug!(backend = %pool.name, endpoint = %address, "cannot connect: {why}");
                    lease.report(Outcome::ConnectFailed, self.clock.now());
                }
            }
            tried.push(address);
            if tried.len() >= TRIES || tried.len() >= pool.endpoints().len() {
                return Err(End::ConnectFailed);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of one connection")]
    async fn between(
        &self,
        client: &mut (impl AsyncRead + AsyncWrite + Unpin),
        mut backend: TcpStream,
        start: &[u8],
        ends: Ends,
        lease: &Lease,
        settings: &Settings,
        bytes: &Bytes,
    ) -> End {
        let mut first = match settings.announce {
            None => Vec::new(),
            Some(Announce::V1) => proxy_protocol::write_v1(ends.client, ends.local),
            Some(Announce::V2) => proxy_protocol::write_v2(ends.client, ends.local, false),
        };
        first.extend_from_slice(start);
        let end = match backend.write_all(&first).await {
            Ok(()) => {
                bytes.up.fetch_add(start.len() as u64, Ordering::Relaxed);
                copy::both(client, &mut backend, settings.idle, self.clock, bytes).await
            }
            Err(_) => End::BackendGone,
        };
        if end == End::BackendGone && bytes.down.load(Ordering::Relaxed) == 0 {
            lease.report(Outcome::Failed, self.clock.now()); // it took the connection and gave nothing
        }
        end
    }
}

/// What a TLS client says first; nothing is taken from the connection.
///
/// # Errors
/// When it says something else, closes, or says nothing within `time`.
pub async fn greeting(client: &TcpStream, time: Duration) -> Result<Hello, String> {
    let mut bytes = vec![0; hello::LONGEST + 1];
    let look = client.async_io(Interest::READABLE, || {
        let (count, _) = rustix::net::recv(client, &mut bytes[..], RecvFlags::PEEK)?;
        match hello::parse(&bytes[..count]) {
            Ok(Some(hello)) => Ok(Ok(hello)),
            Err(fault) => Ok(Err(fault.to_string())),
            Ok(None) if count == 0 => Ok(Err("the client closed before it greeted".to_owned())),
            // The rest wakes this again: what is known to be there does not.
            Ok(None) => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    match tokio::time::timeout(time, look).await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the client did not greet in time".to_owned()),
    }
}
