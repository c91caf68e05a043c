//! What the table is made of, and what of it has changed.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::Key;
use cache::policy::resource::CachePolicy;
use http::{Method, StatusCode};
use identity::AccessPolicy;
use informer::{Change, Informer, Informers};
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::writer::Writer;
use super::{Config, key};
use crate::attach::Target;
use crate::backend::{self, Endpoints, Port, Registry};
use crate::balance::health::Checker;
use crate::caching::{self, Opened};
use crate::gateways::{Around, Gateways};
use crate::guards::Guards;
use crate::ingress::{self, Certificate, Fault, Outcome, World};
use crate::model::{Model, Socket, Transport};
use crate::policies::watched::Watched;
use crate::policies::{self, Policies};
use crate::report::{self, Trouble};
use crate::seen::Seen;
use crate::serve::Doors;
use crate::{admin, certificates};

/// Secrets that are never about the gateway, and may be many and large.
const FOREIGN_SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
    type!=bootstrap.kubernetes.io/token,type!=kubernetes.io/dockerconfigjson";

/// A socket that could not be had is tried again after this.
const DEAF_TIME: Duration = Duration::from_secs(2);

/// What the table is made of, and what of it has changed.
pub(super) struct Keeper {
    pub(super) doors: Doors,
    pub(super) seen: Arc<Seen>,
    pub(super) gateways: OnceLock<Arc<Gateways>>,
    pub(super) policies: OnceLock<Arc<Policies>>,
    pub(super) access: OnceLock<Arc<Watched<AccessPolicy>>>,
    pub(super) caching: OnceLock<Arc<Watched<CachePolicy>>>,
    pub(super) cache: Opened,
    pub(super) class: String,
    pub(super) ports: (u16, u16),
    pub(super) registry: Arc<Registry>,
    /// Where the gateway is; empty when that is not known.
    pub(super) zone: String,
    pub(super) guards: Guards,
    pub(super) ingresses: Informer<Ingress>,
    pub(super) classes: Informer<IngressClass>,
    pub(super) services: Informer<Service>,
    pub(super) secrets: Informer<Secret>,
    /// By service, then by the slice's own name.
    pub(super) slices: Mutex<HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>>,
    pub(super) certificates: Mutex<HashMap<Key, Certificate>>,
    pub(super) routes_changed: AtomicBool,
    pub(super) services_changed: Mutex<HashSet<Key>>,
    pub(super) wake: Notify,
    /// Told already, so that each is told once.
    pub(super) faults: Mutex<BTreeSet<Fault>>,
    /// Sockets that could not be opened, told already.
    pub(super) deaf: Mutex<BTreeMap<Socket, String>>,
    /// What is served, to be told of.
    pub(super) served: ArcSwap<Model>,
}

impl Keeper {
    pub(super) fn new(
        client: &Client,
        informers: &Informers,
        config: &Config,
        doors: Doors,
        seen: Arc<Seen>,
        ctx: &tasks::Context,
    ) -> Self {
        let secrets = Api::<Secret>::all(client.clone());
        let ours = watcher::Config::default().fields(FOREIGN_SECRETS);
        let registry = Arc::new(Registry::new(Checker::new(ctx.children.clone())));
        seen.backends.get_or_init(|| Arc::clone(&registry));
        Self {
            doors,
            seen,
            gateways: OnceLock::new(),
            policies: OnceLock::new(),
            access: OnceLock::new(),
            caching: OnceLock::new(),
            cache: Opened::new(config.cache.clone(), config.cache_socket.clone(), ctx),
            class: config.ingress_class.clone(),
            ports: (config.http.port(), config.https.port()),
            registry,
            zone: config.zone.clone(),
            guards: Guards::new(informers.of::<Service>(), &config.domain, ctx.children.clone()),
            ingresses: informers.of::<Ingress>(),
            classes: informers.of::<IngressClass>(),
            services: informers.of::<Service>(),
            secrets: informers.with(secrets, ours),
            slices: Mutex::default(),
            certificates: Mutex::default(),
            routes_changed: AtomicBool::new(true),
            services_changed: Mutex::default(),
            wake: Notify::new(),
            faults: Mutex::default(),
            deaf: Mutex::default(),
            served: ArcSwap::default(),
        }
    }

    /// What the gateway tells of itself.
    pub(super) fn answers(self: &Arc<Self>) -> Arc<admin::Answers> {
        let keeper = Arc::clone(self);
        Arc::new(move |method, path| match (method, path) {
            (&Method::GET, "/metrics") => {
                Some((StatusCode::OK, "text/plain; version=0.0.4", keeper.seen.render() + &keeper.cache.figures()))
            }
            (&Method::GET, "/routes") => {
                let report = report::report(&keeper.served.load(), keeper.troubles());
                let text = serde_json::to_string(&report).unwrap_or_default();
                Some((StatusCode::OK, "application/json", text))
            }
            _ => None,
        })
    }

