//! Port-forward over the channels of a WebSocket: two per port, one for the bytes and one for what goes wrong.
//!
//! Invariant: every message begins with its channel (a byte, or a digit before base64 text); the first message of each
//! channel is its port, little-endian. A port has one connection, made at the start; when all have ended the socket ends.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::dial::Place;

const CHUNK: usize = 32 << 10;
const QUEUE: usize = 16;
/// Two channels per port, and in the text form a channel is one ASCII character from the digit 0 on.
const PORTS: usize = 39;

/// The ports of the query; every value may list several.
pub(super) fn ports(query: &str) -> Result<Vec<u16>, String> {
    let mut ports = Vec::new();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        if !matches!(&*key, "port" | "ports") {
            continue;
        }
        for port in value.split(',') {
            let number: u16 = port.parse().map_err(|_| format!("unable to parse {port:?} as a port"))?;
            if number == 0 {
                return Err(format!("port {port:?} must be > 0"));
            }
            ports.push(number);
        }
    }
    match ports.len() {
        0 => Err("query parameter \"port\" is required".to_owned()),
        count if count > PORTS => Err(format!("at most {PORTS} ports can be forwarded at once")),
        _ => Ok(ports),
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

/// Channel and data of a message.
fn read(message: Message, text: bool) -> Option<(u8, Bytes)> {
    let mut data = match message {
        Message::Binary(data) => data,
        Message::Text(data) => Bytes::from(data),
        _ => return None,
    };
    if data.is_empty() {
        return None;
    }
    let channel = data.split_to(1)[0];
    if !text {
        return Some((channel, data));
    }
    let data = STANDARD.decode(&data).ok()?;
    Some((channel.checked_sub(b'0')?, data.into()))
}

/// Until all connections have ended or the client is gone.
pub(super) async fn carry<S>(socket: WebSocketStream<S>, ports: &[u16], text: bool, place: &Place)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let (out, mut queue) = mpsc::channel::<Message>(QUEUE);
    let mut inputs = Vec::new();
    let mut connections = Vec::new();
    for (index, port) in ports.iter().enumerate() {
        let (input, pieces) = mpsc::channel::<Bytes>(QUEUE);
        inputs.push(Some(input));
        let channel = u8::try_from(index * 2).expect("invariant: ports are few");
        connections.push(forward(place, *port, channel, text, pieces, out.clone()));
    }
    drop(out);
    let writing = async {
        while let Some(message) = queue.recv().await {
            if sink.send(message).await.is_err() {
                return;
            }
        }
        if let Err(error) = sink.close().await {
            tracing::trace!("closing a port-forward: {error}");
        }
    };
    let reading = async {
        while let Some(Ok(message)) = stream.next().await {
            let Some((channel, data)) = read(message, text) else { continue };
            let Some(input) = inputs.get_mut(usize::from(channel / 2)).filter(|_| channel % 2 == 0) else { continue };
            if let Some(sender) = input
                && sender.send(data).await.is_err()
            {
                *input = None;
            }
        }
    };
    let all = async { tokio::join!(futures::future::join_all(connections), writing) };
    tokio::select! {
        _ = all => {}
        () = reading => {}
    }
}

async fn forward(
    place: &Place,
    port: u16,
    channel: u8,
    text: bool,
    mut pieces: mpsc::Receiver<Bytes>,
    out: mpsc::Sender<Message>,
) {
    let send = async |channel: u8, data: &[u8]| out.send(message(channel, data, text)).await.is_ok();
    for channel in [channel, channel + 1] {
        if !send(channel, &port.to_le_bytes()).await {
            return;
        }
    }
    let mut socket = match place.connect(port).await {
        Ok(socket) => socket,
        Err(why) => {
            send(channel + 1, why.as_bytes()).await;
            return;
        }
    };
    let (mut from, mut to) = socket.split();
    let up = async {
        while let Some(piece) = pieces.recv().await {
            if let Err(error) = to.write_all(&piece).await {
                return tracing::debug!(port, "a forwarded connection broke: {error}");
            }
        }
    };
    let down = async {
        let mut buffer = BytesMut::with_capacity(CHUNK);
        loop {
            buffer.clear();
            match from.read_buf(&mut buffer).await {
                Ok(0) => return,
                Ok(_) if send(channel, &buffer).await => {}
                Ok(_) => return,
                Err(error) => return tracing::debug!(port, "a forwarded connection broke: {error}"),
            }
        }
    };
    // a client cannot end one channel alone, so the far end's end is the end
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;

    #[test]
    fn ports_are_numbers_and_there_is_at_least_one() {
        assert_eq!(ports("port=80,81&ports=8080"), Ok(vec![80, 81, 8080]));
        assert_eq!(ports(""), Err("query parameter \"port\" is required".to_owned()));
        assert_eq!(ports("port=0"), Err("port \"0\" must be > 0".to_owned()));
        assert_eq!(ports("port=x"), Err("unable to parse \"x\" as a port".to_owned()));
        assert!(ports(&format!("port={}", vec!["1"; 200].join(","))).is_err());
    }

    #[tokio::test]
    async fn each_port_has_a_channel_of_bytes_and_one_of_errors() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap().port();
        let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = other.local_addr().unwrap().port();
        drop(other);
        let place = Place { pod: "p_ns".into(), uid: "u".into(), netns: None };
        let (near, far) = tokio::io::duplex(64 << 10);
        let server = async {
            let socket = WebSocketStream::from_raw_socket(near, Role::Server, None).await;
            carry(socket, &[open, closed], false, &place).await;
        };
        let echo = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut heard = [0; 5];
            socket.read_exact(&mut heard).await.unwrap();
            socket.write_all(&heard).await.unwrap();
        };
        let client = async {
            let mut socket = WebSocketStream::from_raw_socket(far, Role::Client, None).await;
            socket.send(message(0, b"hello", false)).await.unwrap();
            let mut seen = vec![Vec::new(); 4];
            while let Some(Ok(Message::Binary(data))) = socket.next().await {
                seen[usize::from(data[0])].extend_from_slice(&data[1..]);
            }
            seen
        };
        let ((), (), seen) = tokio::join!(server, echo, client);
        assert_eq!(seen[0], [&open.to_le_bytes()[..], b"hello"].concat());
        assert_eq!(seen[1], open.to_le_bytes());
        assert_eq!(seen[2], closed.to_le_bytes());
        let told = String::from_utf8_lossy(&seen[3][2..]).into_owned();
        assert!(told.starts_with(&format!("error forwarding port {closed} to pod p_ns")), "{told}");
    }

    #[test]
    fn messages_name_their_channel_in_both_forms() {
        for text in [false, true] {
            let sent = message(3, b"hi", text);
            assert_eq!(read(sent, text), Some((3, Bytes::from_static(b"hi"))));
        }
        assert_eq!(message(0, b"hi", true), Message::text("0aGk="));
        assert_eq!(read(Message::Binary(Bytes::new()), false), None);
        assert_eq!(read(Message::text("0%%"), true), None);
    }
}
