//! Figures of the engines of traffic: what rules found, the pools of backends, streams.

use std::sync::Arc;

use super::{Seen, head, line};
use crate::balance::Counts;

/// A figure of a pool: name, kind, help, and where it is.
type Row = (&'static str, &'static str, &'static str, fn(&Counts) -> u64);

const POOLS: &[Row] = &[
    ("endpoints", "gauge", "endpoints of a backend", |counts| counts.endpoints),
    ("endpoints_available", "gauge", "endpoints that may be chosen", |counts| counts.available),
    ("panic", "gauge", "1 while so few endpoints are well that all are used", |counts| u64::from(counts.panic)),
    ("requests", "gauge", "requests in flight to a backend", |counts| counts.requests),
    ("connections", "gauge", "streams open to a backend", |counts| counts.connections),
    ("ejections_total", "counter", "times an endpoint was left alone for a while", |counts| counts.ejections),
    ("overflows_total", "counter", "requests refused by the bounds of a backend", |counts| counts.refusals),
    ("connect_failures_total", "counter", "connections that could not be made", |counts| counts.connect_failures),
    ("failures_total", "counter", "answers 5xx, and tries without an answer", |counts| counts.failures),
];

impl Seen {
    /// Counts what a rule or limit of a policy found; it was only told of when `enforced` is false.
    pub fn found(&self, rule: &Arc<str>, enforced: bool) {
        *self.found.lock().entry((Arc::clone(rule), enforced)).or_default() += 1;
    }

    pub(super) fn render_engines(&self, text: &mut String) {
        let name = "knarr_gateway_rule_findings_total";
        head(text, name, "counter", "requests that a rule or limit of a policy found against, by its name");
        for ((rule, enforced), count) in &*self.found.lock() {
            let mode = if *enforced { "enforce" } else { "report" };
            line(text, format_args!("{name}{{rule=\"{rule}\",mode=\"{mode}\"}} {count}"));
        }
        if self.streams.render(text).is_err() {
            tracing::debug!("invariant: a String takes whatever is written");
        }
        let Some(backends) = self.backends.get() else { return };
        let mut pools: Vec<_> =
            backends.all().iter().map(|one| (one.pool().name.clone(), one.pool().counts())).collect();
        pools.sort_by(|one, other| one.0.cmp(&other.0));
        for (name, kind, help, read) in POOLS {
            let name = format!("knarr_gateway_backend_{name}");
            head(text, &name, kind, help);
            for (pool, counts) in &pools {
                let (namespace, service, port) = (&pool.service.namespace, &pool.service.name, &pool.port);
                let value = read(counts);
                line(
                    text,
                    format_args!("{name}{{namespace=\"{namespace}\",service=\"{service}\",port=\"{port}\"}} {value}"),
                );
            }
        }
    }
}
