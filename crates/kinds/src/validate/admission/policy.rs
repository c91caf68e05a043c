//! Rules of policies, which decide by expressions, and of their bindings.
//!
//! Invariant: of a policy that changes all expressions are compiled again, but those of match conditions only if they or what
//! they may use changed.

use base::name;
use serde_json::Value;

use super::super::{Case, Faults, condition, golang, ip, meta};
use super::expression::{Expressions, Place};
use super::{FAILURE, conditions, match_resources};
use crate::json::{at, has, list, same, text};
use crate::path::Path;

const MOST_ANNOTATIONS: usize = 20;
const LONGEST_ANNOTATION: usize = 5 * 1024;

pub(crate) fn validating(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let mut known = Expressions::new(has(spec, "paramKind"), !list(spec, "variables").is_empty());
    common(case, &known, false, &path, faults);
    variables(spec, &mut known, &path, faults);
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        faults.required(&path.field("validations"), detail);
        faults.required(&path.field("auditAnnotations"), detail);
    }
    let above = path.field("validations");
    for (index, value) in validations.iter().enumerate() {
        validation(value, &known, &above.index(index), faults);
    }
    let above = path.field("auditAnnotations");
    if annotations.len() > MOST_ANNOTATIONS {
        let detail = format!("must not have more than {MOST_ANNOTATIONS} auditAnnotations");
        faults.shown(&above, &golang::print_list("AuditAnnotation", annotations), &detail);
    }
    for (index, value) in annotations.iter().enumerate() {
        let path = above.index(index);
        annotation(case.name(), value, &known, &path, faults);
        let key = text(value, "key");
        if annotations[..index].iter().any(|other| text(other, "key") == key) {
            faults.duplicate(&path.field("key"), key);
        }
    }
}

pub(crate) fn mutating(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    let mut known = Expressions::new(has(spec, "paramKind"), true);
    common(case, &known, true, &path, faults);
    variables(spec, &mut known, &path, faults);
    let above = path.field("mutations");
    let mutations = list(spec, "mutations");
    if mutations.is_empty() {
        faults.required(&above, "mutations must contain at least one item");
    }
    for (index, value) in mutations.iter().enumerate() {
        mutation(value, &known, &above.index(index), faults);
    }
    faults.one_of(spec, "reinvocationPolicy", &path, &["IfNeeded", "Never"]);
}

fn common(case: &Case<'_>, known: &Expressions, mutating: bool, path: &Path<'_>, faults: &mut Faults) {
    let (spec, old) = (case.spec(), at(case.old(), "spec"));
    match at(spec, "failurePolicy").as_str() {
        None => faults.required(&path.field("failurePolicy"), ""),
        Some(_) => faults.any_of(spec, "failurePolicy", path, FAILURE),
    }
    if has(spec, "paramKind") {
        parameter_kind(at(spec, "paramKind"), &path.field("paramKind"), faults);
    }
    let (constraints, on_constraints) = (at(spec, "matchConstraints"), path.field("matchConstraints"));
    if constraints.is_null() {
        faults.required(&on_constraints, "");
    } else {
        match_resources(constraints, &on_constraints, faults);
        if list(constraints, "resourceRules").is_empty() {
            faults.required(&on_constraints.field("resourceRules"), "");
        }
        if mutating {
            changing_operations(constraints, &on_constraints, faults);
        }
    }
    let unchanged = |name| same(at(spec, name), at(old, name));
    if case.old.is_none() || !(unchanged("paramKind") && unchanged("matchConditions")) {
        conditions(spec, known, path, faults);
    }
}

/// What is deleted cannot be changed.
fn changing_operations(of: &Value, path: &Path<'_>, faults: &mut Faults) {
    let rules = path.field("resourceRules");
    let path = rules.field("operations");
    let supported = ["*", "CONNECT", "CREATE", "UPDATE"];
    for operation in list(of, "resourceRules").iter().flat_map(|rule| ip::texts(list(rule, "operations"))) {
        if !supported.contains(&operation) {
            faults.not_supported(&path, operation, &supported);
        }
    }
}

