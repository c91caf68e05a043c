//! What the scheduler keeps of a pod.
//!
//! Invariant: pods made from one template share everything but their names: a [`Shape`] holds what their effect on a
//! node and on other pods depends on, an [`Ask`] what only matters until they have a node. Two pods of one shape are
//! interchangeable for every plugin, so what is found out about a shape holds for all its pods.
//! Why not whole pods: of the 40 KB a pod takes as typed object the plugins read a few hundred bytes.

mod read;

use std::sync::Arc;

use base::Key;
use k8s_openapi::api::core::v1::{NodeSelector, PreferredSchedulingTerm, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use parking_lot::Mutex;

use super::devices::{Extended, Made, Wish};
use super::resources::Resources;
use crate::plan::labels::{self, Labels};

pub(super) use read::{Shapes, constraint};

/// One pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodInfo {
    pub key: Key,
    pub uid: Arc<str>,
    pub(super) shape: Arc<Shape>,
    /// Empty while the pod has none.
    pub(super) node: Arc<str>,
    /// When it was started, in microseconds since 1970; later than anything while it was not.
    pub(super) started: i64,
    pub(super) deleting: bool,
    /// Being deleted to make room for another.
    pub(super) preempted: bool,
    pub(super) generation: Option<i64>,
    /// The node whose pods are being evicted for this one.
    pub(super) nominated: Option<Arc<str>>,
    /// Why it has no node, as its status says now.
    pub(super) told: Option<Arc<Told>>,
    /// The claims that were made for it, by its own name for them; some turn out not to be needed.
    pub(super) made: Option<Made>,
}

/// The PodScheduled condition while it is false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) since: Option<jiff::Timestamp>,
    pub(super) generation: Option<i64>,
}

/// What pods of one kind do to nodes and to each other.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Shape {
    pub(super) namespace: String,
    pub(super) labels: Labels,
    pub(super) priority: i32,
    pub(super) requests: Resources,
    pub(super) usual: (i64, i64),
    pub(super) ports: Vec<HostPort>,
    pub(super) terms: Option<Box<Terms>>,
    pub(super) volumes: Vec<Volume>,
    pub(super) ask: Arc<Ask>,
    pub(super) siblings: Siblings,
}

/// Which pods belong together with those of a shape, as found out at some state of services and owners. It is no part of
/// what makes a shape.
#[derive(Debug, Default)]
pub(super) struct Siblings(Mutex<Option<(u64, Option<Arc<LabelSelector>>)>>);

impl PartialEq for Siblings {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Siblings {
    /// What was found out at `epoch`, or what `find` says now.
    pub(super) fn at(&self, epoch: u64, find: impl FnOnce() -> Option<LabelSelector>) -> Option<Arc<LabelSelector>> {
        let mut known = self.0.lock();
        match &*known {
            Some((then, siblings)) if *then == epoch => siblings.clone(),
            _ => known.insert((epoch, find().map(Arc::new))).1.clone(),
        }
    }
}

/// What a pod without a node wants of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Ask {
    pub(super) scheduler: String,
    pub(super) selector: Option<Labels>,
    pub(super) required: Option<NodeSelector>,
    pub(super) preferred: Vec<PreferredSchedulingTerm>,
    pub(super) tolerations: Vec<Toleration>,
    pub(super) constraints: Vec<Constraint>,
    /// Full names, those of image volumes too.
    pub(super) images: Vec<String>,
    pub(super) containers: usize,
    pub(super) gates: Vec<String>,
    pub(super) never_preempts: bool,
    pub(super) score: Resources,
    pub(super) owner: Option<Owner>,
    /// What the kubelet of its node has to know (KEP-5328).
    pub(super) features: Vec<&'static str>,
    /// The claims of devices it has.
    pub(super) claims: Vec<Wish>,
    /// The extended resources it asks for, if any.
    pub(super) extended: Option<Extended>,
}

/// The controller of a pod, for the spreading that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) kind: String,
    pub(super) api_version: String,
    pub(super) name: String,
}

/// A port of the host that a container wants for itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HostPort {
    pub(super) address: String,
    pub(super) protocol: String,
    pub(super) number: i32,
}

impl HostPort {
    /// The same port, unless both name different addresses.
    pub(super) fn clashes(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        self.number == other.number
            && self.protocol == other.protocol
            && (self.address == other.address || self.address == ANY || other.address == ANY)
    }
}

