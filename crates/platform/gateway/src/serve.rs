//! Sockets, TLS handshakes and connections, on the runtime and tasks of the process.
//!
//! pingora's proxy is used without its server: connections are accepted here and handed to it one
//! by one, each in a task of its own (streams of an HTTP/2 connection are tasks of pingora's).
//! Sockets follow the model: [`Doors::open`] opens what is new, changes what is served on the others
//! without touching them, and closes what is gone. Invariants: a connection over the limit waits in
//! the kernel, it does not cost memory here; a change of routes ends no connection; on stop no new
//! connection is taken and the requests under way get a moment to finish.

mod accept;
mod streams;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use pingora_core::apps::HttpServerOptions;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::HttpProxy;
use socket2::{Domain, Protocol, Type};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::certificates::Greeter;
use crate::challenges::Challenges;
use crate::model::{Model, Socket, Transport};
use crate::proxy::Proxy;
use crate::rules::Nets;
use crate::seen::Seen;
use crate::table::Door;

/// Connections served at once.
const CONNECTIONS: u32 = 16_384;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// How long a connection without a request is kept.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// Unused connections to backends.
const POOL: usize = 1024;
/// How long requests may go on after the stop signal.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Everything that accepts connections.
#[derive(Debug)]
pub struct Doors {
    /// The address that sockets without one of their own are bound to.
    shared: IpAddr,
    open: Mutex<HashMap<Socket, Open>>,
    house: Arc<House>,
}

/// A socket that is open.
#[derive(Debug)]
struct Open {
    door: Arc<ArcSwap<Door>>,
    close: CancellationToken,
}

/// What all connections share.
struct House {
    proxy: Arc<HttpProxy<Proxy>>,
    greeter: Greeter,
    slots: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    seen: Arc<Seen>,
    challenges: Challenges,
    /// Networks whose connections begin with a PROXY header.
    introduced: Nets,
    children: tasks::Children,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("House").field("slots", &self.slots.available_permits()).finish_non_exhaustive()
    }
}

impl Doors {
    /// No socket yet; those without an address will be on `shared`.
    ///
    /// # Errors
    /// When the certificate for unknown names cannot be made.
    pub fn new(shared: IpAddr, seen: Arc<Seen>, ctx: &tasks::Context) -> anyhow::Result<Self> {
        let challenges = Challenges::default();
        let proxy = Proxy::new(Arc::clone(&seen), challenges.clone(), ctx.children.clone());
        let house = House {
            proxy: Arc::new(http_proxy(proxy)),
            greeter: Greeter::new()?,
            slots: Arc::new(Semaphore::new(CONNECTIONS as usize)),
            stop: watch::channel(false).0,
            seen,
            challenges,
            introduced: Nets::default(),
            children: ctx.children.clone(),
        };
        Ok(Self { shared, open: Mutex::default(), house: Arc::new(house) })
    }

    /// The challenges of certificate authorities that are answered, whatever is routed.
    #[must_use]
    pub fn challenges(&self) -> Challenges {
        self.house.challenges.clone()
    }

    /// Connections from these networks must begin with a PROXY header, which tells where they really come from. Said before
    /// the first socket is opened.
    #[must_use]
    pub fn introduced_by(mut self, networks: impl IntoIterator<Item = ipnet::IpNet>) -> Self {
        if let Some(house) = Arc::get_mut(&mut self.house) {
            house.introduced = Nets::new(networks);
        }
        self
    }

    /// Serves `model` from now on: what cannot be listened on, and why.
    pub fn open(&self, model: &Model) -> BTreeMap<Socket, String> {
        let mut failed = BTreeMap::new();
        let mut open = self.open.lock();
        for (socket, listeners) in &model.doors {
            let door = Arc::new(Door::build(listeners));
            match open.get(socket) {
                Some(known) => known.door.store(door),
                None => match self.listen(*socket, door) {
                    Ok(opened) => drop(open.insert(*socket, opened)),
                    Err(error) => drop(failed.insert(*socket, format!("{error:#}"))),
                },
            }
        }
        open.retain(|socket, known| {
            let kept = model.doors.contains_key(socket);
            if !kept {
                known.close.cancel();
            }
            kept
        });
        failed
    }

    fn address(&self, socket: Socket) -> SocketAddr {
        SocketAddr::new(socket.address.unwrap_or(self.shared), socket.port)
    }

    fn listen(&self, socket: Socket, door: Arc<Door>) -> anyhow::Result<Open> {
        let address = self.address(socket);
        let door = Arc::new(ArcSwap::new(door));
        let close = CancellationToken::new();
        match socket.transport {
            Transport::Tcp => {
                let listener = listener(address, socket.address.is_some())
                    .with_context(|| format!("cannot listen on {address}; free the port or choose another"))?;
                let (house, door, close) = (Arc::clone(&self.house), Arc::clone(&door), close.clone());
                self.house.children.spawn(format!("door {socket}"), async move {
                    tokio::select! {
                        () = accept::accept(&house, listener, &door) => {}
                        () = close.cancelled() => {}
                    }
                });
            }
            Transport::Udp => {
                let socket = bound(address, socket.address.is_some(), Type::DGRAM)
                    .and_then(|socket| Ok(UdpSocket::from_std(socket.into())?))
                    .with_context(|| format!("cannot listen on {address}; free the port or choose another"))?;
                let served = streams::datagrams(Arc::clone(&self.house), socket, Arc::clone(&door), close.clone());
                self.house.children.spawn(format!("door {address}/udp"), served);
            }
        }
        Ok(Open { door, close })
    }

    /// Takes no new connection, and gives the requests under way a moment.
    pub async fn close(&self) {
        self.open.lock().drain().for_each(|(_, open)| open.close.cancel());
        self.house.stop.send_replace(true);
        pingora_core::apps::HttpServerApp::http_cleanup(&*self.house.proxy).await; // ends the wait for a next request
        let all = self.house.slots.acquire_many(CONNECTIONS);
        if tokio::time::timeout(DRAIN_TIME, all).await.is_err() {
            tracing::debug!("requests were still under way {DRAIN_TIME:?} after the stop signal");
        }
    }
}

/// A socket that listens.
fn listener(address: SocketAddr, own: bool) -> anyhow::Result<TcpListener> {
    let socket = bound(address, own, Type::STREAM)?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into())?)
}

/// A socket at an address; one that need not be of this machine yet when it is the socket's own.
fn bound(address: SocketAddr, own: bool, kind: Type) -> anyhow::Result<socket2::Socket> {
    let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
    let socket = socket2::Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(kind == Type::STREAM)?; // of datagrams two sockets would share them
    socket.set_nonblocking(true)?;
    if own {
        match address {
            SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
            SocketAddr::V6(_) => socket.set_freebind_v6(true)?,
        }
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn http_proxy(proxy: Proxy) -> HttpProxy<Proxy> {
    // Timeouts of a second and more on tokio's timers: pingora's own need a thread that wakes a
    // hundred times a second for as long as the process lives.
    pingora_timeout::fast_timeout::set_fast_timeout_to_tokio_threshold(Some(Duration::ZERO));
    let settings = ServerConf {
        // TLS to backends is ours: an empty list instead of the system's certificates.
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

#[cfg(test)]
mod tests;
