//! The plugins that look at one node's own facts: cordons, names, taints, labels, ports and declared features.

use k8s_openapi::api::core::v1::{NodeSelector, PreferredSchedulingTerm, Taint, Toleration};

use super::{Refusal, Verdict};
use crate::plan::{node_selector, taints};
use crate::scheduler::names::Plugin;
use crate::scheduler::node::{NodeFacts, NodeInfo};
use crate::scheduler::pod::{Ask, PodInfo};

const CORDONED: &str = "node(s) were unschedulable";
const OTHER_NAME: &str = "node(s) didn't match the requested node name";
const TAINTED: &str = "node(s) had untolerated taint(s)";
const ENFORCED: &str = "node(s) didn't match scheduler-enforced node affinity";
const SELECTOR: &str = "node(s) didn't match Pod's node affinity/selector";
const FEATURES: &str = "node(s) didn't match Pod's required features";
const PORTS: &str = "node(s) didn't have free ports for the requested pod ports";

/// Whether the pod may run on nodes that take no new pods.
pub(in crate::scheduler) fn tolerates_cordon(ask: &Ask) -> bool {
    let taint =
        Taint { key: "node.kubernetes.io/unschedulable".into(), effect: "NoSchedule".into(), ..Taint::default() };
    taints::any_covers(&ask.tolerations, &taint)
}

pub(in crate::scheduler) fn unschedulable(ask: &Ask, node: &NodeFacts) -> Verdict {
    if node.unschedulable && !tolerates_cordon(ask) {
        return Err(Refusal::final_(Plugin::NodeUnschedulable, CORDONED));
    }
    Ok(())
}

pub(in crate::scheduler) fn node_name(pod: &PodInfo, node: &NodeFacts) -> Verdict {
    if !pod.node.is_empty() && pod.node != node.name {
        return Err(Refusal::final_(Plugin::NodeName, OTHER_NAME));
    }
    Ok(())
}

/// Whether all taints that keep pods away are tolerated.
pub(in crate::scheduler) fn tolerates(ask: &Ask, node: &NodeFacts) -> bool {
    node.hard_taints().all(|taint| taints::any_covers(&ask.tolerations, taint))
}

pub(in crate::scheduler) fn tainted(ask: &Ask, node: &NodeFacts) -> Verdict {
    if !tolerates(ask, node) {
        return Err(Refusal::final_(Plugin::TaintToleration, TAINTED));
    }
    Ok(())
}

/// How many taints that are only preferences the pod does not tolerate.
pub(in crate::scheduler) fn dislikes(ask: &Ask, node: &NodeFacts) -> i64 {
    let about =
        |one: &&Toleration| one.effect.as_deref().is_none_or(|effect| matches!(effect, "" | "PreferNoSchedule"));
    let soft = node.taints.iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let count = soft.filter(|taint| !taints::any_covers(ask.tolerations.iter().filter(about), taint)).count();
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Whether the pod's node selector and required node affinity allow the node.
pub(in crate::scheduler) fn selects(ask: &Ask, node: &NodeFacts) -> bool {
    node_selector::matches(ask.selector.as_ref(), ask.required.as_ref(), &node.name, &node.labels)
}

pub(in crate::scheduler) fn node_affinity(ask: &Ask, added: Option<&NodeSelector>, node: &NodeFacts) -> Verdict {
    if added.is_some_and(|added| !node_selector::any_term_matches(added, &node.name, &node.labels)) {
        return Err(Refusal::final_(Plugin::NodeAffinity, ENFORCED));
    }
    if !selects(ask, node) {
        return Err(Refusal::final_(Plugin::NodeAffinity, SELECTOR));
    }
    Ok(())
}

/// The weights of the preferred terms that match.
pub(in crate::scheduler) fn preference(terms: &[PreferredSchedulingTerm], node: &NodeFacts) -> i64 {
    let matching = terms.iter().filter(|term| node_selector::term_matches(&term.preference, &node.name, &node.labels));
    matching.map(|term| i64::from(term.weight)).sum()
}

/// The names of nodes the required terms are about, when all of them name nodes; what pods of DaemonSets have. An empty
/// list says that the terms contradict themselves.
pub(in crate::scheduler) fn named_nodes(ask: &Ask) -> Option<Vec<&str>> {
    let terms = &ask.required.as_ref()?.node_selector_terms;
    let mut named: Vec<&str> = Vec::new();
    for term in terms {
        let mut own: Option<Vec<&str>> = None;
        for field in term.match_fields.iter().flatten() {
            if field.key != "metadata.name" || field.operator != "In" {
                continue;
            }
            let values = field.values.iter().flatten().map(String::as_str);
            own = Some(match own {
                None => values.collect(),
                Some(known) => values.filter(|value| known.contains(value)).collect(),
            });
        }
        named.extend(own?);
    }
    named.sort_unstable();
    named.dedup();
    (!terms.is_empty()).then_some(named)
}

/// Whether the node declares what the pod needs.
pub(in crate::scheduler) fn features(ask: &Ask, node: &NodeFacts) -> Verdict {
    if ask.features.iter().all(|wanted| node.features.iter().any(|has| has == wanted)) {
        return Ok(());
    }
    Err(Refusal::final_(Plugin::NodeDeclaredFeatures, FEATURES))
}

pub(in crate::scheduler) fn ports(pod: &PodInfo, node: &NodeInfo) -> Verdict {
    if node.clashes(&pod.shape.ports) {
        return Err(Refusal::curable(Plugin::NodePorts, PORTS));
    }
    Ok(())
}
