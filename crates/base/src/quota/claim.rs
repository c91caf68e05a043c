//! What a PersistentVolumeClaim and a ResourceClaim count as.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Amounts, amounts, scope};
use crate::quantity::Quantity;

const RESOURCES: &[&str] = &["persistentvolumeclaims", "requests.storage"];
/// Between the name of a class and what is counted of it.
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
const IMPLICIT: &str = "requests.deviceclass.resource.kubernetes.io/";
/// A request for all devices counts as the most that can be given.
const ALL_DEVICES: i64 = 32;

pub(super) fn covers(resource: &str) -> bool {
    RESOURCES.contains(&resource)
        || RESOURCES.iter().any(|one| resource.strip_suffix(one).is_some_and(|class| class.ends_with(BY_CLASS)))
}

pub(super) fn usage(claim: &Value) -> Amounts {
    let mut counted = vec![("persistentvolumeclaims", Amounts::one())];
    counted.extend(storage(claim).map(|storage| ("requests.storage", storage)));
    let beta = claim.pointer("/metadata/annotations/volume.beta.kubernetes.io~1storage-class");
    let class = beta.or_else(|| claim.pointer("/spec/storageClassName")).and_then(Value::as_str);
    let class = class.filter(|class| !class.is_empty());
    let by_class = counted.iter().filter_map(|(name, amount)| Some((format!("{}{BY_CLASS}{name}", class?), *amount)));
    let plain = counted.iter().map(|(name, amount)| ((*name).to_owned(), *amount));
    plain.chain(by_class).collect()
}

/// Whole bytes: what is asked for, or what an earlier larger request has been given.
fn storage(claim: &Value) -> Option<Quantity> {
    let whole = |amount: Quantity| Quantity::from_value(amount.value(), amount.format());
    let asked = amounts::quantity(&claim["spec"]["resources"]["requests"]["storage"])?;
    let given = amounts::quantity(&claim["status"]["allocatedResources"]["storage"]);
    Some(whole(given.filter(|given| *given > asked).unwrap_or(asked)))
}

/// Whether a new status may count as more than the old one.
pub(super) fn may_use_more(old: &Value, new: &Value) -> bool {
    let given = |claim: &Value| amounts::quantity(&claim["status"]["allocatedResources"]["storage"]);
    let classes = |claim: &Value| -> BTreeSet<String> { scope::attribute_classes(claim).map(str::to_owned).collect() };
    given(old) != given(new) || classes(old) != classes(new)
}

pub(super) fn covers_devices(resource: &str) -> bool {
    resource.ends_with(BY_DEVICE_CLASS) || resource.starts_with(IMPLICIT)
}

/// The devices of each class that a claim may be given.
pub(super) fn devices(claim: &Value) -> Amounts {
    let count = |request: &Value| match request["allocationMode"].as_str().unwrap_or("ExactCount") {
        "ExactCount" => request["count"].as_i64().unwrap_or(1),
        "All" => ALL_DEVICES,
        _ => 0,
    };
    let mut devices: BTreeMap<&str, i64> = BTreeMap::new();
    for request in claim["spec"]["devices"]["requests"].as_array().into_iter().flatten() {
        let alternatives = request["firstAvailable"].as_array().map(Vec::as_slice).unwrap_or_default();
        let exact = request.get("exactly").filter(|exact| exact.is_object());
        let mut most: BTreeMap<&str, i64> = BTreeMap::new();
        for one in
            if alternatives.is_empty() { exact.into_iter().collect() } else { alternatives.iter().collect::<Vec<_>>() }
        {
            let known = most.entry(one["deviceClassName"].as_str().unwrap_or_default()).or_default();
            *known = (*known).max(count(one));
        }
        for (class, count) in most {
            *devices.entry(class).or_default() += count;
        }
    }
    let amount = |count: i64| Amounts::number(usize::try_from(count).unwrap_or(0));
    let named = devices.into_iter().flat_map(|(class, count)| {
        [format!("{class}{BY_DEVICE_CLASS}"), format!("{IMPLICIT}{class}")].map(|name| (name, amount(count)))
    });
    named.collect()
}
