//! Removes pods nobody else will: on nodes that are gone, never bound, or finished long ago.
//!
//! Invariant: a node counts as gone only after it was missing for `QUARANTINE` and the API said so again; a lagging
//! cache of nodes must not cost a pod its life.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::pod;

/// How long a node must be missing.
pub const QUARANTINE: Duration = Duration::from_secs(40);
/// So many finished pods are kept.
pub const TERMINATED_KEPT: usize = 12_500;

/// Why a pod is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    NodeGone,
    NeverScheduled,
    TooManyFinished,
}

/// A pod to delete without grace, marked as failed first if it had not finished.
#[derive(Debug)]
pub struct Removal {
    pub pod: Arc<Pod>,
    pub why: Why,
    pub condition: Option<PodCondition>,
}

/// The pods to remove; `gone` are the nodes known to be gone.
pub fn plan(pods: &[Arc<Pod>], gone: &HashSet<String>, kept: usize, now: Timestamp) -> Vec<Removal> {
    let mut removals: Vec<Removal> = Vec::new();
    let mut finished: Vec<&Arc<Pod>> = Vec::new();
    for one in pods {
        let node = pod::node_name(one);
        if node.is_empty() && one.metadata.deletion_timestamp.is_some() {
            removals.push(Removal { pod: one.clone(), why: Why::NeverScheduled, condition: None });
        } else if gone.contains(node) {
            let condition = (!pod::is_terminal(one)).then(|| disruption(now));
            removals.push(Removal { pod: one.clone(), why: Why::NodeGone, condition });
        } else if pod::is_terminal(one) && one.metadata.deletion_timestamp.is_none() {
            finished.push(one);
        }
    }
    if finished.len() > kept {
        finished.sort_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0));
        let surplus = finished.len() - kept;
        let oldest = finished.into_iter().take(surplus).cloned();
        removals.extend(oldest.map(|pod| Removal { pod, why: Why::TooManyFinished, condition: None }));
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
    use kube::ResourceExt;

    use super::*;
    use crate::world::{self, World};

    fn check(text: &str, kept: usize, expected: Expect) {
        let world = World::parse(text);
        let gone = HashSet::from(["lost".to_owned()]);
        let lines: Vec<String> = plan(&world.pods, &gone, kept, world::NOW)
            .iter()
            .map(|one| format!("{} {:?} marked={}", one.pod.name_any(), one.why, one.condition.is_some()))
            .collect();
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
                a NodeGone marked=true
                b NodeGone marked=false
                d NeverScheduled marked=false"#]],
        );
    }

    #[test]
    fn the_oldest_finished_pods_go_when_there_are_too_many() {
        check(
            "pod a phase=Failed age=1m
             pod b phase=Succeeded age=9m
             pod c phase=Running age=9m",
            1,
            expect!["b TooManyFinished marked=false"],
        );
    }
}
