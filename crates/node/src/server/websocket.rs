//! `v5.channel.k8s.io` and `v4.channel.k8s.io`: streams of a command, multiplexed over a WebSocket.
//!
//! Invariant: every binary message begins with its channel's number. The command's result is the
//! one message on the error channel, sent after all output. When the caller goes away the session
//! is dropped, which ends an exec's command.

use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{Body, Refusal};
use crate::runtime::{ExecError, Reader, Session, Size, Writer};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

const CHUNK: usize = 32 << 10;
const QUEUE: usize = 16;
/// How long output may keep coming after the command has ended (a child may hold the pipe).
const LINGER: Duration = Duration::from_secs(5);

/// The dialects, in our order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V5,
    V4,
}

impl Dialect {
    fn name(self) -> &'static str {
        match self {
            Self::V5 => "v5.channel.k8s.io",
            Self::V4 => "v4.channel.k8s.io",
        }
    }
}

/// Answers the upgrade request; the connection itself comes later from `hyper::upgrade::on`.
pub(super) fn accept(request: &Request<Incoming>) -> Result<(Dialect, Response<Body>), Refusal> {
    let headers = request.headers();
    let (dialect, key) = negotiate(headers)?;
    let mut response = Response::new(Empty::new().boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let out = response.headers_mut();
    out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    out.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    out.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(dialect.name()));
    let accept = HeaderValue::from_str(&derive_accept_key(&key)).map_err(|error| Refusal::bad(error.to_string()))?;
    out.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    Ok((dialect, response))
}

fn negotiate(headers: &HeaderMap) -> Result<(Dialect, Vec<u8>), Refusal> {
    let has = |name: header::HeaderName, word: &str| {
        let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    if !has(header::UPGRADE, "websocket") || !has(header::CONNECTION, "upgrade") {
        let remedy =
            "unable to upgrade: this node speaks WebSocket, not SPDY; use a client of Kubernetes 1.31 or newer";
        return Err(Refusal::bad(remedy));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).ok_or_else(|| Refusal::bad("Sec-WebSocket-Key is missing"))?;
    let offered = |dialect: Dialect| has(header::SEC_WEBSOCKET_PROTOCOL, dialect.name());
    let dialect = [Dialect::V5, Dialect::V4].into_iter().find(|dialect| offered(*dialect));
    let dialect = dialect.ok_or_else(|| {
        Refusal::bad("unable to upgrade: none of the offered protocols is v5.channel.k8s.io or v4.channel.k8s.io")
    })?;
    Ok((dialect, key.as_bytes().to_vec()))
}

#[derive(Deserialize)]
struct Resize {
    #[serde(rename = "Width", alias = "width")]
    width: u16,
    #[serde(rename = "Height", alias = "height")]
    height: u16,
}

/// What the end of the process means to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The exit code is the answer.
    Exec,
    /// Only the watching has ended; the container's status tells how.
    Attach,
}

/// Carries `session` over `socket` until one side is done.
pub(super) async fn carry<S>(
    socket: WebSocketStream<S>,
    dialect: Dialect,
    purpose: Purpose,
    session: Result<Session, ExecError>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut sink, mut stream) = socket.split();
    let (out, mut queue) = mpsc::channel::<Message>(QUEUE);
    let writing = async move {
        while let Some(message) = queue.recv().await {
            if let Err(error) = sink.send(message).await {
                return tracing::debug!("a session's caller is gone: {error}");
            }
        }
        let normal = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        if let Err(error) = sink.send(Message::Close(Some(normal))).await {
            tracing::debug!("closing a session: {error}");
        }
    };
    let serving = async move {
        let status = match session {
            Ok(session) => match converse(session, &mut stream, dialect, &out).await {
                Some(Ok(code)) if code == 0 || purpose == Purpose::Attach => success(),
                Some(Ok(code)) => exited(code),
                Some(Err(error)) => failure(&error),
                None => return, // the caller left: nobody to tell
            },
            Err(error) => failure(&error),
        };
        send(&out, ERROR, status.to_string().as_bytes()).await;
        drop(out);
        // reading on lets the caller's close arrive and pings be answered
        while let Some(Ok(message)) = stream.next().await {
            if message.is_close() {
                break;
            }
        }
    };
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = writing => {}
        () = &mut serving => {}
    }
}

