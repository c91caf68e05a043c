//! Where a route's backends lead, and why some lead nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::Key;
use http::StatusCode;
use k8s_openapi::api::core::v1::{Service, ServicePort};

use super::grants::{From, Grants, To};
use super::kinds::BackendRef;
use super::listeners::RouteKind;
use super::policies::{Policies, Wanted};
use super::references::{Refusal, not_permitted};
use super::world::World;
use crate::backend::{Backend, Port, Protocol};
use crate::model::{Target, Transport, UpstreamTls};

/// A chain and its key, DER, as backends are shown them.
pub(crate) type Shown = Arc<(Vec<Vec<u8>>, Vec<u8>)>;

/// Why a backend gets no requests.
pub(crate) enum Nowhere {
    /// The reference leads nowhere.
    Reference(Refusal),
    /// It leads somewhere, but a policy closes it; the policy's own status tells why.
    Closed(String),
}

impl std::convert::From<Refusal> for Nowhere {
    fn from(refusal: Refusal) -> Self {
        Self::Reference(refusal)
    }
}

/// Resolves the backends of one route.
pub(crate) struct Resolver<'a> {
    pub(crate) world: &'a World<'a>,
    pub(crate) grants: &'a Grants<'a>,
    pub(crate) policies: &'a Policies<'a>,
    pub(crate) kind: RouteKind,
    pub(crate) namespace: &'a str,
    /// What backends are shown that ask.
    pub(crate) client: Option<Shown>,
    /// Services that are named and may be.
    pub(crate) used: BTreeSet<Key>,
    /// The first backend that leads nowhere.
    pub(crate) unresolved: Option<Refusal>,
}

impl Resolver<'_> {
    /// Where `backend` leads; nobody, with the status that the API asks for, when nowhere.
    pub(crate) fn target(&mut self, backend: &BackendRef) -> Target {
        let text = match self.resolve(backend) {
            Ok(found) => return Target::Backend(Arc::new(found)),
            Err(Nowhere::Closed(message)) => message,
            Err(Nowhere::Reference(refusal)) => self.unresolved.get_or_insert(refusal).message.clone(),
        };
        Target::Nobody(StatusCode::INTERNAL_SERVER_ERROR, format!("{text}\n").into())
    }

    /// Where `backend` leads.
    pub(crate) fn resolve(&mut self, backend: &BackendRef) -> Result<Backend, Nowhere> {
        let (group, kind) =
            (backend.group.as_deref().unwrap_or_default(), backend.kind.as_deref().unwrap_or("Service"));
        let name = &backend.name;
        if !group.is_empty() || kind != "Service" {
            let message = format!("backend {kind} {name} of group {group:?} is no Service");
            return Err(Refusal::new("InvalidKind", message).into());
        }
        let namespace = backend.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(self.namespace);
        let from = From { kind: self.kind.name(), namespace: self.namespace };
        if !self.grants.permit(from, To { group, kind, namespace, name }) {
            return Err(not_permitted(from, kind, namespace, name).into());
        }
        let key = Key::new(namespace, name.as_str());
        let Some(service) = (self.world.service)(&key) else {
            return Err(Refusal::new("BackendNotFound", format!("there is no Service {key}")).into());
        };
        let port = self.port(&key, &service, backend.port)?;
        self.used.insert(key.clone());
        let protocol = self.protocol(&key, port)?;
        let number = Port::Number(port.port);
        Ok(Backend { endpoints: (self.world.endpoints)(&key, &number, self.transport()), protocol })
    }

    fn transport(&self) -> Transport {
        if self.kind == RouteKind::Udp { Transport::Udp } else { Transport::Tcp }
    }

    fn port<'s>(&self, key: &Key, service: &'s Service, wanted: Option<i32>) -> Result<&'s ServicePort, Refusal> {
        let spec = service.spec.as_ref();
        if spec.and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
            let message = format!("Service {key} is of type ExternalName, which leads out of the cluster");
            return Err(Refusal::new("BackendNotFound", message));
        }
        let Some(wanted) = wanted else {
            return Err(Refusal::new("BackendNotFound", format!("no port is named for Service {key}")));
        };
        let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
        let of_number: Vec<&ServicePort> = ports.iter().filter(|port| port.port == wanted).collect();
        let name = if self.kind == RouteKind::Udp { "UDP" } else { "TCP" };
        match of_number.iter().find(|port| port.protocol.as_deref().unwrap_or("TCP") == name) {
            Some(found) => Ok(found),
            None if of_number.is_empty() => {
                Err(Refusal::new("BackendNotFound", format!("Service {key} has no port {wanted}")))
            }
            None => {
                Err(Refusal::new("UnsupportedProtocol", format!("port {wanted} of Service {key} is no port of {name}")))
            }
        }
    }

    /// How the port is spoken to: by its `appProtocol` (GEP-1911) and by policy.
    fn protocol(&self, key: &Key, port: &ServicePort) -> Result<Protocol, Nowhere> {
        if !matches!(self.kind, RouteKind::Http | RouteKind::Grpc) {
            return Ok(Protocol::Http); // bytes as they are
        }
        let spoken = port.app_protocol.as_deref().unwrap_or_default();
        let h2 = self.kind == RouteKind::Grpc || matches!(spoken, "kubernetes.io/h2c" | "grpc");
        let tls = match self.policies.of(key, port.name.as_deref()) {
            Wanted::Tls(tls) => {
                Some(UpstreamTls { client: self.client.clone(), made: Default::default(), ..tls.clone() })
            }
            Wanted::Refused(refusal) => {
                let message = format!("the BackendTLSPolicy of Service {key} cannot be obeyed: {}", refusal.message);
                return Err(Nowhere::Closed(message));
            }
            Wanted::Nothing => None,
        };
        match tls {
            Some(tls) if h2 => Ok(Protocol::H2(Arc::new(tls))),
            Some(tls) => Ok(Protocol::Https(Arc::new(tls))),
            None if matches!(spoken, "https" | "kubernetes.io/wss") => {
                let message = format!(
                    "port {} of Service {key} speaks {spoken}; a BackendTLSPolicy must say how its certificate is verified",
                    port.port
                );
                Err(Refusal::new("UnsupportedProtocol", message).into())
            }
            None if h2 => Ok(Protocol::H2c),
            None => Ok(Protocol::Http),
        }
    }
}
