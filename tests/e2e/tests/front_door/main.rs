//! The front door: Ingress as users of ingress-nginx know it, TLS, WebSocket, sessions, and changes under load.
//!
//! Parts run at once; each has hosts of its own, which all lead to the pods of one Deployment.

mod annotations;
mod changes;
mod policies;
mod protocols;
mod seen;

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, run, together};
use serde_json::Value;

const ECHO: &str = include_str!("echo.py");

#[test]
fn the_front_door_serves_as_its_objects_say() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-door", &["python3"])?;
    prepare(&cluster)?;
    together(
        &cluster,
        &[
            ("rewrites and redirects", annotations::rewrites),
            ("who may pass", annotations::passing),
            ("a login by password", annotations::passwords),
            ("canaries", annotations::canaries),
            ("what cannot be had", annotations::refusals),
            ("TLS", protocols::tls),
            ("WebSocket", protocols::websocket),
            ("sessions", protocols::sessions),
            ("traffic policies", policies::traffic),
            ("access policies", policies::access),
            ("cache policies", policies::cache),
            ("routes and figures", seen::routes),
            ("a check of manifests", seen::check),
        ],
    )?;
    // alone, for it counts failures
    changes::storm(&cluster)
}

/// Two echoing services, `main` with two pods and `other` with one.
fn prepare(cluster: &Cluster) -> anyhow::Result<()> {
    cluster.kubectl(["create", "namespace", "door"])?;
    let script = tempfile::NamedTempFile::new()?;
    std::fs::write(script.path(), ECHO)?;
    let from = format!("--from-file=echo.py={}", script.path().display());
    cluster.kubectl(["-n", "door", "create", "configmap", "echo", from.as_str()])?;
    for (name, replicas) in [("main", 2), ("other", 1)] {
        cluster.apply(&format!(
            r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: door}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 5
      containers:
      - name: echo
        lifecycle: {{preStop: {{exec: {{command: [sleep, "1"]}}}}}} # until nobody sends anything any more
        image: knarr.local/python3:bookworm
        command: [python3, -u, /echo/echo.py]
        env: [{{name: POD, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}]
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
        volumeMounts: [{{name: echo, mountPath: /echo}}]
      volumes: [{{name: echo, configMap: {{name: echo}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: door}}
spec: {{selector: {{app: {name}}}, ports: [{{port: 80, targetPort: 8080}}]}}
"#
        ))?;
    }
    cluster.rolled_out("door", "deployment/main")?;
    cluster.rolled_out("door", "deployment/other")
}

/// An Ingress for `host` with annotations of ingress-nginx, leading to `service`.
fn ingress(
    cluster: &Cluster,
    name: &str,
    host: &str,
    service: &str,
    annotations: &[(&str, &str)],
) -> anyhow::Result<()> {
    routed(cluster, name, host, ("/", "Prefix", service), annotations)
}

fn routed(
    cluster: &Cluster,
    name: &str,
    host: &str,
    (path, kind, service): (&str, &str, &str),
    annotations: &[(&str, &str)],
) -> anyhow::Result<()> {
    let annotations: String = annotations
        .iter()
        .map(|(name, value)| format!("    nginx.ingress.kubernetes.io/{name}: {value:?}\n"))
        .collect();
    cluster.apply(&format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: {name}\n  namespace: door\n  annotations:\n    \
        test: \"yes\"\n{annotations}spec:\n  rules:\n  - host: {host}\n    http:\n      paths:\n      - path: {path}\n        \
        pathType: {kind}\n        backend: {{service: {{name: {service}, port: {{number: 80}}}}}}\n"
    ))?;
    Ok(())
}

/// What curl gets from `host` by plain HTTP: the status, the headers by lower-case name, and the body.
struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What the pod heard.
    fn heard(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{}: {}", self.status, self.body))
    }
}

fn ask(cluster: &Cluster, host: &str, path: &str, args: &[&str]) -> anyhow::Result<Answer> {
    let port = cluster.setting("gateway.httpPort")?;
    let mut command = cluster.command("curl");
    command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "10", "--include", "--path-as-is"]);
    command.args(["--connect-to", &format!("{host}:{port}:127.0.0.1:{port}")]).args(args);
    let text = run(command.arg(format!("http://{host}:{port}{path}")))?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer has a head")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("a status")?;
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned())).collect();
    Ok(Answer { status, headers, body: body.to_owned() })
}

/// Asks until the status is `status`.
fn until(cluster: &Cluster, host: &str, path: &str, args: &[&str], status: u16) -> anyhow::Result<Answer> {
    eventually(&format!("{host}{path} answers {status}"), || {
        let answer = ask(cluster, host, path, args)?;
        ensure!(answer.status == status, "{} {}", answer.status, answer.body);
        Ok(answer)
    })
}
