//! A container's life, from its start to the exit file.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::Path;

use jiff::Timestamp;

use super::console::Console;
use super::container::{self, Limits, Stdio};
use super::log::Log;
use super::monitor::{Monitor, Streams};
use super::process::Identity;
use super::wire::{self, Failure, Plan, Report, Started};

/// Runs the container of `directory` until it ends.
pub(super) fn run(directory: &Path) -> io::Result<()> {
    let control = take_control_socket()?;
    detach()?;
    std::env::set_current_dir(directory)?;
    let _lock = lock()?;
    let (monitor, identity) = match start(directory) {
        Ok(started) => started,
        Err(failure) => {
            Report::Failed(failure).send(&control, &[])?;
            return Ok(());
        }
    };
    if let Err(error) = Report::Started(identity).send(&control, &[]) {
        eprintln!("knarr shim: the agent is gone: {error}"); // the next one will find us
    }
    drop(control);
    // SAFETY: gives memory used during the start back to the kernel; nothing else runs
    unsafe { libc::malloc_trim(0) };
    let exit = monitor.run()?;
    wire::write_whole(Path::new(wire::EXIT), &serde_json::to_vec(&exit)?)
}

fn start(directory: &Path) -> Result<(Monitor, Identity), Failure> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: io::Error| Failure::create(format!("cannot {what}: {error}"))
    };
    let plan = std::fs::read(wire::PLAN).map_err(failed("read the container's plan"))?;
    let plan: Plan =
        serde_json::from_slice(&plan).map_err(|error| failed("read the container's plan")(error.into()))?;
    let filters = match std::fs::read(wire::FILTER) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        other => other.map_err(failed("read the seccomp filter"))?,
    };
    let log = Log::open(&plan.log).map_err(failed("open the log"))?;
    let listener = std::os::unix::net::UnixListener::bind(wire::SOCKET).map_err(failed("make the shim socket"))?;
    let limits = Limits { filters: &filters, capabilities: plan.capabilities, size: None };
    let score = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    let (pid, streams) = if plan.tty {
        let console = Console::listen(directory).map_err(failed("make the console socket"))?;
        let pid = container::start(directory, Stdio::default(), Some(console.path().to_owned()), &limits)?;
        let terminal = console.terminal(plan.uid).map_err(failed("receive the terminal"))?;
        (pid, Streams::terminal(terminal))
    } else {
        let (stdio, streams) = Streams::pipes(plan.stdin, plan.uid).map_err(failed("make pipes"))?;
        (container::start(directory, stdio, None, &limits)?, streams)
    };
    restore_oom_score(&score);
    let pid_of = |pid: i32| u32::try_from(pid).ok().and_then(Identity::of);
    let own = Identity::of(std::process::id()).ok_or_else(|| Failure::create("cannot read our own process"))?;
    // a program may end before it can be looked at; as our unreaped child it keeps its number
    let identity = pid_of(pid).ok_or_else(|| Failure::create("cannot read the container's process"))?;
    let started = Started { container: identity, shim: own, at: Timestamp::now() };
    let started = serde_json::to_vec(&started).map_err(|error| failed("note the start")(error.into()))?;
    wire::write_whole(Path::new(wire::STARTED), &started).map_err(failed("note the start"))?;
    let monitor = Monitor::new(pid, streams, log, listener, plan).map_err(failed("watch the container"))?;
    Ok((monitor, identity))
}

/// The agent's socket is descriptor 0; the container must not get it.
pub(super) fn take_control_socket() -> io::Result<OwnedFd> {
    // SAFETY: descriptor 0 is open (it was passed to us) and stays open
    let stdin = unsafe { std::os::fd::BorrowedFd::borrow_raw(0) };
    let control = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    // SAFETY: owned only for the duration of the call, then forgotten: 0 stays open
    let mut zero = unsafe { OwnedFd::from_raw_fd(0) };
    let replaced = rustix::io::dup2(null.as_fd(), &mut zero);
    std::mem::forget(zero);
    replaced?;
    debug_assert!(control.as_raw_fd() > 2, "control socket among the standard descriptors");
    Ok(control)
}

/// Leaves the agent: own session, orphans come to us, nothing inherited matters.
fn detach() -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    rustix::thread::set_name(c"knarr-shim")?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    Ok(())
}

/// Held until the process ends; a free lock tells the agent that this shim is dead.
fn lock() -> io::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(wire::LOCK)?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    Ok(file)
}

/// libcontainer gives the container's score to the caller, too; the shim keeps its own.
fn restore_oom_score(score: &str) {
    if let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.trim()) {
        eprintln!("knarr shim: cannot restore the oom score: {error}");
    }
}
