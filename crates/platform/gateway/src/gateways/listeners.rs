//! The listeners of the Gateways that are ours, and what is wrong with them.
//!
//! A Gateway's own listeners come before those of its listener sets, and of the sets the oldest comes first (GEP-1713);
//! `conflicts` says what becomes of those that cannot be told apart.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Key;
use base::selector::LabelSelector;
use rustls::sign::CertifiedKey;

use super::addresses::{self, Given, Place};
use super::conflicts;
use super::grants::{From, Grants};
use super::kinds::{FrontendValidation, GROUP, Gateway, GroupKind, Listener, ListenerSet, Namespaces};
use super::references::{self, AuthorityReasons, Refusal};
use super::world::{World, by_age, key};

/// The kinds of routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    /// HTTPRoute.
    Http,
    /// GRPCRoute.
    Grpc,
    /// TLSRoute.
    Tls,
    /// TCPRoute.
    Tcp,
    /// UDPRoute.
    Udp,
}

impl RouteKind {
    /// Its name in objects.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "HTTPRoute",
            Self::Grpc => "GRPCRoute",
            Self::Tls => "TLSRoute",
            Self::Tcp => "TCPRoute",
            Self::Udp => "UDPRoute",
        }
    }
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http,
    Https,
    /// TLS whose content is passed on to backends in the clear.
    TlsTerminate,
    /// TLS that ends at the backend.
    TlsPassthrough,
    Tcp,
    Udp,
}

impl Protocol {
    fn of(listener: &Listener) -> Option<Self> {
        let mode = listener.tls.as_ref().and_then(|tls| tls.mode.as_deref()).unwrap_or("Terminate");
        match (listener.protocol.as_str(), mode) {
            ("HTTP", _) => Some(Self::Http),
            ("HTTPS", _) => Some(Self::Https),
            ("TLS", "Passthrough") => Some(Self::TlsPassthrough),
            ("TLS", _) => Some(Self::TlsTerminate),
            ("TCP", _) => Some(Self::Tcp),
            ("UDP", _) => Some(Self::Udp),
            _ => None,
        }
    }

    fn kinds(self) -> &'static [RouteKind] {
        match self {
            Self::Http | Self::Https => &[RouteKind::Http, RouteKind::Grpc],
            Self::TlsTerminate | Self::TlsPassthrough => &[RouteKind::Tls],
            Self::Tcp => &[RouteKind::Tcp],
            Self::Udp => &[RouteKind::Udp],
        }
    }

    /// True when listeners of one port are told apart by the name that TLS clients ask for.
    pub(crate) fn by_server_name(self) -> bool {
        matches!(self, Self::Https | Self::TlsTerminate | Self::TlsPassthrough)
    }

    pub(crate) fn needs_certificate(self) -> bool {
        matches!(self, Self::Https | Self::TlsTerminate)
    }
}

/// What clients must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clients {
    /// Bundles of authorities, PEM.
    pub(crate) authorities: Vec<Arc<str>>,
    /// Clients without a good certificate are let in too.
    pub(crate) optional: bool,
}

/// One listener with all that is decided of it.
#[derive(Debug)]
pub(crate) struct Heard<'a> {
    pub(crate) listener: &'a Listener,
    /// Of the object that the listener stands in.
    pub(crate) namespace: &'a str,
    /// None when it is none that is known.
    pub(crate) protocol: Option<Protocol>,
    /// Which routes it takes.
    pub(crate) kinds: Vec<RouteKind>,
    pub(crate) certificates: Vec<Arc<CertifiedKey>>,
    pub(crate) clients: Option<Clients>,
    /// It cannot be told apart from another.
    pub(crate) conflict: Option<Refusal>,
    /// It cannot be had at all.
    pub(crate) refused: Option<Refusal>,
    /// Something that it names cannot be used.
    pub(crate) unresolved: Option<Refusal>,
    /// Another listener of the port has hosts in common with it.
    pub(crate) overlaps: Option<String>,
    /// How many routes are attached.
    pub(crate) attached: i32,
}

