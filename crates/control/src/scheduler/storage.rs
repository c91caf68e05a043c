//! Claims, volumes and what provisions them, as decisions see them.
//!
//! Invariant: what a decision assumed (a volume for a claim, a node for a claim) is seen by the next decisions, until the
//! API shows the object at a newer version or the decision is taken back.

mod matching;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{NodeSelector, TopologySelectorTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::plan::labels::Labels;

pub use matching::Plan;
pub(super) use matching::allows;

/// Namespace and name.
pub(super) type ClaimKey = (String, String);

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Claim {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) version: String,
    pub(super) class: String,
    /// Empty while it has none.
    pub(super) volume: String,
    /// The controller has finished binding it.
    pub(super) bound: bool,
    /// The node it is to be provisioned for.
    pub(super) selected: Option<Arc<str>>,
    pub(super) lost: bool,
    pub(super) deleting: bool,
    pub(super) modes: Vec<String>,
    pub(super) size: i64,
    pub(super) selector: Option<LabelSelector>,
    /// `Block`, rather than a file system.
    pub(super) block: bool,
    pub(super) attributes: String,
    /// The uid of its controller: of an ephemeral volume the pod.
    pub(super) controller: Option<String>,
}

impl Claim {
    pub(super) fn key(&self) -> ClaimKey {
        (self.namespace.clone(), self.name.clone())
    }

    pub(super) fn is_bound(&self) -> bool {
        !self.volume.is_empty() && self.bound
    }
}

/// Whose a volume is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) namespace: String,
    pub(super) name: String,
    /// Empty when an administrator reserved it by name.
    pub(super) uid: String,
}

/// A PersistentVolume.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Disk {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) class: String,
    pub(super) holder: Option<Holder>,
    pub(super) size: i64,
    pub(super) modes: Vec<String>,
    pub(super) block: bool,
    pub(super) attributes: String,
    pub(super) deleting: bool,
    pub(super) available: bool,
    pub(super) labels: Labels,
    pub(super) required: Option<NodeSelector>,
    /// Driver and handle.
    pub(super) csi: Option<(String, String)>,
}

/// A StorageClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Class {
    pub(super) provisioner: String,
    /// Whether it waits for the first pod; not known while the mode is not set.
    pub(super) waits: Option<bool>,
    pub(super) topologies: Vec<TopologySelectorTerm>,
}

/// A CSIStorageCapacity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Room {
    pub(super) class: String,
    /// The largest volume, or else the free room, in bytes.
    pub(super) limit: Option<i64>,
    pub(super) topology: Option<LabelSelector>,
}

/// A VolumeAttachment.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attached {
    pub(super) node: String,
    pub(super) attacher: String,
    pub(super) volume: String,
}

/// An object, and what it was before it was assumed to be otherwise.
#[derive(Debug)]
struct Kept<T> {
    now: Arc<T>,
    shown: Option<Arc<T>>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Storage {
    claims: HashMap<ClaimKey, Kept<Claim>>,
    disks: BTreeMap<String, Kept<Disk>>,
    classes: HashMap<String, Class>,
    /// By node: the most volumes of each driver.
    limits: HashMap<String, BTreeMap<String, Option<i64>>>,
    /// By driver: whether it tells of its capacity.
    drivers: HashMap<String, bool>,
    rooms: BTreeMap<ClaimKey, Room>,
    attached: HashMap<String, Attached>,
}

impl Storage {
    pub(super) fn put_claim(&mut self, claim: Claim) -> Option<Arc<Claim>> {
        let key = claim.key();
        let known = self.claims.get_mut(&key);
        let claim = Arc::new(claim);
        match known {
            Some(known) if known.shown.as_ref().is_some_and(|shown| shown.version == claim.version) => {
                known.shown.replace(claim)
            }
            Some(known) => {
                let old = known.shown.take();
                let now = std::mem::replace(&mut known.now, claim);
                Some(old.unwrap_or(now))
            }
            None => self.claims.insert(key, Kept { now: claim, shown: None }).map(|kept| kept.now),
        }
    }

    pub(super) fn remove_claim(&mut self, namespace: &str, name: &str) {
        self.claims.remove(&(namespace.to_owned(), name.to_owned()));
    }

    pub(super) fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<Claim>> {
        self.claims.get(&(namespace.to_owned(), name.to_owned())).map(|kept| &kept.now)
    }

    /// The claim as the API showed it last.
    pub(super) fn shown_claim(&self, key: &ClaimKey) -> Option<&Arc<Claim>> {
        self.claims.get(key).map(|kept| kept.shown.as_ref().unwrap_or(&kept.now))
    }

