//! Keeps the table current from watches, serves it, and writes back what became of each Ingress.
//!
//! A watch event marks what it touches and wakes one task, which brings the table up to date at
//! once: the addresses of one service in place, anything else by a new table. A burst of events
//! is one update. Nothing here is on a request's way.

mod keeper;
mod writer;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use cache::policy::resource::CachePolicy;
use identity::AccessPolicy;
use informer::{Informers, Queue};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::Ingress;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, ResourceExt as _};
use parking_lot::Mutex;

use crate::gateways::{Gateways, Pool, SharedPorts};
use crate::policies::Policies;
use crate::policies::watched::Watched;
use crate::seen::{AccessLog, Seen, Tracer};
use crate::serve::Doors;
use crate::{admin, challenges, status};
use keeper::Keeper;
use writer::Writer;

/// How long routes of the Gateway API are waited for before anything is served.
const SETTLE_TIME: Duration = Duration::from_secs(2);

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
