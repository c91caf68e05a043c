//! From a [`World`] to listeners of the model and to statuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::Key;

use super::addresses::Place;
use super::attach::{At, Attached, Parents, View};
use super::backends::{Resolver, Shown};
use super::features::FEATURES;
use super::grants::Grants;
use super::kinds::{GatewayClass, ParentRef, ParentStatus, RouteStatus};
use super::listeners::{self, Front, Heard, Protocol, RouteKind};
use super::policies::Policies;
use super::references::{self, Refusal};
use super::rules::{self, Made};
use super::status::{GatewayWanted, ListenerWanted, SetWanted, Statuses};
use super::verdict::Verdict;
use super::world::{World, key};
use crate::certificates;
use crate::model::{
    Certificates, ClientCheck, Host, Listener, Model, Offer, Route, Serves, Socket, Source, StreamRoute, Tls, Transport,
};

/// What a GatewayClass of ours names as its controller, and what our parts of statuses are known by.
pub const CONTROLLER: &str = "knarr.dev/gateway";

/// Adds everything that Gateways of ours serve to `model`, and returns what all objects are to be told.
pub fn plan(world: &World<'_>, model: &mut Model) -> Statuses {
    let mut statuses = Statuses::default();
    let mut classes = BTreeSet::new();
    for class in world.classes.iter().filter(|class| class.spec.controller_name == CONTROLLER) {
        let name = class.metadata.name.clone().unwrap_or_default();
        let (verdicts, accepted) = class_verdicts(class);
        if accepted {
            classes.insert(name.clone());
        }
        statuses.classes.insert(name, verdicts);
    }
    let grants = Grants::new(world.grants);
    let policies = Policies::new(world, &grants);
    let mut fronts = listeners::fronts(world, &grants, |class| classes.contains(class));
    let parents = Parents::of(&fronts);
    let shown: Vec<Option<Shown>> = fronts.iter().map(|front| shown(world, front)).collect();
    let mut routes = Routes {
        world,
        grants: &grants,
        policies: &policies,
        parents,
        shown,
        served: BTreeMap::new(),
        used: BTreeMap::new(),
    };
    routes.all(&mut fronts, &mut statuses);
    let Routes { mut served, used, .. } = routes;
    statuses.policies = policies.verdicts(&used);
    for (at, front) in fronts.iter().enumerate() {
        serve(world, front, at, &mut served, model);
        tell(world, front, &mut statuses);
    }
    statuses
}

fn class_verdicts(class: &GatewayClass) -> (Vec<Verdict>, bool) {
    let accepted = match &class.spec.parameters_ref {
        None => Verdict::yes("Accepted", "Accepted"),
        Some(named) => {
            let message = format!(
                "parametersRef names {} {}, but a class of this gateway has no settings",
                named.kind, named.name
            );
            Verdict::no("Accepted", "InvalidParameters", message)
        }
    };
    let is = accepted.status;
    (vec![accepted, Verdict::yes("SupportedVersion", "SupportedVersion")], is)
}

/// What the Gateway shows backends that ask, as bytes.
fn shown(world: &World<'_>, front: &Front<'_>) -> Option<Shown> {
    front.client_certificate.as_ref()?.as_ref().ok()?;
    let named = front.gateway.spec.tls.as_ref()?.backend.as_ref()?.client_certificate_ref.as_ref()?;
    let namespace = named.namespace.as_deref().filter(|name| !name.is_empty()).unwrap_or(&front.key.namespace);
    let secret = Key::new(namespace, named.name.as_str());
    let (chain, pair_key) = (world.secret)(&secret, "tls.crt").zip((world.secret)(&secret, "tls.key"))?;
    certificates::pair(&chain, &pair_key).ok().map(Arc::new)
}

/// What a listener serves.
#[derive(Debug, Default)]
struct Served {
    http: Vec<Route>,
    streams: Vec<StreamRoute>,
}

struct Routes<'a> {
    world: &'a World<'a>,
    grants: &'a Grants<'a>,
    policies: &'a Policies<'a>,
    parents: Parents,
    /// By front.
    shown: Vec<Option<Shown>>,
    served: BTreeMap<At, Served>,
    /// Which Gateways lead to a service.
    used: BTreeMap<Key, BTreeSet<Key>>,
}

/// What a route does, whatever its kind is.
enum Does {
    Http(Made),
    Streams(Option<StreamRoute>),
}

