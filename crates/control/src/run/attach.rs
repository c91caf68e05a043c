//! The shell that has volumes attached to nodes and detached from them.
//!
//! Invariant: one look at everything at a time, for what may be attached here depends on what is attached elsewhere. Nothing
//! is detached from a node that could not be told before, nor, unless it is given up, from one that uses the volume as it
//! says when asked itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde_json::json;

use super::overlay::Overlay;
use super::write;
use crate::events::Recorder;
use crate::plan::attach::{self as plan, Action, Memory, World};
use crate::time;
use crate::{Launch, Shared};

const NAME: &str = "attachdetach-controller";
/// When to look again at a volume whose node uses it after all.
const IN_USE: Duration = Duration::from_millis(500);

struct Shell {
    client: Client,
    events: Recorder,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    drivers: Informer<CSIDriver>,
    nodes: Overlay<Node>,
    attachments: Overlay<VolumeAttachment>,
    memory: Mutex<Memory>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let informers = &shared.informers;
    let (pods, claims) = (informers.of::<Pod>(), informers.of::<PersistentVolumeClaim>());
    let (volumes, nodes) = (informers.of::<PersistentVolume>(), informers.of::<Node>());
    let (drivers, attachments) = (informers.of::<CSIDriver>(), informers.of::<VolumeAttachment>());
    pods.on_change(waking(&queue, |pod: &Pod| plan::node_of(pod).map(str::to_owned)));
    claims.on_change(waking(&queue, |claim: &PersistentVolumeClaim| {
        let name = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
        let phase = claim.status.as_ref().and_then(|status| status.phase.clone());
        name.filter(|_| phase.as_deref() == Some("Bound"))
    }));
    volumes.on_change(waking(&queue, |volume: &PersistentVolume| {
        let holder = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
        plan::volume(volume).map(|found| (found, holder.and_then(|holder| holder.uid.clone())))
    }));
    nodes.on_change(waking(&queue, |node: &Node| Some(plan::seen_of(node))));
    drivers.on_change(waking(&queue, |driver: &CSIDriver| Some(driver.spec.attach_required)));
    attachments.on_change(waking(&queue, |one: &VolumeAttachment| one.resource_version()));
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder(NAME),
        pods,
        claims,
        volumes,
        drivers,
        nodes: Overlay::new(nodes),
        attachments: Overlay::new(attachments),
        memory: Mutex::default(),
    });
    let shared = shared.clone();
    Box::new(move || {
        let all = || vec![Key::cluster("volumes")];
        shared.resync(&queue, all);
        queue.add(Key::cluster("volumes"));
        informer::work(&queue, 1, &shared.context, NAME, move |_| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.look().await) }
        });
    })
}

