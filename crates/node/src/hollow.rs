//! Hollow nodes: what a cluster sees of a node, without one. As upstream's kubemark, to load a control plane and a
//! scheduler with thousands of nodes from one machine.
//!
//! Invariant: a hollow node says only what a real one would: it registers, renews its lease, reports its pods as running
//! and lets go of them when they are deleted. Nothing runs anywhere. All nodes share one watch of pods, of which nothing is
//! kept. When the service stops, the nodes it made are removed; their pods are then the pod garbage collector's.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use informer::{Follow, Next, Queue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Node, Pod};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::watcher::{self, Event};
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::agent::lease;

/// Actions at once; most of an action is waiting for the server's disk.
const WORKERS: usize = 64;
/// Registrations at once.
const REGISTERING: usize = 32;
/// A lease is renewed this often; it holds four times as long.
const RENEWAL: Duration = Duration::from_secs(10);
/// Addresses of nodes are from the network that RFC 2544 keeps for benchmarks, those of pods from RFC 6598's.
const NODES: u32 = u32::from_be_bytes([198, 18, 0, 0]);
const PODS: u32 = u32::from_be_bytes([100, 64, 0, 0]);
const POD_ADDRESSES: u32 = 1 << 22;

/// How many nodes there are, and what each claims to have.
#[derive(Clone, Debug)]
pub struct Config {
    pub nodes: u32,
    /// Nodes are called `PREFIX-00000` and so on.
    pub prefix: String,
    /// Quantities: `32`, `256Gi`.
    pub cpu: String,
    pub memory: String,
    pub pods: u32,
    /// Nodes are spread evenly over zones `zone-0` and so on.
    pub zones: u32,
}

impl Config {
    /// The most nodes there are addresses for.
    pub const MOST: u32 = 1 << 17;

    fn name(&self, index: u32) -> String {
        format!("{}-{index:05}", self.prefix)
    }

    /// The place of the node with this name, if it is one of ours.
    fn index(&self, name: &str) -> Option<u32> {
        let digits = name.strip_prefix(&*self.prefix)?.strip_prefix('-')?;
        let index = digits.parse().ok()?;
        (index < self.nodes && self.name(index) == name).then_some(index)
    }

    fn node(&self, index: u32) -> Value {
        let name = self.name(index);
        let labels = json!({
            "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
            "node.kubernetes.io/instance-type": "hollow",
            "topology.kubernetes.io/region": "hollow", "topology.kubernetes.io/zone": format!("zone-{}", index % self.zones.max(1)),
        });
        json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": name, "labels": labels }, "spec": { "providerID": format!("hollow://{name}") } })
    }

    fn status(&self, index: u32, now: &str) -> Value {
        let amounts = json!({ "cpu": self.cpu, "memory": self.memory, "pods": self.pods.to_string(), "ephemeral-storage": "1Ti" });
        let condition = |kind: &str, status: &str, reason: &str, message: &str| {
            json!({
                "type": kind, "status": status, "reason": reason, "message": message,
                "lastHeartbeatTime": now, "lastTransitionTime": now,
            })
        };
        json!({
            "capacity": amounts, "allocatable": amounts,
            "addresses": [
                { "type": "InternalIP", "address": address(NODES, index).to_string() },
                { "type": "Hostname", "address": self.name(index) },
            ],
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "nodeInfo": {
                "machineID": "", "systemUUID": "", "bootID": "", "kernelVersion": "hollow", "osImage": "hollow",
                "containerRuntimeVersion": "hollow://0", "kubeletVersion": "v1.36.0+knarr", "kubeProxyVersion": "",
                "operatingSystem": "linux", "architecture": "amd64",
            },
        })
    }
}

fn address(network: u32, index: u32) -> Ipv4Addr {
    Ipv4Addr::from(network.wrapping_add(index))
}

/// What a hollow node does for a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Act {
    namespace: String,
    name: String,
    uid: String,
    deed: Deed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Deed {
    /// Names and images of the containers that start first and end, and of those that run.
    Run {
        node: u32,
        generation: Option<i64>,
        first: Vec<(String, String)>,
        main: Vec<(String, String)>,
    },
    LetGo,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{}", self.namespace, self.name)
    }
}

/// What is to be done about a pod as it is now; none if it is not ours or all is said.
fn plan(config: &Config, pod: &Pod) -> Option<Act> {
    let spec = pod.spec.as_ref()?;
    let node = config.index(spec.node_name.as_deref()?)?;
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
    let deed = if pod.metadata.deletion_timestamp.is_some() {
        Deed::LetGo
    } else if phase == "Pending" {
        let names = |list: &[Container]| {
            list.iter().map(|one| (one.name.clone(), one.image.clone().unwrap_or_default())).collect::<Vec<_>>()
        };
        let first = names(spec.init_containers.as_deref().unwrap_or_default());
        Deed::Run { node, generation: pod.metadata.generation, first, main: names(&spec.containers) }
    } else {
        return None;
    };
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    Some(Act { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any(), uid, deed })
}

