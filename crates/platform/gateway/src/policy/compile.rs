//! A policy as meant: settings for the engines, or every contradiction by its field.
//!
//! Pure. The buckets of limits live in what is compiled, so whoever keeps it over rebuilds of the
//! table ([`crate::policies`]) keeps what clients have used up.

mod requests;
mod services;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{NetsRef, Span, TrafficPolicySpec};
use crate::rules::Nets;

pub(crate) use requests::CLIENTS;
pub use requests::{Limit, Per, RouteSettings, Settle};
pub use services::ServiceSettings;

/// Something that cannot be as it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where, as `spec.rules.rules[2].paths[0].value`.
    pub field: String,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// A policy as meant. One of the two is empty: a policy is for Services or for requests.
#[derive(Clone, Debug, Default)]
pub struct Compiled {
    /// For the Services it targets.
    pub service: Option<Arc<ServiceSettings>>,
    /// For the requests of what it targets.
    pub route: Option<Arc<RouteSettings>>,
}

/// Finds a list of networks in a ConfigMap of the policy's namespace; an error tells why there is none.
pub type FindNets<'a> = &'a dyn Fn(&NetsRef) -> Result<Arc<Nets>, String>;

/// Reads a policy as meant.
///
/// # Errors
/// Every contradiction in it.
pub fn compile(spec: &TrafficPolicySpec, nets: FindNets<'_>) -> Result<Compiled, Vec<Fault>> {
    let mut faults = Faults::default();
    let services = spec.target_refs.iter().filter(|target| target.kind == "Service").count();
    let (for_services, for_requests) = (services > 0, services < spec.target_refs.len());
    for (field, written, is_for_services) in parts(spec) {
        let wrong = (is_for_services && for_requests) || (!is_for_services && for_services);
        if written && wrong {
            let (are, other) = if is_for_services {
                ("Services", "Gateways, routes and Ingresses")
            } else {
                ("Gateways, routes and Ingresses", "Services")
            };
            faults.add(
                field,
                format!("this is for {are}; make another policy for it, or take the {other} out of spec.targetRefs"),
            );
        }
    }
    if !parts(spec).iter().any(|(_, written, _)| *written) {
        faults.add("spec", "the policy says nothing; add a part such as balance or rateLimits");
    }
    let compiled = Compiled {
        service: for_services.then(|| Arc::new(services::read(spec, &mut faults))),
        route: for_requests.then(|| Arc::new(requests::read(spec, nets, &mut faults))),
    };
    if faults.0.is_empty() { Ok(compiled) } else { Err(faults.0) }
}

/// Every part of a policy: its field, whether it is written, and whether it is for Services.
fn parts(spec: &TrafficPolicySpec) -> [(&'static str, bool, bool); 12] {
    [
        ("spec.balance", spec.balance.is_some(), true),
        ("spec.health", spec.health.is_some(), true),
        ("spec.outlier", spec.outlier.is_some(), true),
        ("spec.circuit", spec.circuit.is_some(), true),
        ("spec.retryBudget", spec.retry_budget.is_some(), true),
        ("spec.proxyProtocol", spec.proxy_protocol.is_some(), true),
        ("spec.retry", spec.retry.is_some(), false),
        ("spec.rateLimits", !spec.rate_limits.is_empty(), false),
        ("spec.limits", spec.limits.is_some(), false),
        ("spec.rules", spec.rules.is_some(), false),
        ("spec.compression", spec.compression.is_some(), false),
        ("spec.timeouts", spec.timeouts.is_some(), false),
    ]
}

#[derive(Debug, Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Fault { field: field.into(), message: message.into() });
    }

    /// The time that is written, or `usual`.
    fn span(&mut self, field: &str, written: Option<&Span>, usual: Duration) -> Duration {
        self.span_if(field, written).unwrap_or(usual)
    }

    /// The time that is written.
    fn span_if(&mut self, field: &str, written: Option<&Span>) -> Option<Duration> {
        let text = &written?.0;
        let read = duration(text);
        if read.is_none() {
            self.add(field, format!("{text:?} is no duration; write it like 1h, 30s or 250ms"));
        }
        read
    }

    /// A time that is more than nothing.
    fn some_span(&mut self, field: &str, written: Option<&Span>, usual: Duration) -> Duration {
        let span = self.span(field, written, usual);
        if span.is_zero() {
            self.add(field, "must be more than nothing");
            return usual;
        }
        span
    }
}

/// A duration of GEP-2257: up to four numbers of up to five digits, each with `h`, `m`, `s` or `ms`.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    let (mut sum, mut rest, mut parts) = (Duration::ZERO, text, 0);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, after) = rest.split_at(digits);
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(letters);
        let number: u64 = number.parse().ok().filter(|_| digits <= 5)?;
        sum += match unit {
            "h" => Duration::from_secs(number * 3600),
            "m" => Duration::from_secs(number * 60),
            "s" => Duration::from_secs(number),
            "ms" => Duration::from_millis(number),
            _ => return None,
        };
        (rest, parts) = (after, parts + 1);
    }
    (1..=4).contains(&parts).then_some(sum)
}
