//! Reads of many pods: lists to the last byte, pages, single objects, and a crowd of watchers.
//!
//! The pods wait at a scheduling gate, so nothing but the API has work with them. Processor time is told
//! first: on a busy machine it means more than the clock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::Client;
use crate::cluster::{Cluster, run};
use crate::process;
use crate::report::{Report, median};

const NAMESPACE: &str = "bench-reads";
const PODS: &str = "/api/v1/namespaces/bench-reads/pods";
const ALL_PODS: &str = "/api/v1/pods";
const MAPS: &str = "/api/v1/namespaces/bench-reads/configmaps";
const COUNT: usize = 14_000;
/// For the price of a page among few.
const FEW: usize = 1000;
const AT_ONCE: usize = 32;
const LISTS: usize = 7;
const PAGES: usize = 40;
const GETS: usize = 20_000;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

const CONNECTIONS: usize = 10;
const WATCHES: usize = 100;
const CHANGES_PER_SECOND: u32 = 100;
const CHANGING: Duration = Duration::from_secs(8);
const SETTLE: Duration = Duration::from_secs(5);
/// In front of the time at which an object was sent.
const SENT: &[u8] = b"sent-";

pub(crate) fn measure(_: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    run(&mut Cluster::kubectl(["create", "namespace", NAMESPACE]))?;
    run(&mut Cluster::kubectl(["wait", "--for=create", "serviceaccount/default", "--namespace", NAMESPACE]))?;
    let client = Cluster::client()?;
    let pid = Cluster::pid()?;
    create(&client, 0, FEW)?;
    let few = page(&client, pid)?;
    create(&client, FEW, COUNT)?;
    thread::sleep(SETTLE);

    lists(&client, pid, report)?;
    let many = page(&client, pid)?;
    report.fact("processor time of a page of 500", format!("{:.0} µs", micros(many)));
    report.value("reads.page", format!("the same among {COUNT}, over among {FEW}"), micros(many) / micros(few));
    let each = gets(&client, pid)?;
    report.value("reads.get", "processor time of a GET of a pod", micros(each));
    for (accept, core, late) in
        [(JSON, "reads.watch_json", "reads.late_json"), (PROTOBUF, "reads.watch_protobuf", "reads.late_protobuf")]
    {
        watches(&client, pid, report, accept, core, late)?;
    }
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// Processor time that the process has used so far.
fn worked(pid: u32) -> anyhow::Result<Duration> {
    Ok(Duration::from_nanos(process::work(pid)?.nanos))
}

/// Creates the pods of these numbers.
fn create(client: &Client, from: usize, to: usize) -> anyhow::Result<()> {
    let some = |first: usize| -> anyhow::Result<()> {
        let mut connection = client.connect()?;
        for number in (first..to).step_by(AT_ONCE) {
            connection.post(PODS, &pod(number))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (from..from + AT_ONCE).map(|first| scope.spawn(move || some(first))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("invariant: writing does not panic"))
    })
}

fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("pod-{number:05}"), "labels": { "app": "bench", "part": format!("{}", number % 7) } },
        "spec": {
            "schedulingGates": [{ "name": "bench.example/hold" }],
            "containers": [{
                "name": "main", "image": "registry.example/team/service:1.2.3",
                "command": ["/bin/service", "--listen=0.0.0.0:8080"],
                "env": [{ "name": "MODE", "value": "production" }, { "name": "NUMBER", "value": format!("{number}") }],
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "resources": { "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "128Mi" } },
                "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 5 },
            }],
        },
    })
}

fn lists(client: &Client, pid: u32, report: &mut Report) -> anyhow::Result<()> {
    let mut connection = client.connect()?;
    let forms = [(PROTOBUF, "reads.list_protobuf", "protobuf"), (JSON, "reads.list_json", "JSON")];
    for (accept, key, name) in forms {
        connection.get_as(PODS, accept)?; // the first one measures its items
        let (mut times, mut work, mut size) = (Vec::new(), Vec::new(), 0);
        let before = process::memory(pid)?.resident;
        process::forget_peak(pid)?;
        for _ in 0..LISTS {
            let (begun, before) = (Instant::now(), worked(pid)?);
            size = connection.get_as(PODS, accept)?.len();
            times.push(begun.elapsed());
            work.push(worked(pid)?.saturating_sub(before));
        }
        let more = process::peak(pid)?.saturating_sub(before);
        report.time(key, format!("list of {COUNT} pods in {name}"), median(&times).unwrap_or_default());
        let work = median(&work).unwrap_or_default();
        report.fact(format!("its processor time, {} MB", size >> 20), format!("{:.1} ms", work.as_secs_f64() * 1e3));
        report.value("reads.list_memory", format!("memory while listing in {name}"), more as f64 / 1e6);
    }
    Ok(())
}

/// Processor time of one page from the middle of the list.
fn page(client: &Client, pid: u32) -> anyhow::Result<Duration> {
    let mut connection = client.connect()?;
    let first: Value = serde_json::from_slice(&connection.get(&format!("{ALL_PODS}?limit=500"))?)?;
    let token = first.pointer("/metadata/continue").and_then(Value::as_str).context("the first page is the last")?;
    let path = format!("{ALL_PODS}?limit=400&continue={token}");
    let before = worked(pid)?;
    for _ in 0..PAGES {
        connection.get(&path)?;
    }
    Ok((worked(pid)? - before) / PAGES as u32)
}

