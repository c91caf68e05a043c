//! What a cluster costs when nobody uses it: the guestbook is deployed and left alone.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};

use crate::cluster::{Cluster, run};
use crate::process;
use crate::report::Report;

/// How long the cluster is left alone before and while it is measured.
const SETTLE: Duration = Duration::from_secs(12);
const WINDOW: Duration = Duration::from_secs(10);

pub(crate) fn measure(_: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    run(&mut Cluster::kubectl(["apply", "-f", "examples/guestbook/guestbook.yaml"]))?;
    for name in ["deployment/redis", "deployment/guestbook"] {
        let mut rollout = Cluster::kubectl(["-n", "guestbook", "rollout", "status", name, "--timeout=60s"]);
        run(&mut rollout).with_context(Cluster::log_tail)?;
    }
    thread::sleep(SETTLE);
    let pid = Cluster::pid()?;
    let before = process::work(pid)?;
    thread::sleep(WINDOW);
    let after = process::work(pid)?;
    let memory = process::memory(pid)?;

    report.value("idle.memory", "idle with the guestbook: resident memory", megabytes(memory.resident));
    report.fact("of it not from files", format!("{:.1} MB", megabytes(memory.anonymous)));
    let state = Cluster::run_dir();
    let shims =
        process::find(|words| words.get(1) == Some(&"shim") && words.iter().any(|word| word.starts_with(&state)))?;
    ensure!(!shims.is_empty(), "no shim was found");
    let sizes = shims.iter().map(|shim| process::private_dirty(*shim)).collect::<anyhow::Result<Vec<_>>>()?;
    let largest = sizes.into_iter().max().unwrap_or_default();
    report.value("idle.shim", format!("private memory of the largest of {} shims", shims.len()), megabytes(largest));
    let nanos = after.nanos.saturating_sub(before.nanos);
    report.value("idle.cpu", "processor time while idle, of one core", nanos as f64 / WINDOW.as_nanos() as f64 * 100.0);
    let turns = after.turns.saturating_sub(before.turns);
    report.fact("times a thread woke up", format!("{:.1} /s", turns as f64 / WINDOW.as_secs_f64()));
    report.fact("threads", after.threads.to_string());
    Ok(())
}

/// Bytes as megabytes of 2^20.
pub(crate) fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
