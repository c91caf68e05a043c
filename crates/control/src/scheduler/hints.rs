//! What happened in the cluster, and whose refusals it may cure (KEP-4247).
//!
//! Invariant: a hint may say yes in vain, but never no to a change that makes the pod fit. A plugin that is not named for
//! a kind of change ([`Change::cures`]) is not asked.

use super::devices::Devices;
use super::facts::Facts;
use super::names::{Plugin, Plugins};
use super::node::NodeFacts;
use super::plugins::affinity::all_mean;
use super::plugins::{allocation, basic, spread, volumes};
use super::pod::{PodInfo, Terms, Volume};
use super::profile::Profile;
use super::resources::Resources;
use crate::plan::node_selector;

/// Something that may let a pod fit which did not before.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    NodeAdded(&'a NodeFacts),
    NodeChanged {
        old: &'a NodeFacts,
        new: &'a NodeFacts,
    },
    NodeGone(&'a NodeFacts),
    /// A pod is on a node now.
    PodPlaced(&'a PodInfo),
    /// A pod on a node changed.
    PodChanged {
        old: &'a PodInfo,
        new: &'a PodInfo,
    },
    /// A pod left its node, or gave up the one it was nominated for.
    PodGone(&'a PodInfo),
    /// The waiting pod itself changed.
    Own {
        old: &'a PodInfo,
        new: &'a PodInfo,
    },
    /// A claim appeared, or changed.
    Claim {
        namespace: &'a str,
        name: &'a str,
        new: bool,
    },
    /// A volume appeared or changed; whether its zone is new.
    Volume {
        moved: bool,
    },
    /// A storage class appeared, or allows other places; whether it is new and waits for the first pod.
    Class {
        waits: bool,
    },
    /// A node may have more volumes attached; whether it told of its drivers for the first time.
    Limits {
        new: bool,
    },
    /// There is more room for new volumes.
    Room,
    /// A driver does not tell of its room any more.
    Driver(&'a str),
    /// A volume is no longer attached to a node.
    Detached,
    /// A claim of devices appeared or changed: by name, with what it was.
    ResourceClaim {
        namespace: &'a str,
        name: &'a str,
        event: ClaimEvent,
    },
    /// Devices are free again, or there are new ones.
    Devices,
    /// A class of devices appeared or changed; the extended resource it stands for, if that is new.
    DeviceClass {
        name: &'a str,
        new: bool,
        resource: Option<&'a str>,
    },
}

/// What happened to a claim of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimEvent {
    Added,
    /// It gave its devices back.
    Freed,
    /// Its status is another.
    Changed,
    /// Something else of it is another.
    Touched,
}

/// What a hint is decided on besides the pod and the change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) profile: &'a Profile,
    pub(super) facts: &'a Facts,
    pub(super) devices: &'a Devices,
}

impl Change<'_> {
    /// The plugins whose refusals this kind of change may cure.
    pub(super) fn cures(&self) -> Plugins {
        use Plugin::{
            DynamicResources, InterPodAffinity, NodeAffinity, NodeDeclaredFeatures, NodeName, NodePorts,
            NodeResourcesFit, NodeUnschedulable, NodeVolumeLimits, PodTopologySpread, SchedulingGates, TaintToleration,
            VolumeBinding, VolumeRestrictions, VolumeZone,
        };
        let plugins: &[Plugin] = match self {
            Self::NodeAdded(_) => &[
                NodeUnschedulable,
                NodeName,
                TaintToleration,
                NodeAffinity,
                NodePorts,
                NodeResourcesFit,
                VolumeRestrictions,
                VolumeBinding,
                VolumeZone,
                PodTopologySpread,
                InterPodAffinity,
                DynamicResources,
                NodeDeclaredFeatures,
            ],
            Self::NodeChanged { .. } => &[
                NodeUnschedulable,
                TaintToleration,
                NodeAffinity,
                NodeResourcesFit,
                VolumeBinding,
                VolumeZone,
                PodTopologySpread,
                InterPodAffinity,
                DynamicResources,
                NodeDeclaredFeatures,
            ],
            Self::NodeGone(_) => &[PodTopologySpread],
            Self::PodPlaced(_) => &[PodTopologySpread, InterPodAffinity],
            Self::PodChanged { .. } => &[NodeResourcesFit, PodTopologySpread, InterPodAffinity],
            Self::PodGone(_) => &[
                NodePorts,
                NodeResourcesFit,
                VolumeRestrictions,
                NodeVolumeLimits,
                PodTopologySpread,
                InterPodAffinity,
            ],
            Self::Claim { new: true, .. } => &[VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone],
            Self::Claim { new: false, .. } | Self::Volume { .. } | Self::Class { .. } => &[VolumeBinding, VolumeZone],
            Self::Limits { .. } => &[NodeVolumeLimits, VolumeBinding],
            Self::Room | Self::Driver(_) => &[VolumeBinding],
            Self::Detached => &[NodeVolumeLimits],
            Self::ResourceClaim { .. } | Self::Devices => &[DynamicResources],
            Self::DeviceClass { .. } => &[DynamicResources, NodeResourcesFit],
            Self::Own { .. } => &[
                SchedulingGates,
                NodeUnschedulable,
                TaintToleration,
                NodeResourcesFit,
                PodTopologySpread,
                InterPodAffinity,
                DynamicResources,
                NodeDeclaredFeatures,
            ],
        };
        plugins.iter().copied().collect()
    }

    /// Whether the change may cure what `plugin` said of the pod.
    pub(super) fn helps(&self, plugin: Plugin, pod: &PodInfo, context: Context<'_>) -> bool {
        match *self {
            Self::NodeAdded(node) => node_helps(plugin, pod, None, node, context),
            Self::NodeChanged { old, new } => node_helps(plugin, pod, Some(old), new, context),
            Self::NodeGone(node) => labelled(pod, node, context),
            Self::PodPlaced(other) => match plugin {
                Plugin::PodTopologySpread => is_counted(pod, other, context),
                _ => all_mean(&terms(pod).near, &other.shape, context.facts),
            },
            Self::PodChanged { old, new } => changed_pod_helps(plugin, pod, old, new, context),
            Self::PodGone(other) => match plugin {
                Plugin::NodePorts => {
                    let clash = |port| other.shape.ports.iter().any(|one| one.clashes(port));
                    pod.shape.ports.iter().any(clash)
                }
                Plugin::VolumeRestrictions => {
                    let shared =
                        |(name, made): (String, bool)| !made && other.claims().any(|one| one == (name.clone(), false));
                    other.key.namespace == pod.key.namespace
                        && (volumes::disks_collide(pod, other) || pod.claims().any(shared))
                }
                Plugin::NodeVolumeLimits => other.claims().next().is_some(),
                Plugin::PodTopologySpread => is_counted(pod, other, context),
                Plugin::InterPodAffinity => {
                    all_mean(&terms(pod).far, &other.shape, context.facts)
                        || terms(other)
                            .far
                            .iter()
                            .any(|term| term.means(&pod.shape, context.facts.namespace(&pod.key.namespace)))
                        || terms(pod)
                            .far
                            .iter()
                            .any(|term| term.means(&other.shape, context.facts.namespace(&other.key.namespace)))
                }
                _ => true,
            },
            Self::Own { old, new } => own_helps(plugin, old, new),
            Self::Claim { namespace, name, .. } => {
                pod.key.namespace == namespace && pod.claims().any(|(one, _)| one == name)
            }
            Self::Volume { moved } => plugin == Plugin::VolumeBinding || moved,
            Self::Class { waits } => plugin == Plugin::VolumeBinding || waits,
            Self::Limits { new } => plugin == Plugin::NodeVolumeLimits || new,
            Self::Room => true,
            Self::Driver(name) => {
                pod.shape.volumes.iter().any(|one| matches!(one, Volume::Csi(driver) if driver == name))
            }
            Self::Detached => pod.claims().next().is_some(),
            Self::ResourceClaim { namespace, name, event } => claim_helps(pod, namespace, name, event, context),
            Self::Devices => true,
            Self::DeviceClass { name, new, resource } => {
                let asks = |resource: &str| pod.shape.requests.of(resource) > 0;
                plugin == Plugin::DynamicResources
                    || new && asks(&Devices::resource_of(name))
                    || resource.is_some_and(asks)
            }
        }
    }
}

