//! Rules of what steers a pod to a node: affinity and tolerations.

use base::name;
use serde_json::Value;

use super::{Faults, meta, spread};
use crate::json::{at, has, int, list, text};
use crate::path::Path;

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What an older pod may have had that is refused in a new one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lenience {
    /// Label values in selectors of other pods.
    pub selectors: bool,
    /// Label values in required node affinity.
    pub node_values: bool,
}

impl Lenience {
    pub(crate) fn of(affinity: &Value) -> Self {
        let terms = ["podAffinity", "podAntiAffinity"].into_iter().flat_map(|kind| {
            let affinity = at(affinity, kind);
            let preferred = list(affinity, PREFERRED).iter().map(|term| at(term, "podAffinityTerm"));
            list(affinity, REQUIRED).iter().chain(preferred)
        });
        let faulty = |term: &Value| {
            ["labelSelector", "namespaceSelector"].iter().any(|name| meta::has_faulty_values(at(term, name)))
        };
        let node = at(at(affinity, "nodeAffinity"), REQUIRED);
        Self { selectors: terms.into_iter().any(faulty), node_values: has_faulty_node_values(node) }
    }
}

/// Whether a core/v1 NodeSelector compares with what no label can be.
pub(crate) fn has_faulty_node_values(selector: &Value) -> bool {
    list(selector, "nodeSelectorTerms").iter().any(meta::has_faulty_values)
}

pub(crate) fn affinity(affinity: &Value, lenient: Lenience, above: &Path<'_>, faults: &mut Faults) {
    if affinity.is_null() {
        return;
    }
    let (node, path) = (at(affinity, "nodeAffinity"), above.field("nodeAffinity"));
    if has(node, REQUIRED) {
        node_selector(at(node, REQUIRED), lenient.node_values, &path.field(REQUIRED), faults);
    }
    let preferred = path.field(PREFERRED);
    for (index, term) in list(node, PREFERRED).iter().enumerate() {
        let path = preferred.index(index);
        weight(term, &path, faults);
        node_term(at(term, "preference"), true, &path.field("preference"), faults);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        pods(at(affinity, kind), lenient.selectors, &above.field(kind), faults);
    }
}