    pub(super) fn put_disk(&mut self, disk: Disk) -> Option<Arc<Disk>> {
        let disk = Arc::new(disk);
        match self.disks.get_mut(&disk.name) {
            Some(known) if known.shown.as_ref().is_some_and(|shown| shown.version == disk.version) => {
                known.shown.replace(disk)
            }
            Some(known) => {
                let old = known.shown.take();
                let now = std::mem::replace(&mut known.now, disk);
                Some(old.unwrap_or(now))
            }
            None => {
                self.disks.insert(disk.name.clone(), Kept { now: disk, shown: None });
                None
            }
        }
    }

    pub(super) fn remove_disk(&mut self, name: &str) {
        self.disks.remove(name);
    }

    pub(super) fn disk(&self, name: &str) -> Option<&Arc<Disk>> {
        self.disks.get(name).map(|kept| &kept.now)
    }

    /// All volumes, by name.
    fn disks(&self) -> impl Iterator<Item = &Arc<Disk>> {
        self.disks.values().map(|kept| &kept.now)
    }

    pub(super) fn put_class(&mut self, name: &str, class: Option<Class>) -> Option<Class> {
        match class {
            Some(class) => self.classes.insert(name.to_owned(), class),
            None => self.classes.remove(name),
        }
    }

    pub(super) fn class(&self, name: &str) -> Option<&Class> {
        self.classes.get(name)
    }

    pub(super) fn put_limits(
        &mut self,
        node: &str,
        limits: Option<BTreeMap<String, Option<i64>>>,
    ) -> Option<BTreeMap<String, Option<i64>>> {
        match limits {
            Some(limits) => self.limits.insert(node.to_owned(), limits),
            None => self.limits.remove(node),
        }
    }

    /// The most volumes of the driver on the node, if there is a limit.
    pub(super) fn limit(&self, node: &str, driver: &str) -> Option<i64> {
        self.limits.get(node)?.get(driver).copied().flatten()
    }

    pub(super) fn has_limits(&self, node: &str) -> bool {
        self.limits.get(node).is_some_and(|limits| limits.values().any(Option::is_some))
    }

    pub(super) fn put_driver(&mut self, name: &str, tells: Option<bool>) -> Option<bool> {
        match tells {
            Some(tells) => self.drivers.insert(name.to_owned(), tells),
            None => self.drivers.remove(name),
        }
    }

    pub(super) fn put_room(&mut self, key: ClaimKey, room: Option<Room>) -> Option<Room> {
        match room {
            Some(room) => self.rooms.insert(key, room),
            None => self.rooms.remove(&key),
        }
    }

    pub(super) fn put_attached(&mut self, name: &str, attached: Option<Attached>) {
        match attached {
            Some(attached) => drop(self.attached.insert(name.to_owned(), attached)),
            None => drop(self.attached.remove(name)),
        }
    }

    /// What is attached to the node.
    pub(super) fn attached_to(&self, node: &str) -> impl Iterator<Item = &Attached> {
        self.attached.values().filter(move |one| one.node == node)
    }

    /// From now on the plan's volumes belong to its claims, and its other claims are for `node`.
    pub(super) fn assume(&mut self, plan: &Plan, node: &Arc<str>) {
        for (disk, claim) in &plan.bind {
            if let Some(kept) = self.disks.get_mut(&disk.name) {
                let holder =
                    Holder { namespace: claim.namespace.clone(), name: claim.name.clone(), uid: claim.uid.clone() };
                let assumed = Arc::new(Disk { holder: Some(holder), ..(*kept.now).clone() });
                let before = std::mem::replace(&mut kept.now, assumed);
                kept.shown.get_or_insert(before);
            }
        }
        for claim in &plan.provision {
            if let Some(kept) = self.claims.get_mut(&claim.key()) {
                let assumed = Arc::new(Claim { selected: Some(node.clone()), ..(*kept.now).clone() });
                let before = std::mem::replace(&mut kept.now, assumed);
                kept.shown.get_or_insert(before);
            }
        }
    }

    /// The plan is not carried out.
    pub(super) fn revert(&mut self, plan: &Plan) {
        for (disk, _) in &plan.bind {
            if let Some(kept) = self.disks.get_mut(&disk.name)
                && let Some(shown) = kept.shown.take()
            {
                kept.now = shown;
            }
        }
        for claim in &plan.provision {
            if let Some(kept) = self.claims.get_mut(&claim.key())
                && let Some(shown) = kept.shown.take()
            {
                kept.now = shown;
            }
        }
    }
}
