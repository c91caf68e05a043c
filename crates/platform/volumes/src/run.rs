//! Watches claims and volumes, plans, writes.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context as _;
use base::Key;
use informer::{Change, Informer, Informers, Next, Queue};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::{Value, json};

use crate::plan::{self, ForClaim, ForVolume, Seen};

/// What the service needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// The name that classes know this provisioner by.
    pub provisioner: String,
}

struct Provisioner {
    client: Client,
    name: String,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    nodes: Informer<Node>,
    recorder: Recorder,
}

/// Provisions until the service is stopped.
///
/// # Errors
/// When a watch cannot go on.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let informers = Informers::new(client.clone(), &ctx);
    let provisioner = Arc::new(Provisioner {
        recorder: Recorder::new(client.clone(), Reporter::from(config.provisioner.as_str())),
        client,
        name: config.provisioner,
        claims: informers.of(),
        volumes: informers.of(),
        classes: informers.of(),
        nodes: informers.of(),
    });
    informers.synced().await;
    // the key of a volume has no namespace
    let queue = Queue::<Key>::new();
    let changed = queue.clone();
    provisioner
        .claims
        .on_change(move |change: Change<'_, PersistentVolumeClaim>| changed.add(claim_key(change.latest())));
    let changed = queue.clone();
    provisioner.volumes.on_change(move |change: Change<'_, PersistentVolume>| {
        let volume = change.latest();
        changed.add(Key::cluster(volume.name_any()));
        if let Some(held) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) {
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            changed.add(Key::new(part(&held.namespace), part(&held.name)));
        }
    });
    let (changed, all) = (queue.clone(), Arc::clone(&provisioner));
    provisioner.nodes.on_change(move |change: Change<'_, Node>| {
        // a node that comes may be what claims wait for, one that goes what volumes wait for
        let place = |node: Option<&Arc<Node>>| node.map(|node| node.annotations().get(plan::PLACE).cloned());
        if place(change.old) != place(change.new) {
            all.everything().into_iter().for_each(|key| changed.add(key));
        }
    });
    let (changed, all) = (queue.clone(), Arc::clone(&provisioner));
    provisioner.classes.on_change(move |_: Change<'_, StorageClass>| {
        all.claims.list().iter().for_each(|claim| changed.add(claim_key(claim)));
    });
    informer::work(&queue, 2, &ctx, "provision volumes", move |key| {
        let provisioner = Arc::clone(&provisioner);
        async move { provisioner.look_at(&key).await }
    });
    ctx.ready.set();
    ctx.stop.cancelled().await;
    Ok(())
}

fn claim_key(claim: &PersistentVolumeClaim) -> Key {
    Key::new(claim.namespace().unwrap_or_default(), claim.name_any())
}

impl Provisioner {
    fn everything(&self) -> Vec<Key> {
        let volumes = self.volumes.list().into_iter().map(|volume| Key::cluster(volume.name_any()));
        volumes.chain(self.claims.list().iter().map(|claim| claim_key(claim))).collect()
    }

    fn nodes(&self) -> BTreeMap<String, Arc<Node>> {
        self.nodes.list().into_iter().map(|node| (node.name_any(), node)).collect()
    }

    async fn look_at(&self, key: &Key) -> anyhow::Result<Next> {
        let done =
            if key.namespace.is_empty() { self.look_at_volume(key).await } else { self.look_at_claim(key).await };
        match done {
            Err(error) if is_stale(&error) => Ok(Next::Done), // what changed it wakes us again
            done => done.map(|()| Next::Done),
        }
    }

    async fn look_at_claim(&self, key: &Key) -> anyhow::Result<()> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(()) };
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
        let class = class.and_then(|class| self.classes.get("", class));
        let volume = self.volumes.get("", &plan::volume_of(&claim));
        let nodes = self.nodes();
        let seen = Seen { class: class.as_deref(), volume: volume.as_deref(), nodes: &nodes };
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &key.namespace);
        match plan::for_claim(&claim, &self.name, seen) {
            ForClaim::Nothing => {}
            ForClaim::Make(volume) => {
                let name = volume.name_any();
                match volumes.create(&PostParams::default(), &volume).await {
                    Ok(_) => {
                        tracing::info!(claim = %key, volume = name, "volume made");
                        let note = format!("Successfully provisioned volume {name}");
                        self.tell(&claim, EventType::Normal, "ProvisioningSucceeded", &note).await;
                    }
                    Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                    Err(error) => {
                        return Err(error).with_context(|| format!("cannot make volume {name} for claim {key}"));
                    }
                }
            }
            ForClaim::Reschedule(why) => {
                self.fail(&claim, &why).await;
                let change = json!({ "metadata": { "resourceVersion": claim.resource_version(),
                    "annotations": { "volume.kubernetes.io/selected-node": Value::Null } } });
                let patched = claims.patch(&key.name, &PatchParams::default(), &Patch::Merge(change)).await;
                patched.with_context(|| format!("cannot ask for another node for claim {key}"))?;
            }
            ForClaim::Refuse(why) => self.fail(&claim, &why).await,
            ForClaim::Grow(volume) => {
                let grown = volumes.replace(&volume.name_any(), &PostParams::default(), &volume).await;
                grown.with_context(|| format!("cannot write the size of the volume of claim {key}"))?;
            }
            ForClaim::Tell(next) => {
                let told = claims.replace_status(&key.name, &PostParams::default(), &next).await;
                told.with_context(|| format!("cannot write the size of claim {key}"))?;
                self.tell(&claim, EventType::Normal, "VolumeResizeSuccessful", "Resize volume succeeded").await;
            }
        }
        Ok(())
    }

    async fn look_at_volume(&self, key: &Key) -> anyhow::Result<()> {
        let Some(volume) = self.volumes.get("", &key.name) else { return Ok(()) };
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        match plan::for_volume(&volume, &self.name, &self.nodes()) {
            ForVolume::Nothing => {}
            ForVolume::Delete => {
                let exactly = Preconditions { uid: volume.uid(), resource_version: volume.resource_version() };
                let deleted = volumes.delete(&key.name, &DeleteParams::default().preconditions(exactly)).await;
                deleted.with_context(|| format!("cannot delete volume {key}"))?;
                tracing::info!(volume = key.name, "volume deleted; its node removes the directory");
            }
            ForVolume::LetGo(next) => {
                let free = volumes.replace(&key.name, &PostParams::default(), &next).await;
                free.with_context(|| format!("cannot let volume {key} go, whose node is gone"))?;
            }
        }
        Ok(())
    }

    async fn fail(&self, claim: &PersistentVolumeClaim, why: &str) {
        let class = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref()).unwrap_or("");
        let note = format!("failed to provision volume with StorageClass {class:?}: {why}");
        self.tell(claim, EventType::Warning, "ProvisioningFailed", &note).await;
    }

    async fn tell(&self, claim: &PersistentVolumeClaim, kind: EventType, reason: &str, note: &str) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Provisioning".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &claim.object_ref(&())).await {
            tracing::debug!("cannot record an event: {error}");
        }
    }
}

/// A decision on what is no longer so.
fn is_stale(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<kube::Error>(), Some(kube::Error::Api(status)) if status.code == 404 || status.code == 409)
}
