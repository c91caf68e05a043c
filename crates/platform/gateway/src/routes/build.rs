//! From Ingresses to the table.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use base::Key;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressBackend, IngressClass, IngressSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustls::sign::CertifiedKey;

use super::{Backend, Fault, Paths, Port, Route, Table, endpoints};

/// What an IngressClass of ours names as its controller.
pub const CONTROLLER: &str = "knarr.dev/gateway";
/// How an Ingress named its class before there were classes.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_CLASS: &str = "ingressclass.kubernetes.io/is-default-class";
/// "false" keeps plain HTTP for hosts with TLS. The first is what people already write.
const REDIRECT: [&str; 2] = ["nginx.ingress.kubernetes.io/ssl-redirect", "knarr.dev/ssl-redirect"];

/// A certificate of a Secret, or why it is of no use.
pub type Certificate = Result<Arc<CertifiedKey>, String>;

/// What the table is built from.
pub struct World<'a> {
    /// All Ingresses, ours or not.
    pub ingresses: &'a [Arc<Ingress>],
    /// All classes.
    pub classes: &'a [Arc<IngressClass>],
    /// The class name that Ingresses with only the old annotation use for us.
    pub class: &'a str,
    /// Finds a Service by its key.
    pub service: &'a dyn Fn(&Key) -> Option<Arc<Service>>,
    /// Finds the slices of a Service.
    pub slices: &'a dyn Fn(&Key) -> Vec<Arc<EndpointSlice>>,
    /// Finds the certificate in a Secret; none when there is no such Secret.
    pub certificate: &'a dyn Fn(&Key) -> Option<Certificate>,
}

/// Builds the table of all Ingresses that are ours.
#[must_use]
pub fn build(world: &World<'_>) -> Table {
    let ours = world.ingresses.iter().filter(|ingress| is_ours(ingress, world.classes, world.class));
    let mut by_age: Vec<(Key, &Arc<Ingress>)> = ours.map(|ingress| (key(&ingress.metadata), ingress)).collect();
    by_age.sort_by(|(key, one), (other_key, other)| {
        let created = |ingress: &Ingress| ingress.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (created(one), key).cmp(&(created(other), other_key))
    });
    let mut builder = Builder { world, table: Table::default(), known: HashMap::new() };
    for (key, ingress) in by_age {
        if let Some(spec) = &ingress.spec {
            builder.ingress(&key, ingress, spec);
        }
        builder.table.served.insert(key);
    }
    builder.table
}

/// True when `ingress` asks for a class that is ours, or for none while ours is the default.
#[must_use]
pub fn is_ours(ingress: &Ingress, classes: &[Arc<IngressClass>], class: &str) -> bool {
    let ours = |candidate: &IngressClass| {
        candidate.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(CONTROLLER)
    };
    let named = |name: &str| classes.iter().find(|class| class.metadata.name.as_deref() == Some(name));
    if let Some(name) = annotation(&ingress.metadata, CLASS_ANNOTATION) {
        return named(name).map_or(name == class, |class| ours(class));
    }
    if let Some(name) = ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref()) {
        return named(name).is_some_and(|class| ours(class));
    }
    classes.iter().any(|class| ours(class) && annotation(&class.metadata, DEFAULT_CLASS) == Some("true"))
}

fn annotation<'a>(metadata: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

fn key(metadata: &ObjectMeta) -> Key {
    Key::new(metadata.namespace.clone().unwrap_or_default(), metadata.name.clone().unwrap_or_default())
}

struct Builder<'a> {
    world: &'a World<'a>,
    table: Table,
    known: HashMap<(Key, Port), Arc<Backend>>,
}