impl<'a> Routes<'a> {
    fn all(&mut self, fronts: &mut [Front<'_>], statuses: &mut Statuses) {
        let world = self.world;
        macro_rules! each {
            ($routes:expr, $kind:expr, |$resolver:ident, $route:ident| $does:expr) => {
                for route in $routes {
                    let view = View {
                        kind: $kind,
                        metadata: &route.metadata,
                        parents: &route.spec.parent_refs,
                        hostnames: &route.spec.hostnames,
                        told: &route.status.parents,
                    };
                    self.one(fronts, statuses, view, |$resolver| {
                        let $route = &**route;
                        $does
                    });
                }
            };
        }
        each!(world.http, RouteKind::Http, |resolver, route| Does::Http(rules::http(resolver, route)));
        each!(world.grpc, RouteKind::Grpc, |resolver, route| Does::Http(rules::grpc(resolver, route)));
        each!(world.tls, RouteKind::Tls, |resolver, route| {
            Does::Streams(rules::streams(resolver, &route.metadata, &route.spec.rules))
        });
        each!(world.tcp, RouteKind::Tcp, |resolver, route| {
            Does::Streams(rules::streams(resolver, &route.metadata, &route.spec.rules))
        });
        each!(world.udp, RouteKind::Udp, |resolver, route| {
            Does::Streams(rules::streams(resolver, &route.metadata, &route.spec.rules))
        });
    }

    fn one(
        &mut self,
        fronts: &mut [Front<'_>],
        statuses: &mut Statuses,
        view: View<'_>,
        does: impl Fn(&mut Resolver<'_>) -> Does,
    ) {
        let attached = self.parents.attach(self.world, fronts, view);
        let told_before = view.told.iter().any(|parent| parent.controller_name == CONTROLLER);
        if attached.parents.is_empty() {
            if told_before {
                statuses.routes.insert((view.kind, key(view.metadata)), Vec::new());
            }
            return;
        }
        let mut resolver = self.resolver(&view, None);
        let made = does(&mut resolver);
        let (used, unresolved) = (std::mem::take(&mut resolver.used), resolver.unresolved.take());
        let verdicts = verdicts(&attached, &made, unresolved.as_ref());
        statuses.routes.insert((view.kind, key(view.metadata)), verdicts);
        if matches!(&made, Does::Http(made) if made.refused().is_some()) {
            return;
        }
        for service in used {
            let gateways = self.used.entry(service).or_default();
            gateways.extend(attached.at.iter().map(|(at, _)| fronts[at.front].key.clone()));
        }
        self.add(fronts, &view, &attached, made, does);
    }

    fn resolver<'r>(&'r self, view: &View<'r>, client: Option<Shown>) -> Resolver<'r> {
        Resolver {
            world: self.world,
            grants: self.grants,
            policies: self.policies,
            kind: view.kind,
            namespace: view.metadata.namespace.as_deref().unwrap_or_default(),
            client,
            used: BTreeSet::new(),
            unresolved: None,
        }
    }

    /// Adds what the route does to every listener it is attached to.
    fn add(
        &mut self,
        fronts: &mut [Front<'_>],
        view: &View<'_>,
        attached: &Attached,
        made: Does,
        does: impl Fn(&mut Resolver<'_>) -> Does,
    ) {
        for (at, hosts) in &attached.at {
            fronts[at.front].sources[at.source].listeners[at.listener].attached += 1;
            let hosts: Vec<Host> = if hosts.is_empty() {
                vec![Host::Any]
            } else {
                hosts.iter().map(|host| Host::parse(host, true)).collect()
            };
            // A Gateway that shows backends a certificate has backends of its own.
            let of_front = self.shown[at.front].clone().map(|shown| {
                let mut resolver = self.resolver(view, Some(shown));
                does(&mut resolver)
            });
            let served = self.served.entry(*at).or_default();
            match of_front.as_ref().unwrap_or(&made) {
                Does::Http(made) => {
                    let rules = made.rules.iter().filter(|(matches, ..)| !matches.is_empty());
                    served.http.extend(rules.map(|(matches, rank, rule)| Route {
                        hosts: hosts.clone(),
                        matches: matches.clone(),
                        rank: rank.clone(),
                        rule: Arc::clone(rule),
                    }));
                }
                Does::Streams(route) => {
                    served.streams.extend(route.clone().map(|route| StreamRoute { hosts, ..route }));
                }
            }
        }
    }
}

/// What is told of a route for each of its parents.
fn verdicts(attached: &Attached, made: &Does, unresolved: Option<&Refusal>) -> Vec<(ParentRef, Vec<Verdict>)> {
    let resolved = match unresolved {
        None => Verdict::yes("ResolvedRefs", "ResolvedRefs"),
        Some(refusal) => Verdict::no("ResolvedRefs", refusal.reason, refusal.message.clone()),
    };
    let (refused, partial) = match made {
        Does::Http(made) => (made.refused(), made.partial()),
        Does::Streams(_) => (None, None),
    };
    let of_parent = |(parent, accepted): &(ParentRef, Result<(), Refusal>)| {
        let accepted = match accepted.as_ref().err().or(refused) {
            Some(refusal) => Verdict::no("Accepted", refusal.reason, refusal.message.clone()),
            None => Verdict::yes("Accepted", "Accepted"),
        };
        let partial = partial.filter(|_| accepted.status).map(|refusal| {
            let message = format!("Dropped Rule: {}; it answers 500", refusal.message);
            Verdict::told("PartiallyInvalid", refusal.reason, message)
        });
        (parent.clone(), [accepted, resolved.clone()].into_iter().chain(partial).collect())
    };
    attached.parents.iter().map(of_parent).collect()
}

/// Adds the listeners of a Gateway to the model.
fn serve(world: &World<'_>, front: &Front<'_>, at: usize, served: &mut BTreeMap<At, Served>, model: &mut Model) {
    if !front.is_accepted() {
        return;
    }
    for (index, source) in front.sources.iter().enumerate() {
        let kind = if source.set.is_some() { "ListenerSet" } else { "Gateway" };
        for (listener, heard) in source.listeners.iter().enumerate().filter(|(_, heard)| heard.is_usable()) {
            let routes = served.remove(&At { front: at, source: index, listener }).unwrap_or_default();
            let Some(protocol) = heard.protocol else { continue };
            let made = Listener {
                source: Arc::new(Source::new(kind, source.key.clone(), heard.listener.name.as_str())),
                host: Host::parse(heard.listener.hostname.as_deref().unwrap_or_default(), true),
                isolated: true,
                tls: tls(heard, protocol),
                serves: match protocol {
                    Protocol::Http | Protocol::Https => Serves::Http(routes.http),
                    _ => Serves::Streams(routes.streams),
                },
            };
            for socket in sockets(world, front, heard) {
                model.add(socket, made.clone());
            }
        }
    }
}

fn sockets<'s>(world: &'s World<'_>, front: &'s Front<'_>, heard: &'s Heard<'_>) -> impl Iterator<Item = Socket> + 's {
    let transport = if heard.protocol == Some(Protocol::Udp) { Transport::Udp } else { Transport::Tcp };
    let port = u16::try_from(heard.listener.port).unwrap_or_default();
    front.given.places.iter().map(move |place| {
        let address = match place {
            Place::Shared => None,
            Place::Own(address) => Some(*address),
        };
        Socket { address, port: world.ports.bound(*place, port), transport }
    })
}

fn tls(heard: &Heard<'_>, protocol: Protocol) -> Tls {
    let protocols = match protocol {
        Protocol::Http | Protocol::Tcp | Protocol::Udp => return Tls::None,
        Protocol::TlsPassthrough => return Tls::Passthrough,
        Protocol::TlsTerminate => Vec::new(),
        Protocol::Https => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    let mut offered = Certificates::default();
    heard.certificates.iter().for_each(|certificate| offered.offer(&Host::Any, Some(Arc::clone(certificate))));
    let clients = heard.clients.as_ref().map(|clients| ClientCheck {
        roots: Some(references::trust_all(&clients.authorities)),
        optional: clients.optional,
    });
    Tls::Terminate(Arc::new(Offer { certificates: offered, clients, protocols }))
}

/// Tells a Gateway and its listener sets what became of them.
fn tell(world: &World<'_>, front: &Front<'_>, statuses: &mut Statuses) {
    let listener = |heard: &Heard<'_>| {
        let failed = sockets(world, front, heard)
            .find_map(|socket| world.unbound.get(&socket).map(|why| format!("cannot listen on {socket}: {why}")));
        ListenerWanted::of(heard, front, failed)
    };
    let sets = front.sources.iter().filter_map(|source| Some((source.set?, source)));
    for (set, source) in sets.clone() {
        let listeners: Vec<ListenerWanted> = source.listeners.iter().map(listener).collect();
        statuses.sets.insert(key(&set.metadata), SetWanted::of(front, source, listeners));
    }
    for (set, refusal) in &front.refused_sets {
        statuses.sets.insert(key(&set.metadata), SetWanted::refused(refusal));
    }
    let attached = sets.filter(|(_, source)| source.is_accepted() && front.is_accepted()).count();
    let own = front.sources.first().map(|source| source.listeners.as_slice()).unwrap_or_default();
    let listeners: Vec<ListenerWanted> = own.iter().map(listener).collect();
    statuses.gateways.insert(front.key.clone(), GatewayWanted::of(front, listeners, attached));
}

/// Our features, for the status of a class.
pub(crate) fn features() -> impl Iterator<Item = &'static str> {
    FEATURES.iter().copied()
}

/// Parents of a route that other controllers tell of.
pub(crate) fn others(status: &RouteStatus) -> impl Iterator<Item = &ParentStatus> {
    status.parents.iter().filter(|parent| parent.controller_name != CONTROLLER)
}
