//! After a restart of the agent: what lives, what ended meanwhile, what is lost.
//!
//! Invariant: a free lock means a dead shim. Its container may live on without anybody to see its
//! end, so it is killed and reported as lost; a shim that never got to start its container leaves
//! nothing worth reporting.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use tokio::sync::watch;

use super::spec::{ContainerSpec, Sandbox};
use super::status::{Adopted, Container, Error, Exit, State};
use super::{Entry, Inner, Places, Runtime, blocking, start};
use crate::cgroup::{self, Group, Tree};
use crate::sandbox;
use crate::shim::process::Identity;
use crate::shim::wire;

const BOOT: &str = "boot-id";

/// One container directory, judged.
enum Found {
    Running {
        container: Container,
        process: Identity,
        shim: OwnedFd,
    },
    Ended {
        container: Container,
        process: Identity,
        exit: Exit,
    },
    /// Never started; already cleaned up.
    Nothing,
}

pub(super) async fn adopt(inner: &Arc<Inner>) -> Result<Adopted, Error> {
    let scanning = Arc::clone(inner);
    let (sandboxes, found) = blocking(move || {
        let run_dir = &scanning.config.run_dir;
        forget_before_boot(run_dir).map_err(Error::io(format!("clean {}", run_dir.display())))?;
        let sandboxes = load_sandboxes(&scanning);
        scanning.sandboxes.lock().extend(sandboxes.iter().map(|s| (s.spec.pod.uid.clone(), s.clone())));
        let mut found = Vec::new();
        for id in names(&run_dir.join("containers")) {
            match judge(&scanning, &id) {
                Ok(judged) => found.push(judged),
                Err(error) => tracing::error!(container = id, error = base::error::chain(&error), "cannot adopt"),
            }
        }
        sweep(&scanning);
        Ok((sandboxes, found))
    })
    .await?;
    let runtime = Runtime { inner: Arc::clone(inner) };
    let mut containers = Vec::new();
    for one in found {
        match one {
            Found::Running { container, process, shim } => containers.push(runtime.keep(container, process, shim)),
            Found::Ended { container, process, exit } => {
                let entry = Entry { container: container.clone(), process, exit: watch::channel(Some(exit)).1 };
                inner.containers.lock().insert(container.spec.id.clone(), entry);
                containers.push(container);
            }
            Found::Nothing => {}
        }
    }
    Ok(Adopted { sandboxes, containers })
}

/// On a run directory that survives a reboot, everything noted before it is void.
fn forget_before_boot(run_dir: &Path) -> io::Result<()> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let noted = run_dir.join(BOOT);
    if fs::read_to_string(&noted).is_ok_and(|noted| noted != boot) {
        for dir in ["pods", "containers"].map(|name| run_dir.join(name)) {
            fs::remove_dir_all(&dir)?;
            fs::create_dir_all(&dir)?;
        }
    }
    wire::write_whole(&noted, boot.as_bytes())
}

fn load_sandboxes(inner: &Inner) -> Vec<Sandbox> {
    let mut sandboxes = Vec::new();
    for uid in names(&inner.config.run_dir.join("pods")) {
        let dir = sandbox::directory(&inner.config.run_dir, &uid);
        match sandbox::load(&dir) {
            Some(sandbox) => sandboxes.push(sandbox),
            None => {
                if let Err(error) = sandbox::clear(&dir) {
                    tracing::warn!(%error, pod = uid, "an unfinished sandbox is left");
                }
            }
        }
    }
    sandboxes
}

fn judge(inner: &Inner, id: &str) -> Result<Found, Error> {
    let places = inner.places(id);
    let spec = fs::read(places.state.join(start::SPEC)).ok();
    let spec: Option<ContainerSpec> = spec.and_then(|text| serde_json::from_slice(&text).ok());
    let group = spec.as_ref().map(|spec| group_of(inner, spec));
    let noted = spec.and_then(|spec| start::started(&places, spec).ok());
    let (Some((mut container, shim)), Some(group)) = (noted, &group) else {
        // the agent died between making the directory and hearing of the start
        end_unfinished(&places);
        if let Some(group) = &group {
            inner.tree.remove(group)?;
        }
        places.remove().map_err(Error::io(format!("remove {}", places.state.display())))?;
        return Ok(Found::Nothing);
    };
    let process = Identity { pid: container.pid, start: started_at(&places).unwrap_or_default() };
    if shim_lives(&places)
        && let Some(handle) = shim.open()
    {
        return Ok(Found::Running { container, process, shim: handle });
    }
    let exit = match read_exit(&places) {
        Some(exit) => exit,
        None => {
            let (exit, killed) = give_up(&inner.tree, group, &places);
            killed?;
            exit
        }
    };
    container.state = State::Exited(exit.clone());
    Ok(Found::Ended { container, process, exit })
}

fn started_at(places: &Places) -> Option<u64> {
    let text = fs::read(places.state.join(wire::STARTED)).ok()?;
    Some(serde_json::from_slice::<wire::Started>(&text).ok()?.container.start)
}

fn group_of(inner: &Inner, spec: &ContainerSpec) -> Group {
    let qos = inner.sandboxes.lock().get(&spec.pod.uid).map(|sandbox| sandbox.spec.qos).unwrap_or_default();
    inner.tree.pod(qos, &spec.pod.uid).child(&spec.id)
}

/// A living shim holds its lock.
fn shim_lives(places: &Places) -> bool {
    let Ok(lock) = File::open(places.state.join(wire::LOCK)) else { return false };
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err()
}

/// Kills a shim that holds the lock but has not started its container.
fn end_unfinished(places: &Places) {
    super::purge::end_shims(|directory| directory == places.state);
}

pub(super) fn read_exit(places: &Places) -> Option<Exit> {
    let text = fs::read(places.state.join(wire::EXIT)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The exit of a container nobody watched.
pub(super) fn unknown_exit() -> Exit {
    Exit { code: 137, signal: None, oom: false, finished: Timestamp::now(), lost: true }
}

/// Kills what a dead shim left and notes the loss.
pub(super) fn give_up(tree: &Tree, group: &Group, places: &Places) -> (Exit, Result<(), cgroup::Error>) {
    let exit = unknown_exit();
    let killed = tree.kill(group);
    let noted = serde_json::to_vec(&exit).map_err(io::Error::from);
    if let Err(error) = noted.and_then(|text| wire::write_whole(&places.state.join(wire::EXIT), &text)) {
        tracing::warn!(%error, "cannot note that a container was lost");
    }
    (exit, killed)
}

/// Own layers and cgroups that belong to nothing any more, as after a reboot.
fn sweep(inner: &Inner) {
    for id in names(&inner.config.data_dir.join("containers")) {
        let places = inner.places(&id);
        if !places.state.exists()
            && let Err(error) = places.remove()
        {
            tracing::warn!(%error, container = id, "the layer of a forgotten container is left");
        }
    }
    let known: BTreeSet<String> = inner.sandboxes.lock().keys().cloned().collect();
    for (group, uid) in inner.tree.pods() {
        if !known.contains(&uid)
            && let Err(error) = inner.tree.remove(&group)
        {
            tracing::warn!(error = base::error::chain(&error), pod = uid, "the cgroup of a forgotten pod is left");
        }
    }
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}
