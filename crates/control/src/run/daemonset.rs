//! The DaemonSet controller's shell.

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use futures::future::join_all;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetSpec, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::overlay::Overlay;
use super::pods::{Pods, confirm_alive, slow_start};
use super::replicaset::key;
use super::revision::{Revisions, Settled};
use super::{wake, write};
use crate::events::Recorder;
use crate::plan::daemonset::{self as plan, Backoff, HASH, Observed, Plan, Revising, Why};
use crate::plan::labels::{self, Labels};
use crate::{Launch, Shared, time};

const NAME: &str = "daemon-set-controller";
/// What events call it, as upstream.
const COMPONENT: &str = "daemonset-controller";

struct Shell {
    client: Client,
    events: Recorder,
    sets: Overlay<DaemonSet>,
    revisions: Revisions,
    nodes: Informer<Node>,
    pods: Pods,
    backoff: Mutex<Backoff>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let set_cache = shared.informers.of::<DaemonSet>();
    let revision_cache = shared.informers.of::<ControllerRevision>();
    let node_cache = shared.informers.of::<Node>();
    let pod_cache = shared.informers.of::<Pod>();
    let queue: Queue<Key> = Queue::new();
    let (client, events) = (shared.client(NAME), shared.events.recorder_as(NAME, COMPONENT));
    let shell = Arc::new(Shell {
        sets: Overlay::new(set_cache.clone()),
        revisions: Revisions::new(client.clone(), Overlay::new(revision_cache.clone())),
        nodes: node_cache.clone(),
        pods: Pods::new(client.clone(), events.clone(), Overlay::new(pod_cache.clone())),
        client,
        events,
        backoff: Mutex::default(),
    });
    let wake = queue.clone();
    set_cache.on_change(move |change: Change<'_, DaemonSet>| wake.add(key(&**change.latest())));
    let (wake, sets) = (queue.clone(), set_cache.clone());
    pod_cache.on_change(move |change: Change<'_, Pod>| wake::owners(&wake, "DaemonSet", &sets, change, selects));
    let (wake, sets) = (queue.clone(), set_cache.clone());
    revision_cache.on_change(move |change: Change<'_, ControllerRevision>| {
        wake::revision_owners(&wake, "DaemonSet", &sets, change, selects);
    });
    let (wake, sets) = (queue.clone(), set_cache.clone());
    node_cache.on_change(move |change: Change<'_, Node>| wake_for_node(&wake, &sets, change));
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, move || set_cache.list().iter().map(|set| key(&**set)).collect());
        informer::work(&queue, 2, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

fn selects(set: &DaemonSet, labels: &Labels) -> bool {
    set.spec.as_ref().is_some_and(|spec| labels::matches(&spec.selector, labels))
}

/// A node's heartbeats say nothing about what should run on it; its labels and taints do.
fn wake_for_node(queue: &Queue<Key>, sets: &Informer<DaemonSet>, change: Change<'_, Node>) {
    let same = |old: &Node, new: &Node| {
        let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
        old.labels() == new.labels() && taints(old) == taints(new)
    };
    if !change.old.zip(change.new).is_some_and(|(old, new)| same(old, new)) {
        sets.list().iter().for_each(|set| queue.add(key(&**set)));
    }
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        let Some(set) = self.sets.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
        let Some(spec) = &set.spec else { return Ok(Next::Done) };
        if labels::is_empty(&spec.selector) {
            let message = "This daemon set is selecting all pods. A non-empty selector is required.";
            self.events.warning(&*set, "SelectingAll", message.to_owned());
            return Ok(Next::Done);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done); // its revisions go with it, so there is nothing to tell its pods apart by
        }
        let revising = plan::revise(&set, spec, &self.revisions.in_namespace(&key.namespace));
        let (hash, old) = match self.revise(&set, revising).await? {
            Ok(revised) => revised,
            Err(next) => return Ok(next),
        };
        self.pods.settle(&*set).await?;
        let plan = self.plan(&set, spec, &hash, &old);
        let acted = self.act(&set, &hash, &plan).await;
        if let Some(status) = plan.status {
            self.write_status(&set, status).await?;
        }
        acted.map(|()| plan.recheck.map_or(Next::Done, Next::After))
    }

    fn plan(&self, set: &DaemonSet, spec: &DaemonSetSpec, hash: &str, old: &[Arc<ControllerRevision>]) -> Plan {
        let nodes = self.nodes.list();
        let pods = self.pods.in_namespace(set.namespace().as_deref().unwrap_or(""));
        let backoff = self.backoff.lock();
        let observed = Observed { nodes: &nodes, pods: &pods, backoff: &backoff, now: time::now() };
        plan::plan(set, spec, hash, old, &observed)
    }

    /// Settles which revisions there are: the hash of the template's, and all others. Without these the pass is over.
    async fn revise(
        &self,
        set: &Arc<DaemonSet>,
        revising: Revising,
    ) -> anyhow::Result<Result<(String, Vec<Arc<ControllerRevision>>), Next>> {
        let Revising { adopt, release, label, step, duplicates, old } = revising;
        if !adopt.is_empty() {
            confirm_alive(&self.client, &**set).await?;
        }
        for orphan in &adopt {
            self.revisions.adopt(&**set, orphan).await?;
        }
        for stray in &release {
            self.revisions.release(&**set, stray).await?;
        }
        for bare in &label {
            self.revisions.label(bare, HASH, &bare.name_any()).await?;
        }
        let current = match self.revisions.settle(step).await? {
            Settled::Revision(revision) => revision,
            Settled::Leaving => return Ok(Err(Next::Done)),
            Settled::Taken => {
                let mut status = set.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                self.write_status(set, status).await?;
                return Ok(Err(Next::After(Duration::ZERO)));
            }
        };
        let hash = plan::hash(&current);
        let pods = self.pods.in_namespace(set.namespace().as_deref().unwrap_or(""));
        for pod in plan::misled(set, &duplicates, &pods) {
            let patch = json!({ "metadata": { "uid": pod.uid(), "labels": { HASH: hash } } });
            let written = self.pods.patch(pod, &patch).await;
            written.map_err(|error| write::failed(&error, format_args!("cannot label pod {}", key(&**pod))))?;
        }
        for duplicate in &duplicates {
            self.revisions.remove(duplicate).await?;
        }
        Ok(Ok((hash, old)))
    }

    async fn act(&self, set: &Arc<DaemonSet>, hash: &str, plan: &Plan) -> anyhow::Result<()> {
        self.pods.claim(&**set, &plan.adopt, &plan.release).await?;
        let created = slow_start(&plan.create, |node: &String| async move {
            self.pods.create(&**set, &plan::new_pod(set, hash, node)).await
        });
        let created = created.await;
        let deletions = plan.delete.iter().map(|(pod, node, why)| self.delete(set, pod, node, *why));
        let deleted: anyhow::Result<()> = join_all(deletions).await.into_iter().collect();
        created.and(deleted)?;
        for old in &plan.forget {
            self.revisions.remove(old).await?;
        }
        Ok(())
    }

    async fn delete(&self, set: &Arc<DaemonSet>, pod: &Arc<Pod>, node: &str, why: Why) -> anyhow::Result<()> {
        let found = |state: &str, will: &str| {
            format!("Found {state} daemon pod {} on node {node}, will try to {will} it", key(&**pod))
        };
        match why {
            Why::Surplus => {}
            Why::Failed => {
                self.backoff.lock().failed(set, node, time::now());
                self.events.warning(&**set, "FailedDaemonPod", found("failed", "kill"));
            }
            Why::Succeeded => self.events.normal(&**set, "SucceededDaemonPod", found("succeeded", "delete")),
        }
        self.pods.delete(&**set, pod).await
    }

    async fn write_status(&self, set: &DaemonSet, status: DaemonSetStatus) -> anyhow::Result<()> {
        let next = DaemonSet { status: Some(status), ..set.clone() };
        write::keep_status(&self.client, &self.sets, &next).await
    }
}
