//! The node agent: puts the parts of the crate to work for one cluster.
//!
//! Invariant: everything the agent knows of the cluster comes through its own API client, and
//! everything it keeps is found again after a restart; stopping it stops no container.
//!
//! Reading order: `run` here, `pods` (who works on which pod), `register` and `lease` (the node
//! itself), `objects` and `events` (services to the workers), `housekeeping`.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use informer::Informers;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::Api;
use kube::runtime::watcher;

pub(crate) mod events;
mod housekeeping;
pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod objects;
mod pods;
mod reclaim;
mod register;

use crate::Network;
use crate::env::fields::Facts;
use crate::image;
use crate::pod::engine::BuiltIn;
use crate::pod::node::{Node, Pulls};
use crate::pod::security::Defaults;
use crate::runtime::{self, Runtime};
use crate::server::{self, Server};
use crate::volume::{claim, local};

/// What the agent is told when it starts.
#[derive(Clone)]
pub struct Config {
    /// The node's name: the host's, in lower case.
    pub name: String,
    /// Acts as `system:node:<name>`.
    pub client: kube::Client,
    pub data_dir: PathBuf,
    pub run_dir: PathBuf,
    pub cluster_name: String,
    pub node_ip: IpAddr,
    /// The kubelet API.
    pub listen: SocketAddr,
    pub serving: pki::Pair,
    pub client_ca_pem: String,
    pub cluster_dns: IpAddr,
    pub cluster_domain: String,
    /// This node's part of the pod network.
    pub pod_cidr: String,
    pub network: Arc<dyn Network>,
    /// Our own executable, whose `shim` subcommand is `shim::main`.
    pub shim: PathBuf,
    /// Registries (`host[:port]`) spoken to over plain HTTP.
    pub insecure_registries: Vec<String>,
    pub local_volumes: LocalVolumes,
}

/// Volumes that are directories of this node, and how it agrees about them with who provisions them.
#[derive(Clone)]
pub struct LocalVolumes {
    /// Sees all volumes and lets those of this node go: what a node's own identity may not.
    pub client: kube::Client,
    /// The annotation by which a node says where it keeps them.
    pub annotation: String,
    /// What holds a volume until its directory is gone.
    pub finalizer: String,
    /// Who provisions them.
    pub provisioner: String,
}

/// Containers that say nothing about seccomp get the runtime's profile, as upstream's
/// `SeccompDefault`: secure unless a pod asks for less.
const SECCOMP_DEFAULT: bool = true;

/// Where container logs go: the standard place for the usual cluster, a place of its own for others.
fn log_dir(cluster: &str) -> PathBuf {
    match cluster {
        "knarr" => "/var/log/pods".into(),
        other => PathBuf::from(format!("/var/log/knarr-{other}/pods")),
    }
}

/// Runs the node until `ctx.stop`. Containers go on running afterwards.
///
/// # Errors
/// When the host cannot run containers, the kubelet's port is taken, or a part that cannot be done
/// without has failed.
pub async fn run(config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let tls = server::tls(&config.serving, &config.client_ca_pem)?;
    let listener = tokio::net::TcpListener::bind(config.listen).await.with_context(|| {
        format!("cannot listen on {} for the kubelet API: stop what uses the port or choose another one", config.listen)
    })?;
    ctx.ready.waiting_for("the container runtime");
    let runtime = open_runtime(&config, &ctx)?;
    let images = image::Store::open(&config.data_dir.join("images"))?;
    let adopted = runtime.adopt().await.context("cannot take over the containers of an earlier run")?;
    let informers = Informers::new(config.client.clone(), &ctx);
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", config.name));
    let pods = informers.with(Api::<Pod>::all(config.client.clone()), mine);
    let services = informers.of::<Service>();
    let events = events::Recorder::start(config.client.clone(), config.name.clone(), &ctx.children);
    let machine = machine::Machine::read(&config.data_dir);
    let watched = (services, pods.clone());
    let node = Arc::new(node(&config, &ctx, &runtime, &images, &machine, watched, events.clone()));
    let access = server::Access::new(config.client.clone(), config.name.clone());
    let place = server::Place {
        log_dir: log_dir(&config.cluster_name),
        node_name: config.name.clone(),
        children: ctx.children.clone(),
    };
    let server = Arc::new(Server::new(runtime.clone(), pods.clone(), access, place));
    let serving = ctx.clone();
    ctx.children.try_spawn("kubelet API", async move { server::serve(server, listener, tls, &serving).await });
    ctx.ready.waiting_for("the API server, to register the node");
    let register = register::Register::new(&config, machine, &runtime, images.clone());
    register.until_registered().await;
    let renewing = lease::keep(config.client.clone(), config.name.clone(), register.uid());
    ctx.children.spawn("node lease", renewing);
    events.normal(&register.subject(), None, "Starting", "Starting kubelet.".into());
    let reporting = register.clone();
    ctx.children.spawn("node status", async move { reporting.keep().await });
    reclaim::start(config.local_volumes.clone(), config.name.clone(), node.me.place.clone(), &ctx);
    pods::Pods::start(node, pods, adopted, ctx.children.clone());
    ctx.children.spawn("image garbage", housekeeping::images(images, runtime, config.data_dir.clone()));
    ctx.ready.set();
    ctx.stop.cancelled().await;
    Ok(())
}

