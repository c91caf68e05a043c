//! Watches the objects of the Gateway API, and writes what they are told.
//!
//! Which kinds there are is learnt from the cluster's definitions, so that a cluster without the Gateway API costs one watch of
//! names, and kinds that appear later are served then. Everything else is the plan's.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base::Key;
use informer::{Follow, Form, Informer, Informers, Kept, Next, Object, Part, Queue};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::Request;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt as _};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;

use super::kinds::{
    BackendTlsPolicy, GROUP, Gateway, GatewayClass, Grant, GrpcRoute, HttpRoute, ListenerSet, TcpRoute, TlsRoute,
    UdpRoute,
};
use super::listeners::RouteKind;
use super::status::{self, Statuses};
use super::world::{World, key};
use super::{Pool, SharedPorts, definitions, plan};
use crate::backend::{Endpoints, Port};
use crate::certificates;
use crate::ingress::{Certificate, MakeGuard};
use crate::model::{Model, Socket, Transport};
use crate::report::Trouble;

/// The kinds that are watched, by their plural names, sorted.
pub(crate) const PLURALS: [&str; 10] = [
    "backendtlspolicies",
    "gatewayclasses",
    "gateways",
    "grpcroutes",
    "httproutes",
    "listenersets",
    "referencegrants",
    "tcproutes",
    "tlsroutes",
    "udproutes",
];
/// A kind that is defined but not served yet is asked for again after this.
const SOON: Duration = Duration::from_millis(100);
/// Where distributions keep the certificates of public authorities.
const BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Something with a status of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Item {
    Class(String),
    Gateway(Key),
    Set(Key),
    Route(RouteKind, Key),
    Policy(Key),
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(name) => write!(f, "GatewayClass {name}"),
            Self::Gateway(key) => write!(f, "Gateway {key}"),
            Self::Set(key) => write!(f, "ListenerSet {key}"),
            Self::Route(kind, key) => write!(f, "{} {key}", kind.name()),
            Self::Policy(key) => write!(f, "BackendTLSPolicy {key}"),
        }
    }
}

/// An informer that starts when its kind is served.
struct Late<K>(OnceLock<Informer<K>>);

impl<K> Default for Late<K> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<K: Object> Late<K> {
    fn list(&self) -> Vec<Arc<K>> {
        self.0.get().map(Informer::list).unwrap_or_default()
    }

    fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.0.get()?.get(&key.namespace, &key.name)
    }
}

/// The authorities in a ConfigMap; nothing else of it is kept.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Bundle {
    #[serde(deserialize_with = "informer::identity")]
    metadata: ObjectMeta,
    #[serde(default)]
    data: BundleData,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct BundleData {
    #[serde(rename = "ca.crt")]
    authorities: Option<Arc<str>>,
}

/// The labels of a Namespace.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Labels {
    #[serde(deserialize_with = "informer::identity")]
    metadata: ObjectMeta,
}

/// The name of a definition.
#[derive(Clone, Debug, Deserialize)]
struct Name {
    #[serde(deserialize_with = "informer::identity")]
    metadata: ObjectMeta,
}

macro_rules! kept {
    ($($part:ident of $kind:ty;)*) => {$(
        impl Kept for $part {
            type Kind = $kind;

            fn metadata(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn metadata_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    )*};
}

kept! {
    Bundle of ConfigMap;
    Labels of Namespace;
    Name of k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
}

/// What of the rest of the gateway a plan needs.
pub(crate) struct Around<'a> {
    pub(crate) service: &'a dyn Fn(&Key) -> Option<Arc<Service>>,
    pub(crate) endpoints: &'a dyn Fn(&Key, &Port, Transport) -> Arc<Endpoints>,
    pub(crate) certificate: &'a dyn Fn(&Key) -> Option<Certificate>,
    pub(crate) secret: &'a dyn Fn(&Key, &str) -> Option<Vec<u8>>,
    pub(crate) guard: MakeGuard<'a>,
    pub(crate) shared: &'a [IpAddr],
    pub(crate) unbound: &'a BTreeMap<Socket, String>,
}

/// The Gateway API of a cluster.
pub(crate) struct Gateways {
    client: Client,
    informers: Informers,
    pool: Pool,
    ports: SharedPorts,
    changed: Box<dyn Fn() + Send + Sync>,
    classes: Late<GatewayClass>,
    gateways: Late<Gateway>,
    sets: Late<ListenerSet>,
    http: Late<HttpRoute>,
    grpc: Late<GrpcRoute>,
    tls: Late<TlsRoute>,
    tcp: Late<TcpRoute>,
    udp: Late<UdpRoute>,
    grants: Late<Grant>,
    policies: Late<BackendTlsPolicy>,
    namespaces: Late<Part<Labels>>,
    bundles: Late<Part<Bundle>>,
    system: OnceLock<Arc<[Vec<u8>]>>,
    statuses: Mutex<Arc<Statuses>>,
    writes: Queue<Item>,
    /// Kinds that are defined and not watched yet.
    defined: Queue<String>,
    /// How many kinds are defined and not read for the first time yet.
    pending: AtomicUsize,
    /// The list of definitions was read, and every kind of it too.
    settled: watch::Sender<bool>,
}

impl fmt::Debug for Gateways {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateways").field("settled", &*self.settled.borrow()).finish_non_exhaustive()
    }
}

