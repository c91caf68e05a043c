//! Keeps the table current from watches, serves it, and writes back what became of each Ingress.
//!
//! A watch event marks what it touches and wakes one task, which brings the table up to date at
//! once: the addresses of one service in place, anything else by a new table. A burst of events
//! is one update. Nothing here is on a request's way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use base::Key;
use cache::policy::resource::CachePolicy;
use http::{Method, StatusCode};
use identity::AccessPolicy;
use informer::{Change, Informer, Informers, Next, Queue};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::attach::Target;
use crate::backend::{self, Endpoints, Port, Registry};
use crate::balance::health::Checker;
use crate::caching::{self, Opened};
use crate::gateways::{Around, Gateways, Pool, SharedPorts};
use crate::guards::Guards;
use crate::ingress::{self, Certificate, Fault, Outcome, World};
use crate::model::{Model, Socket, Transport};
use crate::policies::watched::Watched;
use crate::policies::{self, Policies};
use crate::report::{self, Trouble};
use crate::seen::{AccessLog, Seen, Tracer};
use crate::serve::Doors;
use crate::{admin, certificates, challenges, status};

/// Secrets that are never about the gateway, and may be many and large.
const FOREIGN_SECRETS: &str = "type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token,\
    type!=bootstrap.kubernetes.io/token,type!=kubernetes.io/dockerconfigjson";

/// How long routes of the Gateway API are waited for before anything is served.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// A socket that could not be had is tried again after this.
const DEAF_TIME: Duration = Duration::from_secs(2);

/// A client that may bring the definitions of the Gateway API to the cluster.
#[derive(Clone)]
pub struct Installer(pub Client);

impl std::fmt::Debug for Installer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Installer")
    }
}

/// What the gateway needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where plain HTTP is served.
    pub http: SocketAddr,
    /// Where HTTPS is served.
    pub https: SocketAddr,
    /// Our class, for Ingresses that name one by the old annotation.
    pub ingress_class: String,
    /// The address told in the status of an Ingress; the nodes' when none.
    pub publish_address: Option<IpAddr>,
    /// The domain of the cluster's own names.
    pub domain: String,
    /// A file that gets a line per request, `-` for standard output; none when empty.
    pub access_log: String,
    /// Of all requests this part gets a line, 0 to 1.
    pub access_log_sample: f64,
    /// Where spans go, such as `http://collector:4318`; nowhere when empty.
    pub traces: String,
    /// Of traces that begin here this part is told of, 0 to 1.
    pub trace_sample: f64,
    /// Where questions of the machine's owner are answered; nowhere when none.
    pub socket: Option<PathBuf>,
    /// The zone of the machine, for EndpointSlices that hint at zones; empty when there is none.
    pub zone: String,
    /// Networks whose connections begin with a PROXY header; nobody's when empty.
    pub proxy_protocol_from: Vec<IpNet>,
    /// What answers are kept in, for routes whose CachePolicy asks for it.
    pub cache: cache::Settings,
    /// Where `knarr cache` is answered; nowhere when none.
    pub cache_socket: Option<PathBuf>,
    /// Where figures are told to whoever asks; nowhere when none.
    pub metrics: Option<SocketAddr>,
    /// Addresses that Gateways get for their own; they share ours when there are none.
    pub addresses: Pool,
    /// Who brings the definitions of the Gateway API where they are missing; nobody when none.
    pub installer: Option<Installer>,
}