impl Heard<'_> {
    /// True when the listener is valid, though what it names may be missing.
    pub(crate) fn is_accepted(&self) -> bool {
        self.conflict.is_none() && self.refused.is_none()
    }

    /// True when the listener can serve.
    pub(crate) fn is_usable(&self) -> bool {
        let armed = !self.protocol.is_some_and(Protocol::needs_certificate) || !self.certificates.is_empty();
        self.is_accepted() && armed
    }
}

/// An object with listeners: a Gateway or one of its listener sets.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    /// None for the Gateway itself.
    pub(crate) set: Option<&'a ListenerSet>,
    pub(crate) key: Key,
    pub(crate) listeners: Vec<Heard<'a>>,
}

/// One Gateway of ours.
#[derive(Debug)]
pub(crate) struct Front<'a> {
    pub(crate) gateway: &'a Gateway,
    pub(crate) key: Key,
    pub(crate) given: Given,
    /// The Gateway itself, then its listener sets.
    pub(crate) sources: Vec<Source<'a>>,
    /// Listener sets that may not add listeners.
    pub(crate) refused_sets: Vec<(&'a ListenerSet, Refusal)>,
    /// What backends are shown, or why nothing; none when nothing is asked for.
    pub(crate) client_certificate: Option<Result<Arc<CertifiedKey>, Refusal>>,
    /// Settings that nobody here knows.
    pub(crate) bad_parameters: Option<String>,
}

impl Front<'_> {
    /// True when the Gateway as a whole may be served.
    pub(crate) fn is_accepted(&self) -> bool {
        let some = self.sources.iter().flat_map(|source| &source.listeners).any(Heard::is_accepted);
        some && self.bad_parameters.is_none() && self.given.unsupported.is_none()
    }
}

/// Where listeners of shared addresses really listen: where Ingresses do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedPorts {
    /// In place of port 80.
    pub http: u16,
    /// In place of port 443.
    pub https: u16,
}

impl SharedPorts {
    /// The port of the socket of a listener for `port`.
    #[must_use]
    pub fn bound(self, place: Place, port: u16) -> u16 {
        match (place, port) {
            (Place::Shared, 80) => self.http,
            (Place::Shared, 443) => self.https,
            _ => port,
        }
    }
}

/// Everything that is decided of the Gateways of the classes `ours`, oldest first.
pub(crate) fn fronts<'a>(world: &World<'a>, grants: &Grants<'a>, ours: impl Fn(&str) -> bool) -> Vec<Front<'a>> {
    let ports = world.ports;
    let mut gateways: Vec<&Gateway> = world
        .gateways
        .iter()
        .map(|gateway| &**gateway)
        .filter(|gateway| ours(&gateway.spec.gateway_class_name))
        .collect();
    gateways.sort_by(|one, other| by_age(&one.metadata, &other.metadata));
    let mut given = addresses::give(world, &gateways);
    let mut sets: BTreeMap<Key, Vec<&ListenerSet>> = BTreeMap::new();
    for set in world.sets {
        sets.entry(parent_of(set)).or_default().push(set);
    }
    let mut fronts: Vec<Front<'a>> = gateways
        .into_iter()
        .map(|gateway| {
            let key = key(&gateway.metadata);
            let mut sets = sets.remove(&key).unwrap_or_default();
            sets.sort_by(|one, other| by_age(&one.metadata, &other.metadata));
            front(world, grants, gateway, given.remove(&key).unwrap_or_default(), sets)
        })
        .collect();
    fronts.iter_mut().for_each(|front| conflicts::within(front, ports));
    conflicts::between(&mut fronts, ports);
    fronts
}

fn parent_of(set: &ListenerSet) -> Key {
    let parent = &set.spec.parent_ref;
    let ours = parent.group.as_deref().is_none_or(|group| group == GROUP)
        && parent.kind.as_deref().is_none_or(|kind| kind == "Gateway");
    let own = set.metadata.namespace.as_deref().unwrap_or_default();
    let namespace = parent.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(own);
    // No object has an empty name.
    Key::new(namespace, if ours { parent.name.as_str() } else { "" })
}

