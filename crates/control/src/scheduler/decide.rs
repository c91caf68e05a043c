//! One decision: which node, or why none.
//!
//! Invariant: pure. Ties between equally good nodes are broken by a hash of pod and node, which spreads pods like a
//! random choice would but gives the same answer twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::Pod;

use super::plugins::{Ask, Normal, Plugin, Refusal, TABLE};
use super::resources;
use super::snapshot::{self, NodeInfo, Snapshot};

/// What to do with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Bind { node: String },
    Unschedulable(Diagnosis),
}

/// Why no node was good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// For people, in upstream's words.
    pub message: String,
    /// The plugins that refused a node; a change they care about is worth another try.
    pub plugins: Vec<&'static str>,
}

/// Finds the best node for the pod.
pub fn schedule(pod: &Pod, snapshot: &Snapshot) -> Decision {
    let total_nodes = snapshot.nodes().count();
    if total_nodes == 0 {
        let message = "no nodes available to schedule pods".to_owned();
        return Decision::Unschedulable(Diagnosis {
            message,
            plugins: TABLE.iter().map(|plugin| plugin.name).collect(),
        });
    }
    let ask = Ask {
        pod,
        requests: resources::requests(pod),
        usual: resources::usual_requests(pod),
        ports: snapshot::host_ports(pod),
        snapshot,
        total_nodes,
    };
    let mut feasible = Vec::new();
    let mut refused: Vec<(&'static Plugin, Refusal, &NodeInfo)> = Vec::new();
    for (name, info, node) in snapshot.nodes() {
        let refusal = TABLE.iter().find_map(|plugin| Some((plugin, plugin.filter?(&ask, info, node).err()?)));
        match refusal {
            None => feasible.push((name, info, node)),
            Some((plugin, refusal)) => refused.push((plugin, refusal, info)),
        }
    }
    let nodes: Vec<_> = feasible.iter().map(|(_, info, node)| (*info, &***node)).collect();
    let mut scores = vec![0_i64; nodes.len()];
    if nodes.len() > 1 {
        for score in TABLE.iter().filter_map(|plugin| plugin.score.as_ref()) {
            let raw: Vec<i64> = nodes.iter().map(|(info, node)| (score.rate)(&ask, info, node)).collect();
            for (total, part) in scores.iter_mut().zip(normalise(raw, score.normal)) {
                *total += part * score.weight;
            }
        }
    }
    let uid = pod.metadata.uid.as_deref().unwrap_or("");
    let best = feasible.iter().zip(&scores).max_by_key(|((name, _, _), score)| (**score, mix(uid, name)));
    match best {
        Some(((name, _, _), _)) => Decision::Bind { node: (*name).clone() },
        None => Decision::Unschedulable(diagnose(&ask, &refused)),
    }
}

fn normalise(raw: Vec<i64>, how: Normal) -> Vec<i64> {
    let most = raw.iter().copied().max().unwrap_or(0);
    let scale = |value: i64| if most == 0 { 0 } else { value * 100 / most };
    match how {
        Normal::AsIs => raw,
        Normal::Scaled => raw.into_iter().map(scale).collect(),
        Normal::Reversed => raw.into_iter().map(|value| 100 - scale(value)).collect(),
    }
}

/// FNV-1a over both names.
fn mix(pod: &str, node: &str) -> u64 {
    let bytes = pod.bytes().chain([0]).chain(node.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn diagnose(ask: &Ask<'_>, refused: &[(&'static Plugin, Refusal, &NodeInfo)]) -> Diagnosis {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for reason in refused.iter().flat_map(|(_, refusal, _)| &refusal.reasons) {
        *reasons.entry(reason).or_insert(0) += 1;
    }
    let total = ask.total_nodes;
    let mut message = format!("0/{total} nodes are available: {}.", listed(&reasons));
    let mut outlook: BTreeMap<&str, usize> = BTreeMap::new();
    let priority = ask.pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
    for (_, refusal, info) in refused {
        let word = if !refusal.curable {
            "Preemption is not helpful for scheduling"
        } else if info.pods.values().all(|load| load.priority >= priority) {
            "No preemption victims found for incoming pod"
        } else {
            continue; // there are victims, but nothing here evicts them
        };
        *outlook.entry(word).or_insert(0) += 1;
    }
    if outlook.values().sum::<usize>() == total {
        write!(message, " preemption: 0/{total} nodes are available: {}.", listed(&outlook))
            .expect("invariant: writing to a string cannot fail");
    }
    let mut plugins: Vec<&'static str> = refused.iter().map(|(plugin, _, _)| plugin.name).collect();
    plugins.sort_unstable();
    plugins.dedup();
    Diagnosis { message, plugins }
}

fn listed(counts: &BTreeMap<&str, usize>) -> String {
    let mut parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    parts.join(", ")
}
