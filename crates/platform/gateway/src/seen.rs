//! What can be seen of the gateway: figures per route, and a line per request.
//!
//! Invariants: a request costs no more than a short lock of its own route's figures; what a client
//! writes (hosts, paths, methods that are none) never becomes a label; figures outlive the table.

mod access;
mod engines;
mod figures;
mod trace;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use parking_lot::Mutex;

use crate::backend::Registry;
use crate::model::{Model, Rule, Serves, Source};
use crate::stream;
pub use access::{AccessLog, Line};
pub use figures::Figures;
pub use trace::{Context, Span, Tracer};

/// Figures of one gateway.
#[derive(Debug, Default)]
pub struct Seen {
    routes: Mutex<BTreeMap<Arc<Source>, Arc<Figures>>>,
    refused: Mutex<BTreeMap<&'static str, u64>>,
    /// By the name of the rule or limit of a policy, and whether it counted.
    found: Mutex<BTreeMap<(Arc<str>, bool), u64>>,
    /// Figures of streams.
    pub streams: Arc<stream::Figures>,
    /// The backends whose pools are told of.
    pub backends: OnceLock<Arc<Registry>>,
    /// Connections open now.
    pub connections: AtomicI64,
    /// Connections there were.
    pub accepted: AtomicU64,
    /// TLS handshakes that failed.
    pub handshakes_failed: AtomicU64,
    /// Where lines about requests go.
    pub access: Option<AccessLog>,
    /// Where spans go.
    pub tracer: Option<Tracer>,
}

/// One request, when it has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// Its rule.
    pub rule: Option<&'a Rule>,
    /// Who answered it, as [`crate::model::Backend::name`] says.
    pub backend: Option<&'a crate::model::Backend>,
    /// Its method.
    pub method: &'a Method,
    /// The status of the answer; none when there was none.
    pub status: Option<StatusCode>,
    /// How long it took.
    pub time: Duration,
    /// Bytes of its body, and of its answer's.
    pub bytes: (u64, u64),
    /// Why it was refused, if it was.
    pub refused: Option<&'static str>,
}

impl Seen {
    /// No figures yet; lines about requests go to `access`, spans to `tracer`.
    #[must_use]
    pub fn new(access: Option<AccessLog>, tracer: Option<Tracer>) -> Self {
        Self { access, tracer, ..Self::default() }
    }

    /// Counts a request.
    pub fn count(&self, ended: &Ended<'_>) {
        if let Some(why) = ended.refused {
            *self.refused.lock().entry(why).or_default() += 1;
        }
        let Some(rule) = ended.rule else { return };
        let figures =
            rule.figures.get_or_init(|| Arc::clone(self.routes.lock().entry(Arc::clone(&rule.source)).or_default()));
        figures.count(ended);
    }

    /// Gives the rules of a new model the figures they had in the one before.
    pub fn adopt(&self, model: &Model) {
        let known = self.routes.lock();
        if known.is_empty() {
            return;
        }
        for listener in model.doors.values().flatten() {
            let Serves::Http(routes) = &listener.serves else { continue };
            for rule in routes.iter().map(|route| &route.rule) {
                if let Some(figures) = known.get(&rule.source) {
                    rule.figures.get_or_init(|| Arc::clone(figures));
                }
            }
        }
    }

    /// Forgets the figures of rules that are gone.
    pub fn tidy(&self) {
        self.routes.lock().retain(|_, figures| Arc::strong_count(figures) > 1);
    }

    /// All figures in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        let routes: Vec<_> = self.routes.lock().iter().map(|(s, f)| (Arc::clone(s), Arc::clone(f))).collect();
        figures::render(&routes, &mut text);
        head(&mut text, "knarr_gateway_refused_total", "counter", "requests refused by the gateway itself, by reason");
        for (why, count) in &*self.refused.lock() {
            line(&mut text, format_args!("knarr_gateway_refused_total{{reason=\"{why}\"}} {count}"));
        }
        let single = [
            ("knarr_gateway_connections", "gauge", "connections open", self.connections.load(Ordering::Relaxed).into()),
            ("knarr_gateway_connections_total", "counter", "connections taken", count(&self.accepted)),
            (
                "knarr_gateway_handshakes_failed_total",
                "counter",
                "TLS handshakes that failed",
                count(&self.handshakes_failed),
            ),
        ];
        for (name, kind, help, value) in single {
            let value: i128 = value;
            head(&mut text, name, kind, help);
            line(&mut text, format_args!("{name} {value}"));
        }
        self.render_engines(&mut text);
        if let Some(tracer) = &self.tracer {
            let name = "knarr_gateway_spans_lost_total";
            head(&mut text, name, "counter", "spans that the collector did not take");
            line(&mut text, format_args!("{name} {}", tracer.lost()));
        }
        if let Some(access) = &self.access {
            let name = "knarr_gateway_access_lines_lost_total";
            head(&mut text, name, "counter", "lines about requests that were not written, for the writer was behind");
            line(&mut text, format_args!("{name} {}", access.lost()));
        }
        text
    }
}

fn count(counter: &AtomicU64) -> i128 {
    counter.load(Ordering::Relaxed).into()
}

pub(crate) fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

pub(crate) fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(what);
    text.push('\n');
}
