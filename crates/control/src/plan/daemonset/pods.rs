//! What is on each node and should be: making pods, and taking those away that are too many or over.
//!
//! Invariant: without a surge a node has one pod that is not leaving; with one it may have two while the new one is not
//! available and the old one still ready (upstream `podsShouldBeOnNode`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodTemplateSpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::{HASH, Verdict, Why, Work, place};
use crate::plan::claim;
use crate::plan::pod;

/// A pod for `node`. The scheduler binds it there; the server completes the name.
pub fn new_pod(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let PodTemplateSpec { metadata, spec } = template;
    let metadata = metadata.unwrap_or_default();
    let mut labels = metadata.labels.unwrap_or_default();
    labels.insert(HASH.into(), hash.to_owned());
    let mut spec = spec.unwrap_or_default();
    spec.tolerations = Some(place::tolerations(&spec));
    bind(spec.affinity.get_or_insert_default(), node);
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", set.name_any())),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![claim::reference(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// The node was chosen by the template's own affinity, which has nothing to say any more.
fn bind(affinity: &mut Affinity, node: &str) {
    let named = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_fields: Some(vec![named]), match_expressions: None };
    let affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    affinity.required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

impl Work<'_> {
    /// Puts right what is wrong, node by node.
    pub(super) fn manage(&mut self) {
        for (node, (verdict, pods)) in std::mem::take(&mut self.nodes) {
            match verdict {
                Some(Verdict::Run) if pods.is_empty() => self.create.push(node.clone()),
                Some(Verdict::Run | Verdict::Stay) => self.prune(&node, verdict == Some(Verdict::Run), &pods),
                Some(Verdict::Leave) => {
                    pods.iter().filter(|pod| is_staying(pod)).for_each(|pod| self.drop(pod, &node, Why::Surplus));
                }
                // The pod collector never sees a pod that was made for a node but not bound to it.
                None => {
                    let unbound = pods.iter().filter(|pod| pod::node_name(pod).is_empty() && is_staying(pod));
                    unbound.for_each(|pod| self.drop(pod, &node, Why::Surplus));
                }
            }
            self.nodes.insert(node, (verdict, pods));
        }
    }

    fn drop(&mut self, pod: &Arc<Pod>, node: &str, why: Why) {
        self.delete.push((Arc::clone(pod), node.to_owned(), why));
    }

    fn prune(&mut self, node: &str, wanted: bool, pods: &[Arc<Pod>]) {
        let mut running = Vec::new();
        for pod in pods.iter().filter(|pod| is_staying(pod)) {
            match pod::phase(pod) {
                "Failed" => match self.backoff.wait(self.set, node, self.now) {
                    Some(wait) => self.recheck = Some(self.recheck.map_or(wait, |known| known.min(wait))),
                    None => self.drop(pod, node, Why::Failed),
                },
                "Succeeded" => self.drop(pod, node, Why::Succeeded),
                _ => running.push(pod),
            }
        }
        if !self.surges() {
            running.iter().skip(1).for_each(|pod| self.drop(pod, node, Why::Surplus));
            return;
        }
        if running.is_empty() && wanted {
            self.create.push(node.to_owned());
        }
        if running.len() < 2 {
            return;
        }
        let (new, old): (Vec<&Arc<Pod>>, Vec<_>) = running.into_iter().partition(|pod| self.is_updated(pod));
        new.iter().skip(1).for_each(|pod| self.drop(pod, node, Why::Surplus));
        old.iter().skip(1).for_each(|pod| self.drop(pod, node, Why::Surplus));
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!pod::is_ready(old) || self.is_available(new))
        {
            self.drop(old, node, Why::Surplus);
        }
    }
}

fn is_staying(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none()
}
