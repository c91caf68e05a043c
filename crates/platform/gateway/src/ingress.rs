//! Ingress (`networking.k8s.io/v1`) into the model.
//!
//! Each Ingress of ours adds its rules to two listeners that all share: one for HTTP, one for
//! HTTPS. What only ingress-nginx knows is told by annotations ([`annotations`] lists which are
//! honoured). Invariants: no I/O, no clock; the oldest Ingress keeps a host and path; a Secret or
//! Service is always of the Ingress's own namespace; an Ingress that asks for what cannot be given
//! is told so, and where ignoring it could open a door its routes answer 503 instead.

pub mod annotations;
mod canary;
pub mod check;
mod classes;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustls::sign::CertifiedKey;

pub use classes::{CONTROLLER, is_ours};

use crate::backend::Endpoints;
use crate::model::{
    Certificates, ClientCheck, Host, Listener, Match, Model, Offer, PathMatch, Port, Rank, Route, Rule, Serves, Socket,
    Source, Tls, Transport,
};

/// Something an object asks for that cannot be given.
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

/// The certificate of a Secret.
#[derive(Clone, Debug, Default)]
pub struct Certificate {
    /// The last that was good: a Secret that is spoiled serves on with what it held before.
    pub good: Option<Arc<CertifiedKey>>,
    /// Why what it holds now is of no use.
    pub fault: Option<String>,
}

impl Certificate {
    /// What is known after a Secret changed, given what was known before.
    #[must_use]
    pub fn after(before: Option<&Self>, read: Result<Arc<CertifiedKey>, String>) -> Self {
        match read {
            Ok(good) => Self { good: Some(good), fault: None },
            Err(why) => Self { good: before.and_then(|known| known.good.clone()), fault: Some(why) },
        }
    }
}

/// Makes a guard of settings.
pub type MakeGuard<'a> = &'a dyn Fn(&Key, &identity::Settings) -> Result<Arc<identity::Guard>, String>;

/// What Ingresses are translated with.
pub struct World<'a> {
    /// All Ingresses, ours or not.
    pub ingresses: &'a [Arc<Ingress>],
    /// All classes.
    pub classes: &'a [Arc<IngressClass>],
    /// The class name that Ingresses with only the old annotation use for us.
    pub class: &'a str,
    /// Ports of HTTP and HTTPS, as clients use them.
    pub ports: (u16, u16),
    /// Finds a Service by its key.
    pub service: &'a dyn Fn(&Key) -> Option<Arc<Service>>,
    /// The endpoints of a Service's port.
    pub endpoints: &'a dyn Fn(&Key, &Port) -> Arc<Endpoints>,
    /// Finds the certificate in a Secret; none when there is no such Secret.
    pub certificate: &'a dyn Fn(&Key) -> Option<Certificate>,
    /// Finds a field of a Secret; none when there is no such Secret or field.
    pub secret: &'a dyn Fn(&Key, &str) -> Option<Vec<u8>>,
    /// Makes a guard of settings, for the object of this name; why it cannot be made.
    pub guard: MakeGuard<'a>,
}

/// What became of the Ingresses.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Those that are ours.
    pub served: BTreeSet<Key>,
    /// What could not be given.
    pub faults: BTreeSet<Fault>,
}

/// Adds all Ingresses that are ours to `model`.
pub fn translate(world: &World<'_>, model: &mut Model) -> Outcome {
    let ours = world.ingresses.iter().filter(|ingress| is_ours(ingress, world.classes, world.class));
    let mut by_age: Vec<(Rank, &Arc<Ingress>)> = ours.map(|ingress| (rank(&ingress.metadata), ingress)).collect();
    by_age.sort_by(|one, two| one.0.cmp(&two.0));
    let mut translator = Translator::new(world);
    let (canaries, plain): (Vec<_>, Vec<_>) = by_age.into_iter().partition(|(_, ingress)| canary::is(ingress));
    for (rank, ingress) in plain {
        translator.ingress(&rank, ingress);
    }
    for (rank, ingress) in canaries {
        translator.canary(&rank, ingress);
    }
    translator.finish(model)
}

