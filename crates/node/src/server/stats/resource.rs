//! `/metrics/resource`: CPU and memory of the node, its pods and their containers, in the text form of Prometheus.
//!
//! Invariant: names, labels and help are upstream's (`kubelet/metrics/collectors/resource_metrics.go`), and every figure
//! has the time it was read at: who computes a rate of two of them must know how far they are apart.

use std::fmt::Write as _;

use super::{ContainerUsage, PodUsage, Usage};
use crate::cgroup::Stats;

type Figure = fn(&Stats) -> f64;

const CPU: Figure = |stats| stats.cpu_nanoseconds as f64 / 1e9;
const MEMORY: Figure = |stats| stats.working_set_bytes as f64;
const SWAP: Figure = |stats| stats.swap_bytes as f64;

/// What is told of one sort of thing: the name's end, the kind of the figure, the help.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    stable: bool,
    figure: Figure,
}

const fn family(name: &'static str, kind: &'static str, help: &'static str, stable: bool, figure: Figure) -> Family {
    Family { name, kind, help, stable, figure }
}

static CONTAINER: [Family; 3] = [
    family(
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
        true,
        CPU,
    ),
    family(
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
        true,
        MEMORY,
    ),
    family(
        "container_swap_usage_bytes",
        "gauge",
        "Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        false,
        SWAP,
    ),
];
static NODE: [Family; 3] = [
    family(
        "node_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the node in core-seconds",
        true,
        CPU,
    ),
    family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes", true, MEMORY),
    family(
        "node_swap_usage_bytes",
        "gauge",
        "Current swap usage of the node in bytes. Reported only on non-windows systems",
        false,
        SWAP,
    ),
];
static POD: [Family; 3] = [
    family(
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
        true,
        CPU,
    ),
    family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes", true, MEMORY),
    family(
        "pod_swap_usage_bytes",
        "gauge",
        "Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
        false,
        SWAP,
    ),
];

/// The page.
pub(in super::super) fn text(usage: &Usage) -> String {
    let mut page = Page { text: String::new(), millis: usage.at.as_millisecond() };
    for family in &CONTAINER {
        page.family(family.name, family.kind, family.help, family.stable);
        for (pod, one) in containers(usage) {
            page.figure(family.name, &labels(Some(&one.name), pod), (family.figure)(&one.stats));
        }
    }
    let started = "container_start_time_seconds";
    page.family(started, "gauge", "Start time of the container since unix epoch in seconds", true);
    for (pod, one) in containers(usage) {
        let seconds = one.started.as_nanosecond() as f64 / 1e9;
        page.line(&format!("{started}{{{}}} {seconds}", labels(Some(&one.name), pod)));
    }
    for family in &NODE {
        page.family(family.name, family.kind, family.help, family.stable);
        page.figure(family.name, "", (family.figure)(&usage.node));
    }
    for family in &POD {
        page.family(family.name, family.kind, family.help, family.stable);
        for pod in &usage.pods {
            if let Some(stats) = &pod.stats {
                page.figure(family.name, &labels(None, pod), (family.figure)(stats));
            }
        }
    }
    for (name, stable) in [("resource_scrape_error", true), ("scrape_error", false)] {
        page.family(name, "gauge", "1 if there was an error while getting container metrics, 0 otherwise", stable);
        page.line(&format!("{name} {}", u8::from(usage.incomplete)));
    }
    page.text
}

fn containers(usage: &Usage) -> impl Iterator<Item = (&PodUsage, &ContainerUsage)> {
    usage.pods.iter().flat_map(|pod| pod.containers.iter().map(move |one| (pod, one)))
}

/// Names of Kubernetes objects need no escaping.
fn labels(container: Option<&str>, pod: &PodUsage) -> String {
    let container = container.map(|name| format!("container=\"{name}\",")).unwrap_or_default();
    format!("{container}namespace=\"{}\",pod=\"{}\"", pod.namespace, pod.name)
}

struct Page {
    text: String,
    millis: i64,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, stable: bool) {
        let level = if stable { "STABLE" } else { "ALPHA" };
        self.line(&format!("# HELP {name} [{level}] {help}\n# TYPE {name} {kind}"));
    }

    fn figure(&mut self, name: &str, labels: &str, value: f64) {
        let mut line = name.to_owned();
        let written = match labels {
            "" => write!(line, " {value} {}", self.millis),
            labels => write!(line, "{{{labels}}} {value} {}", self.millis),
        };
        written.expect("invariant: writing to a string cannot fail");
        self.line(&line);
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn every_figure_has_upstreams_name_and_its_own_time() {
        let stats = |cpu: u64, memory: u64| Stats {
            cpu_nanoseconds: cpu,
            working_set_bytes: memory,
            swap_bytes: 7,
            ..Stats::default()
        };
        let usage = Usage {
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            node: stats(9_500_000_000, 4096),
            pods: vec![PodUsage {
                namespace: "shop".into(),
                name: "web-1".into(),
                uid: "u".into(),
                started: Timestamp::UNIX_EPOCH,
                stats: Some(stats(2_000_000_000, 300)),
                containers: vec![ContainerUsage {
                    name: "c".into(),
                    started: Timestamp::from_millisecond(1_600_000_000_500).unwrap(),
                    stats: stats(1_250_000_000, 200),
                }],
            }],
            incomplete: false,
        };
        let page = text(&usage);
        let figures: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            figures,
            [
                r#"container_cpu_usage_seconds_total{container="c",namespace="shop",pod="web-1"} 1.25 1700000000123"#,
                r#"container_memory_working_set_bytes{container="c",namespace="shop",pod="web-1"} 200 1700000000123"#,
                r#"container_swap_usage_bytes{container="c",namespace="shop",pod="web-1"} 7 1700000000123"#,
                r#"container_start_time_seconds{container="c",namespace="shop",pod="web-1"} 1600000000.5"#,
                "node_cpu_usage_seconds_total 9.5 1700000000123",
                "node_memory_working_set_bytes 4096 1700000000123",
                "node_swap_usage_bytes 7 1700000000123",
                r#"pod_cpu_usage_seconds_total{namespace="shop",pod="web-1"} 2 1700000000123"#,
                r#"pod_memory_working_set_bytes{namespace="shop",pod="web-1"} 300 1700000000123"#,
                r#"pod_swap_usage_bytes{namespace="shop",pod="web-1"} 7 1700000000123"#,
                "resource_scrape_error 0",
                "scrape_error 0",
            ]
        );
        assert!(page.starts_with("# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds\n# TYPE container_cpu_usage_seconds_total counter\n"));
    }
}
