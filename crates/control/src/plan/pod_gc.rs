//! Removes pods nobody else will: on nodes that are gone or out of service, never bound, or finished long ago.
//!
//! Invariant: a node counts as gone only after it was missing for `QUARANTINE` and the API said so again; a lagging
//! cache of nodes must not cost a pod its life. A node is out of service when a person says so by a taint and it is not
//! ready; then the pods that are to leave it are not waited for.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::pod;

/// How long a node must be missing.
pub const QUARANTINE: Duration = Duration::from_secs(40);
/// So many finished pods are kept.
pub const TERMINATED_KEPT: usize = 12_500;

/// Why a pod is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    NodeGone,
    NodeOutOfService,
    NeverScheduled,
    TooManyFinished,
}

/// A pod to delete without grace, marked as failed first if it had not finished.
#[derive(Debug)]
pub struct Removal {
    pub pod: Arc<Pod>,
    pub why: Why,
    /// It is told to have failed first, for it had not ended.
    pub fails: bool,
    pub condition: Option<PodCondition>,
}

const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Whether a person has given the node up.
pub fn is_given_up(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Whether a person has given the node up, and it does not say otherwise.
pub fn is_out_of_service(node: &Node) -> bool {
    let mut conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    is_given_up(node) && !conditions.any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Nodes on which pods are not looked after any more, by name.
#[derive(Debug, Default)]
pub struct Lost {
    /// They do not exist.
    pub gone: HashSet<String>,
    pub out_of_service: HashSet<String>,
}

/// The pods to remove.
pub fn plan(pods: &[Arc<Pod>], lost: &Lost, kept: usize, now: Timestamp) -> Vec<Removal> {
    let mut removals: Vec<Removal> = Vec::new();
    let mut finished: Vec<&Arc<Pod>> = Vec::new();
    for one in pods {
        let (node, leaving) = (pod::node_name(one), one.metadata.deletion_timestamp.is_some());
        let fails = !pod::is_terminal(one);
        let mut remove = |why, condition| removals.push(Removal { pod: one.clone(), why, fails, condition });
        if node.is_empty() && leaving {
            remove(Why::NeverScheduled, None);
        } else if lost.gone.contains(node) {
            remove(Why::NodeGone, fails.then(|| disruption(now)));
        } else if leaving && lost.out_of_service.contains(node) {
            remove(Why::NodeOutOfService, None);
        } else if !fails && !leaving {
            finished.push(one);
        }
    }
    if finished.len() > kept {
        // what was evicted goes first: its controller has made another long ago
        finished.sort_by_key(|pod| {
            let evicted = pod.status.as_ref().is_some_and(|status| status.reason.as_deref() == Some("Evicted"));
            (!evicted, pod.metadata.creation_timestamp.as_ref().map(|time| time.0), pod.name_any())
        });
        let surplus = finished.len() - kept;
        let oldest = finished.into_iter().take(surplus).cloned();
        removals.extend(oldest.map(|pod| Removal { pod, why: Why::TooManyFinished, fails: false, condition: None }));
    }
    removals
}

fn disruption(now: Timestamp) -> PodCondition {
    PodCondition {
        type_: "DisruptionTarget".into(),
        status: "True".into(),
        reason: Some("DeletionByPodGC".into()),
        message: Some("PodGC: node no longer exists".into()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::world::{self, World};

    fn check(text: &str, kept: usize, expected: Expect) {
        let world = World::parse(text);
        let out = world.nodes.iter().filter(|node| is_out_of_service(node)).map(|node| node.name_any());
        let lost = Lost { gone: HashSet::from(["lost".to_owned()]), out_of_service: out.collect() };
        let show = |one: &Removal| {
            let (fails, marked) =
                (if one.fails { " fails" } else { "" }, if one.condition.is_some() { " marked" } else { "" });
            format!("{} {:?}{fails}{marked}", one.pod.name_any(), one.why)
        };
        let lines: Vec<String> = plan(&world.pods, &lost, kept, world::NOW).iter().map(show).collect();
        expected.assert_eq(&lines.join("\n"));
    }

    #[test]
    fn orphans_and_never_scheduled_pods_go() {
        check(
            "pod a node=lost ready
             pod b node=lost phase=Succeeded
             pod c node=n1 ready
             pod d deleting
             pod e",
            10,
            expect![[r#"
                a NodeGone fails marked
                b NodeGone
                d NeverScheduled fails"#]],
        );
    }

    #[test]
    fn the_oldest_finished_pods_go_when_there_are_too_many() {
        check(
            "pod a phase=Failed age=1m
             pod b phase=Succeeded age=9m
             pod c phase=Running age=9m",
            1,
            expect!["b TooManyFinished"],
        );
    }

    #[test]
    fn a_pod_that_is_to_leave_a_node_out_of_service_is_not_waited_for() {
        check(
            "node down Ready=Unknown taint=node.kubernetes.io/out-of-service:NoExecute
             node back Ready=True taint=node.kubernetes.io/out-of-service:NoExecute
             node slow Ready=Unknown
             pod a node=down deleting ready
             pod b node=down ready
             pod c node=back deleting ready
             pod d node=slow deleting ready",
            10,
            expect!["a NodeOutOfService fails"],
        );
    }
}
