//! What a policy says of requests, as meant.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method, StatusCode};
use regex::{Regex, RegexBuilder};

use super::super::{
    Action, By, Clients, Coding, Compression, Mode, PathKind, PathMatch, RateLimit, Retry, Rule, Rules,
    TrafficPolicySpec,
};
use super::{Faults, FindNets};
use crate::limit::{self, Cell, Places, Rate};
use crate::model::Timeouts;
use crate::retry;
use crate::rules::{self, Bounds, Nets, PathRule};

/// A pattern takes that much memory at most.
const PATTERN: usize = 1 << 20;
/// Clients told apart by one limit.
pub(crate) const CLIENTS: u32 = 100_000;

/// Settings for requests; a part that is none is not said.
#[derive(Debug, Default)]
pub struct RouteSettings {
    /// When one is sent again.
    pub retry: Option<Arc<retry::Policy>>,
    /// How many pass.
    pub limits: Option<Vec<Limit>>,
    /// How much may be under way.
    pub places: Option<Arc<Places>>,
    /// What is refused.
    pub rules: Option<rules::Rules>,
    /// Whether answers are compressed.
    pub compression: Option<(u32, BTreeSet<Coding>)>,
    /// How long things may take.
    pub timeouts: Option<Timeouts>,
}

/// Parts taken from the policies of a chain, the first that has each.
#[derive(Clone, Debug, Default)]
pub struct Settle {
    chain: Vec<Arc<RouteSettings>>,
}

impl Settle {
    /// The policies in force, the most specific first.
    #[must_use]
    pub fn new(chain: Vec<Arc<RouteSettings>>) -> Self {
        Self { chain }
    }

    /// True when no policy is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chain.is_empty()
    }

    /// A part, of the most specific policy that has it.
    pub fn part<'a, T>(&'a self, part: impl Fn(&'a RouteSettings) -> Option<T>) -> Option<T> {
        self.chain.iter().find_map(|settings| part(settings))
    }
}

/// A rate limit with its buckets.
#[derive(Debug)]
pub struct Limit {
    /// For headers, logs and metrics.
    pub name: Arc<str>,
    /// How many.
    pub rate: Rate,
    /// Of whom.
    pub per: Per,
    /// Networks whose clients are not counted.
    pub exempt: Nets,
    /// The status of a refusal.
    pub status: StatusCode,
    /// Answers say what is left.
    pub headers: bool,
}

/// The buckets of a limit.
#[derive(Debug)]
pub enum Per {
    /// One for everybody.
    All(Cell),
    /// One per address.
    Client(limit::Clients),
    /// One per value of a header.
    Header(HeaderName, limit::Clients),
}

pub(super) fn read(spec: &TrafficPolicySpec, nets: FindNets<'_>, faults: &mut Faults) -> RouteSettings {
    let places = spec.limits.as_ref().map(|written| {
        let bound = |written: Option<u32>| written.unwrap_or(u32::MAX);
        Places::new(bound(written.requests), bound(written.requests_per_client))
    });
    let timeouts = spec.timeouts.as_ref().map(|written| {
        let mut span = |name: &str, span| faults.span_if(&format!("spec.timeouts.{name}"), span);
        Timeouts {
            request: span("request", written.request.as_ref()),
            backend: span("backend", written.backend.as_ref()),
            connect: span("connect", written.connect.as_ref()),
            read: span("read", written.read.as_ref()),
            send: span("send", written.send.as_ref()),
        }
    });
    RouteSettings {
        retry: spec.retry.as_ref().map(|written| Arc::new(retry(written, faults))),
        limits: (!spec.rate_limits.is_empty()).then(|| limits(&spec.rate_limits, faults)),
        places,
        rules: spec.rules.as_ref().map(|written| rules(written, nets, faults)),
        compression: spec.compression.as_ref().map(compression),
        timeouts,
    }
}

