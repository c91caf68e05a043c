//! How fast pods get their nodes, durably, and what controllers do with many of them.
//!
//! Bindings are measured as upstream's scheduler benchmarks do it: nodes are objects without an agent, which are believed
//! to be ready for less than a minute; that is enough. The pods are there
//! before their scheduler is, which then finds them all: they ask for a scheduler of another name, and Knarr is started
//! again with a configuration that has it. Workloads are measured on hollow nodes, which run as a process of their own.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::{Client, LIMIT};
use crate::cluster::{Cluster, run};
use crate::report::Report;
use crate::start;
use crate::writes::{served, together};
use crate::{idle, process};

const NAMESPACE: &str = "bench-scheduling";
const PODS: &str = "/api/v1/namespaces/bench-scheduling/pods";
const BOUND: &str = "/api/v1/namespaces/bench-scheduling/pods?fieldSelector=spec.nodeName!%3D";
const SCHEDULER: &str = "bench-scheduler";
const ZONES: usize = 3;
const POLL: Duration = Duration::from_millis(5);

/// What is scheduled: where its figure goes, pods, nodes, and what the pods ask for beyond room.
struct Load {
    key: &'static str,
    title: &'static str,
    pods: usize,
    nodes: usize,
    shape: fn(&mut Value, usize),
}

const LOADS: [Load; 4] = [
    Load { key: "scheduling.basic", title: "plain pods", pods: 14_000, nodes: 150, shape: |_, _| {} },
    Load { key: "scheduling.large", title: "plain pods", pods: 5000, nodes: 5000, shape: |_, _| {} },
    Load { key: "scheduling.spread", title: "pods spread over zones", pods: 5000, nodes: 5000, shape: spread },
    Load { key: "scheduling.affinity", title: "pods apart from their like", pods: 2000, nodes: 5000, shape: apart },
];

pub(crate) fn measure(binary: &Path, report: &mut Report) -> anyhow::Result<()> {
    for load in &LOADS {
        let cluster = start::measure(binary, 1, &mut Report::silent())?;
        bindings(&cluster, load, report).with_context(|| format!("{} on {} nodes", load.title, load.nodes))?;
    }
    let cluster = start::measure(binary, 1, &mut Report::silent())?;
    workloads(&cluster, report)
}

fn node(number: usize) -> Value {
    let name = format!("bench-{number:05}");
    let amounts = json!({ "cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti" });
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": { "name": name, "labels": {
            "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("zone-{}", number % ZONES),
        } },
        "status": { "capacity": amounts, "allocatable": amounts, "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

fn pod(load: &Load, number: usize) -> Value {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("pod-{number:05}"), "labels": { "app": "bench" } },
        "spec": {
            "schedulerName": SCHEDULER,
            "containers": [{
                "name": "pause", "image": "registry.example/pause:1",
                "resources": { "requests": { "cpu": "100m", "memory": "500Mi" } },
            }],
        },
    });
    (load.shape)(&mut pod, number);
    pod
}

fn spread(pod: &mut Value, _: usize) {
    pod["spec"]["topologySpreadConstraints"] = json!([{
        "maxSkew": 5, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": { "matchLabels": { "app": "bench" } },
    }]);
}

fn apart(pod: &mut Value, _: usize) {
    pod["metadata"]["labels"]["color"] = json!("green");
    pod["spec"]["affinity"] = json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
        "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "color": "green" } },
    }] } });
}

/// Counts what a watch shows to be new, and when the first and the last of them came.
struct Counter {
    count: Arc<AtomicUsize>,
    times: Arc<Mutex<Option<(Instant, Instant)>>>,
}

impl Counter {
    /// Counts events of one type (`ADDED`, `DELETED`) until the cluster ends.
    fn start(client: &Client, path: &str, kind: &str) -> anyhow::Result<Self> {
        let counter = Self { count: Arc::default(), times: Arc::default() };
        let mut events = client.connect()?.watch(path)?;
        let begin = format!("{{\"type\":\"{kind}\"").into_bytes();
        let (count, times) = (Arc::clone(&counter.count), Arc::clone(&counter.times));
        thread::spawn(move || {
            while let Ok(line) = events.line() {
                if line.starts_with(&begin) {
                    let now = Instant::now();
                    let mut times = times.lock().expect("invariant: nobody panics with it");
                    *times = Some((times.map_or(now, |(first, _)| first), now));
                    count.fetch_add(1, Ordering::Release);
                }
            }
        });
        Ok(counter)
    }

