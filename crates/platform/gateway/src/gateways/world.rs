//! Everything a plan is made from: one look at the cluster.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::addresses::Pool;
use super::kinds::{
    BackendTlsPolicy, Gateway, GatewayClass, Grant, GrpcRoute, HttpRoute, ListenerSet, TcpRoute, TlsRoute, UdpRoute,
};
use super::listeners::SharedPorts;
use super::status::Statuses;
use crate::backend::{Endpoints, Port};
use crate::ingress::{Certificate, MakeGuard};
use crate::model::{Socket, Transport};

/// All objects of the Gateway API, ours or not, and how to find what they name.
pub struct World<'a> {
    /// All classes.
    pub classes: &'a [Arc<GatewayClass>],
    /// All Gateways.
    pub gateways: &'a [Arc<Gateway>],
    /// All listener sets.
    pub sets: &'a [Arc<ListenerSet>],
    /// All HTTPRoutes.
    pub http: &'a [Arc<HttpRoute>],
    /// All GRPCRoutes.
    pub grpc: &'a [Arc<GrpcRoute>],
    /// All TLSRoutes.
    pub tls: &'a [Arc<TlsRoute>],
    /// All TCPRoutes.
    pub tcp: &'a [Arc<TcpRoute>],
    /// All UDPRoutes.
    pub udp: &'a [Arc<UdpRoute>],
    /// All grants.
    pub grants: &'a [Arc<Grant>],
    /// All policies for TLS towards backends.
    pub policies: &'a [Arc<BackendTlsPolicy>],
    /// The labels of a namespace; none when there is no such namespace.
    pub namespace: &'a dyn Fn(&str) -> Option<BTreeMap<String, String>>,
    /// Finds a Service.
    pub service: &'a dyn Fn(&Key) -> Option<Arc<Service>>,
    /// The endpoints of a Service's port.
    pub endpoints: &'a dyn Fn(&Key, &Port, Transport) -> Arc<Endpoints>,
    /// Finds the certificate in a Secret; none when there is no such Secret.
    pub certificate: &'a dyn Fn(&Key) -> Option<Certificate>,
    /// Finds a field of a Secret; none when there is no such Secret or field.
    pub secret: &'a dyn Fn(&Key, &str) -> Option<Vec<u8>>,
    /// Makes a guard of settings, for a filter of the route of this name.
    pub guard: MakeGuard<'a>,
    /// Finds the authorities in the entry `ca.crt` of a ConfigMap: PEM; none when there is no such ConfigMap or entry.
    pub authorities: &'a dyn Fn(&Key) -> Option<Arc<str>>,
    /// Addresses that Gateways get for their own.
    pub pool: &'a Pool,
    /// What the last plan told, which objects may not show yet.
    pub before: &'a Statuses,
    /// What the status of a Gateway without an address of its own tells.
    pub shared: &'a [IpAddr],
    /// Where Gateways without an address of their own listen.
    pub ports: SharedPorts,
    /// Authorities of this machine, DER: what `wellKnownCACertificates: System` means.
    pub system: &'a Arc<[Vec<u8>]>,
    /// Sockets that could not be had, and why.
    pub unbound: &'a BTreeMap<Socket, String>,
}

/// The name of an object.
pub(crate) fn key(metadata: &ObjectMeta) -> Key {
    Key::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

/// Oldest first, then by namespace and name: how every conflict is decided.
pub(crate) fn by_age(one: &ObjectMeta, other: &ObjectMeta) -> Ordering {
    let created = |metadata: &ObjectMeta| metadata.creation_timestamp.as_ref().map(|time| time.0);
    created(one).cmp(&created(other)).then_with(|| key(one).cmp(&key(other)))
}
