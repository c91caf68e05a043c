//! Sockets, TLS handshakes and connections, on the runtime and tasks of the process.
//!
//! pingora's proxy is used without its server: connections are accepted here and handed to it one
//! by one, each in a task of its own (streams of an HTTP/2 connection are tasks of pingora's).
//! Invariants: a connection over the limit waits in the kernel, it does not cost memory here; on
//! stop no new connection is taken and the requests under way get a moment to finish.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use pingora_core::apps::{HttpServerApp as _, HttpServerOptions, ServerApp as _};
use pingora_core::protocols::Stream;
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::connection::Connection;
use crate::proxy::Proxy;
use crate::{certificates, routes};

/// Connections served at once.
const CONNECTIONS: u32 = 16_384;
/// A TLS handshake must be done by then.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a connection without a request is kept.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Unused connections to backends.
const POOL: usize = 1024;
/// How long requests may go on after the stop signal.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// The wait after a failed accept: it fails for want of file descriptors, which take a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The two sockets of a gateway.
#[derive(Debug)]
pub struct Listeners {
    /// For plain HTTP.
    pub http: TcpListener,
    /// For HTTPS.
    pub https: TcpListener,
}

impl Listeners {
    /// Listens on both addresses.
    ///
    /// # Errors
    /// When one of them is taken or not of this machine.
    pub async fn bind(http: SocketAddr, https: SocketAddr) -> anyhow::Result<Self> {
        let listen = async |address: SocketAddr, what: &str, flag: &str| {
            TcpListener::bind(address).await.with_context(|| {
                format!("cannot listen on {address} for {what}; free the port or choose another with {flag}")
            })
        };
        Ok(Self {
            http: listen(http, "HTTP", "--http-port").await?,
            https: listen(https, "HTTPS", "--https-port").await?,
        })
    }
}

/// Serves `table` until `ctx` is stopped.
///
/// # Errors
/// When TLS cannot be set up.
pub async fn serve(listeners: Listeners, table: routes::Shared, ctx: &tasks::Context) -> anyhow::Result<()> {
    let Listeners { http, https } = listeners;
    let acceptor = TlsAcceptor::from(certificates::server_config(Arc::clone(&table))?);
    let ports = (http.local_addr()?.port(), https.local_addr()?.port());
    let (stopping, stop) = watch::channel(false);
    let door = Door {
        proxy: Arc::new(http_proxy(Proxy::new(table, ports.0, ports.1))),
        slots: Arc::new(Semaphore::new(CONNECTIONS as usize)),
        stop,
        children: ctx.children.clone(),
    };
    tokio::select! {
        () = door.accept(&http, None) => {}
        () = door.accept(&https, Some(&acceptor)) => {}
        () = ctx.stop.cancelled() => {}
    }
    drop((http, https));
    stopping.send_replace(true);
    door.proxy.http_cleanup().await; // ends the wait for a next request
    if tokio::time::timeout(DRAIN_TIME, door.slots.acquire_many(CONNECTIONS)).await.is_err() {
        tracing::debug!("requests were still under way {DRAIN_TIME:?} after the stop signal");
    }
    Ok(())
}

fn http_proxy(proxy: Proxy) -> HttpProxy<Proxy> {
    // Timeouts of a second and more on tokio's timers: pingora's own need a thread that wakes a
    // hundred times a second for as long as the process lives.
    pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
    let settings = ServerConf {
        // Backends are spoken to in plain HTTP: an empty list instead of the system's certificates.
        ca_file: Some("/dev/null".to_owned()),
        upstream_keepalive_pool_size: POOL,
        ..ServerConf::default()
    };
    let mut proxy = HttpProxy::new(proxy, Arc::new(settings));
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(IDLE_TIME);
    proxy.server_options = Some(options);
    proxy.handle_init_modules();
    proxy
}

struct Door {
    proxy: Arc<HttpProxy<Proxy>>,
    slots: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    children: tasks::Children,
}

impl Door {
    /// Takes connections for as long as it is polled.
    async fn accept(&self, listener: &TcpListener, tls: Option<&TlsAcceptor>) {
        loop {
            let slot = Arc::clone(&self.slots).acquire_owned().await;
            let slot = slot.expect("invariant: the semaphore is never closed");
            match listener.accept().await {
                Ok((stream, _)) => {
                    let serving = connection(stream, tls.cloned(), Arc::clone(&self.proxy), self.stop.clone(), slot);
                    self.children.spawn("connection", serving);
                }
                Err(error) if is_clients_fault(&error) => {}
                Err(error) => {
                    tracing::warn!("cannot take a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn is_clients_fault(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    proxy: Arc<HttpProxy<Proxy>>,
    stop: watch::Receiver<bool>,
    slot: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot switch off delayed sending: {error}");
    }
    let connection = match tls {
        None => Connection::plain(stream),
        Some(acceptor) => match tokio::time::timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => Connection::tls(stream),
            Ok(Err(error)) => return tracing::debug!("TLS handshake failed: {error}"),
            Err(_) => return tracing::debug!("TLS handshake took longer than {HANDSHAKE_TIME:?}"),
        },
    };
    if connection.is_h2() {
        proxy.process_new(Box::new(connection), &stop).await;
    } else {
        http1(connection, &proxy, &stop).await;
    }
    drop(slot);
}

/// Serves the requests of an HTTP/1.1 connection. As pingora does itself, except that the
/// connection is told when the next request header may take its time.
async fn http1(connection: Connection, proxy: &Arc<HttpProxy<Proxy>>, stop: &watch::Receiver<bool>) {
    let mut session = ServerSession::new_http1(Box::new(connection));
    session.set_keepalive(Some(IDLE_TIME.as_secs()));
    while let Some(kept) = proxy.process_new_http(session, stop).await {
        let (stream, settings) = kept.consume();
        let Ok(mut connection) = stream.into_any().downcast::<Connection>() else { return };
        connection.expect_request();
        session = ServerSession::new_http1(connection as Stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
    }
}
