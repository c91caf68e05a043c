//! The node lifecycle controller's shell: heartbeats, taints, evictions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, PodCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

use super::write;
use crate::events::Recorder;
use crate::plan::node_lifecycle::{self as plan, Heartbeat, Plan, Seen, Tainted};
use crate::plan::pod;
use crate::{Launch, Shared, time};

const NAME: &str = "node-controller";
const LEASES: &str = "kube-node-lease";

struct Shell {
    client: Client,
    events: Recorder,
    /// Tells of evictions in the name of the part that upstream has for them.
    taints: Recorder,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    /// What times are measured from.
    start: Instant,
    seen: Mutex<HashMap<String, Seen>>,
    tainted: Mutex<HashMap<String, Tainted>>,
    /// The pods of each node that will have to leave it, as was last decided.
    leaving: Mutex<HashMap<String, Vec<Arc<Pod>>>>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let nodes = shared.informers.of::<Node>();
    let pods = shared.informers.of::<Pod>();
    let api: Api<Lease> = Api::namespaced(shared.client(""), LEASES);
    let leases = shared.informers.with::<Lease>(api, watcher::Config::default());
    let wake = queue.clone();
    nodes.on_change(move |change: Change<'_, Node>| wake.add(Key::cluster(change.latest().name_any())));
    let wake = queue.clone();
    leases.on_change(move |change: Change<'_, Lease>| wake.add(Key::cluster(change.latest().name_any())));
    let (wake, known) = (queue.clone(), nodes.clone());
    pods.on_change(move |change: Change<'_, Pod>| {
        // A pod that is put on, or reports from, a node in trouble must be looked at.
        let Some(new) = change.new else { return };
        let name = pod::node_name(new);
        if !name.is_empty() && known.get("", name).is_some_and(|node| in_trouble(&node)) {
            wake.add(Key::cluster(name));
        }
    });
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder(NAME),
        taints: shared.events.recorder_as(NAME, "taint-eviction-controller"),
        nodes,
        leases,
        pods,
        start: Instant::now(),
        seen: Mutex::default(),
        tainted: Mutex::default(),
        leaving: Mutex::default(),
    });
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 2, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key.name).await) }
        });
    })
}

fn in_trouble(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let ready =
        node.status.iter().flat_map(|status| status.conditions.iter().flatten()).find(|one| one.type_ == "Ready");
    taints.into_iter().any(|taint| taint.effect == "NoExecute") || ready.is_some_and(|ready| ready.status != "True")
}

impl Shell {
    async fn sync(&self, name: &str) -> anyhow::Result<Next> {
        let Some(node) = self.nodes.get("", name) else {
            if self.seen.lock().remove(name).is_some() {
                tracing::info!(node = name, "node left");
            }
            self.leaving.lock().remove(name);
            self.tainted.lock().remove(name);
            return Ok(Next::Done);
        };
        let (steady, now) = (self.start.elapsed(), time::now());
        let lease = self.leases.get(LEASES, name);
        let heartbeat = Heartbeat::of(&node, lease.as_deref());
        let (seen, first) = {
            let mut all = self.seen.lock();
            let before = all.get(name);
            let (first, seen) = (before.is_none(), plan::observe(before, heartbeat, steady));
            all.insert(name.to_owned(), seen.clone());
            (seen, first)
        };
        if first {
            let text = format!("Node {name} event: Registered Node {name} in Controller");
            self.events.normal(&*node, "RegisteredNode", text);
        }
        let silence = steady.saturating_sub(seen.at);
        let Plan { conditions, taints, recheck, pods_unready } = plan::plan(&node, silence, now);
        if !conditions.is_empty() {
            self.write_conditions(&node, &conditions).await?;
        }
        let mut latest = node;
        if let Some(taints) = taints {
            latest = Arc::new(self.write_taints(&latest, &taints, conditions.is_empty()).await?);
        }
        let mut pods = Vec::new();
        if pods_unready || in_trouble(&latest) {
            pods = self.pods.list();
            pods.retain(|pod| pod::node_name(pod) == name);
        }
        if pods_unready {
            self.mark_unready(&pods, now).await?;
        }
        let evictions = plan::evictions(&latest, &pods, self.tainted_for(&latest, steady, now));
        self.tell_cancelled(name, &evictions);
        for pod in &evictions.now {
            self.evict(pod, now).await?;
        }
        let next = recheck.into_iter().chain(evictions.next).min();
        Ok(next.map_or(Next::Done, |wait| Next::After(wait.max(Duration::from_millis(1)))))
    }