/// Whether a claim's change concerns the pod (upstream `isSchedulableAfterClaimChange`).
fn claim_helps(pod: &PodInfo, namespace: &str, name: &str, event: ClaimEvent, context: Context<'_>) -> bool {
    let concerns = match event {
        ClaimEvent::Freed => true,
        ClaimEvent::Added | ClaimEvent::Changed => pod.key.namespace == namespace && pod.has_device_claim(name),
        ClaimEvent::Touched => false,
    };
    concerns && context.devices.of_pod(pod).is_ok()
}

fn terms(pod: &PodInfo) -> &Terms {
    pod.shape.terms()
}

fn node_helps(plugin: Plugin, pod: &PodInfo, old: Option<&NodeFacts>, new: &NodeFacts, context: Context<'_>) -> bool {
    let ask = pod.ask();
    let profile = context.profile;
    match plugin {
        Plugin::NodeUnschedulable => !new.unschedulable && old.is_none_or(|old| old.unschedulable),
        Plugin::TaintToleration => basic::tolerates(ask, new) && !old.is_some_and(|old| basic::tolerates(ask, old)),
        Plugin::NodeAffinity => {
            let fits = |node: &NodeFacts| {
                let added = profile.added.required.as_ref();
                added.is_none_or(|added| node_selector::any_term_matches(added, &node.name, &node.labels))
                    && basic::selects(ask, node)
            };
            fits(new) && !old.is_some_and(fits)
        }
        Plugin::NodeResourcesFit => {
            let by_devices = |name: &String| allocation::is_by_devices(name, context.devices, &new.allocatable);
            allocation::fits_alone(pod, &profile.fit, context.devices, &new.allocatable)
                && old.is_none_or(|old| {
                    has_more(&pod.shape.requests, &old.allocatable, &new.allocatable)
                        || pod.shape.requests.scalars.keys().any(by_devices)
                })
        }
        Plugin::PodTopologySpread => {
            let (now, before) = (labelled(pod, new, context), old.is_some_and(|old| labelled(pod, old, context)));
            match old {
                None => now,
                Some(old) => now != before || now && (old.taints != new.taints || old.labels != new.labels),
            }
        }
        Plugin::InterPodAffinity => {
            let Some(old) = old else {
                let terms = terms(pod);
                return !terms.far.is_empty()
                    || terms.near.iter().any(|term| new.labels.contains_key(&term.topology_key));
            };
            let moved = |key: &String| old.labels.get(key) != new.labels.get(key);
            let terms = terms(pod);
            old.labels != new.labels && (terms.far.is_empty() && terms.near.is_empty())
                || terms
                    .near
                    .iter()
                    .any(|term| new.labels.contains_key(&term.topology_key) && moved(&term.topology_key))
                || terms.far.iter().any(|term| old.labels.contains_key(&term.topology_key) && moved(&term.topology_key))
        }
        Plugin::NodeDeclaredFeatures => old.is_none_or(|old| old.features != new.features),
        Plugin::DynamicResources => {
            old.is_none_or(|old| old.labels != new.labels || old.allocatable != new.allocatable)
        }
        Plugin::VolumeBinding | Plugin::VolumeZone => old.is_none_or(|old| old.labels != new.labels),
        _ => true,
    }
}

