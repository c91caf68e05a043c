//! The addresses behind one port of one service, taken in turn.
//!
//! Why not the service's virtual address: it costs a connection-tracking hop, hides which pod
//! failed, and lags behind readiness by the time the service proxy needs.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// A service's port as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// By name.
    Name(String),
    /// By number.
    Number(i32),
}

/// One port of one service.
#[derive(Debug)]
pub struct Backend {
    /// The service.
    pub service: Key,
    /// Its port.
    pub port: Port,
    endpoints: ArcSwap<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Backend {
    /// A backend with `endpoints`.
    #[must_use]
    pub fn new(service: Key, port: Port, endpoints: Vec<SocketAddr>) -> Self {
        Self { service, port, endpoints: ArcSwap::from_pointee(endpoints), next: AtomicUsize::new(0) }
    }

    pub(crate) fn set(&self, endpoints: Vec<SocketAddr>) {
        if **self.endpoints.load() != endpoints {
            self.endpoints.store(Arc::new(endpoints));
        }
    }

    /// True when nobody is there to serve.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.load().is_empty()
    }

    /// The next address in turn that `avoid` does not refuse, or the next when it refuses all.
    pub fn pick(&self, avoid: impl Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
        let endpoints = self.endpoints.load();
        let count = endpoints.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(count)?;
        let mut in_turn = (0..count).map(|step| endpoints[(first + step) % count]);
        in_turn.find(|address| !avoid(address)).or_else(|| endpoints.get(first).copied())
    }
}

/// The addresses that serve `port` of `service` now: the ready ones; when there are none, those
/// that still serve while they terminate, as the service proxy does.
#[must_use]
pub fn endpoints(service: Option<&Service>, port: &Port, slices: &[Arc<EndpointSlice>]) -> Vec<SocketAddr> {
    let ports = service.and_then(|service| service.spec.as_ref()).and_then(|spec| spec.ports.as_ref());
    let wanted = ports.into_iter().flatten().find(|candidate| match port {
        Port::Name(name) => candidate.name.as_ref() == Some(name),
        Port::Number(number) => candidate.port == *number && is_tcp(candidate.protocol.as_deref()),
    });
    let Some(wanted) = wanted.filter(|found| is_tcp(found.protocol.as_deref())) else { return Vec::new() };
    let name = wanted.name.as_deref().unwrap_or_default();

    let ready = |endpoint: &Endpoint| condition(endpoint, |conditions| conditions.ready).unwrap_or(true);
    let found = addresses(slices, name, ready);
    if !found.is_empty() {
        return found;
    }
    addresses(slices, name, |endpoint| condition(endpoint, |conditions| conditions.serving).unwrap_or(false))
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

fn condition(
    endpoint: &Endpoint,
    read: impl Fn(&k8s_openapi::api::discovery::v1::EndpointConditions) -> Option<bool>,
) -> Option<bool> {
    endpoint.conditions.as_ref().and_then(read)
}

fn addresses(slices: &[Arc<EndpointSlice>], name: &str, takes: impl Fn(&Endpoint) -> bool) -> Vec<SocketAddr> {
    let mut found = BTreeSet::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let numbers: Vec<u16> = ports
            .filter(|port| port.name.as_deref().unwrap_or_default() == name && is_tcp(port.protocol.as_deref()))
            .filter_map(|port| u16::try_from(port.port?).ok())
            .collect();
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| takes(endpoint)) {
            let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
            found.extend(addresses.flat_map(|ip| numbers.iter().map(move |port| SocketAddr::new(ip, *port))));
        }
    }
    found.into_iter().collect()
}
