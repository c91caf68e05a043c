//! Commands inside a container: a short-lived shim each, the streams directly between the agent
//! and the command.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::net::unix::pipe;

use super::session::{Control, Kind, Session, Terminal};
use super::spec::ExecSpec;
use super::start::{self, CONFIG, Spawned};
use super::status::{ExecError, State};
use super::{Inner, ended};
use crate::shim::wire::{self, Cause, Plan, Report};

/// Our ends and the command's ends of its pipes.
struct Pipes {
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    theirs: Vec<OwnedFd>,
}

pub(super) async fn exec(inner: &Arc<Inner>, id: &str, spec: ExecSpec) -> Result<Session, ExecError> {
    let entry = inner.entry(id).map_err(|_| ExecError::NotRunning(id.to_owned()))?;
    if entry.container.state != State::Running {
        return Err(ExecError::NotRunning(id.to_owned()));
    }
    let directory = inner.places(id).state.join(format!("exec-{}", uuid::Uuid::new_v4().simple()));
    let (shared, made) = (Arc::clone(inner), directory.clone());
    let uid = entry.container.uid;
    let (container, tty) = (inner.places(id).state, spec.tty);
    let prepare = move || prepare(&shared, &container, &made, &spec, uid);
    let prepared = tokio::task::spawn_blocking(prepare).await.unwrap_or_else(|error| Err(io::Error::other(error)));
    let session = match prepared {
        Ok((pipes, spawned)) => begin(inner, pipes, spawned, tty).await,
        Err(error) => Err(ExecError::Failed(format!("cannot start the command: {error}"))),
    };
    if let Err(error) = fs::remove_dir_all(&directory) {
        tracing::warn!(%error, directory = %directory.display(), "the directory of a command is left");
    }
    session
}

fn prepare(
    inner: &Inner,
    container: &Path,
    directory: &PathBuf,
    spec: &ExecSpec,
    uid: u32,
) -> io::Result<(Pipes, Spawned)> {
    fs::create_dir(directory)?;
    let plan: Plan = serde_json::from_slice(&fs::read(container.join(wire::PLAN))?)?;
    let config: Value = serde_json::from_slice(&fs::read(container.join(CONFIG))?)?;
    fs::write(directory.join(wire::PROCESS), serde_json::to_vec(&process(&config["process"], spec))?)?;
    let session = wire::Session {
        container: container.to_owned(),
        tty: spec.tty,
        stdin: spec.stdin && !spec.tty,
        stdout: spec.stdout && !spec.tty,
        stderr: spec.stderr && !spec.tty,
        capabilities: plan.capabilities,
        uid,
        size: spec.size.map(|size| (size.columns, size.rows)),
    };
    fs::write(directory.join(wire::SESSION), serde_json::to_vec(&session)?)?;
    let pipes = Pipes::new(&session)?;
    let spawned = start::spawn(&inner.config.shim, "exec", directory)?;
    Ok((pipes, spawned))
}

/// The container's own process with another command line.
fn process(own: &Value, spec: &ExecSpec) -> Value {
    let mut process = own.clone();
    process["args"] = json!(spec.args);
    process["terminal"] = json!(spec.tty);
    let mut env: Vec<String> = serde_json::from_value(own["env"].clone()).unwrap_or_default();
    let mut set = |name: &str, value: &str| {
        env.retain(|entry| entry.split('=').next() != Some(name));
        env.push(format!("{name}={value}"));
    };
    if spec.tty {
        set("TERM", "xterm");
    }
    spec.env.iter().for_each(|(name, value)| set(name, value));
    process["env"] = json!(env);
    process
}

impl Pipes {
    fn new(session: &wire::Session) -> io::Result<Self> {
        let mut pipes = Self { stdin: None, stdout: None, stderr: None, theirs: Vec::new() };
        let pair = || -> io::Result<(OwnedFd, OwnedFd)> {
            let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            // the command may open it again by /dev/stdout
            rustix::fs::fchown(&read, Some(rustix::fs::Uid::from_raw(session.uid)), None)?;
            Ok((read, write))
        };
        if session.stdin {
            let (read, write) = pair()?;
            pipes.stdin = Some(pipe::Sender::from_owned_fd(write)?);
            pipes.theirs.push(read);
        }
        if session.stdout {
            let (read, write) = pair()?;
            pipes.stdout = Some(pipe::Receiver::from_owned_fd(read)?);
            pipes.theirs.push(write);
        }
        if session.stderr {
            let (read, write) = pair()?;
            pipes.stderr = Some(pipe::Receiver::from_owned_fd(read)?);
            pipes.theirs.push(write);
        }
        Ok(pipes)
    }
}

async fn begin(inner: &Inner, mut pipes: Pipes, spawned: Spawned, tty: bool) -> Result<Session, ExecError> {
    let Spawned { control, process } = spawned;
    inner.children.spawn("exec shim", ended(process));
    let failed = |error: io::Error| ExecError::Failed(format!("cannot start the command: {error}"));
    let theirs: Vec<_> = pipes.theirs.iter().map(|fd| fd.as_fd()).collect();
    wire::send(&control, b"go", &theirs).map_err(failed)?;
    drop(theirs);
    pipes.theirs.clear();
    let (report, mut descriptors) = start::next_report(&control).await.map_err(failed)?;
    match report {
        Report::Started(_) => {}
        Report::Failed(failure) => {
            return Err(match failure.kind {
                Cause::NotFound => ExecError::NotFound(failure.message),
                Cause::PermissionDenied => ExecError::PermissionDenied(failure.message),
                Cause::Exec | Cause::Create => ExecError::Failed(failure.message),
            });
        }
        Report::Exited(_) => return Err(ExecError::Failed("the shim answered out of turn".into())),
    }
    if !tty {
        return Ok(Session {
            stdin: pipes.stdin.map(|pipe| Box::new(pipe) as _),
            stdout: pipes.stdout.map(|pipe| Box::new(pipe) as _),
            stderr: pipes.stderr.map(|pipe| Box::new(pipe) as _),
            control: Control { kind: Kind::Exec { shim: control, terminal: None, code: None } },
        });
    }
    let master = descriptors.pop().ok_or_else(|| ExecError::Failed("no terminal came from the shim".into()))?;
    let terminal = Terminal::new(master).map_err(failed)?;
    Ok(Session {
        stdin: Some(Box::new(terminal.clone())),
        stdout: Some(Box::new(terminal.clone())),
        stderr: None,
        control: Control { kind: Kind::Exec { shim: control, terminal: Some(terminal), code: None } },
    })
}