/// Pumps until the command has ended; its exit code, or none when the caller left first.
async fn converse<R>(
    mut session: Session,
    stream: &mut R,
    dialect: Dialect,
    out: &mpsc::Sender<Message>,
) -> Option<Result<i32, ExecError>>
where
    R: futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    let greeting = first_channel(&session);
    send(out, greeting, &[]).await;
    let (stdout, stderr, mut stdin) = (session.stdout.take(), session.stderr.take(), session.stdin.take());
    let mut control = session.control;
    let (sizes, mut wanted) = tokio::sync::watch::channel(None::<Size>);
    let output = async { tokio::join!(pump(stdout, STDOUT, out), pump(stderr, STDERR, out)) };
    let mut output = std::pin::pin!(output);
    let input = listen(stream, dialect, &mut stdin, &sizes);
    let mut input = std::pin::pin!(input);
    let mut drained = false;
    let code = loop {
        tokio::select! {
            code = control.wait() => break code,
            _ = &mut output, if !drained => drained = true,
            () = &mut input => return None,
            Ok(()) = wanted.changed() => {
                let size = *wanted.borrow_and_update();
                if let Some(size) = size
                    && let Err(error) = control.resize(size).await
                {
                    tracing::debug!("resizing a terminal: {error}");
                }
            }
        }
    };
    if !drained {
        tokio::select! {
            late = tokio::time::timeout(LINGER, &mut output) => if late.is_err() {
                tracing::debug!("a command's output was still open {LINGER:?} after its end");
            },
            () = &mut input => return None,
        }
    }
    Some(code)
}

fn success() -> Value {
    json!({"metadata": {}, "status": "Success"})
}

fn exited(code: i32) -> Value {
    json!({
        "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
        "message": format!("command terminated with non-zero exit code: exit status {code}"),
        "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
    })
}

/// An empty message on the first open channel tells clients that the connection stands.
fn first_channel(session: &Session) -> u8 {
    match (&session.stdout, &session.stderr) {
        (Some(_), _) => STDOUT,
        (None, Some(_)) => STDERR,
        (None, None) => ERROR,
    }
}

fn failure(error: &ExecError) -> Value {
    let message = base::error::chain(error);
    json!({
        "metadata": {}, "status": "Failure", "code": 500, "reason": "InternalError",
        "message": format!("Internal error occurred: error executing command in container: {message}"),
        "details": {"causes": [{"message": format!("error executing command in container: {message}")}]},
    })
}

async fn send(out: &mpsc::Sender<Message>, channel: u8, data: &[u8]) {
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.put_slice(data);
    if out.send(Message::Binary(message.freeze())).await.is_err() {
        tracing::debug!("a session's caller is gone");
    }
}

async fn pump(source: Option<Reader>, channel: u8, out: &mpsc::Sender<Message>) {
    let Some(mut source) = source else { return };
    let mut buffer = BytesMut::with_capacity(CHUNK + 1);
    loop {
        buffer.clear();
        buffer.reserve(CHUNK + 1);
        buffer.put_u8(channel);
        match source.read_buf(&mut buffer).await {
            Ok(0) => return,
            Ok(_) => {
                if out.send(Message::Binary(buffer.split().freeze())).await.is_err() {
                    return;
                }
            }
            Err(error) => return tracing::debug!("reading a command's output: {error}"), // EIO: a terminal's end
        }
    }
}

/// Takes in the caller's messages until it leaves.
async fn listen<R>(
    stream: &mut R,
    dialect: Dialect,
    stdin: &mut Option<Writer>,
    sizes: &tokio::sync::watch::Sender<Option<Size>>,
) where
    R: futures::Stream<Item = Result<Message, tokio_tungstenite::tungstenite::Error>> + Unpin,
{
    while let Some(message) = stream.next().await {
        let data: Bytes = match message {
            Ok(Message::Binary(data)) => data,
            Ok(Message::Text(text)) => Bytes::from(text.as_str().to_owned()),
            Ok(Message::Close(_)) | Err(_) => return,
            Ok(_) => continue, // pings are answered by the library
        };
        match data.split_first() {
            Some((&STDIN, data)) => feed(stdin, data).await,
            Some((&RESIZE, data)) => match serde_json::from_slice::<Resize>(data) {
                Ok(size) => drop(sizes.send_replace(Some(Size { columns: size.width, rows: size.height }))),
                Err(error) => tracing::debug!("a terminal size that is none: {error}"),
            },
            Some((&CLOSE, [STDIN])) if dialect == Dialect::V5 => {
                if let Some(mut writer) = stdin.take()
                    && let Err(error) = writer.shutdown().await
                {
                    tracing::debug!("closing a command's input: {error}");
                }
            }
            _ => {}
        }
    }
}

async fn feed(stdin: &mut Option<Writer>, data: &[u8]) {
    let Some(writer) = stdin else { return };
    let written = async {
        writer.write_all(data).await?;
        writer.flush().await
    };
    if let Err(error) = written.await {
        tracing::debug!("a command takes no more input: {error}");
        *stdin = None;
    }
}

#[cfg(test)]
mod tests;