fn rank(metadata: &ObjectMeta) -> Rank {
    let key = Key::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default());
    Rank { created: metadata.creation_timestamp.as_ref().map(|time| time.0), key, rule: 0 }
}

/// What a path of a host is, for who may have it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    host: Host,
    kind: u8,
    path: String,
}

/// A path that is served.
struct Served {
    rank: Rank,
    wanted: Match,
    /// Without TLS, and inside it.
    rule: [Rule; 2],
}

struct Translator<'a> {
    world: &'a World<'a>,
    outcome: Outcome,
    places: BTreeMap<Place, Served>,
    /// By host: what serves what no path of it takes.
    defaults: BTreeMap<Host, Served>,
    certificates: Certificates,
    /// Which hosts have TLS, to know where plain HTTP is sent on.
    secured: HashMap<Host, ()>,
    /// Hosts whose clients are asked for a certificate; their guards look at it.
    clients: BTreeSet<Host>,
    passthrough: BTreeMap<Host, crate::model::StreamRoute>,
}

impl<'a> Translator<'a> {
    fn new(world: &'a World<'a>) -> Self {
        Self {
            world,
            outcome: Outcome::default(),
            places: BTreeMap::new(),
            defaults: BTreeMap::new(),
            certificates: Certificates::default(),
            secured: HashMap::new(),
            clients: BTreeSet::new(),
            passthrough: BTreeMap::new(),
        }
    }

    fn fault(&mut self, ingress: &Key, reason: &'static str, message: impl Into<String>) {
        self.outcome.faults.insert(Fault { ingress: ingress.clone(), reason, message: message.into() });
    }

    /// Writes down everything, in two listeners and one more for each host with TLS settings of its own.
    fn finish(self, model: &mut Model) -> Outcome {
        let Self { world, outcome, places, defaults, certificates, clients, passthrough, .. } = self;
        let mut routes: [Vec<Route>; 2] = [Vec::new(), Vec::new()];
        // A default stands where no path is: it is none where all paths of the host have a rule.
        let whole = |host: &Host| places.contains_key(&Place { host: host.clone(), kind: 1, path: String::new() });
        let defaults: Vec<_> = defaults.into_iter().filter(|(host, _)| !whole(host)).collect();
        let all = places.into_iter().map(|(place, served)| (place.host, served));
        for (host, served) in all.chain(defaults) {
            for (routes, rule) in routes.iter_mut().zip(served.rule) {
                let (hosts, matches) = (vec![host.clone()], vec![served.wanted.clone()]);
                routes.push(Route { hosts, matches, rank: served.rank.clone(), rule: Arc::new(rule) });
            }
        }
        let source = |section: &str| Arc::new(Source::new("IngressClass", Key::cluster(world.class), section));
        let socket = |port| Socket { address: None, port, transport: Transport::Tcp };
        let [plain, secure] = routes;
        let protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let offer = Offer { certificates, clients: None, protocols };
        for host in clients {
            let own: Vec<Route> = secure.iter().filter(|route| route.hosts.contains(&host)).cloned().collect();
            let listener = Listener {
                source: source("https"),
                host,
                isolated: true,
                tls: Tls::Terminate(Arc::new(Offer { clients: Some(ClientCheck::anyone()), ..offer.clone() })),
                serves: Serves::Http(own),
            };
            model.add(socket(world.ports.1), listener);
        }
        for (host, route) in passthrough {
            let (tls, serves) = (Tls::Passthrough, Serves::Streams(vec![route]));
            model.add(
                socket(world.ports.1),
                Listener { source: source("passthrough"), host, isolated: true, tls, serves },
            );
        }
        let listener = |section: &str, tls: Tls, routes: Vec<Route>| Listener {
            source: source(section),
            host: Host::Any,
            isolated: false,
            tls,
            serves: Serves::Http(routes),
        };
        model.add(socket(world.ports.0), listener("http", Tls::None, plain));
        model.add(socket(world.ports.1), listener("https", Tls::Terminate(Arc::new(offer)), secure));
        outcome
    }
}

/// All of a host.
fn everything() -> Match {
    Match::path(PathMatch::Prefix(String::new()))
}
