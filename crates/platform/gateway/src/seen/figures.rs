//! The figures of one rule: requests by answer and backend, times, bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{Ended, head, line};
use crate::model::{Endpoints, Source};

/// Upper bounds of the buckets of times, seconds.
const BOUNDS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Methods that have a label of their own.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "CONNECT"];

/// The figures of one rule.
#[derive(Debug, Default)]
pub struct Figures {
    answers: Mutex<Vec<Answers>>,
    buckets: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

/// How often one backend gave one answer.
#[derive(Debug)]
struct Answers {
    backend: Option<Arc<Endpoints>>,
    status: u16,
    method: &'static str,
    count: u64,
}

impl Figures {
    pub(super) fn count(&self, ended: &Ended<'_>) {
        let status = ended.status.map_or(0, |status| status.as_u16());
        let method = METHODS.iter().find(|known| **known == ended.method.as_str()).copied().unwrap_or("other");
        let backend = ended.backend.map(|backend| &backend.endpoints);
        {
            let mut answers = self.answers.lock();
            let same = |known: &&mut Answers| {
                let backends = match (&known.backend, backend) {
                    (Some(one), Some(two)) => Arc::ptr_eq(one, two),
                    (None, None) => true,
                    _ => false,
                };
                known.status == status && known.method == method && backends
            };
            match answers.iter_mut().find(same) {
                Some(known) => known.count += 1,
                None => answers.push(Answers { backend: backend.cloned(), status, method, count: 1 }),
            }
        }
        let seconds = ended.time.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let microseconds = u64::try_from(ended.time.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
        self.received.fetch_add(ended.bytes.0, Ordering::Relaxed);
        self.sent.fetch_add(ended.bytes.1, Ordering::Relaxed);
    }
}

/// The labels that name a rule. Names of Kubernetes need no quoting.
fn labels(source: &Source) -> String {
    let Source { kind, key, section } = source;
    format!("kind=\"{kind}\",namespace=\"{}\",name=\"{}\",rule=\"{}\"", key.namespace, key.name, quoted(section))
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A counter's name, its meaning, and where it is.
type Counter = (&'static str, &'static str, fn(&Figures) -> &AtomicU64);

/// Writes the figures of all rules.
pub(super) fn render(routes: &[(Arc<Source>, Arc<Figures>)], text: &mut String) {
    let name = "knarr_gateway_requests_total";
    head(text, name, "counter", "requests by rule, backend, method and status; status 0 is a client that went away");
    for (source, figures) in routes {
        for answers in &*figures.answers.lock() {
            let backend = answers.backend.as_ref().map(|b| format!("{}:{}", b.service, b.port)).unwrap_or_default();
            let Answers { status, method, count, .. } = answers;
            let labels = labels(source);
            line(
                text,
                format_args!("{name}{{{labels},backend=\"{backend}\",method=\"{method}\",code=\"{status}\"}} {count}"),
            );
        }
    }
    let name = "knarr_gateway_request_duration_seconds";
    head(text, name, "histogram", "time from a request's header to the end of its answer");
    for (source, figures) in routes {
        let (labels, mut sum) = (labels(source), 0);
        for (at, bucket) in figures.buckets.iter().enumerate() {
            sum += bucket.load(Ordering::Relaxed);
            let bound = BOUNDS.get(at).map_or("+Inf".to_owned(), ToString::to_string);
            line(text, format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {sum}"));
        }
        #[expect(clippy::cast_precision_loss, reason = "a sum of seconds for people")]
        let seconds = figures.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        line(text, format_args!("{name}_sum{{{labels}}} {seconds}"));
        line(text, format_args!("{name}_count{{{labels}}} {sum}"));
    }
    let bytes: [Counter; 2] = [
        ("knarr_gateway_received_bytes_total", "bytes of bodies of requests", |figures| &figures.received),
        ("knarr_gateway_sent_bytes_total", "bytes of bodies of answers", |figures| &figures.sent),
    ];
    for (name, help, read) in bytes {
        head(text, name, "counter", help);
        for (source, figures) in routes {
            line(text, format_args!("{name}{{{}}} {}", labels(source), read(figures).load(Ordering::Relaxed)));
        }
    }
}
