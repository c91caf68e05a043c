//! `knarr status`: is the cluster well, in at most 20 lines; exit code 4 when it is not.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::meant::Place;
use crate::{cli, failure, lock};

/// How long the API may take to answer before it counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of trouble shown before "and N more".
const SHOWN: usize = 10;

/// Tells how the cluster of `place` is.
pub(crate) async fn run(place: &Place, format: &str) -> anyhow::Result<ExitCode> {
    let process = lock::holder(&place.lock());
    let seen = match process {
        None => Err(anyhow::anyhow!("no process runs it; start it with knarr up --detach")),
        Some(_) => look(place).await,
    };
    let (well, report) = match seen {
        Ok(report) => (report["trouble"].as_array().is_none_or(Vec::is_empty), report),
        Err(error) => (false, json!({ "trouble": [format!("{error:#}")] })),
    };
    let mut answer = json!({ "cluster": place.name, "version": cli::VERSION, "process": process, "healthy": well });
    merge(&mut answer, report);
    if format == "table" {
        table(&answer);
    } else {
        cli::print(&answer, format)?;
    }
    Ok(ExitCode::from(if well { 0 } else { failure::UNHEALTHY }))
}

async fn look(place: &Place) -> anyhow::Result<Value> {
    let client = cli::client(&place.kubeconfig(), "knarr").await?;
    let looked = tokio::time::timeout(PATIENCE, gather(client)).await;
    looked.with_context(|| format!("the API did not answer within {} s", PATIENCE.as_secs()))?
}

async fn gather(client: Client) -> anyhow::Result<Value> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await.context("cannot list nodes")?;
    let pods = Api::<Pod>::all(client).list(&ListParams::default()).await.context("cannot list pods")?;
    let mut trouble: Vec<String> = nodes
        .items
        .iter()
        .filter(|node| !is_ready(node))
        .map(|node| format!("node {} is not ready", node.name_any()))
        .collect();
    trouble.extend(pods.items.iter().filter_map(pod_trouble));
    let running = pods.items.iter().filter(|pod| phase(pod) == "Running").count();
    Ok(json!({
        "nodes": nodes.items.iter().map(|node| json!({ "name": node.name_any(), "ready": is_ready(node) })).collect::<Vec<_>>(),
        "pods": { "running": running, "total": pods.items.len() },
        "trouble": trouble,
    }))
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|conditions| {
        conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Why a pod needs somebody, if it does: failed, or a container that waits with a reason.
fn pod_trouble(pod: &Pod) -> Option<String> {
    let name = format!("pod {}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
    let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
    let waiting =
        statuses.into_iter().flatten().find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone());
    match (phase(pod), waiting) {
        ("Failed", _) => Some(format!("{name} failed")),
        (_, Some(reason)) if reason != "ContainerCreating" && reason != "PodInitializing" => {
            Some(format!("{name}: {reason}"))
        }
        _ => None,
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}

fn table(answer: &Value) {
    let state = if answer["healthy"] == json!(true) { "✓ well" } else { "✗ not well" };
    println!("cluster {:<20} knarr {:<10} {state}", answer["cluster"].as_str().unwrap_or_default(), cli::VERSION);
    for node in answer["nodes"].as_array().into_iter().flatten() {
        let mark = if node["ready"] == json!(true) { "✓ ready" } else { "✗ not ready" };
        println!("node    {:<36} {mark}", node["name"].as_str().unwrap_or_default());
    }
    if let Some(pods) = answer.get("pods") {
        println!("pods    {} of {} running", pods["running"], pods["total"]);
    }
    let trouble: Vec<&str> = answer["trouble"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    trouble.iter().take(SHOWN).for_each(|line| println!("✗ {line}"));
    if trouble.len() > SHOWN {
        println!("  and {} more", trouble.len() - SHOWN);
    }
}
