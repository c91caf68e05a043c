//! Datagrams, as sessions of their senders.
//!
//! A session is a socket towards an endpoint for one client address, so that answers find back. It
//! ends when nothing was said for a while, or when its endpoint says that nobody listens. Sessions
//! are bounded, in all and per client: when there are as many as may be, datagrams of new senders
//! fall, those of known ones pass. A datagram that finds a full buffer falls, as UDP allows.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{End, Figures};
use crate::balance::{Ask, Kind, Lease, Outcome, Pool, Source};
use crate::clock::{Clock, Time};

/// The largest datagram.
const LARGEST: usize = 65_535;

thread_local! {
    /// Answers on their way; held over no wait, so one per thread is enough for all sessions.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; LARGEST]);
}

/// Bounds of sessions.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Silence that ends a session.
    pub idle: Duration,
    /// Sessions at once.
    pub most: usize,
    /// Sessions of one address at once.
    pub per_client: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { idle: Duration::from_secs(60), most: 4096, per_client: 1024 }
    }
}

/// What the sessions of one socket share.
struct Sessions {
    /// Towards clients.
    socket: UdpSocket,
    settings: Settings,
    clock: Clock,
    figures: Arc<Figures>,
    /// Ends all of them.
    close: CancellationToken,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    sessions: HashMap<SocketAddr, Arc<Session>>,
    by_client: HashMap<IpAddr, usize>,
}

struct Session {
    /// Towards the endpoint, connected.
    socket: UdpSocket,
    lease: Lease,
    heard: AtomicU64,
    /// It was ended by another than its own task.
    gone: CancellationToken,
}

/// Serves `socket` until `close`, which ends the sessions too; `choose` tells the backend of a new sender.
pub async fn serve(
    socket: UdpSocket,
    settings: Settings,
    figures: Arc<Figures>,
    children: tasks::Children,
    close: CancellationToken,
    choose: impl Fn() -> Option<Arc<Pool>>,
) {
    let clock = Clock;
    let shared = Arc::new(Sessions { socket, settings, clock, figures, close, open: Mutex::default() });
    let mut buffer = vec![0; LARGEST];
    if let Err(error) = shared.socket.writable().await {
        tracing::debug!("answers to datagrams may be lost: {error}");
    }
    loop {
        let received = tokio::select! {
            received = shared.socket.recv_from(&mut buffer) => received,
            () = shared.close.cancelled() => return,
        };
        let (length, client) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!("a datagram was not received: {error}"); // of an earlier one that nobody took
                continue;
            }
        };
        let known = shared.open.lock().sessions.get(&client).cloned();
        let session = match known {
            Some(session) => Some(session),
            None => begin(&shared, client, &children, &choose).await,
        };
        let Some(session) = session else {
            shared.figures.lost.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        session.heard.store(clock.now().0, Ordering::Relaxed);
        match session.socket.try_send(&buffer[..length]) {
            Ok(sent) => {
                shared.figures.up.fetch_add(sent as u64, Ordering::Relaxed);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                shared.figures.lost.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => shared.failed(client, &session, &error),
        }
    }
}

/// A session for a new sender, if there may be one more.
async fn begin(
    shared: &Arc<Sessions>,
    client: SocketAddr,
    children: &tasks::Children,
    choose: &impl Fn() -> Option<Arc<Pool>>,
) -> Option<Arc<Session>> {
    if !shared.has_room(client) {
        tracing::debug!(%client, "a datagram falls: there are as many sessions as may be");
        return None;
    }
    let Some(pool) = choose() else {
        shared.figures.end(End::NoRoute);
        return None;
    };
    let ask = Ask {
        now: shared.clock.now(),
        dice: fastrand::u64(..),
        key: Source::Client.key(&http::HeaderMap::new(), "", Some(client.ip())),
        kind: Kind::Connection,
        ..Ask::default()
    };
    let mut lease = match pool.pick(&ask) {
        Ok(lease) => lease,
        Err(refusal) => {
            tracing::debug!(%client, backend = %pool.name, "a datagram falls: {refusal}");
            shared.figures.end(End::Refused);
            return None;
        }
    };
    lease.connected();
    let socket = match connected(lease.address()).await {
        Ok(socket) => socket,
        Err(error) => {
            tracing::warn!(%client, backend = %pool.name, endpoint = %lease.address(), "no socket for a session: {error}");
            shared.figures.end(End::ConnectFailed);
            return None;
        }
    };
    let heard = AtomicU64::new(shared.clock.now().0);
    let session = Arc::new(Session { socket, lease, heard, gone: shared.close.child_token() });
    shared.enter(client, &session);
    let (owner, own) = (Arc::clone(shared), Arc::clone(&session));
    children.spawn("datagram session", async move { owner.answers(client, own).await });
    Some(session)
}

