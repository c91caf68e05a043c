//! NodeRestriction: a node writes about itself and its own pods, so that one lost node is not a lost cluster.
//!
//! The authorizer decides which kinds a node may write at all; this module looks into the objects.

use async_trait::async_trait;
use serde_json::Value;

use super::{Admission, Admit, MIRROR_POD, Operation};
use crate::{
    authz::node::node_of,
    core::{Core, text},
    error::ApiError,
    identity::User,
};

/// Labels of the Kubernetes name spaces that a kubelet may set on its own node.
const OWN_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
];
const RESTRICTED: &str = "node-restriction.kubernetes.io";

pub(super) struct NodeRestriction;

#[async_trait]
impl Admission for NodeRestriction {
    fn name(&self) -> &'static str {
        "NodeRestriction"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        let Some(node) = node_of(&admit.user.clone()).map(str::to_owned) else { return Ok(()) };
        let object = admit.object.as_deref();
        let refused = match (admit.kind.group.as_str(), admit.kind.plural.as_str()) {
            ("", "pods") => pods(core, &node, admit, object)?,
            ("", "nodes") => own_node(&node, admit, object),
            ("", "persistentvolumeclaims") if admit.subresource != "status" => {
                Some("may only update PVC status".to_owned())
            }
            ("coordination.k8s.io", "leases") if admit.namespace == "kube-node-lease" && admit.name != node => {
                Some("can only access node lease with the same name as the requesting node".to_owned())
            }
            ("storage.k8s.io", "csinodes") if admit.name != node => {
                Some("can only access CSINode with the same name as the requesting node".to_owned())
            }
            _ => None,
        };
        refused.map_or(Ok(()), |why| Err(ApiError::denied(admit.kind, admit.name, &why)))
    }
}

fn pods(core: &Core, node: &str, admit: &Admit<'_>, object: Option<&Value>) -> Result<Option<String>, ApiError> {
    let on = |pod: &Value| text(pod, "/spec/nodeName") == node;
    Ok(match (admit.subresource, admit.operation) {
        ("", Operation::Create) => object.and_then(|pod| mirror(node, pod)),
        ("", Operation::Delete) => match admit.old {
            Some(old) if on(old) => None,
            _ => Some(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        },
        ("", operation) => {
            let operation = format!("{operation:?}").to_uppercase();
            Some(format!("unexpected operation {operation:?}, node {node:?} can only create and delete mirror pods"))
        }
        ("status", _) => match (admit.old, object) {
            (Some(old), _) if !on(old) => {
                Some(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"))
            }
            (Some(old), Some(new)) if old["metadata"]["labels"] != new["metadata"]["labels"] => {
                Some(format!("node {node:?} cannot update labels through pod status"))
            }
            _ => None,
        },
        ("eviction", _) => {
            let kind = core.kind("", "pods").ok_or_else(ApiError::no_such_path)?;
            let pod = core.get(kind, admit.namespace, admit.name);
            let pod = pod.ok_or_else(|| ApiError::not_found(kind, admit.name))?;
            (!on(&pod)).then(|| format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        (other, _) => Some(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed")),
    })
}

fn mirror(node: &str, pod: &Value) -> Option<String> {
    if pod.pointer(MIRROR_POD).is_none() {
        let annotation = "kubernetes.io/config.mirror";
        return Some(format!("pod does not have {annotation:?} annotation, node {node:?} can only create mirror pods"));
    }
    if text(pod, "/spec/nodeName") != node {
        return Some(format!("node {node:?} can only create pods with spec.nodeName set to itself"));
    }
    let owners = pod["metadata"]["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
    match owners {
        [owner] if owner["apiVersion"] == "v1" && owner["kind"] == "Node" && owner["name"] == node => {
            (owner["controller"] != true)
                .then(|| format!("node {node:?} can only create pods with a controller owner reference set to itself"))
        }
        _ => Some(format!("node {node:?} can only create pods with an owner reference set to itself")),
    }
}

fn own_node(node: &str, admit: &Admit<'_>, object: Option<&Value>) -> Option<String> {
    if admit.name != node {
        return Some(format!("node {node:?} is not allowed to modify node {:?}", admit.name));
    }
    let (Some(new), operation) = (object, admit.operation) else { return None };
    let labels = |object: &Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let old = admit.old.cloned().unwrap_or(Value::Null);
    if operation == Operation::Update {
        let list = |object: &Value, pointer: &str| object.pointer(pointer).cloned().unwrap_or(Value::Array(vec![]));
        if list(new, "/spec/taints") != list(&old, "/spec/taints") {
            return Some(format!("node {node:?} is not allowed to modify taints"));
        }
        if list(new, "/metadata/ownerReferences") != list(&old, "/metadata/ownerReferences") {
            return Some(format!("node {node:?} is not allowed to modify ownerReferences"));
        }
    }
    let (before, after) = (labels(&old), labels(new));
    let mut foreign: Vec<&str> = before
        .keys()
        .chain(after.keys())
        .filter(|key| before.get(*key) != after.get(*key) && !may_set(key))
        .map(String::as_str)
        .collect();
    foreign.sort_unstable();
    foreign.dedup();
    if foreign.is_empty() {
        return None;
    }
    let list = foreign.join(", ");
    Some(match operation {
        Operation::Create => format!("node {node:?} is not allowed to set the following labels: {list}"),
        _ => format!("is not allowed to modify labels: {list}"),
    })
}

fn may_set(label: &str) -> bool {
    let space = label.split_once('/').map_or("", |(space, _)| space);
    let under = |parent: &str| space == parent || space.ends_with(&format!(".{parent}"));
    if under(RESTRICTED) {
        return false;
    }
    let kubernetes = under("kubernetes.io") || under("k8s.io");
    !kubernetes || under("kubelet.kubernetes.io") || under("node.kubernetes.io") || OWN_LABELS.contains(&label)
}

/// A node asks for tokens of the pods it runs and of nothing else; asked from the token subresource.
pub(crate) fn check_token(core: &Core, user: &User, namespace: &str, request: &Value) -> Result<(), String> {
    let Some(node) = node_of(user) else { return Ok(()) };
    let target = &request["spec"]["boundObjectRef"];
    let (name, uid) = (text(target, "/name"), text(target, "/uid"));
    if target["apiVersion"] != "v1" || target["kind"] != "Pod" || name.is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    if uid.is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let pod = core.kind("", "pods").and_then(|kind| core.get(kind, namespace, name));
    let Some(pod) = pod else { return Ok(()) }; // the token subresource answers "not found" itself
    if text(&pod, "/metadata/uid") != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. \
             The object might have been deleted and then recreated"
        ));
    }
    if text(&pod, "/spec/nodeName") != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_labels_itself_but_not_its_role() {
        for label in
            ["mine", "example.com/x", "kubernetes.io/hostname", "node.kubernetes.io/x", "a.node.kubernetes.io/x"]
        {
            assert!(may_set(label), "{label}");
        }
        for label in [
            "node-role.kubernetes.io/control-plane",
            "kubernetes.io/x",
            "k8s.io/x",
            "node-restriction.kubernetes.io/x",
            "a.node-restriction.kubernetes.io/x",
        ] {
            assert!(!may_set(label), "{label}");
        }
    }
}
