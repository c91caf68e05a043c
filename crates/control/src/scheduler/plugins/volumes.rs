//! The plugins about volumes: VolumeRestrictions, NodeVolumeLimits, VolumeBinding and VolumeZone.
//!
//! Invariant: which claims a pod uses is looked up once per decision; what would have to be written to use a node is
//! planned for the node that is chosen, from the same facts its check was made on.
//! Not done: in-tree volumes are not translated to CSI ones (their plugins are gone from nodes of this version).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Early, Refusal, Verdict};
use crate::scheduler::cache::Cache;
use crate::scheduler::names::Plugin;
use crate::scheduler::node::{NodeFacts, NodeInfo};
use crate::scheduler::pod::{Disk as InTree, PodInfo, Volume};
use crate::scheduler::storage::{Claim, Plan, Storage, allows};

const IN_USE: &str =
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
const DISK: &str = "node(s) had no available disk";
const TOO_MANY: &str = "node(s) exceed max volume count";
const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const ELSEWHERE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NO_ROOM: &str = "node(s) did not have enough free storage";
const LOST: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
const ZONE: &str = "node(s) had no available volume zone";

/// Labels of volumes and nodes that name a zone or a region, and what they are called today.
const ZONE_LABELS: [(&str, &str); 4] = [
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// What has been found out about the volumes of a pod.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Volumes {
    bound: Vec<Arc<Claim>>,
    waiting: Vec<Arc<Claim>>,
    /// Claims that one pod at a time may use.
    exclusive: BTreeSet<String>,
    /// How many other pods use those.
    conflicts: i64,
    /// Label and allowed values of the volumes' zones.
    zones: Vec<(&'static str, BTreeSet<String>)>,
}

fn not_found(plugin: Plugin, what: &str, name: &str) -> Early {
    Early::Refuse(Refusal::final_(plugin, format!("{what} {name:?} not found")))
}

/// Whether two pods of one node cannot have both.
fn collide(one: &InTree, other: &InTree) -> bool {
    match (one, other) {
        (InTree::Gce { name, read_only }, InTree::Gce { name: theirs, read_only: too }) => {
            name == theirs && !(*read_only && *too)
        }
        (InTree::Aws { id }, InTree::Aws { id: theirs }) => id == theirs,
        (InTree::Iscsi { iqn, read_only }, InTree::Iscsi { iqn: theirs, read_only: too }) => {
            iqn == theirs && !(*read_only && *too)
        }
        (
            InTree::Rbd { monitors, pool, image, read_only },
            InTree::Rbd { monitors: their_monitors, pool: their_pool, image: their_image, read_only: too },
        ) => {
            monitors.iter().any(|one| their_monitors.contains(one))
                && pool == their_pool
                && image == their_image
                && !(*read_only && *too)
        }
        _ => false,
    }
}

fn disks(pod: &PodInfo) -> impl Iterator<Item = &InTree> {
    pod.shape.volumes.iter().filter_map(|volume| match volume {
        Volume::Disk(disk) => Some(disk),
        _ => None,
    })
}

/// Whether the pods cannot be on one node for their in-tree disks.
pub(in crate::scheduler) fn disks_collide(pod: &PodInfo, other: &PodInfo) -> bool {
    disks(pod).any(|one| disks(other).any(|theirs| collide(one, theirs)))
}

impl Volumes {
    /// Before any node is looked at: VolumeRestrictions.
    pub(in crate::scheduler) fn restrictions(&mut self, pod: &PodInfo, storage: &Storage, cache: &Cache) -> Early {
        for (name, _) in pod.claims().filter(|(_, made)| !made) {
            let Some(claim) = storage.claim(&pod.key.namespace, &name) else {
                return not_found(Plugin::VolumeRestrictions, "persistentvolumeclaim", &name);
            };
            if claim.modes.iter().any(|mode| mode == "ReadWriteOncePod") && self.exclusive.insert(name.clone()) {
                self.conflicts += i64::from(cache.users_of(&pod.key.namespace, &name) > 0);
            }
        }
        if self.conflicts == 0 && disks(pod).next().is_none() { Early::Skip } else { Early::Go }
    }

    /// Counts a pod in or out that is put somewhere, or taken away, for the sake of argument.
    pub(in crate::scheduler) fn shift(&mut self, other: &PodInfo, by: i64) {
        if self.exclusive.is_empty() {
            return;
        }
        let uses = other.claims().filter(|(name, made)| !made && self.exclusive.contains(name)).count();
        self.conflicts += by * i64::try_from(uses).unwrap_or(0);
    }

    pub(in crate::scheduler) fn restricted(&self, pod: &PodInfo, node: &NodeInfo) -> Verdict {
        if node.with_volumes > 0 && node.pods.iter().any(|other| disks_collide(pod, other)) {
            return Err(Refusal::curable(Plugin::VolumeRestrictions, DISK));
        }
        if self.conflicts > 0 {
            return Err(Refusal::curable(Plugin::VolumeRestrictions, IN_USE));
        }
        Ok(())
    }

    /// Before any node is looked at: VolumeBinding.
    pub(in crate::scheduler) fn claims(&mut self, pod: &PodInfo, storage: &Storage) -> Early {
        let refuse = |why: String| Early::Refuse(Refusal::final_(Plugin::VolumeBinding, why));
        let mut any = false;
        let mut claims: Vec<Arc<Claim>> = Vec::new();
        for (name, made) in pod.claims() {
            any = true;
            let Some(claim) = storage.claim(&pod.key.namespace, &name) else {
                if made {
                    let why =
                        format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}");
                    return refuse(why);
                }
                return not_found(Plugin::VolumeBinding, "persistentvolumeclaim", &name);
            };
            if claim.lost {
                let volume = &claim.volume;
                return refuse(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
                ));
            }
            if claim.deleting {
                return refuse(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if made && claim.controller.as_deref() != Some(&*pod.uid) {
                let (namespace, key) = (&claim.namespace, &pod.key);
                return refuse(format!("PVC {namespace}/{name} was not created for pod {key} (pod is not owner)"));
            }
            claims.push(claim.clone());
        }
        if !any {
            return Early::Skip;
        }
        let mut immediate = false;
        for claim in claims {
            let class = storage.class(&claim.class).filter(|_| !claim.class.is_empty());
            if claim.is_bound() {
                self.bound.push(claim);
            } else if class.is_some_and(|class| class.waits.is_none()) {
                return Early::Fail(format!("VolumeBindingMode not set for StorageClass {:?}", claim.class));
            } else if claim.volume.is_empty() && class.is_some_and(|class| class.waits == Some(true)) {
                self.waiting.push(claim);
            } else {
                immediate = true;
            }
        }
        if immediate {
            return refuse("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        Early::Go
    }

    /// Whether the bound volumes can be used on the node and the others got there.
    pub(in crate::scheduler) fn binds(&self, storage: &Storage, node: &NodeFacts) -> Verdict {
        let mut refusal = Refusal { plugin: Plugin::VolumeBinding, reasons: Vec::new(), curable: false };
        let mut elsewhere = false;
        let mut lost = false;
        for claim in &self.bound {
            match storage.disk(&claim.volume) {
                None => lost = true,
                Some(disk) => elsewhere = !allows(disk, node),
            }
            if lost || elsewhere {
                break;
            }
        }
        let waiting = self.plan(storage, node);
        refusal.reasons.extend(elsewhere.then_some(ELSEWHERE.into()));
        refusal.reasons.extend(waiting.err().map(Into::into));
        refusal.reasons.extend(lost.then_some(LOST.into()));
        if refusal.reasons.is_empty() { Ok(()) } else { Err(refusal) }
    }

    /// What has to be written to use the node, or why it cannot be used.
    pub(in crate::scheduler) fn plan(&self, storage: &Storage, node: &NodeFacts) -> Result<Plan, &'static str> {
        let mut plan = Plan::default();
        let mut open: Vec<Arc<Claim>> = Vec::new();
        for claim in &self.waiting {
            match &claim.selected {
                Some(selected) if **selected != *node.name => return Err(NO_VOLUME),
                Some(_) => plan.provision.push(claim.clone()),
                None => open.push(claim.clone()),
            }
        }
        if !open.is_empty() {
            let found = storage.search(&open, node);
            plan.bind = found.bind;
            plan.provision.extend(found.provision);
        }
        for claim in &plan.provision {
            match storage.provisions(claim, node) {
                Ok(true) => {}
                Ok(false) => return Err(NO_VOLUME),
                Err(_) => return Err(NO_ROOM),
            }
        }
        Ok(plan)
    }

    /// Before any node is looked at: VolumeZone.
    pub(in crate::scheduler) fn zones(&mut self, pod: &PodInfo, storage: &Storage) -> Early {
        let refuse = |why: &str| Early::Refuse(Refusal::final_(Plugin::VolumeZone, why.to_owned()));
        for (name, _) in pod.claims().filter(|(_, made)| !made) {
            let Some(claim) = storage.claim(&pod.key.namespace, &name) else {
                return not_found(Plugin::VolumeZone, "persistentvolumeclaim", &name);
            };
            if claim.volume.is_empty() {
                if claim.class.is_empty() {
                    return refuse("PersistentVolumeClaim had no pv name and storageClass name");
                }
                match storage.class(&claim.class).map(|class| class.waits) {
                    None => return not_found(Plugin::VolumeZone, "storageclass.storage.k8s.io", &claim.class),
                    Some(None) => {
                        return refuse(&format!("VolumeBindingMode not set for StorageClass {:?}", claim.class));
                    }
                    Some(Some(true)) => continue,
                    Some(Some(false)) => return refuse("PersistentVolume had no name"),
                }
            }
            let Some(disk) = storage.disk(&claim.volume) else {
                return not_found(Plugin::VolumeZone, "persistentvolume", &claim.volume);
            };
            for (label, _) in ZONE_LABELS {
                let Some(value) = disk.labels.get(label) else { continue };
                let values: BTreeSet<String> = value.split("__").map(|zone| zone.trim().to_owned()).collect();
                if values.iter().all(|zone| !zone.is_empty()) {
                    self.zones.push((label, values));
                }
            }
        }
        if self.zones.is_empty() { Early::Skip } else { Early::Go }
    }

    pub(in crate::scheduler) fn in_zone(&self, node: &NodeFacts) -> Verdict {
        if !ZONE_LABELS.iter().any(|(label, _)| node.labels.contains_key(*label)) {
            return Ok(());
        }
        let there = |(label, values): &(&'static str, BTreeSet<String>)| {
            let today = ZONE_LABELS.iter().find(|(old, _)| old == label).map_or(*label, |(_, today)| *today);
            let value = node.labels.get(*label).or_else(|| node.labels.get(today));
            value.is_some_and(|value| values.contains(value))
        };
        if self.zones.iter().all(there) { Ok(()) } else { Err(Refusal::final_(Plugin::VolumeZone, ZONE)) }
    }
}

/// The CSI volumes a pod has attached: unique names by driver. A claim without a volume yet counts as one of its own.
fn attachable(pod: &PodInfo, storage: &Storage, into: &mut BTreeMap<String, String>) {
    for (name, made) in pod.claims() {
        let Some(claim) = storage.claim(&pod.key.namespace, &name) else { continue };
        if made && claim.controller.as_deref() != Some(&*pod.uid) {
            continue;
        }
        match storage.disk(&claim.volume).filter(|_| !claim.volume.is_empty()) {
            Some(disk) => {
                if let Some((driver, handle)) = &disk.csi {
                    into.insert(format!("{driver}/{handle}"), driver.clone());
                }
            }
            None => {
                if let Some(class) = storage.class(&claim.class) {
                    let own = format!("{}/-{}/{name}", class.provisioner, pod.key.namespace);
                    into.insert(own, class.provisioner.clone());
                }
            }
        }
    }
}

/// NodeVolumeLimits: whether the node can have the pod's volumes attached too.
pub(in crate::scheduler) fn limited(pod: &PodInfo, storage: &Storage, node: &NodeInfo) -> Verdict {
    let name = &**node.name();
    if !storage.has_limits(name) {
        return Ok(());
    }
    let mut new = BTreeMap::new();
    attachable(pod, storage, &mut new);
    if new.is_empty() {
        return Ok(());
    }
    let mut there = BTreeMap::new();
    node.pods.iter().for_each(|other| attachable(other, storage, &mut there));
    new.retain(|volume, _| !there.contains_key(volume));
    for attached in storage.attached_to(name) {
        if let Some((_, handle)) = storage.disk(&attached.volume).and_then(|disk| disk.csi.as_ref()) {
            there.insert(format!("{}/{handle}", attached.attacher), attached.attacher.clone());
        }
    }
    let count = |volumes: &BTreeMap<String, String>, driver: &str| {
        i64::try_from(volumes.values().filter(|one| *one == driver).count()).unwrap_or(i64::MAX)
    };
    let drivers: BTreeSet<&String> = new.values().collect();
    for driver in drivers {
        let full = |limit: i64| count(&there, driver) + count(&new, driver) > limit;
        if storage.limit(name, driver).is_some_and(full) {
            return Err(Refusal::curable(Plugin::NodeVolumeLimits, TOO_MANY));
        }
    }
    Ok(())
}
