//! The addresses behind one port of one service, and how they are spoken to; which of them is
//! chosen is for [`crate::balance`].
//!
//! Why not the service's virtual address: it costs a connection-tracking hop, hides which pod
//! failed, and lags behind readiness by the time the service proxy needs.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use parking_lot::Mutex;

use crate::balance::health::Checker;
use crate::balance::{Member, Name, Pool};
use crate::clock::Clock;
use crate::model::{Transport, UpstreamTls};
use crate::policy::compile::ServiceSettings;
use crate::retry::Budget;

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
    pool: Arc<Pool>,
    settings: ArcSwap<ServiceSettings>,
    /// The retries of late.
    pub budget: Budget,
}

impl Endpoints {
    /// Those of `service`, and at first `members`.
    #[must_use]
    pub fn new<M: Into<Member>>(service: Key, port: Port, transport: Transport, members: Vec<M>) -> Self {
        let name = Name { service: service.clone(), port: port.to_string() };
        let settings = ServiceSettings::default();
        let members = gathered(members);
        let pool = Arc::new(Pool::new(name, settings.policy.clone(), &members, Clock.now()));
        let settings = ArcSwap::from_pointee(settings);
        Self { service, port, transport, pool, settings, budget: Budget::default() }
    }

    /// Brings the endpoints up to date; readers never wait, and what is known of those that stay is kept.
    pub fn set<M: Into<Member>>(&self, members: Vec<M>) {
        self.pool.update(&gathered(members), Clock.now());
    }

    /// How they are used from now on.
    pub fn configure(&self, settings: &Arc<ServiceSettings>) {
        if **self.settings.load() != **settings {
            self.settings.store(Arc::clone(settings));
            self.pool.configure(settings.policy.clone(), Clock.now());
        }
    }

    /// How they are used.
    #[must_use]
    pub fn settings(&self) -> arc_swap::Guard<Arc<ServiceSettings>> {
        self.settings.load()
    }

    /// Who is there, and what is known of them.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// All addresses there are.
    #[must_use]
    pub fn all(&self) -> Vec<SocketAddr> {
        self.pool.endpoints().iter().map(|endpoint| endpoint.address).collect()
    }

    /// True when nobody is there to serve.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pool.is_empty()
    }
}

fn gathered<M: Into<Member>>(members: Vec<M>) -> Vec<Member> {
    members.into_iter().map(Into::into).collect()
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
pub struct Registry {
    known: Mutex<HashMap<Key, Vec<Arc<Endpoints>>>>,
    /// How the endpoints of services with a policy are used.
    settings: Mutex<HashMap<Key, Arc<ServiceSettings>>>,
    /// Runs the health checks that policies ask for.
    checker: Option<Checker>,
}

impl Registry {
    /// No endpoints yet; health checks are run by `checker`.
    #[must_use]
    pub fn new(checker: Checker) -> Self {
        Self { checker: Some(checker), ..Self::default() }
    }

    /// The endpoints of a port; `members` tells them when they are not known yet.
    pub fn of<M: Into<Member>>(
        &self,
        service: &Key,
        port: &Port,
        transport: Transport,
        members: impl FnOnce() -> Vec<M>,
    ) -> Arc<Endpoints> {
        let mut known = self.known.lock();
        let ports = known.entry(service.clone()).or_default();
        if let Some(found) = ports.iter().find(|known| known.port == *port && known.transport == transport) {
            return Arc::clone(found);
        }
        let made = Arc::new(Endpoints::new(service.clone(), port.clone(), transport, members()));
        if let Some(settings) = self.settings.lock().get(service) {
            self.apply(&made, settings);
        }
        ports.push(Arc::clone(&made));
        made
    }

    /// Uses endpoints as these settings say from now on, those of services without any as usual.
    pub fn configure(&self, settings: HashMap<Key, Arc<ServiceSettings>>) {
        let usual = Arc::new(ServiceSettings::default());
        for (service, ports) in &*self.known.lock() {
            let settings = settings.get(service).unwrap_or(&usual);
            ports.iter().for_each(|endpoints| self.apply(endpoints, settings));
        }
        *self.settings.lock() = settings;
    }

    fn apply(&self, endpoints: &Endpoints, settings: &Arc<ServiceSettings>) {
        endpoints.configure(settings);
        if let Some(checker) = &self.checker {
            checker.watch(&endpoints.pool, Clock);
        }
    }

    /// Brings the endpoints of every port of `service` up to date; `zone` is where the gateway is.
    pub fn refresh(&self, key: &Key, service: Option<&Service>, slices: &[Arc<EndpointSlice>], zone: &str) {
        for known in self.known.lock().get(key).into_iter().flatten() {
            known.set(members(service, &known.port, known.transport, slices, zone));
        }
    }

    /// All endpoints in use.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Endpoints>> {
        self.known.lock().values().flatten().cloned().collect()
    }

    /// Forgets what nobody uses any more.
    pub fn tidy(&self) {
        self.known.lock().retain(|_, ports| {
            ports.retain(|known| Arc::strong_count(known) > 1);
            !ports.is_empty()
        });
    }
}