impl Builder<'_> {
    fn ingress(&mut self, key: &Key, ingress: &Ingress, spec: &IngressSpec) {
        let redirect = !REDIRECT.iter().any(|name| annotation(&ingress.metadata, name) == Some("false"));
        let default = spec.default_backend.as_ref().and_then(|backend| self.route(key, backend, redirect));
        let rules = spec.rules.as_deref().unwrap_or_default();
        if rules.is_empty() && self.table.default.is_none() {
            self.table.default.clone_from(&default);
        }
        for rule in rules {
            let host = rule.host.as_deref().unwrap_or_default();
            let asked = rule.http.iter().flat_map(|http| &http.paths);
            let routes: Vec<(&HTTPIngressPath, Route)> =
                asked.filter_map(|path| Some((path, self.route(key, &path.backend, redirect)?))).collect();
            let paths = paths_of(&mut self.table, host);
            if paths.default.is_none() {
                paths.default.clone_from(&default);
            }
            let mut taken = Vec::new();
            for (path, route) in routes {
                taken.extend(insert(paths, path, route).map(|other| (path.path.clone().unwrap_or_default(), other)));
            }
            for (path, other) in taken {
                self.fault(key, "Conflict", format!("path {path:?} of host {host:?} is served by Ingress {other}"));
            }
        }
        self.tls(key, spec);
    }

    /// The route to `backend`; none, with a fault, when it is not a service.
    fn route(&mut self, ingress: &Key, backend: &IngressBackend, redirect: bool) -> Option<Route> {
        let Some(service) = &backend.service else {
            self.fault(ingress, "BadBackend", "a backend must be a service; resource is not supported".to_owned());
            return None;
        };
        let port = service.port.clone().unwrap_or_default();
        let port = match (port.name.filter(|name| !name.is_empty()), port.number) {
            (Some(name), _) => Port::Name(name),
            (None, number) => Port::Number(number.unwrap_or_default()),
        };
        let key = Key::new(&ingress.namespace, &service.name);
        let backend = match self.known.entry((key.clone(), port.clone())) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(unknown) => {
                let addresses = endpoints((self.world.service)(&key).as_deref(), &port, &(self.world.slices)(&key));
                let backend = Arc::new(Backend::new(key.clone(), port, addresses));
                self.table.backends.entry(key).or_default().push(Arc::clone(&backend));
                Arc::clone(unknown.insert(backend))
            }
        };
        Some(Route { ingress: ingress.clone(), backend, redirect })
    }

    fn tls(&mut self, ingress: &Key, spec: &IngressSpec) {
        for entry in spec.tls.iter().flatten() {
            let secret = entry.secret_name.as_deref().filter(|name| !name.is_empty());
            // Always of the Ingress's own namespace: there is no way to name another.
            let found = secret.and_then(|name| (self.world.certificate)(&Key::new(&ingress.namespace, name)));
            let certificate = match found.transpose() {
                Ok(certificate) => certificate,
                Err(why) => {
                    let secret = secret.unwrap_or_default();
                    self.fault(ingress, "BadCertificate", format!("Secret {secret} cannot be used for TLS: {why}"));
                    None
                }
            };
            // Without hosts the certificate is for all hosts of the rules.
            let named = entry.hosts.iter().flatten().map(String::as_str);
            let of_rules = spec.rules.iter().flatten().filter_map(|rule| rule.host.as_deref());
            let hosts: Vec<&str> =
                if entry.hosts.as_ref().is_none_or(Vec::is_empty) { of_rules.collect() } else { named.collect() };
            for host in hosts.into_iter().map(str::to_ascii_lowercase) {
                let slot = match host.strip_prefix("*.") {
                    Some(parent) => self.table.tls_wildcards.entry(parent.to_owned()),
                    None => self.table.tls.entry(host),
                };
                let slot = slot.or_default();
                if slot.is_none() {
                    slot.clone_from(&certificate);
                }
            }
        }
    }

    fn fault(&mut self, ingress: &Key, reason: &'static str, message: String) {
        self.table.faults.insert(Fault { ingress: ingress.clone(), reason, message });
    }
}

fn paths_of<'a>(table: &'a mut Table, host: &str) -> &'a mut Paths {
    let host = host.to_ascii_lowercase();
    if host.is_empty() {
        return &mut table.any;
    }
    match host.strip_prefix("*.") {
        Some(parent) => table.wildcards.entry(parent.to_owned()).or_default(),
        None => table.hosts.entry(host).or_default(),
    }
}

/// Adds a route unless an older one has the place; then returns whose that is.
fn insert(paths: &mut Paths, asked: &HTTPIngressPath, route: Route) -> Option<Key> {
    let path = asked.path.as_deref().unwrap_or_default();
    let place = if asked.path_type == "Exact" {
        paths.exact.entry(path.to_owned())
    } else {
        let path = path.trim_end_matches('/');
        paths.longest = paths.longest.max(path.len());
        paths.prefix.entry(path.to_owned())
    };
    match place {
        Entry::Vacant(free) => {
            free.insert(route);
            None
        }
        Entry::Occupied(taken) => Some(taken.get().ingress.clone()).filter(|other| *other != route.ingress),
    }
}
