//! A batch of changes and its way to the kernel.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, sendto, socket_with, sockopt,
};

use super::{Attributes, FAMILY_IPV4};

/// Message numbers of the subsystem.
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = 0;
const DELETE_TABLE: u16 = 2;
const NEW_CHAIN: u16 = 3;
const NEW_RULE: u16 = 6;
const NEW_SET: u16 = 9;
const NEW_ELEMENT: u16 = 12;
const DELETE_ELEMENT: u16 = 14;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const REQUEST: u16 = 1;
const ACK: u16 = 4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const ERROR: u16 = 2;

/// Elements in one message: an attribute cannot be longer than 64 KiB.
const ELEMENTS: usize = 400;
/// Room for large batches; the kernel grants it to root.
const BUFFER: usize = 64 << 20;

/// Why packet rules could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No socket to nf_tables.
    #[error("cannot talk to nf_tables; the kernel needs CONFIG_NF_TABLES and this process CAP_NET_ADMIN")]
    Socket(#[source] io::Error),
    /// The kernel refused the batch; nothing of it was done.
    #[error("nf_tables refused to {what}")]
    Refused {
        /// The message it refused.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

/// A set or map to make.
pub(crate) struct Set<'a> {
    pub(crate) name: &'a str,
    /// Bytes of the key, a multiple of four, and the type `nft list` shows.
    pub(crate) key: (u32, u32),
    /// Bytes and type of the data; none for a plain set.
    pub(crate) data: Data,
}

/// What a map leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    None,
    Verdict,
    Value { length: u32, kind: u32 },
}

/// Where a chain hooks in.
pub(crate) struct Hook {
    /// `nat` or `filter`.
    pub(crate) kind: &'static str,
    pub(crate) number: u32,
    pub(crate) priority: i32,
}

/// Changes that happen together.
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// What each message tries, by sequence number.
    attempts: Vec<String>,
    sets: u32,
}

