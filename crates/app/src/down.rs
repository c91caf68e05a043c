//! `knarr down`: stops the process, then the pods it left running, then takes away what is left
//! of the cluster on this machine: mounts, links, nf_tables, cgroups.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::lock;
use crate::meant::Place;

/// How long the process may take before it is killed.
const PATIENCE: Duration = Duration::from_secs(90);

/// Stops the cluster of `place`; with `purge` deletes its data too.
pub(crate) async fn run(place: &Place, purge: bool) -> anyhow::Result<ExitCode> {
    if !rustix::process::geteuid().is_root() {
        bail!("knarr down needs root; run it with sudo");
    }
    if !place.data_dir.exists() && !place.run_dir.exists() {
        println!("cluster {} is not on this machine; nothing to do", place.name);
        return Ok(ExitCode::SUCCESS);
    }
    if purge && place.data_dir.exists() && !ours(place) {
        bail!(
            "{} does not look like the data directory of a cluster (no cluster.json in it); nothing was deleted",
            place.data_dir.display()
        );
    }
    if let Some(pid) = lock::holder(&place.lock()) {
        stop(pid).with_context(|| format!("cannot stop process {pid} of cluster {}", place.name))?;
        println!("✓ process {pid} stopped");
    }
    let _lock = place.data_dir.exists().then(|| lock::take(&place.lock())).transpose()?;
    if purge {
        node::forget_logs(&place.run_dir, &place.data_dir, &place.name);
    }
    node::purge(&place.run_dir, &place.data_dir, &place.name).await.context("cannot stop the pods")?;
    println!("✓ pods stopped");
    net::purge(&place.name).await.context("cannot remove the pod network")?;
    println!("✓ network removed");
    remove(&place.run_dir)?;
    if purge {
        remove(&place.data_dir)?;
        println!("✓ data removed: {}", place.data_dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// True when the directory was made by us: never delete a directory somebody named by mistake.
fn ours(place: &Place) -> bool {
    place.data_dir.join("cluster.json").exists() || place.lock().exists()
}

fn stop(pid: i32) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid).context("not a process id")?;
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for (signal, patience) in [(Signal::TERM, PATIENCE), (Signal::KILL, Duration::from_secs(10))] {
        match pidfd_send_signal(&process, signal) {
            Ok(()) => {}
            Err(rustix::io::Errno::SRCH) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let timeout = Timespec { tv_sec: i64::try_from(patience.as_secs())?, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timeout))? > 0 {
            return Ok(());
        }
    }
    bail!("it does not end, even when killed")
}

fn remove(dir: &std::path::Path) -> anyhow::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot delete {}", dir.display()))
        }
        _ => Ok(()),
    }
}
