//! binding: the scheduler's word on where a pod runs. Once said it stands.

use std::sync::Arc;

use kinds::Kind;
use serde_json::{Map, Value, json};

use super::{
    update,
    write::{self, Rules},
};
use crate::{
    call::{Answer, Call},
    core::{Core, text},
    decode,
    error::ApiError,
};

/// The object of a write is already what it should be.
const AS_IS: Rules = Rules { prepare: |_, _, _| {}, validate: |_, _, _| Vec::new() };

/// `name` is the pod's: from the path of pods/NAME/binding, or of the Binding that was posted to bindings.
pub(crate) async fn bind(core: &Core, call: &Call, pods: &Arc<Kind>) -> Result<Answer, ApiError> {
    let binding = decode::typed(call, "v1", "Binding")?;
    let name = if call.info.name.is_empty() { text(&binding, "/metadata/name") } else { call.info.name.as_str() };
    let given = text(&binding, "/metadata/name");
    if !given.is_empty() && given != name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    let node = text(&binding, "/target/name");
    let node_kind = text(&binding, "/target/kind");
    if node.is_empty() || !(node_kind.is_empty() || node_kind == "Node") {
        return Err(ApiError::bad_request("target.name: Required value: the target of a binding is a Node"));
    }
    let uid = text(&binding, "/metadata/uid");
    let mut target = update::target(call, pods);
    target.name = name;
    write::change(core, target, AS_IS, |pod| assign(pods, pod, &binding, node, uid)).await?;
    Ok(Answer::Object {
        code: 201,
        value: json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }),
    })
}

fn assign(pods: &Kind, pod: &Value, binding: &Value, node: &str, uid: &str) -> Result<Value, ApiError> {
    let name = text(pod, "/metadata/name");
    let refuse = |why: String| Err(ApiError::conflict(pods, name, &why));
    let held = text(pod, "/metadata/uid");
    if !uid.is_empty() && uid != held {
        return refuse(format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {held}"));
    }
    if !text(pod, "/metadata/deletionTimestamp").is_empty() {
        return refuse(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let assigned = text(pod, "/spec/nodeName");
    if !assigned.is_empty() {
        return refuse(format!("pod {name} is already assigned to node \"{assigned}\""));
    }
    if pod.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
        return refuse(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut pod = pod.clone();
    pod["spec"]["nodeName"] = json!(node);
    for field in ["annotations", "labels"] {
        let added = binding.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        for (key, value) in added.into_iter().flatten() {
            if !pod["metadata"][field].is_object() {
                pod["metadata"][field] = Value::Object(Map::new());
            }
            pod["metadata"][field][key] = value.clone();
        }
    }
    scheduled(&mut pod);
    Ok(pod)
}

/// Sets the condition `PodScheduled`.
fn scheduled(pod: &mut Value) {
    if !pod["status"].is_object() {
        pod["status"] = Value::Object(Map::new());
    }
    let status = &mut pod["status"];
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let now = base::time::rfc3339(base::time::now());
    let condition =
        json!({ "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now });
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    match conditions.iter_mut().find(|held| held["type"] == "PodScheduled") {
        Some(held) if held["status"] == "True" => {}
        Some(held) => *held = condition,
        None => conditions.push(condition),
    }
}
