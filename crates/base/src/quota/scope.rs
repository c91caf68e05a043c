//! The scopes of a quota, and whether an object is in them.

use serde_json::Value;

use crate::selector::{Operator, Requirement};

/// One condition: the name of a scope, how it compares, and with what.
pub(super) struct Selector<'a> {
    name: &'a str,
    operator: &'a str,
    values: Vec<String>,
}

/// All conditions of the quota.
pub(super) fn selectors(quota: &Value) -> Vec<Selector<'_>> {
    let list = |pointer: &str| quota.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
    let plain = list("/spec/scopes")
        .filter_map(|scope| Some(Selector { name: scope.as_str()?, operator: "Exists", values: Vec::new() }));
    let chosen = list("/spec/scopeSelector/matchExpressions").filter_map(|one| {
        let values = one["values"].as_array().into_iter().flatten();
        Some(Selector {
            name: one["scopeName"].as_str()?,
            operator: one["operator"].as_str().unwrap_or("Exists"),
            values: values.filter_map(|value| value.as_str().map(str::to_owned)).collect(),
        })
    });
    plain.chain(chosen).collect()
}

impl Selector<'_> {
    fn accepts(&self, value: Option<&str>) -> bool {
        let operator = match self.operator {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => return false,
        };
        Requirement { key: self.name.to_owned(), operator, values: self.values.clone() }.accepts(value)
    }
}

pub(super) fn holds_for_pod(selector: &Selector<'_>, pod: &Value) -> bool {
    match selector.name {
        "Terminating" => is_terminating(pod),
        "NotTerminating" => !is_terminating(pod),
        "BestEffort" => is_best_effort(pod),
        "NotBestEffort" => !is_best_effort(pod),
        "PriorityClass" => {
            let class = pod["spec"]["priorityClassName"].as_str().filter(|class| !class.is_empty());
            selector.accepts(class)
        }
        "CrossNamespacePodAffinity" => looks_beyond_its_namespace(pod),
        _ => false,
    }
}

pub(super) fn holds_for_claim(selector: &Selector<'_>, claim: &Value) -> bool {
    if selector.name != "VolumeAttributesClass" {
        return false;
    }
    let mut classes = attribute_classes(claim).peekable();
    if classes.peek().is_none() {
        return selector.accepts(None);
    }
    classes.any(|class| selector.accepts(Some(class)))
}

/// The classes of attributes that a claim has, wants, or is on its way to.
pub(super) fn attribute_classes(claim: &Value) -> impl Iterator<Item = &str> {
    let pointers = [
        "/spec/volumeAttributesClassName",
        "/status/currentVolumeAttributesClassName",
        "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
    ];
    let named = pointers.into_iter().filter_map(|pointer| claim.pointer(pointer).and_then(Value::as_str));
    named.filter(|class| !class.is_empty())
}

/// A pod that is meant to end by itself.
pub(super) fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

fn is_best_effort(pod: &Value) -> bool {
    if let Some(class) = pod["status"]["qosClass"].as_str().filter(|class| !class.is_empty()) {
        return class == "BestEffort";
    }
    let asks = |resources: &Value| {
        let lists = ["requests", "limits"].into_iter().map(|list| &resources[list]);
        let mut amounts = lists.flat_map(|list| ["cpu", "memory"].into_iter().map(move |name| &list[name]));
        amounts.any(|amount| super::amounts::quantity(amount).is_some_and(|amount| amount.sign() > 0))
    };
    let containers = super::pod::containers(pod).map(|(container, _)| &container["resources"]);
    !std::iter::once(&pod["spec"]["resources"]).chain(containers).any(asks)
}

fn looks_beyond_its_namespace(pod: &Value) -> bool {
    let beyond = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty()) || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].into_iter().any(|kind| {
        let terms = |list: &str| pod["spec"]["affinity"][kind][list].as_array().map(Vec::as_slice).unwrap_or_default();
        terms("requiredDuringSchedulingIgnoredDuringExecution").iter().any(beyond)
            || terms("preferredDuringSchedulingIgnoredDuringExecution")
                .iter()
                .any(|one| beyond(&one["podAffinityTerm"]))
    })
}