/// The endpoints that serve `port` of `service` now: the ready ones; when there are none, those
/// that still serve while they terminate, as the service proxy does. `zone` is where the gateway is, empty when that is
/// not known; endpoints whose hints name it are marked.
#[must_use]
pub fn members(
    service: Option<&Service>,
    port: &Port,
    transport: Transport,
    slices: &[Arc<EndpointSlice>],
    zone: &str,
) -> Vec<Member> {
    let ports = service.and_then(|service| service.spec.as_ref()).and_then(|spec| spec.ports.as_ref());
    let wanted = ports.into_iter().flatten().find(|candidate| match port {
        Port::Name(name) => candidate.name.as_ref() == Some(name),
        Port::Number(number) => candidate.port == *number && is_of(transport, candidate.protocol.as_deref()),
    });
    let Some(wanted) = wanted.filter(|found| is_of(transport, found.protocol.as_deref())) else { return Vec::new() };
    let name = wanted.name.as_deref().unwrap_or_default();

    let ready = |endpoint: &Endpoint| condition(endpoint, |conditions| conditions.ready).unwrap_or(true);
    let found = listed(slices, name, transport, zone, ready);
    if !found.is_empty() {
        return found;
    }
    let serving = |endpoint: &Endpoint| condition(endpoint, |conditions| conditions.serving).unwrap_or(false);
    listed(slices, name, transport, zone, serving)
}

/// The addresses of [`members`].
#[must_use]
pub fn endpoints(
    service: Option<&Service>,
    port: &Port,
    transport: Transport,
    slices: &[Arc<EndpointSlice>],
) -> Vec<SocketAddr> {
    members(service, port, transport, slices, "").into_iter().map(|member| member.address).collect()
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

fn listed(
    slices: &[Arc<EndpointSlice>],
    name: &str,
    transport: Transport,
    zone: &str,
    takes: impl Fn(&Endpoint) -> bool,
) -> Vec<Member> {
    let mut found: BTreeMap<SocketAddr, bool> = BTreeMap::new();
    for slice in slices {
        let ports = slice.ports.iter().flatten();
        let numbers: Vec<u16> = ports
            .filter(|port| port.name.as_deref().unwrap_or_default() == name)
            .filter(|port| is_of(transport, port.protocol.as_deref()))
            .filter_map(|port| u16::try_from(port.port?).ok())
            .collect();
        for endpoint in slice.endpoints.iter().flatten().filter(|endpoint| takes(endpoint)) {
            let local = !zone.is_empty() && hints(endpoint, zone);
            for ip in endpoint.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
                for port in &numbers {
                    *found.entry(SocketAddr::new(ip, *port)).or_default() |= local;
                }
            }
        }
    }
    found.into_iter().map(|(address, local)| Member { local, ..Member::new(address) }).collect()
}

/// True when the hints of an endpoint name `zone` (KEP-2433).
fn hints(endpoint: &Endpoint, zone: &str) -> bool {
    let zones = endpoint.hints.as_ref().and_then(|hints| hints.for_zones.as_ref());
    zones.into_iter().flatten().any(|hint| hint.name == zone)
}
