//! How long `knarr up` takes from an empty data directory.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::client::LIMIT;
use crate::cluster::Cluster;
use crate::report::{Report, median};

/// Starts of which the median counts.
pub(crate) const ROUNDS: usize = 3;

const POLL: Duration = Duration::from_millis(2);

/// Starts `rounds` clusters one after the other; the last one stays.
pub(crate) fn measure(binary: &Path, rounds: usize, report: &mut Report) -> anyhow::Result<Cluster> {
    let (mut readies, mut readyzs) = (Vec::new(), Vec::new());
    let mut last = None;
    for _ in 0..rounds {
        drop(last.take()); // purges it
        let cluster = Cluster::new(binary);
        let (ready, readyz) = start(&cluster)?;
        readies.push(ready);
        readyzs.push(readyz);
        last = Some(cluster);
    }
    report.time("start.ready", "knarr up, from nothing to ready", median(&readies).unwrap_or_default());
    report.time("start.readyz", "knarr up, from nothing to /readyz of the API", median(&readyzs).unwrap_or_default());
    last.context("no rounds")
}

fn start(cluster: &Cluster) -> anyhow::Result<(Duration, Duration)> {
    let begun = Instant::now();
    let mut child = cluster.up().spawn().context("cannot start knarr")?;
    thread::scope(|scope| {
        let answered = scope.spawn(|| readyz(begun));
        let status = child.wait()?;
        let ready = begun.elapsed();
        ensure!(status.success(), "knarr up failed; {}", Cluster::log_tail());
        let readyz = answered.join().expect("invariant: polling does not panic");
        Ok((ready, readyz.with_context(Cluster::log_tail)?))
    })
}

/// When /readyz first answered.
fn readyz(begun: Instant) -> anyhow::Result<Duration> {
    loop {
        match Cluster::client().and_then(|client| client.connect()?.get("/readyz")) {
            Ok(_) => return Ok(begun.elapsed()),
            Err(error) if begun.elapsed() > LIMIT => return Err(error).context("/readyz does not answer"),
            Err(_) => thread::sleep(POLL),
        }
    }
}
