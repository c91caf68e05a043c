//! Writes: durable creates of pods beside bare etcd puts of the same size, what a pod costs in memory, server-side
//! apply without a change, and a thousand definitions.
//!
//! The pods wait at a scheduling gate, so nothing but the API has work with them; what other parts keep of them in
//! their caches counts in the slope all the same.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::Client;
use crate::cluster::{Cluster, run};
use crate::etcd::{self, Etcd};
use crate::process;
use crate::report::{Report, median};

const PODS: &str = "/api/v1/namespaces/bench-writes/pods";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/bench-writes/deployments";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const AT_ONCE: usize = 64;
/// The sizes between which the memory of a pod is told.
const FEW: usize = 1000;
const MANY: usize = 11_000;
/// Rounds of creates and of puts, in turns.
const ROUNDS: usize = 3;
const PER_ROUND: usize = 3000;
const APPLIES: usize = 3000;
const KINDS: usize = 1000;
const SETTLE: Duration = Duration::from_secs(8);

pub(crate) fn measure(_: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    run(&mut Cluster::kubectl(["create", "namespace", "bench-writes"]))?;
    let (client, pid) = (Cluster::client()?, Cluster::pid()?);
    served(&client, "/api/v1/namespaces/bench-writes/serviceaccounts/default")?;
    let templates = "/api/v1/namespaces/bench-writes/podtemplates";
    slope(&client, pid, report, "writes.slope", templates, |number| {
        let pod = pod(number);
        json!({ "metadata": pod["metadata"], "template": { "metadata": { "labels": { "app": "bench" } }, "spec": pod["spec"] } })
    })?;
    slope(&client, pid, report, "writes.slope_all", PODS, pod)?;
    creates(&client, pid, report)?;
    applies(&client, pid, report)?;
    definitions(&client, pid, report)
}

