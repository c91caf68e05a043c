//! Rules of `admissionregistration.k8s.io`: webhooks and what all its kinds share.

use base::name;
use serde_json::Value;

use super::{Case, Faults, ip, meta};
use crate::json::{at, has, int, list, same, text};
use crate::path::Path;
use expression::{Expressions, Place};

pub(crate) mod expression;
pub(crate) mod hook;
pub(crate) mod policy;

pub(crate) const FAILURE: &[&str] = &["Fail", "Ignore"];
pub(crate) const MATCH: &[&str] = &["Equivalent", "Exact"];
const HARMLESS: &[&str] = &["None", "NoneOnDryRun"];
const EFFECTS: &[&str] = &["None", "NoneOnDryRun", "Some", "Unknown"];
const REVIEWS: &[&str] = &["v1", "v1beta1"];
const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MOST_CONDITIONS: usize = 64;

/// What the new configuration must obey because the old one did.
struct Strict {
    effects: bool,
    reviews: bool,
    names: bool,
    values: bool,
    conditions: bool,
}

impl Strict {
    fn of(case: &Case<'_>) -> Self {
        let Some(old) = case.old else {
            return Self { effects: true, reviews: true, names: true, values: true, conditions: true };
        };
        let (hooks, now) = (list(old, "webhooks"), list(case.new, "webhooks"));
        let known = |hook: &Value| {
            let versions = list(hook, "admissionReviewVersions");
            versions.is_empty() || versions.iter().filter_map(Value::as_str).any(|version| REVIEWS.contains(&version))
        };
        let names: Vec<&str> = hooks.iter().map(|hook| text(hook, "name")).collect();
        let faulty = |hook: &Value| {
            ["namespaceSelector", "objectSelector"].iter().any(|name| meta::is_faulty_selector(at(hook, name)))
        };
        let conditions = |hook| at(hook, "matchConditions");
        Self {
            effects: hooks.iter().all(|hook| HARMLESS.contains(&text(hook, "sideEffects"))),
            reviews: hooks.iter().all(known),
            names: (0..names.len()).all(|index| !names[..index].contains(&names[index])),
            values: !hooks.iter().any(faulty),
            conditions: hooks.len() != now.len()
                || !hooks.iter().zip(now).all(|(old, new)| same(conditions(old), conditions(new))),
        }
    }
}

pub(crate) fn webhooks(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let strict = Strict::of(case);
    let above = root.field("webhooks");
    let hooks = list(case.new, "webhooks");
    for (index, webhook) in hooks.iter().enumerate() {
        let path = above.index(index);
        one(webhook, &strict, case.kind.kind.starts_with("Mutating"), &path, faults);
        reviews(webhook, strict.reviews, &path.field("admissionReviewVersions"), faults);
        let name = text(webhook, "name");
        if strict.names && !name.is_empty() && hooks[..index].iter().any(|other| text(other, "name") == name) {
            faults.duplicate(&path.field("name"), name);
        }
    }
}

fn one(webhook: &Value, strict: &Strict, mutating: bool, path: &Path<'_>, faults: &mut Faults) {
    qualified(text(webhook, "name"), &path.field("name"), faults);
    let above = path.field("rules");
    for (index, value) in list(webhook, "rules").iter().enumerate() {
        rule(value, &above.index(index), faults);
    }
    faults.any_of(webhook, "failurePolicy", path, FAILURE);
    faults.any_of(webhook, "matchPolicy", path, MATCH);
    let effects = if strict.effects { HARMLESS } else { EFFECTS };
    match at(webhook, "sideEffects").as_str() {
        None => faults.required(&path.field("sideEffects"), format!("must specify one of {}", effects.join(", "))),
        Some(_) => faults.any_of(webhook, "sideEffects", path, effects),
    }
    if let Some(seconds) = int(webhook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        faults.invalid(&path.field("timeoutSeconds"), seconds, detail);
    }
    for name in ["namespaceSelector", "objectSelector"] {
        meta::selector_of(at(webhook, name), !strict.values, &path.field(name), faults);
    }
    if mutating {
        faults.any_of(webhook, "reinvocationPolicy", path, &["IfNeeded", "Never"]);
    }
    let (client, path_of_client) = (at(webhook, "clientConfig"), path.field("clientConfig"));
    match (at(client, "url").as_str(), at(client, "service")) {
        (None, Value::Null) => faults.required(&path_of_client, "exactly one of url or service is required"),
        (Some(url), Value::Null) => hook::address(url, &path_of_client.field("url"), faults),
        (None, service) => hook::service(service, &path_of_client.field("service"), faults),
        (Some(_), _) => faults.required(&path_of_client, "exactly one of url or service is required"),
    }
    if strict.conditions {
        conditions(webhook, &Expressions::new(false, false), path, faults);
    }
}

/// A name with at least three segments.
fn qualified(name: &str, path: &Path<'_>, faults: &mut Faults) {
    if name.is_empty() {
        faults.required(path, "");
    } else if let Err(reasons) = name::dns_subdomain(name) {
        let joined = reasons.into_iter().collect::<Vec<_>>().join(",");
        faults.invalid(path, name, joined);
    } else if name.split('.').count() < 3 {
        faults.invalid(path, name, "should be a domain with at least three segments separated by dots");
    }
}

