//! What `dns-01` takes of DNS: a TXT record made by a dynamic update (RFC 2136), signed where there is a key (TSIG, RFC
//! 8945), and the question whether it can be found.
//!
//! Messages are written by hand, for a library's TSIG brings a resolver's cryptography along; answers are read by one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::RData;
use ring::hmac;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket, lookup_host};

use crate::x509::key::random;

const PATIENCE: Duration = Duration::from_secs(10);
/// A server that forgets is asked so often over UDP.
const TRIES: usize = 2;
const ONE_TRY: Duration = Duration::from_secs(3);
/// Clients may keep the record so long, in seconds.
const TTL: u32 = 60;
/// How far clocks may be apart, in seconds (RFC 8945, 10).
const FUDGE: u16 = 300;

const SOA: u16 = 6;
const TXT: u16 = 16;
const TSIG: u16 = 250;
const IN: u16 = 1;
const NONE: u16 = 254;
const ANY: u16 = 255;

/// Why DNS did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name is no name.
    #[error("{0:?} is no name of DNS")]
    Name(String),
    /// Nobody answers.
    #[error("cannot reach the name server {server}")]
    Unreachable {
        /// Which.
        server: String,
        /// Why.
        source: std::io::Error,
    },
    /// It refused.
    #[error("the name server {server} answered {code} to {what}")]
    Refused {
        /// Which.
        server: String,
        /// As DNS calls it.
        code: ResponseCode,
        /// What was asked.
        what: String,
    },
    /// It does not speak DNS, or what it says was not signed with the key.
    #[error("the name server {server} answered what cannot be: {what}")]
    Answer {
        /// Which.
        server: String,
        /// What is wrong.
        what: &'static str,
    },
    /// No zone was found.
    #[error("no name server was found that knows a zone above {0}")]
    NoZone(String),
}

/// How updates are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in RFC 8945")]
pub enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    /// By its name in specs, with or without dashes; SHA-256 when empty.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_uppercase().replace('-', "").as_str() {
            "" | "HMACSHA256" => Some(Self::Sha256),
            "HMACSHA1" => Some(Self::Sha1),
            "HMACSHA384" => Some(Self::Sha384),
            "HMACSHA512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "hmac-sha1",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// A key that a name server knows too.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in RFC 8945")]
pub struct TsigKey {
    pub name: String,
    pub algorithm: Algorithm,
    pub secret: Vec<u8>,
}

/// A name as it is written in messages, in lower case.
fn encode(name: &str) -> Result<Vec<u8>, Error> {
    let refused = || Error::Name(name.to_owned());
    let mut bytes = Vec::new();
    let bare = name.trim_end_matches('.').to_ascii_lowercase();
    for label in bare.split('.').filter(|_| !bare.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length) && label.is_ascii());
        bytes.push(length.ok_or_else(refused)?);
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    if bytes.len() > 255 { Err(refused()) } else { Ok(bytes) }
}

fn header(id: u16, flags: u16, counts: [u16; 4]) -> Vec<u8> {
    [id, flags].into_iter().chain(counts).flat_map(u16::to_be_bytes).collect()
}

fn question(id: u16, name: &str, kind: u16) -> Result<Vec<u8>, Error> {
    let mut message = header(id, 0x0100, [1, 0, 0, 0]); // recursion desired
    message.extend(encode(name)?);
    message.extend([kind, IN].into_iter().flat_map(u16::to_be_bytes));
    Ok(message)
}

/// An update of `zone` (RFC 2136, 2): the TXT record is added, or that one is deleted.
fn update_message(id: u16, zone: &str, name: &str, text: &str, add: bool) -> Result<Vec<u8>, Error> {
    let mut message = header(id, 5 << 11, [1, 0, 1, 0]);
    message.extend(encode(zone)?);
    message.extend([SOA, IN].into_iter().flat_map(u16::to_be_bytes));
    let length = u8::try_from(text.len()).map_err(|_| Error::Name(text.to_owned()))?;
    message.extend(encode(name)?);
    message.extend([TXT, if add { IN } else { NONE }].into_iter().flat_map(u16::to_be_bytes));
    message.extend(if add { TTL } else { 0 }.to_be_bytes());
    message.extend((u16::from(length) + 1).to_be_bytes());
    message.push(length);
    message.extend(text.as_bytes());
    Ok(message)
}

/// Signs a message (RFC 8945, 4.3.3): the record is appended and counted. Also returns the signature.
fn sign(mut message: Vec<u8>, key: &TsigKey, seconds: u64) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let (name, algorithm) = (encode(&key.name)?, encode(key.algorithm.name())?);
    let when = seconds.to_be_bytes()[2..].to_vec(); // 48 bits
    let mut signed = message.clone();
    signed.extend(&name);
    signed.extend(ANY.to_be_bytes());
    signed.extend(0_u32.to_be_bytes());
    signed.extend(&algorithm);
    signed.extend(&when);
    signed.extend(FUDGE.to_be_bytes());
    signed.extend([0; 4]); // no error, nothing more
    let mac = hmac::sign(&hmac::Key::new(key.algorithm.hmac(), &key.secret), &signed).as_ref().to_vec();
    let mut data = algorithm;
    data.extend(&when);
    data.extend(FUDGE.to_be_bytes());
    data.extend(u16::try_from(mac.len()).unwrap_or(0).to_be_bytes());
    data.extend(&mac);
    data.extend(message.get(..2).unwrap_or_default()); // the message's own number
    data.extend([0; 4]);
    message.extend(name);
    message.extend([TSIG, ANY].into_iter().flat_map(u16::to_be_bytes));
    message.extend(0_u32.to_be_bytes());
    message.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    message.extend(data);
    if let Some(count) = message.get_mut(11) {
        *count += 1;
    }
    Ok((message, mac))
}

