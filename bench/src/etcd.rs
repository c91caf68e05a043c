//! Bare puts into etcd: what a durable create is compared with. Only when an `etcd` is on the path.
//!
//! gRPC over cleartext HTTP/2, written by hand for one call: a put carries two strings, and its answer only has to end.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::client::LIMIT;

const ADDRESS: &str = "127.0.0.1:23790";
const PEERS: &str = "http://127.0.0.1:23800";
const POLL: Duration = Duration::from_millis(20);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END: u8 = 1;
const ACK: u8 = 1;
const ALL_HEADERS: u8 = 4;

/// An etcd with nothing in it, killed on drop.
pub(crate) struct Etcd {
    child: Child,
    _data: tempfile::TempDir,
}

impl Etcd {
    /// None if there is no etcd on this machine.
    pub(crate) fn start() -> anyhow::Result<Option<Self>> {
        let data = tempfile::tempdir()?;
        let url = format!("http://{ADDRESS}");
        let mut command = Command::new("etcd");
        command.arg("--data-dir").arg(data.path()).args([
            "--listen-client-urls",
            &url,
            "--advertise-client-urls",
            &url,
        ]);
        command.args(["--listen-peer-urls", PEERS, "--initial-advertise-peer-urls", PEERS]);
        command.args(["--initial-cluster", &format!("default={PEERS}"), "--log-level", "error"]);
        let Ok(child) = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            return Ok(None);
        };
        let etcd = Self { child, _data: data };
        let begun = Instant::now();
        while connect().and_then(|mut connection| connection.put("ready", b"yes")).is_err() {
            ensure!(begun.elapsed() < LIMIT, "etcd does not answer");
            thread::sleep(POLL);
        }
        Ok(Some(etcd))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("cannot stop etcd: {error}");
        }
    }
}

/// A connection that puts, one after the other.
pub(crate) struct Connection {
    stream: TcpStream,
    opened: u32,
}

pub(crate) fn connect() -> anyhow::Result<Connection> {
    let mut stream = TcpStream::connect(ADDRESS)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])?)?;
    Ok(Connection { stream, opened: 0 })
}

impl Connection {
    pub(crate) fn put(&mut self, key: &str, value: &[u8]) -> anyhow::Result<()> {
        let mut block = vec![0x83, 0x86]; // POST, http
        // names by their places in the static table, values as they are
        for (name, value) in
            [(&[0x01][..], "etcd"), (&[0x04], "/etcdserverpb.KV/Put"), (&[0x0f, 0x10], "application/grpc")]
        {
            block.extend(name);
            block.push(u8::try_from(value.len())?);
            block.extend(value.as_bytes());
        }
        block.extend(b"\x00\x02te\x08trailers");
        let mut message = Vec::new();
        for (number, bytes) in [(1, key.as_bytes()), (2, value)] {
            message.push(number << 3 | 2);
            let mut length = bytes.len();
            while length > 0x7f {
                message.push(u8::try_from(length & 0x7f)? | 0x80);
                length >>= 7;
            }
            message.push(u8::try_from(length)?);
            message.extend(bytes);
        }
        let mut body = vec![0];
        body.extend(u32::try_from(message.len())?.to_be_bytes());
        body.extend(message);
        let stream = self.opened * 2 + 1;
        self.opened += 1;
        let mut bytes = frame(HEADERS, ALL_HEADERS, stream, &block)?;
        bytes.extend(frame(DATA, END, stream, &body)?);
        self.stream.write_all(&bytes)?;
        self.end_of(stream)
    }

    /// Reads until an answer has ended.
    fn end_of(&mut self, wanted: u32) -> anyhow::Result<()> {
        let mut answered = false;
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head)?;
            let [a, b, c, kind, flags, d, e, f, g] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload)?;
            let ours = u32::from_be_bytes([d, e, f, g]) == wanted;
            match kind {
                SETTINGS | PING if flags & ACK == 0 => {
                    let payload = if kind == PING { &payload[..] } else { &[] };
                    self.stream.write_all(&frame(kind, ACK, 0, payload)?)?;
                }
                DATA => answered |= ours,
                HEADERS if ours && flags & END != 0 => {
                    ensure!(answered, "etcd refused a put");
                    return Ok(());
                }
                3 | 7 => bail!("etcd gave up: frame {kind}"),
                _ => {}
            }
        }
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> anyhow::Result<Vec<u8>> {
    let length = u32::try_from(payload.len()).context("a frame is short")?.to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    Ok(frame)
}
