mod simulation;

use expect_test::{Expect, expect};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::question::Reading;
use super::*;
use crate::world::NOW;

/// An autoscaler of the deployment `web` with these metrics, between one replica and ten.
fn autoscaler(metrics: Value) -> HorizontalPodAutoscaler {
    let object = json!({
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": {
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" },
            "minReplicas": 1, "maxReplicas": 10, "metrics": metrics,
        },
    });
    serde_json::from_value(object).expect("an autoscaler")
}

fn cpu(percent: i32) -> Value {
    let target = json!({ "type": "Utilization", "averageUtilization": percent });
    json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } })
}

fn external(average: &str) -> Value {
    let target = json!({ "type": "AverageValue", "averageValue": average });
    let metric = json!({ "name": "queue", "selector": { "matchLabels": { "q": "a" } } });
    json!({ "type": "External", "external": { "metric": metric, "target": target } })
}

/// Ready pods that requested one core each.
fn pods(count: usize) -> Vec<Arc<Pod>> {
    let pod = |index: usize| {
        let since = base::time::rfc3339(NOW - SignedDuration::from_secs(3000));
        json!({
            "metadata": { "name": format!("p{index}") },
            "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "1", "memory": "1Gi" } } }] },
            "status": { "phase": "Running", "startTime": since,
                "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": since }] },
        })
    };
    (0..count).map(|index| Arc::new(serde_json::from_value(pod(index)).expect("a pod"))).collect()
}

/// The same use for each of so many pods, in thousandths.
fn used(count: usize, each: i64) -> Read {
    let sample = Sample { at: NOW, window: SignedDuration::from_secs(30), value: each };
    Ok(Reading::Pods((0..count).map(|index| (format!("p{index}"), sample)).collect()))
}

fn scale(count: usize) -> Result<Scale, String> {
    let count = i32::try_from(count).expect("a small number");
    Ok(Scale { wanted: count, actual: count, selector: "app=web".into() })
}

struct Scene {
    autoscaler: HorizontalPodAutoscaler,
    scale: Result<Scale, String>,
    pods: Vec<Arc<Pod>>,
    rivals: Vec<Key>,
    readings: Vec<Read>,
    history: History,
}

impl Scene {
    fn new(metrics: Value, count: usize, readings: Vec<Read>) -> Self {
        let rivals = vec![Key::new("shop", "web")];
        Self {
            autoscaler: autoscaler(metrics),
            scale: scale(count),
            pods: pods(count),
            rivals,
            readings,
            history: History::default(),
        }
    }

    fn plan(&self, now: Timestamp) -> Plan {
        let observed = Observed {
            scale: &self.scale,
            pods: &self.pods,
            rivals: &self.rivals,
            readings: &self.readings,
            history: &self.history,
            now,
        };
        plan(&self.autoscaler, &observed)
    }

    fn check(&self, expected: Expect) {
        let mut plan = self.plan(NOW);
        plan.done(&self.autoscaler, Ok(()), NOW);
        expected.assert_eq(&describe(&plan));
    }
}

fn describe(plan: &Plan) -> String {
    let mut lines = Vec::new();
    if let Some(rescale) = &plan.rescale {
        lines.push(format!("rescale {} -> {}", rescale.from, rescale.to));
    }
    let status = &plan.status;
    lines.push(format!("status current={} desired={}", status.current_replicas.unwrap_or(0), status.desired_replicas));
    lines.extend(status.current_metrics.iter().flatten().map(|metric| format!("  {}", json!(metric))));
    for one in status.conditions.iter().flatten() {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        lines.push(format!("  {}={} {}: {}", one.type_, one.status, text(&one.reason), text(&one.message)));
    }
    lines.extend(
        plan.notes.iter().map(|note| {
            format!("{} {}: {}", if note.warning { "warning" } else { "normal" }, note.reason, note.message)
        }),
    );
    lines.join("\n")
}

