//! binding: the scheduler's word on where a pod runs. Once said it stands.

use std::sync::Arc;

use kinds::{Cause, FieldError, Kind};
use serde_json::{Map, Value, json};

use super::{
    eviction::set_condition,
    update,
    write::{self, Rules, Target},
};
use crate::{
    admission,
    call::{Answer, Call},
    core::{self, Core, text},
    decode,
    error::ApiError,
    select,
};

/// The object of a write is already what it should be.
const AS_IS: Rules = Rules { prepare: |_, _, _| {}, validate: |_, _, _| Vec::new() };

/// Labels of a node that its pods carry too.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// `name` is the pod's: from the path of pods/NAME/binding, or of the Binding that was posted to bindings.
pub(crate) async fn bind(core: &Core, call: &Call, pods: &Arc<Kind>) -> Result<Answer, ApiError> {
    let mut binding = decode::typed(call, "v1", "Binding")?;
    let given = text(&binding, "/metadata/name").to_owned();
    if !call.info.name.is_empty() && given != call.info.name {
        return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
    }
    admission::sent(core, call, &mut binding).await?;
    let node = text(&binding, "/target/name").to_owned();
    check_target(&binding)?;
    for (label, value) in topology(core, &node) {
        binding["metadata"]["labels"][label] = value;
    }
    let mut target = update::target(call, pods);
    target.name = &given;
    // as upstream: a binding owns nothing, it is said once
    target.manager = None;
    target.call = None;
    write::change(core, target, AS_IS, |pod| assign(target, pod, &binding, &node)).await?;
    Ok(Answer::Object {
        code: 201,
        value: json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }),
    })
}

/// Upstream answers these faults without a reason of their own.
fn check_target(binding: &Value) -> Result<(), ApiError> {
    let mut faults = Vec::new();
    let kind = text(binding, "/target/kind");
    if !kind.is_empty() && kind != "Node" {
        let supported = "supported values: \"Node\", \"<empty>\"".to_owned();
        faults.push(FieldError::new(Cause::NotSupported, "target.kind", supported, Some(kind.into())));
    }
    if text(binding, "/target/name").is_empty() {
        faults.push(FieldError::required("target.name", ""));
    }
    let mut texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    match texts.len() {
        0 => Ok(()),
        1 => Err(ApiError::new(500, "", texts.remove(0))),
        _ => Err(ApiError::new(500, "", format!("[{}]", texts.join(", ")))),
    }
}

/// Where a node is, as labels (upstream's admission plugin `PodTopologyLabels`).
pub(crate) fn topology(core: &Core, node: &str) -> Vec<(&'static str, Value)> {
    let record = core.kind("", "nodes").and_then(|kind| core.store.get(&core::key(kind, "", node)));
    let node = record.and_then(|record| select::slim(&record.value, &[&["metadata", "labels"]]).ok());
    let label = |name: &'static str| {
        let value = node.as_ref()?["metadata"]["labels"].get(name)?.clone();
        Some((name, value))
    };
    TOPOLOGY.into_iter().filter_map(label).collect()
}

fn assign(target: Target<'_>, pod: &Value, binding: &Value, node: &str) -> Result<Value, ApiError> {
    let name = text(pod, "/metadata/name");
    let refuse = |why: String| {
        let mut error = ApiError::conflict(target.kind, name, &why);
        // upstream names the subresource where it names the resource elsewhere
        error.message = error.message.replacen("on pods ", "on pods/binding ", 1);
        "pods/binding".clone_into(&mut error.details.kind);
        Err(error)
    };
    let (uid, held) = (text(binding, "/metadata/uid"), text(pod, "/metadata/uid"));
    if !uid.is_empty() && uid != held {
        return Err(write::other_uid(target, uid, held));
    }
    let (version, held) = (text(binding, "/metadata/resourceVersion"), text(pod, "/metadata/resourceVersion"));
    if !version.is_empty() && version != held {
        return Err(ApiError::modified(target.kind, name));
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
    if let Some(status) = pod["status"].as_object_mut() {
        status.remove("nominatedNodeName"); // the hint has served
    }
    for field in ["annotations", "labels"] {
        let added = binding.pointer(&format!("/metadata/{field}")).and_then(Value::as_object);
        for (key, value) in added.into_iter().flatten() {
            if !pod["metadata"][field].is_object() {
                pod["metadata"][field] = Value::Object(Map::new());
            }
            pod["metadata"][field][key] = value.clone();
        }
    }
    set_condition(&mut pod, "PodScheduled", "True", "", "");
    Ok(pod)
}
