//! Port-forward: connections into a pod's network namespace, many over one upgraded connection.
//!
//! Two protocols carry them: streams of SPDY (alone or inside a WebSocket), where each connection is a pair of a data and
//! an error stream, and the channels of a WebSocket, where each port has one connection from the start. The connection's
//! own task carries all of it, so everything ends with the client.

mod channels;
mod dial;
mod pairs;

use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;

use super::upgrade::{self, Agreed, Spoken};
use super::{Body, Refusal, Server, spdy};
use dial::Place;

const STREAMS: &str = "portforward.k8s.io";
const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const CHANNELS: &str = "v4.channel.k8s.io";
const TEXT_CHANNELS: &str = "v4.base64.channel.k8s.io";

const SPOKEN: Spoken = Spoken { websocket: &[TUNNEL, CHANNELS, TEXT_CHANNELS], unnamed: true, spdy: &[STREAMS] };

/// Answers the upgrade, and forwards to the pod until the client goes.
pub(super) fn forward(
    server: &Server,
    namespace: &str,
    name: &str,
    query: &str,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let pod = server.pod(namespace, name)?;
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let sandbox = server.runtime.sandbox(&uid).ok_or_else(|| {
        let why = format!("unable to do port forwarding: pod {name}_{namespace} has no sandbox yet");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why)
    })?;
    let agreed = upgrade::negotiate(request.headers(), &SPOKEN)?;
    let ports = match agreed {
        Agreed::WebSocket(TUNNEL, _) | Agreed::Spdy(_) => Vec::new(),
        Agreed::WebSocket(..) => channels::ports(query).map_err(Refusal::bad)?,
    };
    let response = upgrade::switching(&agreed)?;
    let place = Arc::new(Place { pod: format!("{name}_{namespace}"), uid, netns: sandbox.netns() });
    let upgrade = hyper::upgrade::on(&mut request);
    server.children.spawn("port-forward", async move {
        let Some(socket) = upgrade::upgraded(upgrade).await else { return };
        match agreed {
            Agreed::Spdy(_) => {
                let (reader, writer) = upgrade::chunks(socket);
                streams(spdy::connect(reader, writer), place).await;
            }
            Agreed::WebSocket(TUNNEL, _) => {
                let (reader, writer) = upgrade::tunnel(upgrade::websocket(socket).await);
                streams(spdy::connect(reader, writer), place).await;
            }
            Agreed::WebSocket(protocol, _) => {
                let text = protocol == TEXT_CHANNELS;
                channels::carry(upgrade::websocket(socket).await, &ports, text, &place).await;
            }
        }
    });
    Ok(response)
}

/// Until the client is gone, or opens no more and everything it opened has ended.
async fn streams((streams, driver): (spdy::Streams, impl Future<Output = Result<(), spdy::Fault>>), place: Arc<Place>) {
    let mut driver = std::pin::pin!(driver);
    tokio::select! {
        result = &mut driver => return told(result),
        () = pairs::carry(streams, &place) => {}
    }
    told(driver.await);
}

fn told(result: Result<(), spdy::Fault>) {
    if let Err(error) = result {
        tracing::debug!("a port-forward ended: {}", base::error::chain(&error));
    }
}
