//! A primary name server of `example.com` that takes only updates signed with its key, and says of every name that it is
//! at this machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use knarr_certs::dns::{Algorithm, TsigKey};
use parking_lot::Mutex;
use ring::hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

const A: u16 = 1;
const SOA: u16 = 6;
const TXT: u16 = 16;
const TSIG: u16 = 250;
const IN: u16 = 1;
const NONE: u16 = 254;
const ANY: u16 = 255;

pub(crate) fn key() -> TsigKey {
    TsigKey { name: "update-key".to_owned(), algorithm: Algorithm::Sha256, secret: b"0123456789abcdef".to_vec() }
}

#[derive(Clone)]
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    /// The texts of the zone, by name.
    pub(crate) texts: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl NameServer {
    pub(crate) async fn start(context: &tasks::Context) -> Self {
        // Pebble asks over TCP, at the same port; somebody else may have that
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
                break (socket, listener);
            }
        };
        let server = Self { address: socket.local_addr().unwrap(), texts: Arc::default() };
        let own = server.clone();
        context.children.spawn("name server over TCP", async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                while let Ok(length) = stream.read_u16().await {
                    let mut message = vec![0; usize::from(length)];
                    stream.read_exact(&mut message).await.unwrap();
                    let answer = own.answer(&message);
                    stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
                    stream.write_all(&answer).await.unwrap();
                }
            }
        });
        let own = server.clone();
        context.children.spawn("name server", async move {
            let mut buffer = [0; 4096];
            loop {
                let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
                socket.send_to(&own.answer(&buffer[..length]), from).await.unwrap();
            }
        });
        server
    }

    fn answer(&self, message: &[u8]) -> Vec<u8> {
        let id = number(message, 0);
        let (name, end) = name_at(message, 12);
        let kind = number(message, end);
        if message[2] >> 3 & 0xF == 5 {
            assert_eq!((name.as_str(), kind), ("example.com", SOA), "the zone section names the zone");
            return header(id, 0x8000 | 5 << 11 | self.update(message, end + 4), [0; 4]);
        }
        let found = self.texts.lock().get(&name).cloned().unwrap_or_default();
        let small = |count: usize| u16::try_from(count).unwrap();
        let records: Vec<Vec<u8>> = match kind {
            TXT => found.iter().map(|text| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()).collect(),
            A => vec![vec![127, 0, 0, 1]],
            _ => vec![],
        };
        let authority = kind == SOA && name.ends_with("example.com");
        let mut out = header(id, 0x8400, [1, small(records.len()), u16::from(authority), 0]);
        out.extend(&message[12..end + 4]);
        for data in &records {
            out.extend(encode(&name));
            out.extend([kind, IN, 0, 60, small(data.len())].into_iter().flat_map(u16::to_be_bytes));
            out.extend(data);
        }
        if authority {
            let data = [encode("ns.example.com"), encode("admin.example.com"), vec![0; 20]].concat();
            out.extend(encode("example.com"));
            out.extend([SOA, IN, 0, 60, small(data.len())].into_iter().flat_map(u16::to_be_bytes));
            out.extend(data);
        }
        out
    }

    /// Carries out the first update; the code of the answer.
    fn update(&self, message: &[u8], at: usize) -> u16 {
        let (record, at) = name_at(message, at);
        let (class, length) = (number(message, at + 2), usize::from(number(message, at + 8)));
        let text = String::from_utf8(message[at + 11..at + 10 + length].to_vec()).unwrap();
        if !is_signed(message, at + 10 + length) {
            return 9; // NOTAUTH
        }
        let mut texts = self.texts.lock();
        let all = texts.entry(record).or_default();
        match class {
            IN => all.push(text),
            NONE => all.retain(|one| *one != text),
            other => panic!("class {other}"),
        }
        0
    }
}

/// Checks the TSIG record at `at` (RFC 8945, 5.2).
fn is_signed(message: &[u8], at: usize) -> bool {
    if at >= message.len() {
        return false;
    }
    let (name, next) = name_at(message, at);
    assert_eq!((name.as_str(), number(message, next), number(message, next + 2)), ("update-key", TSIG, ANY));
    let (algorithm, data) = name_at(message, next + 10);
    assert_eq!(algorithm, "hmac-sha256");
    let mac = &message[data + 10..data + 10 + usize::from(number(message, data + 8))];
    let mut bare = message[..at].to_vec();
    bare[11] -= 1;
    bare.extend(encode("update-key"));
    bare.extend([0, 255, 0, 0, 0, 0]);
    bare.extend(encode("hmac-sha256"));
    bare.extend(&message[data..data + 8]);
    bare.extend([0; 4]);
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, &key().secret), &bare, mac).is_ok()
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
}

fn encode(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn name_at(message: &[u8], mut at: usize) -> (String, usize) {
    let mut labels = Vec::new();
    while message[at] != 0 {
        let length = usize::from(message[at]);
        labels.push(String::from_utf8(message[at + 1..at + 1 + length].to_vec()).unwrap().to_lowercase());
        at += 1 + length;
    }
    (labels.join("."), at + 1)
}

fn number(message: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([message[at], message[at + 1]])
}
