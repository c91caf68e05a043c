//! What is used, and what follows from it: `kubectl top`, the metrics API, autoscalers under real load.

use std::path::Path;
use std::process::{Child, Stdio};

use anyhow::{Context as _, ensure};
use knarr_e2e::{Cluster, eventually, together};
use serde_json::Value;

use super::{IMAGE, namespace, ready};

#[test]
fn what_is_used_is_shown_and_scales() -> anyhow::Result<()> {
    let cluster = Cluster::start("e2e-autoscaling", &["busybox"])?;
    together(&cluster, &[("top", top), ("autoscaling", autoscaling)])?;
    elsewhere(&cluster)
}

/// A deployment whose pods are busy while a file is there. It asks for so little that it is busy on a busy machine too.
const BURNER: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: burner}
spec:
  selector: {matchLabels: {app: burner}}
  template:
    metadata: {labels: {app: burner}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: IMAGE
        command: [sh, -c, "while :; do [ -e /tmp/busy ] || sleep 1; done"]
        resources: {requests: {cpu: 20m, memory: 8Mi}, limits: {cpu: 300m, memory: 64Mi}}
"#;

fn top(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "top")?;
    cluster.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: two, namespace: top, labels: {{app: two}}}}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - {{name: busy, image: {IMAGE}, command: [sh, -c, 'while :; do :; done'], resources: {{limits: {{cpu: 100m}}}}}}\n  - {{name: idle, image: {IMAGE}, command: [sleep, '1000']}}\n"
    ))?;
    ready(cluster, "top", "two")?;
    let nodes = cluster.kubectl(["top", "nodes"])?;
    let header: Vec<&str> = nodes.lines().next().unwrap_or_default().split_whitespace().collect();
    ensure!(header == ["NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"], "{nodes}");
    ensure!(nodes.lines().nth(1).is_some_and(|line| line.contains("Mi") && line.contains('%')), "{nodes}");
    eventually("both containers have figures", || {
        let pods = cluster.kubectl(["-n", "top", "top", "pods", "--containers", "--no-headers"])?;
        let busy = pods.lines().find(|line| line.contains("busy")).context("no figures of busy")?;
        let cpu = busy.split_whitespace().nth(2).and_then(|text| text.strip_suffix('m')?.parse::<u32>().ok());
        ensure!(cpu.is_some_and(|cpu| (20..=150).contains(&cpu)), "a tenth of a core: {pods}");
        ensure!(pods.lines().any(|line| line.contains("idle")) && pods.lines().count() == 2, "{pods}");
        Ok(())
    })?;
    let chosen = cluster.kubectl(["-n", "top", "top", "pods", "-l", "app=two", "--no-headers"])?;
    ensure!(chosen.starts_with("two "), "{chosen}");
    let none = cluster.kubectl(["-n", "top", "top", "pods", "-l", "app=none"]);
    ensure!(none.is_ok_and(|said| !said.contains("two")), "a selector that selects nothing");
    let table = cluster.kubectl(["get", "nodes.metrics.k8s.io"])?;
    ensure!(table.starts_with("NAME") && table.lines().next().is_some_and(|line| line.contains("WINDOW")), "{table}");
    let service = cluster.kubectl(["get", "apiservice", "v1beta1.metrics.k8s.io", "--no-headers"])?;
    ensure!(service.contains("Local") && service.contains("True"), "{service}");
    ensure!(
        cluster.kubectl(["api-resources", "--api-group=metrics.k8s.io", "-o", "name"])?.contains("pods.metrics.k8s.io")
    );
    ensure!(cluster.kubectl(["explain", "podmetrics.containers"])?.contains("usage"));
    let may = ["auth", "can-i", "list", "pods.metrics.k8s.io", "-n", "top", "--as=ann"];
    cluster.kubectl(["-n", "top", "create", "rolebinding", "ann", "--clusterrole=view", "--user=ann"])?;
    eventually("who may view may see what is used", || cluster.kubectl(may))?;
    raw_figures(cluster)
}

