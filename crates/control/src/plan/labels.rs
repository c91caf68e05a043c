//! Label selectors over typed objects.
//!
//! Invariant: an unknown operator matches nothing, so a selector from a newer server never widens what we own.
//! Why not `base::selector`: that one parses text for the API; controllers match typed selectors thousands of times a
//! second and must not convert them each time.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Labels or annotations of an object.
pub type Labels = BTreeMap<String, String>;

/// Whether `selector` selects an object with `labels`. An empty selector selects everything.
pub fn matches(selector: &LabelSelector, labels: &Labels) -> bool {
    selector.match_labels.as_ref().is_none_or(|wanted| contains(labels, wanted))
        && selector.match_expressions.iter().flatten().all(|requirement| requirement_matches(requirement, labels))
}

/// Whether `labels` has every pair of `wanted`.
pub fn contains(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether the selector has no requirement at all.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

fn requirement_matches(requirement: &LabelSelectorRequirement, labels: &Labels) -> bool {
    let value = labels.get(&requirement.key);
    let listed = |value: &String| requirement.values.iter().flatten().any(|one| one == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

/// A selector as Go prints it.
pub fn print(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".into() };
    let pairs: String = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}: {value},")).collect();
    let expressions: String = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|one| {
            let values = one.values.as_deref().unwrap_or_default().join(" ");
            format!("LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},", one.key, one.operator)
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{pairs}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: Some(values.iter().map(|value| (*value).to_owned()).collect()),
            }]),
            match_labels: None,
        }
    }

    #[test]
    fn expressions_follow_set_semantics_and_unknown_operators_match_nothing() {
        let labels = Labels::from([("tier".to_owned(), "web".to_owned())]);
        assert!(matches(&selector("tier", "In", &["web", "db"]), &labels));
        assert!(!matches(&selector("tier", "NotIn", &["web"]), &labels));
        assert!(matches(&selector("zone", "NotIn", &["a"]), &labels));
        assert!(matches(&selector("tier", "Exists", &[]), &labels));
        assert!(matches(&selector("zone", "DoesNotExist", &[]), &labels));
        assert!(!matches(&selector("tier", "Near", &["web"]), &labels));
    }

    #[test]
    fn an_empty_selector_selects_everything_and_says_so() {
        assert!(is_empty(&LabelSelector::default()));
        assert!(matches(&LabelSelector::default(), &Labels::new()));
    }
}