/// A core/v1 NodeSelector.
pub(crate) fn node_selector(selector: &Value, lenient: bool, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("nodeSelectorTerms");
    let terms = list(selector, "nodeSelectorTerms");
    if terms.is_empty() {
        faults.required(&above, "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        node_term(term, lenient, &above.index(index), faults);
    }
}

fn node_term(term: &Value, lenient: bool, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("matchExpressions");
    for (index, requirement) in list(term, "matchExpressions").iter().enumerate() {
        node_requirement(requirement, lenient, &above.index(index), faults);
    }
    let above = path.field("matchFields");
    for (index, requirement) in list(term, "matchFields").iter().enumerate() {
        field_requirement(requirement, &above.index(index), faults);
    }
}

fn node_requirement(requirement: &Value, lenient: bool, path: &Path<'_>, faults: &mut Faults) {
    let values = list(requirement, "values");
    let on_values = path.field("values");
    match text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => {
            faults.required(&on_values, "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            faults.forbidden(&on_values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            faults.required(&on_values, "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => faults.invalid(&path.field("operator"), other, "not a valid selector operator"),
    }
    faults.named(&path.field("key"), text(requirement, "key"), name::qualified_name);
    if !lenient {
        meta::label_values(values, &on_values, faults);
    }
}

/// A requirement about a field of the node itself: only its name.
fn field_requirement(requirement: &Value, path: &Path<'_>, faults: &mut Faults) {
    let values = list(requirement, "values");
    let on_values = path.field("values");
    match text(requirement, "operator") {
        "In" | "NotIn" if values.len() != 1 => {
            let detail = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
            faults.required(&on_values, detail);
        }
        "In" | "NotIn" => {}
        other => faults.invalid(&path.field("operator"), other, "not a valid selector operator"),
    }
    let key = text(requirement, "key");
    if key != "metadata.name" {
        faults.invalid(&path.field("key"), key, "not a valid field selector key");
        return;
    }
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        faults.named(&on_values.index(index), value, name::dns_subdomain);
    }
}

fn weight(term: &Value, path: &Path<'_>, faults: &mut Faults) {
    let weight = int(term, "weight").unwrap_or(0);
    if !(1..=100).contains(&weight) {
        faults.invalid(&path.field("weight"), weight, "must be in the range 1-100");
    }
}

fn pods(affinity: &Value, lenient: bool, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field(REQUIRED);
    for (index, term) in list(affinity, REQUIRED).iter().enumerate() {
        pod_term(term, lenient, &above.index(index), faults);
    }
    let above = path.field(PREFERRED);
    for (index, term) in list(affinity, PREFERRED).iter().enumerate() {
        let path = above.index(index);
        weight(term, &path, faults);
        pod_term(at(term, "podAffinityTerm"), lenient, &path.field("podAffinityTerm"), faults);
    }
}

fn pod_term(term: &Value, lenient: bool, path: &Path<'_>, faults: &mut Faults) {
    for selector in ["labelSelector", "namespaceSelector"] {
        meta::selector_of(at(term, selector), lenient, &path.field(selector), faults);
    }
    for namespace in list(term, "namespaces").iter().filter_map(Value::as_str) {
        faults.named(&path.field("namespace"), namespace, name::dns_label);
    }
    spread::label_keys(term, true, path, faults);
    let key = text(term, "topologyKey");
    if key.is_empty() {
        faults.required(&path.field("topologyKey"), "can not be empty");
    }
    faults.named(&path.field("topologyKey"), key, name::qualified_name);
}

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Tolerations; `comparing` says whether operators that compare numbers are known.
pub(crate) fn tolerations(tolerations: &[Value], comparing: bool, above: &Path<'_>, faults: &mut Faults) {
    for (index, value) in tolerations.iter().enumerate() {
        toleration(value, comparing, &above.index(index), faults);
    }
}

fn toleration(toleration: &Value, comparing: bool, path: &Path<'_>, faults: &mut Faults) {
    let (key, operator, value) = (text(toleration, "key"), text(toleration, "operator"), text(toleration, "value"));
    let effect = text(toleration, "effect");
    faults.optional_name(&path.field("key"), key, name::qualified_name);
    if key.is_empty() && operator != "Exists" {
        let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        faults.invalid(&path.field("operator"), operator, detail);
    }
    if has(toleration, "tolerationSeconds") && effect != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        faults.invalid(&path.field("effect"), effect, detail);
    }
    match operator {
        "" | "Equal" => {
            if let Err(reasons) = name::label_value(value) {
                let joined = reasons.into_iter().collect::<Vec<_>>().join(";");
                faults.invalid(&path.field("operator"), value, joined);
            }
        }
        "Exists" if !value.is_empty() => {
            faults.invalid(&path.field("operator"), value, "value must be empty when `operator` is 'Exists'");
        }
        "Exists" => {}
        "Gt" | "Lt" if !comparing => {
            faults.not_supported(&path.field("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]);
        }
        "Gt" | "Lt" => number(value, &path.field("value"), faults),
        other => faults.not_supported(&path.field("operator"), other, &["Equal", "Exists"]),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        faults.not_supported(&path.field("effect"), effect, EFFECTS);
    }
}

/// A whole number in its shortest form.
fn number(value: &str, path: &Path<'_>, faults: &mut Faults) {
    if value.is_empty() {
        faults.invalid(path, value, "must be non-empty");
    } else if value.parse::<i128>().map_or(true, |number| number.to_string() != value) {
        faults.invalid(path, value, "must be a valid decimal integer in canonical form");
    }
    if value.parse::<i64>().is_err() {
        let why = if value.parse::<i128>().is_ok() { "value out of range" } else { "invalid syntax" };
        let detail = format!("strconv.ParseInt: parsing {}: {why}", crate::error::quote(value));
        faults.invalid(path, value, detail);
    }
}
