//! Conditional defaults that belong to a struct wherever it stands.
//!
//! Invariant: a rule runs after the constants and members of its struct are in place, and running it again changes nothing.

use serde_json::{Value, json};

use super::Rule;
use crate::json::{Members, fill, object, object_mut};

/// Definition and rule, in the order of facts/defaults.tsv.
pub(super) static RULES: &[(&str, Rule)] = &[
    ("api.core.v1.Container", |container| pull_policy(container, "image", "imagePullPolicy")),
    ("api.core.v1.EphemeralContainer", |container| pull_policy(container, "image", "imagePullPolicy")),
    ("api.core.v1.ImageVolumeSource", |source| pull_policy(source, "reference", "pullPolicy")),
    ("api.core.v1.Volume", volume),
    ("api.core.v1.PodSpec", pod_spec),
    ("api.core.v1.ServiceSpec", service),
    ("api.core.v1.NodeStatus", node_status),
    ("api.core.v1.LimitRangeItem", limit_range_item),
    ("api.apps.v1.DeploymentSpec", deployment),
    ("api.apps.v1.DaemonSetSpec", daemon_set),
    ("api.apps.v1.StatefulSetSpec", stateful_set),
    ("api.autoscaling.v2.HorizontalPodAutoscalerSpec", autoscaler),
    ("api.networking.v1.NetworkPolicySpec", network_policy),
    ("api.rbac.v1.Subject", subject),
    ("api.resource.v1.ExactDeviceRequest", device_request),
    ("api.resource.v1.DeviceSubRequest", device_request),
    ("api.resource.v1beta2.ExactDeviceRequest", device_request),
    ("api.resource.v1beta2.DeviceSubRequest", device_request),
    ("api.resource.v1beta1.DeviceRequest", plain_device_request),
    ("api.resource.v1beta1.DeviceSubRequest", device_request),
];

fn text<'m>(members: &'m Members, name: &str) -> &'m str {
    members.get(name).and_then(Value::as_str).unwrap_or("")
}

fn pull_policy(members: &mut Members, image: &str, policy: &str) {
    let latest = tag_is_latest(text(members, image));
    fill(members, policy, if latest { "Always" } else { "IfNotPresent" });
}

/// Whether an image reference means the tag `latest`: named, or neither tag nor digest.
fn tag_is_latest(image: &str) -> bool {
    if image.is_empty() {
        return false;
    }
    let (name, digest) = image.split_once('@').map_or((image, false), |(name, _)| (name, true));
    // A colon before the last slash belongs to the registry's port.
    match name.rsplit('/').next().and_then(|last| last.split_once(':')) {
        Some((_, tag)) => tag == "latest",
        None => !digest,
    }
}

fn volume(members: &mut Members) {
    if members.keys().all(|name| name == "name") {
        members.insert("emptyDir".to_owned(), json!({}));
    }
}

/// The old and the new name of the service account always go together.
fn pod_spec(spec: &mut Members) {
    // A negative time was always taken for the shortest one.
    if spec.get("terminationGracePeriodSeconds").and_then(Value::as_i64).is_some_and(|seconds| seconds < 0) {
        spec.insert("terminationGracePeriodSeconds".to_owned(), json!(1));
    }
    let (new, old) = ("serviceAccountName", "serviceAccount");
    if let Some(name) = spec.get(new).or_else(|| spec.get(old)).cloned() {
        fill(spec, new, name);
    }
    if let Some(name) = spec.get(new).cloned() {
        spec.insert(old.to_owned(), name);
    }
}