/// The status of a pod that runs.
fn running(act: &Act, address_of_pod: Ipv4Addr, now: Timestamp) -> Option<Value> {
    let Deed::Run { node, generation, first, main } = &act.deed else { return None };
    let now = base::time::rfc3339(now);
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": now });
    let container = |(name, image): &(String, String), state: Value, runs: bool| {
        json!({
            "name": name, "image": image, "imageID": format!("hollow://{image}"), "ready": true, "started": runs,
            "restartCount": 0, "containerID": format!("hollow://{}/{name}", act.uid), "state": state,
        })
    };
    let ended = json!({ "terminated": { "exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now } });
    let first: Vec<_> = first.iter().map(|one| container(one, ended.clone(), false)).collect();
    let main: Vec<_> =
        main.iter().map(|one| container(one, json!({ "running": { "startedAt": now } }), true)).collect();
    let host = address(NODES, *node).to_string();
    let conditions = ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady"].map(condition);
    let mut status = json!({
        "phase": "Running", "conditions": conditions, "startTime": now, "observedGeneration": generation,
        "hostIP": host, "hostIPs": [{ "ip": host }],
        "podIP": address_of_pod.to_string(), "podIPs": [{ "ip": address_of_pod.to_string() }],
        "containerStatuses": main,
    });
    if !first.is_empty() {
        status["initContainerStatuses"] = json!(first);
    }
    // the uid is a precondition: another pod of this name is another pod
    Some(json!({ "metadata": { "uid": act.uid }, "status": status }))
}

/// Registers the nodes and acts for them until `ctx.stop`; ready when all are registered.
///
/// # Errors
/// When a node can neither be made nor found, for example because the client may not.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let config = Arc::new(config);
    ctx.ready.waiting_for("the nodes to be registered");
    let registered = futures::stream::iter(0..config.nodes)
        .map(|index| register(&client, &config, index))
        .buffer_unordered(REGISTERING)
        .collect::<Vec<_>>();
    tokio::select! {
        registered = registered => {
            let uids = registered.into_iter().collect::<Result<Vec<_>, kube::Error>>()?;
            ctx.children.spawn("hollow leases", renew(client.clone(), Arc::clone(&config), uids));
            let queue = Queue::new();
            let next_address = Arc::new(AtomicU32::new(1));
            let actor = client.clone();
            informer::work(&queue, WORKERS, &ctx, "hollow pods", move |act: Act| {
                let (client, next) = (actor.clone(), Arc::clone(&next_address));
                async move { carry_out(&client, &act, &next).await.map(|()| Next::Done) }
            });
            ctx.children.spawn("hollow watch", follow(client.clone(), Arc::clone(&config), queue));
            ctx.ready.set();
            ctx.stop.cancelled().await;
        }
        () = ctx.stop.cancelled() => {}
    }
    remove(&client, &config).await;
    Ok(())
}

/// Makes a node, or takes over one that an earlier run left behind; its name and uid.
async fn register(client: &Client, config: &Config, index: u32) -> Result<(String, String), kube::Error> {
    let api: Api<Node> = Api::all(client.clone());
    let name = config.name(index);
    let node = serde_json::from_value(config.node(index)).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &node).await {
        Ok(_) => {}
        Err(kube::Error::Api(answer)) if answer.code == 409 => {}
        Err(error) => return Err(error),
    }
    let status = json!({ "status": config.status(index, &base::time::rfc3339(base::time::now())) });
    let node = api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(&status)).await?;
    Ok((name, node.metadata.uid.unwrap_or_default()))
}

/// Renews all leases, evenly over time.
async fn renew(client: Client, config: Arc<Config>, nodes: Vec<(String, String)>) {
    let mut beat = tokio::time::interval(RENEWAL / config.nodes.max(1));
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let api = lease::api(client);
    let mut exists = vec![false; nodes.len()];
    for index in (0..nodes.len()).cycle() {
        beat.tick().await;
        let (name, uid) = &nodes[index];
        match lease::renew(&api, name, uid, exists[index]).await {
            Ok(()) => exists[index] = true,
            Err(error) => {
                exists[index] = false;
                tracing::warn!(name, "cannot renew the lease: {}", base::error::chain(&error));
            }
        }
    }
}

async fn follow(client: Client, config: Arc<Config>, queue: Queue<Act>) {
    let bound = watcher::Config::default().fields("spec.nodeName!=");
    let mut events = Follow::of(Api::<Pod>::all(client), bound);
    loop {
        if let Event::InitApply(pod) | Event::Apply(pod) = events.next().await
            && let Some(act) = plan(&config, &pod)
        {
            queue.add(act);
        }
    }
}