impl Gateways {
    /// Nothing is watched before [`Self::start`]; `changed` is called when a plan would differ.
    pub(crate) fn new(
        client: Client,
        ctx: &tasks::Context,
        (pool, ports): (Pool, SharedPorts),
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            informers: Informers::new(client.clone(), ctx),
            client,
            pool,
            ports,
            changed: Box::new(changed),
            classes: Late::default(),
            gateways: Late::default(),
            sets: Late::default(),
            http: Late::default(),
            grpc: Late::default(),
            tls: Late::default(),
            tcp: Late::default(),
            udp: Late::default(),
            grants: Late::default(),
            policies: Late::default(),
            namespaces: Late::default(),
            bundles: Late::default(),
            system: OnceLock::new(),
            statuses: Mutex::default(),
            writes: Queue::new(),
            defined: Queue::new(),
            pending: AtomicUsize::new(0),
            settled: watch::Sender::new(false),
        })
    }

    /// Watches which kinds there are, and writes statuses, until the service stops.
    pub(crate) fn start(self: &Arc<Self>, ctx: &tasks::Context) {
        let this = Arc::clone(self);
        ctx.children.spawn("watch definitions", async move { this.definitions().await });
        let this = Arc::clone(self);
        let context = ctx.clone();
        informer::work(&self.defined, 1, ctx, "watch a kind of the Gateway API", move |plural: String| {
            let (this, context) = (Arc::clone(&this), context.clone());
            async move { this.begin(&plural, &context).await }
        });
        let this = Arc::clone(self);
        informer::work(&self.writes, 4, ctx, "write status", move |item| {
            let this = Arc::clone(&this);
            async move { this.write(&item).await }
        });
    }

    /// Brings the definitions and the class `class` to the cluster with `client`, as soon as it lets us.
    pub(crate) fn install(client: Client, class: String, ctx: &tasks::Context) {
        let queue = Queue::new();
        queue.add(class);
        informer::work(&queue, 1, ctx, "install Gateway API", move |class: String| {
            let client = client.clone();
            async move {
                match definitions::install(&client, &class).await {
                    Err(error) if error.code() == Some(404) => Ok(Next::After(SOON)), // a kind that is not served yet
                    Err(error) if error.code() == Some(403) => {
                        tracing::warn!("only Ingresses are served: {}", base::error::chain(&error));
                        Ok(Next::Done)
                    }
                    installed => Ok(installed.map(|()| Next::Done)?),
                }
            }
        });
    }

    /// Waits until all kinds there were at first are read.
    pub(crate) async fn settled(&self) {
        let reached = self.settled.subscribe().wait_for(|settled| *settled).await.map(drop);
        reached.expect("invariant: the sender lives in self");
    }

    async fn definitions(self: &Arc<Self>) {
        let config = watcher::Config::default();
        let mut events = Follow::<Part<Name>>::new(self.client.clone(), definitions::PATH, config, Form::Metadata);
        let mut found = Vec::new();
        loop {
            match events.next().await {
                Event::Init => found.clear(),
                Event::InitApply(definition) => found.extend(plural(&definition)),
                Event::InitDone => {
                    let new: Vec<String> = found.drain(..).filter(|plural| !self.is_watched(plural)).collect();
                    self.pending.fetch_add(new.len(), Ordering::AcqRel);
                    let none = new.is_empty();
                    new.into_iter().for_each(|plural| self.defined.add(plural));
                    if none {
                        self.settled.send_replace(true);
                    }
                }
                Event::Apply(definition) => {
                    let new = plural(&definition).filter(|plural| !self.is_watched(plural));
                    new.into_iter().for_each(|plural| self.defined.add(plural));
                }
                Event::Delete(_) => {} // its objects went before it
            }
        }
    }

    fn is_watched(&self, plural: &str) -> bool {
        match plural {
            "backendtlspolicies" => self.policies.0.get().is_some(),
            "gatewayclasses" => self.classes.0.get().is_some(),
            "gateways" => self.gateways.0.get().is_some(),
            "grpcroutes" => self.grpc.0.get().is_some(),
            "httproutes" => self.http.0.get().is_some(),
            "listenersets" => self.sets.0.get().is_some(),
            "referencegrants" => self.grants.0.get().is_some(),
            "tcproutes" => self.tcp.0.get().is_some(),
            "tlsroutes" => self.tls.0.get().is_some(),
            "udproutes" => self.udp.0.get().is_some(),
            _ => true,
        }
    }

    /// Watches a kind that is defined, once it is served.
    async fn begin(self: &Arc<Self>, plural: &str, ctx: &tasks::Context) -> anyhow::Result<Next> {
        if self.is_watched(plural) {
            return Ok(Next::Done);
        }
        let version = if plural == "referencegrants" { "v1beta1" } else { super::kinds::VERSION };
        let path = format!("/apis/{GROUP}/{version}/{plural}");
        let probe = Request::new(&path).list(&ListParams::default().limit(1)).map_err(kube::Error::BuildRequest)?;
        match self.client.request::<Value>(probe).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => return Ok(Next::After(SOON)),
            served => served.map(drop)?,
        }
        let gone = |_: &Key| None;
        match plural {
            "backendtlspolicies" => self.watch(|this| &this.policies, |key| Some(Item::Policy(key.clone())), ctx),
            "gatewayclasses" => self.watch(|this| &this.classes, |key| Some(Item::Class(key.name.clone())), ctx),
            "gateways" => {
                self.watch(|this| &this.gateways, |key| Some(Item::Gateway(key.clone())), ctx);
                self.beside(ctx);
            }
            "listenersets" => self.watch(|this| &this.sets, |key| Some(Item::Set(key.clone())), ctx),
            "grpcroutes" => self.watch(|this| &this.grpc, |key| Some(Item::Route(RouteKind::Grpc, key.clone())), ctx),
            "httproutes" => self.watch(|this| &this.http, |key| Some(Item::Route(RouteKind::Http, key.clone())), ctx),
            "tcproutes" => self.watch(|this| &this.tcp, |key| Some(Item::Route(RouteKind::Tcp, key.clone())), ctx),
            "tlsroutes" => self.watch(|this| &this.tls, |key| Some(Item::Route(RouteKind::Tls, key.clone())), ctx),
            "udproutes" => self.watch(|this| &this.udp, |key| Some(Item::Route(RouteKind::Udp, key.clone())), ctx),
            "referencegrants" => self.watch(|this| &this.grants, gone, ctx),
            _ => {}
        }
        Ok(Next::Done)
    }

    fn watch<K>(self: &Arc<Self>, late: fn(&Self) -> &Late<K>, item: fn(&Key) -> Option<Item>, ctx: &tasks::Context)
    where
        K: Object + Resource<DynamicType = ()>,
    {
        let informer = self.informers.of::<K>();
        let this = Arc::clone(self);
        informer.on_change(move |change| match (change.old, change.new) {
            // Our own status writes come back here; they change no plan, but may have crossed another's.
            (Some(old), Some(new)) if asks_the_same(old.meta(), new.meta()) => {
                item(&key(new.meta())).into_iter().for_each(|item| this.writes.add(item));
            }
            _ => (this.changed)(),
        });
        self.read_first(&informer, ctx);
        // Set last: whoever finds it finds it filled by handlers in order.
        let _known = late(self).0.set(informer);
    }

    /// What only Gateways need.
    fn beside(self: &Arc<Self>, ctx: &tasks::Context) {
        let namespaces = self.informers.of::<Part<Labels>>();
        let this = Arc::clone(self);
        namespaces.on_change(move |change| {
            let labels = |of: Option<&Arc<Part<Labels>>>| of.and_then(|namespace| namespace.0.metadata.labels.clone());
            if change.old.is_none() || change.new.is_none() || labels(change.old) != labels(change.new) {
                (this.changed)();
            }
        });
        let bundles = self.informers.of::<Part<Bundle>>();
        let this = Arc::clone(self);
        bundles.on_change(move |change| {
            let data = |of: Option<&Arc<Part<Bundle>>>| of.map(|bundle| bundle.0.data.clone()).unwrap_or_default();
            if data(change.old) != data(change.new) {
                (this.changed)();
            }
        });
        self.pending.fetch_add(2, Ordering::AcqRel);
        self.read_first(&namespaces, ctx);
        self.read_first(&bundles, ctx);
        let _known = self.namespaces.0.set(namespaces);
        let _known = self.bundles.0.set(bundles);
    }

    fn read_first<K: Object>(self: &Arc<Self>, informer: &Informer<K>, ctx: &tasks::Context) {
        let (this, informer) = (Arc::clone(self), informer.clone());
        ctx.children.spawn("first list", async move {
            informer.synced().await;
            let left =
                this.pending.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left.saturating_sub(1)));
            if left.is_ok_and(|before| before <= 1) {
                this.settled.send_replace(true);
            }
            (this.changed)();
        });
    }

    /// True when there is an object, and the section of it, that a policy names.
    pub(crate) fn has(&self, kind: &str, key: &Key, section: Option<&str>) -> bool {
        let sections: Option<Vec<Option<String>>> = match kind {
            "Gateway" => self
                .gateways
                .get(key)
                .map(|gateway| gateway.spec.listeners.iter().map(|listener| Some(listener.name.clone())).collect()),
            "HTTPRoute" => {
                self.http.get(key).map(|route| route.spec.rules.iter().map(|rule| rule.name.clone()).collect())
            }
            "GRPCRoute" => {
                self.grpc.get(key).map(|route| route.spec.rules.iter().map(|rule| rule.name.clone()).collect())
            }
            _ => None,
        };
        let named = |name: &Option<String>| name.as_deref() == section;
        sections.is_some_and(|sections| section.is_none() || sections.iter().any(named))
    }

    /// The authorities that a ConfigMap holds.
    pub(crate) fn authorities(&self, key: &Key) -> Option<Arc<str>> {
        self.bundles.get(key)?.0.data.authorities.clone()
    }

    /// What is told of objects that are not served as they ask.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        self.statuses.lock().troubles()
    }

    /// True when anything can depend on a service.
    pub(crate) fn is_used(&self) -> bool {
        self.gateways.0.get().is_some_and(|gateways| !gateways.is_empty())
    }

    /// Adds what Gateways serve to `model`, and sees to it that everybody is told.
    pub(crate) fn plan(&self, around: &Around<'_>, model: &mut Model) {
        if !*self.settled.borrow() {
            return;
        }
        let before = Arc::clone(&self.statuses.lock());
        let policies = self.policies.list();
        let system = if policies.iter().any(|policy| policy.spec.validation.well_known_ca_certificates.is_some()) {
            Arc::clone(self.system.get_or_init(system))
        } else {
            Arc::default()
        };
        let world = World {
            classes: &self.classes.list(),
            gateways: &self.gateways.list(),
            sets: &self.sets.list(),
            http: &self.http.list(),
            grpc: &self.grpc.list(),
            tls: &self.tls.list(),
            tcp: &self.tcp.list(),
            udp: &self.udp.list(),
            grants: &self.grants.list(),
            policies: &policies,
            namespace: &|name| {
                let namespace = self.namespaces.get(&Key::cluster(name))?;
                Some(namespace.0.metadata.labels.clone().unwrap_or_default())
            },
            service: around.service,
            endpoints: around.endpoints,
            certificate: around.certificate,
            secret: around.secret,
            guard: around.guard,
            authorities: &|key| self.bundles.get(key)?.0.data.authorities.clone(),
            pool: &self.pool,
            before: &before,
            shared: around.shared,
            ports: self.ports,
            system: &system,
            unbound: around.unbound,
        };
        let statuses = Arc::new(plan(&world, model));
        *self.statuses.lock() = Arc::clone(&statuses);
        let classes = statuses.classes.keys().cloned().map(Item::Class);
        let gateways = statuses.gateways.keys().cloned().map(Item::Gateway);
        let sets = statuses.sets.keys().cloned().map(Item::Set);
        let routes = statuses.routes.keys().cloned().map(|(kind, key)| Item::Route(kind, key));
        let policies = statuses.policies.keys().cloned().map(Item::Policy);
        let now = k8s_openapi::jiff::Timestamp::now();
        let all = classes.chain(gateways).chain(sets).chain(routes).chain(policies);
        all.filter(|item| self.patch(item, now).is_some()).for_each(|item| self.writes.add(item));
    }

    /// What is to be written to an object: the path of its kind, and the patch.
    fn patch(&self, item: &Item, now: k8s_openapi::jiff::Timestamp) -> Option<(String, Value)> {
        fn of<K: Resource<DynamicType = ()>>(key: &Key, patch: Option<Value>) -> Option<(String, Value)> {
            let namespace = Some(key.namespace.as_str()).filter(|namespace| !namespace.is_empty());
            Some((K::url_path(&(), namespace), patch?))
        }
        let statuses = Arc::clone(&self.statuses.lock());
        macro_rules! route {
            ($late:expr, $kind:ty, $id:expr) => {{
                let route = $late.get(&$id.1)?;
                let patch = status::route_patch(&route.metadata, &route.status, statuses.routes.get(&$id)?, now);
                of::<$kind>(&$id.1, patch)
            }};
        }
        match item {
            Item::Class(name) => {
                let key = Key::cluster(name.as_str());
                let class = self.classes.get(&key)?;
                of::<GatewayClass>(&key, status::class_patch(&class, statuses.classes.get(name)?, now))
            }
            Item::Gateway(key) => {
                let gateway = self.gateways.get(key)?;
                of::<Gateway>(key, statuses.gateways.get(key)?.patch(&gateway, now))
            }
            Item::Set(key) => {
                let set = self.sets.get(key)?;
                of::<ListenerSet>(key, statuses.sets.get(key)?.patch(&set, now))
            }
            Item::Policy(key) => {
                let policy = self.policies.get(key)?;
                of::<BackendTlsPolicy>(key, status::policy_patch(&policy, statuses.policies.get(key)?, now))
            }
            Item::Route(kind, key) => {
                let id = (*kind, key.clone());
                match kind {
                    RouteKind::Http => route!(self.http, HttpRoute, id),
                    RouteKind::Grpc => route!(self.grpc, GrpcRoute, id),
                    RouteKind::Tls => route!(self.tls, TlsRoute, id),
                    RouteKind::Tcp => route!(self.tcp, TcpRoute, id),
                    RouteKind::Udp => route!(self.udp, UdpRoute, id),
                }
            }
        }
    }

    async fn write(&self, item: &Item) -> anyhow::Result<Next> {
        let Some((path, patch)) = self.patch(item, k8s_openapi::jiff::Timestamp::now()) else { return Ok(Next::Done) };
        let name = match item {
            Item::Class(name) => name,
            Item::Gateway(key) | Item::Set(key) | Item::Policy(key) | Item::Route(_, key) => &key.name,
        };
        let request =
            Request::new(path).patch_subresource("status", name, &PatchParams::default(), &Patch::Merge(&patch));
        match self.client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await {
            Err(kube::Error::Api(refusal)) if refusal.code == 404 => Ok(Next::Done), // gone meanwhile
            written => Ok(written.map(|_| Next::Done)?),
        }
    }
}

/// True when two states of an object ask for the same.
fn asks_the_same(old: &ObjectMeta, new: &ObjectMeta) -> bool {
    old.uid == new.uid
        && old.generation.is_some()
        && old.generation == new.generation
        && old.labels == new.labels
        && old.deletion_timestamp == new.deletion_timestamp
}

/// The plural name in the name of a definition of ours.
fn plural(definition: &Part<Name>) -> Option<String> {
    let name = definition.name_any();
    let plural = name.strip_suffix(GROUP)?.strip_suffix('.')?;
    PLURALS.contains(&plural).then(|| plural.to_owned())
}

/// The authorities that this machine trusts; none when there is no bundle.
fn system() -> Arc<[Vec<u8>]> {
    let text = BUNDLES.iter().find_map(|path| std::fs::read(Path::new(path)).ok()).unwrap_or_default();
    match certificates::authorities(&text) {
        Ok(found) => found.into(),
        Err(why) => {
            tracing::warn!("the certificate authorities of this machine cannot be read: {why}");
            Arc::default()
        }
    }
}