    /// How long the node has had its NoExecute taints.
    fn tainted_for(&self, node: &Node, steady: plan::Steady, now: time::Timestamp) -> Duration {
        let mut all = self.tainted.lock();
        let name = node.name_any();
        let tainted = Tainted::observe(all.get(&name), node, steady, now);
        let age = tainted.as_ref().map_or(Duration::ZERO, |tainted| tainted.age(steady));
        match tainted {
            Some(tainted) => drop(all.insert(name, tainted)),
            None => drop(all.remove(&name)),
        }
        age
    }

    async fn write_conditions(&self, node: &Node, conditions: &[NodeCondition]) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let patch = json!({ "status": { "conditions": conditions } });
        let name = node.name_any();
        api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .map_err(|error| write::failed(&error, format_args!("cannot write the conditions of node {name}")))?;
        if conditions.iter().any(|one| one.type_ == "Ready") {
            self.events.normal(node, "NodeNotReady", format!("Node {name} status is now: NodeNotReady"));
        }
        Ok(())
    }

    /// `guarded`: the version seen must still be the newest; not so after our own write of conditions.
    async fn write_taints(&self, node: &Node, taints: &[Taint], guarded: bool) -> anyhow::Result<Node> {
        let api: Api<Node> = Api::all(self.client.clone());
        let name = node.name_any();
        let mut patch = json!({ "metadata": { "uid": node.uid() }, "spec": { "taints": taints } });
        if guarded {
            patch["metadata"]["resourceVersion"] = json!(node.resource_version());
        }
        api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map_err(|error| write::failed(&error, format_args!("cannot write the taints of node {name}")))
    }

    async fn mark_unready(&self, pods: &[Arc<Pod>], now: time::Timestamp) -> anyhow::Result<()> {
        for pod in plan::unready(pods) {
            let condition = json!({ "type": "Ready", "status": "False", "lastTransitionTime": Time(now) });
            self.patch_pod(pod, json!({ "conditions": [condition] })).await?;
            self.events.warning(&**pod, "NodeNotReady", "Node is not ready".into());
        }
        Ok(())
    }

    /// Tells of the pods that were to leave the node and may stay now.
    fn tell_cancelled(&self, name: &str, evictions: &plan::Evictions) {
        let before = {
            let mut leaving = self.leaving.lock();
            let before = leaving.remove(name).unwrap_or_default();
            if !evictions.later.is_empty() {
                leaving.insert(name.to_owned(), evictions.later.clone());
            }
            before
        };
        for pod in before.into_iter().filter(|pod| !evictions.includes(pod)) {
            let current = self.pods.get(pod.namespace().as_deref().unwrap_or(""), &pod.name_any());
            let stays = |one: &Arc<Pod>| one.uid() == pod.uid() && one.metadata.deletion_timestamp.is_none();
            if let Some(pod) = current.filter(stays) {
                let text = format!("Cancelling deletion of Pod {}", super::replicaset::key(&*pod));
                self.taints.normal(&*pod, "TaintManagerEviction", text);
            }
        }
    }

    async fn evict(&self, pod: &Arc<Pod>, now: time::Timestamp) -> anyhow::Result<()> {
        let condition = PodCondition {
            type_: "DisruptionTarget".into(),
            status: "True".into(),
            reason: Some("DeletionByTaintManager".into()),
            message: Some("Taint manager: deleting due to NoExecute taint".into()),
            last_transition_time: Some(Time(now)),
            ..PodCondition::default()
        };
        let name = super::replicaset::key(&**pod);
        self.taints.normal(&**pod, "TaintManagerEviction", format!("Marking for deletion Pod {name}"));
        self.patch_pod(pod, json!({ "conditions": [condition] })).await?;
        match write::delete(&self.client, &**pod, DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(error) => Err(write::failed(&error, format_args!("cannot evict pod {name}"))),
        }
    }

    async fn patch_pod(&self, pod: &Arc<Pod>, status: serde_json::Value) -> anyhow::Result<()> {
        patch_pod_status(&self.client, pod, status).await
    }
}

/// Merges `status` into the status of this very pod; one that is gone is no failure.
pub(super) async fn patch_pod_status(client: &Client, pod: &Pod, status: serde_json::Value) -> anyhow::Result<()> {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.namespace().as_deref().unwrap_or(""));
    let patch = Patch::Strategic(json!({ "metadata": { "uid": pod.uid() }, "status": status }));
    match api.patch_status(&pod.name_any(), &PatchParams::default(), &patch).await {
        Ok(_) => Ok(()),
        Err(error) if write::is_not_found(&error) => Ok(()),
        Err(error) => {
            let name = super::replicaset::key(pod);
            Err(write::failed(&error, format_args!("cannot write the status of pod {name}")))
        }
    }
}