/// Serves Ingresses and Gateways until the service is stopped.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let access = match config.access_log.as_str() {
        "" => None,
        path => Some(AccessLog::open(path, config.access_log_sample, &ctx)?),
    };
    let tracer = match config.traces.as_str() {
        "" => None,
        endpoint => Some(Tracer::start(endpoint, config.trace_sample, &ctx)?),
    };
    let seen = Arc::new(Seen::new(access, tracer));
    let doors = Doors::new(config.http.ip(), Arc::clone(&seen), &ctx)?
        .introduced_by(config.proxy_protocol_from.iter().copied());
    let informers = Informers::new(client.clone(), &ctx);
    let nodes = config.publish_address.is_none().then(|| informers.of::<Node>());
    let keeper = Arc::new(Keeper::new(&client, &informers, &config, doors, seen, &ctx));
    keeper.listen()?;
    let writer = Arc::new(Writer {
        recorder: Recorder::new(client.clone(), Reporter::from("knarr-gateway")),
        client,
        ingresses: keeper.ingresses.clone(),
        served: Mutex::default(),
        published: config.publish_address,
        nodes,
        statuses: Queue::new(),
        faults: Queue::new(),
    });
    let answers = keeper.answers();
    if let Some(path) = &config.socket {
        admin::socket(path, Arc::clone(&answers), &ctx)?;
    }
    if let Some(address) = config.metrics {
        admin::figures(address, answers, &ctx).await?;
    }
    let kept = Arc::clone(&keeper);
    let ports = SharedPorts { http: config.http.port(), https: config.https.port() };
    let gateways = Gateways::new(writer.client.clone(), &ctx, (config.addresses, ports), move || kept.routes_changed());
    drop(keeper.gateways.set(Arc::clone(&gateways)));
    gateways.start(&ctx);
    let kept = Arc::clone(&keeper);
    let policies = Policies::new(writer.client.clone(), &ctx, move || kept.routes_changed());
    drop(keeper.policies.set(Arc::clone(&policies)));
    policies.start(&ctx);
    let kept = Arc::clone(&keeper);
    let access = Watched::<AccessPolicy>::new(writer.client.clone(), &ctx, Arc::new(move || kept.routes_changed()));
    drop(keeper.access.set(Arc::clone(&access)));
    access.start(&ctx);
    let kept = Arc::clone(&keeper);
    let caching = Watched::<CachePolicy>::new(writer.client.clone(), &ctx, Arc::new(move || kept.routes_changed()));
    drop(keeper.caching.set(Arc::clone(&caching)));
    caching.start(&ctx);
    if let Some(Installer(client)) = config.installer {
        policies.install(client.clone(), &ctx);
        access.install(client.clone(), &ctx);
        caching.install(client.clone(), &ctx);
        Gateways::install(client, config.ingress_class, &ctx);
    }
    let answered = challenges::follow(writer.client.clone(), keeper.doors.challenges(), ctx.clone());
    ctx.children.spawn("challenges", answered);
    follow(&keeper, &writer, &informers);
    ctx.ready.waiting_for("the list of Ingresses and what they name");
    informers.synced().await;
    if tokio::time::timeout(SETTLE_TIME, gateways.settled()).await.is_err() {
        tracing::warn!("routes of the Gateway API are not known yet; they are served when they are");
    }
    ctx.ready.waiting_for("the list of policies");
    policies.settled().await;
    access.settled().await;

    keeper.update(&writer);
    writer.start(&ctx);
    let (kept, told) = (Arc::clone(&keeper), Arc::clone(&writer));
    ctx.children.try_spawn("routes", async move {
        loop {
            kept.woken().await;
            kept.update(&told);
        }
    });
    ctx.ready.set();
    ctx.stop.cancelled().await;
    keeper.doors.close().await;
    Ok(())
}

/// What the table is made of, and what of it has changed.
struct Keeper {
    doors: Doors,
    seen: Arc<Seen>,
    gateways: OnceLock<Arc<Gateways>>,
    policies: OnceLock<Arc<Policies>>,
    access: OnceLock<Arc<Watched<AccessPolicy>>>,
    caching: OnceLock<Arc<Watched<CachePolicy>>>,
    cache: Opened,
    class: String,
    ports: (u16, u16),
    registry: Arc<Registry>,
    /// Where the gateway is; empty when that is not known.
    zone: String,
    guards: Guards,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    services: Informer<Service>,
    secrets: Informer<Secret>,
    /// By service, then by the slice's own name.
    slices: Mutex<HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>>,
    certificates: Mutex<HashMap<Key, Certificate>>,
    routes_changed: AtomicBool,
    services_changed: Mutex<HashSet<Key>>,
    wake: Notify,
    /// Told already, so that each is told once.
    faults: Mutex<BTreeSet<Fault>>,
    /// Sockets that could not be opened, told already.
    deaf: Mutex<BTreeMap<Socket, String>>,
    /// What is served, to be told of.
    served: ArcSwap<Model>,
}