    /// All that is asked for and cannot be given.
    pub(super) fn troubles(&self) -> BTreeSet<Trouble> {
        let deaf = self.deaf.lock();
        let of_sockets = deaf.iter().map(|(socket, why)| Trouble::new(format!("socket {socket}"), "CannotListen", why));
        let faults = self.faults.lock();
        let of_ingresses = faults
            .iter()
            .map(|fault| Trouble::new(format!("Ingress {}", fault.ingress), fault.reason, fault.message.clone()));
        let others = [
            self.gateways.get().map(|gateways| gateways.troubles()),
            self.policies.get().map(|policies| policies.troubles()),
            self.access.get().map(|access| access.troubles()),
            self.caching.get().map(|caching| caching.troubles()),
        ];
        of_sockets.chain(of_ingresses).chain(others.into_iter().flatten().flatten()).collect()
    }

    /// Opens the two sockets that there always are.
    pub(super) fn listen(&self) -> anyhow::Result<()> {
        let mut model = Model::default();
        self.translate(&[], &[], &mut model);
        match self.doors.open(&model).into_values().next() {
            Some(why) => anyhow::bail!("{why} with --http-port or --https-port"),
            None => Ok(()),
        }
    }

    /// Waits for something to do. A socket that could not be had is tried again, for nobody tells when its port is free.
    pub(super) async fn woken(&self) {
        let wake = self.wake.notified();
        if self.deaf.lock().is_empty() {
            wake.await;
        } else if tokio::time::timeout(DEAF_TIME, wake).await.is_err() {
            self.routes_changed.store(true, Ordering::Release);
        }
    }

