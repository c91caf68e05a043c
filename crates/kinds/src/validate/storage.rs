//! Rules of storage classes, volumes and claims.

use base::{Quantity, name};
use serde_json::Value;

use super::{Faults, core, meta, scheduling};
use crate::json::{at, has, list, members, same, text};
use crate::path::Path;

pub(crate) fn storage_class(class: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let provisioner = text(class, "provisioner");
    faults.required_name(&root.field("provisioner"), &provisioner.to_lowercase(), name::qualified_name);
    faults.one_of(class, "reclaimPolicy", &root, &["Delete", "Retain"]);
    faults.one_of(class, "volumeBindingMode", &root, &["Immediate", "WaitForFirstConsumer"]);
    let size: usize = members(class, "parameters").map(|(k, v)| k.len() + v.as_str().map_or(0, str::len)).sum();
    if size > 256 * 1024 {
        faults.push(crate::FieldError::too_long(root.field("parameters"), 256 * 1024));
    }
    if members(class, "parameters").any(|(key, _)| key.is_empty()) {
        faults.invalid(&root.field("parameters"), "", "field can not be empty.");
    }
}

pub(crate) fn storage_class_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    for name in ["parameters", "provisioner", "reclaimPolicy"] {
        if !same(at(new, name), at(old, name)) {
            faults.forbidden(&root.field(name), format!("updates to {name} are forbidden."));
        }
    }
    faults.unchanged(new, old, "volumeBindingMode", &root);
}

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

fn access_modes(spec: &Value, missing: &str, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("accessModes");
    let modes = list(spec, "accessModes");
    if modes.is_empty() {
        faults.required(&above, missing);
    }
    for mode in modes.iter().filter_map(Value::as_str) {
        if !MODES.contains(&mode) {
            faults.not_supported(&above, mode, MODES);
        }
    }
    if modes.len() > 1 && modes.iter().any(|mode| mode == "ReadWriteOncePod") {
        faults.forbidden(&above, "may not use ReadWriteOncePod with other access modes");
    }
}

/// Members of a volume's spec that are no source of storage.
const NOT_SOURCES: &[&str] = &[
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

pub(crate) fn volume(volume: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (at(volume, "spec"), root.field("spec"));
    access_modes(spec, "", &path, faults);
    match members(spec, "capacity").next() {
        None => faults.required(&path.field("capacity"), ""),
        Some(_) if !has(at(spec, "capacity"), "storage") => {
            faults.not_supported(&path.field("capacity"), "", &["storage"]);
        }
        Some(_) => core::quantities(spec, "capacity", &path, faults),
    }
    let mut given = members_of(spec).filter(|name| !NOT_SOURCES.contains(&name.as_str()));
    if given.next().is_none() {
        faults.required(&path, "must specify a volume type");
    }
    for extra in given {
        faults.forbidden(&path.field(extra), "may not specify more than 1 volume type");
    }
    if has(spec, "local") && !has(spec, "nodeAffinity") {
        faults.required(&path.field("nodeAffinity"), "Local volume requires node affinity");
    }
    let required = at(at(spec, "nodeAffinity"), "required");
    if has(spec, "nodeAffinity") {
        let affinity = path.field("nodeAffinity");
        if required.is_null() {
            faults.required(&affinity.field("required"), "must specify required node constraints");
        } else {
            scheduling::node_selector(required, &affinity.field("required"), faults);
        }
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        faults.named(&path.field("storageClassName"), class, name::dns_subdomain);
    }
}

fn members_of(spec: &Value) -> impl Iterator<Item = &String> {
    spec.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()).map(|(name, _)| name)
}

pub(crate) fn volume_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    let source = |value: &Value| {
        let mut spec = at(value, "spec").clone();
        if let Some(members) = spec.as_object_mut() {
            members.retain(|name, _| !NOT_SOURCES.contains(&name.as_str()));
        }
        spec
    };
    if !same(&source(new), &source(old)) {
        faults.forbidden(
            &path.field("persistentvolumesource"),
            "spec.persistentvolumesource is immutable after creation",
        );
    }
    faults.unchanged(at(new, "spec"), at(old, "spec"), "volumeMode", &path);
}

pub(crate) fn claim(claim: &Value, faults: &mut Faults) {
    let root = Path::Root;
    claim_spec(at(claim, "spec"), &root.field("spec"), faults);
}

/// The spec of a claim, also inside templates.
pub(crate) fn claim_spec(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    access_modes(spec, "at least 1 access mode is required", path, faults);
    meta::selector(at(spec, "selector"), &path.field("selector"), faults);
    let resources = path.field("resources");
    match text(at(at(spec, "resources"), "requests"), "storage").parse::<Quantity>() {
        Err(_) => faults.required(&resources.key("storage"), ""),
        Ok(amount) if amount.sign() <= 0 => {
            let requests = resources.field("requests");
            faults.invalid(&requests.key("storage"), amount.to_string(), "must be greater than zero");
        }
        Ok(_) => {}
    }
    let class = text(spec, "storageClassName");
    if !class.is_empty() {
        faults.named(&path.field("storageClassName"), class, name::dns_subdomain);
    }
}

pub(crate) fn claim_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    // A bound claim may grow; the binder sets the volume's name and class once.
    let fixed = |value: &Value| {
        let mut spec = at(value, "spec").clone();
        if let Some(members) = spec.as_object_mut() {
            for name in ["resources", "volumeAttributesClassName"] {
                members.remove(name);
            }
            for name in ["volumeName", "storageClassName"] {
                if !has(at(old, "spec"), name) {
                    members.remove(name);
                }
            }
        }
        spec
    };
    if !same(&fixed(new), &fixed(old)) {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        faults.forbidden(&path, detail);
    }
    let size = |value: &Value| {
        let requests = at(at(at(value, "spec"), "resources"), "requests");
        text(requests, "storage").parse::<Quantity>().ok()
    };
    if let (Some(now), Some(before)) = (size(new), size(old))
        && now < before
    {
        let resources = path.field("resources");
        let requests = resources.field("requests");
        faults.forbidden(&requests.field("storage"), "field can not be less than previous value");
    }
}
