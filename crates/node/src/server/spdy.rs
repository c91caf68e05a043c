//! SPDY/3.1, the server's role: the protocol port-forward always speaks and exec falls back to.
//!
//! Over a connection of its own or inside the binary messages of a WebSocket: here both are a stream of bytes and a sink.
//! Invariant: everything is bounded. Control frames and header blocks have limits, data waits in short queues, and a
//! stream that is not read stops the connection rather than grow (clients send no window sizes, so TCP is the only flow
//! control there is). Why not a crate: the only one is for clients and under the GPL.
//!
//! [`connect`] gives the streams a client opens and a driver; the connection lives while the driver is polled and ends in
//! order when everything that can write to it is dropped.

mod dictionary;
mod frame;
mod headers;

use std::collections::HashMap;
use std::io;

use bytes::{Bytes, BytesMut};
use futures::{Sink, SinkExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) use frame::Reset;
use frame::{Decoder, Encoder, Frame};
pub(super) use headers::Headers;

/// Streams a client may have open at once.
const STREAMS: usize = 1000;
/// Pieces of data that wait to be read, per stream, and frames that wait to be written.
const QUEUE: usize = 16;
/// The most data in one frame.
const PIECE: usize = 32 << 10;

#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the peer speaks SPDY version {0}, not 3")]
    Version(u16),
    #[error("a control frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("a control frame of type {0} is cut off")]
    Cut(u16),
    #[error("headers: {0}")]
    Headers(&'static str),
    #[error("the connection broke")]
    Io(#[from] io::Error),
}

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

enum Out {
    Reply(u32),
    Frame(Bytes),
}

/// What a client opened.
pub(super) struct Stream {
    pub(super) headers: Headers,
    pub(super) id: u32,
    pub(super) input: Input,
    pub(super) output: Output,
}

/// What the client sends on a stream.
pub(super) struct Input {
    pieces: mpsc::Receiver<Bytes>,
    cancelled: CancellationToken,
}

impl Input {
    /// The next piece; none when the client has said all.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.pieces.recv().await
    }

    /// Told when the client resets the stream: neither direction is of use any more.
    pub(super) fn cancelled(&self) -> CancellationToken {
        self.cancelled.clone()
    }
}

/// What we send on a stream. Nothing is told when the connection is gone: the driver's end tells that.
pub(super) struct Output {
    id: u32,
    out: mpsc::Sender<Out>,
}

/// The connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

impl Output {
    async fn put(&self, out: Out) -> Result<(), Gone> {
        self.out.send(out).await.map_err(|_| Gone)
    }

    /// Accepts the stream.
    pub(super) async fn accept(&self) -> Result<(), Gone> {
        self.put(Out::Reply(self.id)).await
    }

    pub(super) async fn send(&self, data: &[u8]) -> Result<(), Gone> {
        for piece in data.chunks(PIECE) {
            self.put(Out::Frame(frame::data(self.id, piece, false))).await?;
        }
        Ok(())
    }

    /// Ends our direction.
    pub(super) async fn finish(&self) -> Result<(), Gone> {
        self.put(Out::Frame(frame::data(self.id, &[], true))).await
    }

    pub(super) async fn reset(&self, why: Reset) -> Result<(), Gone> {
        self.put(Out::Frame(frame::reset(self.id, why))).await
    }
}

/// The streams a client opens. Keeps the connection open.
pub(super) struct Streams {
    opened: mpsc::Receiver<Stream>,
    _out: mpsc::Sender<Out>,
}

impl Streams {
    /// The next stream; none when the client opens no more.
    pub(super) async fn next(&mut self) -> Option<Stream> {
        self.opened.recv().await
    }
}

