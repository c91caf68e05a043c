//! What of a definition is told in conditions although nobody acts on it: schemas that are not structural, and whether a
//! protected group may be extended.

use serde_json::Value;

use crate::json::{at, flag, list, text};
use crate::validate::definition::{Approval, approval_of, is_protected, violations};

/// Status, reason and message of a condition.
pub type Told = (&'static str, &'static str, String);

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
