//! From an accepted socket to its requests.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp as _, ServerApp as _};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{Shutdown as _, Stream};
use pingora_proxy::HttpProxy;
use rustls::server::Acceptor;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::{House, IDLE_TIME, streams};
use crate::connection::{Arrival, Connection, Greeting};
use crate::model::canonical;
use crate::proxy::Proxy;
use crate::proxy_protocol::{self, Said};
use crate::stream::relay::Ends;
use crate::table::Door;

/// A TLS handshake, and what tells HTTP/2 from HTTP/1.1, must be done by then.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// A connection must have said something by then.
const FIRST_BYTE_TIME: Duration = Duration::from_secs(30);
/// The wait after a failed accept: it fails for want of file descriptors, which take a moment.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Takes connections for as long as it is polled.
pub(super) async fn accept(house: &Arc<House>, listener: TcpListener, door: &Arc<ArcSwap<Door>>) {
    loop {
        let slot = Arc::clone(&house.slots).acquire_owned().await;
        let slot = slot.expect("invariant: the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, client)) => {
                let (house, door) = (Arc::clone(house), Arc::clone(door));
                house.seen.accepted.fetch_add(1, Ordering::Relaxed);
                let children = house.children.clone();
                children.spawn("connection", async move {
                    house.seen.connections.fetch_add(1, Ordering::Relaxed);
                    if let Err(error) = serve(&house, stream, client, door).await {
                        tracing::debug!("a connection of {client} ended: {error}");
                    }
                    house.seen.connections.fetch_sub(1, Ordering::Relaxed);
                    drop(slot);
                });
            }
            Err(error) if is_clients_fault(&error) => {}
            Err(error) => {
                tracing::warn!("cannot take a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_clients_fault(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Serves a connection to its end. What it takes to begin is let go of before the first request: an idle connection costs
/// what this future is large.
async fn serve(
    house: &Arc<House>,
    stream: TcpStream,
    client: std::net::SocketAddr,
    door: Arc<ArcSwap<Door>>,
) -> io::Result<()> {
    let Some(connection) = Box::pin(begin(house, stream, client, door)).await? else { return Ok(()) };
    let stop = house.stop.subscribe();
    if connection.is_h2() {
        Box::pin(house.proxy.process_new(connection, &stop)).await;
    } else {
        http1(connection, &house.proxy, &stop).await;
    }
    Ok(())
}

/// What comes before HTTP; none when it was none, and is over.
async fn begin(
    house: &Arc<House>,
    mut stream: TcpStream,
    client: std::net::SocketAddr,
    door: Arc<ArcSwap<Door>>,
) -> io::Result<Option<Box<Connection>>> {
    stream.set_nodelay(true)?;
    let mut ends = Ends { client, local: stream.local_addr()? };
    if house.introduced.contains(client.ip()) {
        ends = introduced(&mut stream, ends).await?;
    }
    let now = door.load_full();
    if now.has_passthrough() {
        match streams::passed_on(&stream, &now, HANDSHAKE_TIME).await {
            Ok(None) => {}
            Ok(Some(route)) => {
                streams::relay(house, stream, ends, &route).await;
                return Ok(None);
            }
            Err((end, why)) => {
                house.seen.streams.end(end);
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
        }
    } else if !now.has_tls()
        && let Some(route) = now.stream("")
    {
        streams::relay(house, stream, ends, route).await;
        return Ok(None);
    }
    drop(now);
    let mut arrival = Arrival { client: ends.client, local: ends.local, door: Arc::clone(&door), greeting: None };
    let connection = if door.load().has_tls() {
        let greeted = tokio::time::timeout(HANDSHAKE_TIME, greet(house, stream, &door)).await;
        let greeted =
            greeted.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "no TLS handshake in time")));
        match greeted {
            Ok((stream, greeting)) => {
                let route = door.load().stream(&greeting.name).cloned();
                if let Some(route) = route {
                    streams::relay(house, stream, ends, &route).await;
                    return Ok(None);
                }
                arrival.greeting = Some(greeting);
                Connection::tls(stream, arrival)
            }
            Err(error) => {
                house.seen.handshakes_failed.fetch_add(1, Ordering::Relaxed);
                return Err(error);
            }
        }
    } else {
        let mut connection = Connection::plain(stream, arrival);
        let begun = tokio::time::timeout(FIRST_BYTE_TIME, connection.begins_h2()).await;
        begun.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was said in time")))?;
        connection
    };
    Ok(Some(Box::new(connection)))
}

/// Who a connection really comes from, as the PROXY header says that it must begin with.
async fn introduced(stream: &mut TcpStream, ends: Ends) -> io::Result<Ends> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "no PROXY header in time");
    match tokio::time::timeout(HANDSHAKE_TIME, proxy_protocol::read(stream)).await.map_err(|_| late())?? {
        Said::Nothing => Ok(ends),
        Said::Proxied { source, destination } => Ok(Ends { client: source, local: destination }),
    }
}

/// The TLS handshake, with the certificate and the demands of the listener that has the name the client asks for.
async fn greet(house: &House, stream: TcpStream, door: &ArcSwap<Door>) -> io::Result<(TlsStream<TcpStream>, Greeting)> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let name = canonical(start.client_hello().server_name().unwrap_or_default()).into_owned();
    let door = door.load_full();
    let refused = |why: &str| io::Error::new(io::ErrorKind::ConnectionRefused, why.to_owned());
    let entrance = door.entrance(&name).ok_or_else(|| refused("no listener has the name that was asked for"))?;
    let config = entrance.config(&house.greeter)?;
    let stream = start.into_stream(config).await?;
    let certificates = stream
        .get_ref()
        .1
        .peer_certificates()
        .map(|chain| chain.iter().map(|certificate| certificate.clone().into_owned()).collect::<Vec<_>>());
    Ok((stream, Greeting { name, certificates }))
}

/// Serves the requests of an HTTP/1.1 connection. As pingora does itself, except that the wait for a request is ours: what a
/// request needs is there only while there is one.
async fn http1(mut connection: Box<Connection>, proxy: &Arc<HttpProxy<Proxy>>, stop: &watch::Receiver<bool>) {
    let mut settings: Option<HttpPersistentSettings> = None;
    let mut patience = FIRST_BYTE_TIME;
    loop {
        let mut stopping = stop.clone();
        let asked = tokio::select! {
            biased;
            asked = connection.request_begins(patience) => asked,
            _ = stopping.wait_for(|stopping| *stopping) => false,
        };
        if !asked {
            return connection.shutdown().await;
        }
        let mut session = ServerSession::new_http1(connection as Stream);
        match settings.take() {
            Some(settings) => settings.apply_to_session(&mut session),
            None => session.set_keepalive(Some(IDLE_TIME.as_secs())),
        }
        let Some(kept) = Box::pin(proxy.process_new_http(session, stop)).await else { return };
        let (stream, kept) = kept.consume();
        let Ok(back) = stream.into_any().downcast::<Connection>() else { return };
        connection = back;
        connection.expect_request();
        (settings, patience) = (kept, IDLE_TIME);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Doors;
    use super::*;

    #[tokio::test]
    async fn an_idle_connection_costs_little() {
        let (ctx, _status) = tasks::context_for_tests();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let doors = Doors::new(address.ip(), Arc::default(), &ctx).unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let future = serve(&doors.house, stream, address, Arc::default());
        let size = std::mem::size_of_val(&future);
        assert!(size < 2048, "{size} bytes");
    }
}
