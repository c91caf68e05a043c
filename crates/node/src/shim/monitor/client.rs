//! One connection to the shim socket.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::event::PollFlags;

use crate::shim::wire::frame;

/// Most output kept for a client that does not read.
const BACKLOG: usize = 1024 * 1024;

pub(super) struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// It wants the container's output and may send input.
    pub(super) attached: bool,
    /// It hung up, or must.
    pub(super) gone: bool,
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Client {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self { stream, received: Vec::new(), unsent: Vec::new(), attached: false, gone: false }
    }

    /// `room` tells whether the container can take more input.
    pub(super) fn interest(&self, room: bool) -> PollFlags {
        let mut flags = if room || !self.attached { PollFlags::IN } else { PollFlags::empty() };
        if !self.unsent.is_empty() {
            flags |= PollFlags::OUT;
        }
        flags
    }

    pub(super) fn receive(&mut self) {
        let mut buffer = [0; frame::PIECE];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.gone = true,
            Ok(count) => self.received.extend(&buffer[..count]),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.gone = true,
        }
    }

    pub(super) fn next_request(&mut self) -> Option<(u8, Vec<u8>)> {
        let (kind, data, used) = frame::first(&self.received)?;
        let request = (kind, data.to_vec());
        self.received.drain(..used);
        Some(request)
    }

    pub(super) fn send(&mut self, kind: u8, data: &[u8]) {
        frame::append(&mut self.unsent, kind, data);
    }

    /// Output of the container.
    pub(super) fn output(&mut self, kind: u8, data: &[u8]) {
        if self.attached && !self.gone {
            self.send(kind, data);
            self.flush();
            self.gone |= self.unsent.len() > BACKLOG;
        }
    }

    pub(super) fn flush(&mut self) {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.unsent.shrink_to(0);
    }

    /// The container ended: the rest goes out if the client takes it soon.
    pub(super) fn finish(&mut self) {
        let patient = self.stream.set_nonblocking(false).is_ok()
            && self.stream.set_write_timeout(Some(Duration::from_secs(1))).is_ok();
        if patient {
            self.flush();
        }
    }
}
