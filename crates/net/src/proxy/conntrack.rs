//! Forgetting UDP connections whose target is gone, over ctnetlink.
//!
//! A client that keeps its port (a resolver, say) would otherwise be sent to the old address for
//! as long as it asks. Best effort: a connection that could not be forgotten ends by itself.

use std::io;
use std::net::Ipv4Addr;

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with, sockopt,
};

use super::plan::{Front, Target};

const SUBSYSTEM: u16 = 1;
const GET: u16 = 1;
const DELETE: u16 = 2;
const REQUEST: u16 = 1;
const DUMP: u16 = 0x300;
const DONE: u16 = 3;
const ERROR: u16 = 2;

/// Attributes of a connection: the tuple as it was sent, and as it is answered.
const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;

/// One direction of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tuple {
    source: Option<Ipv4Addr>,
    destination: Option<Ipv4Addr>,
    protocol: u8,
    destination_port: u16,
}

/// Forgets the connections that came to one of the fronts and went to its lost target.
pub(crate) fn forget(stale: &[(Front, Target)]) {
    if stale.is_empty() {
        return;
    }
    if let Err(error) = try_forget(stale) {
        tracing::warn!("old UDP connections to removed endpoints may live on: {error}");
    }
}

fn try_forget(stale: &[(Front, Target)]) -> io::Result<()> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(std::time::Duration::from_secs(5)))?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &message(GET, DUMP, &[]), SendFlags::empty(), &kernel)?;
    let mut found = Vec::new();
    let mut buffer = vec![0_u8; 1 << 16];
    'dump: loop {
        let (_, length) = recv(&socket, &mut buffer[..], RecvFlags::empty())?;
        for (kind, payload) in messages(&buffer[..length.min(buffer.len())]) {
            if kind == DONE || kind == ERROR {
                break 'dump;
            }
            let attributes = payload.get(4..).unwrap_or_default();
            let Some(original) = find(attributes, ORIGINAL) else { continue };
            let (sent, answered) = (tuple(original), find(attributes, REPLY).map(tuple).unwrap_or_default());
            if stale.iter().any(|(front, target)| matches(front, *target, &sent, &answered)) {
                found.push(original.to_vec());
            }
        }
    }
    for original in &found {
        let mut attribute = Vec::new();
        let length = u16::try_from(original.len() + 4).map_err(|_| io::ErrorKind::InvalidData)?;
        attribute.extend(length.to_ne_bytes());
        attribute.extend((ORIGINAL | 0x8000).to_ne_bytes());
        attribute.extend(original);
        sendto(&socket, &message(DELETE, 0, &attribute), SendFlags::empty(), &kernel)?;
    }
    Ok(())
}

fn matches(front: &Front, target: Target, sent: &Tuple, answered: &Tuple) -> bool {
    sent.protocol == front.protocol.0
        && sent.destination_port == front.port
        && front.address.is_none_or(|address| sent.destination == Some(address))
        && answered.source == Some(target.0)
}

fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + payload.len()).expect("invariant: one tuple is small");
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(((SUBSYSTEM << 8) | kind).to_ne_bytes());
    bytes.extend((REQUEST | flags).to_ne_bytes());
    bytes.extend([0; 8]); // sequence, port
    bytes.extend([crate::nft::FAMILY_IPV4, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// The messages of a datagram: type and payload.
fn messages(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while bytes.len() >= 16 {
        let length = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let Some(payload) = bytes.get(16..length.max(16)) else { break };
        found.push((u16::from_ne_bytes([bytes[4], bytes[5]]), payload));
        bytes = bytes.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
    }
    found
}

/// The payload of the attribute `kind`.
fn find(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    while bytes.len() >= 4 {
        let length = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        let held = u16::from_ne_bytes([bytes[2], bytes[3]]) & 0x3fff;
        let payload = bytes.get(4..length.max(4))?;
        if held == kind {
            return Some(payload);
        }
        bytes = bytes.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
    }
    None
}

fn tuple(bytes: &[u8]) -> Tuple {
    let address = |bytes: Option<&[u8]>| bytes.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(Ipv4Addr::from);
    let (addresses, protocol) = (find(bytes, 1).unwrap_or_default(), find(bytes, 2).unwrap_or_default());
    Tuple {
        source: address(find(addresses, 1)),
        destination: address(find(addresses, 2)),
        protocol: find(protocol, 1).and_then(|bytes| bytes.first().copied()).unwrap_or_default(),
        destination_port: find(protocol, 3)
            .and_then(|bytes| <[u8; 2]>::try_from(bytes).ok())
            .map_or(0, u16::from_be_bytes),
    }
}