/// Waits until `path` is there.
pub(crate) fn served(client: &Client, path: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    while client.connect()?.get(path).is_err() {
        ensure!(begun.elapsed() < crate::client::LIMIT, "no {path}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A pod of 1.2 KB.
fn pod(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("pod-{number:05}"), "labels": { "app": "bench", "part": format!("{}", number % 7) } },
        "spec": {
            "schedulingGates": [{ "name": "bench.example/hold" }],
            "containers": [{
                "name": "main", "image": "registry.example/team/service:1.2.3",
                "command": ["/bin/service", "--listen=0.0.0.0:8080"],
                "env": [{ "name": "MODE", "value": "production" }, { "name": "TEXT", "value": "x".repeat(420) }],
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "resources": { "requests": { "cpu": "50m", "memory": "64Mi" }, "limits": { "memory": "128Mi" } },
                "readinessProbe": { "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 5 },
            }],
        },
    })
}

/// Does `one` for each number, `AT_ONCE` at a time on connections of their own; returns what each took, and all.
pub(crate) fn together<C>(
    numbers: std::ops::Range<usize>,
    open: impl Fn() -> anyhow::Result<C> + Sync,
    one: impl Fn(&mut C, usize) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<(Vec<Duration>, Duration)> {
    let gate = std::sync::Barrier::new(AT_ONCE + 1);
    thread::scope(|scope| {
        let work = |first: usize| -> anyhow::Result<Vec<Duration>> {
            let connection = open();
            gate.wait();
            let (mut connection, mut took) = (connection?, Vec::new());
            for number in (first..numbers.end).step_by(AT_ONCE) {
                let begun = Instant::now();
                one(&mut connection, number)?;
                took.push(begun.elapsed());
            }
            Ok(took)
        };
        let workers: Vec<_> =
            (numbers.start..numbers.start + AT_ONCE).map(|first| scope.spawn(move || work(first))).collect();
        gate.wait();
        let begun = Instant::now();
        let mut all = Vec::new();
        for worker in workers {
            all.extend(worker.join().expect("invariant: writing does not panic")?);
        }
        Ok((all, begun.elapsed()))
    })
}

fn create(client: &Client, numbers: std::ops::Range<usize>) -> anyhow::Result<(Vec<Duration>, Duration)> {
    together(numbers, || client.connect(), |connection, number| connection.post(PODS, &pod(number)))
}

/// What one object more costs. A pod is kept by scheduler and controllers too; a template with the same spec is not, so it
/// tells what the API alone needs.
fn slope(
    client: &Client,
    pid: u32,
    report: &mut Report,
    key: &'static str,
    path: &str,
    object: impl Fn(usize) -> Value + Sync,
) -> anyhow::Result<()> {
    let make = |numbers| {
        together(numbers, || client.connect(), |connection, number| connection.post(path, &object(number))).map(drop)
    };
    make(0..FEW)?;
    thread::sleep(SETTLE);
    let before = process::memory(pid)?.anonymous;
    make(FEW..MANY)?;
    thread::sleep(SETTLE);
    let more = process::memory(pid)?.anonymous.saturating_sub(before) as f64 / (MANY - FEW) as f64;
    let each = client.connect()?.get(&format!("{path}/pod-00001"))?.len();
    let kind = path.rsplit('/').next().unwrap_or_default();
    report.value(key, format!("memory per object of {each} bytes, {FEW} to {MANY} {kind}"), more / 1e3);
    Ok(())
}

/// One round of either side.
struct Round {
    each: Duration,
    rate: f64,
    late: Duration,
}

impl Round {
    fn of(work: Duration, (mut took, all): (Vec<Duration>, Duration)) -> Self {
        took.sort_unstable();
        let late = took.get(took.len() * 99 / 100).copied().unwrap_or_default();
        Self { each: work / PER_ROUND as u32, rate: PER_ROUND as f64 / all.as_secs_f64(), late }
    }
}

fn worked(pid: u32) -> anyhow::Result<Duration> {
    Ok(Duration::from_nanos(process::work(pid)?.nanos))
}

fn creates(client: &Client, pid: u32, report: &mut Report) -> anyhow::Result<()> {
    let peer = Etcd::start()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let first = MANY + round * PER_ROUND;
        let before = worked(pid)?;
        let took = create(client, first..first + PER_ROUND)?;
        ours.push(Round::of(worked(pid)?.saturating_sub(before), took));
        if let Some(peer) = &peer {
            let before = worked(peer.pid())?;
            let put = |connection: &mut etcd::Connection, number: usize| {
                connection.put(&format!("/registry/pods/bench/pod-{number:05}"), pod(number).to_string().as_bytes())
            };
            let took = together(first..first + PER_ROUND, etcd::connect, put)?;
            theirs.push(Round::of(worked(peer.pid())?.saturating_sub(before), took));
        }
    }
    let middle = |rounds: &[Round], of: fn(&Round) -> Duration| {
        median(&rounds.iter().map(of).collect::<Vec<_>>()).unwrap_or_default()
    };
    let rate = |rounds: &[Round]| {
        let mut rates: Vec<f64> = rounds.iter().map(|round| round.rate).collect();
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied().unwrap_or_default()
    };
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    report.value(
        "writes.create",
        "processor time of a durable create of a pod",
        micros(middle(&ours, |round| round.each)),
    );
    report.fact(format!("creates with {AT_ONCE} clients"), format!("{:.0} /s", rate(&ours)));
    report.fact("a create, p99", crate::report::millis(middle(&ours, |round| round.late)));
    if theirs.is_empty() {
        report.fact("bare etcd puts", "no etcd on the path");
        return Ok(());
    }
    report.value("writes.rate", "rate of creates, over that of bare etcd puts", rate(&ours) / rate(&theirs));
    report.fact(format!("puts with {AT_ONCE} clients"), format!("{:.0} /s", rate(&theirs)));
    report.fact("processor time of a put", format!("{:.0} µs", micros(middle(&theirs, |round| round.each))));
    report.fact("a put, p99", crate::report::millis(middle(&theirs, |round| round.late)));
    Ok(())
}

fn applies(client: &Client, pid: u32, report: &mut Report) -> anyhow::Result<()> {
    let labels = json!({ "app": "web" });
    let containers = pod(0)["spec"]["containers"].take();
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": containers } });
    let spec = json!({ "replicas": 0, "selector": { "matchLabels": labels }, "template": template });
    let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web", "labels": labels }, "spec": spec });
    let path = format!("{DEPLOYMENTS}/web?fieldManager=bench&force=true");
    let mut connection = client.connect()?;
    connection.apply(&path, &object)?;
    // the controller writes its status, then nothing happens to it any more
    thread::sleep(Duration::from_secs(2));
    let version = |body: &[u8]| -> anyhow::Result<String> {
        let object: Value = serde_json::from_slice(body)?;
        object["metadata"]["resourceVersion"].as_str().map(str::to_owned).context("a version")
    };
    let first = version(&connection.apply(&path, &object)?)?;
    let (before, mut last) = (worked(pid)?, Vec::new());
    for _ in 0..APPLIES {
        last = connection.apply(&path, &object)?;
    }
    let each = worked(pid)?.saturating_sub(before) / APPLIES as u32;
    ensure!(version(&last)? == first, "applying the same again wrote something");
    report.value("writes.apply", "processor time of an apply without a change", each.as_secs_f64() * 1e6);
    Ok(())
}

fn definition(number: usize) -> Value {
    let kind = format!("Bench{number:04}");
    let plural = kind.to_lowercase();
    let text = json!({ "type": "string", "maxLength": 100 });
    let condition = json!({ "type": "object", "required": ["type"], "properties": { "type": text, "status": text } });
    let schema = json!({ "type": "object", "properties": {
        "spec": { "type": "object", "required": ["size"], "properties": {
            "size": { "type": "integer", "minimum": 1, "default": 1 }, "name": text, "notes": { "type": "array", "items": text },
        } },
        "status": { "type": "object", "properties": { "conditions": {
            "type": "array", "items": condition, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
        } } },
    } });
    let version = json!({ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} }, "schema": { "openAPIV3Schema": schema } });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.bench{:02}.example.com", number % 50) },
        "spec": {
            "group": format!("bench{:02}.example.com", number % 50), "scope": "Namespaced",
            "names": { "kind": kind, "plural": plural }, "versions": [version],
        },
    })
}

