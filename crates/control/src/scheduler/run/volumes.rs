//! Claims, volumes and their like: what the watches show of them, and what is written before a pod with such is bound.
//!
//! Invariant: a pod is bound only when all its claims are; what a decision assumed and could not be written is taken back.

use std::sync::Arc;
use std::time::Duration;

use informer::Part;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;

use super::watch::{Told, name_of};
use super::{Scheduler, State};
use crate::run::write;
use crate::scheduler::hints::Change;
use crate::scheduler::pod::PodInfo;
use crate::scheduler::seen::{SeenAttachment, SeenClaim, SeenClass, SeenCsiNode, SeenDisk, SeenDriver, SeenRoom};
use crate::scheduler::storage::{Plan, Storage, allows};

impl Scheduler {
    /// Starts the watches of everything about volumes.
    pub(super) fn watch_volumes(self: &Arc<Self>) -> Vec<watch::Receiver<bool>> {
        vec![
            self.feed(Self::claim_told),
            self.feed(Self::disk_told),
            self.feed(Self::class_told),
            self.feed(Self::csi_node_told),
            self.feed(Self::driver_told),
            self.feed(Self::room_told),
            self.feed(Self::attachment_told),
        ]
    }

    /// Changes the storage and tells waiting pods what `change` finds worth telling.
    fn stored(&self, change: impl FnOnce(&mut Storage) -> Option<Change<'static>>) {
        let mut state = self.state.lock();
        if let Some(change) = change(&mut state.world.storage) {
            let woken = state.tell(change, |_| true, Instant::now());
            drop(state);
            self.wake_if(woken);
        }
    }

    fn claim_told(&self, told: Told<'_, Part<SeenClaim>>) {
        match told {
            Told::Is(Part(claim)) => {
                let claim = claim.kept();
                let (namespace, name) = claim.key();
                let mut state = self.state.lock();
                let new = state.world.storage.put_claim(claim).is_none();
                let change = Change::Claim { namespace: &namespace, name: &name, new };
                let woken = state.tell(change, |_| true, Instant::now());
                drop(state);
                self.wake_if(woken);
            }
            Told::Gone((namespace, name)) => self.state.lock().world.storage.remove_claim(namespace, name),
        }
        self.storage.send_modify(|count| *count += 1);
    }

    fn disk_told(&self, told: Told<'_, Part<SeenDisk>>) {
        match told {
            Told::Is(Part(disk)) => self.stored(|storage| {
                let disk = disk.kept();
                let labels = disk.labels.clone();
                let old = storage.put_disk(disk);
                Some(Change::Volume { moved: old.is_none_or(|old| old.labels != labels) })
            }),
            Told::Gone((_, name)) => self.state.lock().world.storage.remove_disk(name),
        }
        self.storage.send_modify(|count| *count += 1);
    }

    fn class_told(&self, told: Told<'_, Part<SeenClass>>) {
        self.stored(|storage| match told {
            Told::Is(class) => {
                let (_, name) = name_of(&class);
                let class = class.0.kept();
                let (waits, topologies) = (class.waits == Some(true), class.topologies.clone());
                match storage.put_class(&name, Some(class)) {
                    None => Some(Change::Class { waits }),
                    Some(old) => (old.topologies != topologies).then_some(Change::Class { waits: false }),
                }
            }
            Told::Gone((_, name)) => {
                storage.put_class(name, None);
                None
            }
        });
    }

    fn csi_node_told(&self, told: Told<'_, Part<SeenCsiNode>>) {
        self.stored(|storage| match told {
            Told::Is(node) => {
                let (_, name) = name_of(&node);
                let limits = node.0.kept();
                match storage.put_limits(&name, Some(limits.clone())) {
                    None => Some(Change::Limits { new: true }),
                    Some(old) => {
                        let before = |driver: &String| old.get(driver).copied().flatten().unwrap_or(0);
                        let more = limits.iter().any(|(driver, limit)| limit.unwrap_or(0) > before(driver));
                        more.then_some(Change::Limits { new: false })
                    }
                }
            }
            Told::Gone((_, name)) => {
                storage.put_limits(name, None);
                None
            }
        });
    }

    fn driver_told(&self, told: Told<'_, Part<SeenDriver>>) {
        match told {
            Told::Is(driver) => {
                let (_, name) = name_of(&driver);
                let tells = driver.0.tells();
                let mut state = self.state.lock();
                let told = state.world.storage.put_driver(&name, Some(tells)) == Some(true);
                let woken = told && !tells && state.tell(Change::Driver(&name), |_| true, Instant::now());
                drop(state);
                self.wake_if(woken);
            }
            Told::Gone((_, name)) => drop(self.state.lock().world.storage.put_driver(name, None)),
        }
    }

    fn room_told(&self, told: Told<'_, Part<SeenRoom>>) {
        self.stored(|storage| match told {
            Told::Is(room) => {
                let key = name_of(&room);
                let room = room.0.kept();
                let limit = room.limit;
                let old = storage.put_room(key, Some(room));
                (old.is_none() || old.is_some_and(|old| limit > old.limit)).then_some(Change::Room)
            }
            Told::Gone(key) => {
                storage.put_room(key.clone(), None);
                None
            }
        });
    }