async fn connected(endpoint: SocketAddr) -> io::Result<UdpSocket> {
    let any: IpAddr = if endpoint.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(endpoint).await?;
    socket.writable().await?; // known from here on, so that sending need not wait
    Ok(socket)
}

impl Sessions {
    fn has_room(&self, client: SocketAddr) -> bool {
        let open = self.open.lock();
        let own = open.by_client.get(&client.ip()).copied().unwrap_or_default();
        open.sessions.len() < self.settings.most && own < self.settings.per_client
    }

    fn enter(&self, client: SocketAddr, session: &Arc<Session>) {
        let mut open = self.open.lock();
        open.sessions.insert(client, Arc::clone(session));
        *open.by_client.entry(client.ip()).or_default() += 1;
        self.figures.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends `session`, unless that was done or another took its place.
    fn leave(&self, client: SocketAddr, session: &Arc<Session>, end: End) {
        let mut open = self.open.lock();
        if !open.sessions.get(&client).is_some_and(|known| Arc::ptr_eq(known, session)) {
            return;
        }
        open.sessions.remove(&client);
        if let Some(own) = open.by_client.get_mut(&client.ip()) {
            *own -= 1;
            if *own == 0 {
                open.by_client.remove(&client.ip());
            }
        }
        session.gone.cancel();
        self.figures.open.fetch_sub(1, Ordering::Relaxed);
        self.figures.end(end);
    }

    /// The endpoint does not take datagrams: the next one of the client begins a new session.
    fn failed(&self, client: SocketAddr, session: &Arc<Session>, error: &io::Error) {
        let pool = session.lease.pool();
        tracing::debug!(%client, backend = %pool.name, endpoint = %session.lease.address(), "a session has failed: {error}");
        session.lease.report(Outcome::ConnectFailed, self.clock.now());
        self.figures.lost.fetch_add(1, Ordering::Relaxed);
        self.leave(client, session, End::BackendGone);
    }

    /// Passes answers on until the session is idle or fails.
    async fn answers(&self, client: SocketAddr, session: Arc<Session>) {
        loop {
            let quiet = self.clock.now().since(Time(session.heard.load(Ordering::Relaxed)));
            let Some(left) = self.settings.idle.checked_sub(quiet).filter(|left| !left.is_zero()) else {
                return self.leave(client, &session, End::Idle);
            };
            let ready = tokio::select! {
                () = session.gone.cancelled() => return self.leave(client, &session, End::Closed),
                ready = tokio::time::timeout(left, session.socket.readable()) => ready,
            };
            if ready.is_err() {
                continue; // who was heard when is asked again
            }
            match BUFFER.with_borrow_mut(|buffer| self.answer(client, &session, buffer)) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    return self.failed(client, &session, &error);
                }
                _ => {}
            }
        }
    }

    /// Passes one answer on.
    fn answer(&self, client: SocketAddr, session: &Session, buffer: &mut [u8]) -> io::Result<()> {
        let length = session.socket.try_recv(buffer)?;
        session.heard.store(self.clock.now().0, Ordering::Relaxed);
        session.lease.report(Outcome::Answered(200), self.clock.now());
        match self.socket.try_send_to(&buffer[..length], client) {
            Ok(sent) => {
                self.figures.down.fetch_add(sent as u64, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::trace!(%client, "an answer falls: {error}");
                self.figures.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}
