//! Which nodes a pod asks for, as the scheduler and the DaemonSet controller read it.
//!
//! Invariant: an unknown operator or a term that asks for nothing matches no node. Terms know more operators than label
//! selectors do.

use k8s_openapi::api::core::v1::{Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use kube::ResourceExt;

use super::labels::{self, Labels};

/// Whether nodeSelector and the required node affinity of the pod allow the node.
pub fn allows(spec: &PodSpec, node: &Node) -> bool {
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    matches(spec.node_selector.as_ref(), required, &node.name_any(), node.labels())
}

/// Whether a node of that name with these labels has all of `wanted` and matches `required`.
pub fn matches(wanted: Option<&Labels>, required: Option<&NodeSelector>, name: &str, labels: &Labels) -> bool {
    wanted.is_none_or(|wanted| labels::contains(labels, wanted))
        && required.is_none_or(|selector| any_term_matches(selector, name, labels))
}

/// Whether one of the terms matches.
pub fn any_term_matches(selector: &NodeSelector, name: &str, labels: &Labels) -> bool {
    selector.node_selector_terms.iter().any(|term| term_matches(term, name, labels))
}

/// Whether all requirements of a term hold. A term without requirements matches nothing.
pub fn term_matches(term: &NodeSelectorTerm, name: &str, labels: &Labels) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|one| holds(one, labels.get(&one.key).map(String::as_str)))
        && fields.iter().all(|one| holds(one, (one.key == "metadata.name").then_some(name)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let mut values = requirement.values.iter().flatten();
    let listed = |value: &str| requirement.values.iter().flatten().any(|one| one == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        operator @ ("Gt" | "Lt") => {
            let bound = values.next().and_then(|text| text.parse::<i64>().ok());
            let number = value.and_then(|text| text.parse::<i64>().ok());
            bound
                .zip(number)
                .is_some_and(|(bound, number)| if operator == "Gt" { number > bound } else { number < bound })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(requirement: serde_json::Value, expected: bool) {
        let labels = Labels::from([("size".to_owned(), "8".to_owned())]);
        let term: NodeSelectorTerm = serde_json::from_value(requirement).expect("a term");
        assert_eq!(term_matches(&term, "n1", &labels), expected, "{term:?}");
    }

    #[test]
    fn terms_know_order_and_fields() {
        check(json!({ "matchExpressions": [{ "key": "size", "operator": "Gt", "values": ["4"] }] }), true);
        check(json!({ "matchExpressions": [{ "key": "size", "operator": "Lt", "values": ["8"] }] }), false);
        check(json!({ "matchExpressions": [{ "key": "zone", "operator": "NotIn", "values": ["a"] }] }), true);
        check(json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }] }), true);
        check(json!({ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n2"] }] }), false);
        check(json!({}), false);
    }
}