/// The streams of a connection, and the future that carries it.
pub(super) fn connect<R, W>(reader: R, writer: W) -> (Streams, impl Future<Output = Result<(), Fault>>)
where
    R: futures::Stream<Item = io::Result<Bytes>> + Unpin,
    W: Sink<Bytes, Error = io::Error> + Unpin,
{
    let (out, queue) = mpsc::channel(QUEUE);
    let (opened, streams) = mpsc::channel(QUEUE);
    let reading = Reading { opened: Some(opened), out: out.downgrade(), inputs: HashMap::new(), last: 0 };
    let driver = async move {
        tokio::select! {
            result = write(writer, queue) => result,
            result = reading.run(reader) => result,
        }
    };
    (Streams { opened: streams, _out: out }, driver)
}

/// Until nobody can write any more.
async fn write<W: Sink<Bytes, Error = io::Error> + Unpin>(
    mut writer: W,
    mut queue: mpsc::Receiver<Out>,
) -> Result<(), Fault> {
    let mut encoder = Encoder::new()?;
    while let Some(out) = queue.recv().await {
        let frame = match out {
            Out::Reply(id) => encoder.reply(id)?,
            Out::Frame(frame) => frame,
        };
        writer.send(frame).await?;
    }
    writer.send(frame::go_away(0)).await?;
    writer.close().await?;
    Ok(())
}

struct Peer {
    pieces: mpsc::Sender<Bytes>,
    cancelled: CancellationToken,
}

struct Reading {
    /// None once the client said that it opens no more.
    opened: Option<mpsc::Sender<Stream>>,
    /// Weak, so that reading alone does not keep the connection open.
    out: mpsc::WeakSender<Out>,
    inputs: HashMap<u32, Peer>,
    last: u32,
}

impl Reading {
    /// Until the client is gone.
    async fn run<R: futures::Stream<Item = io::Result<Bytes>> + Unpin>(mut self, mut reader: R) -> Result<(), Fault> {
        let (mut decoder, mut buffer) = (Decoder::new(), BytesMut::new());
        while let Some(bytes) = reader.next().await {
            buffer.extend_from_slice(&bytes?);
            while let Some(frame) = decoder.next(&mut buffer)? {
                self.take(frame).await;
            }
        }
        Ok(())
    }

    async fn take(&mut self, frame: Frame) {
        match frame {
            Frame::Open { id, headers, fin } => self.open(id, headers, fin).await,
            Frame::Data { id, data, fin } => {
                if let Some(peer) = self.inputs.get(&id)
                    && !data.is_empty()
                    && peer.pieces.send(data).await.is_err()
                {
                    tracing::trace!(id, "data that nobody reads any more");
                }
                if fin {
                    self.inputs.remove(&id);
                }
            }
            Frame::Reset { id } => {
                if let Some(peer) = self.inputs.remove(&id) {
                    peer.cancelled.cancel();
                }
            }
            Frame::Ping { id } if id % 2 == 1 => self.answer(frame::ping(id)).await,
            Frame::Ping { .. } => {}
            Frame::GoAway => self.opened = None,
        }
    }

    async fn answer(&self, frame: Bytes) {
        if let Some(out) = self.out.upgrade()
            && out.send(Out::Frame(frame)).await.is_err()
        {
            tracing::trace!("the connection is closing");
        }
    }

    async fn open(&mut self, id: u32, headers: Headers, fin: bool) {
        let Some(opened) = self.opened.clone() else {
            return self.answer(frame::reset(id, Reset::Refused)).await;
        };
        // a client's streams have odd, growing numbers
        if id.is_multiple_of(2) || id <= self.last {
            return self.answer(frame::reset(id, Reset::Protocol)).await;
        }
        self.last = id;
        self.inputs.retain(|_, peer| !peer.pieces.is_closed());
        let Some(out) = self.out.upgrade().filter(|_| self.inputs.len() < STREAMS) else {
            return self.answer(frame::reset(id, Reset::Refused)).await;
        };
        let (pieces, queue) = mpsc::channel(QUEUE);
        let cancelled = CancellationToken::new();
        let input = Input { pieces: queue, cancelled: cancelled.clone() };
        if !fin {
            self.inputs.insert(id, Peer { pieces, cancelled });
        }
        let stream = Stream { headers, id, input, output: Output { id, out } };
        if opened.send(stream).await.is_err() {
            tracing::trace!(id, "a stream that nobody takes");
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
