//! The scheduler's plugins as one table.
//!
//! Invariant: a filter looks at one node only and says why not in upstream's words; a score is 0 to 100 after its
//! normalisation, times its weight. Order of filters is the order in which a node is refused.

use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use kube::ResourceExt;

use super::resources::Resources;
use super::snapshot::{HostPort, NodeInfo, Snapshot};
use crate::plan::{node_selector, taints};

/// What a plugin sees of the pod, computed once per decision.
pub(super) struct Ask<'a> {
    pub(super) pod: &'a Pod,
    pub(super) requests: Resources,
    pub(super) usual: (i64, i64),
    pub(super) ports: std::collections::BTreeSet<HostPort>,
    pub(super) snapshot: &'a Snapshot,
    pub(super) total_nodes: usize,
}

/// Why a node is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reasons: Vec<String>,
    /// Whether removing pods from the node could help.
    pub(super) curable: bool,
}

/// A change in the cluster that may make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    NodeAdded,
    NodeLabels,
    NodeTaints,
    NodeRoom,
    PodGone,
}

type Filter = fn(&Ask<'_>, &NodeInfo, &Node) -> Result<(), Refusal>;

/// How a plugin rates nodes.
pub(super) struct Score {
    pub(super) rate: fn(&Ask<'_>, &NodeInfo, &Node) -> i64,
    pub(super) normal: Normal,
    pub(super) weight: i64,
}

/// How raw ratings become 0 to 100.
#[derive(Clone, Copy, Debug)]
pub(super) enum Normal {
    AsIs,
    /// Relative to the best.
    Scaled,
    /// Relative to the worst, fewer is better.
    Reversed,
}

/// One row of the table.
pub(super) struct Plugin {
    pub(super) name: &'static str,
    pub(super) filter: Option<Filter>,
    pub(super) score: Option<Score>,
    /// What may cure its refusals.
    pub(super) wakes: &'static [Wake],
}

pub(super) static TABLE: &[Plugin] = &[
    Plugin {
        name: "NodeUnschedulable",
        filter: Some(schedulable),
        score: None,
        wakes: &[Wake::NodeAdded, Wake::NodeTaints],
    },
    Plugin { name: "NodeName", filter: Some(node_name), score: None, wakes: &[Wake::NodeAdded] },
    Plugin {
        name: "TaintToleration",
        filter: Some(tolerated),
        score: Some(Score { rate: untolerated_preferences, normal: Normal::Reversed, weight: 3 }),
        wakes: &[Wake::NodeAdded, Wake::NodeTaints],
    },
    Plugin {
        name: "NodeAffinity",
        filter: Some(affine),
        score: Some(Score { rate: preference, normal: Normal::Scaled, weight: 2 }),
        wakes: &[Wake::NodeAdded, Wake::NodeLabels],
    },
    Plugin { name: "NodePorts", filter: Some(ports_free), score: None, wakes: &[Wake::NodeAdded, Wake::PodGone] },
    Plugin {
        name: "NodeResourcesFit",
        filter: Some(fits),
        score: Some(Score { rate: least_allocated, normal: Normal::AsIs, weight: 1 }),
        wakes: &[Wake::NodeAdded, Wake::NodeRoom, Wake::PodGone],
    },
    Plugin {
        name: "NodeResourcesBalancedAllocation",
        filter: None,
        score: Some(Score { rate: balanced, normal: Normal::AsIs, weight: 1 }),
        wakes: &[],
    },
    Plugin {
        name: "ImageLocality",
        filter: None,
        score: Some(Score { rate: image_locality, normal: Normal::AsIs, weight: 1 }),
        wakes: &[],
    },
];

fn refuse(reason: &str, curable: bool) -> Result<(), Refusal> {
    Err(Refusal { reasons: vec![reason.to_owned()], curable })
}

fn schedulable(ask: &Ask<'_>, _: &NodeInfo, node: &Node) -> Result<(), Refusal> {
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let taint =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    if cordoned && !taints::tolerates(ask.pod, &taint) {
        return refuse("node(s) were unschedulable", false);
    }
    Ok(())
}

fn node_name(ask: &Ask<'_>, _: &NodeInfo, node: &Node) -> Result<(), Refusal> {
    let wanted = crate::plan::pod::node_name(ask.pod);
    if !wanted.is_empty() && wanted != node.name_any() {
        return refuse("node(s) didn't match the requested node name", false);
    }
    Ok(())
}

fn tolerated(ask: &Ask<'_>, _: &NodeInfo, node: &Node) -> Result<(), Refusal> {
    let hard = |taint: &&Taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute";
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter(hard);
    if taints.any(|taint| !taints::tolerates(ask.pod, taint)) {
        return refuse("node(s) had untolerated taint(s)", false);
    }
    Ok(())
}

fn untolerated_preferences(ask: &Ask<'_>, _: &NodeInfo, node: &Node) -> i64 {
    let soft = |taint: &&Taint| taint.effect == "PreferNoSchedule" && !taints::tolerates(ask.pod, taint);
    let count = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).filter(soft).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn affine(ask: &Ask<'_>, _: &NodeInfo, node: &Node) -> Result<(), Refusal> {
    if ask.pod.spec.as_ref().is_none_or(|spec| node_selector::allows(spec, node)) {
        return Ok(());
    }
    refuse("node(s) didn't match Pod's node affinity/selector", false)
}

fn preference(ask: &Ask<'_>, _: &NodeInfo, node: &Node) -> i64 {
    let affinity = ask.pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref()?.node_affinity.as_ref());
    let terms = affinity.and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution.as_ref());
    let matching = terms.into_iter().flatten().filter(|term| node_selector::term_matches(&term.preference, node));
    matching.map(|term| i64::from(term.weight)).sum()
}

