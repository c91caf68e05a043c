//! What agent and shim say to each other.
//!
//! Two channels. The *control* socket (descriptor 0 of a fresh shim, one message per packet) tells
//! the agent that asked how the start went, and passes descriptors. The *shim socket* (`shim.sock`
//! in the container's directory) answers any later agent: frames of kind, version, length, data.
//! Invariant: an old shim must understand a new agent, so frames only ever gain kinds.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::{Deserialize, Serialize};

use super::process::Identity;

// The files of a container's directory.
pub(crate) const PLAN: &str = "shim.json";
pub(crate) const FILTER: &str = "seccomp.bpf";
pub(crate) const LOCK: &str = "lock";
pub(crate) const STARTED: &str = "pid";
pub(crate) const EXIT: &str = "exit";
pub(crate) const SOCKET: &str = "shim.sock";
/// Where libcontainer keeps its state, and the name it knows the container by.
pub(crate) const STATE: &str = "oci";
pub(crate) const CONTAINER: &str = "c";
/// In an exec session's directory: the plan and the OCI process.
pub(crate) const SESSION: &str = "session.json";
pub(crate) const PROCESS: &str = "process.json";

/// How a shim runs its container; the OCI configuration lies beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) log: PathBuf,
    pub(crate) tty: bool,
    pub(crate) stdin: bool,
    pub(crate) stdin_once: bool,
    /// The capabilities its program gets, as a bit mask; the OCI configuration has more.
    pub(crate) capabilities: u64,
    pub(crate) oom_file: Option<PathBuf>,
    pub(crate) uid: u32,
}

/// How an exec session runs its command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The container's directory.
    pub(crate) container: PathBuf,
    pub(crate) tty: bool,
    /// Which descriptors come with the first control message, in this order.
    pub(crate) stdin: bool,
    pub(crate) stdout: bool,
    pub(crate) stderr: bool,
    pub(crate) capabilities: u64,
    /// Who owns the terminal.
    pub(crate) uid: u32,
    /// Columns and rows.
    pub(crate) size: Option<(u16, u16)>,
}

/// Written by the shim when the container's program runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Started {
    pub(crate) container: Identity,
    pub(crate) shim: Identity,
    pub(crate) at: Timestamp,
}

/// From a shim to the agent that started it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// With a terminal, an exec session's master side comes along.
    Started(Identity),
    Failed(Failure),
    /// Only of exec sessions.
    Exited(i32),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) kind: Cause,
    pub(crate) message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Cause {
    /// The program does not exist in the container.
    NotFound,
    /// It is there and may not be executed.
    PermissionDenied,
    /// It could not be executed for another reason.
    Exec,
    /// The container could not be set up.
    Create,
}

impl Failure {
    pub(crate) fn create(message: impl Into<String>) -> Self {
        Self { kind: Cause::Create, message: message.into() }
    }
}

/// Largest control message; failures are cut to fit.
pub(crate) const PACKET: usize = 16 * 1024;

/// Sends one control message.
pub(crate) fn send(socket: impl AsFd, data: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(data)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one control message; no bytes mean the other side is gone.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok((got.bytes, descriptors))
}

impl Report {
    pub(crate) fn send(&self, socket: impl AsFd, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut report = self.clone();
        if let Self::Failed(failure) = &mut report {
            failure.message = failure.message.chars().take(PACKET / 8).collect();
        }
        send(socket, &serde_json::to_vec(&report)?, descriptors)
    }
}

/// Writes a file so that a reader sees all of it or none.
pub(crate) fn write_whole(path: &Path, data: &[u8]) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let aside = path.with_file_name(name);
    std::fs::write(&aside, data)?;
    std::fs::rename(&aside, path)
}

/// Frames of the shim socket: kind, version, length (little-endian), data.
pub(crate) mod frame {
    pub(crate) const VERSION: u8 = 1;
    pub(crate) const HEADER: usize = 4;
    /// Largest piece of a stream in one frame.
    pub(crate) const PIECE: usize = 16 * 1024;

    // requests
    pub(crate) const KILL: u8 = 1; // signal: i32
    pub(crate) const RESIZE: u8 = 2; // columns, rows: u16
    pub(crate) const REOPEN_LOG: u8 = 3;
    pub(crate) const ATTACH: u8 = 4;
    // answers
    pub(crate) const OK: u8 = 16;
    pub(crate) const REFUSED: u8 = 17; // text
    // after ATTACH was answered with OK
    pub(crate) const STDIN: u8 = 32; // no data: end of input
    pub(crate) const STDOUT: u8 = 33;
    pub(crate) const STDERR: u8 = 34;

    pub(crate) fn append(buffer: &mut Vec<u8>, kind: u8, data: &[u8]) {
        for piece in data.chunks(PIECE).chain(data.is_empty().then_some(data)) {
            let length = u16::try_from(piece.len()).expect("invariant: a piece fits a frame");
            buffer.extend([kind, VERSION]);
            buffer.extend(length.to_le_bytes());
            buffer.extend(piece);
        }
    }

    /// The first frame in `buffer`: kind, data, and the length of both with the header.
    pub(crate) fn first(buffer: &[u8]) -> Option<(u8, &[u8], usize)> {
        let header: [u8; HEADER] = buffer.get(..HEADER)?.try_into().ok()?;
        let end = HEADER + usize::from(u16::from_le_bytes([header[2], header[3]]));
        Some((header[0], buffer.get(HEADER..end)?, end))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use proptest::prelude::*;

        proptest! {
            #[test]
            fn what_is_framed_comes_out_again(data in proptest::collection::vec(any::<u8>(), 0..50_000)) {
                let mut buffer = Vec::new();
                append(&mut buffer, STDOUT, &data);
                let (mut rest, mut seen) = (buffer.as_slice(), Vec::<u8>::new());
                while let Some((kind, piece, used)) = first(rest) {
                    prop_assert_eq!(kind, STDOUT);
                    seen.extend(piece);
                    rest = &rest[used..];
                }
                prop_assert!(rest.is_empty());
                prop_assert_eq!(seen, data);
            }

            #[test]
            fn an_incomplete_frame_is_waited_for(cut in 0usize..12) {
                let mut buffer = Vec::new();
                append(&mut buffer, STDIN, b"12345678");
                prop_assert!(first(&buffer[..cut]).is_none());
            }
        }
    }
}