    /// Waits until so many were seen.
    fn wait(&self, wanted: usize, limit: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.count.load(Ordering::Acquire) < wanted {
            let seen = self.count.load(Ordering::Acquire);
            ensure!(begun.elapsed() < limit, "{seen} of {wanted} after {limit:?}; {}", Cluster::log_tail());
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn last(&self) -> Option<Instant> {
        self.times.lock().expect("invariant: nobody panics with it").map(|(_, last)| last)
    }

    /// From the first to the last.
    fn span(&self) -> Duration {
        let times = *self.times.lock().expect("invariant: nobody panics with it");
        times.map_or(Duration::ZERO, |(first, last)| last - first)
    }
}

fn worked() -> anyhow::Result<Duration> {
    Ok(Duration::from_nanos(process::work(Cluster::pid()?)?.nanos))
}

/// Waits until no node is kept from pods because it has not been seen ready.
fn ready(client: &Client) -> anyhow::Result<()> {
    let (begun, mut connection) = (Instant::now(), client.connect()?);
    let unready = b"node.kubernetes.io/not-ready";
    while connection.get("/api/v1/nodes")?.windows(unready.len()).any(|part| part == unready) {
        ensure!(begun.elapsed() < LIMIT, "nodes do not become ready");
        thread::sleep(POLL * 40);
    }
    Ok(())
}

fn bindings(cluster: &Cluster, load: &Load, report: &mut Report) -> anyhow::Result<()> {
    run(&mut Cluster::kubectl(["cordon", "--selector", "kubernetes.io/os=linux"]))?;
    run(&mut Cluster::kubectl(["create", "namespace", NAMESPACE]))?;
    let client = Cluster::client()?;
    served(&client, &format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"))?;
    together(0..load.pods, || client.connect(), |open, number| open.post(PODS, &pod(load, number)))?;
    together(0..load.nodes, || client.connect(), |open, number| open.post("/api/v1/nodes", &node(number)))?;
    ready(&client)?;

    let config = tempfile::NamedTempFile::new()?;
    let text = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "profiles": [{ "schedulerName": "default-scheduler" }, { "schedulerName": SCHEDULER }],
    });
    std::fs::write(config.path(), text.to_string())?;
    run(&mut cluster.down())?;
    let mut up = cluster.up();
    up.arg("--scheduler-config").arg(config.path());
    let begun = Instant::now();
    let mut up = up.spawn().context("cannot start knarr")?;
    // the client's certificate outlives the restart, the address too
    let counter = loop {
        match Counter::start(&client, BOUND, "ADDED") {
            Ok(counter) => break counter,
            Err(_) if begun.elapsed() < LIMIT => thread::sleep(POLL),
            Err(error) => return Err(error).context("the API does not come back"),
        }
    };
    counter.wait(1, LIMIT)?;
    let (before, already) = (worked()?, counter.count.load(Ordering::Acquire));
    counter.wait(load.pods, 10 * LIMIT)?;
    let each = worked()?.saturating_sub(before).as_secs_f64() / (load.pods - already) as f64;
    ensure!(up.wait()?.success(), "knarr up failed; {}", Cluster::log_tail());
    let rate = load.pods as f64 / counter.span().as_secs_f64();
    report.value(load.key, format!("{} {} on {} nodes: bound", load.pods, load.title, load.nodes), rate);
    report.fact("processor time of each, events and all", format!("{:.0} µs", each * 1e6));
    Ok(())
}

/// `knarr bench hollow`, until it is dropped.
struct Hollow(Child);

impl Hollow {
    fn start(cluster: &Cluster, nodes: usize) -> anyhow::Result<Self> {
        let count = nodes.to_string();
        let mut command: Command = cluster.knarr(&["bench", "hollow", "--nodes", &count, "--cpu", "64"]);
        let mut hollow = Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?);
        let mut line = String::new();
        let said = hollow.0.stdout.take().context("no output")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line)?;
        ensure!(line.contains("ready"), "hollow nodes did not start: {line:?}");
        Ok(hollow)
    }
}

impl Drop for Hollow {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait()) {
            eprintln!("cannot stop the hollow nodes: {error}");
        }
    }
}