fn reviews(webhook: &Value, known: bool, path: &Path<'_>, faults: &mut Faults) {
    let versions = ip::texts(list(webhook, "admissionReviewVersions"));
    if versions.is_empty() {
        faults.required(path, format!("must specify one of {}", REVIEWS.join(", ")));
        return;
    }
    for (index, version) in versions.iter().enumerate() {
        if versions[..index].contains(version) {
            faults.invalid(&path.index(index), *version, "duplicate version");
        } else {
            faults.named(&path.index(index), version, name::dns1035_label);
        }
    }
    if known && !versions.iter().any(|version| REVIEWS.contains(version)) {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        faults.invalid(path, list(webhook, "admissionReviewVersions").to_vec(), detail);
    }
}

/// Which requests are meant.
pub(crate) fn rule(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let operations = ip::texts(list(rule, "operations"));
    let above = path.field("operations");
    alone(rule, "operations", "operations", path, faults);
    for (index, operation) in operations.iter().enumerate().filter(|(_, operation)| !OPERATIONS.contains(operation)) {
        faults.not_supported(&above.index(index), *operation, OPERATIONS);
    }
    alone(rule, "apiGroups", "API groups", path, faults);
    alone(rule, "apiVersions", "API versions", path, faults);
    let above = path.field("apiVersions");
    for (index, _) in list(rule, "apiVersions").iter().enumerate().filter(|(_, version)| *version == "") {
        faults.required(&above.index(index), "");
    }
    resources(rule, &path.field("resources"), faults);
    faults.any_of(rule, "scope", path, &["*", "Cluster", "Namespaced"]);
}

/// A list that must not be empty and in which `*` stands alone.
fn alone(rule: &Value, name: &str, what: &str, path: &Path<'_>, faults: &mut Faults) {
    let items = list(rule, name);
    if items.is_empty() {
        faults.required(&path.field(name), "");
    } else if items.len() > 1 && items.iter().any(|item| item == "*") {
        let detail = format!("if '*' is present, must not specify other {what}");
        faults.invalid(&path.field(name), items.to_vec(), detail);
    }
}

fn resources(rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let items = list(rule, "resources");
    if items.is_empty() {
        faults.required(path, "");
    }
    let (mut all_below, mut below_all): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    let mut plain = false;
    for (index, item) in ip::texts(items).into_iter().enumerate() {
        let Some((resource, below)) = item.split_once('/') else {
            if item.is_empty() {
                faults.required(&path.index(index), "");
            } else {
                // As upstream, the last one decides.
                plain = item != "*";
            }
            continue;
        };
        if all_below.contains(&resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {item}");
            faults.invalid(&path.index(index), item, detail);
        }
        if below_all.contains(&below) {
            let detail = format!("if '*/{below}' is present, must not specify {item}");
            faults.invalid(&path.index(index), item, detail);
        }
        if below == "*" {
            all_below.push(resource);
        }
        if resource == "*" {
            below_all.push(below);
        }
    }
    let has = |wanted: &str| items.iter().any(|item| item == wanted);
    if items.len() > 1 && has("*/*") {
        faults.invalid(path, items.to_vec(), "if '*/*' is present, must not specify other resources");
    }
    if has("*") && plain {
        let detail = "if '*' is present, must not specify other resources without subresources";
        faults.invalid(path, items.to_vec(), detail);
    }
}

/// Conditions under which a hook or policy is asked.
pub(crate) fn conditions(of: &Value, known: &Expressions, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("matchConditions");
    let conditions = list(of, "matchConditions");
    if conditions.len() > MOST_CONDITIONS {
        faults.too_many(&above, conditions.len(), MOST_CONDITIONS);
    }
    for (index, condition) in conditions.iter().enumerate() {
        let path = above.index(index);
        let (expression, on_expression) = (text(condition, "expression").trim(), path.field("expression"));
        if expression.is_empty() {
            faults.required(&on_expression, "");
        } else {
            known.check(expression, expression, Place::Condition, &on_expression, faults);
        }
        let name = text(condition, "name");
        faults.required_name(&path.field("name"), name, name::qualified_name);
        if !name.is_empty() && conditions[..index].iter().any(|other| text(other, "name") == name) {
            faults.duplicate(&path.field("name"), name);
        }
    }
}

/// Which objects a policy or binding is about.
pub(crate) fn match_resources(of: &Value, path: &Path<'_>, faults: &mut Faults) {
    if of.is_null() {
        return;
    }
    match at(of, "matchPolicy").as_str() {
        None => faults.required(&path.field("matchPolicy"), ""),
        Some(_) => faults.any_of(of, "matchPolicy", path, MATCH),
    }
    for name in ["namespaceSelector", "objectSelector"] {
        if has(of, name) {
            meta::selector(at(of, name), &path.field(name), faults);
        } else {
            faults.required(&path.field(name), "");
        }
    }
    for name in ["resourceRules", "excludeResourceRules"] {
        let above = path.field(name);
        for (index, value) in list(of, name).iter().enumerate() {
            let path = above.index(index);
            let (names, on_names) = (list(value, "resourceNames"), path.field("resourceNames"));
            for (index, name) in ip::texts(names).into_iter().enumerate() {
                faults.named(&on_names.index(index), name, name::path_segment);
                if names[..index].iter().any(|other| other == name) {
                    faults.duplicate(&on_names.index(index), name);
                }
            }
            rule(value, &path, faults);
        }
    }
}
