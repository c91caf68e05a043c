//! The streams of a command running inside a container, or of the container's own process.

use tokio::io::{AsyncRead, AsyncWrite};

use super::spec::Size;
use super::status::ExecError;

pub type Reader = Box<dyn AsyncRead + Send + Unpin>;
pub type Writer = Box<dyn AsyncWrite + Send + Unpin>;

/// An exec or an attach. Dropping the control of an exec kills the command.
pub struct Session {
    pub stdin: Option<Writer>,
    pub stdout: Option<Reader>,
    /// Never there with a terminal.
    pub stderr: Option<Reader>,
    pub control: Control,
}

pub struct Control {}

impl Control {
    /// The command's exit code (128 + signal when a signal ended it). Output may still be in the
    /// streams; they end by themselves.
    pub async fn wait(&mut self) -> Result<i32, ExecError> {
        std::future::pending().await
    }

    /// Sets the size of the terminal; nothing happens without one.
    pub async fn resize(&self, _size: Size) -> Result<(), ExecError> {
        Ok(())
    }
}
