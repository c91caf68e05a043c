//! Create to serving: a Deployment, a Service and an Ingress applied together, until the first
//! 200 through the gateway.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::{Client, LIMIT};
use crate::cluster::{Cluster, run};
use crate::report::{Report, median, millis};
use crate::watch::{Stage, Watch};

const ROUNDS: usize = 7;
const POLL: Duration = Duration::from_millis(2);

/// How the three objects are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Kubectl,
    Open,
    /// As `Kubectl`, with a readiness probe.
    Probed,
}

/// What one application took, from the moment it was handed over.
#[derive(Debug)]
struct Round {
    written: Duration,
    stages: Vec<(Stage, Duration)>,
    served: Duration,
}

pub(crate) fn measure(_: &Cluster, report: &mut Report) -> anyhow::Result<()> {
    let client = Cluster::client()?;
    let (mut number, mut rounds) = (0, [Vec::new(), Vec::new(), Vec::new()]);
    for round in 0..=ROUNDS {
        for (rounds, way) in rounds.iter_mut().zip([Way::Kubectl, Way::Open, Way::Probed]) {
            number += 1;
            let took =
                one(&client, number, way).with_context(|| format!("application {number}; {}", Cluster::log_tail()))?;
            if round > 0 {
                rounds.push(took); // the first one fills caches of kubectl and of the file system
            }
        }
    }
    let [kubectl, open, probed] = rounds;
    report.time("serving.kubectl", "create to serving, kubectl apply", served(&kubectl));
    stages(&kubectl, "kubectl returned", report);
    report.time("serving.open", "create to serving, open connection", served(&open));
    stages(&open, "all three objects written", report);
    let starts: Vec<Duration> = open.iter().filter_map(Round::container_start).collect();
    report.time("serving.container", "of it from bound to running", median(&starts).unwrap_or_default());
    report.time("serving.probed", "create to serving, kubectl, readiness probe", served(&probed));
    Ok(())
}

fn served(rounds: &[Round]) -> Duration {
    median(&rounds.iter().map(|round| round.served).collect::<Vec<_>>()).unwrap_or_default()
}

/// When each stage was seen after the start: the median over the rounds.
fn stages(rounds: &[Round], written: &str, report: &mut Report) {
    let writes: Vec<Duration> = rounds.iter().map(|round| round.written).collect();
    let mut rows = vec![(written, median(&writes))];
    for stage in Stage::ALL {
        let times: Vec<Duration> = rounds.iter().filter_map(|round| round.when(stage)).collect();
        rows.push((stage.title(), median(&times)));
    }
    rows.sort_by_key(|(_, time)| *time);
    for (title, time) in rows {
        report.fact(format!("{title}, after"), time.map_or_else(|| "not seen".to_owned(), millis));
    }
}

impl Round {
    fn container_start(&self) -> Option<Duration> {
        Some(self.when(Stage::Started)?.saturating_sub(self.when(Stage::Bound)?))
    }

    fn when(&self, stage: Stage) -> Option<Duration> {
        self.stages.iter().find(|(seen, _)| *seen == stage).map(|(_, time)| *time)
    }
}

fn one(client: &Client, number: usize, way: Way) -> anyhow::Result<Round> {
    let namespace = format!("serving-{number}");
    run(&mut Cluster::kubectl(["create", "namespace", &namespace]))?;
    let mut connection = client.connect()?;
    let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
    let asked = Instant::now();
    while let Err(error) = connection.get(&account) {
        ensure!(asked.elapsed() < LIMIT, "no service account: {error:#}");
        thread::sleep(POLL);
    }
    let watches = Watch::open(client, &namespace)?;
    let host = format!("{namespace}.localhost");
    let objects = application(&namespace, &host, way == Way::Probed);

    let begun = Instant::now();
    thread::scope(|scope| {
        let answered = scope.spawn(|| first_answer(&host));
        let watches: Vec<_> = watches.into_iter().map(|watch| scope.spawn(|| watch.follow())).collect();
        match way {
            Way::Open => objects.iter().try_for_each(|(path, object)| connection.post(path, object))?,
            Way::Kubectl | Way::Probed => apply(&objects)?,
        }
        let written = begun.elapsed();
        let mut stages = Vec::new();
        for watch in watches {
            let seen = watch.join().expect("invariant: watching does not panic")?;
            stages.extend(seen.into_iter().map(|(stage, time)| (stage, time.duration_since(begun))));
        }
        let answered = answered.join().expect("invariant: polling does not panic")?;
        Ok(Round { written, stages, served: answered.duration_since(begun) })
    })
}

/// The three objects, each with the path it is posted to.
fn application(namespace: &str, host: &str, probed: bool) -> [(String, Value); 3] {
    let labels = json!({ "app": "web" });
    let mut container = json!({
        "name": "web", "image": "knarr.local/busybox:bookworm",
        "command": ["/bin/sh", "-c", "mkdir -p /tmp/www && echo hello > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www"],
        "ports": [{ "name": "http", "containerPort": 8080 }],
    });
    if probed {
        container["readinessProbe"] = json!({ "httpGet": { "path": "/", "port": "http" }, "periodSeconds": 2 });
    }
    let spec = json!({ "containers": [container], "terminationGracePeriodSeconds": 1 });
    let backend = json!({ "service": { "name": "web", "port": { "name": "http" } } });
    let rule =
        json!({ "host": host, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } });
    let object = |version: &str, kind: &str, plural: &str, spec: Value| {
        let root = if version == "v1" { "api" } else { "apis" };
        let metadata = json!({ "name": "web", "namespace": namespace });
        let object = json!({ "apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec });
        (format!("/{root}/{version}/namespaces/{namespace}/{plural}"), object)
    };
    let template = json!({ "metadata": { "labels": labels }, "spec": spec });
    [
        object(
            "apps/v1",
            "Deployment",
            "deployments",
            json!({ "selector": { "matchLabels": labels }, "template": template }),
        ),
        object(
            "v1",
            "Service",
            "services",
            json!({ "selector": labels, "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] }),
        ),
        object("networking.k8s.io/v1", "Ingress", "ingresses", json!({ "rules": [rule] })),
    ]
}

fn apply(objects: &[(String, Value); 3]) -> anyhow::Result<()> {
    let mut file = tempfile::NamedTempFile::new()?;
    for (_, object) in objects {
        writeln!(file, "---\n{object}")?; // JSON is YAML
    }
    file.flush()?;
    let path = file.path().display().to_string();
    run(&mut Cluster::kubectl(["apply", "-f", &path])).map(drop)
}

/// When the gateway answered 200 for `host`.
fn first_answer(host: &str) -> anyhow::Result<Instant> {
    let begun = Instant::now();
    loop {
        let answer = ask(host);
        if answer.as_ref().is_ok_and(|line| line.contains(" 200")) {
            return Ok(Instant::now());
        }
        ensure!(begun.elapsed() < LIMIT, "the gateway does not serve {host}: {answer:?}");
        thread::sleep(POLL);
    }
}

/// The status line of one request on a connection of its own.
fn ask(host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(Cluster::gateway())?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut head = [0; 32];
    let length = stream.read(&mut head)?;
    let head = String::from_utf8_lossy(&head[..length]);
    Ok(head.lines().next().unwrap_or_default().to_owned())
}
