//! Receiving the master side of a terminal that libcontainer makes inside the container.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::wire::receive;

/// A socket that libcontainer sends the terminal to.
pub(super) struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Console {
    /// Makes the socket in `directory`, which must be the working directory: socket addresses are
    /// too short for our paths.
    pub(super) fn listen(directory: &Path) -> io::Result<Self> {
        let name = "console.sock";
        let listener = UnixListener::bind(name)?;
        Ok(Self { listener, path: directory.join(name) })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The terminal, given to `uid`; call it when the program runs.
    pub(super) fn terminal(self, uid: u32) -> io::Result<OwnedFd> {
        let (stream, _) = self.listener.accept()?;
        let mut buffer = [0; 64];
        let (_, mut descriptors) = receive(&stream, &mut buffer)?;
        std::fs::remove_file(&self.path)?;
        let terminal = descriptors.pop().ok_or_else(|| io::Error::other("no terminal came from the container"))?;
        give(&terminal, uid)?;
        Ok(terminal)
    }
}

/// The container's user must be able to open its own terminal, which was made as root.
fn give(terminal: &OwnedFd, uid: u32) -> io::Result<()> {
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(terminal, flags)?;
    Ok(rustix::fs::fchown(slave, Some(rustix::fs::Uid::from_raw(uid)), None)?)
}

/// Sets the size of a terminal.
pub(crate) fn resize(terminal: impl std::os::fd::AsFd, columns: u16, rows: u16) -> io::Result<()> {
    let size = rustix::termios::Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(terminal, size)?)
}
