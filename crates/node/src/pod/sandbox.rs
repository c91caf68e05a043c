//! The parts of a pod around its containers: sandbox with network and name files, volumes, and
//! taking all of it away again.
//!
//! Invariant: each step is idempotent, because a pod adopted after a restart goes through it again.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::files::{self, Resolver};
use super::node::Node;
use super::start::pod_ref;
use super::{desired, devices, resources};
use crate::agent::objects::{self, Subscription};
use crate::env::fields::Facts;
use crate::runtime::SandboxSpec;
use crate::volume::content::{self, TokenKey};
use crate::volume::tokens::Tokens;
use crate::volume::{self, MountError, claim};

/// Why a pod has no sandbox, as its event says.
#[derive(Debug)]
pub(crate) struct Failure {
    pub reason: &'static str,
    pub message: String,
}

/// Makes the sandbox and connects it, once the pod's devices are there; the pod's addresses.
pub(crate) async fn make(node: Arc<Node>, pod: Arc<Pod>) -> Result<Vec<IpAddr>, Failure> {
    devices::prepare(&node.client, &pod).await.map_err(|why| Failure {
        reason: "FailedPrepareDynamicResources",
        message: format!("Failed to prepare dynamic resources: {why}"),
    })?;
    connect(&node, &pod).await.map_err(|why| Failure {
        reason: "FailedCreatePodSandBox",
        message: format!("Failed to create pod sandbox: {why}"),
    })
}

async fn connect(node: &Node, pod: &Pod) -> Result<Vec<IpAddr>, String> {
    let spec = pod.spec.clone().unwrap_or_default();
    let on_host = spec.host_network.unwrap_or(false);
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.clone()).unwrap_or_default();
    let wanted = SandboxSpec {
        pod: pod_ref(pod),
        hostname: if on_host { String::new() } else { files::kernel_hostname(pod, &node.cluster_domain)? },
        host_network: on_host,
        host_ipc: spec.host_ipc.unwrap_or(false),
        host_pid: spec.host_pid.unwrap_or(false),
        share_process_namespace: spec.share_process_namespace.unwrap_or(false),
        sysctls: sysctls.into_iter().map(|sysctl| (sysctl.name, sysctl.value)).collect(),
        qos: resources::qos(&spec),
        limits: resources::pod_limits(&spec),
    };
    if spec.host_users == Some(false) {
        return Err("hostUsers: false (user namespaces) is not supported by this node yet".into());
    }
    let reference = wanted.pod.clone();
    let sandbox = node.engine.create_sandbox(wanted).await.map_err(|error| base::error::chain(&error))?;
    let ips = match sandbox.netns() {
        Some(netns) => node
            .network
            .attach(&reference, &netns)
            .await
            .map_err(|error| format!("plugin type=\"knarr\" failed (add): {error:#}"))?,
        None => node.host_ips.clone(),
    };
    write_names(node, pod, &ips, &sandbox.hosts(), &sandbox.resolv_conf())
        .map_err(|error| format!("cannot write the pod's hosts and resolv.conf: {error}"))?;
    Ok(ips)
}

fn write_names(node: &Node, pod: &Pod, ips: &[IpAddr], hosts: &Path, resolv_conf: &Path) -> std::io::Result<()> {
    let on_host = pod.spec.as_ref().and_then(|spec| spec.host_network).unwrap_or(false);
    let text = if on_host {
        files::host_network_hosts(pod, &read_or_empty("/etc/hosts"))
    } else {
        files::hosts(pod, ips, &node.cluster_domain)
    };
    std::fs::write(hosts, text)?;
    let host = Resolver::parse(&read_or_empty("/etc/resolv.conf"));
    let resolver = files::resolver(pod, &host, &node.cluster_dns, &node.cluster_domain);
    std::fs::write(resolv_conf, resolver.text())
}

fn read_or_empty(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| {
        tracing::warn!("cannot read {path}: {error}");
        String::new()
    })
}

/// What mounting or refreshing volumes needs; owned, so that it runs beside the worker.
pub(crate) struct Volumes {
    pub node: Arc<Node>,
    pub pod: Arc<Pod>,
    pub facts: Facts,
    pub subscriptions: Vec<Subscription>,
    pub tokens: Tokens,
}

impl Volumes {
    /// Makes all volumes (`fresh`) or brings their content up to date; gives the tokens back.
    pub(crate) async fn apply(mut self, fresh: bool) -> (Tokens, Result<(), MountError>) {
        let result = self.try_apply(fresh).await;
        (self.tokens, result)
    }

