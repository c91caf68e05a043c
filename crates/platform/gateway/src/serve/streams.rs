//! What becomes of a connection, or a datagram, that is for a stream route.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::House;
use crate::backend::Endpoints;
use crate::clock::Clock;
use crate::model::{StreamRoute, Target, Tls};
use crate::policy::ProxyProtocol;
use crate::stream::relay::{Announce, Ends, Relay, Settings};
use crate::stream::{End, hello, udp};
use crate::table::Door;

/// Passes a connection on as `route` says, until it ends.
pub(super) async fn relay<S>(house: &House, client: S, ends: Ends, route: &StreamRoute) -> End
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let relay = Relay { clock: Clock, figures: Arc::clone(&house.seen.streams) };
    let Some(endpoints) = choose(route) else {
        tracing::warn!(client = %ends.client, route = %route.source, "a stream is refused: its route leads to no backend");
        relay.refuse(End::NoRoute);
        return End::NoRoute;
    };
    let announce = endpoints.settings().proxy_protocol.map(|version| match version {
        ProxyProtocol::V1 => Announce::V1,
        ProxyProtocol::V2 => Announce::V2,
    });
    let settings = Settings { announce, ..Settings::default() };
    relay.run(client, b"", ends, endpoints.pool(), &settings).await
}

/// The endpoints of one backend of a route, by weight.
fn choose(route: &StreamRoute) -> Option<Arc<Endpoints>> {
    match &route.split.pick(&HeaderMap::new(), fastrand::u32(..))?.1.target {
        Target::Backend(backend) => Some(Arc::clone(&backend.endpoints)),
        Target::Nobody(..) => None,
    }
}

/// What a TLS client asks for, when what it says first is passed on; none when TLS ends here.
///
/// # Errors
/// How it ends, and why: when it says no TLS, or nothing in time, or asks for what nobody serves.
pub(super) async fn passed_on(
    client: &tokio::net::TcpStream,
    door: &Door,
    time: Duration,
) -> Result<Option<StreamRoute>, (End, String)> {
    let greeting = crate::stream::relay::greeting(client, time).await;
    let hello::Hello { name, .. } = greeting.map_err(|why| (End::BadStart, why))?;
    let name = name.unwrap_or_default();
    let nobody = |who: &str| (End::NoRoute, format!("no {who} has the name {name:?}"));
    let entrance = door.entrance(&name).ok_or_else(|| nobody("listener"))?;
    if !matches!(entrance.tls, Tls::Passthrough) {
        return Ok(None);
    }
    let route = entrance.stream(&name).cloned();
    route.map(Some).ok_or_else(|| nobody("route"))
}

/// Serves the datagrams of a socket until it is closed.
pub(super) async fn datagrams(
    house: Arc<House>,
    socket: UdpSocket,
    door: Arc<ArcSwap<Door>>,
    close: CancellationToken,
) {
    let (figures, children) = (Arc::clone(&house.seen.streams), house.children.clone());
    let choose = || choose(door.load().stream("")?).map(|endpoints| Arc::clone(endpoints.pool()));
    udp::serve(socket, udp::Settings::default(), figures, children, close, choose).await;
}
