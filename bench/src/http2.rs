//! Many requests at once on one connection: as much of HTTP/2 as it takes to open watches and count what they send.
//!
//! Frames are written by hand. A client library would bring a runtime and memory of its own into what is measured, and
//! what is needed here is five kinds of frames and no header table.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{bail, ensure};
use rustls::{ClientConnection, StreamOwned};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GO_AWAY: u8 = 7;
const WINDOW: u8 = 8;

const ACK: u8 = 1;
/// The request has no body, and all its headers are in this frame.
const WHOLE: u8 = 5;
/// So much may be sent to us before we would have to say more; no run sends as much.
const PLENTY: u32 = 1 << 30;

pub(crate) struct Connection {
    stream: StreamOwned<ClientConnection, TcpStream>,
    opened: u32,
    frame: Vec<u8>,
}

impl Connection {
    /// On a connection whose TLS has agreed on HTTP/2.
    pub(crate) fn new(stream: StreamOwned<ClientConnection, TcpStream>) -> anyhow::Result<Self> {
        let mut connection = Self { stream, opened: 0, frame: Vec::new() };
        connection.stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
        // the size of the window of each stream is setting 4
        let [a, b, c, d] = PLENTY.to_be_bytes();
        connection.send(SETTINGS, 0, 0, &[0, 4, a, b, c, d])?;
        connection.send(WINDOW, 0, 0, &PLENTY.to_be_bytes())?;
        Ok(connection)
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> anyhow::Result<()> {
        let length = u32::try_from(payload.len())?.to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame)?;
        Ok(self.stream.flush()?)
    }

    /// Asks for a path; the answer comes among the frames.
    pub(crate) fn get(&mut self, path: &str, accept: &str) -> anyhow::Result<()> {
        let mut block = vec![0x82, 0x87]; // GET, https
        // :authority, :path and accept by their places in the static table, values as they are
        for (name, value) in [(&[0x01][..], "kubernetes"), (&[0x04], path), (&[0x0f, 0x04], accept)] {
            block.extend(name);
            let length = u8::try_from(value.len())?;
            ensure!(length < 127, "{value} is too long for a client this simple");
            block.push(length);
            block.extend(value.as_bytes());
        }
        let stream = self.opened * 2 + 1;
        self.opened += 1;
        self.send(HEADERS, WHOLE, stream, &block)
    }

    /// The next piece of any answer; empty if it was only the head of one.
    pub(crate) fn next(&mut self) -> anyhow::Result<&[u8]> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head)?;
            let [a, b, c, kind, flags, ..] = head;
            self.frame.resize(u32::from_be_bytes([0, a, b, c]) as usize, 0);
            self.stream.read_exact(&mut self.frame)?;
            match kind {
                DATA => return Ok(&self.frame),
                HEADERS => {
                    // status 200 is one byte by its place in the static table
                    ensure!(self.frame.first() == Some(&0x88), "an answer is not 200");
                    return Ok(&[]);
                }
                SETTINGS if flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[])?,
                PING if flags & ACK == 0 => {
                    let payload = std::mem::take(&mut self.frame);
                    self.send(PING, ACK, 0, &payload)?;
                }
                RESET | GO_AWAY => bail!("the server gave up the connection or a stream: frame {kind}"),
                _ => {}
            }
        }
    }
}
