//! Rules of `autoscaling`.

use base::name;
use serde_json::Value;

use super::{Case, Faults, resources};
use crate::json::{at, has, int, list, text};
use crate::path::Path;

const LONGEST_WINDOW: i64 = 3600;
const LONGEST_PERIOD: i64 = 1800;

pub(crate) fn autoscaler(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, old, path) = (case.spec(), at(case.old(), "spec"), root.field("spec"));
    let lowest = if int(old, "minReplicas") == Some(0) { 0 } else { 1 };
    let least = int(spec, "minReplicas");
    if let Some(least) = least.filter(|least| *least < lowest) {
        let detail = format!("must be greater than or equal to {lowest}");
        faults.invalid(&path.field("minReplicas"), least, detail);
    }
    let (most, on_most) = (int(spec, "maxReplicas").unwrap_or(0), path.field("maxReplicas"));
    match most {
        0 => faults.required(&on_most, "must be set and greater than 0"),
        most if most < 0 => faults.invalid(&on_most, most, "must be greater than or equal to 1"),
        _ => {}
    }
    if least.is_some_and(|least| most < least) {
        faults.invalid(&on_most, most, "must be greater than or equal to `minReplicas`");
    }
    let (target, before) = (at(spec, "scaleTargetRef"), at(old, "scaleTargetRef"));
    let same = |name: &str| text(target, name) == text(before, name);
    let allow = match text(target, "kind") {
        _ if case.old.is_some() && same("apiVersion") && same("kind") => Allow::Any,
        "ReplicationController" => Allow::Core,
        _ => Allow::Groups,
    };
    reference(target, allow, &path.field("scaleTargetRef"), faults);
    let faulty = list(old, "metrics").iter().any(|metric| {
        text(metric, "type") == "Object"
            && group_fault(at(at(metric, "object"), "describedObject"), Allow::Core).is_some()
    });
    metrics(spec, if faulty { Allow::Any } else { Allow::Core }, &path, faults);
    let (behavior, path) = (at(spec, "behavior"), path.field("behavior"));
    for name in ["scaleUp", "scaleDown"] {
        scaling(at(behavior, name), &path.field(name), faults);
    }
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    for name in ["currentReplicas", "desiredReplicas"] {
        faults.not_negative(status, name, &path);
    }
}

/// Which API versions an object may have that is referred to.
#[derive(Clone, Copy, PartialEq)]
enum Allow {
    Any,
    Core,
    Groups,
}

fn reference(value: &Value, allow: Allow, path: &Path<'_>, faults: &mut Faults) {
    for name in ["kind", "name"] {
        faults.required_name(&path.field(name), text(value, name), name::path_segment);
    }
    if let Some(fault) = group_fault(value, allow) {
        faults.invalid(&path.field("apiVersion"), text(value, "apiVersion"), fault);
    }
}

fn group_fault(value: &Value, allow: Allow) -> Option<String> {
    let version = text(value, "apiVersion");
    if allow == Allow::Any {
        return None;
    }
    let group = match version.matches('/').count() {
        _ if version == "/" => "",
        0 => "",
        1 => version.split('/').next().unwrap_or(""),
        _ => return Some(format!("unexpected GroupVersion string: {version}")),
    };
    (allow == Allow::Groups && group.is_empty()).then(|| "apiVersion must specify API group".to_owned())
}

/// The member of a metric for each of its types, in upstream's order.
const SOURCES: &[(&str, &str)] = &[
    ("Object", "object"),
    ("External", "external"),
    ("Pods", "pods"),
    ("Resource", "resource"),
    ("ContainerResource", "containerResource"),
];
const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

fn metrics(spec: &Value, allow: Allow, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("metrics");
    let metrics = list(spec, "metrics");
    for (index, metric) in metrics.iter().enumerate() {
        one_metric(metric, allow, &above.index(index), faults);
    }
    let outside = metrics.iter().any(|metric| matches!(text(metric, "type"), "Object" | "External"));
    if int(spec, "minReplicas") == Some(0) && !outside {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        faults.forbidden(&above, detail);
    }
}

fn one_metric(metric: &Value, allow: Allow, path: &Path<'_>, faults: &mut Faults) {
    let (kind, on_kind) = (text(metric, "type"), path.field("type"));
    if kind.is_empty() {
        faults.required(&on_kind, "must specify a metric source type");
    }
    if !TYPES.contains(&kind) {
        faults.not_supported(&on_kind, kind, TYPES);
    }
    let mut present: Vec<&str> = Vec::new();
    for (_, name) in SOURCES.iter().filter(|(_, name)| has(metric, name)) {
        present.push(name);
        if present.len() == 1 {
            source(name, at(metric, name), allow, &path.field(name), faults);
        }
    }
    let expected = SOURCES.iter().find(|(known, _)| *known == kind).map(|(_, name)| *name);
    if let Some(name) = expected.filter(|name| !has(metric, name)) {
        faults.required(&path.field(name), "must populate information for the given metric source");
    }
    if present.len() != 1 {
        present.sort_unstable();
        for name in present.iter().filter(|name| Some(**name) != expected) {
            faults.forbidden(&path.field(name), "must populate the given metric source only");
        }
    }
}