fn deployment(name: &str, replicas: usize) -> Value {
    let labels = json!({ "app": name });
    let template = json!({ "metadata": { "labels": labels }, "spec": {
        "automountServiceAccountToken": false,
        "containers": [{ "name": "pause", "image": "registry.example/pause:1",
            "resources": { "requests": { "cpu": "10m", "memory": "10Mi" } } }],
    } });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": template },
    })
}

const FLEET: usize = 500;
const REPLICAS: usize = 1000;
const MANY: usize = 10_000;
const OBJECTS: usize = 5000;
const WINDOW: Duration = Duration::from_secs(20);

fn workloads(cluster: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    let hollow = Hollow::start(cluster, FLEET)?;
    run(&mut Cluster::kubectl(["cordon", "--selector", "node.kubernetes.io/instance-type!=hollow"]))?;
    run(&mut Cluster::kubectl(["create", "namespace", NAMESPACE]))?;
    let client = Cluster::client()?;
    served(&client, &format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"))?;
    up_and_down(&client, report)?;
    ending(&client, report)?;
    resting(&client, report)?;
    drop(hollow);
    Ok(())
}

/// A Deployment from nothing to many pods and back.
fn up_and_down(client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let mut connection = client.connect()?;
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    let (bound, gone) = (Counter::start(client, BOUND, "ADDED")?, Counter::start(client, PODS, "DELETED")?);
    let begun = Instant::now();
    connection.post(&path, &deployment("wide", REPLICAS))?;
    bound.wait(REPLICAS, 4 * LIMIT)?;
    let took = bound.last().map_or(Duration::ZERO, |last| last - begun);
    report.time("scheduling.up", format!("a Deployment's {REPLICAS} pods until all are bound"), took);
    run(&mut Cluster::kubectl(["-n", NAMESPACE, "rollout", "status", "deployment/wide", "--timeout=60s"]))?;
    let begun = Instant::now();
    run(&mut Cluster::kubectl(["-n", NAMESPACE, "scale", "deployment/wide", "--replicas=0"]))?;
    gone.wait(REPLICAS, 4 * LIMIT)?;
    let took = gone.last().map_or(Duration::ZERO, |last| last - begun);
    report.time("scheduling.down", "and until the last is gone again, by kubectl scale", took);
    Ok(())
}

/// A namespace full of objects goes.
fn ending(client: &Client, report: &mut Report) -> anyhow::Result<()> {
    run(&mut Cluster::kubectl(["create", "namespace", "bench-ending"]))?;
    let maps = "/api/v1/namespaces/bench-ending/configmaps";
    let map = |number: usize| json!({ "metadata": { "name": format!("map-{number}") }, "data": { "key": "value" } });
    together(0..OBJECTS, || client.connect(), |open, number| open.post(maps, &map(number)))?;
    let begun = Instant::now();
    run(&mut Cluster::kubectl(["delete", "namespace", "bench-ending"]))?;
    report.time("scheduling.ending", format!("a namespace with {OBJECTS} objects until it is gone"), begun.elapsed());
    Ok(())
}

/// What many pods on many nodes cost while nothing happens to them.
fn resting(client: &Client, report: &mut Report) -> anyhow::Result<()> {
    let pid = Cluster::pid()?;
    thread::sleep(WINDOW / 2);
    let before = process::memory(pid)?.anonymous;
    let mut connection = client.connect()?;
    let running = Counter::start(client, &format!("{PODS}?fieldSelector=status.phase%3DRunning"), "ADDED")?;
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments");
    for number in 0..MANY / REPLICAS {
        connection.post(&path, &deployment(&format!("rest-{number}"), REPLICAS))?;
    }
    running.wait(MANY, 10 * LIMIT)?;
    thread::sleep(WINDOW);
    let used = worked()?;
    thread::sleep(WINDOW);
    let share = worked()?.saturating_sub(used).as_secs_f64() / WINDOW.as_secs_f64();
    let more = process::memory(pid)?.anonymous.saturating_sub(before);
    report.value("scheduling.rest", format!("{MANY} pods on {FLEET} nodes at rest: of one core"), share * 100.0);
    report.value("scheduling.memory", "memory of each of them, all caches", more as f64 / MANY as f64 / 1e3);
    report.fact("resident then", format!("{:.0} MB", idle::megabytes(process::memory(pid)?.resident)));
    Ok(())
}
