//! What the node's pods use: `/stats/summary` for people and autoscalers, `/metrics` for scrapers.
//!
//! Invariant: only figures that were measured; what the host does not tell is left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Server;
use crate::cgroup::Stats;
use crate::runtime::State;

/// The summary in upstream's form.
pub(super) fn summary(server: &Server) -> Value {
    let now = base::time::rfc3339(base::time::now());
    let mut pods: BTreeMap<String, (Value, Vec<Value>)> = BTreeMap::new();
    for container in server.runtime.containers() {
        if container.state != State::Running {
            continue;
        }
        let spec = &container.spec;
        let entry = pods.entry(spec.pod.uid.clone()).or_insert_with(|| {
            let reference = json!({"name": spec.pod.name, "namespace": spec.pod.namespace, "uid": spec.pod.uid});
            (reference, Vec::new())
        });
        match server.runtime.stats(&spec.id) {
            Ok(stats) => {
                let mut value = figures(&stats, &now);
                value["name"] = json!(spec.name);
                value["startTime"] = json!(base::time::rfc3339(container.started));
                entry.1.push(value);
            }
            Err(error) => tracing::debug!("figures of container {}: {}", spec.id, base::error::chain(&error)),
        }
    }
    let pods: Vec<Value> = pods
        .into_iter()
        .map(|(uid, (reference, containers))| {
            let mut pod = match server.runtime.pod_stats(&uid) {
                Ok(stats) => figures(&stats, &now),
                Err(_) => json!({}),
            };
            pod["podRef"] = reference;
            pod["containers"] = json!(containers);
            pod
        })
        .collect();
    let mut node = node_figures(&now);
    node["nodeName"] = json!(server.node_name);
    node["startTime"] = json!(base::time::rfc3339(server.started));
    json!({"node": node, "pods": pods})
}

fn figures(stats: &Stats, now: &str) -> Value {
    json!({
        "cpu": {"time": now, "usageCoreNanoSeconds": stats.cpu_nanoseconds},
        "memory": {
            "time": now,
            "usageBytes": stats.memory_bytes,
            "workingSetBytes": stats.working_set_bytes,
            "rssBytes": stats.rss_bytes,
            "pageFaults": stats.page_faults,
            "majorPageFaults": stats.major_page_faults,
        },
        "process_stats": {"process_count": stats.pids},
    })
}

fn node_figures(now: &str) -> Value {
    let memory = crate::agent::machine::memory();
    json!({
        "cpu": {"time": now, "usageCoreNanoSeconds": crate::agent::machine::cpu_nanoseconds()},
        "memory": {
            "time": now,
            "availableBytes": memory.available,
            "usageBytes": memory.total.saturating_sub(memory.free),
            "workingSetBytes": memory.total.saturating_sub(memory.available),
        },
    })
}

/// A few figures in the text form, with upstream's names.
pub(super) fn metrics(server: &Server) -> String {
    let containers = server.runtime.containers();
    let running = containers.iter().filter(|container| container.state == State::Running).count();
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, value: usize| {
        if let Err(error) = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}") {
            tracing::debug!("writing metrics: {error}");
        }
    };
    gauge("kubelet_running_pods", "Number of pods assigned to this node.", server.pods.len());
    gauge("kubelet_running_containers", "Number of containers currently running.", running);
    gauge("kubelet_known_containers", "Number of containers known to the runtime.", containers.len());
    text
}
