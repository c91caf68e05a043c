//! The shell that binds claims and volumes.
//!
//! Invariant: one worker, for a claim must not be given two volumes nor a volume to two claims; it makes one write, lays it
//! over the caches and looks again, until there is nothing to write.

pub(crate) mod ephemeral;
pub(crate) mod expand;
pub(crate) mod protect;

use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use super::overlay::Overlay;
use super::replicaset::key;
use super::write;
use crate::events::Recorder;
use crate::plan::volume::claim::Observed;
use crate::plan::volume::{self as plan, About, Note, Step, Write, claim, persistent};
use crate::{Launch, Shared};

const NAME: &str = "persistent-volume-binder";
/// More writes than a binding has are a sign that somebody undoes them.
const WRITES: usize = 16;
/// How soon a claim that waits is looked at again, and its state told again (upstream's resync).
const AGAIN: Duration = Duration::from_secs(15);

struct Shell {
    client: Client,
    events: Recorder,
    volumes: Overlay<PersistentVolume>,
    claims: Overlay<PersistentVolumeClaim>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    queue: Queue<Key>,
}

fn volume_key(volume: &PersistentVolume) -> Key {
    Key::cluster(volume.name_any())
}

fn is_waiting(claim: &PersistentVolumeClaim) -> bool {
    !claim.annotations().contains_key(plan::BIND_COMPLETED)
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let volumes = shared.informers.of::<PersistentVolume>();
    let claims = shared.informers.of::<PersistentVolumeClaim>();
    let classes = shared.informers.of::<StorageClass>();
    let queue: Queue<Key> = Queue::new();
    let shell = Arc::new(Shell {
        client: shared.client(NAME),
        events: shared.events.recorder_as(NAME, "persistentvolume-controller"),
        volumes: Overlay::new(volumes.clone()),
        claims: Overlay::new(claims.clone()),
        classes: classes.clone(),
        pods: shared.informers.of(),
        queue: queue.clone(),
    });
    let (wake, known) = (queue.clone(), claims.clone());
    volumes.on_change(move |change: Change<'_, PersistentVolume>| wake_for_volume(&wake, &known, change));
    let (wake, known) = (queue.clone(), volumes.clone());
    claims.on_change(move |change: Change<'_, PersistentVolumeClaim>| wake_for_claim(&wake, &known, change));
    let (wake, known) = (queue.clone(), claims.clone());
    classes.on_change(move |_: Change<'_, StorageClass>| wake_waiting(&wake, &known));
    let shared = shared.clone();
    Box::new(move || {
        shared.resync(&queue, move || {
            let of_volumes = volumes.list().into_iter().map(|volume| volume_key(&volume));
            of_volumes.chain(claims.list().iter().map(|claim| key(&**claim))).collect()
        });
        informer::work(&queue, 1, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key).await) }
        });
    })
}

fn wake_waiting(queue: &Queue<Key>, claims: &Informer<PersistentVolumeClaim>) {
    claims.list().iter().filter(|claim| is_waiting(claim)).for_each(|claim| queue.add(key(&**claim)));
}

fn wake_for_volume(queue: &Queue<Key>, claims: &Informer<PersistentVolumeClaim>, change: Change<'_, PersistentVolume>) {
    queue.add(volume_key(change.latest()));
    for held in change.old.into_iter().chain(change.new).filter_map(|volume| plan::claimed_by(volume)) {
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        queue.add(Key::new(part(&held.namespace), part(&held.name)));
    }
    if change.new.is_some_and(|volume| plan::claimed_by(volume).is_none()) {
        wake_waiting(queue, claims); // one of them may have it
    }
}

fn wake_for_claim(queue: &Queue<Key>, volumes: &Informer<PersistentVolume>, change: Change<'_, PersistentVolumeClaim>) {
    let claim = change.latest();
    queue.add(key(&**claim));
    let named = |claim: Option<&Arc<PersistentVolumeClaim>>| claim.map(|claim| plan::volume_of(claim).to_owned());
    if named(change.old) != named(change.new) {
        let held = volumes.list().into_iter().filter(|volume| {
            plan::claimed_by(volume)
                .is_some_and(|held| held.name == claim.metadata.name && held.namespace == claim.metadata.namespace)
        });
        held.for_each(|volume| queue.add(volume_key(&volume)));
    }
}

impl Shell {
    async fn sync(&self, key: &Key) -> anyhow::Result<Next> {
        if key.namespace.is_empty() { self.sync_volume(key).await } else { self.sync_claim(key).await }
    }