fn parameter_kind(kind: &Value, path: &Path<'_>, faults: &mut Faults) {
    let version = text(kind, "apiVersion");
    let on_version = path.field("apiVersion");
    let joined = |reasons: name::Reasons| reasons.into_iter().collect::<Vec<_>>().join(",");
    match version.matches('/').count() {
        _ if version.is_empty() => faults.required(&on_version, ""),
        0 | 1 => {
            let (group, short) = match version {
                "/" => ("", ""),
                _ => version.split_once('/').unwrap_or(("", version)),
            };
            if let Some(Err(reasons)) = (!group.is_empty()).then(|| name::dns_subdomain(group)) {
                faults.invalid(&on_version, group, joined(reasons));
            }
            if short.is_empty() {
                faults.invalid(&on_version, version, "version must be specified");
            } else if let Err(reasons) = name::dns1035_label(short) {
                faults.invalid(&on_version, short, joined(reasons));
            }
        }
        _ => faults.invalid(&on_version, version, format!("unexpected GroupVersion string: {version}")),
    }
    match text(kind, "kind") {
        "" => faults.required(&path.field("kind"), ""),
        name => {
            if let Err(reasons) = name::dns1035_label(&name.to_lowercase()) {
                let detail = format!("may have mixed case, but should otherwise match: {}", joined(reasons));
                faults.invalid(&path.field("kind"), name, detail);
            }
        }
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|first: char| first == '_' || first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
        && !expressions::is_reserved(name)
}

fn variables(spec: &Value, known: &mut Expressions, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("variables");
    for (index, variable) in list(spec, "variables").iter().enumerate() {
        let path = above.index(index);
        let name = text(variable, "name");
        if name.trim().is_empty() {
            faults.required(&path.field("name"), "name is not specified");
        } else if !is_identifier(name) {
            faults.invalid(&path.field("name"), name, "must be a valid CEL identifier");
        }
        let (expression, on_expression) = (text(variable, "expression"), path.field("expression"));
        if expression.trim().is_empty() {
            faults.required(&on_expression, "expression is not specified");
        } else {
            known.declare(name, expression, &on_expression, faults);
        }
    }
}

fn validation(validation: &Value, known: &Expressions, path: &Path<'_>, faults: &mut Faults) {
    let (expression, on_expression) = (text(validation, "expression"), path.field("expression"));
    if expression.trim().is_empty() {
        faults.required(&on_expression, "expression is not specified");
    } else {
        known.check(expression, expression, Place::Validation, &on_expression, faults);
    }
    for name in ["messageExpression", "message"] {
        let message = text(validation, name);
        let trimmed = message.trim();
        if !message.is_empty() && trimmed.is_empty() {
            faults.invalid(&path.field(name), message, "must be non-empty if specified");
        } else if name == "messageExpression" && !trimmed.is_empty() {
            known.check(message, message, Place::Message, &path.field(name), faults);
        } else if trimmed.contains(['\n', '\r']) {
            faults.invalid(&path.field(name), message, "must not contain line breaks");
        }
    }
    faults.any_of(validation, "reason", path, &["Forbidden", "Invalid", "RequestEntityTooLarge"]);
}

fn annotation(policy: &str, annotation: &Value, known: &Expressions, path: &Path<'_>, faults: &mut Faults) {
    let key = text(annotation, "key");
    if policy.is_empty() {
        faults.invalid(&path.field("key"), key, "requires metadata.name be non-empty");
    } else {
        faults.named(&path.field("key"), &format!("{policy}/{key}"), name::qualified_name);
    }
    let (shown, path) = (text(annotation, "valueExpression"), path.field("valueExpression"));
    let expression = shown.trim();
    if expression.is_empty() {
        faults.required(&path, "valueExpression is not specified");
    } else if expression.len() > LONGEST_ANNOTATION {
        faults.required(&path, format!("must not exceed {LONGEST_ANNOTATION} bytes in length"));
    } else {
        known.check(expression, shown, Place::Annotation, &path, faults);
    }
}

fn mutation(mutation: &Value, known: &Expressions, path: &Path<'_>, faults: &mut Faults) {
    let (wanted, other, place) = match text(mutation, "patchType") {
        "" => return faults.required(&path.field("patchType"), ""),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Place::Patch),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Place::ApplyConfiguration),
        unknown => {
            let supported = &["ApplyConfiguration", "JSONPatch"];
            return faults.not_supported(&path.field("patchType"), unknown, supported);
        }
    };
    let kind = text(mutation, "patchType");
    let on_wanted = path.field(wanted);
    if !has(mutation, wanted) {
        faults.required(&on_wanted, format!("must be specified when patchType is {kind}"));
    } else {
        let (expression, path) = (text(at(mutation, wanted), "expression").trim(), on_wanted.field("expression"));
        if expression.is_empty() {
            faults.required(&path, "");
        } else {
            known.check(expression, expression, place, &path, faults);
        }
    }
    if has(mutation, other) {
        let detail = format!("must not be specified when patchType is {kind}");
        faults.invalid(&path.field(other), format!("{{{other}}}"), detail);
    }
}