fn retry(written: &Retry, faults: &mut Faults) -> retry::Policy {
    let milliseconds = Duration::from_millis;
    let backoff = faults.span("spec.retry.backoff", written.backoff.as_ref(), milliseconds(25));
    let longest_backoff =
        faults.span("spec.retry.longestBackoff", written.longest_backoff.as_ref(), milliseconds(250).max(backoff));
    if longest_backoff < backoff {
        faults.add("spec.retry.longestBackoff", "is less than backoff; make it as long at least");
    }
    if written.timeout && written.per_try.is_none() {
        faults.add("spec.retry.perTry", "timeout needs to know how long a try may take; say it");
    }
    retry::Policy {
        retries: written.attempts.unwrap_or(1),
        statuses: written.statuses.clone(),
        grpc: written.grpc_statuses.clone(),
        reset: written.reset,
        timeout: written.timeout,
        any_method: written.any_method,
        least_backoff: Duration::ZERO,
        backoff,
        longest_backoff,
        body_limit: written.body_bytes.unwrap_or(64 * 1024) as usize,
        per_try: faults.span_if("spec.retry.perTry", written.per_try.as_ref()).filter(|span| !span.is_zero()),
    }
}

fn limits(written: &[RateLimit], faults: &mut Faults) -> Vec<Limit> {
    let mut names = BTreeSet::new();
    let mut limits = Vec::new();
    for (number, written) in written.iter().enumerate() {
        let field = |name: &str| format!("spec.rateLimits[{number}].{name}");
        if !names.insert(&written.name) {
            faults.add(field("name"), format!("{:?} is the name of another limit too", written.name));
        }
        let per = faults.some_span(&field("per"), written.per.as_ref(), Duration::from_secs(1));
        let rate = Rate { requests: written.requests.max(1), per, burst: written.burst.unwrap_or(written.requests) };
        let clients = || limit::Clients::new(rate, written.most_clients.unwrap_or(CLIENTS) as usize);
        if written.header.is_some() && written.by != By::Header {
            faults.add(field("header"), "is for by: Header alone; take it out, or choose that");
        }
        if written.most_clients.is_some() && written.by == By::All {
            faults.add(field("mostClients"), "by: All tells no clients apart; take it out");
        }
        let per = match (written.by, written.header.as_deref().map(HeaderName::try_from)) {
            (By::All, _) => Per::All(Cell::default()),
            (By::Client, _) => Per::Client(clients()),
            (By::Header, Some(Ok(name))) => Per::Header(name, clients()),
            (By::Header, other) => {
                let what =
                    if other.is_some() { "is no name of a header" } else { "by: Header needs the name of a header" };
                faults.add(field("header"), what);
                continue;
            }
        };
        let status = status(written.status, StatusCode::TOO_MANY_REQUESTS, || field("status"), faults);
        limits.push(Limit {
            name: written.name.as_str().into(),
            rate,
            per,
            exempt: Nets::default(),
            status,
            headers: written.headers,
        });
    }
    limits
}

/// A status that tells of a refusal.
fn status(written: Option<u16>, usual: StatusCode, field: impl Fn() -> String, faults: &mut Faults) -> StatusCode {
    let Some(number) = written else { return usual };
    let read = StatusCode::from_u16(number).ok().filter(|status| status.is_client_error() || status.is_server_error());
    read.unwrap_or_else(|| {
        faults.add(field(), format!("{number} is no status of a refusal; choose one of 400 to 599"));
        usual
    })
}

fn mode(written: Mode) -> rules::Mode {
    match written {
        Mode::Enforce => rules::Mode::Enforce,
        Mode::Report => rules::Mode::Report,
    }
}

fn rules(written: &Rules, nets: FindNets<'_>, faults: &mut Faults) -> rules::Rules {
    let sizes = written.sizes.clone().unwrap_or_default();
    let bounds = Bounds {
        headers: sizes.headers,
        header_bytes: sizes.header_bytes,
        target_bytes: sizes.target_bytes,
        body_bytes: sizes.body_bytes,
    };
    let mut names = BTreeSet::new();
    let mut read = Vec::new();
    for (number, written) in written.rules.iter().enumerate() {
        let field = format!("spec.rules.rules[{number}]");
        if !names.insert(&written.name) {
            faults.add(format!("{field}.name"), format!("{:?} is the name of another rule too", written.name));
        }
        read.push(rule(written, &field, nets, faults));
    }
    rules::Rules { bounds, mode: mode(written.mode), rules: read }
}

