//! A connection as a client sees it.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::codec::{BytesCodec, FramedWrite};
use tokio_util::io::ReaderStream;

use super::*;

/// A client that speaks frames over an in-memory connection.
pub(in crate::server) struct Client {
    socket: DuplexStream,
    encoder: Encoder,
    decoder: Decoder,
    held: BytesMut,
}

impl Client {
    pub(in crate::server) fn new(socket: DuplexStream) -> Self {
        Self { socket, encoder: Encoder::new().unwrap(), decoder: Decoder::new(), held: BytesMut::new() }
    }

    pub(in crate::server) async fn open(&mut self, id: u32, headers: &[(&str, &str)], fin: bool) {
        let frame = self.encoder.open(id, &Headers::from_pairs(headers), fin);
        self.socket.write_all(&frame).await.unwrap();
    }

    pub(in crate::server) async fn data(&mut self, id: u32, data: &[u8], fin: bool) {
        self.socket.write_all(&frame::data(id, data, fin)).await.unwrap();
    }

    pub(in crate::server) async fn reset(&mut self, id: u32) {
        self.socket.write_all(&frame::reset(id, Reset::Protocol)).await.unwrap();
    }

    async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next(&mut self.held).unwrap() {
                return Some(frame);
            }
            if self.socket.read_buf(&mut self.held).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// What comes on a stream until its end.
    pub(in crate::server) async fn all(&mut self, wanted: u32) -> String {
        let mut text = Vec::new();
        while let Some(frame) = self.frame().await {
            if let Frame::Data { id, data, fin } = frame
                && id == wanted
            {
                text.extend_from_slice(&data);
                if fin {
                    break;
                }
            }
        }
        String::from_utf8(text).unwrap()
    }
}

/// Both halves of a connection as [`connect`] takes them.
pub(in crate::server) fn halves(
    socket: DuplexStream,
) -> (impl futures::Stream<Item = io::Result<Bytes>> + Unpin, impl Sink<Bytes, Error = io::Error> + Unpin) {
    let (read, write) = tokio::io::split(socket);
    (ReaderStream::new(read), FramedWrite::new(write, BytesCodec::new()))
}

async fn check<F: Future<Output = ()>>(serve: impl FnOnce(Streams) -> F, client: impl AsyncFnOnce(Client)) {
    let (near, far) = tokio::io::duplex(256 << 10);
    let (reader, writer) = halves(near);
    let (streams, driver) = connect(reader, writer);
    let ((), driven, ()) = tokio::join!(serve(streams), driver, client(Client::new(far)));
    driven.unwrap();
}

#[tokio::test]
async fn a_stream_is_accepted_echoed_and_finished() {
    let serve = |mut streams: Streams| async move {
        let mut stream = streams.next().await.unwrap();
        assert_eq!(stream.headers.get("streamtype"), Some("data"));
        stream.output.accept().await.unwrap();
        while let Some(piece) = stream.input.next().await {
            stream.output.send(&piece).await.unwrap();
        }
        stream.output.finish().await.unwrap();
    };
    check(serve, async |mut client| {
        client.open(1, &[("streamType", "data")], false).await;
        client.socket.write_all(&frame::ping(5)).await.unwrap();
        client.data(1, b"hel", false).await;
        client.data(1, &[b'x'; 100_000], true).await;
        assert_eq!(client.frame().await, Some(Frame::Ping { id: 5 }));
        assert_eq!(client.all(1).await.len(), 100_003);
        assert_eq!(client.frame().await, Some(Frame::GoAway), "the server had the last word");
    })
    .await;
}

#[tokio::test]
async fn a_reset_cancels_and_wrong_numbers_are_refused() {
    let serve = |mut streams: Streams| async move {
        let mut stream = streams.next().await.unwrap();
        stream.input.cancelled().cancelled().await;
        assert_eq!(stream.input.next().await, None);
    };
    check(serve, async |mut client| {
        client.open(3, &[], false).await;
        client.open(1, &[], false).await;
        client.open(4, &[], false).await;
        assert_eq!(client.frame().await, Some(Frame::Reset { id: 1 }));
        assert_eq!(client.frame().await, Some(Frame::Reset { id: 4 }));
        client.reset(3).await;
        assert_eq!(client.frame().await, Some(Frame::GoAway));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_driver() {
    let (near, far) = tokio::io::duplex(1024);
    let (reader, writer) = halves(near);
    let (streams, driver) = connect(reader, writer);
    drop(far);
    assert_eq!(driver.await, Ok(()));
    drop(streams);
}
