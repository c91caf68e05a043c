//! `knarr up --detach`: the cluster runs in its own session, the parent shows its progress and
//! ends when it serves or fails.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, bail};

use crate::failure;
use crate::meant::Place;
use crate::progress::{Event, Progress, Style};

/// The flag that tells the detached process where to write its progress.
pub(crate) const FLAG: &str = "progress-fd";

/// Starts `knarr up` again without `--detach` and follows it until it is ready.
pub(crate) fn up(place: &Place, arguments: &[String], progress: &Progress) -> anyhow::Result<ExitCode> {
    if let Some(pid) = crate::lock::holder(&place.lock()) {
        bail!("cluster {} runs already as process {pid}; see it with knarr status", place.name);
    }
    std::fs::create_dir_all(&place.data_dir).with_context(|| format!("cannot make {}", place.data_dir.display()))?;
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(place.log())
        .with_context(|| format!("cannot write {}", place.log().display()))?;
    let (read, write) = rustix::pipe::pipe().context("cannot make a pipe")?; // inherited on purpose: no CLOEXEC
    rustix::io::fcntl_setfd(&read, rustix::io::FdFlags::CLOEXEC)?;
    let mut command = Command::new(std::env::current_exe().context("cannot find our own executable")?);
    command.arg0("knarr").arg("up").arg(format!("--{FLAG}={}", write.as_raw_fd())).args(arguments);
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // SAFETY: setsid is async-signal-safe and touches nothing of ours.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(Into::into)) };
    command.spawn().context("cannot start the cluster's process")?;
    drop(write);
    for line in BufReader::new(std::fs::File::from(read)).lines() {
        let event: Event = serde_json::from_str(&line?).context("the cluster's process spoke nonsense")?;
        progress.show(&event);
        match event {
            Event::Ready { .. } => return Ok(ExitCode::SUCCESS),
            Event::Failed { .. } => return Ok(ExitCode::from(failure::FAILED)),
            _ => {}
        }
    }
    bail!("the cluster's process ended while starting; its log is {}", place.log().display())
}

/// Progress written to the parent's pipe.
pub(crate) fn to_parent(fd: i32) -> Progress {
    // SAFETY: the parent passed this descriptor to us alone, by number, for this one use.
    let pipe = unsafe { OwnedFd::from_raw_fd(fd) };
    if let Err(error) = rustix::io::fcntl_setfd(&pipe, rustix::io::FdFlags::CLOEXEC) {
        tracing::warn!("cannot keep the progress pipe from children: {error}");
    }
    Progress::new(Style::Json, Box::new(std::fs::File::from(pipe)))
}
