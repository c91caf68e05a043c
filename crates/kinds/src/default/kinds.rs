//! Defaults that belong to a kind and not to a struct, because the same struct is elsewhere too (pod templates).
//!
//! Invariant: as for structs: running a rule again changes nothing.

use base::Quantity;
use serde_json::{Value, json};

use crate::json::{Members, fill, object, object_mut};

/// Requests follow limits and host ports follow container ports; only in pods, not in templates.
pub(crate) fn pod(pod: &mut Members) {
    if let Some(status) = object_mut(pod, "status") {
        single_address(status);
    }
    let Some(spec) = object_mut(pod, "spec") else { return };
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            if let Some(resources) = object_mut(container, "resources") {
                requests_follow_limits(resources);
            }
            if host_network {
                host_ports_follow(container);
            }
        }
    }
    pod_level_requests(spec);
}

/// The first address of a pod is told twice; where the two differ, the old field wins.
fn single_address(status: &mut Members) {
    let single = status.get("podIP").and_then(Value::as_str).unwrap_or("").to_owned();
    let first = status.get("podIPs").and_then(|addresses| addresses.get(0)?.get("ip")?.as_str()).unwrap_or("");
    if single.is_empty() && !first.is_empty() {
        let first = first.to_owned();
        status.insert("podIP".to_owned(), Value::String(first));
    } else if !single.is_empty() && single != first {
        status.insert("podIPs".to_owned(), json!([{ "ip": single }]));
    }
}

fn requests_follow_limits(resources: &mut Members) {
    if let Some(Value::Object(limits)) = resources.get("limits").cloned() {
        let requests = object(resources, "requests");
        limits.into_iter().for_each(|(name, value)| fill(requests, &name, value));
    }
}

fn host_ports_follow(container: &mut Members) {
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(port) = port.as_object_mut()
            && let Some(number) = port.get("containerPort").cloned()
            && number.as_i64() != Some(0)
        {
            fill(port, "hostPort", number);
        }
    }
}

/// Pod-level requests that are not set: the sum of the containers' requests, else the pod-level limits.
fn pod_level_requests(spec: &mut Members) {
    let Some(Value::Object(limits)) = spec.get("resources").and_then(|r| r.get("limits")).cloned() else { return };
    let sums: Vec<(String, Option<Quantity>)> =
        limits.keys().map(|name| (name.clone(), container_requests(spec, name))).collect();
    let Some(resources) = object_mut(spec, "resources") else { return };
    let requests = object(resources, "requests");
    for (name, sum) in sums {
        let value = sum.map(|sum| Value::String(sum.to_string())).or_else(|| limits.get(&name).cloned());
        fill(requests, &name, value.unwrap_or_default());
    }
}

fn container_requests(spec: &Members, resource: &str) -> Option<Quantity> {
    let containers = spec.get("containers").and_then(Value::as_array)?;
    containers
        .iter()
        .filter_map(|container| container.get("resources")?.get("requests")?.get(resource)?.as_str()?.parse().ok())
        .reduce(|a: Quantity, b: Quantity| a.checked_add(&b).unwrap_or(a))
}

pub(crate) fn job(job: &mut Members) {
    let labels = job.get("spec").and_then(|s| s.get("template")?.get("metadata")?.get("labels")).cloned();
    if let Some(spec) = object_mut(job, "spec") {
        let set = |name: &str| spec.get(name).is_some_and(|value| !value.is_null());
        let (alone, per_index, policy) =
            (!set("completions") && !set("parallelism"), set("backoffLimitPerIndex"), set("podFailurePolicy"));
        if alone {
            fill(spec, "completions", 1);
        }
        fill(spec, "manualSelector", false);
        fill(spec, "parallelism", 1);
        fill(spec, "backoffLimit", if per_index { i32::MAX } else { 6 });
        fill(spec, "podReplacementPolicy", if policy { "Failed" } else { "TerminatingOrFailed" });
    }
    labels_from(job, labels);
}

