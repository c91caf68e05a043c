//! There and back again.

use super::*;
use crate::Catalog;
use serde_json::json;

#[track_caller]
fn round_trip(from: (&str, &str, &str), to: (&str, &str, &str), original: Value) -> Value {
    let kind = |(group, version, plural)| Catalog::builtin().resource(group, version, plural).unwrap();
    let mut value = original.clone();
    convert(&mut value, kind(from), kind(to));
    let other = value.clone();
    convert(&mut value, kind(to), kind(from));
    assert_eq!(value, original);
    other
}

#[test]
fn an_autoscaler_keeps_everything_on_its_way_through_v1() {
    let plural = "horizontalpodautoscalers";
    let cpu = |percent: i64| json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}});
    let older = round_trip(
        ("autoscaling", "v2", plural),
        ("autoscaling", "v1", plural),
        json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a", "annotations": {"x": "y"}},
            "spec": {
                "maxReplicas": 3,
                "metrics": [cpu(50), {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "Value", "value": "1"}}}],
                "behavior": {"scaleUp": {"selectPolicy": "Max"}},
            },
            "status": {"desiredReplicas": 1, "conditions": [{"type": "AbleToScale", "status": "True"}]},
        }),
    );
    assert_eq!(older["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 50}));
    assert_eq!(older["apiVersion"], "autoscaling/v1");
    let newer = round_trip(
        ("autoscaling", "v1", plural),
        ("autoscaling", "v2", plural),
        json!({
            "apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a"}, "spec": {"maxReplicas": 3, "targetCPUUtilizationPercentage": 60},
        }),
    );
    assert_eq!(newer["spec"]["metrics"], json!([cpu(60)]));
}

#[test]
fn events_have_two_names_for_everything() {
    let event = round_trip(
        ("", "v1", "events"),
        ("events.k8s.io", "v1", "events"),
        json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "Started",
            "involvedObject": {"kind": "Pod"}, "message": "m", "count": 2, "reportingComponent": "kubelet",
        }),
    );
    assert_eq!(event["regarding"], json!({"kind": "Pod"}));
    assert_eq!(event["note"], "m");
    assert_eq!(event["deprecatedCount"], 2);
}

#[test]
fn versions_without_a_rule_differ_in_name_only() {
    let claim = round_trip(
        ("resource.k8s.io", "v1", "resourceclaims"),
        ("resource.k8s.io", "v1beta2", "resourceclaims"),
        json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "spec": {"devices": {}}}),
    );
    assert_eq!(claim["apiVersion"], "resource.k8s.io/v1beta2");
}