fn source(name: &str, source: &Value, allow: Allow, path: &Path<'_>, faults: &mut Faults) {
    let on_name = path.field("name");
    match name {
        "resource" | "containerResource" => {
            if text(source, "name").is_empty() {
                faults.required(&on_name, "must specify a resource name");
            } else if name == "containerResource" {
                resources::container_name(text(source, "name"), &on_name, faults);
            }
            if name == "containerResource" {
                let container = text(source, "container");
                match container {
                    "" => faults.required(&path.field("container"), "must specify a container"),
                    container => faults.named(&path.field("container"), container, name::dns_label),
                }
            }
        }
        _ => {
            if name == "object" {
                reference(at(source, "describedObject"), allow, &path.field("describedObject"), faults);
            }
            let (metric, path) = (at(source, "metric"), path.field("metric"));
            match text(metric, "name") {
                "" => faults.required(&path.field("name"), "must specify a metric name"),
                text => faults.named(&path.field("name"), text, name::path_segment),
            }
        }
    }
    let (aim, path) = (at(source, "target"), path.field("target"));
    target(aim, &path, faults);
    let (value, average, share) = (has(aim, "value"), has(aim, "averageValue"), has(aim, "averageUtilization"));
    let on_average = path.field("averageValue");
    match name {
        "object" if !value && !average => {
            faults.required(&on_average, "must set either a target value or averageValue");
        }
        "external" if !value && !average => {
            faults.required(&on_average, "must set either a target value for metric or a per-pod target");
        }
        "external" if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            faults.forbidden(&path.field("value"), detail);
        }
        "pods" if !average => faults.required(&on_average, "must specify a positive target averageValue"),
        "resource" | "containerResource" if !share && !average => {
            let detail = "must set either a target raw value or a target utilization";
            faults.required(&path.field("averageUtilization"), detail);
        }
        "resource" | "containerResource" if share && average => {
            faults.forbidden(&on_average, "may not set both a target raw value and a target utilization");
        }
        _ => {}
    }
}

fn target(target: &Value, path: &Path<'_>, faults: &mut Faults) {
    let kind = text(target, "type");
    if kind.is_empty() {
        faults.required(&path.field("type"), "must specify a metric target type");
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        faults.invalid(&path.field("type"), kind, "must be either Utilization, Value, or AverageValue");
    }
    for name in ["value", "averageValue"] {
        if let Some(quantity) = resources::quantity(at(target, name)).filter(|quantity| quantity.sign() <= 0) {
            faults.invalid(&path.field(name), quantity.to_string(), "must be positive");
        }
    }
    if let Some(share) = int(target, "averageUtilization").filter(|share| *share < 1) {
        faults.invalid(&path.field("averageUtilization"), share, "must be greater than 0");
    }
}

fn scaling(rules: &Value, path: &Path<'_>, faults: &mut Faults) {
    if rules.is_null() {
        return;
    }
    let on_window = path.field("stabilizationWindowSeconds");
    match int(rules, "stabilizationWindowSeconds") {
        Some(window) if window < 0 => faults.invalid(&on_window, window, "must be greater than or equal to zero"),
        Some(window) if window > LONGEST_WINDOW => {
            faults.invalid(&on_window, window, format!("must be less than or equal to {LONGEST_WINDOW}"));
        }
        _ => {}
    }
    faults.any_of(rules, "selectPolicy", path, &["Disabled", "Max", "Min"]);
    let above = path.field("policies");
    let policies = list(rules, "policies");
    if policies.is_empty() {
        faults.required(&above, "must specify at least one Policy");
    }
    for (index, policy) in policies.iter().enumerate() {
        let path = above.index(index);
        if !matches!(text(policy, "type"), "Pods" | "Percent") {
            faults.not_supported(&path.field("type"), text(policy, "type"), &["Percent", "Pods"]);
        }
        for name in ["value", "periodSeconds"] {
            let number = int(policy, name).unwrap_or(0);
            if number <= 0 {
                faults.invalid(&path.field(name), number, super::NOT_POSITIVE);
            } else if name == "periodSeconds" && number > LONGEST_PERIOD {
                faults.invalid(&path.field(name), number, format!("must be less than or equal to {LONGEST_PERIOD}"));
            }
        }
    }
    if let Some(tolerance) = resources::quantity(at(rules, "tolerance")).filter(|tolerance| tolerance.sign() < 0) {
        faults.invalid(&path.field("tolerance"), tolerance.to_string(), super::NEGATIVE);
    }
}