fn rule(written: &Rule, field: &str, nets: FindNets<'_>, faults: &mut Faults) -> rules::Rule {
    let at = |name: &str| format!("{field}.{name}");
    if written.action == Action::Allow && written.status.is_some() {
        faults.add(at("status"), "is for action Deny alone; take it out");
    }
    let denied = status(written.status, StatusCode::FORBIDDEN, || at("status"), faults);
    let mut methods = Vec::new();
    for (number, method) in written.methods.iter().enumerate() {
        match Method::from_bytes(method.as_bytes()) {
            Ok(method) => methods.push(method),
            Err(_) => faults.add(format!("{field}.methods[{number}]"), format!("{method:?} is no method")),
        }
    }
    let mut paths = Vec::new();
    for (number, path) in written.paths.iter().enumerate() {
        paths.extend(path_rule(path, &format!("{field}.paths[{number}].value"), faults));
    }
    let mut agents = Vec::new();
    for (number, text) in written.user_agents.iter().enumerate() {
        agents.extend(pattern(text, &format!("{field}.userAgents[{number}]"), faults));
    }
    rules::Rule {
        name: written.name.as_str().into(),
        action: match written.action {
            Action::Allow => rules::Action::Allow,
            Action::Deny => rules::Action::Deny(denied),
        },
        mode: mode(written.mode),
        methods,
        paths,
        clients: written.clients.as_ref().map(|written| networks(written, &at("clients"), nets, faults)),
        clients_outside: written
            .clients_outside
            .as_ref()
            .map(|written| networks(written, &at("clientsOutside"), nets, faults)),
        agents,
    }
}

fn path_rule(written: &PathMatch, field: &str, faults: &mut Faults) -> Option<PathRule> {
    if written.kind == PathKind::Regex {
        return pattern(&written.value, field, faults).map(PathRule::Regex);
    }
    if !written.value.starts_with('/') {
        faults.add(field, format!("{:?} is no path; it begins with a slash", written.value));
    }
    Some(match written.kind {
        PathKind::Exact => PathRule::Exact(written.value.clone()),
        _ => PathRule::Prefix(written.value.clone()),
    })
}

fn pattern(text: &str, field: &str, faults: &mut Faults) -> Option<Regex> {
    match RegexBuilder::new(text).size_limit(PATTERN).build() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
            faults.add(field, format!("{text:?} is no pattern: {why}"));
            None
        }
    }
}

fn networks(written: &Clients, field: &str, nets: FindNets<'_>, faults: &mut Faults) -> Arc<Nets> {
    if written.networks.is_empty() && written.sets.is_empty() {
        faults.add(field, "says no network; name some in networks or sets");
    }
    let mut all = Vec::new();
    for (number, text) in written.networks.iter().enumerate() {
        match rules::net(text) {
            Some(net) => all.push(net),
            None => faults.add(
                format!("{field}.networks[{number}]"),
                format!("{text:?} is no network; write it like 192.0.2.0/24"),
            ),
        }
    }
    let own = Nets::new(all);
    let mut sets = Vec::new();
    for (number, set) in written.sets.iter().enumerate() {
        match nets(set) {
            Ok(found) => sets.push(found),
            Err(why) => faults.add(format!("{field}.sets[{number}]"), why),
        }
    }
    Arc::new(Nets::union(std::iter::once(&own).chain(sets.iter().map(|set| &**set))))
}

fn compression(written: &Compression) -> (u32, BTreeSet<Coding>) {
    let codings: BTreeSet<Coding> = match written.codings.as_slice() {
        [] => [Coding::Gzip, Coding::Br, Coding::Zstd].into(),
        some => some.iter().copied().collect(),
    };
    (written.level.unwrap_or(3).clamp(1, 9), codings)
}
