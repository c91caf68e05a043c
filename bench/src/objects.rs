//! Many small objects: how fast they are written and listed, and what they cost in memory.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::Client;
use crate::cluster::{Cluster, run};
use crate::report::{Report, median};
use crate::{idle, process};

const NAMESPACE: &str = "bench-objects";
const PATH: &str = "/api/v1/namespaces/bench-objects/configmaps";
const COUNT: usize = 10_000;
/// Written before the first look at the memory, so that what every kind costs once is not counted.
const WARM: usize = 500;
const AT_ONCE: usize = 64;
const LISTS: usize = 5;
const SETTLE: Duration = Duration::from_secs(12);

pub(crate) fn measure(_: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    run(&mut Cluster::kubectl(["create", "namespace", NAMESPACE]))?;
    let client = Cluster::client()?;
    let pid = Cluster::pid()?;
    create(&client, 0, WARM)?;
    thread::sleep(SETTLE);
    let before = process::memory(pid)?;
    let worked = process::work(pid)?;

    let begun = Instant::now();
    create(&client, WARM, WARM + COUNT)?;
    let rate = COUNT as f64 / begun.elapsed().as_secs_f64();
    let each = process::work(pid)?.nanos.saturating_sub(worked.nanos) as f64 / COUNT as f64 / 1000.0;
    report.value("objects.create", format!("{COUNT} ConfigMaps of 1 KB: creates"), rate);
    report.fact("processor time per create", format!("{each:.0} µs"));
    thread::sleep(SETTLE);
    let after = process::memory(pid)?;

    let mut connection = client.connect()?;
    let (mut times, mut body) = (Vec::new(), Vec::new());
    for _ in 0..LISTS {
        let begun = Instant::now();
        body = connection.get(PATH)?;
        times.push(begun.elapsed());
    }
    let list: Value = serde_json::from_slice(&body)?;
    let items = list["items"].as_array().context("the list has no items")?.len();
    ensure!(items >= WARM + COUNT, "the list has {items} items only");
    let size = body.len() as f64 / items as f64;
    report.time("objects.list", format!("full list of {items}"), median(&times).unwrap_or_default());
    let growth = after.resident.saturating_sub(before.resident) as f64 / COUNT as f64;
    report.value("objects.growth", format!("memory per object, over its {size:.0} bytes of JSON"), growth / size);
    let listed = process::memory(pid)?;
    report.fact("resident after the lists", format!("{:.0} MB", idle::megabytes(listed.resident)));
    Ok(())
}

/// Creates the objects of these numbers, `AT_ONCE` at a time.
fn create(client: &Client, from: usize, to: usize) -> anyhow::Result<()> {
    thread::scope(|scope| {
        let share = |first: usize| scope.spawn(move || create_each(client, (first..to).step_by(AT_ONCE)));
        let workers: Vec<_> = (from..from + AT_ONCE).map(share).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("invariant: writing does not panic"))
    })
}

fn create_each(client: &Client, numbers: impl Iterator<Item = usize>) -> anyhow::Result<()> {
    let text = "knarr ".repeat(170);
    let mut connection = client.connect()?;
    for number in numbers {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": format!("settings-{number:05}") },
            "data": { "text": format!("{number} {text}") },
        });
        connection.post(PATH, &object)?;
    }
    Ok(())
}
