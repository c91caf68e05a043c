//! Talking to the shim of a running container: requests, and its live output and input.

use std::io;

use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::session::{Control, Kind, Session};
use super::status::{Error, ExecError, State};
use super::{Inner, Runtime};
use crate::shim::wire::{self, frame};

/// Output on its way from the shim to a reader.
const BUFFER: usize = 64 * 1024;

pub(super) async fn attach(runtime: &Runtime, id: &str) -> Result<Session, ExecError> {
    let entry = runtime.inner.entry(id).map_err(|_| ExecError::NotRunning(id.to_owned()))?;
    if entry.container.state != State::Running {
        return Err(ExecError::NotRunning(id.to_owned()));
    }
    let failed = |error: io::Error| ExecError::Failed(format!("cannot attach to container {id}: {error}"));
    let mut stream = connect(&runtime.inner, id).await.map_err(failed)?;
    ask(&mut stream, frame::ATTACH, &[]).await.map_err(failed)?;
    let (read, write) = stream.into_split();
    let spec = &entry.container.spec;
    let (stdout, to_stdout) = tokio::io::duplex(BUFFER);
    let (stderr, to_stderr) = tokio::io::duplex(BUFFER);
    let (stdin, from_stdin) = tokio::io::duplex(BUFFER);
    runtime.inner.children.spawn("attached output", pump_output(read, to_stdout, to_stderr));
    runtime.inner.children.spawn("attached input", pump_input(from_stdin, write));
    Ok(Session {
        stdin: spec.stdin.then(|| Box::new(stdin) as _),
        stdout: Some(Box::new(stdout)),
        stderr: (!spec.tty).then(|| Box::new(stderr) as _),
        control: Control { kind: Kind::Attach { runtime: runtime.clone(), id: id.to_owned() } },
    })
}

/// One request, answered.
pub(super) async fn request(inner: &Inner, id: &str, kind: u8, data: &[u8]) -> Result<(), Error> {
    inner.entry(id)?;
    let failed = |error: io::Error| Error::Shim { id: id.to_owned(), message: error.to_string() };
    let mut stream = connect(inner, id).await.map_err(failed)?;
    ask(&mut stream, kind, data).await.map_err(failed)
}

/// A socket address holds 107 bytes; through the descriptor of its directory any path fits.
async fn connect(inner: &Inner, id: &str) -> io::Result<UnixStream> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(inner.places(id).state, flags, Mode::empty())?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&directory);
    UnixStream::connect(format!("/proc/self/fd/{descriptor}/{}", wire::SOCKET)).await
}

async fn ask(stream: &mut UnixStream, kind: u8, data: &[u8]) -> io::Result<()> {
    let mut request = Vec::new();
    frame::append(&mut request, kind, data);
    stream.write_all(&request).await?;
    match read_frame(stream).await? {
        (frame::OK, _) => Ok(()),
        (frame::REFUSED, why) => Err(io::Error::other(String::from_utf8_lossy(&why).into_owned())),
        (other, _) => Err(io::Error::other(format!("unexpected frame {other} from the shim"))),
    }
}

async fn read_frame(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let mut header = [0; frame::HEADER];
    stream.read_exact(&mut header).await?;
    let mut data = vec![0; usize::from(u16::from_le_bytes([header[2], header[3]]))];
    stream.read_exact(&mut data).await?;
    Ok((header[0], data))
}

/// Until the container ends or nobody reads any more.
async fn pump_output(mut from: OwnedReadHalf, mut stdout: DuplexStream, mut stderr: DuplexStream) {
    while let Ok((kind, data)) = read_frame(&mut from).await {
        // somebody who reads only one of the two streams must not stop the other
        let written = match kind {
            frame::STDOUT => stdout.write_all(&data).await,
            frame::STDERR => match stderr.write_all(&data).await {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                other => other,
            },
            _ => Ok(()),
        };
        if written.is_err() {
            return;
        }
    }
}

async fn pump_input(mut from: DuplexStream, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; frame::PIECE];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        let mut framed = Vec::new();
        frame::append(&mut framed, frame::STDIN, &buffer[..count]);
        if to.write_all(&framed).await.is_err() || count == 0 {
            // keep our half open: the output goes on after the end of the input
            return to.forget();
        }
    }
}
