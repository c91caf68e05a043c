//! What of a definition is told although nobody acts on it: schemas that are not structural, whether a protected group may
//! be extended, and formats that mean nothing.

use serde_json::Value;

use super::format;
use crate::catalog::Kind;
use crate::error::quote;
use crate::json::{at, flag, list, text};
use crate::validate::definition::{Approval, approval_of, is_protected, violations};

/// Status, reason and message of a condition.
pub type Told = (&'static str, &'static str, String);

/// What a client should know about an object that it creates or changes, although it is accepted.
pub fn warnings(kind: &Kind, new: &Value, old: Option<&Value>) -> Vec<String> {
    if kind.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        let known = old.map(unknown_formats).unwrap_or_default();
        let mut found = unknown_formats(new);
        found.retain(|format| !known.contains(format));
        return found.into_iter().map(|format| format!("unrecognized format {}", quote(&format))).collect();
    }
    if kind.custom.is_none() {
        return Vec::new();
    }
    let finalizers = |object| list(at(object, "metadata"), "finalizers");
    let held = old.map_or(&[][..], finalizers);
    let mut added: Vec<&str> =
        finalizers(new).iter().filter(|one| !held.contains(one)).filter_map(Value::as_str).collect();
    added.sort_unstable();
    added.into_iter().filter_map(unqualified).collect()
}

/// A finalizer whose name may be somebody else's, too.
fn unqualified(name: &str) -> Option<String> {
    if name.contains('/') || ["orphan", "foregroundDeletion", "kubernetes"].contains(&name) {
        return None;
    }
    let path = if name.contains('.') { " including a path (/)" } else { "" };
    Some(format!(
        "metadata.finalizers: {}: prefer a domain-qualified finalizer name{path} to avoid accidental conflicts with other finalizer writers",
        quote(name)
    ))
}

fn unknown_formats(definition: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for version in list(at(definition, "spec"), "versions") {
        collect(at(at(version, "schema"), "openAPIV3Schema"), &mut found);
    }
    found
}

fn collect(schema: &Value, found: &mut Vec<String>) {
    let held = text(schema, "format");
    if !held.is_empty() && !format::is_known(text(schema, "type"), held) {
        found.push(held.to_owned());
    }
    crate::validate::definition::below(schema).for_each(|inner| collect(inner, found));
}

/// The condition `KubernetesAPIApprovalPolicyConformant`; none for groups that are nobody's.
pub fn approval(definition: &Value) -> Option<Told> {
    if !is_protected(text(at(definition, "spec"), "group")) {
        return None;
    }
    let annotations = at(at(definition, "metadata"), "annotations");
    let (state, reason) = approval_of(text(annotations, "api-approved.kubernetes.io"));
    Some(match state {
        Approval::Approved => ("True", "ApprovedAnnotation", reason),
        Approval::Bypassed => ("False", "UnapprovedAnnotation", reason),
        Approval::Missing => ("False", "MissingAnnotation", reason),
        Approval::Invalid => ("False", "InvalidAnnotation", reason),
    })
}

/// The condition `NonStructuralSchema`; none if all schemas are structural.
pub fn non_structural(definition: &Value) -> Option<Told> {
    let spec = at(definition, "spec");
    let mut faults = Vec::new();
    if flag(spec, "preserveUnknownFields") {
        faults.push("spec.preserveUnknownFields: Invalid value: true: must be false".to_owned());
    }
    for (index, version) in list(spec, "versions").iter().enumerate() {
        let schema = at(at(version, "schema"), "openAPIV3Schema");
        if schema.is_object() {
            let place = format!("spec.versions[{index}].schema.openAPIV3Schema");
            faults.extend(violations(schema, &place).iter().map(ToString::to_string));
        }
    }
    let message = if faults.len() == 1 { faults.remove(0) } else { format!("[{}]", faults.join(", ")) };
    (message != "[]").then_some(("True", "Violations", message))
}