async fn resolve(server: &str) -> Result<SocketAddr, Error> {
    let server = server.trim();
    if let Ok(address) = server.parse::<SocketAddr>() {
        return Ok(address);
    }
    if let Ok(address) = server.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, 53));
    }
    let unreachable = |source| Error::Unreachable { server: server.to_owned(), source };
    let named = if server.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
        server.to_owned()
    } else {
        format!("{server}:53")
    };
    let found = tokio::time::timeout(PATIENCE, lookup_host(named)).await.unwrap_or_else(|late| Err(late.into()));
    let mut found = found.map_err(unreachable)?;
    found.next().ok_or_else(|| unreachable(std::io::ErrorKind::NotFound.into()))
}

/// Sends a message, over UDP first; what was cut off, or what is too long, over TCP.
async fn exchange(server: SocketAddr, message: &[u8]) -> Result<Vec<u8>, Error> {
    let unreachable = |source| Error::Unreachable { server: server.to_string(), source };
    if message.len() <= 512 {
        for attempt in 0..TRIES {
            match tokio::time::timeout(ONE_TRY, by_udp(server, message)).await {
                Ok(Ok(answer)) if answer.get(2).is_some_and(|flags| flags & 2 == 0) => return Ok(answer),
                Ok(Ok(_)) => break, // cut off
                Ok(Err(error)) if attempt + 1 == TRIES => return Err(unreachable(error)),
                Err(_) if attempt + 1 == TRIES => return Err(unreachable(std::io::ErrorKind::TimedOut.into())),
                _ => {}
            }
        }
    }
    match tokio::time::timeout(PATIENCE, by_tcp(server, message)).await {
        Ok(answer) => answer.map_err(unreachable),
        Err(_) => Err(unreachable(std::io::ErrorKind::TimedOut.into())),
    }
}

async fn by_udp(server: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let own: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut buffer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if buffer.get(..2) == message.get(..2) && length >= 12 {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn by_tcp(server: SocketAddr, message: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn parse(server: SocketAddr, answer: &[u8]) -> Result<Message, Error> {
    Message::from_vec(answer).map_err(|_| Error::Answer { server: server.to_string(), what: "no message of DNS" })
}

fn id() -> u16 {
    random::<2>().map_or(0, u16::from_be_bytes)
}

/// The zone that `name` is in, as `server` tells it: where the nearest SOA record is.
async fn zone_of(server: SocketAddr, name: &str) -> Result<String, Error> {
    let mut rest = name.trim_end_matches('.');
    while !rest.is_empty() {
        let message = question(id(), rest, SOA)?;
        let answer = parse(server, &exchange(server, &message).await?)?;
        let records = answer.answers.iter().chain(&answer.authorities);
        let zone =
            records.filter(|record| matches!(record.data, RData::SOA(_))).map(|record| record.name.to_ascii()).next();
        if let Some(zone) = zone {
            return Ok(zone.trim_end_matches('.').to_owned());
        }
        rest = rest.split_once('.').map_or("", |(_, above)| above);
    }
    Err(Error::NoZone(name.to_owned()))
}

/// Adds (or deletes) the TXT record `text` of `name` at `server`. `seconds` is the present since 1970.
///
/// # Errors
/// When the server refuses or cannot be reached.
pub async fn update(
    server: &str,
    key: Option<&TsigKey>,
    name: &str,
    text: &str,
    add: bool,
    seconds: u64,
) -> Result<(), Error> {
    let address = resolve(server).await?;
    let zone = zone_of(address, name).await?;
    let mut message = update_message(id(), &zone, name, text, add)?;
    if let Some(key) = key {
        message = sign(message, key, seconds)?.0;
    }
    let answer = exchange(address, &message).await?;
    // the answer's own signature is read by nobody: what counts is what the check of propagation finds
    let code = ResponseCode::from(0, answer.get(3).copied().unwrap_or(0xF) & 0xF);
    if code == ResponseCode::NoError {
        return Ok(());
    }
    let what =
        format!("an update of zone {zone}{}", key.map(|key| format!(", signed with {}", key.name)).unwrap_or_default());
    Err(Error::Refused { server: server.to_owned(), code, what })
}

/// The TXT records of a name, as the first of `servers` tells that answers; those of this machine when there are none.
///
/// # Errors
/// When none answers.
pub async fn texts(servers: &[SocketAddr], name: &str) -> Result<Vec<String>, Error> {
    let own = if servers.is_empty() { system_servers() } else { servers.to_vec() };
    let mut last = Error::NoZone(name.to_owned());
    for server in own {
        let asked = async { parse(server, &exchange(server, &question(id(), name, TXT)?).await?) };
        match asked.await {
            Ok(answer) if matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) => {
                let texts = answer.answers.iter().filter_map(|record| match &record.data {
                    RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
                    _ => None,
                });
                return Ok(texts.collect());
            }
            Ok(answer) => {
                let what = format!("the question for TXT {name}");
                last = Error::Refused { server: server.to_string(), code: answer.metadata.response_code, what };
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn system_servers() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let named = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.split_whitespace().next()?.parse::<IpAddr>().ok());
    named.take(3).map(|address| SocketAddr::new(address, 53)).collect()
}
