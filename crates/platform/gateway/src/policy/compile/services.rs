//! What a policy says of endpoints, as meant.

use std::time::Duration;

use http::HeaderName;

use super::super::{Algorithm, Balance, HashOn, HashSource, Health, Outlier, ProxyProtocol, TrafficPolicySpec, Zone};
use super::Faults;
use crate::balance::{self, Policy, Source, health};
use crate::retry::Share;

/// Settings for the endpoints of a Service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceSettings {
    /// How they are chosen.
    pub policy: Policy,
    /// How many retries there may be.
    pub budget: Share,
    /// What they are sent before anything else.
    pub proxy_protocol: Option<ProxyProtocol>,
}

const PANIC: u8 = 50;

pub(super) fn read(spec: &TrafficPolicySpec, faults: &mut Faults) -> ServiceSettings {
    let mut policy = Policy { prefer_zone: true, ..Policy::default() };
    if spec.health.is_some() || spec.outlier.is_some() {
        policy.panic_percent = PANIC;
    }
    if let Some(written) = &spec.balance {
        balance(written, &mut policy, faults);
    }
    policy.health = spec.health.as_ref().and_then(|written| check(written, faults));
    if let Some(written) = &spec.outlier {
        policy.outlier = outlier(written, faults);
    }
    if let Some(written) = &spec.circuit {
        let bound = |written: Option<u32>| written.unwrap_or(u32::MAX);
        policy.circuit = balance::Circuit {
            connections: bound(written.connections),
            pending: bound(written.pending),
            requests: bound(written.requests),
            retries: bound(written.retries),
            per_endpoint: bound(written.per_endpoint),
        };
    }
    let mut budget = Share::default();
    if let Some(written) = &spec.retry_budget {
        budget.percent = written.percent.map_or(budget.percent, u32::from);
        budget.interval = faults.some_span("spec.retryBudget.interval", written.interval.as_ref(), budget.interval);
        budget.least_per_second = written.least_per_second.unwrap_or(budget.least_per_second);
    }
    ServiceSettings { policy, budget, proxy_protocol: spec.proxy_protocol }
}

fn balance(written: &Balance, policy: &mut Policy, faults: &mut Faults) {
    policy.prefer_zone = written.zone == Zone::Prefer;
    policy.panic_percent = written.panic_percent.unwrap_or(policy.panic_percent);
    policy.algorithm = match written.algorithm {
        Algorithm::RoundRobin => balance::Algorithm::RoundRobin,
        Algorithm::LeastRequests => balance::Algorithm::LeastRequests,
        Algorithm::Random => balance::Algorithm::Random,
        Algorithm::RingHash => balance::Algorithm::RingHash(source(written.hash_on.as_ref(), faults)),
    };
    if written.hash_on.is_some() && written.algorithm != Algorithm::RingHash {
        faults.add("spec.balance.hashOn", "is for algorithm RingHash alone; take it out, or choose that");
    }
    if let Some(slow) = &written.slow_start {
        if written.algorithm == Algorithm::RingHash {
            faults.add(
                "spec.balance.slowStart",
                "is not for algorithm RingHash: keys would move while an endpoint grows; take it out",
            );
        }
        let window = faults.some_span("spec.balance.slowStart.window", Some(&slow.window), Duration::from_secs(1));
        policy.slow_start = Some(balance::SlowStart { window, least_percent: slow.least_percent.unwrap_or(10) });
    }
}

fn source(written: Option<&HashOn>, faults: &mut Faults) -> Source {
    let Some(written) = written else {
        faults.add("spec.balance.hashOn", "algorithm RingHash needs to know what decides; say its source");
        return Source::Client;
    };
    let field = "spec.balance.hashOn.name";
    match (written.source, written.name.as_deref()) {
        (HashSource::Client | HashSource::Uri, Some(_)) => {
            faults.add(field, "source Client or Uri has no name; take it out")
        }
        (HashSource::Header | HashSource::Cookie, None) => faults.add(field, "source Header or Cookie needs a name"),
        _ => {}
    }
    let name = written.name.clone().unwrap_or_default();
    match written.source {
        HashSource::Client => Source::Client,
        HashSource::Uri => Source::Uri,
        HashSource::Cookie => Source::Cookie(name),
        HashSource::Header => match HeaderName::try_from(&name) {
            Ok(name) => Source::Header(name),
            Err(_) => {
                if !name.is_empty() {
                    faults.add(field, format!("{name:?} is no name of a header"));
                }
                Source::Client
            }
        },
    }
}

fn check(written: &Health, faults: &mut Faults) -> Option<health::Check> {
    let ranges = |statuses: &[u16]| match statuses {
        [] => vec![200..=299],
        some => some.iter().map(|status| *status..=*status).collect(),
    };
    let probe = match (&written.http, &written.tcp, &written.grpc) {
        (Some(http), None, None) => {
            if http.path.parse::<http::uri::PathAndQuery>().is_err() || !http.path.starts_with('/') {
                faults.add("spec.health.http.path", format!("{:?} is no path; it begins with a slash", http.path));
            }
            if http.host.as_ref().is_some_and(|host| http::HeaderValue::try_from(host).is_err()) {
                faults.add("spec.health.http.host", "is no value of a Host header");
            }
            health::Probe::Http { host: http.host.clone(), path: http.path.clone(), expect: ranges(&http.statuses) }
        }
        (None, Some(_), None) => health::Probe::Tcp,
        (None, None, Some(grpc)) => health::Probe::Grpc { service: grpc.service.clone() },
        _ => {
            faults.add("spec.health", "say one of http, tcp, grpc");
            return None;
        }
    };
    let seconds = Duration::from_secs;
    let timeout = faults.some_span("spec.health.timeout", written.timeout.as_ref(), seconds(2));
    let interval = faults.some_span("spec.health.interval", written.interval.as_ref(), seconds(10));
    let (healthy, unhealthy) = (written.healthy.unwrap_or(2), written.unhealthy.unwrap_or(3));
    Some(health::Check { probe, interval, timeout, healthy, unhealthy, port: written.port })
}

fn outlier(written: &Outlier, faults: &mut Faults) -> balance::Outlier {
    let seconds = Duration::from_secs;
    let base = faults.some_span("spec.outlier.base", written.base.as_ref(), seconds(30));
    let longest = faults.some_span("spec.outlier.longest", written.longest.as_ref(), seconds(300).max(base));
    if longest < base {
        faults.add("spec.outlier.longest", "is less than base; make it as long at least");
    }
    balance::Outlier {
        server_errors: written.server_errors.unwrap_or(5),
        gateway_errors: written.gateway_errors.unwrap_or(0),
        connect_failures: written.connect_failures.unwrap_or(1),
        base,
        longest,
        most_percent: written.most_percent.unwrap_or(50),
    }
}
