//! The scheduler's shell: watches in, bindings out.
//!
//! Invariant: one loop decides; a decision is assumed in the snapshot before the next one is made, and binding happens
//! beside the loop. Pods are read from the watch without a cache: of a bound pod only its load is kept.

use std::collections::HashSet;
use std::sync::Arc;

use base::{Key, time};
use futures::StreamExt;
use informer::{Change, Informers};
use k8s_openapi::api::core::v1::{Binding, Node, ObjectReference, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

use super::decide::{Decision, Diagnosis, schedule};
use super::plugins::Wake;
use super::queue::{self, Pending};
use super::snapshot::Snapshot;
use crate::events::{Events, Recorder};
use crate::plan::pod;
use crate::run::write;

/// So many bindings and status writes may be under way.
const WRITES: usize = 64;

struct Scheduler {
    client: Client,
    events: Recorder,
    children: tasks::Children,
    world: Mutex<World>,
    wake: Notify,
    writes: Arc<Semaphore>,
    listed: watch::Sender<bool>,
}

#[derive(Default)]
struct World {
    snapshot: Snapshot,
    pending: Pending,
    /// Pods counted in the snapshot, by uid, to find those a new list no longer has.
    counted: HashSet<String>,
}

/// Runs the scheduler until the service is told to stop. Ready when nodes and pods have been read.
///
/// # Errors
/// None of its own; failures of single pods are retried.
pub async fn run(client: Client, ctx: tasks::Context) -> anyhow::Result<()> {
    let own = client.clone();
    let events = Events::new(Arc::new(move |_: &str| own.clone()), &ctx);
    let scheduler = Arc::new(Scheduler {
        events: events.recorder(super::NAME),
        children: ctx.children.clone(),
        world: Mutex::default(),
        wake: Notify::new(),
        writes: Arc::new(Semaphore::new(WRITES)),
        listed: watch::Sender::new(false),
        client: client.clone(),
    });
    let informers = Informers::new(client, &ctx);
    let nodes = informers.of::<Node>();
    let told = Arc::clone(&scheduler);
    nodes.on_change(move |change: Change<'_, Node>| told.node_changed(change));
    ctx.children.spawn("watch pods to schedule", Arc::clone(&scheduler).watch_pods());
    ctx.ready.waiting_for("the scheduler's view of nodes and pods");
    let mut listed = scheduler.listed.subscribe();
    let filled = async {
        nodes.synced().await;
        listed.wait_for(|listed| *listed).await.is_ok()
    };
    tokio::select! {
        () = ctx.stop.cancelled() => return Ok(()),
        _ = filled => {}
    }
    ctx.ready.set();
    tokio::select! {
        () = ctx.stop.cancelled() => {}
        () = scheduler.decide_all() => {}
    }
    Ok(())
}

impl Scheduler {
    fn node_changed(&self, change: Change<'_, Node>) {
        let mut world = self.world.lock();
        let Some(new) = change.new else {
            world.snapshot.remove_node(&change.latest().name_any());
            return;
        };
        world.snapshot.put_node(new);
        let now = Instant::now();
        let mut woken = false;
        for wake in wakes(change.old, new) {
            woken |= world.pending.wake(wake, now);
        }
        drop(world);
        if woken {
            self.wake.notify_one();
        }
    }

    async fn watch_pods(self: Arc<Self>) {
        let api: Api<Pod> = Api::all(self.client.clone());
        let mut events = std::pin::pin!(kube::runtime::watcher(api, watcher::Config::default()).default_backoff());
        let mut seen: HashSet<String> = HashSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => seen.clear(),
                Ok(Event::InitApply(pod)) => {
                    seen.extend(pod.uid());
                    self.pod_changed(pod);
                }
                Ok(Event::InitDone) => {
                    self.forget_unseen(&seen);
                    seen.clear();
                    self.listed.send_replace(true);
                }
                Ok(Event::Apply(pod)) => self.pod_changed(pod),
                Ok(Event::Delete(pod)) => self.pod_gone(&pod),
                Err(error) => tracing::warn!("the scheduler's watch of pods was interrupted, trying again: {error}"),
            }
        }
    }

    fn pod_changed(&self, mut pod: Pod) {
        pod.metadata.managed_fields = None;
        let uid = pod.uid().unwrap_or_default();
        let name = queue::key(&pod);
        let mut world = self.world.lock();
        let now = Instant::now();
        let placed = !pod::node_name(&pod).is_empty();
        if pod::is_terminal(&pod) {
            world.pending.remove(&name);
            world.counted.remove(&uid);
            let freed = world.snapshot.remove_pod(&uid) && world.pending.wake(Wake::PodGone, now);
            drop(world);
            if freed {
                self.wake.notify_one();
            }
            return;
        }
        if placed {
            world.pending.remove(&name);
            world.snapshot.put_pod(&pod);
            world.counted.insert(uid);
            return;
        }
        let ours =
            pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref()).is_none_or(|one| one == super::NAME);
        if pod.metadata.deletion_timestamp.is_some() || !ours {
            world.pending.remove(&name);
            return;
        }
        world.pending.put(Arc::new(pod), now);
        drop(world);
        self.wake.notify_one();
    }

    fn pod_gone(&self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        let name = queue::key(pod);
        let mut world = self.world.lock();
        if world.pending.has(&name, Some(&uid)) {
            world.pending.remove(&name);
        }
        world.counted.remove(&uid);
        let freed = world.snapshot.remove_pod(&uid) && world.pending.wake(Wake::PodGone, Instant::now());
        drop(world);
        if freed {
            self.wake.notify_one();
        }
    }

    fn forget_unseen(&self, seen: &HashSet<String>) {
        let mut world = self.world.lock();
        let gone: Vec<String> = world.counted.iter().filter(|uid| !seen.contains(*uid)).cloned().collect();
        for uid in gone {
            world.counted.remove(&uid);
            world.snapshot.remove_pod(&uid);
        }
        for name in world.pending.keys() {
            if !seen.iter().any(|uid| world.pending.has(&name, Some(uid))) {
                world.pending.remove(&name);
            }
        }
        world.pending.wake(Wake::PodGone, Instant::now());
        drop(world);
        self.wake.notify_one();
    }

    /// Takes one pod after the other and decides.
    async fn decide_all(self: &Arc<Self>) {
        loop {
            let woken = self.wake.notified();
            let (pod, deadline) = {
                let mut world = self.world.lock();
                (world.pending.pop(Instant::now()), world.pending.deadline())
            };
            match (pod, deadline) {
                (Some(pod), _) => {
                    self.decide(&pod).await;
                    tokio::task::yield_now().await;
                }
                (None, None) => woken.await,
                (None, Some(deadline)) => {
                    if tokio::time::timeout_at(deadline, woken).await.is_err() {
                        tracing::trace!("a pod is tried again without a change in the cluster");
                    }
                }
            }
        }
    }

    async fn decide(self: &Arc<Self>, pod: &Arc<Pod>) {
        let permit = Arc::clone(&self.writes).acquire_owned().await;
        let permit = permit.expect("invariant: the semaphore is never closed");
        let name = queue::key(pod);
        let decision = {
            let mut world = self.world.lock();
            let decision = schedule(pod, &world.snapshot);
            match &decision {
                Decision::Bind { node } => world.snapshot.assume(pod, node),
                Decision::Unschedulable(diagnosis) => {
                    world.pending.refused(&name, diagnosis.plugins.clone(), Instant::now());
                }
            }
            decision
        };
        let (scheduler, pod) = (Arc::clone(self), Arc::clone(pod));
        self.children.spawn("bind pod", async move {
            match decision {
                Decision::Bind { node } => scheduler.bind(&pod, &name, node).await,
                Decision::Unschedulable(diagnosis) => scheduler.report(&pod, &name, diagnosis).await,
            }
            drop(permit);
        });
    }

    async fn bind(&self, pod: &Arc<Pod>, name: &Key, node: String) {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &name.namespace);
        let binding = Binding {
            metadata: ObjectMeta {
                name: Some(name.name.clone()),
                namespace: Some(name.namespace.clone()),
                uid: pod.uid(),
                ..ObjectMeta::default()
            },
            target: ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("Node".into()),
                name: Some(node.clone()),
                ..ObjectReference::default()
            },
        };
        let answer: kube::Result<serde_json::Value> =
            api.create_subresource("binding", &name.name, &PostParams::default(), &binding).await;
        let now = Instant::now();
        match answer {
            Ok(_) => {
                self.world.lock().pending.bound(name);
                let message = format!("Successfully assigned {name} to {node}");
                self.events.normal(&**pod, "Scheduled", message);
            }
            Err(error) => {
                let message = write::message(&error);
                {
                    let mut world = self.world.lock();
                    // The watch may have shown it bound to another node meanwhile; then that stands.
                    let uid = pod.uid().unwrap_or_default();
                    if !world.counted.contains(&uid) {
                        world.snapshot.remove_pod(&uid);
                    }
                    if write::is_not_found(&error) {
                        world.pending.remove(name);
                    } else {
                        world.pending.errored(name, now);
                    }
                    world.pending.wake(Wake::PodGone, now);
                }
                self.wake.notify_one();
                if !write::is_not_found(&error) {
                    tracing::warn!(pod = %name, node, "binding failed, trying again: {message}");
                    self.events.warning(&**pod, "FailedScheduling", format!("Binding rejected: {message}"));
                }
            }
        }
    }

    async fn report(&self, pod: &Arc<Pod>, name: &Key, diagnosis: Diagnosis) {
        let Diagnosis { message, .. } = diagnosis;
        self.events.warning(&**pod, "FailedScheduling", message.clone());
        let known = pod::condition(pod, "PodScheduled").is_some_and(|old| {
            old.status == "False"
                && old.reason.as_deref() == Some("Unschedulable")
                && old.message.as_ref() == Some(&message)
        });
        if known {
            return;
        }
        let since = pod::condition(pod, "PodScheduled").filter(|old| old.status == "False");
        let condition = PodCondition {
            type_: "PodScheduled".into(),
            status: "False".into(),
            reason: Some("Unschedulable".into()),
            message: Some(message),
            last_transition_time: since.and_then(|old| old.last_transition_time.clone()).or(Some(Time(time::now()))),
            observed_generation: pod.metadata.generation,
            ..PodCondition::default()
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &name.namespace);
        let patch =
            Patch::Strategic(json!({ "metadata": { "uid": pod.uid() }, "status": { "conditions": [condition] } }));
        match api.patch_status(&name.name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            Err(error) if write::is_not_found(&error) || write::is_conflict(&error) => {}
            Err(error) => {
                let text = write::message(&error);
                tracing::warn!(pod = %name, "cannot write why the pod has no node: {text}");
            }
        }
    }
}

/// What a change of a node may cure.
fn wakes(old: Option<&Arc<Node>>, new: &Node) -> Vec<Wake> {
    let Some(old) = old else { return vec![Wake::NodeAdded] };
    let spec = |node: &Node| {
        let spec = node.spec.as_ref();
        (spec.and_then(|spec| spec.unschedulable), spec.and_then(|spec| spec.taints.clone()))
    };
    let room = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.clone());
    let mut wakes = Vec::new();
    if old.labels() != new.labels() {
        wakes.push(Wake::NodeLabels);
    }
    if spec(old) != spec(new) {
        wakes.push(Wake::NodeTaints);
    }
    if room(old) != room(new) {
        wakes.push(Wake::NodeRoom);
    }
    wakes
}