/// What the node itself tells.
fn raw_figures(cluster: &Cluster) -> anyhow::Result<()> {
    let node = cluster.kubectl(["get", "nodes", "-o", "jsonpath={.items[0].metadata.name}"])?;
    let base = format!("/api/v1/nodes/{node}/proxy");
    let page = cluster.kubectl(["get", "--raw", &format!("{base}/metrics/resource")])?;
    for figure in [
        "node_cpu_usage_seconds_total ",
        "node_memory_working_set_bytes ",
        r#"container_cpu_usage_seconds_total{container="busy",namespace="top",pod="two"} "#,
        r#"container_memory_working_set_bytes{container="idle",namespace="top",pod="two"} "#,
        r#"container_start_time_seconds{container="idle",namespace="top",pod="two"} "#,
        r#"pod_cpu_usage_seconds_total{namespace="top",pod="two"} "#,
        r#"pod_memory_working_set_bytes{namespace="top",pod="two"} "#,
        "resource_scrape_error 0",
    ] {
        ensure!(page.lines().any(|line| line.starts_with(figure)), "no {figure} in\n{page}");
    }
    let summary: Value = serde_json::from_str(&cluster.kubectl(["get", "--raw", &format!("{base}/stats/summary")])?)?;
    let pods = summary["pods"].as_array().context("pods")?;
    let two = pods.iter().find(|pod| pod["podRef"]["name"] == "two").context("the pod")?;
    let used = two["cpu"]["usageCoreNanoSeconds"].as_u64().context("CPU of the pod")?;
    let parts: u64 = two["containers"]
        .as_array()
        .context("containers")?
        .iter()
        .filter_map(|one| one["cpu"]["usageCoreNanoSeconds"].as_u64())
        .sum();
    ensure!(parts > 0 && used + 1_000_000_000 >= parts, "a pod uses what its containers use: {two}");
    ensure!(summary["node"]["memory"]["workingSetBytes"].as_u64().is_some_and(|bytes| bytes > 0), "{summary}");
    Ok(())
}

fn autoscaling(cluster: &Cluster) -> anyhow::Result<()> {
    namespace(cluster, "scaling")?;
    let kubectl = |args: &[&str]| cluster.kubectl([&["-n", "scaling"], args].concat());
    knarr_e2e::input(
        cluster.command("kubectl").args(["-n", "scaling", "apply", "-f", "-"]),
        &BURNER.replace("IMAGE", IMAGE),
    )?;
    cluster.rolled_out("scaling", "deployment/burner")?;
    kubectl(&["autoscale", "deployment", "burner", "--min=1", "--max=2", "--cpu-percent=50"])?;
    let quick = r#"{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":0}}}}"#;
    kubectl(&["patch", "hpa", "burner", "--type=merge", "-p", quick])?;
    eventually("what an idle pod uses is known", || {
        let shown = kubectl(&["get", "hpa", "burner", "--no-headers"])?;
        ensure!(shown.contains("cpu: ") && shown.contains("%/50%") && !shown.contains("unknown"), "{shown}");
        Ok(())
    })?;
    kubectl(&["exec", "deployment/burner", "--", "touch", "/tmp/busy"])?;
    let busy = kubectl(&["get", "pods", "-l", "app=burner", "-o", "jsonpath={.items[0].metadata.name}"])?;
    replicas(cluster, 2)?;
    eventually("it is told", || {
        let events = kubectl(&["get", "events", "--field-selector", "reason=SuccessfulRescale"])?;
        ensure!(
            events.contains("New size: 2; reason: cpu resource utilization (percentage of request) above target"),
            "{events}"
        );
        Ok(())
    })?;
    let described = kubectl(&["describe", "hpa", "burner"])?;
    ensure!(described.contains("ScalingActive") && described.contains("ValidMetricFound"), "{described}");
    eventually("more is wanted than may be", || {
        let limited = r#"jsonpath={.status.conditions[?(@.type=="ScalingLimited")].reason}"#;
        let reason = kubectl(&["get", "hpa", "burner", "-o", limited])?;
        ensure!(reason == "TooManyReplicas", "{reason}");
        Ok(())
    })?;
    kubectl(&["exec", &busy, "--", "rm", "/tmp/busy"])?;
    replicas(cluster, 1)?;
    let events = kubectl(&["get", "events", "--field-selector", "reason=SuccessfulRescale"])?;
    ensure!(events.contains("New size: 1; reason: All metrics below target"), "{events}");
    Ok(())
}

