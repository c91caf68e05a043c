//! What the node and its pods use: `/stats/summary` for people, `/metrics/resource` for autoscalers, `/metrics` for
//! scrapers.
//!
//! Invariant: only figures that were measured; what the host does not tell is left out. Nothing is measured unless
//! somebody asks: each answer is read from the kernel while it is asked for, and its time is that of the reading.

mod resource;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Server;
use crate::agent::machine;
use crate::cgroup::Stats;
use crate::runtime::State;
pub(super) use resource::text as resource_metrics;

/// A rate over less says more of the scheduler's tick than of the load; over more, nothing of the present.
const SHORTEST_RATE: SignedDuration = SignedDuration::from_secs(1);
const LONGEST_RATE: SignedDuration = SignedDuration::from_secs(300);

/// What is used on this node, read at one time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Usage {
    pub(super) at: Timestamp,
    pub(super) node: Stats,
    pub(super) pods: Vec<PodUsage>,
    /// Whether something that runs could not be read.
    pub(super) incomplete: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct PodUsage {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    /// When the first of its containers started.
    pub(super) started: Timestamp,
    /// None if it has no group of its own any more.
    pub(super) stats: Option<Stats>,
    pub(super) containers: Vec<ContainerUsage>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct ContainerUsage {
    pub(super) name: String,
    pub(super) started: Timestamp,
    pub(super) stats: Stats,
}

/// Reads what is used now by everything that runs.
pub(super) fn usage(server: &Server) -> Usage {
    let (mut pods, mut incomplete) = (BTreeMap::new(), false);
    for container in server.runtime.containers() {
        if container.state != State::Running {
            continue;
        }
        let spec = &container.spec;
        let stats = match server.runtime.stats(&spec.id) {
            Ok(stats) => stats,
            Err(error) => {
                tracing::debug!("figures of container {}: {}", spec.id, base::error::chain(&error));
                incomplete = true;
                continue;
            }
        };
        let key = (spec.pod.namespace.clone(), spec.pod.name.clone(), spec.pod.uid.clone());
        let pod = pods.entry(key).or_insert_with(|| PodUsage {
            namespace: spec.pod.namespace.clone(),
            name: spec.pod.name.clone(),
            uid: spec.pod.uid.clone(),
            started: container.started,
            stats: server.runtime.pod_stats(&spec.pod.uid).ok(),
            containers: Vec::new(),
        });
        pod.started = pod.started.min(container.started);
        pod.containers.push(ContainerUsage { name: spec.name.clone(), started: container.started, stats });
    }
    Usage { at: base::time::now(), node: machine::usage(), pods: pods.into_values().collect(), incomplete }
}

/// What was counted when the summary was last asked for: without a poll of its own the node knows how fast something
/// runs only between two questions.
#[derive(Debug, Default)]
pub(super) struct Rates {
    counted: Mutex<(Option<Timestamp>, HashMap<String, u64>)>,
}

impl Rates {
    /// CPU in use between the last question and this one, in billionths of a core, by pod and container.
    fn next(&self, usage: &Usage) -> HashMap<String, u64> {
        let mut counted: HashMap<String, u64> = HashMap::from([(String::new(), usage.node.cpu_nanoseconds)]);
        for pod in &usage.pods {
            counted.extend(pod.stats.map(|stats| (key(pod, ""), stats.cpu_nanoseconds)));
            counted.extend(pod.containers.iter().map(|one| (key(pod, &one.name), one.stats.cpu_nanoseconds)));
        }
        let mut held = self.counted.lock();
        let passed = held.0.map_or(SignedDuration::ZERO, |before| usage.at.duration_since(before));
        if passed < SHORTEST_RATE {
            if held.0.is_none() || passed.is_negative() {
                *held = (Some(usage.at), counted);
            }
            return HashMap::new();
        }
        let before = std::mem::replace(&mut *held, (Some(usage.at), counted));
        if passed > LONGEST_RATE {
            return HashMap::new();
        }
        let rate = |(key, now): (&String, &u64)| {
            let spent = now.checked_sub(*before.1.get(key)?)?;
            let rate = u128::from(spent) * 1_000_000_000 / u128::try_from(passed.as_nanos()).ok()?;
            Some((key.clone(), u64::try_from(rate).ok()?))
        };
        held.1.iter().filter_map(rate).collect()
    }
}

fn key(pod: &PodUsage, container: &str) -> String {
    format!("{}/{container}", pod.uid)
}

/// The summary in upstream's form.
pub(super) fn summary(server: &Server, query: &str) -> Value {
    let usage = usage(server);
    let rates = server.rates.next(&usage);
    let short = query.split('&').any(|pair| pair == "only_cpu_and_memory=true");
    let at = base::time::rfc3339(usage.at);
    let pods: Vec<Value> = usage.pods.iter().map(|pod| pod_summary(pod, &rates, &at, short)).collect();
    let mut node = figures(&usage.node, rates.get(""), &at);
    node["memory"]["availableBytes"] = json!(machine::memory().total.saturating_sub(usage.node.working_set_bytes));
    node["nodeName"] = json!(server.node_name);
    node["startTime"] = json!(base::time::rfc3339(server.started));
    json!({ "node": node, "pods": pods })
}

fn pod_summary(pod: &PodUsage, rates: &HashMap<String, u64>, at: &str, short: bool) -> Value {
    let containers: Vec<Value> = pod
        .containers
        .iter()
        .map(|one| {
            let mut value = figures(&one.stats, rates.get(&key(pod, &one.name)), at);
            value["name"] = json!(one.name);
            value["startTime"] = json!(base::time::rfc3339(one.started));
            value
        })
        .collect();
    let mut value = pod.stats.map_or_else(|| json!({}), |stats| figures(&stats, rates.get(&key(pod, "")), at));
    if let Some(stats) = pod.stats.filter(|_| !short) {
        value["process_stats"] = json!({ "process_count": stats.pids });
    }
    value["podRef"] = json!({ "name": pod.name, "namespace": pod.namespace, "uid": pod.uid });
    value["startTime"] = json!(base::time::rfc3339(pod.started));
    value["containers"] = json!(containers);
    value
}

fn figures(stats: &Stats, rate: Option<&u64>, at: &str) -> Value {
    let mut value = json!({
        "cpu": { "time": at, "usageCoreNanoSeconds": stats.cpu_nanoseconds },
        "memory": {
            "time": at,
            "usageBytes": stats.memory_bytes,
            "workingSetBytes": stats.working_set_bytes,
            "rssBytes": stats.rss_bytes,
            "pageFaults": stats.page_faults,
            "majorPageFaults": stats.major_page_faults,
        },
        "swap": { "time": at, "swapUsageBytes": stats.swap_bytes },
    });
    if let Some(rate) = rate {
        value["cpu"]["usageNanoCores"] = json!(rate);
    }
    if let Some(limit) = stats.memory_limit {
        value["memory"]["availableBytes"] = json!(limit.saturating_sub(stats.working_set_bytes));
    }
    value
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

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, cpu: u64) -> Usage {
        Usage {
            at: Timestamp::from_second(seconds).unwrap(),
            node: Stats { cpu_nanoseconds: cpu, ..Stats::default() },
            pods: Vec::new(),
            incomplete: false,
        }
    }

    #[test]
    fn a_rate_is_what_was_used_between_two_questions() {
        let rates = Rates::default();
        let of_node = |usage: &Usage| rates.next(usage).get("").copied();
        assert_eq!(of_node(&at(100, 1_000_000_000)), None, "nothing to compare with");
        assert_eq!(of_node(&at(110, 6_000_000_000)), Some(500_000_000), "half a core for ten seconds");
        assert_eq!(of_node(&at(110, 6_100_000_000)), None, "too soon; what was counted before stays");
        assert_eq!(of_node(&at(112, 8_000_000_000)), Some(1_000_000_000));
        assert_eq!(of_node(&at(1000, 9_000_000_000)), None, "too long ago");
        assert_eq!(of_node(&at(1002, 8_000_000_000)), None, "a counter that went back started anew");
        assert_eq!(of_node(&at(900, 8_000_000_000)), None, "a clock that went back");
        assert_eq!(of_node(&at(901, 8_500_000_000)), Some(500_000_000));
    }

    #[test]
    fn a_limit_says_what_is_left() {
        let stats = Stats { working_set_bytes: 30, memory_limit: Some(100), ..Stats::default() };
        assert_eq!(figures(&stats, None, "t")["memory"]["availableBytes"], 70);
        assert_eq!(figures(&Stats::default(), None, "t")["memory"]["availableBytes"], Value::Null);
    }
}
