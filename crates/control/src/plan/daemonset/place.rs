//! Which nodes a DaemonSet wants a pod on.
//!
//! Invariant: what keeps other pods away from a node that is unwell, under pressure or cordoned does not keep a daemon
//! away: its pods tolerate that by themselves. A pod that is there stays while it tolerates the taints that evict
//! (upstream `NodeShouldRunDaemonPod`).

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec, PodTemplateSpec, Toleration};
use kube::ResourceExt;

use crate::plan::{node_selector, taints};

const TOLERATED: &[(&str, &str)] = &[
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// Tolerated by pods that do not need the node's network.
const UNCONNECTED: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What should be on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A pod.
    Run,
    /// No new pod, but one that is there may stay.
    Stay,
    Leave,
}

/// Where the pods of a template may be.
pub(super) struct Place<'a> {
    spec: Option<&'a PodSpec>,
    tolerations: Vec<Toleration>,
}

impl<'a> Place<'a> {
    pub(super) fn of(template: &'a PodTemplateSpec) -> Self {
        let spec = template.spec.as_ref();
        Self { spec, tolerations: spec.map(tolerations).unwrap_or_default() }
    }

    pub(super) fn verdict(&self, node: &Node) -> Verdict {
        let elsewhere = |spec: &PodSpec| {
            let named = spec.node_name.as_deref().filter(|name| !name.is_empty());
            named.is_some_and(|name| name != node.name_any()) || !node_selector::allows(spec, node)
        };
        if self.spec.is_some_and(elsewhere) {
            return Verdict::Leave;
        }
        let repelled = |effects: &[&str]| {
            let mut all = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
            all.any(|taint| {
                let tolerated = || self.tolerations.iter().any(|one| taints::covers(one, taint));
                effects.contains(&taint.effect.as_str()) && !tolerated()
            })
        };
        match (repelled(&["NoExecute"]), repelled(&["NoSchedule"])) {
            (true, _) => Verdict::Leave,
            (false, true) => Verdict::Stay,
            (false, false) => Verdict::Run,
        }
    }
}

/// The tolerations of the template and those every daemon has.
pub(super) fn tolerations(spec: &PodSpec) -> Vec<Toleration> {
    let mut all = spec.tolerations.clone().unwrap_or_default();
    let unconnected = Some(UNCONNECTED).filter(|_| spec.host_network == Some(true));
    for (key, effect) in TOLERATED.iter().copied().chain(unconnected) {
        let ours = Toleration {
            key: Some(key.into()),
            operator: Some("Exists".into()),
            effect: Some(effect.into()),
            ..Toleration::default()
        };
        let same = |one: &Toleration| {
            let value = one.value.as_deref().unwrap_or("");
            (&one.key, &one.operator, &one.effect) == (&ours.key, &ours.operator, &ours.effect) && value.is_empty()
        };
        // One that is there already, with a limit perhaps, becomes one without.
        let mut found = false;
        for one in all.iter_mut().filter(|one| same(one)) {
            found = true;
            *one = ours.clone();
        }
        if !found {
            all.push(ours);
        }
    }
    all
}

/// The node a pod is on, or was made for.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(node) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(node);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let mut fields = required.node_selector_terms.iter().flat_map(|term| term.match_fields.iter().flatten());
    let named = fields.find(|field| field.key == "metadata.name" && field.operator == "In")?;
    match named.values.as_deref() {
        Some([node]) => Some(node),
        _ => None,
    }
}