fn front<'a>(
    world: &World<'a>,
    grants: &Grants<'a>,
    gateway: &'a Gateway,
    given: Given,
    sets: Vec<&'a ListenerSet>,
) -> Front<'a> {
    let namespace = gateway.metadata.namespace.as_deref().unwrap_or_default();
    let from = From { kind: "Gateway", namespace };
    let backend = gateway.spec.tls.as_ref().and_then(|tls| tls.backend.as_ref());
    let client_certificate =
        backend.and_then(|backend| backend.client_certificate_ref.as_ref()).map(|named| match references::certificate(
            world,
            grants,
            from,
            named,
            "InvalidClientCertificateRef",
        ) {
            (_, Some(refusal)) => Err(refusal),
            (Some(certificate), None) => Ok(certificate),
            (None, None) => Err(Refusal::new("InvalidClientCertificateRef", "the Secret holds no certificate")),
        });
    let parameters = gateway.spec.infrastructure.as_ref().and_then(|asked| asked.parameters_ref.as_ref());
    let bad_parameters = parameters.map(|named| {
        format!(
            "infrastructure.parametersRef names {} {}, but no settings of this kind are known",
            named.kind, named.name
        )
    });
    let hear = |listeners: &'a [Listener], from: From<'a>| -> Vec<Heard<'a>> {
        listeners.iter().map(|listener| heard(world, grants, gateway, listener, from)).collect()
    };
    let key_of_gateway = key(&gateway.metadata);
    let mut sources =
        vec![Source { set: None, key: key_of_gateway.clone(), listeners: hear(&gateway.spec.listeners, from) }];
    let mut refused_sets = Vec::new();
    for set in sets {
        let of = set.metadata.namespace.as_deref().unwrap_or_default();
        let allowed = gateway.spec.allowed_listeners.as_ref().and_then(|allowed| allowed.namespaces.as_ref());
        if !selects(world, allowed, "None", namespace, of) {
            let message =
                format!("Gateway {key_of_gateway} allows no listener sets of namespace {of}; see its allowedListeners");
            refused_sets.push((set, Refusal::new("NotAllowed", message)));
            continue;
        }
        let from = From { kind: "ListenerSet", namespace: of };
        sources.push(Source { set: Some(set), key: key(&set.metadata), listeners: hear(&set.spec.listeners, from) });
    }
    Front { gateway, key: key_of_gateway, given, sources, refused_sets, client_certificate, bad_parameters }
}

/// True when namespace `of` is one of `namespaces`; `otherwise` is meant when nothing is said.
pub(crate) fn selects(
    world: &World<'_>,
    namespaces: Option<&Namespaces>,
    otherwise: &str,
    own: &str,
    of: &str,
) -> bool {
    match namespaces.and_then(|namespaces| namespaces.from.as_deref()).unwrap_or(otherwise) {
        "All" => true,
        "Same" => own == of,
        "Selector" => {
            let selector = namespaces.and_then(|namespaces| namespaces.selector.as_ref());
            let selector = selector.and_then(|selector| LabelSelector::from_json(selector).ok());
            let labels = (world.namespace)(of);
            selector.zip(labels).is_some_and(|(selector, labels)| selector.matches_map(&labels))
        }
        _ => false,
    }
}

