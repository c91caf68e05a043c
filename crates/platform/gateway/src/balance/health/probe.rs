//! One question to one endpoint.

use std::future::Future;
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Probe;

/// An answer of the gRPC health service is a few bytes.
const ANSWER: usize = 1024;

/// Asks; an error tells what is wrong with the endpoint.
pub(super) async fn ask(address: SocketAddr, probe: &Probe, children: &tasks::Children) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    match probe {
        Probe::Tcp => Ok(()),
        Probe::Http { host, path, expect } => {
            let host = host.clone().unwrap_or_else(|| address.to_string());
            let status = http(stream, &host, path).await?;
            ensure!(expect.iter().any(|range| range.contains(&status.as_u16())), "the answer is {status}");
            Ok(())
        }
        Probe::Grpc { service } => grpc(stream, address, service, children).await,
    }
}

async fn http(stream: TcpStream, host: &str, path: &str) -> anyhow::Result<StatusCode> {
    let request = Request::get(path)
        .header(http::header::HOST, host)
        .header(http::header::USER_AGENT, "knarr-health-check")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let (mut connection, mut answer) = (std::pin::pin!(connection), std::pin::pin!(sender.send_request(request)));
    let answer = tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = &mut connection => answer.await, // it may have been there with the end of the connection
    };
    Ok(answer.context("no proper answer")?.status())
}

/// Runs what hyper's HTTP/2 needs beside a request.
#[derive(Clone)]
struct Owned(tasks::Children);

impl<F> hyper::rt::Executor<F> for Owned
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        self.0.spawn("health check connection", async move { drop(future.await) });
    }
}

async fn grpc(stream: TcpStream, address: SocketAddr, service: &str, children: &tasks::Children) -> anyhow::Result<()> {
    let uri =
        Uri::builder().scheme("http").authority(address.to_string()).path_and_query("/grpc.health.v1.Health/Check");
    let request = Request::post(uri.build()?)
        .header(http::header::CONTENT_TYPE, "application/grpc")
        .header(http::header::TE, "trailers")
        .body(Full::new(Bytes::from(question(service)?)))?;
    let owned = Owned(children.clone());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(owned, TokioIo::new(stream)).await?;
    let exchange = async {
        let answer = sender.send_request(request).await.context("no proper answer")?;
        ensure!(answer.status() == StatusCode::OK, "the answer is {}", answer.status());
        let (head, body) = answer.into_parts();
        let body =
            Limited::new(body, ANSWER).collect().await.map_err(|error| anyhow::anyhow!("no proper answer: {error}"))?;
        let told = |headers: &http::HeaderMap| headers.get("grpc-status").map(|status| status.as_bytes().to_vec());
        let status = body.trailers().and_then(told).or_else(|| told(&head.headers));
        if status.as_deref() != Some(b"0") {
            let status = status.map_or("none".to_owned(), |status| String::from_utf8_lossy(&status).into_owned());
            bail!("the gRPC status is {status}");
        }
        match serving(&body.to_bytes()) {
            Some(1) => Ok(()),
            Some(status) => bail!("the health status is {status}, not SERVING"),
            None => bail!("the answer is no HealthCheckResponse"),
        }
    };
    let (mut connection, mut exchange) = (std::pin::pin!(connection), std::pin::pin!(exchange));
    tokio::select! {
        biased;
        done = &mut exchange => done,
        _ = &mut connection => exchange.await,
    }
}

/// `HealthCheckRequest { service = 1 }` as a gRPC message.
fn question(service: &str) -> anyhow::Result<Vec<u8>> {
    let length = u8::try_from(service.len())
        .ok()
        .filter(|length| *length < 128)
        .context("the name of the service is too long")?;
    let message = if service.is_empty() { Vec::new() } else { [&[0x0a, length], service.as_bytes()].concat() };
    let mut framed = vec![0, 0, 0, 0, message.len() as u8];
    framed.extend(message);
    Ok(framed)
}

/// `status = 1` of a `HealthCheckResponse`, which is 0 (unknown) when it is not there.
fn serving(framed: &[u8]) -> Option<u64> {
    let (prefix, message) = framed.split_at_checked(5)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?) as usize;
    let mut rest = message.get(..length).filter(|_| prefix[0] == 0)?;
    let mut status = 0;
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        match tag & 7 {
            0 => {
                let value = varint(&mut rest)?;
                status = if tag >> 3 == 1 { value } else { status };
            }
            2 => {
                let length = usize::try_from(varint(&mut rest)?).ok()?;
                rest = rest.get(length..)?;
            }
            _ => return None, // nothing else was ever in this message
        }
    }
    Some(status)
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn health_messages_are_read_as_protobuf_says() {
        assert_eq!(question("").unwrap(), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab").unwrap(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(serving(&[0, 0, 0, 0, 2, 0x08, 1]), Some(1));
        assert_eq!(serving(&[0, 0, 0, 0, 0]), Some(0), "a status that is not there is unknown");
        assert_eq!(serving(&[0, 0, 0, 0, 6, 0x12, 2, 0, 0, 0x08, 1]), Some(1), "other fields are passed over");
        assert_eq!(serving(&[1, 0, 0, 0, 2, 0x08, 1]), None, "nothing was asked to be compressed");
        assert_eq!(serving(&[0, 0, 0, 0, 9, 0x08, 1]), None);
    }
}
