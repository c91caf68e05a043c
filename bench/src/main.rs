//! `knarr-bench BINARY [PART..]`: measures a release binary of Knarr against `bench/budget.toml`.
//!
//! Everything is measured from outside, on real clusters in a network namespace of their own: by
//! kubectl, by clients on open connections, and from `/proc`. Targets are goals: the exit code
//! tells whether the cluster worked, not whether it was fast. Nothing here uses our crates, and
//! threads that block do: the clients should cost less than what they measure.

mod budget;
mod client;
mod cluster;
mod etcd;
mod front;
mod http2;
mod idle;
mod objects;
mod process;
mod reads;
mod report;
mod scheduling;
mod serving;
mod start;
mod watch;
mod writes;

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::report::Report;

/// Says that the process is already in its network namespace.
const INSIDE: &str = "--inside";

/// What can be measured, in order.
const PARTS: &[&str] = &["start", "idle", "serving", "objects", "reads", "writes", "scheduling", "front"];

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == INSIDE) {
        return measure(&arguments[1..]);
    }
    let Some(binary) = arguments.first_mut() else { bail!("usage: knarr-bench BINARY [{}]..", PARTS.join("|")) };
    let path = std::fs::canonicalize(&*binary).with_context(|| format!("cannot find {binary}; build it first"))?;
    *binary = path.display().to_string();
    if let Some(unknown) = arguments.iter().skip(1).find(|part| !PARTS.contains(&part.as_str())) {
        bail!("no part is called {unknown}; there are {}", PARTS.join(", "));
    }
    cluster::in_namespace(&path, INSIDE, &arguments)
}

/// Runs the wanted parts on one cluster and prints what came out.
fn measure(arguments: &[String]) -> anyhow::Result<()> {
    let (binary, parts) = arguments.split_first().context("no binary")?;
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let mut report = Report::new(budget::read()?);

    let rounds = if wanted("start") { start::ROUNDS } else { 1 };
    let cluster = start::measure(Path::new(binary), rounds, &mut report)?;
    cluster.load_images()?;
    if wanted("idle") {
        idle::measure(&cluster, &mut report)?;
    }
    if wanted("serving") {
        serving::measure(&cluster, &mut report)?;
    }
    if wanted("objects") {
        objects::measure(&cluster, &mut report)?;
    }
    if wanted("reads") {
        reads::measure(&cluster, &mut report)?;
    }
    if wanted("writes") {
        writes::measure(&cluster, &mut report)?;
    }
    drop(cluster);
    if wanted("scheduling") {
        scheduling::measure(Path::new(binary), &mut report)?;
    }
    if wanted("front") {
        front::measure(Path::new(binary), &mut report)?;
    }
    print!("\n{report}");
    Ok(())
}