    fn attachment_told(&self, told: Told<'_, Part<SeenAttachment>>) {
        self.stored(|storage| match told {
            Told::Is(attachment) => {
                let (_, name) = name_of(&attachment);
                storage.put_attached(&name, attachment.0.kept());
                None
            }
            Told::Gone((_, name)) => {
                storage.put_attached(name, None);
                Some(Change::Detached)
            }
        });
    }

    /// Writes what the plan says and waits until the claims are bound.
    pub(super) async fn bind_volumes(&self, pod: &PodInfo, node: &Arc<str>, plan: &Plan) -> Result<(), String> {
        let patience = {
            let state = self.state.lock();
            let profile = state.world.profiles.get(&pod.ask().scheduler);
            profile.map_or(Duration::from_secs(600), |profile| profile.bind_timeout)
        };
        self.write_plan(node, plan).await.map_err(|error| format!("binding volumes: {}", write::message(&error)))?;
        let mut changes = self.storage.subscribe();
        let waiting = async {
            loop {
                changes.borrow_and_update();
                match self.state.lock().are_bound(pod, node, plan) {
                    Ok(true) => return Ok(()),
                    Ok(false) => {}
                    Err(why) => return Err(format!("binding volumes: {why}")),
                }
                if changes.changed().await.is_err() {
                    return Err("binding volumes: context canceled".to_owned());
                }
            }
        };
        let patience = tokio::time::timeout(patience, waiting).await;
        patience.unwrap_or_else(|_| Err("binding volumes: context deadline exceeded".to_owned()))
    }

    async fn write_plan(&self, node: &Arc<str>, plan: &Plan) -> kube::Result<()> {
        let params = PatchParams::default();
        for (disk, claim) in &plan.bind {
            let holder = json!({ "apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": claim.namespace,
                "name": claim.name, "uid": claim.uid, "resourceVersion": claim.version });
            let patch = json!({
                "metadata": { "resourceVersion": disk.version, "annotations": { "pv.kubernetes.io/bound-by-controller": "yes" } },
                "spec": { "claimRef": holder },
            });
            let api: Api<Part<SeenDisk>> = Api::all(self.client.clone());
            api.patch(&disk.name, &params, &Patch::Merge(patch)).await?;
        }
        for claim in &plan.provision {
            let patch = json!({ "metadata": { "resourceVersion": claim.version,
                "annotations": { "volume.kubernetes.io/selected-node": &**node } } });
            let api: Api<Part<SeenClaim>> = Api::namespaced(self.client.clone(), &claim.namespace);
            api.patch(&claim.name, &params, &Patch::Merge(patch)).await?;
        }
        Ok(())
    }
}

impl State {
    /// Whether all claims of the plan are bound, or why they never will be.
    fn are_bound(&self, pod: &PodInfo, node: &Arc<str>, plan: &Plan) -> Result<bool, String> {
        let storage = &self.world.storage;
        let facts = self.world.cache.named(node).and_then(|info| info.facts.as_ref());
        let facts = facts.ok_or_else(|| format!("failed to get node {node:?}: node {node:?} not found"))?;
        if self.queue.get(&pod.key).is_none_or(|known| known.uid != pod.uid) {
            return Err(format!("pod does not exist any more: pod {:?} not found", pod.key.name));
        }
        let mut done = true;
        for (disk, claim) in &plan.bind {
            let Some(shown) = storage.disk(&disk.name) else {
                return Err(format!("failed to check binding: persistentvolume {:?} not found", disk.name));
            };
            let Some(theirs) = storage.shown_claim(&claim.key()) else {
                return Err(format!("failed to check binding: persistentvolumeclaim {:?} not found", claim.name));
            };
            if shown.version != disk.version && shown.holder.as_ref().is_none_or(|holder| holder.uid.is_empty()) {
                return Err(format!("ClaimRef got reset for pv {:?}", disk.name));
            }
            if !allows(shown, facts) {
                return Err(mismatch(&disk.name, node));
            }
            done &= theirs.is_bound();
        }
        for claim in &plan.provision {
            let Some(shown) = storage.shown_claim(&claim.key()) else {
                let name = &claim.name;
                return Err(format!("failed to check provisioning pvc: persistentvolumeclaim {name:?} not found"));
            };
            if shown.version != claim.version && shown.selected.as_deref() != Some(&**node) {
                return Err(format!("provisioning failed for PVC {:?}", claim.name));
            }
            if let Some(disk) = storage.disk(&shown.volume).filter(|_| !shown.volume.is_empty())
                && !allows(disk, facts)
            {
                return Err(mismatch(&disk.name, node));
            }
            done &= shown.is_bound();
        }
        Ok(done)
    }
}

fn mismatch(volume: &str, node: &str) -> String {
    format!("pv {volume:?} node affinity doesn't match node {node:?}: no matching NodeSelectorTerms")
}