fn replicas(cluster: &Cluster, count: u64) -> anyhow::Result<()> {
    eventually("the deployment has another size", || {
        let deployment = cluster.get(["-n", "scaling", "deployment", "burner"])?;
        let scaler = || cluster.kubectl(["-n", "scaling", "describe", "hpa", "burner"]).unwrap_or_default();
        ensure!(deployment["spec"]["replicas"] == count, "{}\n{}", deployment["spec"]["replicas"], scaler());
        Ok(())
    })
}

/// A metrics server in a process of its own, killed when the test ends.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("cannot end the metrics server: {error}");
        }
    }
}

impl Beside {
    fn start(cluster: &Cluster, listen: &str, log: &Path) -> anyhow::Result<Self> {
        let binary = std::env::var_os("KNARR").context("KNARR names the binary")?;
        let mut command = cluster.command(binary);
        command.args(["run", "metrics", "--kubeconfig"]).arg(cluster.kubeconfig()).args(["--metrics-listen", listen]);
        let output = std::fs::File::create(log)?;
        let child = command.stdout(output.try_clone()?).stderr(output).stdin(Stdio::null()).spawn()?;
        let beside = Self(child);
        eventually("the metrics server is ready", || {
            let said = std::fs::read_to_string(log)?;
            ensure!(said.contains("✓ metrics ready"), "{said}");
            Ok(())
        })?;
        Ok(beside)
    }
}

/// The same API from a process behind the API server: reached through a service, asked in the name of who asks.
fn elsewhere(cluster: &Cluster) -> anyhow::Result<()> {
    let address = cluster.setting("node.address")?;
    let folder = tempfile::tempdir()?;
    let server = Beside::start(cluster, &format!("{address}:14443"), &folder.path().join("metrics"))?;
    cluster.apply(&format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: metrics-server, namespace: kube-system}}
spec: {{ports: [{{name: https, port: 443}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: metrics-server, namespace: kube-system, labels: {{kubernetes.io/service-name: metrics-server}}}}
addressType: IPv4
endpoints: [{{addresses: ["{address}"], conditions: {{ready: true}}}}]
ports: [{{name: https, port: 14443}}]
"#
    ))?;
    let patch = r#"{"spec":{"insecureSkipTLSVerify":true,"service":{"namespace":"kube-system","name":"metrics-server","port":443}}}"#;
    cluster.kubectl(["patch", "apiservice", "v1beta1.metrics.k8s.io", "--type=merge", "-p", patch])?;
    eventually("it is found", || {
        let service = cluster.kubectl(["get", "apiservice", "v1beta1.metrics.k8s.io", "--no-headers"])?;
        ensure!(service.contains("kube-system/metrics-server") && service.contains("True"), "{service}");
        Ok(())
    })?;
    ensure!(cluster.kubectl(["top", "nodes", "--no-headers"])?.contains('%'));
    ensure!(cluster.kubectl(["-n", "top", "top", "pods", "--no-headers", "--as=ann"])?.contains("two"));
    let refused = cluster.kubectl(["top", "nodes", "--as=ann"]).err().context("ann may not see nodes")?;
    ensure!(format!("{refused:#}").contains("nodes.metrics.k8s.io is forbidden"), "{refused:#}");
    drop(server);
    eventually("it is missed", || {
        let service = cluster.kubectl(["get", "apiservice", "v1beta1.metrics.k8s.io", "--no-headers"])?;
        ensure!(service.contains("False (FailedDiscoveryCheck)"), "{service}");
        Ok(())
    })?;
    cluster.kubectl(["get", "pods", "-A"]).context("what else there is goes on")?;
    Ok(())
}
