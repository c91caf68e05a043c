//! Rules of disruption budgets, priority classes and leases.

use serde_json::Value;

use super::{Faults, apps, meta};
use crate::json::{at, has, int, same, text};
use crate::path::Path;

pub(crate) fn disruption_budget(budget: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(budget, "spec"), root.field("spec"));
    if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
        faults.invalid(&path, spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for name in ["minAvailable", "maxUnavailable"] {
        let number = apps::amount(spec, name, &path, faults);
        if at(spec, name).is_string() && number.is_some_and(|percent| percent > 100) {
            faults.invalid(&path.field(name), at(spec, name).clone(), "must not be greater than 100%");
        }
    }
    meta::selector(at(spec, "selector"), &path.field("selector"), faults);
}

/// The highest priority that is not reserved for the system.
const HIGHEST: i64 = 1_000_000_000;

pub(crate) fn priority_class(class: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let value = int(class, "value").unwrap_or(0);
    let name = text(at(class, "metadata"), "name");
    if name.starts_with("system-") {
        let known = [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
        if !known.contains(&(name, value)) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error: \
                          this name is not a system priority class, or its value differs";
            faults.forbidden(&root.field("metadata").field("name"), detail);
        }
    } else if value > HIGHEST {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        faults.forbidden(&root.field("value"), detail);
    }
}

pub(crate) fn priority_class_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    for name in ["value", "preemptionPolicy"] {
        if !same(at(new, name), at(old, name)) {
            faults.forbidden(&root.field(name), "may not be changed in an update.");
        }
    }
}

pub(crate) fn lease(lease: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(lease, "spec"), root.field("spec"));
    if let Some(seconds) = int(spec, "leaseDurationSeconds").filter(|seconds| *seconds <= 0) {
        faults.invalid(&path.field("leaseDurationSeconds"), seconds, "must be greater than 0");
    }
    if let Some(count) = int(spec, "leaseTransitions").filter(|count| *count < 0) {
        faults.invalid(&path.field("leaseTransitions"), count, "must be greater than or equal to 0");
    }
}

pub(crate) fn runtime_class_change(new: &Value, old: &Value, faults: &mut Faults) {
    faults.unchanged(new, old, "handler", &Path::Root);
}