impl Keeper {
    fn new(
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
    fn answers(self: &Arc<Self>) -> Arc<admin::Answers> {
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
    fn troubles(&self) -> BTreeSet<Trouble> {
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
    fn listen(&self) -> anyhow::Result<()> {
        let mut model = Model::default();
        self.translate(&[], &[], &mut model);
        match self.doors.open(&model).into_values().next() {
            Some(why) => anyhow::bail!("{why} with --http-port or --https-port"),
            None => Ok(()),
        }
    }

    /// Waits for something to do. A socket that could not be had is tried again, for nobody tells when its port is free.
    async fn woken(&self) {
        let wake = self.wake.notified();
        if self.deaf.lock().is_empty() {
            wake.await;
        } else if tokio::time::timeout(DEAF_TIME, wake).await.is_err() {
            self.routes_changed.store(true, Ordering::Release);
        }
    }

    fn routes_changed(&self) {
        self.routes_changed.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn service_changed(&self, service: Key) {
        self.services_changed.lock().insert(service);
        self.wake.notify_one();
    }

    /// Brings the table up to date with everything marked so far.
    fn update(&self, writer: &Writer) {
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

    fn rebuild(&self, writer: &Writer) {
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
    fn translate(&self, ingresses: &[Arc<Ingress>], classes: &[Arc<IngressClass>], model: &mut Model) -> Outcome {
        let service = |key: &Key| self.services.get(&key.namespace, &key.name);
        let endpoints = |key: &Key, port: &Port| self.endpoints(key, port, Transport::Tcp);
        let certificate = |key: &Key| self.certificates.lock().get(key).cloned();
        let secret = |key: &Key, field: &str| {
            let secret = self.secrets.get(&key.namespace, &key.name)?;
            secret.data.as_ref()?.get(field).map(|bytes| bytes.0.clone())
        };
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
    fn policies(&self, model: &mut Model) {
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

    /// What a Secret or ConfigMap of a namespace holds.
    fn data(&self, namespace: &str, source: &identity::Source) -> Option<identity::Data> {
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
    fn gateways(&self, writer: &Writer, model: &mut Model) {
        let Some(gateways) = self.gateways.get() else { return };
        let service = |key: &Key| self.services.get(&key.namespace, &key.name);
        let endpoints = |key: &Key, port: &Port, transport: Transport| self.endpoints(key, port, transport);
        let certificate = |key: &Key| self.certificates.lock().get(key).cloned();
        let secret = |key: &Key, field: &str| {
            let secret = self.secrets.get(&key.namespace, &key.name)?;
            secret.data.as_ref()?.get(field).map(|bytes| bytes.0.clone())
        };
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
    fn endpoints(&self, key: &Key, port: &Port, transport: Transport) -> Arc<Endpoints> {
        self.registry.of(key, port, transport, || {
            let service = self.services.get(&key.namespace, &key.name);
            backend::members(service.as_deref(), port, transport, &self.slices_of(key), &self.zone)
        })
    }

    fn slices_of(&self, service: &Key) -> Vec<Arc<EndpointSlice>> {
        self.slices.lock().get(service).map(|slices| slices.values().cloned().collect()).unwrap_or_default()
    }

    fn slice(&self, change: Change<'_, EndpointSlice>) {
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

    fn secret(&self, change: Change<'_, Secret>) {
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

fn key<K: kube::Resource>(object: &K) -> Key {
    Key::new(object.namespace().unwrap_or_default(), object.name_any())
}

fn follow(keeper: &Arc<Keeper>, writer: &Arc<Writer>, informers: &Informers) {
    let (kept, told) = (Arc::clone(keeper), Arc::clone(writer));
    keeper.ingresses.on_change(move |change| {
        // Our own status writes come back here; they change no route.
        let asks = |ingress: &Ingress| (ingress.spec.clone(), ingress.metadata.annotations.clone());
        match (change.old, change.new) {
            (Some(old), Some(new)) if asks(old) == asks(new) => told.statuses.add(key(&**new)),
            _ => kept.routes_changed(),
        }
    });
    let kept = Arc::clone(keeper);
    keeper.classes.on_change(move |_| kept.routes_changed());
    let kept = Arc::clone(keeper);
    keeper.services.on_change(move |change| {
        kept.service_changed(key(&**change.latest()));
        // Statuses of routes tell of services and their ports.
        let ports = |service: Option<&Arc<Service>>| {
            service.map(|service| service.spec.as_ref().map(|spec| (spec.ports.clone(), spec.type_.clone())))
        };
        let used = kept.gateways.get().is_some_and(|gateways| gateways.is_used());
        if used && ports(change.old) != ports(change.new) {
            kept.routes_changed();
        }
    });
    let kept = Arc::clone(keeper);
    informers.of::<EndpointSlice>().on_change(move |change| kept.slice(change));
    let kept = Arc::clone(keeper);
    keeper.secrets.on_change(move |change| kept.secret(change));
    if let Some(nodes) = &writer.nodes {
        let (kept, told) = (Arc::clone(keeper), Arc::clone(writer));
        nodes.on_change(move |change| {
            let addresses = |node: Option<&Arc<Node>>| status::internal_addresses(node.map(|node| &**node));
            if addresses(change.old) != addresses(change.new) {
                told.served.lock().iter().for_each(|ingress| told.statuses.add(ingress.clone()));
                kept.routes_changed();
            }
        });
    }
}

/// Writes statuses and events, away from the table's task.
struct Writer {
    client: Client,
    recorder: Recorder,
    ingresses: Informer<Ingress>,
    served: Mutex<BTreeSet<Key>>,
    published: Option<IpAddr>,
    nodes: Option<Informer<Node>>,
    statuses: Queue<Key>,
    faults: Queue<Fault>,
}

impl Writer {
    fn start(self: &Arc<Self>, ctx: &tasks::Context) {
        let writer = Arc::clone(self);
        informer::work(&self.statuses, 2, ctx, "write status", move |item| {
            let writer = Arc::clone(&writer);
            async move { writer.status(&item).await }
        });
        let writer = Arc::clone(self);
        informer::work(&self.faults, 1, ctx, "record faults", move |fault| {
            let writer = Arc::clone(&writer);
            async move { writer.fault(&fault).await }
        });
    }

    /// Where clients reach us.
    fn addresses(&self) -> Vec<String> {
        match (&self.nodes, self.published) {
            (_, Some(address)) => vec![address.to_string()],
            (Some(nodes), None) => status::internal_addresses(nodes.list().iter().map(|node| &**node)),
            (None, None) => Vec::new(),
        }
    }

    async fn status(&self, item: &Key) -> anyhow::Result<Next> {
        let ours = self.served.lock().contains(item);
        let Some(ingress) = self.ingresses.get(&item.namespace, &item.name).filter(|_| ours) else {
            return Ok(Next::Done);
        };
        let Some(patch) = status::plan(&ingress, &self.addresses()) else { return Ok(Next::Done) };
        let api = Api::<Ingress>::namespaced(self.client.clone(), &item.namespace);
        match api.patch_status(&item.name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => Ok(Next::Done), // gone meanwhile
            written => Ok(written.map(|_| Next::Done)?),
        }
    }

    async fn fault(&self, fault: &Fault) -> anyhow::Result<Next> {
        let Some(ingress) = self.ingresses.get(&fault.ingress.namespace, &fault.ingress.name) else {
            return Ok(Next::Done);
        };
        let event = Event {
            type_: EventType::Warning,
            reason: fault.reason.to_owned(),
            note: Some(fault.message.clone()),
            action: "Serving".to_owned(),
            secondary: None,
        };
        self.recorder.publish(&event, &ingress.object_ref(&())).await?;
        Ok(Next::Done)
    }
}