impl Batch {
    pub(crate) fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), attempts: Vec::new(), sets: 0 };
        batch.mark(BATCH_BEGIN);
        batch
    }

    /// True when nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.attempts.len() <= 1
    }

    pub(crate) fn add_table(&mut self, name: &str) {
        self.message(NEW_TABLE, CREATE, &Attributes::new().text(1, name), || format!("make table {name}"));
    }

    pub(crate) fn delete_table(&mut self, name: &str) {
        self.message(DELETE_TABLE, 0, &Attributes::new().text(1, name), || format!("delete table {name}"));
    }

    pub(crate) fn add_chain(&mut self, table: &str, name: &str, hook: Option<&Hook>) {
        let mut attributes = Attributes::new().text(1, table).text(3, name);
        if let Some(hook) = hook {
            let place = Attributes::new().number(1, hook.number).put(2, &hook.priority.to_be_bytes());
            attributes = attributes.nest(4, &place).text(7, hook.kind);
        }
        self.message(NEW_CHAIN, CREATE, &attributes, || format!("make chain {name}"));
    }

    pub(crate) fn add_rule(&mut self, table: &str, chain: &str, expressions: &[Attributes]) {
        let list = expressions.iter().fold(Attributes::new(), |list, expression| list.nest(1, expression));
        let attributes = Attributes::new().text(1, table).text(2, chain).nest(4, &list);
        self.message(NEW_RULE, CREATE | APPEND, &attributes, || format!("add a rule to chain {chain}"));
    }

    pub(crate) fn add_set(&mut self, table: &str, set: &Set<'_>) {
        const MAP: u32 = 8;
        self.sets += 1;
        let flags = if set.data == Data::None { 0 } else { MAP };
        let mut attributes = Attributes::new()
            .text(1, table)
            .text(2, set.name)
            .number(3, flags)
            .number(4, set.key.1)
            .number(5, set.key.0);
        match set.data {
            Data::None => {}
            Data::Verdict => attributes = attributes.number(6, 0xffff_ff00).number(7, 16),
            Data::Value { length, kind } => attributes = attributes.number(6, kind).number(7, length),
        }
        attributes = attributes.number(10, self.sets);
        self.message(NEW_SET, CREATE, &attributes, || format!("make set {}", set.name));
    }

    /// Adds elements: key and, for maps, data.
    pub(crate) fn add_elements(&mut self, table: &str, set: &str, elements: &[(Vec<u8>, Option<Attributes>)]) {
        self.elements(NEW_ELEMENT, CREATE, table, set, elements);
    }

    /// Removes elements by key.
    pub(crate) fn delete_elements(&mut self, table: &str, set: &str, elements: &[(Vec<u8>, Option<Attributes>)]) {
        self.elements(DELETE_ELEMENT, 0, table, set, elements);
    }

    fn elements(&mut self, kind: u16, flags: u16, table: &str, set: &str, elements: &[(Vec<u8>, Option<Attributes>)]) {
        for part in elements.chunks(ELEMENTS) {
            let mut list = Attributes::new();
            for (key, data) in part {
                let mut element = Attributes::new().nest(1, &super::expr::value(key));
                if let Some(data) = data {
                    element = element.nest(2, data);
                }
                list = list.nest(1, &element);
            }
            let attributes = Attributes::new().text(1, table).text(2, set).nest(3, &list);
            let verb = if kind == NEW_ELEMENT { "add" } else { "remove" };
            self.message(kind, flags, &attributes, || format!("{verb} {} elements of {set}", part.len()));
        }
    }

    fn message(&mut self, kind: u16, flags: u16, attributes: &Attributes, attempt: impl FnOnce() -> String) {
        self.push((SUBSYSTEM << 8) | kind, REQUEST | ACK | flags, FAMILY_IPV4, 0, attributes.bytes());
        self.attempts.push(attempt());
    }

    fn mark(&mut self, kind: u16) {
        self.push(kind, REQUEST, 0, SUBSYSTEM, &[]);
        self.attempts.push(String::new());
    }

    fn push(&mut self, kind: u16, flags: u16, family: u8, resource: u16, payload: &[u8]) {
        let length = u32::try_from(20 + payload.len()).expect("invariant: a message is far below 4 GiB");
        let sequence = u32::try_from(self.attempts.len()).expect("invariant: a batch is far below 2^32 messages");
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend(0_u32.to_ne_bytes());
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(payload);
    }

    /// Has the kernel carry out the batch, wholly or not at all. Blocks for the kernel's work.
    pub(crate) fn commit(mut self) -> Result<(), Error> {
        if self.is_empty() {
            return Ok(());
        }
        let expected = self.attempts.len() - 1;
        self.mark(BATCH_END);
        let socket = open().map_err(Error::Socket)?;
        let sent = sendto(&socket, &self.bytes, SendFlags::empty(), &SocketAddrNetlink::new(0, 0));
        sent.map_err(|error| Error::Socket(error.into()))?;
        let mut buffer = vec![0_u8; 1 << 16];
        let mut answered = 0;
        while answered < expected {
            let (_, length) =
                recv(&socket, &mut buffer[..], RecvFlags::empty()).map_err(|error| Error::Socket(error.into()))?;
            for (sequence, code) in answers(&buffer[..length.min(buffer.len())]) {
                if code != 0 {
                    let what = self.attempts.get(sequence as usize).cloned().unwrap_or_default();
                    return Err(Error::Refused { what, source: io::Error::from_raw_os_error(-code) });
                }
                answered += 1;
            }
        }
        Ok(())
    }
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    for (force, grow) in [(true, true), (true, false)] {
        if force && set_buffer(&socket, grow).is_err() {
            sockopt::set_socket_send_buffer_size(&socket, 1 << 20)?;
        }
    }
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(std::time::Duration::from_secs(30)))?;
    Ok(socket)
}

/// Sets the send (`true`) or receive buffer past the system's limit, as root may.
fn set_buffer(socket: &OwnedFd, send: bool) -> io::Result<()> {
    if send {
        sockopt::set_socket_send_buffer_size_force(socket.as_fd(), BUFFER)?;
    } else {
        sockopt::set_socket_recv_buffer_size_force(socket.as_fd(), BUFFER)?;
    }
    tracing::trace!(socket = socket.as_raw_fd(), "netlink buffer raised");
    Ok(())
}

/// The answers in a datagram: sequence number and error code (0 for done).
fn answers(mut bytes: &[u8]) -> Vec<(u32, i32)> {
    let mut found = Vec::new();
    let word = |bytes: &[u8], at: usize| {
        bytes.get(at..at + 4).map(|part| u32::from_ne_bytes([part[0], part[1], part[2], part[3]]))
    };
    while let (Some(length), Some(sequence)) = (word(bytes, 0), word(bytes, 8)) {
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        if let (ERROR, Some(code)) = (kind, word(bytes, 16)) {
            found.push((sequence, code.cast_signed()));
        }
        let step = (length as usize).next_multiple_of(4).max(16);
        bytes = bytes.get(step..).unwrap_or_default();
    }
    found
}
