//! Rules of Nodes.

use base::name;
use serde_json::Value;

use super::{Case, Faults, ip, resources};
use crate::json::{at, has, list, members, same, text};
use crate::path::Path;

pub(crate) fn node(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let meta = root.field("metadata");
    taints(list(case.spec(), "taints"), &meta.field("taints"), faults);
    amounts(case, faults);
    let swap = at(at(at(at(case.new, "status"), "nodeInfo"), "swap"), "capacity");
    if let Some(capacity) = swap.as_i64().filter(|capacity| *capacity <= 0) {
        let path = meta.field("nodeSwapStatus");
        faults.invalid(&path.field("capacity"), capacity, super::NOT_POSITIVE);
    }
    features(case, faults);
    let spec = root.field("spec");
    let path = spec.field("podCIDRs");
    let blocks = ip::texts(list(case.spec(), "podCIDRs"));
    for (index, block) in blocks.iter().enumerate() {
        ip::legacy_block(block, &[], &path.index(index), faults);
    }
    if blocks.len() > 1 && (blocks.len() > 2 || !ip::is_dual(blocks.iter().copied())) {
        let detail = "may specify no more than one CIDR for each IP family";
        faults.invalid(&path, at(case.spec(), "podCIDRs").clone(), detail);
    }
    if let Some(old) = case.old {
        change(case, old, faults);
    }
}

pub(crate) fn status(case: &Case<'_>, faults: &mut Faults) {
    amounts(case, faults);
    features(case, faults);
    change(case, case.old(), faults);
}

fn change(case: &Case<'_>, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    let above = status.field("addresses");
    let addresses = list(at(case.new, "status"), "addresses");
    for (index, address) in addresses.iter().enumerate() {
        if addresses[..index].iter().any(|other| same(other, address)) {
            let shown =
                super::go(&[("Type", text(address, "type").into()), ("Address", text(address, "address").into())]);
            let mut fault = crate::FieldError::duplicate(above.index(index), Value::Null);
            (fault.value, fault.detail) = (None, shown);
            faults.push(fault);
        }
    }
    let path = root.field("spec");
    let (new, old) = (case.spec(), at(old, "spec"));
    let (now, before) = (list(new, "podCIDRs"), list(old, "podCIDRs"));
    if !before.is_empty() && now != before {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        faults.forbidden(&path.field("podCIDRs"), detail);
    }
    let provider = text(old, "providerID");
    if !provider.is_empty() && provider != text(new, "providerID") {
        let detail = "node updates may not change providerID except from \"\" to valid";
        faults.forbidden(&path.field("providerID"), detail);
    }
    if text(new, "externalID") != text(old, "externalID") {
        faults.forbidden(&path.field("externalID"), "may not be updated");
    }
    taints(list(new, "taints"), &root.field("metadata").field("taints"), faults);
}

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn taints(taints: &[Value], above: &Path<'_>, faults: &mut Faults) {
    let mut seen = Vec::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = above.index(index);
        let (key, value, effect) = (text(taint, "key"), text(taint, "value"), text(taint, "effect"));
        faults.named(&path.field("key"), key, name::qualified_name);
        if let Err(reasons) = name::label_value(value) {
            let joined = reasons.into_iter().collect::<Vec<_>>().join(";");
            faults.invalid(&path.field("value"), value, joined);
        }
        faults.one_of(taint, "effect", &path, EFFECTS);
        if seen.contains(&(key, effect)) {
            let shown = super::go(&[
                ("Key", key.into()),
                ("Value", value.into()),
                ("Effect", effect.into()),
                ("TimeAdded", at(taint, "timeAdded").clone()),
            ]);
            let mut fault = crate::FieldError::duplicate(path, Value::Null);
            (fault.value, fault.detail) = (None, format!("{shown}: taints must be unique by key and effect pair"));
            faults.push(fault);
        }
        seen.push((key, effect));
    }
}

fn amounts(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    for list in ["capacity", "allocatable"] {
        let above = status.field(list);
        for (resource, value) in members(at(case.new, "status"), list) {
            resources::amount(resource, value, &above.field(resource), faults);
        }
    }
}

/// Features that a node declares are named in order and once.
fn features(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    let above = status.field("declaredFeatures");
    let features = ip::texts(list(at(case.new, "status"), "declaredFeatures"));
    for (index, feature) in features.iter().enumerate() {
        let quoted = crate::error::quote(feature);
        if feature.len() > 253 {
            let detail = format!("invalid feature name {quoted}: must be no more than 253 characters");
            faults.invalid(&above.index(index), *feature, detail);
        } else if !is_feature(feature) {
            let detail = format!(
                "invalid feature name {quoted}: must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes"
            );
            faults.invalid(&above.index(index), *feature, detail);
        }
        if let Some(next) = features.get(index + 1) {
            if next == feature {
                faults.duplicate(&above.index(index + 1), *next);
            } else if feature > next {
                faults.invalid(&above.index(index + 1), *next, "list must be sorted alphabetically");
            }
        }
    }
}

fn is_feature(text: &str) -> bool {
    let segment = |part: &str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric()) && part.starts_with(|c: char| c.is_ascii_alphabetic())
    };
    text.starts_with(|c: char| c.is_ascii_uppercase()) && text.split('/').all(segment)
}

pub(crate) fn warn(case: &Case<'_>, warnings: &mut Vec<String>) {
    let spec = case.spec();
    if has(spec, "configSource") {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !text(spec, "externalID").is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    let root = Path::Root;
    let path = root.field("spec");
    let above = path.field("podCIDRs");
    for (index, block) in ip::texts(list(spec, "podCIDRs")).iter().enumerate() {
        ip::warn_block(block, &above.index(index), warnings);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_camel_case() {
        assert!(is_feature("MyFeature") && is_feature("MyFeature/sub") && !is_feature("my") && !is_feature("A//b"));
    }
}