/// The claims that a set makes say what they are, as upstream's conversion writes it.
pub(crate) fn stateful_set(set: &mut Members) {
    let claims = object_mut(set, "spec").and_then(|spec| spec.get_mut("volumeClaimTemplates")?.as_array_mut());
    for claim in claims.into_iter().flatten().filter_map(Value::as_object_mut) {
        claim.insert("apiVersion".to_owned(), json!("v1"));
        claim.insert("kind".to_owned(), json!("PersistentVolumeClaim"));
    }
}

pub(crate) fn replication_controller(controller: &mut Members) {
    let labels = controller.get("spec").and_then(|s| s.get("template")?.get("metadata")?.get("labels")).cloned();
    if let (Some(spec), Some(labels)) = (object_mut(controller, "spec"), &labels) {
        fill(spec, "selector", labels.clone());
    }
    labels_from(controller, labels);
}

fn labels_from(members: &mut Members, labels: Option<Value>) {
    if let Some(labels) = labels.filter(Value::is_object) {
        fill(object(members, "metadata"), "labels", labels);
    }
}

pub(crate) fn namespace(namespace: &mut Members) {
    let name = namespace.get("metadata").and_then(|m| m.get("name")?.as_str()).unwrap_or("").to_owned();
    if !name.is_empty() {
        let labels = object(object(namespace, "metadata"), "labels");
        labels.insert("kubernetes.io/metadata.name".to_owned(), Value::String(name));
    }
}

/// The first block of addresses is told twice; where the two differ, the old field wins.
pub(crate) fn node(node: &mut Members) {
    let Some(spec) = object_mut(node, "spec") else { return };
    let single = spec.get("podCIDR").and_then(Value::as_str).unwrap_or("").to_owned();
    let first = spec.get("podCIDRs").and_then(|blocks| blocks.get(0)?.as_str()).unwrap_or("").to_owned();
    if single.is_empty() && !first.is_empty() {
        spec.insert("podCIDR".to_owned(), Value::String(first));
    } else if !single.is_empty() && single != first {
        spec.insert("podCIDRs".to_owned(), json!([single]));
    }
}

pub(crate) fn service_status(service: &mut Members) {
    let balanced = service.get("spec").and_then(|s| s.get("type")) == Some(&Value::from("LoadBalancer"));
    let ingress = service.get_mut("status").and_then(|s| s.get_mut("loadBalancer")?.get_mut("ingress")?.as_array_mut());
    for entry in ingress.filter(|_| balanced).into_iter().flatten().filter_map(Value::as_object_mut) {
        if entry.get("ip").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty()) {
            fill(entry, "ipMode", "VIP");
        }
    }
}

pub(crate) fn custom_resource_definition(definition: &mut Members) {
    let Some(spec) = object_mut(definition, "spec") else { return };
    let conversion = spec.entry("conversion").or_insert_with(|| json!({"strategy": "None"}));
    let service = conversion.pointer_mut("/webhook/clientConfig/service").and_then(Value::as_object_mut);
    if let Some(service) = service {
        fill(service, "port", 443);
    }
    if let Some(names) = object_mut(spec, "names")
        && let Some(kind) = names.get("kind").and_then(Value::as_str).filter(|kind| !kind.is_empty()).map(str::to_owned)
    {
        fill(names, "singular", kind.to_lowercase());
        fill(names, "listKind", format!("{kind}List"));
    }
    let versions = spec.get("versions").and_then(Value::as_array).into_iter().flatten();
    let stored: Vec<Value> = versions
        .filter(|version| version.get("storage") == Some(&Value::Bool(true)))
        .filter_map(|version| version.get("name").cloned())
        .collect();
    if !stored.is_empty() {
        fill(object(definition, "status"), "storedVersions", json!(stored));
    }
}

/// `stringData` is for writing only: it wins over `data` and is never stored.
pub(crate) fn secret(secret: &mut Members) {
    if let Some(Value::Object(texts)) = secret.remove("stringData") {
        let data = object(secret, "data");
        for (key, value) in texts {
            let text = value.as_str().unwrap_or_default();
            data.insert(key, Value::String(crate::base64::encode(text.as_bytes())));
        }
    }
}
