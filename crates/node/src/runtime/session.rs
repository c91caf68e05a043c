//! The streams of a command running inside a container, or of the container's own process.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::spec::Size;
use super::status::ExecError;
use super::{Runtime, start};
use crate::shim::wire::Report;

pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// An exec or an attach.
pub struct Session {
    pub stdin: Option<Writer>,
    pub stdout: Option<Reader>,
    /// Never there with a terminal.
    pub stderr: Option<Reader>,
    pub control: Control,
}

/// The rest of a session. Dropping the control of an exec kills its command.
pub struct Control {
    pub(super) kind: Kind,
}

pub(super) enum Kind {
    Exec { shim: UnixStream, terminal: Option<Terminal>, code: Option<i32> },
    Attach { runtime: Runtime, id: String },
}

impl Control {
    /// The command's exit code (128 + signal when a signal ended it). Output may still be in the
    /// streams; they end by themselves.
    pub async fn wait(&mut self) -> Result<i32, ExecError> {
        match &mut self.kind {
            Kind::Exec { code: Some(code), .. } => Ok(*code),
            Kind::Exec { shim, code, .. } => match start::next_report(shim).await {
                Ok((Report::Exited(exited), _)) => {
                    *code = Some(exited);
                    Ok(exited)
                }
                Ok((other, _)) => Err(ExecError::Failed(format!("unexpected answer of the shim: {other:?}"))),
                Err(error) => Err(ExecError::Failed(format!("cannot learn how the command ended: {error}"))),
            },
            Kind::Attach { runtime, id } => {
                let exit = runtime.wait(id).await;
                exit.map(|exit| exit.code).map_err(|error| ExecError::Failed(base::error::chain(&error)))
            }
        }
    }

    /// Sets the size of the terminal; nothing happens without one.
    pub async fn resize(&self, size: Size) -> Result<(), ExecError> {
        match &self.kind {
            Kind::Exec { terminal: Some(terminal), .. } => terminal
                .resize(size)
                .map_err(|error| ExecError::Failed(format!("cannot set the size of the terminal: {error}"))),
            Kind::Exec { terminal: None, .. } => Ok(()),
            Kind::Attach { runtime, id } => {
                runtime.resize(id, size).await.map_err(|error| ExecError::Failed(base::error::chain(&error)))
            }
        }
    }
}

/// The master side of a terminal. Its end shows as an error in the kernel and as the end of the
/// stream here.
#[derive(Clone)]
pub(super) struct Terminal {
    master: Arc<AsyncFd<OwnedFd>>,
}

impl Terminal {
    pub(super) fn new(master: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&master)?;
        rustix::fs::fcntl_setfl(&master, flags | rustix::fs::OFlags::NONBLOCK)?;
        // SAFETY: the AsyncFd owns the only handle on this descriptor, which stays open inside it
        let master = unsafe { AsyncFd::register(master) }.map_err(io::Error::from)?;
        Ok(Self { master: Arc::new(master) })
    }

    fn resize(&self, size: Size) -> io::Result<()> {
        let size = rustix::termios::Winsize { ws_col: size.columns, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(self.master.get_ref(), size)?)
    }
}

impl AsyncRead for Terminal {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.master.poll_read_ready(context))?;
            let space = buffer.initialize_unfilled();
            match ready.try_io(|master| rustix::io::read(master.get_ref(), &mut *space).map_err(io::Error::from)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => {}
            }
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.master.poll_write_ready(context))?;
            match ready.try_io(|master| rustix::io::write(master.get_ref(), data).map_err(io::Error::from)) {
                Ok(result) => return Poll::Ready(result),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
