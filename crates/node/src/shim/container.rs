//! The only calls of libcontainer.
//!
//! Invariant: the bundle's `config.json` and an exec's `process.json` are complete; libcontainer's
//! own defaults (no-new-privileges on, user 0, few open files) are never relied on.

use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;

use super::executor::{Confined, failure_from};
use super::wire::{CONTAINER, Failure, PROCESS, STATE};

/// What the program's descriptors 0, 1 and 2 become; the shim's own when absent.
#[derive(Default)]
pub(super) struct Stdio {
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// What confines the program.
pub(super) struct Limits<'a> {
    /// Compiled seccomp programs, or nothing.
    pub(super) filters: &'a [u8],
    pub(super) capabilities: u64,
    /// Initial size of the terminal: columns and rows.
    pub(super) size: Option<(u16, u16)>,
}

/// Creates and starts the container of `bundle`; its program runs when this returns its pid.
pub(super) fn start(
    bundle: &Path,
    stdio: Stdio,
    console: Option<PathBuf>,
    limits: &Limits<'_>,
) -> Result<i32, Failure> {
    let (report, confined) = Report::new(limits)?;
    let create = || -> Result<i32, LibcontainerError> {
        let mut container =
            builder(bundle, stdio, console, confined)?.as_init(bundle).with_systemd(false).with_detach(true).build()?;
        let pid = container.pid().map_or(0, |pid| pid.as_raw());
        container.start()?;
        Ok(pid)
    };
    report.conclude(create())
}

/// Runs the command of `session/process.json` in the running container of `bundle`.
pub(super) fn exec(
    bundle: &Path,
    session: &Path,
    stdio: Stdio,
    console: Option<PathBuf>,
    limits: &Limits<'_>,
) -> Result<i32, Failure> {
    let (report, confined) = Report::new(limits)?;
    let execute = || -> Result<i32, LibcontainerError> {
        let pid = builder(bundle, stdio, console, confined)?
            .as_tenant()
            .with_process(Some(session.join(PROCESS)))
            .with_detach(true)
            .build()?;
        Ok(pid.as_raw())
    };
    report.conclude(execute())
}

fn builder(
    bundle: &Path,
    stdio: Stdio,
    console: Option<PathBuf>,
    confined: Confined,
) -> Result<ContainerBuilder, LibcontainerError> {
    let mut builder = ContainerBuilder::new(CONTAINER.to_owned(), SyscallType::default())
        .with_root_path(bundle.join(STATE))?
        .with_console_socket(console)
        .with_executor(confined);
    if let Some(stdin) = stdio.stdin {
        builder = builder.with_stdin(stdin);
    }
    if let Some(stdout) = stdio.stdout {
        builder = builder.with_stdout(stdout);
    }
    if let Some(stderr) = stdio.stderr {
        builder = builder.with_stderr(stderr);
    }
    Ok(builder)
}

/// The pipe on which the executor, in another process, tells why it did not run the program.
struct Report {
    read: OwnedFd,
    write: OwnedFd,
}

impl Report {
    fn new(limits: &Limits<'_>) -> Result<(Self, Confined), Failure> {
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| Failure::create(format!("cannot make a pipe: {error}")))?;
        let confined = Confined::new(limits, write.as_raw_fd())
            .ok_or_else(|| Failure::create("the compiled seccomp filter is damaged"))?;
        Ok((Self { read, write }, confined))
    }

    fn conclude(self, result: Result<i32, LibcontainerError>) -> Result<i32, Failure> {
        drop(self.write);
        let mut text = Vec::new();
        let mut read = std::fs::File::from(self.read);
        if let Err(error) = &result {
            // a half-made container may still hold the other end: take what is there
            let unfinished = rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK).is_err();
            if unfinished || (read.read_to_end(&mut text).is_err() && text.is_empty()) || text.is_empty() {
                return Err(Failure::create(chain(error)));
            }
        } else if let Err(error) = read.read_to_end(&mut text) {
            return Err(Failure::create(format!("cannot learn whether the program runs: {error}")));
        }
        match (failure_from(&text), result) {
            (Some(failure), _) => Err(failure),
            (None, result) => result.map_err(|error| Failure::create(chain(&error))),
        }
    }
}

/// The message of an error and of its causes, each said once.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
