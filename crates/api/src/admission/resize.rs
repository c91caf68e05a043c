//! PodResizeValidator: a pod on a node is not resized beyond what the node has, nor on a node that cannot do it.

use async_trait::async_trait;
use base::Quantity;
use serde_json::Value;

use super::{Admission, Admit, Operation};
use crate::{
    core::{Core, text},
    error::ApiError,
};

pub(super) struct PodResizeValidator;

#[async_trait]
impl Admission for PodResizeValidator {
    fn name(&self) -> &'static str {
        "PodResizeValidator"
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        let resize = admit.kind.is("", "Pod") && admit.subresource == "resize" && admit.operation == Operation::Update;
        let (Some(pod), Some(old)) = (admit.object.as_deref(), admit.old) else { return Ok(()) };
        let node = text(pod, "/spec/nodeName");
        if !resize || node.is_empty() || pod["metadata"]["generation"] == old["metadata"]["generation"] {
            return Ok(());
        }
        let refuse = |why: &str| ApiError::denied(admit.kind, admit.name, why);
        let nodes = core.kind("", "nodes").ok_or_else(ApiError::no_such_path)?;
        let found = core.get(nodes, "", node).ok_or_else(|| refuse(&format!("node {node:?} not found")))?;
        if let Some(os) = found["metadata"]["labels"]["kubernetes.io/os"].as_str().filter(|os| *os != "linux") {
            let why = format!("pod resize is only supported on linux nodes, node {node:?} is {os:?}");
            return Err(refuse(&why).with_cause("UnsupportedPlatform", "", ""));
        }
        match excess(&pod["spec"], &found["status"]["allocatable"]) {
            Some(why) => Err(refuse(&why).with_cause("NodeCapacity", "", "")),
            None => Ok(()),
        }
    }
}

pub(super) struct NodeDeclaredFeatureValidator;

/// What may change of a pod on a node only if the node says that it can follow (KEP-5328; what else there is to declare
/// cannot change, or its gate is off at v1.36).
const OF_POD: &str = "InPlacePodLevelResourcesVerticalScaling";

#[async_trait]
impl Admission for NodeDeclaredFeatureValidator {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatureValidator"
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        let change = admit.kind.is("", "Pod") && matches!(admit.subresource, "" | "resize");
        let (Some(pod), Some(old)) = (admit.object.as_deref(), admit.old) else { return Ok(()) };
        let node = text(pod, "/spec/nodeName");
        if !change || admit.operation != Operation::Update || node.is_empty() {
            return Ok(());
        }
        if pod["spec"].get("resources") == old["spec"].get("resources") {
            return Ok(());
        }
        let refuse = |why: &str| ApiError::denied(admit.kind, admit.name, why);
        let nodes = core.kind("", "nodes").ok_or_else(ApiError::no_such_path)?;
        let found = core.get(nodes, "", node).ok_or_else(|| refuse(&format!("node {node:?} not found")))?;
        let declared = found["status"]["declaredFeatures"].as_array();
        if declared.is_some_and(|all| all.iter().any(|one| one == OF_POD)) {
            return Ok(());
        }
        Err(refuse(&format!("pod update requires features {OF_POD} which are not available on node {node:?}")))
    }
}

/// What a pod requests beyond what a node has for pods.
fn excess(spec: &Value, allocatable: &Value) -> Option<String> {
    let mut told = Vec::new();
    let (asked, there) = (requested(spec, "cpu"), amount(allocatable, "cpu"));
    if asked > there {
        told.push(format!("cpu, requested: {}, allocatable: {}", asked.milli(), there.milli()));
    }
    let (asked, there) = (requested(spec, "memory"), amount(allocatable, "memory"));
    if asked > there {
        told.push(format!("memory, requested: {}, allocatable: {}", asked.value(), there.value()));
    }
    (!told.is_empty()).then(|| format!("node didn't have enough allocatable resources: {}", told.join("; ")))
}

fn none() -> Quantity {
    Quantity::from_milli(0)
}

fn amount(list: &Value, resource: &str) -> Quantity {
    list[resource].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(none)
}

fn plus(a: &Quantity, b: &Quantity) -> Quantity {
    a.checked_add(b).unwrap_or(*a)
}

/// What a pod as a whole requests: what its containers do together, or one that initializes it beside those that were
/// started before it and stay; unless the pod says it itself.
fn requested(spec: &Value, resource: &str) -> Quantity {
    let of = |container: &Value| amount(&container["resources"]["requests"], resource);
    let containers = |name: &str| spec[name].as_array().cloned().unwrap_or_default();
    let mut staying = none();
    let mut starting = none();
    for container in containers("initContainers") {
        let stays = container["restartPolicy"] == "Always";
        let at_once = plus(&staying, &of(&container));
        if stays {
            staying = at_once;
        }
        starting = starting.max(at_once);
    }
    let together = containers("containers").iter().fold(staying, |sum, container| plus(&sum, &of(container)));
    let own = &spec["resources"]["requests"][resource];
    let whole = if own.is_string() { amount(&spec["resources"]["requests"], resource) } else { together.max(starting) };
    plus(&whole, &amount(&spec["overhead"], resource))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(spec: &Value, cpu: &str) {
        assert_eq!(requested(spec, "cpu"), cpu.parse().expect("an amount"), "{spec}");
    }

    #[test]
    fn a_pod_requests_what_it_needs_at_its_largest() {
        let one = |cpu: &str| json!({"resources": {"requests": {"cpu": cpu}}});
        let stays = |cpu: &str| json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": cpu}}});
        check(&json!({}), "0");
        check(&json!({"containers": [one("1"), one("500m"), {}], "overhead": {"cpu": "100m"}}), "1600m");
        check(&json!({"containers": [one("1")], "initContainers": [one("3"), stays("1"), one("2500m")]}), "3500m");
        check(&json!({"containers": [one("3")], "initContainers": [stays("1"), one("1")]}), "4");
        check(&json!({"containers": [one("1")], "resources": {"requests": {"cpu": "5"}}}), "5");
    }

    #[test]
    fn what_is_too_much_is_told_in_whole_numbers() {
        let spec = json!({"containers": [{"resources": {"requests": {"cpu": "2", "memory": "2Ki"}}}]});
        assert_eq!(excess(&spec, &json!({"cpu": "2", "memory": "1Mi"})), None);
        let told = "node didn't have enough allocatable resources: cpu, requested: 2000, allocatable: 1500; memory, \
                    requested: 2048, allocatable: 1024";
        assert_eq!(excess(&spec, &json!({"cpu": "1500m", "memory": "1Ki"})).as_deref(), Some(told));
    }
}
