//! The channel protocols: streams of a command, multiplexed over a WebSocket.
//!
//! Invariant: every message begins with its channel's number (a byte, or a digit before base64 text). The command's
//! result is the one message on the error channel, sent after all output. When the caller goes away the session
//! is dropped, which ends an exec's command.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::exec::{LINGER, Outcome, Purpose, Resize};
use crate::runtime::{ExecError, Reader, Session, Size, Writer};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

const CHUNK: usize = 32 << 10;
const QUEUE: usize = 16;

/// What differs between the channel protocols.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Dialect {
    /// The caller may close single channels.
    closes: bool,
    /// The result is a Status; older ones get its message, and only of a failure.
    status: bool,
    /// Messages are text.
    text: bool,
}

impl Dialect {
    /// Best first, as they are offered to callers.
    pub(super) const NAMES: &'static [&'static str] = &[
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "channel.k8s.io",
        "base64.channel.k8s.io",
    ];

    /// The dialect of a protocol; a caller that names none speaks the oldest.
    pub(super) fn of(protocol: &str) -> Self {
        let versioned = protocol.starts_with('v');
        Self { closes: protocol.starts_with("v5"), status: versioned, text: protocol.contains("base64") }
    }
}

/// Where messages go.
#[derive(Clone)]
struct Out {
    queue: mpsc::Sender<Message>,
    text: bool,
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
    let out = Out { queue: out, text: dialect.text };
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
        let ended = match session {
            Ok(session) => match converse(session, &mut stream, dialect, &out).await {
                Some(ended) => ended,
                None => return, // the caller left: nobody to tell
            },
            Err(error) => Err(error),
        };
        let outcome = Outcome::of(&ended, purpose);
        let told = if dialect.status { Some(outcome.status().to_string()) } else { outcome.complaint() };
        if let Some(told) = told {
            send(&out, ERROR, told.as_bytes()).await;
        }
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
        () = writing => {
            // leaving before the caller has read everything could cost it the end
            if tokio::time::timeout(LINGER, &mut serving).await.is_err() {
                tracing::debug!("a session's caller did not say goodbye");
            }
        }
        () = &mut serving => {}
    }
}

/// Pumps until the command has ended; its exit code, or none when the caller left first.
async fn converse<R>(
    mut session: Session,
    stream: &mut R,
    dialect: Dialect,
    out: &Out,
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

/// An empty message on the first open channel tells clients that the connection stands.
fn first_channel(session: &Session) -> u8 {
    match (&session.stdout, &session.stderr) {
        (Some(_), _) => STDOUT,
        (None, Some(_)) => STDERR,
        (None, None) => ERROR,
    }
}

async fn send(out: &Out, channel: u8, data: &[u8]) {
    if out.queue.send(message(channel, data, out.text)).await.is_err() {
        tracing::debug!("a session's caller is gone");
    }
}

fn message(channel: u8, data: &[u8], text: bool) -> Message {
    if text {
        return Message::text(format!("{}{}", char::from(b'0'.saturating_add(channel)), STANDARD.encode(data)));
    }
    let mut message = BytesMut::with_capacity(data.len() + 1);
    message.put_u8(channel);
    message.put_slice(data);
    Message::Binary(message.freeze())
}

/// Channel and data of a message that came.
fn read(data: &Bytes, text: bool) -> Option<(u8, Bytes)> {
    let (channel, rest) = data.split_first()?;
    if !text {
        return Some((*channel, data.slice(1..)));
    }
    Some((channel.checked_sub(b'0')?, STANDARD.decode(rest).ok()?.into()))
}

async fn pump(source: Option<Reader>, channel: u8, out: &Out) {
    let Some(mut source) = source else { return };
    let mut buffer = BytesMut::with_capacity(CHUNK);
    loop {
        buffer.clear();
        match source.read_buf(&mut buffer).await {
            Ok(0) => return,
            Ok(_) => {
                if out.queue.send(message(channel, &buffer, out.text)).await.is_err() {
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
        let Some((channel, data)) = read(&data, dialect.text) else { continue };
        match (channel, &data[..]) {
            (STDIN, data) => feed(stdin, data).await,
            (RESIZE, data) => match serde_json::from_slice::<Resize>(data) {
                Ok(size) => drop(sizes.send_replace(Some(size.into()))),
                Err(error) => tracing::debug!("a terminal size that is none: {error}"),
            },
            (CLOSE, [STDIN]) if dialect.closes => {
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
