//! What the server writes into pods.

use serde_json::{Value, json};

use super::qos;
use crate::json::{Members, at, int, list, object_mut, text};

/// A new pod waits to be scheduled; what gates hold back is told so from the beginning.
pub(crate) fn create_pod(pod: &mut Members) {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let mut status = json!({"phase": "Pending", "qosClass": qos::class(spec)});
    if !list(spec, "schedulingGates").is_empty() {
        let message = "Scheduling is blocked due to non-empty scheduling gates";
        let held = json!({"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": message});
        status["conditions"] = json!([held]);
    }
    pod.insert("status".to_owned(), status);
    join_label_keys(pod);
}

/// The labels of the pod that terms of affinity and constraints name by key become requirements of their selectors.
fn join_label_keys(pod: &mut Members) {
    let labels = pod.get("metadata").map_or(Value::Null, |meta| at(meta, "labels").clone());
    let Some(spec) = object_mut(pod, "spec") else { return };
    for constraint in spec.get_mut("topologySpreadConstraints").and_then(Value::as_array_mut).into_iter().flatten() {
        join(constraint, &labels, &[("matchLabelKeys", "In")]);
    }
    let Some(affinity) = object_mut(spec, "affinity") else { return };
    let keys = [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")];
    for name in ["podAffinity", "podAntiAffinity"] {
        let Some(terms) = object_mut(affinity, name) else { continue };
        let preferred = terms.get_mut("preferredDuringSchedulingIgnoredDuringExecution").and_then(Value::as_array_mut);
        for weighted in preferred.into_iter().flatten().filter_map(|weighted| weighted.get_mut("podAffinityTerm")) {
            join(weighted, &labels, &keys);
        }
        let required = terms.get_mut("requiredDuringSchedulingIgnoredDuringExecution").and_then(Value::as_array_mut);
        required.into_iter().flatten().for_each(|term| join(term, &labels, &keys));
    }
}

/// Nothing joins a selector that is not there: it selects nothing.
fn join(term: &mut Value, labels: &Value, keys: &[(&str, &str)]) {
    let mut made: Vec<Value> = Vec::new();
    for (name, operator) in keys {
        for key in list(term, name).iter().filter_map(Value::as_str) {
            if let Some(value) = labels.get(key).filter(|value| value.is_string()) {
                made.push(json!({ "key": key, "operator": operator, "values": [value] }));
            }
        }
    }
    let selector = term.get_mut("labelSelector").and_then(Value::as_object_mut);
    if let Some(selector) = selector.filter(|_| !made.is_empty()) {
        match selector.get_mut("matchExpressions") {
            Some(Value::Array(expressions)) => expressions.extend(made),
            _ => drop(selector.insert("matchExpressions".to_owned(), Value::Array(made))),
        }
    }
}

/// What the writer of a status may leave out: the class of the pod, and the generations that the status and its
/// conditions tell of. Conditions of one type are told apart by their order.
pub(super) fn keep_status(status: &mut Members, old: &Value) {
    let keep = |members: &mut Members, old: &Value, name: &str| {
        let absent = members.get(name).is_none_or(|value| value.is_null() || value == "" || value == 0);
        if absent && !at(old, name).is_null() {
            members.insert(name.to_owned(), at(old, name).clone());
        }
    };
    keep(status, old, "qosClass");
    keep(status, old, "observedGeneration");
    let mut before: Vec<&Value> = list(old, "conditions").iter().collect();
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    for condition in conditions.into_iter().flatten() {
        let same = before.iter().position(|held| text(held, "type") == text(condition, "type"));
        let Some(held) = same.map(|index| before.remove(index)) else { continue };
        if let Some(condition) = condition.as_object_mut().filter(|_| int(held, "observedGeneration") != Some(0)) {
            keep(condition, held, "observedGeneration");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_keys_of_a_new_pod_join_its_selectors() {
        let term = |rest: Value| {
            let mut term =
                json!({"topologyKey": "zone", "matchLabelKeys": ["hash", "none"], "mismatchLabelKeys": ["tenant"]});
            term.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            term
        };
        let selected = json!({"labelSelector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}});
        let pod = json!({
            "metadata": {"labels": {"hash": "1", "tenant": "t", "other": "o"}},
            "spec": {
                "topologySpreadConstraints": [
                    {"topologyKey": "zone", "matchLabelKeys": ["hash"], "labelSelector": {"matchLabels": {"a": "b"}}},
                    {"topologyKey": "host", "matchLabelKeys": ["hash"]},
                ],
                "affinity": {
                    "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(selected)]},
                    "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 1, "podAffinityTerm": term(json!({"labelSelector": {}}))},
                    ]},
                },
            },
        });
        let Value::Object(mut pod) = pod else { unreachable!() };
        create_pod(&mut pod);
        let spec = &pod["spec"];
        let hash = json!({"key": "hash", "operator": "In", "values": ["1"]});
        let tenant = json!({"key": "tenant", "operator": "NotIn", "values": ["t"]});
        let constraints = &spec["topologySpreadConstraints"];
        assert_eq!(constraints[0]["labelSelector"], json!({"matchLabels": {"a": "b"}, "matchExpressions": [hash]}));
        assert_eq!(constraints[1].get("labelSelector"), None);
        let required = &spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        let exists = json!({"key": "a", "operator": "Exists"});
        assert_eq!(required["labelSelector"]["matchExpressions"], json!([exists, hash, tenant]));
        let preferred = &spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
        assert_eq!(preferred["podAffinityTerm"]["labelSelector"], json!({"matchExpressions": [hash, tenant]}));
    }

    #[test]
    fn a_status_keeps_what_its_writer_does_not_know() {
        let old = json!({"qosClass": "Burstable", "observedGeneration": 3, "conditions": [
            {"type": "A", "observedGeneration": 1}, {"type": "A", "observedGeneration": 2}, {"type": "B"},
        ]});
        let new = json!({"conditions": [
            {"type": "A"}, {"type": "B"}, {"type": "A", "observedGeneration": 5}, {"type": "C"},
        ]});
        let Value::Object(mut new) = new else { unreachable!() };
        keep_status(&mut new, &old);
        let expected = json!({"qosClass": "Burstable", "observedGeneration": 3, "conditions": [
            {"type": "A", "observedGeneration": 1}, {"type": "B"}, {"type": "A", "observedGeneration": 5}, {"type": "C"},
        ]});
        assert_eq!(Value::Object(new), expected);
    }
}