fn service(spec: &mut Members) {
    match text(spec, "sessionAffinity") {
        "None" => drop(spec.remove("sessionAffinityConfig")),
        "ClientIP" => {
            let config = object(object(spec, "sessionAffinityConfig"), "clientIP");
            fill(config, "timeoutSeconds", 10800);
        }
        _ => {}
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(port) = port.as_object_mut() else { continue };
        let unset = match port.get("targetPort") {
            None | Some(Value::Null) => true,
            Some(Value::String(name)) => name.is_empty(),
            Some(number) => number.as_i64() == Some(0),
        };
        if let Some(number) = port.get("port").filter(|number| unset && number.is_number()).cloned() {
            port.insert("targetPort".to_owned(), number);
        }
    }
    let kind = text(spec, "type").to_owned();
    let external_ips = spec.get("externalIPs").and_then(Value::as_array).is_some_and(|ips| !ips.is_empty());
    if matches!(&*kind, "NodePort" | "LoadBalancer") || (kind == "ClusterIP" && external_ips) {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(&*kind, "ClusterIP" | "NodePort" | "LoadBalancer") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        fill(spec, "allocateLoadBalancerNodePorts", true);
    }
}

fn node_status(status: &mut Members) {
    if let Some(capacity) = status.get("capacity").cloned() {
        fill(status, "allocatable", capacity);
    }
}

fn limit_range_item(item: &mut Members) {
    if text(item, "type") != "Container" {
        return;
    }
    for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
        if let Some(Value::Object(source)) = item.get(from).cloned() {
            let target = object(item, to);
            source.into_iter().for_each(|(name, value)| fill(target, &name, value));
        }
    }
}

fn deployment(spec: &mut Members) {
    rolling_update(spec, "strategy", &[("maxUnavailable", json!("25%")), ("maxSurge", json!("25%"))]);
}

fn daemon_set(spec: &mut Members) {
    rolling_update(spec, "updateStrategy", &[("maxUnavailable", json!(1)), ("maxSurge", json!(0))]);
}

fn stateful_set(spec: &mut Members) {
    rolling_update(spec, "updateStrategy", &[("partition", json!(0))]);
}

fn rolling_update(spec: &mut Members, strategy: &str, parameters: &[(&str, Value)]) {
    let Some(strategy) = object_mut(spec, strategy) else { return };
    if text(strategy, "type") == "RollingUpdate" {
        let update = object(strategy, "rollingUpdate");
        parameters.iter().for_each(|(name, value)| fill(update, name, value.clone()));
    }
}

fn autoscaler(spec: &mut Members) {
    let Some(behavior) = object_mut(spec, "behavior") else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    let up = object(behavior, "scaleUp");
    fill(up, "stabilizationWindowSeconds", 0);
    fill(up, "selectPolicy", "Max");
    fill(up, "policies", json!([pods, percent]));
    let down = object(behavior, "scaleDown");
    fill(down, "selectPolicy", "Max");
    fill(down, "policies", json!([percent]));
}

fn network_policy(spec: &mut Members) {
    let egress = spec.get("egress").and_then(Value::as_array).is_some_and(|rules| !rules.is_empty());
    fill(spec, "policyTypes", if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) });
}

fn subject(subject: &mut Members) {
    if matches!(text(subject, "kind"), "User" | "Group") {
        fill(subject, "apiGroup", "rbac.authorization.k8s.io");
    }
}

/// The older form of a request, which is one unless it lists alternatives.
fn plain_device_request(members: &mut Members) {
    if members.get("firstAvailable").and_then(Value::as_array).is_none_or(Vec::is_empty) {
        device_request(members);
    }
}

fn device_request(request: &mut Members) {
    fill(request, "allocationMode", "ExactCount");
    if text(request, "allocationMode") == "ExactCount" {
        fill(request, "count", 1);
    }
}

#[cfg(test)]
mod tests {
    use super::tag_is_latest;

    #[test]
    fn only_a_missing_or_latest_tag_means_latest() {
        for image in ["nginx", "nginx:latest", "reg:5000/a/nginx", "reg:5000/nginx:latest"] {
            assert!(tag_is_latest(image), "{image}");
        }
        for image in ["", "nginx:1", "nginx@sha256:ab", "nginx:1@sha256:ab", "reg:5000/nginx:1"] {
            assert!(!tag_is_latest(image), "{image}");
        }
    }
}
