//! Rules of `node.k8s.io` and `scheduling.k8s.io`.

use base::name;
use serde_json::Value;

use super::{Case, Faults, condition, golang, meta, resources, scheduling};
use crate::json::{at, int, list, text};
use crate::path::Path;

pub(crate) fn runtime_class(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let handler = text(case.new, "handler");
    faults.required_name(&root.field("handler"), handler, name::dns_label);
    let overhead = at(case.new, "overhead");
    if !overhead.is_null() {
        let limits = serde_json::json!({"limits": at(overhead, "podFixed")});
        resources::requirements(&limits, resources::Owner::NOBODY, &root.field("overhead"), faults);
    }
    let (placement, path) = (at(case.new, "scheduling"), root.field("scheduling"));
    meta::labels(at(placement, "nodeSelector"), &path.field("nodeSelector"), faults);
    let tolerations = list(placement, "tolerations");
    let above = path.field("tolerations");
    scheduling::tolerations(tolerations, false, &above, faults);
    let key = |toleration: &Value| ["key", "operator", "value", "effect"].map(|name| text(toleration, name).to_owned());
    for (index, toleration) in tolerations.iter().enumerate() {
        if tolerations[..index].iter().any(|other| key(other) == key(toleration)) {
            let mut fault = crate::FieldError::duplicate(above.index(index), Value::Null);
            (fault.value, fault.detail) = (None, golang::print("Toleration", toleration));
            faults.push(fault);
        }
    }
    if let Some(old) = case.old {
        faults.same_text(case.new, old, "handler", &root);
    }
}

const RESERVED: &str = "system-";
const HIGHEST: i64 = 1_000_000_000;
/// Classes that Kubernetes brings along, with their values.
const SYSTEM: &[(&str, i64)] = &[("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

pub(crate) fn priority_class(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let value = int(case.new, "value").unwrap_or(0);
    if let Some(old) = case.old {
        if value != int(old, "value").unwrap_or(0) {
            faults.forbidden(&root.field("value"), "may not be changed in an update.");
        }
        faults.unchanged(case.new, old, "preemptionPolicy", &root);
        return;
    }
    if case.name().starts_with(RESERVED) {
        if let Some(why) = unlike_system(case, value) {
            let detail =
                format!("priority class names with '{RESERVED}' prefix are reserved for system use only. error: {why}");
            faults.forbidden(&root.field("metadata").field("name"), detail);
        }
    } else if value > HIGHEST {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
        faults.forbidden(&root.field("value"), detail);
    }
    preemption(case.new, &root, faults);
}

fn unlike_system(case: &Case<'_>, value: i64) -> Option<String> {
    let name = case.name();
    match SYSTEM.iter().find(|(known, _)| *known == name) {
        None => Some(format!("{name} is not a known system priority class")),
        Some((_, right)) if *right != value => Some(format!("value of {name} PriorityClass must be {right}")),
        Some(_) if crate::json::flag(case.new, "globalDefault") => {
            Some(format!("globalDefault of {name} PriorityClass must be false"))
        }
        Some(_) => None,
    }
}

/// Whether pods may drive away others.
pub(crate) fn preemption(value: &Value, above: &Path<'_>, faults: &mut Faults) {
    let name = "preemptionPolicy";
    match at(value, name).as_str() {
        Some("") => faults.required(&above.field(name), ""),
        _ => faults.any_of(value, name, above, &["PreemptLowerPriority", "Never"]),
    }
}

/// Exactly one of the ways to schedule a group of pods.
fn scheduling_policy(of: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (policy, path) = (at(of, "schedulingPolicy"), path.field("schedulingPolicy"));
    let ways: Vec<&str> = ["basic", "gang"].into_iter().filter(|name| !at(policy, name).is_null()).collect();
    match ways[..] {
        [] => faults.invalid(&path, "", "must specify one of: `basic`, `gang`"),
        [_] => {}
        _ => faults.invalid(&path, "{basic, gang}", "must specify exactly one of: `basic`, `gang`"),
    }
}

pub(crate) fn pod_group(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    scheduling_policy(case.spec(), &path, faults);
    if let Some(old) = case.old {
        for name in ["podGroupTemplateRef", "schedulingPolicy"] {
            faults.unchanged(case.spec(), at(old, "spec"), name, &path);
        }
    }
}

const MOST_TEMPLATES: usize = 8;

pub(crate) fn workload(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let above = spec.field("podGroupTemplates");
    let templates = list(case.spec(), "podGroupTemplates");
    if templates.is_empty() {
        faults.required(&above, "");
    }
    if templates.len() > MOST_TEMPLATES {
        faults.too_many(&above, templates.len(), MOST_TEMPLATES);
        return;
    }
    for (index, template) in templates.iter().enumerate() {
        let path = above.index(index);
        let name = text(template, "name");
        faults.required_name(&path.field("name"), name, name::dns_label);
        if templates[..index].iter().any(|other| text(other, "name") == name) {
            faults.duplicate(&path, template.clone());
        }
        scheduling_policy(template, &path, faults);
    }
    if let Some(old) = case.old {
        faults.unchanged(case.spec(), at(old, "spec"), "podGroupTemplates", &spec);
    }
}

pub(crate) fn pod_group_status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    condition::list_of(status, &path, faults);
    let above = path.field("resourceClaimStatuses");
    for (index, claim) in list(status, "resourceClaimStatuses").iter().enumerate() {
        let name = text(claim, "name");
        if !list(case.spec(), "resourceClaims").iter().any(|claim| text(claim, "name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            faults.invalid(&above.index(index).field("name"), name, detail);
        }
    }
}