/// Whether the node got more of anything the pod asks for.
fn has_more(asked: &Resources, old: &Resources, new: &Resources) -> bool {
    let names = ["cpu", "memory", "ephemeral-storage"].into_iter().chain(asked.scalars.keys().map(String::as_str));
    new.pods > old.pods || names.filter(|name| asked.of(name) > 0).any(|name| new.of(name) > old.of(name))
}

/// Whether the node has the labels of all hard constraints of the pod.
fn labelled(pod: &PodInfo, node: &NodeFacts, context: Context<'_>) -> bool {
    let constraints = spread::constraints(&pod.shape, &context.profile.spreading, context.facts, true);
    constraints.iter().all(|one| node.labels.contains_key(&one.topology_key))
}

/// Whether the other pod counts for a hard constraint of this one.
fn is_counted(pod: &PodInfo, other: &PodInfo, context: Context<'_>) -> bool {
    other.key.namespace == pod.key.namespace
        && spread::constraints(&pod.shape, &context.profile.spreading, context.facts, true)
            .iter()
            .any(|one| one.counts(&other.shape.labels))
}

fn changed_pod_helps(plugin: Plugin, pod: &PodInfo, old: &PodInfo, new: &PodInfo, context: Context<'_>) -> bool {
    match plugin {
        Plugin::NodeResourcesFit => has_more(&pod.shape.requests, &new.shape.requests, &old.shape.requests),
        Plugin::PodTopologySpread => {
            let constraints = spread::constraints(&pod.shape, &context.profile.spreading, context.facts, true);
            new.key.namespace == pod.key.namespace
                && (old.deleting != new.deleting
                    || constraints.iter().any(|one| one.counts(&old.shape.labels) != one.counts(&new.shape.labels)))
        }
        _ => {
            let (near, far, facts) = (&terms(pod).near, &terms(pod).far, context.facts);
            !all_mean(near, &old.shape, facts) && all_mean(near, &new.shape, facts)
                || all_mean(far, &old.shape, facts) && !all_mean(far, &new.shape, facts)
        }
    }
}

fn own_helps(plugin: Plugin, old: &PodInfo, new: &PodInfo) -> bool {
    let (before, after) = (old.ask(), new.ask());
    let tolerates_more = before.tolerations != after.tolerations;
    let labels = old.shape.labels != new.shape.labels;
    match plugin {
        Plugin::SchedulingGates => !before.gates.is_empty() && after.gates.is_empty(),
        Plugin::NodeUnschedulable => tolerates_more && basic::tolerates_cordon(after),
        Plugin::TaintToleration => tolerates_more,
        Plugin::NodeResourcesFit => has_more(&old.shape.requests, &new.shape.requests, &old.shape.requests),
        Plugin::PodTopologySpread => labels || tolerates_more,
        Plugin::InterPodAffinity => labels,
        Plugin::DynamicResources => old.made != new.made,
        _ => old.shape != new.shape,
    }
}