fn ports_free(ask: &Ask<'_>, info: &NodeInfo, _: &Node) -> Result<(), Refusal> {
    let taken = |port: &HostPort| info.pods.values().flat_map(|load| &load.ports).any(|other| port.clashes(other));
    if ask.ports.iter().any(taken) {
        return refuse("node(s) didn't have free ports for the requested pod ports", true);
    }
    Ok(())
}

fn fits(ask: &Ask<'_>, info: &NodeInfo, _: &Node) -> Result<(), Refusal> {
    let (asked, has, used) = (&ask.requests, &info.allocatable, &info.requested);
    let mut reasons = Vec::new();
    let mut curable = true;
    let mut check = |reason: &str, asked: i64, has: i64, used: i64| {
        if asked > 0 && asked > has.saturating_sub(used) {
            reasons.push(reason.to_owned());
            curable &= asked <= has;
        }
    };
    check("Too many pods", asked.pods, has.pods, used.pods);
    check("Insufficient cpu", asked.milli_cpu, has.milli_cpu, used.milli_cpu);
    check("Insufficient memory", asked.memory, has.memory, used.memory);
    check("Insufficient ephemeral-storage", asked.ephemeral_storage, has.ephemeral_storage, used.ephemeral_storage);
    for (name, amount) in &asked.extended {
        let of = |from: &Resources| from.extended.get(name).copied().unwrap_or(0);
        check(&format!("Insufficient {name}"), *amount, of(has), of(used));
    }
    if reasons.is_empty() { Ok(()) } else { Err(Refusal { reasons, curable }) }
}

fn least_allocated(ask: &Ask<'_>, info: &NodeInfo, _: &Node) -> i64 {
    let free = |has: i64, used: i64| if has > 0 && used <= has { (has - used) * 100 / has } else { 0 };
    let cpu = free(info.allocatable.milli_cpu, info.usual.0.saturating_add(ask.usual.0));
    // Memory in MiB, so that the product stays far from overflow.
    let memory = free(info.allocatable.memory >> 20, info.usual.1.saturating_add(ask.usual.1) >> 20);
    i64::midpoint(cpu, memory)
}

#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a score needs two digits")]
fn balanced(ask: &Ask<'_>, info: &NodeInfo, _: &Node) -> i64 {
    let share = |has: i64, used: i64| if has > 0 { (used as f64 / has as f64).min(1.0) } else { 1.0 };
    let cpu = share(info.allocatable.milli_cpu, info.requested.milli_cpu.saturating_add(ask.requests.milli_cpu));
    let memory = share(info.allocatable.memory, info.requested.memory.saturating_add(ask.requests.memory));
    ((1.0 - (cpu - memory).abs() / 2.0) * 100.0) as i64
}

fn image_locality(ask: &Ask<'_>, info: &NodeInfo, _: &Node) -> i64 {
    const SMALL: i64 = 23 * 1024 * 1024;
    const LARGE: i64 = 1000 * 1024 * 1024;
    let Some(spec) = &ask.pod.spec else { return 0 };
    let containers: Vec<_> = spec.containers.iter().chain(spec.init_containers.iter().flatten()).collect();
    let total = i64::try_from(ask.total_nodes.max(1)).unwrap_or(i64::MAX);
    let present = containers.iter().filter_map(|container| {
        let name = full_name(container.image.as_deref()?);
        let size = info.images.get(&name)?;
        let spread = i64::try_from(ask.snapshot.nodes_with_image(&name)).unwrap_or(0);
        Some((size >> 10) * spread / total)
    });
    let sum = present.sum::<i64>() << 10;
    let most = LARGE * i64::try_from(containers.len().max(1)).unwrap_or(1);
    100 * (sum.clamp(SMALL, most) - SMALL) / (most - SMALL)
}

/// Image names on nodes always have a tag.
fn full_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || last.contains('@') { image.to_owned() } else { format!("{image}:latest") }
}
