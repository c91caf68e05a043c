//! Who owns whom, by uid, from metadata alone.
//!
//! Invariant: `dependents` is exactly the reverse of `owners` over the nodes that are there.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{FOREGROUND, ORPHAN};

/// An API resource, enough to build a URL.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    pub group: String,
    pub version: String,
    pub kind: String,
    pub plural: String,
    pub namespaced: bool,
}

/// Where an object lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub kind: Arc<Kind>,
    pub namespace: String,
    pub name: String,
    pub uid: Arc<str>,
}

/// An owner reference, as the object carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: Arc<str>,
    pub blocks: bool,
}

/// What the graph needs to know about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub identity: Identity,
    pub owners: Vec<Owner>,
    pub deleting: bool,
    pub foreground: bool,
    pub orphan: bool,
}

impl Object {
    /// Reads it from metadata; an object without uid is none.
    pub fn of(kind: &Arc<Kind>, metadata: &ObjectMeta) -> Option<Self> {
        let finalizer = |name: &str| metadata.finalizers.iter().flatten().any(|one| one == name);
        let deleting = metadata.deletion_timestamp.is_some();
        Some(Self {
            identity: Identity {
                kind: kind.clone(),
                namespace: metadata.namespace.clone().unwrap_or_default(),
                name: metadata.name.clone()?,
                uid: metadata.uid.as_deref()?.into(),
            },
            owners: metadata.owner_references.iter().flatten().map(Owner::of).collect(),
            deleting,
            foreground: deleting && finalizer(FOREGROUND),
            orphan: deleting && finalizer(ORPHAN),
        })
    }

    fn matters(&self) -> bool {
        !self.owners.is_empty() || self.foreground || self.orphan
    }
}

impl Owner {
    pub(super) fn of(reference: &OwnerReference) -> Self {
        Self {
            api_version: reference.api_version.clone(),
            kind: reference.kind.clone(),
            name: reference.name.clone(),
            uid: reference.uid.as_str().into(),
            blocks: reference.block_owner_deletion == Some(true),
        }
    }
}

/// Whom to look at next.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Wake {
    /// Judge whether this object may live.
    Judge(Arc<str>),
    /// Take this owner's references off its dependents.
    Orphan(Arc<str>),
}

#[derive(Debug, Default)]
struct Node {
    /// Absent while only references to the object were seen.
    object: Option<Object>,
    dependents: BTreeSet<Arc<str>>,
}

/// The graph.
#[derive(Debug, Default)]
pub struct Graph {
    nodes: HashMap<Arc<str>, Node>,
    /// Owners that went away lately: an answer read before that must not revive them.
    gone: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

/// So many are remembered as gone.
const REMEMBERED: usize = 4096;

impl Graph {
    /// The object appeared or changed.
    pub fn put(&mut self, object: Object) -> Vec<Wake> {
        let uid = object.identity.uid.clone();
        let before = self.nodes.get(&uid).and_then(|node| node.object.clone());
        if before.is_none() && !object.matters() && !self.nodes.contains_key(&uid) {
            return Vec::new();
        }
        let mut wakes = Vec::new();
        let old_owners = before.as_ref().map_or(&[][..], |before| &before.owners[..]);
        for owner in old_owners.iter().filter(|old| !object.owners.iter().any(|new| new.uid == old.uid)) {
            self.unlink(&owner.uid, &uid);
            wakes.extend(self.wake_foreground(&owner.uid));
        }
        for owner in &object.owners {
            self.nodes.entry(owner.uid.clone()).or_default().dependents.insert(uid.clone());
            let released = old_owners.iter().any(|old| old.uid == owner.uid && old.blocks && !owner.blocks);
            if released {
                wakes.extend(self.wake_foreground(&owner.uid));
            }
        }
        if object.orphan {
            wakes.push(Wake::Orphan(uid.clone()));
        } else if object.foreground {
            // Its dependents learn that their owner waits for them.
            let node = self.nodes.entry(uid.clone()).or_default();
            wakes.extend(node.dependents.iter().cloned().map(Wake::Judge));
            wakes.push(Wake::Judge(uid.clone()));
        } else if before.as_ref().is_none_or(|before| before.owners != object.owners) && !object.owners.is_empty() {
            wakes.push(Wake::Judge(uid.clone()));
        }
        let drop_it = !object.matters() && self.nodes.get(&uid).is_none_or(|node| node.dependents.is_empty());
        if drop_it {
            self.nodes.remove(&uid);
        } else {
            self.nodes.entry(uid).or_default().object = Some(object);
        }
        wakes
    }

    /// A live look-up found this owner. It is taken in unless the watch knows better already.
    pub fn vouch(&mut self, object: Object) -> Vec<Wake> {
        let uid = &object.identity.uid;
        if self.gone.contains(uid) || self.get(uid).is_some() { Vec::new() } else { self.put(object) }
    }

    /// The object is gone; its dependents are judged, and so is an owner that waited for it.
    pub fn remove(&mut self, uid: &str) -> Vec<Wake> {
        let Some(node) = self.nodes.remove(uid) else { return Vec::new() };
        if self.gone.insert(uid.into()) {
            self.order.push_back(uid.into());
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.gone.remove(&oldest);
        }
        let mut wakes: Vec<Wake> = node.dependents.iter().cloned().map(Wake::Judge).collect();
        for owner in node.object.iter().flat_map(|object| &object.owners) {
            self.unlink(&owner.uid, uid);
            wakes.extend(self.wake_foreground(&owner.uid));
        }
        // Dependents still name it: keep the edge until they are judged and gone.
        if !node.dependents.is_empty() {
            self.nodes.insert(uid.into(), Node { object: None, dependents: node.dependents });
        }
        wakes
    }

    /// The objects of a kind that are known but not in `listed` are gone.
    pub fn retain(&mut self, kind: &Kind, listed: impl Fn(&str) -> bool) -> Vec<Wake> {
        let missing: Vec<Arc<str>> = self
            .nodes
            .iter()
            .filter(|(uid, node)| {
                node.object.as_ref().is_some_and(|object| *object.identity.kind == *kind) && !listed(uid)
            })
            .map(|(uid, _)| uid.clone())
            .collect();
        missing.iter().flat_map(|uid| self.remove(uid)).collect()
    }

    /// The object with that uid, if it was seen.
    pub fn get(&self, uid: &str) -> Option<&Object> {
        self.nodes.get(uid)?.object.as_ref()
    }

    /// The objects that name `uid` as an owner.
    pub fn dependents(&self, uid: &str) -> Vec<&Object> {
        let node = self.nodes.get(uid);
        node.into_iter().flat_map(|node| &node.dependents).filter_map(|uid| self.get(uid)).collect()
    }

    /// The dependents that hold back the foreground deletion of `uid`. Who is its own owner does not wait for itself; of
    /// upstream it would, for ever.
    pub fn blocking(&self, uid: &str) -> Vec<&Object> {
        let blocks = |object: &&Object| {
            &*object.identity.uid != uid && object.owners.iter().any(|owner| &*owner.uid == uid && owner.blocks)
        };
        self.dependents(uid).into_iter().filter(blocks).collect()
    }

    /// How many objects are kept, for metrics and tests.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn wake_foreground(&self, uid: &str) -> Option<Wake> {
        self.get(uid).filter(|object| object.foreground).map(|object| Wake::Judge(object.identity.uid.clone()))
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        let Some(node) = self.nodes.get_mut(owner) else { return };
        node.dependents.remove(dependent);
        if node.dependents.is_empty() && node.object.as_ref().is_none_or(|object| !object.matters()) {
            self.nodes.remove(owner);
        }
    }
}
