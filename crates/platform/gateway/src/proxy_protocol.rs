//! The PROXY protocol of HAProxy, versions 1 and 2: who a connection really comes from, told in
//! front of its first byte.
//!
//! Anybody can write one, so it is read only from networks that are said to send it, and then it
//! must be there. Strict and bounded: what is not exactly as the specification says ends the
//! connection. Section 2.1 (version 1), 2.2 (version 2, with its checksum), 4 (security).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The longest line of version 1, with its end.
const LINE: usize = 107;
/// The shortest of version 1: `PROXY UNKNOWN` and its end.
const SHORTEST: usize = 15;
/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Addresses and attributes of version 2 at most.
const PAYLOAD: usize = 4096;
/// The attribute with a checksum (2.2.3).
const CRC32C: u8 = 0x03;

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The connection is the sender's own (a health check), or of a kind that has no addresses.
    Nothing,
    /// It was made from the one to the other.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
}

/// What is not as it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Neither version.
    #[error("there is no PROXY header")]
    Missing,
    /// Version 1 that does not end.
    #[error("the line of the PROXY header is too long")]
    Long,
    /// Version 1 with something else than families, addresses and ports.
    #[error("the line of the PROXY header is not as it must be")]
    Line,
    /// A version, command or family there is not.
    #[error("the PROXY header is of an unknown version, command or family")]
    Unknown,
    /// Version 2 that is too short for its addresses, or too long.
    #[error("the length of the PROXY header is wrong")]
    Length,
    /// Version 2 with attributes that do not fit.
    #[error("the attributes of the PROXY header do not fit into it")]
    Attributes,
    /// Its checksum is wrong.
    #[error("the checksum of the PROXY header is wrong")]
    Checksum,
}

/// Reads the header that `bytes` begin with; its length too. None while it is not whole.
///
/// # Errors
/// When it is no header, as soon as that is certain.
pub fn parse(bytes: &[u8]) -> Result<Option<(Said, usize)>, Fault> {
    let signature = bytes.len().min(SIGNATURE.len());
    if bytes[..signature] == SIGNATURE[..signature] {
        return binary(bytes);
    }
    let word = bytes.len().min(6);
    if bytes[..word] != b"PROXY "[..word] {
        return Err(Fault::Missing);
    }
    match bytes.iter().take(LINE).position(|byte| *byte == b'\n') {
        Some(end) => line(&bytes[..=end]).map(|said| Some((said, end + 1))),
        None if bytes.len() >= LINE => Err(Fault::Long),
        None => Ok(None),
    }
}

fn line(line: &[u8]) -> Result<Said, Fault> {
    let text = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or(Fault::Line)?;
    let rest = text.strip_prefix("PROXY ").ok_or(Fault::Line)?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Ok(Said::Nothing);
    }
    let words: Vec<&str> = rest.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = words[..] else { return Err(Fault::Line) };
    let address = |text: &str| -> Result<IpAddr, Fault> {
        let read = match family {
            "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6),
            _ => return Err(Fault::Unknown),
        };
        read.map_err(|_| Fault::Line)
    };
    let port = |text: &str| -> Result<u16, Fault> {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
        text.parse().ok().filter(|_| plain).ok_or(Fault::Line)
    };
    Ok(Said::Proxied {
        source: SocketAddr::new(address(source)?, port(source_port)?),
        destination: SocketAddr::new(address(destination)?, port(destination_port)?),
    })
}