pub(crate) fn validating_binding(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    binding(spec, &path, faults);
    let known = &["Audit", "Deny", "Warn"];
    let (actions, above) = (list(spec, "validationActions"), path.field("validationActions"));
    for (index, action) in ip::texts(actions).into_iter().enumerate() {
        if !known.contains(&action) {
            faults.not_supported(&above.index(index), action, known);
        }
        if actions[..index].iter().any(|other| other == action) {
            faults.duplicate(&above.index(index), action);
        }
    }
    let has = |wanted: &str| actions.iter().any(|action| action == wanted);
    if has("Deny") && has("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        faults.invalid(&above, actions.to_vec(), detail);
    }
    if actions.is_empty() {
        faults.required(&above, "at least one validation action is required");
    }
}

pub(crate) fn mutating_binding(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    binding(spec, &path, faults);
    changing_operations(at(spec, "matchResources"), &path.field("matchResources"), faults);
}

fn binding(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.required_name(&path.field("policyName"), text(spec, "policyName"), name::dns_subdomain);
    parameter(at(spec, "paramRef"), &path.field("paramRef"), faults);
    match_resources(at(spec, "matchResources"), &path.field("matchResources"), faults);
}

fn parameter(reference: &Value, path: &Path<'_>, faults: &mut Faults) {
    if reference.is_null() {
        return;
    }
    let (name, selector) = (text(reference, "name"), at(reference, "selector"));
    let either = "name and selector are mutually exclusive";
    faults.optional_name(&path.field("name"), name, name::path_segment);
    if !name.is_empty() && !selector.is_null() {
        faults.forbidden(&path.field("name"), either);
    }
    meta::selector(selector, &path.field("selector"), faults);
    match (name.is_empty(), selector.is_null()) {
        (false, false) => faults.forbidden(&path.field("selector"), either),
        (true, true) => faults.required(path, "one of name or selector must be specified"),
        _ => {}
    }
    faults.one_of(reference, "parameterNotFoundAction", path, &["Deny", "Allow"]);
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    let checking = path.field("typeChecking");
    let above = checking.field("expressionWarnings");
    for (index, warning) in list(at(status, "typeChecking"), "expressionWarnings").iter().enumerate() {
        let path = above.index(index);
        faults.required_text(warning, "warning", &path);
        if text(warning, "fieldRef").trim().is_empty() {
            faults.required(&path.field("fieldRef"), "");
        }
    }
    condition::list_of(status, &path, faults);
}
