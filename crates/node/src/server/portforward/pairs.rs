//! Connections as pairs of SPDY streams: one for the bytes, one for what goes wrong.
//!
//! Invariant: a pair is complete within [`PATIENCE`] or given up. The error stream is finished last, which is what a
//! client waits for before it calls a connection over.

use std::collections::HashMap;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::dial::Place;
use crate::server::spdy::{Gone, Input, Output, Reset, Stream, Streams};

const PATIENCE: Duration = Duration::from_secs(30);
const CHUNK: usize = 32 << 10;
/// Pairs of which one half has come.
const WAITING: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Data,
    Error,
}

/// One half of a pair.
struct Half {
    role: Role,
    port: u16,
    stream: Stream,
}

enum Done {
    Forwarded,
    /// The pair of this request had its time.
    Expired(String),
}

/// Until the client opens no more and everything it opened has ended.
pub(super) async fn carry(mut streams: Streams, place: &Place) {
    let mut waiting: HashMap<String, Half> = HashMap::new();
    let mut running: FuturesUnordered<BoxFuture<'_, Done>> = FuturesUnordered::new();
    loop {
        let done = tokio::select! {
            stream = streams.next() => {
                let Some(stream) = stream else { break };
                match half(stream).await {
                    Some((request, half)) => pair(request, half, &mut waiting, running.len(), place).await,
                    None => None,
                }
            }
            Some(done) = running.next() => {
                if let Done::Expired(request) = done {
                    expire(&mut waiting, &request).await;
                }
                None
            }
        };
        if let Some(work) = done {
            running.push(work);
        }
    }
    waiting.clear();
    while let Some(Done::Forwarded | Done::Expired(_)) = running.next().await {}
}

/// What to do now that another half came.
async fn pair<'p>(
    request: String,
    half: Half,
    waiting: &mut HashMap<String, Half>,
    running: usize,
    place: &'p Place,
) -> Option<BoxFuture<'p, Done>> {
    match waiting.remove(&request) {
        Some(other) if other.role != half.role => {
            let (data, error) = if half.role == Role::Data { (half, other) } else { (other, half) };
            Some(Box::pin(forward(place, data.port, data.stream, error.stream)))
        }
        Some(other) => {
            told(half.stream.output.reset(Reset::Protocol).await);
            waiting.insert(request, other);
            None
        }
        None if waiting.len() + running >= 2 * WAITING => {
            told(half.stream.output.reset(Reset::Refused).await);
            None
        }
        None => {
            waiting.insert(request.clone(), half);
            Some(Box::pin(async move {
                tokio::time::sleep(PATIENCE).await;
                Done::Expired(request)
            }))
        }
    }
}

/// Reads what a stream is for; refuses it if that is not clear.
async fn half(stream: Stream) -> Option<(String, Half)> {
    let role = match stream.headers.get("streamtype") {
        Some("data") => Some(Role::Data),
        Some("error") => Some(Role::Error),
        _ => None,
    };
    let port = stream.headers.get("port").and_then(|port| port.parse().ok()).filter(|port| *port > 0);
    let (Some(role), Some(port)) = (role, port) else {
        told(stream.output.reset(Reset::Refused).await);
        return None;
    };
    // Clients without request ids open the error stream and then the data stream: two numbers apart.
    let request = match (stream.headers.get("requestid"), role) {
        (Some(id), _) => format!("r{id}"),
        (None, Role::Error) => format!("s{}", stream.id),
        (None, Role::Data) => format!("s{}", stream.id.saturating_sub(2)),
    };
    told(stream.output.accept().await);
    Some((request, Half { role, port, stream }))
}

async fn expire(waiting: &mut HashMap<String, Half>, request: &str) {
    if let Some(half) = waiting.remove(request) {
        let message = b"timed out waiting for error and data streams";
        if half.role == Role::Error {
            told(half.stream.output.send(message).await);
        }
        told(half.stream.output.finish().await);
    }
}

fn told(result: Result<(), Gone>) {
    if result.is_err() {
        tracing::trace!("the client of a port-forward is gone");
    }
}

async fn forward(place: &Place, port: u16, data: Stream, error: Stream) -> Done {
    match place.connect(port).await {
        Ok(socket) => {
            if let Err(broken) = pump(socket, data.input, &data.output).await {
                tracing::debug!(port, "a forwarded connection broke: {broken}");
            }
        }
        Err(why) => told(error.output.send(why.as_bytes()).await),
    }
    told(data.output.finish().await);
    told(error.output.finish().await);
    Done::Forwarded
}

/// Both directions, each to its own end, or until the client resets the stream.
async fn pump(mut socket: TcpStream, mut input: Input, output: &Output) -> std::io::Result<()> {
    let cancelled = input.cancelled();
    let (mut from, mut to) = socket.split();
    let up = async {
        while let Some(piece) = input.next().await {
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    let down = async {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        while from.read_buf(&mut buffer).await? > 0 {
            if output.send(&buffer).await.is_err() {
                return Ok(());
            }
            buffer.clear();
        }
        told(output.finish().await);
        Ok(())
    };
    tokio::select! {
        result = async { tokio::try_join!(up, down) } => result.map(|((), ())| ()),
        () = cancelled.cancelled() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::server::spdy::{
        self,
        tests::{Client, halves},
    };

    async fn check(port: u16, client: impl AsyncFnOnce(Client)) {
        let place = Place { pod: "p_ns".into(), uid: "u".into(), netns: None };
        let (near, far) = tokio::io::duplex(64 << 10);
        let (reader, writer) = halves(near);
        let (streams, driver) = spdy::connect(reader, writer);
        let serve = async {
            let mut driver = std::pin::pin!(driver);
            tokio::select! {
                _ = &mut driver => {}
                () = carry(streams, &place) => {}
            }
        };
        let port = port.to_string();
        let mut opened = Client::new(far);
        for (id, role) in [(1, "error"), (3, "data")] {
            let headers = [("streamType", role), ("port", port.as_str()), ("requestID", "0")];
            opened.open(id, &headers, role == "error").await;
        }
        tokio::join!(serve, client(opened));
    }

    #[tokio::test]
    async fn bytes_go_there_and_back_and_each_direction_ends_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut heard = String::new();
            socket.read_to_string(&mut heard).await.unwrap();
            socket.write_all(format!("you said {heard}").as_bytes()).await.unwrap();
        };
        let client = check(port, async |mut client| {
            client.data(3, b"hello", true).await;
            assert_eq!(client.all(3).await, "you said hello");
            assert_eq!(client.all(1).await, "", "the error stream ends without a word");
        });
        tokio::join!(server, client);
    }

    #[tokio::test]
    async fn a_port_nobody_listens_on_is_told_on_the_error_stream() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        check(port, async |mut client| {
            let told = client.all(1).await;
            assert!(told.starts_with(&format!("error forwarding port {port} to pod p_ns, uid u: ")), "{told}");
        })
        .await;
    }
}