async fn carry_out(client: &Client, act: &Act, next_address: &AtomicU32) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), &act.namespace);
    let address_of_pod = address(PODS, next_address.fetch_add(1, Ordering::Relaxed) % POD_ADDRESSES);
    let done = match running(act, address_of_pod, base::time::now()) {
        Some(status) => {
            api.patch_status(&act.name, &PatchParams::default(), &Patch::Strategic(&status)).await.map(drop)
        }
        None => {
            let uid = Some(act.uid.clone());
            let preconditions = Some(Preconditions { uid, resource_version: None });
            let params = DeleteParams { grace_period_seconds: Some(0), preconditions, ..DeleteParams::default() };
            api.delete(&act.name, &params).await.map(drop)
        }
    };
    match done {
        // gone, or another pod by now
        Err(kube::Error::Api(answer)) if matches!(answer.code, 404 | 409) => Ok(()),
        done => Ok(done?),
    }
}

async fn remove(client: &Client, config: &Config) {
    let api: Api<Node> = Api::all(client.clone());
    let removals = futures::stream::iter(0..config.nodes).map(|index| {
        let (api, name) = (api.clone(), config.name(index));
        async move { (api.delete(&name, &DeleteParams::default()).await.map(drop), name) }
    });
    let mut removals = std::pin::pin!(removals.buffer_unordered(REGISTERING));
    while let Some((removed, name)) = removals.next().await {
        match removed {
            Err(kube::Error::Api(answer)) if answer.code == 404 => {}
            Err(error) => tracing::warn!(name, "cannot remove the node: {}", base::error::chain(&error)),
            Ok(()) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { nodes: 3, prefix: "hollow".into(), cpu: "32".into(), memory: "256Gi".into(), pods: 110, zones: 2 }
    }

    fn pod(node: &str, phase: &str, deleted: bool) -> Pod {
        let deleted = deleted.then_some("2026-01-02T03:04:05Z");
        serde_json::from_value(json!({
            "metadata": { "name": "p", "namespace": "d", "uid": "u", "generation": 2, "deletionTimestamp": deleted },
            "spec": {
                "nodeName": node, "containers": [{ "name": "c", "image": "i" }],
                "initContainers": [{ "name": "s", "image": "j" }],
            },
            "status": { "phase": phase },
        }))
        .expect("a pod")
    }

    #[test]
    fn a_pod_of_ours_runs_once_and_goes_when_it_should() {
        let table = [
            ("hollow-00000", "Pending", false, Some("run")),
            ("hollow-00002", "", false, None),
            ("hollow-00000", "Running", false, None),
            ("hollow-00000", "Failed", false, None),
            ("hollow-00000", "Running", true, Some("let go")),
            ("hollow-00000", "Pending", true, Some("let go")),
            ("hollow-00003", "Pending", false, None),
            ("hollow-0", "Pending", false, None),
            ("other", "Pending", true, None),
        ];
        for (node, phase, deleted, expected) in table {
            let deed = plan(&config(), &pod(node, phase, deleted)).map(|act| match act.deed {
                Deed::Run { .. } => "run",
                Deed::LetGo => "let go",
            });
            assert_eq!(deed, expected, "{node} {phase} {deleted}");
        }
    }

    #[test]
    fn after_its_status_is_written_nothing_is_left_to_do() {
        let mut one = pod("hollow-00001", "Pending", false);
        let act = plan(&config(), &one).expect("an act");
        let patch = running(&act, address(PODS, 7), base::time::now()).expect("a status");
        one.status = serde_json::from_value(patch["status"].clone()).expect("a status of a pod");
        assert_eq!(plan(&config(), &one), None);
        let status = one.status.expect("a status");
        assert_eq!(status.pod_ip.as_deref(), Some("100.64.0.7"));
        assert_eq!(status.host_ip.as_deref(), Some("198.18.0.1"));
        assert_eq!(status.container_statuses.map(|all| all.len()), Some(1));
        assert_eq!(status.init_container_statuses.map(|all| all.len()), Some(1));
        assert_eq!(status.observed_generation, Some(2));
    }

    #[test]
    fn a_node_is_what_the_scheduler_needs_to_see() {
        let node: Node = serde_json::from_value(config().node(1)).expect("a node");
        assert_eq!(node.labels()["topology.kubernetes.io/zone"], "zone-1");
        let status = config().status(1, "2026-01-02T03:04:05Z");
        assert_eq!(status["allocatable"]["pods"], "110");
        assert_eq!(status["addresses"][0]["address"], "198.18.0.1");
    }
}
