//! HorizontalPodAutoscaler v1 knows one CPU target; everything else of v2 travels in annotations.

use serde_json::{Value, json};

use crate::json::{Members, at, dig, list, object, text};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";

fn is_cpu(metric: &Value) -> bool {
    text(metric, "type") == "Resource" && text(at(metric, "resource"), "name") == "cpu"
}

pub(super) fn older(autoscaler: &mut Members) {
    let (spec, status) = (autoscaler.get("spec").cloned(), autoscaler.get("status").cloned());
    let (spec, status) = (spec.unwrap_or_default(), status.unwrap_or_default());
    let mut notes: Vec<(&str, Value)> = Vec::new();

    let metrics = list(&spec, "metrics");
    let target = |metric: &Value| dig(metric, &["resource", "target", "averageUtilization"]).clone();
    let plain = |metric: &&Value| is_cpu(metric) && !target(metric).is_null();
    let cpu = metrics.iter().find(plain);
    let others: Vec<Value> = metrics.iter().filter(|metric| cpu != Some(*metric)).cloned().collect();
    note(&mut notes, METRICS, Value::Array(others));
    note(&mut notes, BEHAVIOR, at(&spec, "behavior").clone());
    if let Some(members) = autoscaler.get_mut("spec").and_then(Value::as_object_mut) {
        members.remove("metrics");
        members.remove("behavior");
        if let Some(cpu) = cpu {
            members.insert("targetCPUUtilizationPercentage".to_owned(), target(cpu));
        }
    }

    let current = list(&status, "currentMetrics");
    let used = |metric: &Value| dig(metric, &["resource", "current", "averageUtilization"]).clone();
    note(&mut notes, CURRENT, Value::Array(current.to_vec()));
    note(&mut notes, CONDITIONS, at(&status, "conditions").clone());
    if let Some(members) = autoscaler.get_mut("status").and_then(Value::as_object_mut) {
        members.remove("currentMetrics");
        members.remove("conditions");
        if let Some(percent) = current.iter().find(|metric| is_cpu(metric)).map(used).filter(|used| !used.is_null()) {
            members.insert("currentCPUUtilizationPercentage".to_owned(), percent);
        }
    }
    if !notes.is_empty() {
        let annotations = object(object(autoscaler, "metadata"), "annotations");
        for (name, value) in notes {
            annotations.insert(name.to_owned(), Value::String(value.to_string()));
        }
    }
}

fn note<'n>(notes: &mut Vec<(&'n str, Value)>, name: &'n str, value: Value) {
    if !crate::json::is_empty(&value) {
        notes.push((name, value));
    }
}

pub(super) fn newer(autoscaler: &mut Members) {
    let mut noted = |name: &str| -> Option<Value> {
        let meta = autoscaler.get_mut("metadata")?.as_object_mut()?;
        let annotations = meta.get_mut("annotations")?.as_object_mut()?;
        let text = annotations.remove(name)?;
        if annotations.is_empty() {
            meta.remove("annotations");
        }
        serde_json::from_str(text.as_str()?).ok()
    };
    let (metrics, behavior) = (noted(METRICS), noted(BEHAVIOR));
    let (current, conditions) = (noted(CURRENT), noted(CONDITIONS));

    if let Some(spec) = autoscaler.get_mut("spec").and_then(Value::as_object_mut) {
        let cpu = spec.remove("targetCPUUtilizationPercentage").filter(|percent| !percent.is_null()).map(|percent| {
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
        });
        let others = metrics.and_then(|metrics| metrics.as_array().cloned()).unwrap_or_default();
        let all: Vec<Value> = cpu.into_iter().chain(others).collect();
        set(spec, "metrics", Value::Array(all));
        set(spec, "behavior", behavior.unwrap_or_default());
    }
    let has_status = autoscaler.contains_key("status") || current.is_some() || conditions.is_some();
    if has_status {
        let status = object(autoscaler, "status");
        let percent = status.remove("currentCPUUtilizationPercentage").filter(|percent| !percent.is_null());
        let current = current.unwrap_or_else(|| match percent {
            Some(percent) => json!([{
                "type": "Resource",
                "resource": {"name": "cpu", "current": {"averageUtilization": percent}},
            }]),
            None => Value::Null,
        });
        set(status, "currentMetrics", current);
        set(status, "conditions", conditions.unwrap_or_default());
    }
}

fn set(members: &mut Members, name: &str, value: Value) {
    if !crate::json::is_empty(&value) {
        members.insert(name.to_owned(), value);
    }
}
