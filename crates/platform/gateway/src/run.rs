//! Keeps the table current from watches, serves it, and writes back what became of each Ingress.
//!
//! A watch event marks what it touches and wakes one task, which brings the table up to date at
//! once: the addresses of one service in place, anything else by a new table. A burst of events
//! is one update. Nothing here is on a request's way.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use base::Key;
use informer::{Change, Informer, Informers, Next, Queue};
use k8s_openapi::api::core::v1::{Node, Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::api::{Patch, PatchParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::routes::{self, Fault, Table, World};
use crate::serve::{self, Listeners};
use crate::{certificates, status};

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
}

/// Serves Ingresses until the service is stopped.
///
/// # Errors
/// When an address cannot be listened on.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let listeners = Listeners::bind(config.http, config.https).await?;
    let informers = Informers::new(client.clone(), &ctx);
    let nodes = config.publish_address.is_none().then(|| informers.of::<Node>());
    let keeper = Arc::new(Keeper::new(&informers, config.ingress_class));
    let writer = Arc::new(Writer {
        recorder: Recorder::new(client.clone(), Reporter::from("knarr-gateway")),
        client,
        ingresses: keeper.ingresses.clone(),
        table: Arc::clone(&keeper.table),
        published: config.publish_address,
        nodes,
        statuses: Queue::new(),
        faults: Queue::new(),
    });
    follow(&keeper, &writer, &informers);
    ctx.ready.waiting_for("the list of Ingresses and what they name");
    informers.synced().await;

    keeper.update(&writer);
    writer.start(&ctx);
    let (kept, told) = (Arc::clone(&keeper), Arc::clone(&writer));
    ctx.children.try_spawn("routes", async move {
        loop {
            kept.wake.notified().await;
            kept.update(&told);
        }
    });
    ctx.ready.set();
    serve::serve(listeners, Arc::clone(&keeper.table), &ctx).await
}

/// What the table is made of, and what of it has changed.
struct Keeper {
    table: routes::Shared,
    class: String,
    ingresses: Informer<Ingress>,
    classes: Informer<IngressClass>,
    services: Informer<Service>,
    /// By service, then by the slice's own name.
    slices: Mutex<HashMap<Key, BTreeMap<String, Arc<EndpointSlice>>>>,
    certificates: Mutex<HashMap<Key, routes::Certificate>>,
    routes_changed: AtomicBool,
    services_changed: Mutex<HashSet<Key>>,
    wake: Notify,
    /// Told already, so that each is told once.
    faults: Mutex<BTreeSet<Fault>>,
}

impl Keeper {
    fn new(informers: &Informers, class: String) -> Self {
        Self {
            table: Arc::new(ArcSwap::from_pointee(Table::default())),
            class,
            ingresses: informers.of::<Ingress>(),
            classes: informers.of::<IngressClass>(),
            services: informers.of::<Service>(),
            slices: Mutex::default(),
            certificates: Mutex::default(),
            routes_changed: AtomicBool::new(true),
            services_changed: Mutex::default(),
            wake: Notify::new(),
            faults: Mutex::default(),
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
        if everything {
            self.rebuild(writer);
        } else {
            let table = self.table.load();
            for key in services {
                let service = self.services.get(&key.namespace, &key.name);
                table.refresh(&key, service.as_deref(), &self.slices_of(&key));
            }
        }
    }

    fn rebuild(&self, writer: &Writer) {
        let (ingresses, classes) = (self.ingresses.list(), self.classes.list());
        let table = routes::build(&World {
            ingresses: &ingresses,
            classes: &classes,
            class: &self.class,
            service: &|key| self.services.get(&key.namespace, &key.name),
            slices: &|key| self.slices_of(key),
            certificate: &|key| self.certificates.lock().get(key).cloned(),
        });
        let table = Arc::new(table);
        self.table.store(Arc::clone(&table));
        table.served.iter().for_each(|ingress| writer.statuses.add(ingress.clone()));
        let told = std::mem::replace(&mut *self.faults.lock(), table.faults.clone());
        for fault in table.faults.difference(&told) {
            tracing::warn!("Ingress {fault}");
            writer.faults.add(fault.clone());
        }
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
            Some(secret) => {
                let certificate = certificates::read(secret).map_err(|error| error.to_string());
                self.certificates.lock().insert(key, certificate);
            }
            None => drop(self.certificates.lock().remove(&key)),
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
    keeper.services.on_change(move |change| kept.service_changed(key(&**change.latest())));
    let kept = Arc::clone(keeper);
    informers.of::<EndpointSlice>().on_change(move |change| kept.slice(change));
    let kept = Arc::clone(keeper);
    let tls_only = watcher::Config::default().fields("type=kubernetes.io/tls");
    let secrets = informers.with(Api::<Secret>::all(writer.client.clone()), tls_only);
    secrets.on_change(move |change| kept.secret(change));
    if let Some(nodes) = &writer.nodes {
        let told = Arc::clone(writer);
        nodes.on_change(move |change| {
            let addresses = |node: Option<&Arc<Node>>| status::internal_addresses(node.map(|node| &**node));
            if addresses(change.old) != addresses(change.new) {
                told.table.load().served.iter().for_each(|ingress| told.statuses.add(ingress.clone()));
            }
        });
    }
}

/// Writes statuses and events, away from the table's task.
struct Writer {
    client: Client,
    recorder: Recorder,
    ingresses: Informer<Ingress>,
    table: routes::Shared,
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

    async fn status(&self, item: &Key) -> anyhow::Result<Next> {
        let ours = self.table.load().served.contains(item);
        let Some(ingress) = self.ingresses.get(&item.namespace, &item.name).filter(|_| ours) else {
            return Ok(Next::Done);
        };
        let addresses = match (&self.nodes, self.published) {
            (_, Some(address)) => vec![address.to_string()],
            (Some(nodes), None) => status::internal_addresses(nodes.list().iter().map(|node| &**node)),
            (None, None) => Vec::new(),
        };
        let Some(patch) = status::plan(&ingress, &addresses) else { return Ok(Next::Done) };
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