/// Processor time of one GET.
fn gets(client: &Client, pid: u32) -> anyhow::Result<Duration> {
    let before = worked(pid)?;
    let some = |first: usize| -> anyhow::Result<()> {
        let mut connection = client.connect()?;
        for number in (first..GETS).step_by(4) {
            connection.get(&format!("{PODS}/pod-{:05}", number % COUNT))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|first| scope.spawn(move || some(first))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("invariant: reading does not panic"))
    })?;
    Ok((worked(pid)? - before) / GETS as u32)
}

/// A crowd that watches one kind: what a watch costs while nothing happens, and what all cost while much does.
fn watches(
    client: &Client,
    pid: u32,
    report: &mut Report,
    accept: &str,
    core: &'static str,
    late: &'static str,
) -> anyhow::Result<()> {
    let before = process::memory(pid)?.anonymous;
    let path = format!("{MAPS}?watch=1&resourceVersion={}", newest(client)?);
    let mut connections = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut connection = client.connect_http2()?;
        for _ in 0..WATCHES {
            connection.get(&path, accept)?;
        }
        for _ in 0..WATCHES {
            ensure!(connection.next()?.is_empty(), "a watch tells something before anything happened");
        }
        connections.push(connection);
    }
    thread::sleep(SETTLE);
    let idle = process::memory(pid)?.anonymous.saturating_sub(before) as f64 / (CONNECTIONS * WATCHES) as f64;
    report.value("reads.watch_idle", format!("memory per idle watch of {}", CONNECTIONS * WATCHES), idle / 1e3);

    let over = AtomicBool::new(false);
    let (begun, used) = (Instant::now(), worked(pid)?);
    let mut delays = thread::scope(|scope| -> anyhow::Result<Vec<Duration>> {
        let over = &over;
        let readers: Vec<_> = connections
            .into_iter()
            .map(|mut connection| {
                scope.spawn(move || -> anyhow::Result<Vec<Duration>> {
                    let mut delays = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        delays.extend(delay_of(connection.next()?));
                    }
                    Ok(delays)
                })
            })
            .collect();
        let changes = change(client, accept);
        over.store(true, Ordering::Relaxed);
        let made = changes?;
        // one more wakes the readers to see that it is over
        client.connect()?.post(MAPS, &map(&format!("last-{}", accept.len())))?;
        let mut all = Vec::new();
        for reader in readers {
            all.extend(reader.join().expect("invariant: reading does not panic")?);
        }
        let expected = made * CONNECTIONS * WATCHES;
        ensure!(all.len() > expected * 9 / 10, "{} of {expected} events arrived whole", all.len());
        Ok(all)
    })?;
    let share = (worked(pid)? - used).as_secs_f64() / begun.elapsed().as_secs_f64();
    let form = if accept == JSON { "JSON" } else { "protobuf" };
    let crowd = CONNECTIONS * WATCHES;
    report.value(core, format!("cores for {CHANGES_PER_SECOND} changes/s to {crowd} watches, {form}"), share);
    delays.sort_unstable();
    let slow = delays.get(delays.len() * 99 / 100).copied().unwrap_or_default();
    report.time(late, "from sending a change to its delivery, p99", slow);
    Ok(())
}

fn newest(client: &Client) -> anyhow::Result<String> {
    let list: Value = serde_json::from_slice(&client.connect()?.get(&format!("{MAPS}?limit=1"))?)?;
    let version = list.pointer("/metadata/resourceVersion").and_then(Value::as_str);
    version.map(str::to_owned).context("a list without a version")
}

/// Creates objects at a steady rate that carry when they were sent; returns how many.
fn change(client: &Client, accept: &str) -> anyhow::Result<usize> {
    let mut connection = client.connect()?;
    let (begun, mut made) = (Instant::now(), 0);
    while begun.elapsed() < CHANGING {
        connection.post(MAPS, &map(&format!("c{}-{made}", accept.len())))?;
        made += 1;
        thread::sleep((Duration::from_secs(1) / CHANGES_PER_SECOND * made).saturating_sub(begun.elapsed()));
    }
    Ok(made as usize)
}

fn map(name: &str) -> Value {
    let sent = format!("{}{:020}", String::from_utf8_lossy(SENT), now().as_nanos());
    json!({ "metadata": { "name": name }, "data": { "sent": sent, "text": "knarr ".repeat(150) } })
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// How long ago the events in a piece of a watch were sent.
fn delay_of(piece: &[u8]) -> Vec<Duration> {
    let mut delays = Vec::new();
    let mut rest = piece;
    while let Some(place) = rest.windows(SENT.len()).position(|window| window == SENT) {
        rest = &rest[place + SENT.len()..];
        let digits = rest.get(..20).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        delays.extend(digits.map(|nanos| now().saturating_sub(Duration::from_nanos(nanos))));
    }
    delays
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_tell_when_they_were_sent() {
        let text = map("a").to_string();
        let delays = delay_of(format!("{text}\n{text}\n{{\"sent\":\"sent-12").as_bytes());
        assert_eq!(delays.len(), 2, "the third is cut");
        assert!(delays.iter().all(|delay| *delay < Duration::from_secs(60)));
    }
}