/// Wakes when what is seen of an object becomes another, or the object goes: the last that is heard of it may be what
/// nobody saw before, as a pod that is deleted at once is heard of as one that is being deleted.
fn waking<K, S: PartialEq>(
    queue: &Queue<Key>,
    seen: impl Fn(&K) -> Option<S> + Send + Sync + 'static,
) -> impl Fn(Change<'_, K>) + Send + Sync + 'static {
    let queue = queue.clone();
    move |change| {
        let (old, new) = (change.old.and_then(|old| seen(old)), change.new.and_then(|new| seen(new)));
        if change.new.is_none() || old != new {
            queue.add(Key::cluster("volumes"));
        }
    }
}

impl Shell {
    async fn look(&self) -> anyhow::Result<Next> {
        let (nodes, attachments) = (self.nodes.in_namespace(""), self.attachments.in_namespace(""));
        if !plan::is_asked_for(&self.volumes.list(), &nodes, &attachments) {
            return Ok(Next::Done);
        }
        let plan = {
            let pods = self.pods.list();
            let world = World {
                pods: &pods,
                nodes: &nodes,
                attachments: &attachments,
                claims: &|namespace, name| self.claims.get(namespace, name),
                volumes: &|name| self.volumes.get("", name),
                drivers: &|name| self.drivers.get("", name),
            };
            plan::plan(&plan::wants(&world), &world, &self.memory.lock(), time::now())
        };
        let again = plan.again.map_or(Next::Done, Next::After);
        let acted = self.act(plan.actions).await;
        *self.memory.lock() = plan.memory;
        Ok(if acted? { again } else { Next::After(IN_USE) })
    }

    /// Does what can be done: a node that cannot be told stops only what is about that node. False if a node still uses
    /// what was to be detached.
    async fn act(&self, actions: Vec<Action>) -> anyhow::Result<bool> {
        let mut failed = None;
        let mut untold: BTreeSet<String> = BTreeSet::new();
        let mut settled = true;
        for action in actions {
            let done = match action {
                Action::Report { node, volumes } => {
                    let told = self.report(&node, &volumes).await;
                    if told.is_err() {
                        untold.insert(node);
                    }
                    told
                }
                Action::Tell { pods, warning, reason, message } => {
                    self.tell(&pods, warning, reason, &message, &untold);
                    Ok(())
                }
                Action::Detach { node, .. } if untold.contains(&node) => Ok(()),
                Action::Detach { attachment, node, volume, safely } => {
                    match self.detach(&attachment, &node, volume.as_deref().filter(|_| safely)).await {
                        Ok(done) => {
                            settled &= done;
                            Ok(())
                        }
                        Err(error) => Err(error),
                    }
                }
                Action::Attach(attachment) => self.attach(&attachment).await,
            };
            if let Err(error) = done {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(settled), Err)
    }

    async fn report(&self, node: &str, volumes: &[AttachedVolume]) -> anyhow::Result<()> {
        let Some(known) = self.nodes.get("", node) else { return Ok(()) };
        let patch = json!({ "metadata": { "uid": known.uid() }, "status": { "volumesAttached": volumes } });
        let api: Api<Node> = Api::all(self.client.clone());
        match api.patch_status(node, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(written) => drop(self.nodes.wrote(written)),
            Err(error) if write::is_not_found(&error) => {}
            Err(error) => {
                return Err(write::failed(&error, format_args!("cannot tell node {node} what is attached to it")));
            }
        }
        Ok(())
    }

    /// Of pods whose node does not know yet nothing is told: it will be, when it knows.
    fn tell(&self, pods: &[Arc<Pod>], warning: bool, reason: &'static str, message: &str, untold: &BTreeSet<String>) {
        let known = |pod: &&Arc<Pod>| warning || plan::node_of(pod).is_none_or(|node| !untold.contains(node));
        for pod in pods.iter().filter(known) {
            if warning {
                self.events.warning(&**pod, reason, message.to_owned());
            } else {
                self.events.normal(&**pod, reason, message.to_owned());
            }
        }
    }

    /// Deletes an attachment; if a volume is named, only if the node does not use it. Whether it was deleted.
    async fn detach(&self, attachment: &str, node: &str, unused: Option<&str>) -> anyhow::Result<bool> {
        if let Some(volume) = unused {
            let live = Api::<Node>::all(self.client.clone()).get_opt(node).await;
            let live = live.map_err(|error| write::failed(&error, format_args!("cannot ask what node {node} uses")))?;
            if let Some(live) = live
                && plan::is_in_use(&self.nodes.wrote(live), volume)
            {
                return Ok(false);
            }
        }
        let Some(known) = self.attachments.get("", attachment) else { return Ok(true) };
        let exactly = Preconditions { uid: known.uid(), resource_version: None };
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        match api.delete(attachment, &DeleteParams::default().preconditions(exactly)).await {
            Ok(answer) => match answer.left().filter(|left| !left.finalizers().is_empty()) {
                Some(left) if left.meta().deletion_timestamp.is_some() => drop(self.attachments.wrote(left)),
                _ => self.attachments.deleted(&known),
            },
            Err(error) if write::is_not_found(&error) || write::is_conflict(&error) => {}
            Err(error) => {
                return Err(write::failed(&error, format_args!("cannot delete volume attachment {attachment}")));
            }
        }
        tracing::info!(attachment, node, "a volume is being detached");
        Ok(true)
    }

    async fn attach(&self, attachment: &VolumeAttachment) -> anyhow::Result<()> {
        let (api, name) = (Api::<VolumeAttachment>::all(self.client.clone()), attachment.name_any());
        match api.create(&PostParams::default(), attachment).await {
            Ok(written) => {
                self.attachments.wrote(written);
                tracing::info!(attachment = name, node = attachment.spec.node_name, "a volume is being attached");
                Ok(())
            }
            Err(error) if write::already_exists(&error) => Ok(()),
            Err(error) => Err(write::failed(&error, format_args!("cannot create volume attachment {name}"))),
        }
    }
}
