//! Rules of ResourceQuotas and LimitRanges.

use std::collections::BTreeSet;

use base::{Quantity, name};
use serde_json::Value;

use super::resources::{self, quantity};
use super::{Case, Faults, IMMUTABLE};
use crate::json::{at, list, members, text};
use crate::path::Path;

pub(crate) fn quota(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    amounts(spec, "hard", &path, faults);
    scopes(spec, &path, faults);
    selector(spec, &path, faults);
    if case.old.is_none() {
        status_amounts(case, faults);
        return;
    }
    let set = |object: &Value| -> BTreeSet<String> {
        list(at(object, "spec"), "scopes").iter().filter_map(|scope| scope.as_str().map(str::to_owned)).collect()
    };
    if set(case.new) != set(case.old()) {
        faults.invalid(&path.field("scopes"), at(spec, "scopes").clone(), IMMUTABLE);
    }
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    status_amounts(case, faults);
}

fn status_amounts(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    for name in ["hard", "used"] {
        amounts(at(case.new, "status"), name, &root.field("status"), faults);
    }
}

fn amounts(value: &Value, name: &str, above: &Path<'_>, faults: &mut Faults) {
    let above = above.field(name);
    for (resource, value) in members(value, name) {
        let path = above.key(resource);
        resources::quota_name(resource, &path, faults);
        resources::amount(resource, value, &path, faults);
    }
}

const POD_SCOPES: &[&str] =
    &["Terminating", "NotTerminating", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"];
const POD_RESOURCES: &[&str] =
    &["pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory"];

fn is_scope(scope: &str) -> bool {
    POD_SCOPES.contains(&scope) || matches!(scope, "BestEffort" | "VolumeAttributesClass")
}

/// Whether a scope can limit a resource.
fn fits(scope: &str, resource: &str) -> bool {
    match scope {
        "BestEffort" => resource == "pods",
        "VolumeAttributesClass" => matches!(resource, "persistentvolumeclaims" | "requests.storage"),
        scope if POD_SCOPES.contains(&scope) => POD_RESOURCES.contains(&resource),
        _ => true,
    }
}

fn misfits(spec: &Value, scope: &str) -> usize {
    let unfit = |resource: &&String| resources::is_standard_quota(resource) && !fits(scope, resource);
    members(spec, "hard").map(|(resource, _)| resource).filter(unfit).count()
}

fn conflicts(scopes: &[&str]) -> bool {
    [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]]
        .iter()
        .any(|pair| pair.iter().all(|scope| scopes.contains(scope)))
}

fn scopes(spec: &Value, above: &Path<'_>, faults: &mut Faults) {
    let path = above.field("scopes");
    let scopes: Vec<&str> = list(spec, "scopes").iter().filter_map(Value::as_str).collect();
    let value = || at(spec, "scopes").clone();
    for scope in &scopes {
        if !is_scope(scope) {
            faults.invalid(&path, value(), "unsupported scope");
        }
        if misfits(spec, scope) > 0 {
            faults.invalid(&path, value(), "unsupported scope applied to resource");
        }
    }
    if conflicts(&scopes) {
        faults.invalid(&path, value(), "conflicting scopes");
    }
}