#[test]
fn busy_pods_make_more_of_them() {
    Scene::new(json!([cpu(50)]), 2, vec![used(2, 900)]).check(expect![[r#"
        rescale 2 -> 4
        status current=2 desired=4
          {"resource":{"current":{"averageUtilization":90,"averageValue":"900m"},"name":"cpu"},"type":"Resource"}
          AbleToScale=True SucceededRescale: the HPA controller was able to update the target scale to 4
          ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range
        normal SuccessfulRescale: New size: 4; reason: cpu resource utilization (percentage of request) above target"#]]);
}

#[test]
fn idle_pods_are_kept_for_a_while() {
    let mut scene = Scene::new(json!([cpu(50)]), 4, vec![used(4, 100)]);
    scene.check(expect![[r#"
        status current=4 desired=4
          {"resource":{"current":{"averageUtilization":10,"averageValue":"100m"},"name":"cpu"},"type":"Resource"}
          AbleToScale=True ScaleDownStabilized: recent recommendations were higher than current one, applying the highest recent recommendation
          ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range"#]]);
    scene.history = scene.plan(NOW - SignedDuration::from_secs(301)).history;
    scene.check(expect![[r#"
        rescale 4 -> 1
        status current=4 desired=1
          {"resource":{"current":{"averageUtilization":10,"averageValue":"100m"},"name":"cpu"},"type":"Resource"}
          AbleToScale=True SucceededRescale: the HPA controller was able to update the target scale to 1
          ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range
        normal SuccessfulRescale: New size: 1; reason: All metrics below target"#]]);
}

#[test]
fn without_metrics_nothing_is_scaled_and_it_is_said_why() {
    let missing = "unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)";
    Scene::new(json!([cpu(50)]), 2, vec![Err(missing.into())]).check(expect![[r#"
        status current=2 desired=0
          {"type":""}
          AbleToScale=True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive=False FailedGetResourceMetric: the HPA was unable to compute the replica count: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
        warning FailedGetResourceMetric: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)
        warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics from resource metrics API: the server could not find the requested resource (get pods.metrics.k8s.io)"#]]);
}

#[test]
fn with_one_of_two_metrics_missing_it_may_only_grow() {
    let missing = || Err("unable to fetch metrics from external metrics API: no".to_owned());
    let metrics = json!([cpu(50), external("10")]);
    let to = |readings: Vec<Read>| Scene::new(metrics.clone(), 4, readings).plan(NOW).rescale.map(|rescale| rescale.to);
    assert_eq!(to(vec![used(4, 900), missing()]), Some(8));
    assert_eq!(to(vec![used(4, 100), missing()]), None);
    assert_eq!(to(vec![missing(), Ok(Reading::Values(vec![50_000, 10_000]))]), Some(6));
    let mut idle = Scene::new(metrics, 4, vec![used(4, 100), missing()]);
    idle.history = idle.plan(NOW - SignedDuration::from_secs(301)).history;
    idle.check(expect![[r#"
        status current=4 desired=0
          {"resource":{"current":{"averageUtilization":10,"averageValue":"100m"},"name":"cpu"},"type":"Resource"}
          {"type":""}
          AbleToScale=True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive=False FailedGetExternalMetric: the HPA was unable to compute the replica count: unable to get external metric shop/queue/&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics from external metrics API: no
        warning FailedGetExternalMetric: unable to get external metric shop/queue/&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics from external metrics API: no
        warning FailedComputeMetricsReplicas: invalid metrics (1 invalid out of 2), first error is: failed to get queue external metric value: failed to get queue external metric: unable to get external metric shop/queue/&LabelSelector{MatchLabels:map[string]string{q: a,},MatchExpressions:[]LabelSelectorRequirement{},}: unable to fetch metrics from external metrics API: no"#]]);
}

#[test]
fn of_several_metrics_the_one_that_asks_for_most_counts() {
    let pods = json!({ "type": "Pods", "pods": { "metric": { "name": "rate" }, "target": { "type": "AverageValue", "averageValue": "100" } } });
    let object = json!({ "type": "Object", "object": { "describedObject": { "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "name": "main" },
        "metric": { "name": "hits" }, "target": { "type": "Value", "value": "2k" } } });
    let memory = json!({ "type": "ContainerResource", "containerResource": { "name": "memory", "container": "c",
        "target": { "type": "AverageValue", "averageValue": "1Gi" } } });
    let readings = vec![
        used(3, 90_000),
        Ok(Reading::Value(4_000_000)),
        used(3, (512 << 20) * 1000),
        Ok(Reading::Values(vec![25_000])),
    ];
    Scene::new(json!([pods, object, memory, external("10")]), 3, readings).check(expect![[r#"
        rescale 3 -> 6
        status current=3 desired=6
          {"pods":{"current":{"averageValue":"90"},"metric":{"name":"rate"}},"type":"Pods"}
          {"object":{"current":{"value":"4k"},"describedObject":{"apiVersion":"networking.k8s.io/v1","kind":"Ingress","name":"main"},"metric":{"name":"hits"}},"type":"Object"}
          {"containerResource":{"container":"c","current":{"averageValue":"512Mi"},"name":"memory"},"type":"ContainerResource"}
          {"external":{"current":{"averageValue":"8334m"},"metric":{"name":"queue","selector":{"matchLabels":{"q":"a"}}}},"type":"External"}
          AbleToScale=True SucceededRescale: the HPA controller was able to update the target scale to 6
          ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from Ingress metric hits
          ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range
        normal SuccessfulRescale: New size: 6; reason: Ingress metric hits above target"#]]);
}

#[test]
fn bounds_count_without_any_metric_and_zero_switches_off() {
    let scene = |count| Scene::new(json!([cpu(50)]), count, Vec::new());
    scene(12).check(expect![[r#"
        rescale 12 -> 10
        status current=12 desired=10
          AbleToScale=True SucceededRescale: the HPA controller was able to update the target scale to 10
        normal SuccessfulRescale: New size: 10; reason: Current number of replicas above Spec.MaxReplicas"#]]);
    let mut few = scene(1);
    few.autoscaler.spec.min_replicas = Some(3);
    few.check(expect![[r#"
        rescale 1 -> 3
        status current=1 desired=3
          AbleToScale=True SucceededRescale: the HPA controller was able to update the target scale to 3
        normal SuccessfulRescale: New size: 3; reason: Current number of replicas below Spec.MinReplicas"#]]);
    scene(0).check(expect![[r#"
        status current=0 desired=0
          AbleToScale=True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive=False ScalingDisabled: scaling is disabled since the replica count of the target is zero"#]]);
}

#[test]
fn whose_pods_they_are_must_be_clear() {
    let mut scene = Scene::new(json!([cpu(50)]), 2, vec![used(2, 900)]);
    scene.rivals.push(Key::new("shop", "other"));
    scene.check(expect![[r#"
        status current=2 desired=0
          AbleToScale=True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive=False AmbiguousSelector: pods by selector app=web are controlled by multiple HPAs: [{web shop} {other shop}]
        warning AmbiguousSelector: pods by selector app=web are controlled by multiple HPAs: [{web shop} {other shop}]
        warning FailedComputeMetricsReplicas: pods by selector app=web are controlled by multiple HPAs: [{web shop} {other shop}]"#]]);
    scene.scale = Ok(Scale { wanted: 2, actual: 2, selector: String::new() });
    scene.check(expect![[r#"
        status current=2 desired=0
          AbleToScale=True SucceededGetScale: the HPA controller was able to get the target's current scale
          ScalingActive=False InvalidSelector: the HPA target's scale is missing a selector
        warning SelectorRequired: selector is required
        warning FailedComputeMetricsReplicas: selector is required"#]]);
}

#[test]
fn a_target_that_cannot_be_read_or_changed_is_told_of() {
    let mut scene = Scene::new(json!([cpu(50)]), 2, vec![used(2, 900)]);
    let mut plan = scene.plan(NOW);
    plan.done(&scene.autoscaler, Err("no"), NOW);
    expect![[r#"
        rescale 2 -> 4
        status current=2 desired=0
          {"resource":{"current":{"averageUtilization":90,"averageValue":"900m"},"name":"cpu"},"type":"Resource"}
          AbleToScale=False FailedUpdateScale: the HPA controller was unable to update the target scale: no
          ScalingActive=True ValidMetricFound: the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)
          ScalingLimited=False DesiredWithinRange: the desired count is within the acceptable range
        warning FailedRescale: New size: 4; reason: cpu resource utilization (percentage of request) above target; error: no"#]]
    .assert_eq(&describe(&plan));
    scene.scale = Err(r#"deployments.apps "web" not found"#.into());
    scene.check(expect![[r#"
        status current=0 desired=0
          AbleToScale=False FailedGetScale: the HPA controller was unable to get the target's current scale: deployments.apps "web" not found
        warning FailedGetScale: deployments.apps "web" not found"#]]);
}

#[test]
fn the_tolerance_may_be_set_for_each_direction() {
    let mut scene = Scene::new(json!([cpu(50)]), 10, vec![used(10, 520)]);
    scene.autoscaler.spec.max_replicas = 20;
    assert_eq!(scene.plan(NOW).rescale, None);
    let rules = |tolerance: &str| {
        json!({ "tolerance": tolerance, "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
            "policies": [{ "type": "Pods", "value": 10, "periodSeconds": 15 }] })
    };
    let behavior = json!({ "scaleUp": rules("0.01"), "scaleDown": rules("0.5") });
    scene.autoscaler.spec.behavior = serde_json::from_value(behavior).unwrap();
    assert_eq!(scene.plan(NOW).rescale.map(|rescale| rescale.to), Some(11));
    scene.readings = vec![used(10, 300)];
    assert_eq!(scene.plan(NOW).rescale, None);
    scene.readings = vec![used(10, 200)];
    assert_eq!(scene.plan(NOW).rescale.map(|rescale| rescale.to), Some(4));
}

#[test]
fn metrics_are_only_asked_for_where_they_matter() {
    let autoscaler = autoscaler(json!([cpu(50)]));
    let needs = |wanted, selector: &str| {
        needs_metrics(&autoscaler, &Scale { wanted, actual: wanted, selector: selector.into() })
    };
    assert!(needs(2, "app=web"));
    assert!(!needs(0, "app=web") && !needs(11, "app=web") && !needs(2, "app in"));
}