fn binary(bytes: &[u8]) -> Result<Option<(Said, usize)>, Fault> {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else { return Ok(None) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if command >> 4 != 2 {
        return Err(Fault::Unknown);
    }
    if length > PAYLOAD {
        return Err(Fault::Length);
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let addresses = match family {
        0x00 => 0,
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216, // sockets of UNIX
        _ => return Err(Fault::Unknown),
    };
    let said = match command & 0xf {
        0 => Said::Nothing, // whatever the family says (2.2)
        1 => {
            let (addresses, attributes) = payload.split_at_checked(addresses).ok_or(Fault::Length)?;
            if family != 0 {
                check(attributes, head, payload)?;
            }
            addresses_of(family, addresses).unwrap_or(Said::Nothing)
        }
        _ => return Err(Fault::Unknown),
    };
    Ok(Some((said, 16 + length)))
}

fn addresses_of(family: u8, bytes: &[u8]) -> Option<Said> {
    let port = |at: usize| Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    let (source, destination, ports) = match family >> 4 {
        1 => {
            let address = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
            (address(0)?, address(4)?, 8)
        }
        2 => {
            let address = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
            (address(0)?, address(16)?, 32)
        }
        _ => return None,
    };
    let source = SocketAddr::new(source, port(ports)?);
    Some(Said::Proxied { source, destination: SocketAddr::new(destination, port(ports + 2)?) })
}

/// Goes through the attributes: a type, two bytes of length, a value.
fn check(attributes: &[u8], head: &[u8], payload: &[u8]) -> Result<(), Fault> {
    let mut rest = attributes;
    while !rest.is_empty() {
        let (&[kind, high, low], after) = rest.split_first_chunk::<3>().ok_or(Fault::Attributes)?;
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, after) = after.split_at_checked(length).ok_or(Fault::Attributes)?;
        if kind == CRC32C {
            let told = u32::from_be_bytes(value.try_into().map_err(|_| Fault::Attributes)?);
            let at = payload.len() - after.len() - 4;
            let zeroed = [head, &payload[..at], &[0; 4], &payload[at + 4..]].concat();
            if crc32c(&zeroed) != told {
                return Err(Fault::Checksum);
            }
        }
        rest = after;
    }
    Ok(())
}

/// RFC 4960, appendix B.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1));
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

/// Reads a header from a connection, and not a byte more.
///
/// # Errors
/// When it is no header, or the connection ends.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Said> {
    let mut bytes = vec![0; SHORTEST];
    stream.read_exact(&mut bytes).await?;
    loop {
        match parse(&bytes) {
            Ok(Some((said, length))) if length == bytes.len() => return Ok(said),
            // The shortest header is no shorter than what was read.
            Ok(Some(_)) => return Err(io::Error::new(io::ErrorKind::InvalidData, Fault::Length)),
            Ok(None) => {}
            Err(fault) => return Err(io::Error::new(io::ErrorKind::InvalidData, fault)),
        }
        // Of version 2 the length is known from 16 bytes on; version 1 ends with its line.
        let more = match bytes.get(14..16) {
            Some(&[high, low]) if bytes.starts_with(SIGNATURE) => usize::from(u16::from_be_bytes([high, low])),
            _ => 1,
        };
        let known = bytes.len();
        bytes.resize(known + more, 0);
        stream.read_exact(&mut bytes[known..]).await?;
    }
}

/// A header of version 1.
#[must_use]
pub fn write_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (source, destination) = alike(source, destination);
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

/// A header of version 2, of a connection or (`datagram`) of UDP.
#[must_use]
pub fn write_v2(source: SocketAddr, destination: SocketAddr, datagram: bool) -> Vec<u8> {
    let (source, destination) = alike(source, destination);
    let transport = if datagram { 2 } else { 1 };
    let mut header = SIGNATURE.to_vec();
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.extend([0x21, 0x10 | transport, 0, 12]);
            header.extend(from.octets().into_iter().chain(to.octets()));
        }
        (from, to) => {
            let v6 = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped(),
                IpAddr::V6(address) => address,
            };
            header.extend([0x21, 0x20 | transport, 0, 36]);
            header.extend(v6(from).octets().into_iter().chain(v6(to).octets()));
        }
    }
    header.extend(source.port().to_be_bytes().into_iter().chain(destination.port().to_be_bytes()));
    header
}

/// Both of one family: a header has no room for two.
fn alike(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let (source, destination) = (plain(source), plain(destination));
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let v6 = |address: SocketAddr| match address.ip() {
        IpAddr::V4(own) => SocketAddr::new(own.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    };
    (v6(source), v6(destination))
}

#[cfg(test)]
mod tests;