fn selector(spec: &Value, above: &Path<'_>, faults: &mut Faults) {
    let (above, selector) = (above.field("scopeSelector"), at(spec, "scopeSelector"));
    let path = above.field("matchExpressions");
    let mut seen = Vec::new();
    for requirement in list(selector, "matchExpressions") {
        let (scope, operator) = (text(requirement, "scopeName"), text(requirement, "operator"));
        if !is_scope(scope) {
            faults.invalid(&path.field("scopeName"), scope, "unsupported scope");
        }
        if misfits(spec, scope) > 0 {
            faults.shown(&path, &shown_selector(selector), "unsupported scope applied to resource");
        }
        let exists_only = POD_SCOPES.contains(&scope) && scope != "PriorityClass" || scope == "BestEffort";
        if exists_only && operator != "Exists" {
            let detail = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, \
                          ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, \
                          ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";
            faults.invalid(&path.field("operator"), operator, detail);
        }
        let values = list(requirement, "values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector";
                faults.required(&path.field("values"), detail);
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector";
                faults.invalid(&path.field("values"), values.to_vec(), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => faults.invalid(&path.field("operator"), other, "not a valid selector operator"),
        }
        seen.push(scope);
    }
    if conflicts(&seen) {
        faults.invalid(&path, at(spec, "scopes").clone(), "conflicting scopes");
    }
}

fn shown_selector(selector: &Value) -> String {
    let requirements: Vec<String> = list(selector, "matchExpressions")
        .iter()
        .map(|requirement| {
            super::go(&[
                ("ScopeName", text(requirement, "scopeName").into()),
                ("Operator", text(requirement, "operator").into()),
                ("Values", at(requirement, "values").clone()),
            ])
        })
        .collect();
    format!("{{\"MatchExpressions\":[{}]}}", requirements.join(","))
}

pub(crate) fn limit_range(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let above = spec.field("limits");
    let mut kinds = Vec::new();
    for (index, limit) in list(case.spec(), "limits").iter().enumerate() {
        let path = above.index(index);
        let kind = text(limit, "type");
        limit_type(kind, &path.field("type"), faults);
        if kinds.contains(&kind) {
            faults.duplicate(&path.field("type"), kind);
        }
        kinds.push(kind);
        limits(limit, kind, &path, faults);
    }
}

fn limit_type(kind: &str, path: &Path<'_>, faults: &mut Faults) {
    if let Err(reasons) = name::qualified_name(kind) {
        faults.verdict(path, kind, Err(reasons));
    } else if !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
        faults.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
}

fn limits(limit: &Value, kind: &str, path: &Path<'_>, faults: &mut Faults) {
    let mut resources: BTreeSet<&str> = BTreeSet::new();
    let mut names = |list: &str, faults: &mut Faults| {
        let above = path.field(list);
        for (resource, _) in members(limit, list) {
            if matches!(kind, "Pod" | "Container") {
                resources::container_name(resource, &above.key(resource), faults);
            } else {
                resources::resource_name(resource, &above.key(resource), faults);
            }
            resources.insert(resource);
        }
    };
    names("max", faults);
    names("min", faults);
    if kind == "Pod" {
        for list in ["default", "defaultRequest"] {
            if members(limit, list).next().is_some() {
                faults.forbidden(&path.field(list), "may not be specified when `type` is 'Pod'");
            }
        }
    } else {
        names("default", faults);
        names("defaultRequest", faults);
    }
    if kind == "PersistentVolumeClaim"
        && at(at(limit, "min"), "storage").is_null()
        && at(at(limit, "max"), "storage").is_null()
    {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        faults.required(&path.field("limits"), detail);
    }
    names("maxLimitRequestRatio", faults);
    for resource in resources {
        let of = |list: &str| quantity(at(at(limit, list), resource));
        let given = |list: &str| if kind == "Pod" { None } else { of(list) };
        let amounts = Amounts {
            min: of("min"),
            max: of("max"),
            default: given("default"),
            request: given("defaultRequest"),
            ratio: of("maxLimitRequestRatio"),
        };
        order(&amounts, resource, path, faults);
        ratio(&amounts, resource, path, faults);
    }
}

struct Amounts {
    min: Option<Quantity>,
    max: Option<Quantity>,
    default: Option<Quantity>,
    request: Option<Quantity>,
    ratio: Option<Quantity>,
}

fn order(amounts: &Amounts, resource: &str, path: &Path<'_>, faults: &mut Faults) {
    let Amounts { min, max, default, request, .. } = amounts;
    let (min, max, default, request) = (*min, *max, *default, *request);
    let (on_min, on_request, on_default) = (path.field("min"), path.field("defaultRequest"), path.field("default"));
    let above = |a: Option<Quantity>, b: Option<Quantity>| a.zip(b).filter(|(a, b)| a > b);
    if let Some((min, max)) = above(min, max) {
        let detail = format!("min value {min} is greater than max value {max}");
        faults.invalid(&on_min.key(resource), min.to_string(), detail);
    }
    if let Some((min, request)) = above(min, request) {
        let detail = format!("min value {min} is greater than default request value {request}");
        faults.invalid(&on_request.key(resource), request.to_string(), detail);
    }
    if let Some((request, max)) = above(request, max) {
        let detail = format!("default request value {request} is greater than max value {max}");
        faults.invalid(&on_request.key(resource), request.to_string(), detail);
    }
    if let Some((request, default)) = above(request, default) {
        let detail = format!("default request value {request} is greater than default limit value {default}");
        faults.invalid(&on_request.key(resource), request.to_string(), detail);
    }
    if let Some((min, default)) = above(min, default) {
        let detail = format!("min value {min} is greater than default value {default}");
        faults.invalid(&on_default.key(resource), min.to_string(), detail);
    }
    if let Some((default, max)) = above(default, max) {
        let detail = format!("default value {default} is greater than max value {max}");
        faults.invalid(&on_default.key(resource), max.to_string(), detail);
    }
}

#[expect(clippy::cast_precision_loss, reason = "upstream compares and prints the quotient as a float")]
fn ratio(amounts: &Amounts, resource: &str, path: &Path<'_>, faults: &mut Faults) {
    let on_ratio = path.field("maxLimitRequestRatio");
    if let Some(ratio) = amounts.ratio {
        if ratio.milli() < 1000 {
            faults.invalid(&on_ratio.key(resource), ratio.to_string(), format!("ratio {ratio} is less than 1"));
        }
        if let (Some(min), Some(max)) = (amounts.min, amounts.max) {
            let most = max.milli() as f64 / min.milli() as f64;
            if ratio.milli() as f64 / 1000.0 > most {
                let most = if most.is_infinite() { "+Inf".to_owned() } else { format!("{most:.6}") };
                let detail = format!("ratio {ratio} is greater than max/min = {most}");
                faults.invalid(&on_ratio.key(resource), ratio.to_string(), detail);
            }
        }
    }
    if let (Some(default), Some(request)) = (amounts.default, amounts.request)
        && default != request
        && !resources::may_overcommit(resource)
    {
        let detail = format!("default value {default} must equal to defaultRequest value {request} in {resource}");
        faults.invalid(&path.field("defaultRequest").key(resource), request.to_string(), detail);
    }
}
