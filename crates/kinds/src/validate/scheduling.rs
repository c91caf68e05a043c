//! Rules of what steers a pod to a node: affinity, tolerations, spreading.

use base::name;
use serde_json::Value;

use super::{Faults, meta};
use crate::json::{at, has, int, list, text};
use crate::path::Path;

pub(crate) fn check(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let affinity = at(spec, "affinity");
    let above = path.field("affinity");
    node_affinity(at(affinity, "nodeAffinity"), &above.field("nodeAffinity"), faults);
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(at(affinity, kind), &above.field(kind), faults);
    }
    let above = path.field("tolerations");
    for (index, value) in list(spec, "tolerations").iter().enumerate() {
        toleration(value, &above.index(index), faults);
    }
    let above = path.field("topologySpreadConstraints");
    for (index, value) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        spread(value, &above.index(index), faults);
    }
}

fn node_affinity(affinity: &Value, path: &Path<'_>, faults: &mut Faults) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    if has(affinity, required) {
        node_selector(at(affinity, required), &path.field(required), faults);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let above = path.field(preferred);
    for (index, term) in list(affinity, preferred).iter().enumerate() {
        let path = above.index(index);
        weight(term, &path, faults);
        node_selector_term(at(term, "preference"), &path.field("preference"), faults);
    }
}

/// A core/v1 NodeSelector.
pub(crate) fn node_selector(selector: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        faults.required(&above, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_selector_term(term, &above.index(index), faults);
    }
}

fn node_selector_term(term: &Value, path: &Path<'_>, faults: &mut Faults) {
    for kind in ["matchExpressions", "matchFields"] {
        let above = path.field(kind);
        for (index, requirement) in list(term, kind).iter().enumerate() {
            node_requirement(requirement, &above.index(index), faults);
        }
    }
}

const NODE_OPERATORS: &[&str] = &["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"];

fn node_requirement(requirement: &Value, path: &Path<'_>, faults: &mut Faults) {
    let values = list(requirement, "values");
    let path_of_values = path.field("values");
    match text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            faults.required(&path_of_values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            faults.forbidden(&path_of_values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            faults.required(&path_of_values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        operator if !NODE_OPERATORS.contains(&operator) => {
            faults.invalid(&path.field("operator"), operator, "not a valid selector operator");
        }
        _ => {}
    }
    faults.named(&path.field("key"), text(requirement, "key"), name::qualified_name);
}

fn weight(term: &Value, path: &Path<'_>, faults: &mut Faults) {
    let weight = int(term, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        faults.invalid(&path.field("weight"), weight, "must be in the range 1-100");
    }
}

fn pod_affinity(affinity: &Value, path: &Path<'_>, faults: &mut Faults) {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let above = path.field(required);
    for (index, term) in list(affinity, required).iter().enumerate() {
        pod_term(term, &above.index(index), faults);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let above = path.field(preferred);
    for (index, term) in list(affinity, preferred).iter().enumerate() {
        let path = above.index(index);
        weight(term, &path, faults);
        pod_term(at(term, "podAffinityTerm"), &path.field("podAffinityTerm"), faults);
    }
}

fn pod_term(term: &Value, path: &Path<'_>, faults: &mut Faults) {
    for selector in ["labelSelector", "namespaceSelector"] {
        meta::selector(at(term, selector), &path.field(selector), faults);
    }
    topology_key(term, path, faults);
    for namespace in list(term, "namespaces").iter().filter_map(Value::as_str) {
        faults.named(&path.field("namespace"), namespace, name::dns_label);
    }
}

fn topology_key(term: &Value, path: &Path<'_>, faults: &mut Faults) {
    match text(term, "topologyKey") {
        "" => faults.required(&path.field("topologyKey"), "can not be empty"),
        key => faults.named(&path.field("topologyKey"), key, name::qualified_name),
    }
}

fn toleration(toleration: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (key, operator, value) = (text(toleration, "key"), text(toleration, "operator"), text(toleration, "value"));
    if !key.is_empty() {
        faults.named(&path.field("key"), key, name::qualified_name);
    } else if operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        faults.invalid(&path.field("operator"), operator, detail);
    }
    if has(toleration, "tolerationSeconds") && text(toleration, "effect") != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        faults.invalid(&path.field("effect"), text(toleration, "effect"), detail);
    }
    match operator {
        "" | "Equal" => faults.named(&path.field("value"), value, name::label_value),
        "Exists" if !value.is_empty() => {
            faults.invalid(&path.field("operator"), value, "value must be empty when `operator` is 'Exists'");
        }
        "Exists" | "Gt" | "Lt" => {}
        other => faults.not_supported(&path.field("operator"), other, &["Equal", "Exists"]),
    }
    let effect = text(toleration, "effect");
    let effects = ["NoExecute", "NoSchedule", "PreferNoSchedule"];
    if !effect.is_empty() && !effects.contains(&effect) {
        faults.not_supported(&path.field("effect"), effect, &effects);
    }
}

fn spread(constraint: &Value, path: &Path<'_>, faults: &mut Faults) {
    let skew = int(constraint, "maxSkew").unwrap_or(0);
    if skew <= 0 {
        faults.invalid(&path.field("maxSkew"), skew, "must be greater than zero");
    }
    topology_key(constraint, path, faults);
    let supported = ["DoNotSchedule", "ScheduleAnyway"];
    let action = text(constraint, "whenUnsatisfiable");
    if !supported.contains(&action) {
        faults.not_supported(&path.field("whenUnsatisfiable"), action, &supported);
    }
    if let Some(domains) = int(constraint, "minDomains") {
        if domains <= 0 {
            faults.invalid(&path.field("minDomains"), domains, "must be greater than zero");
        }
        if action != "DoNotSchedule" {
            let detail = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway";
            faults.invalid(&path.field("minDomains"), domains, detail);
        }
    }
    meta::selector(at(constraint, "labelSelector"), &path.field("labelSelector"), faults);
}