fn open_runtime(config: &Config, ctx: &tasks::Context) -> anyhow::Result<Runtime> {
    for dir in [&config.data_dir, &config.run_dir, &log_dir(&config.cluster_name)] {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let memory = config.run_dir.join("volumes");
    crate::volume::host::keep_in_memory(&memory)
        .with_context(|| format!("cannot make {} a directory in memory, for secrets", memory.display()))?;
    let settings = runtime::Config {
        cluster: config.cluster_name.clone(),
        run_dir: config.run_dir.clone(),
        data_dir: config.data_dir.clone(),
        shim: vec![config.shim.clone().into_os_string(), "shim".into()],
    };
    Runtime::open(settings, ctx.children.clone()).context("cannot open the container runtime")
}

fn node(
    config: &Config,
    ctx: &tasks::Context,
    runtime: &Runtime,
    images: &image::Store,
    machine: &machine::Machine,
    (services, pods): (informer::Informer<Service>, informer::Informer<Pod>),
    events: events::Recorder,
) -> Node {
    Node {
        name: config.name.clone(),
        client: config.client.clone(),
        engine: Arc::new(BuiltIn { runtime: runtime.clone(), images: images.clone() }),
        network: Arc::clone(&config.network),
        hub: objects::Hub::new(config.client.clone(), ctx.children.clone()),
        events,
        services,
        pods,
        host_ips: vec![config.node_ip],
        cluster_dns: vec![config.cluster_dns],
        cluster_domain: config.cluster_domain.clone(),
        data_dir: config.data_dir.clone(),
        run_dir: config.run_dir.clone(),
        log_dir: log_dir(&config.cluster_name),
        security: Defaults { seccomp: SECCOMP_DEFAULT, seccomp_dir: config.data_dir.join("seccomp") },
        insecure_registries: config.insecure_registries.clone(),
        memory_capacity: machine.memory,
        facts: Facts {
            allocatable_milli_cpu: i64::try_from(machine.cpus * 1000).unwrap_or(i64::MAX),
            allocatable_memory: i64::try_from(machine.allocatable_memory()).unwrap_or(i64::MAX),
            allocatable_storage: i64::try_from(machine.allocatable_storage()).unwrap_or(i64::MAX),
            ..Facts::default()
        },
        pulls: Pulls::default(),
        me: claim::Me {
            hostname: config.name.clone(),
            provisioner: config.local_volumes.provisioner.clone(),
            place: local::Place::new(local_dir(&config.data_dir)),
        },
    }
}

/// Where volumes of our own are: apart from those of pods, which go with their pods.
fn local_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("local")
}

/// Ends everything the node of `cluster` runs on this host: containers, mounts, cgroups. Works
/// without a running agent. Images, emptyDir volumes and logs stay: the cluster may come back.
///
/// # Errors
/// When something could not be ended or unmounted; the message names it.
pub async fn purge(run_dir: &Path, data_dir: &Path, cluster: &str) -> anyhow::Result<()> {
    let (run_dir, data_dir, cluster) = (run_dir.to_owned(), data_dir.to_owned(), cluster.to_owned());
    let work = tokio::task::spawn_blocking(move || runtime::purge(&run_dir, &data_dir, &cluster));
    work.await?.context("cannot remove the cluster's containers")
}

/// Removes the container logs of a cluster that will not come back; call it before its data
/// directory, which tells whose logs they are, is removed.
pub fn forget_logs(run_dir: &Path, data_dir: &Path, cluster: &str) {
    let logs = log_dir(cluster);
    for uid in housekeeping::known_pods(data_dir, run_dir) {
        housekeeping::remove_logs(&logs, &uid);
    }
    // the directories too, unless somebody else has something in them
    let own = logs.parent().filter(|parent| parent.ends_with(format!("knarr-{cluster}")));
    for dir in [Some(logs.as_path()), own].into_iter().flatten() {
        if let Err(error) = std::fs::remove_dir(dir) {
            tracing::debug!("{} stays: {error}", dir.display());
        }
    }
}

/// This host in a few words, for people.
#[must_use]
pub fn describe_host() -> String {
    machine::Machine::read(Path::new("/")).summary()
}
