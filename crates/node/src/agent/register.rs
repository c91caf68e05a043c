//! The Node object: made when the agent starts, and kept telling the truth.
//!
//! Invariant: labels and fields of others survive (everything is a patch); the status is written
//! when something in it changed, and every five minutes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeSpec, NodeStatus,
    NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;

use super::Config;
use super::events::Subject;
use super::machine::{Machine, Pressure};
use crate::image::Store;
use crate::runtime::Runtime;

/// The version other parts of a cluster compare with.
const KUBELET_VERSION: &str = "v1.36.0+knarr";
const CHECK: Duration = Duration::from_secs(10);
const REPORT: Duration = Duration::from_secs(5 * 60);
const IMAGES_SHOWN: usize = 50;
const MAX_PODS: u32 = 110;

#[derive(Clone)]
pub(super) struct Register {
    api: Api<Node>,
    me: Arc<Me>,
}

struct Me {
    name: String,
    address: String,
    port: i32,
    pod_cidr: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    machine: Machine,
    restrictions: Vec<String>,
    images: Store,
    known: Mutex<(Option<Node>, Vec<NodeCondition>)>,
}

impl Register {
    pub(super) fn new(config: &Config, machine: Machine, runtime: &Runtime, images: Store) -> Self {
        let mut labels = BTreeMap::new();
        for (key, value) in [
            ("kubernetes.io/hostname", config.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture()),
            ("beta.kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", architecture()),
            ("node.kubernetes.io/instance-type", "knarr"),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        let me = Me {
            name: config.name.clone(),
            address: config.node_ip.to_string(),
            port: i32::from(config.listen.port()),
            pod_cidr: config.pod_cidr.clone(),
            labels,
            annotations: BTreeMap::from([
                (config.local_volumes.annotation.clone(), super::local_dir(&config.data_dir).display().to_string()),
                // as kubelets: volumes are attached by the cluster, not by the node
                ("volumes.kubernetes.io/controller-managed-attach-detach".to_owned(), "true".to_owned()),
            ]),
            machine,
            restrictions: runtime.restrictions(),
            images,
            known: Mutex::default(),
        };
        Self { api: Api::all(config.client.clone()), me: Arc::new(me) }
    }

    /// The node's uid in the API, once registered.
    pub(super) fn uid(&self) -> String {
        self.me.known.lock().0.as_ref().and_then(|node| node.metadata.uid.clone()).unwrap_or_default()
    }

    pub(super) fn subject(&self) -> Arc<Subject> {
        let name = Some(self.me.name.clone());
        Subject::node(&Node { metadata: ObjectMeta { name, ..ObjectMeta::default() }, ..Node::default() })
    }

    /// Registers, trying until it succeeds.
    pub(super) async fn until_registered(&self) {
        let mut wait = Duration::from_millis(50);
        loop {
            match self.register().await {
                Ok(node) => {
                    self.me.known.lock().0 = Some(node);
                    return;
                }
                Err(error) => tracing::warn!("cannot register the node, trying again: {}", base::error::chain(&error)),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(7));
        }
    }

    async fn register(&self) -> Result<Node, kube::Error> {
        let status = self.status(base::time::now());
        let me = &self.me;
        let spec = NodeSpec {
            pod_cidr: Some(me.pod_cidr.clone()),
            pod_cidrs: Some(vec![me.pod_cidr.clone()]),
            provider_id: Some(format!("knarr://{}", me.name)),
            ..NodeSpec::default()
        };
        let meta = ObjectMeta {
            name: Some(me.name.clone()),
            labels: Some(me.labels.clone()),
            annotations: Some(me.annotations.clone()),
            ..ObjectMeta::default()
        };
        let node = Node { metadata: meta, spec: Some(spec), status: Some(status.clone()) };
        match self.api.create(&PostParams::default(), &node).await {
            Ok(_) => {}
            Err(kube::Error::Api(answer)) if answer.code == 409 => {
                let body = json!({"metadata": {"labels": me.labels, "annotations": me.annotations}});
                let found = self.api.patch(&me.name, &PatchParams::default(), &Patch::Strategic(&body)).await?;
                me.known.lock().1 = found.status.and_then(|status| status.conditions).unwrap_or_default();
                return self.write(self.status(base::time::now())).await;
            }
            Err(error) => return Err(error),
        }
        self.write(status).await
    }

    /// Keeps the status true, for ever.
    pub(super) async fn keep(self) {
        let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + CHECK, CHECK);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut last, mut shown) = (base::time::now(), None::<NodeStatus>);
        loop {
            beat.tick().await;
            let now = base::time::now();
            let status = self.status(now);
            let due = now.duration_since(last).unsigned_abs() >= REPORT;
            if !due && shown.as_ref().is_some_and(|shown| same(shown, &status)) {
                continue;
            }
            match self.write(status.clone()).await {
                Ok(_) => {
                    last = now;
                    shown = Some(status);
                }
                Err(kube::Error::Api(answer)) if answer.code == 404 => self.until_registered().await,
                Err(error) => tracing::warn!("cannot write the node's status: {}", base::error::chain(&error)),
            }
        }
    }

    async fn write(&self, status: NodeStatus) -> Result<Node, kube::Error> {
        let conditions = status.conditions.clone().unwrap_or_default();
        let body = json!({ "status": status });
        let node = self.api.patch_status(&self.me.name, &PatchParams::default(), &Patch::Strategic(&body)).await?;
        self.me.known.lock().1 = conditions;
        Ok(node)
    }

    fn status(&self, now: Timestamp) -> NodeStatus {
        let me = &self.me;
        let machine = &me.machine;
        let amounts = |memory: u64, storage: u64| {
            let text = |value: u64| Quantity(value.to_string());
            let mut all = BTreeMap::from([
                ("cpu".to_owned(), text(machine.cpus)),
                ("memory".to_owned(), Quantity(format!("{}Ki", memory / 1024))),
                ("pods".to_owned(), Quantity(MAX_PODS.to_string())),
                ("ephemeral-storage".to_owned(), text(storage)),
            ]);
            all.extend(machine.huge_pages.iter().map(|(name, bytes)| (name.clone(), text(*bytes))));
            all
        };
        NodeStatus {
            capacity: Some(amounts(machine.memory, machine.storage)),
            allocatable: Some(amounts(machine.allocatable_memory(), machine.allocatable_storage())),
            addresses: Some(vec![
                NodeAddress { type_: "InternalIP".into(), address: me.address.clone() },
                NodeAddress { type_: "Hostname".into(), address: me.name.clone() },
            ]),
            conditions: Some(self.conditions(machine.pressure(), now)),
            daemon_endpoints: Some(NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: me.port }) }),
            node_info: Some(NodeSystemInfo {
                machine_id: machine.machine_id.clone(),
                system_uuid: machine.system_uuid.clone(),
                boot_id: machine.boot_id.clone(),
                kernel_version: machine.kernel.clone(),
                os_image: machine.os_image.clone(),
                container_runtime_version: concat!("knarr://", env!("CARGO_PKG_VERSION")).into(),
                kubelet_version: KUBELET_VERSION.into(),
                kube_proxy_version: String::new(),
                operating_system: "linux".into(),
                architecture: architecture().into(),
                ..NodeSystemInfo::default()
            }),
            images: Some(images(&me.images)),
            ..NodeStatus::default()
        }
    }

    fn conditions(&self, pressure: Pressure, now: Timestamp) -> Vec<NodeCondition> {
        let restricted = &self.me.restrictions;
        let pick = |short: bool, bad: [&'static str; 2], good: [&'static str; 2]| if short { bad } else { good };
        let memory = pick(
            pressure.memory,
            ["KubeletHasInsufficientMemory", "kubelet has insufficient memory available"],
            ["KubeletHasSufficientMemory", "kubelet has sufficient memory available"],
        );
        let disk = pick(
            pressure.disk,
            ["KubeletHasDiskPressure", "kubelet has disk pressure"],
            ["KubeletHasNoDiskPressure", "kubelet has no disk pressure"],
        );
        let pids = pick(
            pressure.pids,
            ["KubeletHasInsufficientPID", "kubelet has insufficient PID available"],
            ["KubeletHasSufficientPID", "kubelet has sufficient PID available"],
        );
        let host = match restricted.is_empty() {
            true => ("HostAllowsAll", "the host lets the runtime do everything pods may ask for".to_owned()),
            false => ("HostForbids", restricted.join("; ")),
        };
        [
            ("MemoryPressure", pressure.memory, memory[0], memory[1].to_owned()),
            ("DiskPressure", pressure.disk, disk[0], disk[1].to_owned()),
            ("PIDPressure", pressure.pids, pids[0], pids[1].to_owned()),
            ("HostRestricted", !restricted.is_empty(), host.0, host.1),
            ("Ready", true, "KubeletReady", "kubelet is posting ready status".to_owned()),
        ]
        .into_iter()
        .map(|(kind, holds, reason, message)| self.condition(kind, holds, reason, message, now))
        .collect()
    }

    fn condition(&self, kind: &str, holds: bool, reason: &str, message: String, now: Timestamp) -> NodeCondition {
        let status = if holds { "True" } else { "False" };
        let known = self.me.known.lock();
        let before = known.1.iter().find(|old| old.type_ == kind && old.status == status);
        let since = before.and_then(|old| old.last_transition_time.clone()).unwrap_or(Time(now));
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: Some(since),
        }
    }
}

/// Equal but for the heartbeat.
fn same(before: &NodeStatus, after: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        for condition in status.conditions.iter_mut().flatten() {
            condition.last_heartbeat_time = None;
        }
        status
    };
    still(before) == still(after)
}

/// The largest images first, as upstream.
fn images(store: &Store) -> Vec<ContainerImage> {
    let mut all = store.list().unwrap_or_else(|error| {
        tracing::warn!("listing images: {}", base::error::chain(&error));
        Vec::new()
    });
    all.sort_by_key(|image| std::cmp::Reverse(image.size));
    all.truncate(IMAGES_SHOWN);
    let shown = |image: crate::image::Image| ContainerImage {
        names: Some(image.repo_digests.iter().chain(&image.repo_tags).take(5).cloned().collect()),
        size_bytes: i64::try_from(image.size).ok(),
    };
    all.into_iter().map(shown).collect()
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
