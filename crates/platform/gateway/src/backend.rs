//! The addresses behind one port of one service, taken in turn, and how they are spoken to.
//!
//! Why not the service's virtual address: it costs a connection-tracking hop, hides which pod
//! failed, and lags behind readiness by the time the service proxy needs.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use parking_lot::Mutex;

use crate::model::{Transport, UpstreamTls};

/// A service's port as its users name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// By name.
    Name(String),
    /// By number.
    Number(i32),
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

/// How a backend is spoken to.
#[derive(Clone, Debug, Default)]
pub enum Protocol {
    /// HTTP/1.1, without TLS.
    #[default]
    Http,
    /// HTTP/2 with prior knowledge, without TLS.
    H2c,
    /// HTTP/1.1 inside TLS.
    Https(Arc<UpstreamTls>),
    /// HTTP/2 inside TLS, or HTTP/1.1 where the backend does not know it.
    H2(Arc<UpstreamTls>),
}

/// The addresses of one port of one service; shared by all who use it.
#[derive(Debug)]
pub struct Endpoints {
    /// The service.
    pub service: Key,
    /// Its port.
    pub port: Port,
    /// Of which kind the port is.
    pub transport: Transport,
    addresses: ArcSwap<Vec<SocketAddr>>,
    next: AtomicUsize,
}

impl Endpoints {
    /// Those of `service`, and at first `addresses`.
    #[must_use]
    pub fn new(service: Key, port: Port, transport: Transport, addresses: Vec<SocketAddr>) -> Self {
        let addresses = ArcSwap::from_pointee(addresses);
        Self { service, port, transport, addresses, next: AtomicUsize::new(0) }
    }

    /// Brings the addresses up to date; readers never wait.
    pub fn set(&self, addresses: Vec<SocketAddr>) {
        if **self.addresses.load() != addresses {
            self.addresses.store(Arc::new(addresses));
        }
    }

    /// All addresses that may be dialled now.
    #[must_use]
    pub fn all(&self) -> Arc<Vec<SocketAddr>> {
        self.addresses.load_full()
    }

    /// True when nobody is there to serve.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.load().is_empty()
    }

    /// The next address in turn that `avoid` does not refuse, or the next when it refuses all.
    pub fn pick(&self, avoid: impl Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
        let addresses = self.addresses.load();
        let count = addresses.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(count)?;
        let mut in_turn = (0..count).map(|step| addresses[(first + step) % count]);
        in_turn.find(|address| !avoid(address)).or_else(|| addresses.get(first).copied())
    }
}

/// Endpoints, and how they are spoken to.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Who is there.
    pub endpoints: Arc<Endpoints>,
    /// How they are spoken to.
    pub protocol: Protocol,
}

impl Backend {
    /// `namespace/name:port`, as logs and metrics name it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}:{}", self.endpoints.service, self.endpoints.port)
    }
}

/// All endpoints in use, by service: the same value for the same port as long as anybody has it, over all rebuilds of the
/// table, so that what is known of a backend (whose turn it is, who failed) is not forgotten.
#[derive(Debug, Default)]
pub struct Registry(Mutex<HashMap<Key, Vec<Arc<Endpoints>>>>);

impl Registry {
    /// The endpoints of a port; `addresses` tells them when they are not known yet.
    pub fn of(
        &self,
        service: &Key,
        port: &Port,
        transport: Transport,
        addresses: impl FnOnce() -> Vec<SocketAddr>,
    ) -> Arc<Endpoints> {
        let mut known = self.0.lock();
        let ports = known.entry(service.clone()).or_default();
        if let Some(found) = ports.iter().find(|known| known.port == *port && known.transport == transport) {
            return Arc::clone(found);
        }
        let made = Arc::new(Endpoints::new(service.clone(), port.clone(), transport, addresses()));
        ports.push(Arc::clone(&made));
        made
    }

    /// Brings the addresses of every port of `service` up to date.
    pub fn refresh(&self, key: &Key, service: Option<&Service>, slices: &[Arc<EndpointSlice>]) {
        for known in self.0.lock().get(key).into_iter().flatten() {
            known.set(endpoints(service, &known.port, known.transport, slices));
        }
    }

    /// Forgets what nobody uses any more.
    pub fn tidy(&self) {
        self.0.lock().retain(|_, ports| {
            ports.retain(|known| Arc::strong_count(known) > 1);
            !ports.is_empty()
        });
    }
}

/// The addresses that serve `port` of `service` now: the ready ones; when there are none, those
/// that still serve while they terminate, as the service proxy does.
#[must_use]
pub fn endpoints(
    service: Option<&Service>,
    port: &Port,
    transport: Transport,
    slices: &[Arc<EndpointSlice>],
) -> Vec<SocketAddr> {
    let ports = service.and_then(|service| service.spec.as_ref()).and_then(|spec| spec.ports.as_ref());
    let wanted = ports.into_iter().flatten().find(|candidate| match port {
        Port::Name(name) => candidate.name.as_ref() == Some(name),
        Port::Number(number) => candidate.port == *number && is_of(transport, candidate.protocol.as_deref()),
    });
    let Some(wanted) = wanted.filter(|found| is_of(transport, found.protocol.as_deref())) else { return Vec::new() };
    let name = wanted.name.as_deref().unwrap_or_default();

    let ready = |endpoint: &Endpoint| condition(endpoint, |conditions| conditions.ready).unwrap_or(true);
    let found = addresses(slices, name, transport, ready);
    if !found.is_empty() {
        return found;
    }
    let serving = |endpoint: &Endpoint| condition(endpoint, |conditions| conditions.serving).unwrap_or(false);
    addresses(slices, name, transport, serving)
}

fn is_of(transport: Transport, protocol: Option<&str>) -> bool {
    protocol.unwrap_or("TCP") == if transport == Transport::Udp { "UDP" } else { "TCP" }
}

fn condition(
    endpoint: &Endpoint,
    read: impl Fn(&k8s_openapi::api::discovery::v1::EndpointConditions) -> Option<bool>,
) -> Option<bool> {
    endpoint.conditions.as_ref().and_then(read)
}

fn addresses(
    slices: &[Arc<EndpointSlice>],
    name: &str,
    transport: Transport,
    takes: impl Fn(&Endpoint) -> bool,
) -> Vec<SocketAddr> {
    let mut found = BTreeSet::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let numbers: Vec<u16> = ports
            .filter(|port| port.name.as_deref().unwrap_or_default() == name)
            .filter(|port| is_of(transport, port.protocol.as_deref()))
            .filter_map(|port| u16::try_from(port.port?).ok())
            .collect();
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| takes(endpoint)) {
            let addresses = endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
            found.extend(addresses.flat_map(|ip| numbers.iter().map(move |port| SocketAddr::new(ip, *port))));
        }
    }
    found.into_iter().collect()
}
