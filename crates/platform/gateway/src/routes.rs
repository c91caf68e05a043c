//! Which backend serves a request: the Ingresses of the cluster as a lookup table.
//!
//! Of all rules that match host and path the most specific wins: an exact host before a wildcard
//! before none, then the longest path, then `Exact` before `Prefix`, then the oldest Ingress. What
//! no rule matches goes to the `defaultBackend` of an Ingress that names the host, then to that of
//! an Ingress without rules. Invariant: no I/O, no clock; the table only changes in one way after
//! it is built: the addresses behind a backend follow their service ([`Table::refresh`]), so that
//! a pod that becomes ready costs nothing but its own service's work.

mod backend;
mod build;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use rustls::sign::CertifiedKey;

pub use backend::{Backend, Port, endpoints};
pub use build::{CONTROLLER, Certificate, World, build, is_ours};

/// The table in force, shared by everyone who serves.
pub type Shared = Arc<ArcSwap<Table>>;

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Route {
    /// The Ingress that asked for it.
    pub ingress: Key,
    /// Who serves it.
    pub backend: Arc<Backend>,
    /// Plain HTTP is sent on to HTTPS when the host has TLS.
    pub redirect: bool,
}

/// Something an Ingress asks for that cannot be given.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fault {
    /// The Ingress.
    pub ingress: Key,
    /// One word for machines.
    pub reason: &'static str,
    /// What and why, for people.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.ingress, self.message)
    }
}

/// All routes and certificates.
#[derive(Debug, Default)]
pub struct Table {
    hosts: HashMap<String, Paths>,
    /// By what follows `*.`.
    wildcards: HashMap<String, Paths>,
    any: Paths,
    default: Option<Route>,
    /// Hosts with TLS; without a certificate when there is none to be used.
    tls: HashMap<String, Option<Arc<CertifiedKey>>>,
    tls_wildcards: HashMap<String, Option<Arc<CertifiedKey>>>,
    backends: HashMap<Key, Vec<Arc<Backend>>>,
    /// The Ingresses that are ours.
    pub served: BTreeSet<Key>,
    /// What could not be given.
    pub faults: BTreeSet<Fault>,
}

/// The paths of one host.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<String, Route>,
    /// Keys without trailing slashes, so that `/` is the empty key.
    prefix: HashMap<String, Route>,
    /// Length of the longest key of `prefix`: longer candidates need no lookup.
    longest: usize,
    default: Option<Route>,
}

impl Paths {
    fn find(&self, path: &str) -> Option<&Route> {
        if let Some(route) = self.exact.get(path) {
            return Some(route); // no prefix can be longer
        }
        let mut rest = path;
        loop {
            if rest.len() <= self.longest
                && let Some(route) = self.prefix.get(rest)
            {
                return Some(route);
            }
            rest = &rest[..rest.rfind('/')?];
        }
    }
}

impl Table {
    /// Who serves `path` (without its query) of `host` (a port, case and a final dot do not matter).
    #[must_use]
    pub fn find(&self, host: &str, path: &str) -> Option<&Route> {
        let host = canonical(host);
        let wildcard = parent(&host).and_then(|parent| self.wildcards.get(parent));
        let levels = [self.hosts.get(&*host), wildcard, Some(&self.any)];
        let mut matching = levels.iter().flatten();
        matching
            .find_map(|paths| paths.find(path))
            .or_else(|| levels.iter().flatten().find_map(|paths| paths.default.as_ref()))
            .or(self.default.as_ref())
    }

    /// True when an Ingress asks for TLS for `host`.
    #[must_use]
    pub fn has_tls(&self, host: &str) -> bool {
        self.tls_of(host).is_some()
    }

    /// The certificate for `host`, if there is a good one.
    #[must_use]
    pub fn certificate(&self, host: &str) -> Option<Arc<CertifiedKey>> {
        self.tls_of(host)?.clone()
    }

    fn tls_of(&self, host: &str) -> Option<&Option<Arc<CertifiedKey>>> {
        let host = canonical(host);
        self.tls.get(&*host).or_else(|| self.tls_wildcards.get(parent(&host)?))
    }

    /// Brings the addresses behind every backend of service `key` up to date.
    pub fn refresh(&self, key: &Key, service: Option<&Service>, slices: &[Arc<EndpointSlice>]) {
        for backend in self.backends.get(key).into_iter().flatten() {
            backend.set(endpoints(service, &backend.port, slices));
        }
    }
}

/// A host as routes know it: lower case, no port, no final dot.
fn canonical(host: &str) -> Cow<'_, str> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// What a wildcard must be followed by to match `host`: one label stands for the star.
fn parent(host: &str) -> Option<&str> {
    host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent)
}
