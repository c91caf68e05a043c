//! Request counts and latencies under upstream's names, in the Prometheus text format.
//!
//! A request is counted by verb, group, version, resource and code. Series are made on first use; the label set is bounded
//! by the rows of the catalog, because a request for a resource that does not exist is counted without its name.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::request::Info;

const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 60.0];

#[derive(Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<(Labels, u16), u64>>,
    latencies: Mutex<BTreeMap<Labels, Histogram>>,
    running: std::sync::atomic::AtomicI64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Labels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
}

#[derive(Default)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

/// One request being measured; counts as running until dropped.
pub(crate) struct Sample {
    metrics: Arc<Metrics>,
    started: Instant,
    labels: Labels,
    long: bool,
}

impl Sample {
    pub(crate) fn start(metrics: &Arc<Metrics>) -> Self {
        metrics.running.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Self { metrics: metrics.clone(), started: Instant::now(), labels: Labels::default(), long: false }
    }

    pub(crate) fn describe(&mut self, info: &Info, method: &str) {
        self.long = info.is_long_running();
        self.labels = if info.is_resource {
            Labels {
                verb: info.verb.to_ascii_uppercase(),
                group: info.group.clone(),
                version: info.version.clone(),
                resource: info.resource.clone(),
                subresource: info.subresource.clone(),
            }
        } else {
            Labels { verb: method.to_owned(), ..Labels::default() }
        };
    }

    pub(crate) fn finish(mut self, code: u16) {
        let mut labels = std::mem::take(&mut self.labels);
        if code == 404 && labels.subresource.is_empty() && labels.verb != "GET" {
            labels.resource.clear();
        }
        if code == 404 && (labels.verb.is_empty() || labels.version.is_empty()) {
            labels = Labels { verb: labels.verb, ..Labels::default() };
        }
        *self.metrics.requests.lock().entry((labels.clone(), code)).or_default() += 1;
        if !self.long {
            self.metrics.latencies.lock().entry(labels).or_default().observe(self.started.elapsed());
        }
    }
}

impl Drop for Sample {
    fn drop(&mut self) {
        self.metrics.running.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Histogram {
    fn observe(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bucket, bound) in self.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

impl Labels {
    fn text(&self) -> String {
        let Self { verb, group, version, resource, subresource } = self;
        format!(
            "verb=\"{verb}\",group=\"{group}\",version=\"{version}\",resource=\"{resource}\",subresource=\"{subresource}\""
        )
    }
}

impl Metrics {
    pub(crate) fn render(&self, revision: u64) -> String {
        let mut out = String::new();
        let head = |name: &str, kind: &str, help: &str| format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        let requests = head("apiserver_request_total", "counter", "Requests by verb, resource and code.");
        let latencies = head("apiserver_request_duration_seconds", "histogram", "Time to answer, without watches.");
        let running = head("apiserver_current_inflight_requests", "gauge", "Requests being answered.");
        let revisions = head("knarr_store_revision", "gauge", "Newest revision of the store.");
        out.push_str(&requests);
        for ((labels, code), count) in &*self.requests.lock() {
            line(&mut out, format_args!("apiserver_request_total{{{},code=\"{code}\"}} {count}", labels.text()));
        }
        out.push_str(&latencies);
        for (labels, histogram) in &*self.latencies.lock() {
            let (labels, name) = (labels.text(), "apiserver_request_duration_seconds");
            for (bound, count) in BOUNDS.iter().zip(histogram.buckets) {
                line(&mut out, format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}"));
            }
            line(&mut out, format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {}", histogram.count));
            line(&mut out, format_args!("{name}_sum{{{labels}}} {}", histogram.sum));
            line(&mut out, format_args!("{name}_count{{{labels}}} {}", histogram.count));
        }
        out.push_str(&running);
        let now = self.running.load(std::sync::atomic::Ordering::Relaxed);
        line(&mut out, format_args!("apiserver_current_inflight_requests {now}"));
        out.push_str(&revisions);
        line(&mut out, format_args!("knarr_store_revision {revision}"));
        out
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("invariant: writing to a string cannot fail");
    out.push('\n');
}
