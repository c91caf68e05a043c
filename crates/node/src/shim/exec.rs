//! One command inside a running container. The agent holds its streams; this process only waits.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::console::Console;
use super::container::{self, Limits, Stdio};
use super::process::Identity;
use super::run::take_control_socket;
use super::wire::{self, Failure, Report, Session};

/// Runs the session of `directory`. The end of the control socket ends the command.
pub(super) fn run(directory: &Path) -> io::Result<()> {
    let control = take_control_socket()?;
    rustix::process::setsid()?;
    rustix::thread::set_name(c"knarr-exec")?;
    let mut buffer = [0; 16];
    let (_, descriptors) = wire::receive(&control, &mut buffer)?;
    std::env::set_current_dir(directory)?;
    let (pid, terminal) = match start(directory, descriptors) {
        Ok(started) => started,
        Err(failure) => return Report::Failed(failure).send(&control, &[]),
    };
    let identity = u32::try_from(pid.as_raw_nonzero().get()).ok().and_then(Identity::of);
    let identity = identity.ok_or_else(|| io::Error::other("cannot read the command's process"))?;
    let passed: Vec<_> = terminal.iter().map(|terminal| terminal.as_fd()).collect();
    Report::Started(identity).send(&control, &passed)?;
    drop(terminal);
    let code = wait(pid, &control)?;
    match Report::Exited(code).send(&control, &[]) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()), // nobody wants to know
        other => other,
    }
}

fn start(directory: &Path, descriptors: Vec<OwnedFd>) -> Result<(Pid, Option<OwnedFd>), Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Failure::create(format!("cannot {what}: {error}"))
    };
    let session = std::fs::read(wire::SESSION).map_err(failed("read the session"))?;
    let session: Session =
        serde_json::from_slice(&session).map_err(|error| failed("read the session")(error.into()))?;
    let filters = match std::fs::read(session.container.join(wire::FILTER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(failed("read the seccomp filter"))?,
    };
    let limits = Limits { filters: &filters, capabilities: session.capabilities, size: session.size };
    let mut descriptors = descriptors.into_iter();
    let mut next = |wanted: bool| if wanted { descriptors.next() } else { None };
    let stdio = Stdio { stdin: next(session.stdin), stdout: next(session.stdout), stderr: next(session.stderr) };
    let bundle = &session.container;
    let _turn = Turn::take(bundle).map_err(failed("wait for our turn"))?;
    let (pid, terminal) = if session.tty {
        let console = Console::listen(directory).map_err(failed("make the console socket"))?;
        let pid = container::exec(bundle, directory, Stdio::default(), Some(console.path().to_owned()), &limits)?;
        let terminal = console.terminal(session.uid).map_err(failed("receive the terminal"))?;
        (pid, Some(terminal))
    } else {
        (container::exec(bundle, directory, stdio, None, &limits)?, None)
    };
    let pid = Pid::from_raw(pid).ok_or_else(|| Failure::create("the command has no process"))?;
    Ok((pid, terminal))
}

/// libcontainer leaves a socket behind for every command, under a random name. Commands of one
/// container start one after the other, so that each can remove all that is there.
struct Turn<'a> {
    _lock: std::fs::File,
    bundle: &'a Path,
}

impl<'a> Turn<'a> {
    fn take(bundle: &'a Path) -> io::Result<Self> {
        let lock = std::fs::File::options().create(true).truncate(false).write(true).open(bundle.join("exec.lock"))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(Self { _lock: lock, bundle })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Ok(entries) = std::fs::read_dir(self.bundle.join(wire::STATE).join(wire::CONTAINER)) else { return };
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with("tenant-")
                && let Err(error) = std::fs::remove_file(entry.path())
            {
                eprintln!("knarr shim: cannot remove {}: {error}", entry.path().display());
            }
        }
    }
}

/// The command's exit code; kills it when the agent hangs up.
fn wait(pid: Pid, control: &OwnedFd) -> io::Result<i32> {
    let process = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let mut events = [PollFd::new(&process, PollFlags::IN), PollFd::new(control, PollFlags::IN)];
        match poll(&mut events, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        if !events[1].revents().is_empty() {
            match rustix::process::pidfd_send_signal(&process, Signal::KILL) {
                Ok(()) | Err(rustix::io::Errno::SRCH) => break,
                Err(error) => return Err(error.into()),
            }
        }
        if !events[0].revents().is_empty() {
            break;
        }
    }
    let status = rustix::process::waitpid(Some(pid), WaitOptions::empty())?;
    Ok(status.map_or(255, |(_, status)| exit_code(status)))
}

/// The code as shells and Kubernetes count: 128 + the signal when one ended the process.
pub(super) fn exit_code(status: rustix::process::WaitStatus) -> i32 {
    status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal)).unwrap_or(255)
}