fn heard<'a>(
    world: &World<'_>,
    grants: &Grants<'_>,
    gateway: &Gateway,
    listener: &'a Listener,
    from: From<'a>,
) -> Heard<'a> {
    let mut heard = Heard {
        listener,
        namespace: from.namespace,
        protocol: Protocol::of(listener),
        kinds: Vec::new(),
        certificates: Vec::new(),
        clients: None,
        conflict: None,
        refused: None,
        unresolved: None,
        overlaps: None,
        attached: 0,
    };
    let Some(protocol) = heard.protocol else {
        let message = format!("protocol {:?} is not one of HTTP, HTTPS, TLS, TCP and UDP", listener.protocol);
        heard.refused = Some(Refusal::new("UnsupportedProtocol", message));
        return heard;
    };
    (heard.kinds, heard.unresolved) = kinds(listener, protocol);
    if u16::try_from(listener.port).is_ok_and(|port| port != 0) {
        certificates(world, grants, &mut heard, from);
    } else {
        heard.refused = Some(Refusal::new("PortUnavailable", format!("{} is no port", listener.port)));
    }
    if protocol == Protocol::Https {
        clients(world, grants, &mut heard, gateway);
    }
    heard
}

fn kinds(listener: &Listener, protocol: Protocol) -> (Vec<RouteKind>, Option<Refusal>) {
    let asked = listener.allowed_routes.as_ref().map(|allowed| allowed.kinds.as_slice()).unwrap_or_default();
    if asked.is_empty() {
        return (protocol.kinds().to_vec(), None);
    }
    let mut found = Vec::new();
    let mut unknown = None;
    for GroupKind { group, kind } in asked {
        let ours = group.as_deref().is_none_or(|group| group == GROUP);
        match protocol.kinds().iter().find(|candidate| ours && candidate.name() == kind) {
            Some(known) if !found.contains(known) => found.push(*known),
            Some(_) => {}
            None => {
                let protocol = &listener.protocol;
                let message = format!("routes of kind {kind} cannot attach to a listener of protocol {protocol}");
                unknown = Some(Refusal::new("InvalidRouteKinds", message));
            }
        }
    }
    (found, unknown)
}

fn certificates(world: &World<'_>, grants: &Grants<'_>, heard: &mut Heard<'_>, from: From<'_>) {
    if !heard.protocol.is_some_and(Protocol::needs_certificate) {
        return;
    }
    let named = heard.listener.tls.as_ref().map(|tls| tls.certificate_refs.as_slice()).unwrap_or_default();
    if named.is_empty() {
        heard.unresolved = Some(Refusal::new("InvalidCertificateRef", "tls.certificateRefs names no certificate"));
    }
    for named in named {
        let (certificate, refusal) = references::certificate(world, grants, from, named, "InvalidCertificateRef");
        heard.certificates.extend(certificate);
        if refusal.is_some() {
            heard.unresolved = refusal;
        }
    }
}

/// What clients of the listener must show, by the Gateway that it belongs to.
fn clients(world: &World<'_>, grants: &Grants<'_>, heard: &mut Heard<'_>, gateway: &Gateway) {
    const REASONS: AuthorityReasons =
        AuthorityReasons { kind: "InvalidCACertificateKind", invalid: "InvalidCACertificateRef" };
    let Some(validation) = validation(gateway, heard.listener.port) else { return };
    let from = From { kind: "Gateway", namespace: gateway.metadata.namespace.as_deref().unwrap_or_default() };
    let mut authorities = Vec::new();
    for named in &validation.ca_certificate_refs {
        match references::authorities(world, grants, from, named, REASONS) {
            Ok(pem) => authorities.push(pem),
            Err(refusal) => heard.unresolved = Some(refusal),
        }
    }
    if authorities.is_empty() {
        let message = "none of the authorities for clients' certificates can be used";
        heard.refused = Some(Refusal::new("NoValidCACertificate", message));
    }
    heard.clients = Some(Clients { authorities, optional: is_insecure(validation) });
}

/// How clients of `port` prove who they are.
pub(crate) fn validation(gateway: &Gateway, port: i32) -> Option<&FrontendValidation> {
    let frontend = gateway.spec.tls.as_ref()?.frontend.as_ref()?;
    let of_port = frontend.per_port.iter().find(|candidate| candidate.port == port);
    of_port.map_or(&frontend.default, |found| &found.tls).validation.as_ref()
}

pub(crate) fn is_insecure(validation: &FrontendValidation) -> bool {
    validation.mode.as_deref() == Some("AllowInsecureFallback")
}
