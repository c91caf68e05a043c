//! A ReplicationController, seen as the ReplicaSet it would be today.
//!
//! Invariant: there is one plan for both (`replicaset`); what the older kind cannot say (pods on their way out) is not
//! written. Only an empty selector means something else: it selects nothing.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerCondition, ReplicationControllerStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::labels::{self, Labels};

/// The set.
pub fn as_set(controller: &ReplicationController) -> ReplicaSet {
    let spec = controller.spec.as_ref().map(|spec| ReplicaSetSpec {
        replicas: spec.replicas,
        min_ready_seconds: spec.min_ready_seconds,
        selector: selector(spec.selector.as_ref()),
        template: spec.template.clone(),
    });
    let status = controller.status.as_ref().map(|status| ReplicaSetStatus {
        replicas: status.replicas,
        fully_labeled_replicas: status.fully_labeled_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        observed_generation: status.observed_generation,
        terminating_replicas: None,
        conditions: status.conditions.as_ref().map(|all| {
            let same = |one: &ReplicationControllerCondition| ReplicaSetCondition {
                type_: one.type_.clone(),
                status: one.status.clone(),
                reason: one.reason.clone(),
                message: one.message.clone(),
                last_transition_time: one.last_transition_time.clone(),
            };
            all.iter().map(same).collect()
        }),
    });
    ReplicaSet { metadata: controller.metadata.clone(), spec, status }
}

fn selector(wanted: Option<&Labels>) -> LabelSelector {
    match wanted.filter(|wanted| !wanted.is_empty()) {
        Some(wanted) => LabelSelector { match_labels: Some(wanted.clone()), match_expressions: None },
        None => LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "metadata.name".into(),
                operator: "In".into(),
                values: Some(Vec::new()),
            }]),
            match_labels: None,
        },
    }
}

/// Whether the controller wants a pod with these labels.
pub fn selects(controller: &ReplicationController, pod: &Labels) -> bool {
    let wanted = controller.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    wanted.is_some_and(|wanted| !wanted.is_empty() && labels::contains(pod, wanted))
}

/// The controller with the status of its set, if that says anything new.
pub fn with_status(controller: &ReplicationController, status: ReplicaSetStatus) -> Option<ReplicationController> {
    let status = ReplicationControllerStatus {
        replicas: status.replicas,
        fully_labeled_replicas: status.fully_labeled_replicas,
        ready_replicas: status.ready_replicas,
        available_replicas: status.available_replicas,
        observed_generation: status.observed_generation,
        conditions: status.conditions.map(|all| {
            let same = |one: ReplicaSetCondition| ReplicationControllerCondition {
                type_: one.type_,
                status: one.status,
                reason: one.reason,
                message: one.message,
                last_transition_time: one.last_transition_time,
            };
            all.into_iter().map(same).collect()
        }),
    };
    (controller.status.as_ref() != Some(&status))
        .then(|| ReplicationController { status: Some(status), ..controller.clone() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::plan::replicaset::{self, Action, Observed};
    use crate::world::{NOW, World};

    fn controller(selector: serde_json::Value) -> ReplicationController {
        serde_json::from_value(json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "replicationcontroller-web", "generation": 3 },
            "spec": { "replicas": 2, "selector": selector, "template": {
                "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c" }] } } },
        }))
        .expect("a controller")
    }

    #[test]
    fn one_plan_serves_both_kinds() {
        let controller = controller(json!({ "app": "web" }));
        let world = World::parse("pod stray labels=app=web ready\npod foreign of=other labels=app=web ready");
        let set = as_set(&controller);
        let plan = replicaset::plan(&set, &Observed { pods: &world.pods, siblings: &[], now: NOW });
        assert!(matches!(plan.actions.as_slice(), [Action::Adopt(_), Action::Create(1)]), "{:?}", plan.actions);
        assert!(selects(&controller, &Labels::from([("app".to_owned(), "web".to_owned())])));
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        let controller = controller(json!({}));
        let world = World::parse("pod stray labels=app=web ready");
        let plan = replicaset::plan(&as_set(&controller), &Observed { pods: &world.pods, siblings: &[], now: NOW });
        assert!(matches!(plan.actions.as_slice(), [Action::Create(2)]), "{:?}", plan.actions);
        assert!(!selects(&controller, &Labels::new()));
    }

    #[test]
    fn pods_on_their_way_out_are_not_told_and_so_never_news() {
        let controller = controller(json!({ "app": "web" }));
        let mut pod = (*World::parse("pod a of=x labels=app=web ready deleting").pods[0]).clone();
        pod.metadata.owner_references = Some(vec![crate::plan::claim::reference(&controller)]);
        let pods = [Arc::new(pod)];
        let plan = replicaset::plan(&as_set(&controller), &Observed { pods: &pods, siblings: &[], now: NOW });
        let status = replicaset::status(&as_set(&controller), &plan, Some("quota"), NOW).expect("a status");
        assert_eq!((plan.terminating, status.terminating_replicas), (1, Some(1)));
        let told = with_status(&controller, status).expect("news");
        let condition = &told.status.as_ref().and_then(|status| status.conditions.as_ref()).expect("conditions")[0];
        assert_eq!((condition.type_.as_str(), condition.reason.as_deref()), ("ReplicaFailure", Some("FailedCreate")));
        let again = replicaset::status(&as_set(&told), &plan, Some("quota"), NOW);
        assert_eq!(again.and_then(|status| with_status(&told, status)), None);
    }
}