/// The inter-pod terms of a pod.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Terms {
    pub(super) near: Vec<Term>,
    pub(super) far: Vec<Term>,
    pub(super) prefer_near: Vec<(i64, Term)>,
    pub(super) prefer_far: Vec<(i64, Term)>,
}

impl Terms {
    /// The topology keys of all terms.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let preferred = self.prefer_near.iter().chain(&self.prefer_far).map(|(_, term)| term);
        self.near.iter().chain(&self.far).chain(preferred).map(|term| term.topology_key.as_str())
    }
}

/// Pods that are meant, and the domain in which.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Term {
    namespaces: Vec<String>,
    namespace_selector: Option<LabelSelector>,
    selector: Option<LabelSelector>,
    pub(super) topology_key: String,
}

impl Term {
    /// Whether the term means pods of that shape; `namespace` are the labels of the shape's namespace.
    pub(super) fn means(&self, shape: &Shape, namespace: &Labels) -> bool {
        let here = self.namespaces.contains(&shape.namespace)
            || self.namespace_selector.as_ref().is_some_and(|selector| labels::matches(selector, namespace));
        here && self.selector.as_ref().is_some_and(|selector| labels::matches(selector, &shape.labels))
    }
}

/// A topology spread constraint.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Constraint {
    pub(super) max_skew: i64,
    pub(super) topology_key: String,
    /// Whether a node that breaks it is refused rather than rated lower.
    pub(super) hard: bool,
    /// `None` means no pod.
    pub(super) selector: Option<Arc<LabelSelector>>,
    pub(super) min_domains: i64,
    pub(super) honors_affinity: bool,
    pub(super) honors_taints: bool,
}

impl Constraint {
    /// Whether pods with these labels count.
    pub(super) fn counts(&self, labels: &Labels) -> bool {
        self.selector.as_ref().is_some_and(|selector| labels::matches(selector, labels))
    }
}

/// A volume that a plugin cares about.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Volume {
    Claim(String),
    /// A claim named after the pod and this volume.
    Ephemeral(String),
    /// A disk that several pods of one node cannot share, in-tree.
    Disk(Disk),
    /// An inline volume of that CSI driver.
    Csi(String),
}

/// A disk by what identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Disk {
    Gce { name: String, read_only: bool },
    Aws { id: String },
    Iscsi { iqn: String, read_only: bool },
    Rbd { monitors: Vec<String>, pool: String, image: String, read_only: bool },
}

static NO_TERMS: Terms = Terms { near: Vec::new(), far: Vec::new(), prefer_near: Vec::new(), prefer_far: Vec::new() };

impl Shape {
    /// The inter-pod terms, if any.
    pub(super) fn terms(&self) -> &Terms {
        self.terms.as_deref().unwrap_or(&NO_TERMS)
    }
}

impl PodInfo {
    pub(super) fn ask(&self) -> &Ask {
        &self.shape.ask
    }

    pub(super) fn priority(&self) -> i32 {
        self.shape.priority
    }

    /// The names of the claims the pod uses, and whether they are made for it.
    pub(super) fn claims(&self) -> impl Iterator<Item = (String, bool)> {
        self.shape.volumes.iter().filter_map(|volume| match volume {
            Volume::Claim(name) => Some((name.clone(), false)),
            Volume::Ephemeral(volume) => Some((format!("{}-{volume}", self.key.name), true)),
            Volume::Disk(_) | Volume::Csi(_) => None,
        })
    }

    /// Whether the claim of that name in its namespace is one of the pod's claims of devices.
    pub(super) fn has_device_claim(&self, claim: &str) -> bool {
        let is_it = |name: &Option<String>| name.as_deref() == Some(claim);
        self.ask().claims.iter().any(|wish| match &wish.claim {
            Some(name) => name == claim,
            None => self.made.iter().flat_map(|made| made.iter()).any(|(own, name)| *own == wish.name && is_it(name)),
        })
    }

    /// Whether nothing that is kept differs.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shape, &other.shape)
            && self.uid == other.uid
            && self.node == other.node
            && self.started == other.started
            && self.deleting == other.deleting
            && self.preempted == other.preempted
            && self.generation == other.generation
            && self.made == other.made
    }

    /// The same pod on a node.
    pub(super) fn on(&self, node: &Arc<str>) -> Self {
        Self { node: node.clone(), ..self.clone() }
    }
}