    async fn try_apply(&mut self, fresh: bool) -> Result<(), MountError> {
        let spec = self.pod.spec.clone().unwrap_or_default();
        let volumes = spec.volumes.unwrap_or_default();
        let wanted: Vec<_> = volumes.iter().flat_map(content::references).collect();
        self.subscriptions.retain(|subscription| wanted.contains(subscription.reference()));
        let blamed = |message: String| MountError { volume: blame(&volumes, &message), message };
        let objects = objects::load(&mut self.subscriptions).await.map_err(|error| blamed(error.to_string()))?;
        let keys: Vec<TokenKey> = volumes.iter().flat_map(content::tokens).collect();
        let now = base::time::now();
        let got = self.tokens.ensure(&self.node.client, &self.pod, &keys, now).await;
        got.map_err(|message| MountError { volume: token_volume(&volumes), message })?;
        let claims = if fresh { self.claims().await? } else { claim::Claims::new() };
        let (node, pod, facts, tokens) =
            (Arc::clone(&self.node), Arc::clone(&self.pod), self.facts.clone(), self.tokens.values());
        let work = tokio::task::spawn_blocking(move || {
            let places = node.places(pod.metadata.uid.as_deref().unwrap_or_default());
            let (user, group) = owners(&pod);
            let inputs = content::Inputs {
                pod: &pod,
                facts: &facts,
                objects: &objects,
                tokens: &tokens,
                claims: &claims,
                place: &node.me.place,
                user,
                group,
            };
            if fresh {
                mark(&places.data).map_err(|error| MountError { volume: String::new(), message: error.to_string() })?;
                volume::set_up(&places, &inputs, now)
            } else {
                volume::refresh(&places, &inputs, now).map(drop)
            }
        });
        work.await.map_err(|error| MountError { volume: String::new(), message: error.to_string() })?
    }

    /// Where the data of the pod's claims lies.
    async fn claims(&self) -> Result<claim::Claims, MountError> {
        let places = self.node.places(self.pod.metadata.uid.as_deref().unwrap_or_default());
        let others = self.node.pods.list();
        claim::resolve(&self.node.client, &self.node.me, &places, &self.pod, &others).await
    }
}

/// The pod's directory exists from the start: what is found there later is ours to clean up.
fn mark(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)
}

fn blame(volumes: &[k8s_openapi::api::core::v1::Volume], message: &str) -> String {
    let named = |volume: &&k8s_openapi::api::core::v1::Volume| {
        content::references(volume).iter().any(|reference| message.contains(&format!("\"{}\"", reference.name())))
    };
    volumes.iter().find(named).map(|volume| volume.name.clone()).unwrap_or_default()
}

fn token_volume(volumes: &[k8s_openapi::api::core::v1::Volume]) -> String {
    let asks = |volume: &&k8s_openapi::api::core::v1::Volume| !content::tokens(volume).is_empty();
    volumes.iter().find(asks).map(|volume| volume.name.clone()).unwrap_or_default()
}

/// The user all containers share (if they do) and the pod's `fsGroup`.
fn owners(pod: &Pod) -> (Option<u32>, Option<u32>) {
    let Some(spec) = &pod.spec else { return (None, None) };
    let context = spec.security_context.as_ref();
    let pod_user = context.and_then(|context| context.run_as_user);
    let mut users = spec
        .init_containers
        .iter()
        .flatten()
        .chain(&spec.containers)
        .map(|container| container.security_context.as_ref().and_then(|context| context.run_as_user).or(pod_user));
    let first = users.next().flatten();
    let shared = first.filter(|_| users.all(|user| user == first));
    let id = |id: i64| u32::try_from(id).ok();
    (shared.and_then(id), context.and_then(|context| context.fs_group).and_then(id))
}

/// Takes everything but the logs away.
pub(crate) async fn tear_down(node: Arc<Node>, uid: String) -> Result<(), String> {
    node.engine.remove_sandbox(&uid).await.map_err(|error| base::error::chain(&error))?;
    node.network.detach(&uid).await.map_err(|error| format!("cannot disconnect the pod: {error:#}"))?;
    let places = node.places(&uid);
    let work = tokio::task::spawn_blocking(move || volume::tear_down(&places)).await;
    work.map_err(|error| error.to_string())?.map_err(|error| format!("cannot remove the pod's volumes: {error}"))
}

/// Removes what outlived the pod: its logs.
pub(crate) fn forget(node: &Node, pod: &Pod) {
    let logs = node.logs(pod);
    match std::fs::remove_dir_all(&logs) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("cannot remove the logs in {}: {error}", logs.display());
        }
        _ => {}
    }
}

/// Everything the pod refers to, subscribed.
pub(crate) fn subscribe(node: &Node, pod: &Pod) -> Vec<Subscription> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut wanted: Vec<_> = spec.volumes.iter().flatten().flat_map(content::references).collect();
    for unit in desired::units(spec) {
        wanted.extend(desired::container(pod, &unit.name).as_ref().map(crate::env::references).unwrap_or_default());
    }
    wanted.sort();
    wanted.dedup();
    wanted.iter().map(|reference| node.hub.subscribe(namespace, reference)).collect()
}