/// Installs many, waits until the last has its path, and tells what each cost.
fn definitions(client: &Client, pid: u32, report: &mut Report) -> anyhow::Result<()> {
    thread::sleep(SETTLE);
    let (before, used) = (process::memory(pid)?.anonymous, worked(pid)?);
    let (begun, mut connection, mut text) = (Instant::now(), client.connect()?, 0);
    for number in 0..KINDS {
        let definition = definition(number);
        text += definition.to_string().len();
        connection.post(DEFINITIONS, &definition)?;
    }
    for number in 0..KINDS {
        let path = format!("/apis/bench{:02}.example.com/v1/bench{number:04}", number % 50);
        while connection.get(&path).is_err() {
            ensure!(begun.elapsed() < 4 * crate::client::LIMIT, "{path} is not served");
            thread::sleep(Duration::from_millis(5));
        }
    }
    let (all, work) = (begun.elapsed(), worked(pid)?.saturating_sub(used));
    thread::sleep(SETTLE);
    let more = process::memory(pid)?.anonymous.saturating_sub(before) as f64 - text as f64;
    report.value(
        "writes.definition",
        format!("memory per definition, beyond its {} bytes of text", text / KINDS),
        more / KINDS as f64 / 1e3,
    );
    report.fact(format!("{KINDS} definitions until all are served"), format!("{:.1} s", all.as_secs_f64()));
    report.fact("processor time of each", format!("{:.0} µs", work.as_secs_f64() * 1e6 / KINDS as f64));
    let begun = Instant::now();
    let size = connection.get("/openapi/v2")?.len();
    report.fact(format!("OpenAPI v2 with all of them, {} KB", size >> 10), crate::report::millis(begun.elapsed()));
    Ok(())
}