    pub(super) fn routes_changed(&self) {
        self.routes_changed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    pub(super) fn service_changed(&self, service: Key) {
        self.services_changed.lock().insert(service);
        self.wake.notify_one();
    }

    /// Brings the table up to date with everything marked so far.
    pub(super) fn update(&self, writer: &Writer) {
        // Marks first, caches after: a change in between is marked again and comes again.
        let everything = self.routes_changed.swap(false, Ordering::AcqRel);
        let services = std::mem::take(&mut *self.services_changed.lock());
        // Endpoints outlive tables: a new table does not look at those that are known already.
        for key in services {
            let service = self.services.get(&key.namespace, &key.name);
            self.registry.refresh(&key, service.as_deref(), &self.slices_of(&key), &self.zone);
        }
        if everything {
            self.rebuild(writer);
        }
    }

    pub(super) fn rebuild(&self, writer: &Writer) {
        let (ingresses, classes) = (self.ingresses.list(), self.classes.list());
        let mut model = Model::default();
        self.gateways(writer, &mut model);
        let outcome = self.translate(&ingresses, &classes, &mut model);
        self.policies(&mut model);
        self.seen.adopt(&model);
        let deaf = self.doors.open(&model);
        self.served.store(Arc::new(model));
        self.registry.tidy();
        self.guards.tidy();
        self.seen.tidy();
        for (socket, why) in &deaf {
            if self.deaf.lock().get(socket) != Some(why) {
                tracing::warn!("{socket}: {why}");
            }
        }
        let known = std::mem::replace(&mut *self.deaf.lock(), deaf.clone());
        if known != deaf && self.gateways.get().is_some_and(|gateways| gateways.is_used()) {
            self.routes_changed(); // a status tells of sockets, too
        }
        *writer.served.lock() = outcome.served.clone();
        outcome.served.iter().for_each(|ingress| writer.statuses.add(ingress.clone()));
        let told = std::mem::replace(&mut *self.faults.lock(), outcome.faults.clone());
        for fault in outcome.faults.difference(&told) {
            tracing::warn!("Ingress {fault}");
            writer.faults.add(fault.clone());
        }
    }

    /// Adds what `ingresses` ask for to `model`.
    pub(super) fn translate(
        &self,
        ingresses: &[Arc<Ingress>],
        classes: &[Arc<IngressClass>],
        model: &mut Model,
    ) -> Outcome {
        let service = |key: &Key| self.services.get(&key.namespace, &key.name);
        let endpoints = |key: &Key, port: &Port| self.endpoints(key, port, Transport::Tcp);
        let certificate = |key: &Key| self.certificates.lock().get(key).cloned();
        let secret = |key: &Key, field: &str| self.field(key, field);
        let guard = |key: &Key, settings: &identity::Settings| {
            let data = |source: &identity::Source| self.data(&key.namespace, source);
            self.guards.of("Ingress", key, settings, &data)
        };
        let world = World {
            ingresses,
            classes,
            class: &self.class,
            ports: self.ports,
            service: &service,
            endpoints: &endpoints,
            certificate: &certificate,
            secret: &secret,
            guard: &guard,
        };
        ingress::translate(&world, model)
    }

    /// Puts the traffic policies in force.
    pub(super) fn policies(&self, model: &mut Model) {
        let Some(policies) = self.policies.get() else { return };
        let exists = |namespace: &str, target: &Target| match target.kind.as_str() {
            "Service" => self.services.get(namespace, &target.name).is_some(),
            "Ingress" => self.ingresses.get(namespace, &target.name).is_some(),
            kind => {
                let key = Key::new(namespace, &target.name);
                self.gateways.get().is_some_and(|gateways| gateways.has(kind, &key, target.section.as_deref()))
            }
        };
        self.registry.configure(policies.decide(model, &exists));
        let Some(access) = self.access.get() else { return };
        let make = |key: &Key, settings: &identity::Settings| {
            let data = |source: &identity::Source| self.data(&key.namespace, source);
            self.guards.of("AccessPolicy", key, settings, &data)
        };
        let (index, wrong) = policies::access::index(&access.list(), &make, &exists);
        policies::access::apply(&index, model);
        access.tell(&index, |key| wrong.get(key).cloned());
        let asked = self.caching.get().map(|caching| caching.list()).unwrap_or_default();
        if let (false, Some(caching), Some(cache)) = (asked.is_empty(), self.caching.get(), self.cache.get()) {
            let (index, wrong) = caching::apply(model, &asked, cache, exists);
            caching.tell(&index, |key| wrong.get(key).cloned());
        }
    }

    /// What a Secret holds in a field.
    fn field(&self, key: &Key, field: &str) -> Option<Vec<u8>> {
        let secret = self.secrets.get(&key.namespace, &key.name)?;
        secret.data.as_ref()?.get(field).map(|bytes| bytes.0.clone())
    }

    /// What a Secret or ConfigMap of a namespace holds.
    pub(super) fn data(&self, namespace: &str, source: &identity::Source) -> Option<identity::Data> {
        let name = match source {
            identity::Source::Secret(name) => name,
            identity::Source::ConfigMap(name) => {
                let authorities = self.gateways.get()?.authorities(&Key::new(namespace, name))?;
                return Some([("ca.crt".to_owned(), authorities.as_bytes().to_vec())].into());
            }
        };
        let secret = self.secrets.get(namespace, name)?;
        Some(secret.data.iter().flatten().map(|(name, bytes)| (name.clone(), bytes.0.clone())).collect())
    }

    /// Adds what Gateways serve to `model`.
    pub(super) fn gateways(&self, writer: &Writer, model: &mut Model) {
        let Some(gateways) = self.gateways.get() else { return };
        let service = |key: &Key| self.services.get(&key.namespace, &key.name);
        let endpoints = |key: &Key, port: &Port, transport: Transport| self.endpoints(key, port, transport);
        let certificate = |key: &Key| self.certificates.lock().get(key).cloned();
        let secret = |key: &Key, field: &str| self.field(key, field);
        let shared: Vec<IpAddr> = writer.addresses().iter().filter_map(|address| address.parse().ok()).collect();
        let unbound = self.deaf.lock().clone();
        let guard = |key: &Key, settings: &identity::Settings| {
            let data = |source: &identity::Source| self.data(&key.namespace, source);
            self.guards.of("ExternalAuth", key, settings, &data)
        };
        let around = Around {
            service: &service,
            endpoints: &endpoints,
            certificate: &certificate,
            secret: &secret,
            guard: &guard,
            shared: &shared,
            unbound: &unbound,
        };
        gateways.plan(&around, model);
    }

    /// The endpoints of a service's port.
    pub(super) fn endpoints(&self, key: &Key, port: &Port, transport: Transport) -> Arc<Endpoints> {
        self.registry.of(key, port, transport, || {
            let service = self.services.get(&key.namespace, &key.name);
            backend::members(service.as_deref(), port, transport, &self.slices_of(key), &self.zone)
        })
    }

    pub(super) fn slices_of(&self, service: &Key) -> Vec<Arc<EndpointSlice>> {
        self.slices.lock().get(service).map(|slices| slices.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn slice(&self, change: Change<'_, EndpointSlice>) {
        let owner = |slice: &EndpointSlice| {
            let service = slice.labels().get("kubernetes.io/service-name")?;
            Some(Key::new(slice.namespace().unwrap_or_default(), service))
        };
        let name = change.latest().name_any();
        let (old, new) = (change.old.and_then(|slice| owner(slice)), change.new.and_then(|slice| owner(slice)));
        {
            let mut slices = self.slices.lock();
            if let Some(old) = &old
                && let Some(known) = slices.get_mut(old)
            {
                known.remove(&name);
                if known.is_empty() {
                    slices.remove(old);
                }
            }
            if let (Some(new), Some(slice)) = (&new, change.new) {
                slices.entry(new.clone()).or_default().insert(name, Arc::clone(slice));
            }
        }
        let same = old == new;
        old.filter(|_| !same).into_iter().chain(new).for_each(|service| self.service_changed(service));
    }

    pub(super) fn secret(&self, change: Change<'_, Secret>) {
        let key = key(&**change.latest());
        match change.new {
            Some(secret) if secret.type_.as_deref() == Some("kubernetes.io/tls") => {
                let read = certificates::read(secret).map_err(|error| error.to_string());
                let mut known = self.certificates.lock();
                let certificate = Certificate::after(known.get(&key), read);
                known.insert(key, certificate);
            }
            _ => drop(self.certificates.lock().remove(&key)),
        }
        self.routes_changed();
    }
}