    async fn sync_claim(&self, key: &Key) -> anyhow::Result<Next> {
        for _ in 0..WRITES {
            let Some(claim) = self.claims.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
            let (volumes, classes) = (self.volumes.in_namespace(""), self.classes.list());
            let pods = if is_waiting(&claim) { self.pods.in_namespace(&key.namespace) } else { Vec::new() };
            let step = claim::plan(&claim, &Observed { volumes: &volumes, classes: &classes, pods: &pods });
            let ended = step.write.is_none();
            self.carry_out(step, None, Some(&claim)).await?;
            if ended {
                return Ok(if is_waiting(&claim) { Next::After(AGAIN) } else { Next::Done });
            }
        }
        anyhow::bail!("claim {key} is still not settled after {WRITES} writes; somebody else changes it too")
    }

    async fn sync_volume(&self, key: &Key) -> anyhow::Result<Next> {
        for _ in 0..WRITES {
            let Some(volume) = self.volumes.get("", &key.name) else { return Ok(Next::Done) };
            let claim = self.claim_of(&volume).await?;
            let planned = persistent::plan(&volume, claim.as_deref());
            if let Some(claim) = claim.as_deref().filter(|_| planned.wake_claim) {
                self.queue.add(super::replicaset::key(claim));
            }
            let ended = planned.step.write.is_none();
            self.carry_out(planned.step, Some(&volume), claim.as_deref()).await?;
            if ended {
                return Ok(Next::Done);
            }
        }
        anyhow::bail!("volume {key} is still not settled after {WRITES} writes; somebody else changes it too")
    }

    /// The very claim that the volume names, asked of the server where a lagging cache would cost the volume.
    async fn claim_of(&self, volume: &PersistentVolume) -> anyhow::Result<Option<Arc<PersistentVolumeClaim>>> {
        let Some(held) = plan::claimed_by(volume) else { return Ok(None) };
        let part = |part: &Option<String>| part.clone().unwrap_or_default();
        let (namespace, name, uid) = (part(&held.namespace), part(&held.name), part(&held.uid));
        if uid.is_empty() {
            return Ok(None);
        }
        let is_it = |claim: &PersistentVolumeClaim| claim.metadata.uid.as_deref() == Some(&uid);
        let cached = self.claims.get(&namespace, &name);
        if cached.as_deref().is_some_and(is_it) {
            return Ok(cached);
        }
        if cached.is_none() && !persistent::must_be_sure(volume) {
            return Ok(None);
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &namespace);
        let live = api.get_opt(&name).await;
        let live = live.map_err(|error| write::failed(&error, format_args!("cannot read claim {namespace}/{name}")))?;
        Ok(live.filter(is_it).map(Arc::new))
    }

    async fn carry_out(
        &self,
        step: Step,
        volume: Option<&PersistentVolume>,
        claim: Option<&PersistentVolumeClaim>,
    ) -> anyhow::Result<()> {
        if let Some(write) = step.write {
            self.write(write).await?;
        }
        for Note { about, warning, reason, message } in step.notes {
            match (about, volume, claim) {
                (About::Volume, Some(volume), _) if warning => self.events.warning(volume, reason, message),
                (About::Volume, Some(volume), _) => self.events.normal(volume, reason, message),
                (About::Claim, _, Some(claim)) if warning => self.events.warning(claim, reason, message),
                (About::Claim, _, Some(claim)) => self.events.normal(claim, reason, message),
                _ => {}
            }
        }
        Ok(())
    }

    async fn write(&self, write: Write) -> anyhow::Result<()> {
        let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
        let params = PostParams::default();
        match write {
            Write::Volume(volume) => {
                let written = volumes.replace(&volume.name_any(), &params, &volume).await;
                self.volumes.wrote(written.map_err(|error| attempt(&error, "write volume", volume_key(&volume)))?);
            }
            Write::VolumeStatus(volume) => {
                let written = volumes.replace_status(&volume.name_any(), &params, &volume).await;
                let written =
                    written.map_err(|error| attempt(&error, "write the phase of volume", volume_key(&volume)))?;
                self.volumes.wrote(written);
            }
            Write::Claim(claim) => {
                let written = write::replace(&self.client, &*claim).await;
                self.claims.wrote(written.map_err(|error| attempt(&error, "write claim", key(&*claim)))?);
            }
            Write::ClaimStatus(claim) => {
                let written = write::replace_status(&self.client, &*claim).await;
                let written = written.map_err(|error| attempt(&error, "write the status of claim", key(&*claim)))?;
                self.claims.wrote(written);
            }
        }
        Ok(())
    }
}

fn attempt(error: &kube::Error, what: &str, key: Key) -> anyhow::Error {
    write::failed(error, format_args!("cannot {what} {key}"))
}
