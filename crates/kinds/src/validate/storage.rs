//! Rules of `storage.k8s.io`.

use base::name;
use serde_json::Value;

use super::{Case, Faults, IMMUTABLE, golang, meta, persistent, resources, source};
use crate::json::{at, has, int, list, same, text};
use crate::path::Path;

const MOST_PARAMETERS: usize = 512;
const LARGEST: usize = 256 * 1024;

pub(crate) fn storage_class(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let class = case.new;
    provisioner(text(class, "provisioner"), &root.field("provisioner"), faults);
    parameters(class, &root.field("parameters"), faults);
    if !text(class, "reclaimPolicy").is_empty() {
        faults.any_of(class, "reclaimPolicy", &root, &["Delete", "Retain"]);
    }
    match at(class, "volumeBindingMode").as_str() {
        None => faults.required(&root.field("volumeBindingMode"), ""),
        Some(_) => faults.any_of(class, "volumeBindingMode", &root, &["Immediate", "WaitForFirstConsumer"]),
    }
    let above = root.field("allowedTopologies");
    let terms = list(class, "allowedTopologies");
    for (index, term) in terms.iter().enumerate() {
        let path = above.index(index);
        topology(term, &path, faults);
        // Upstream compares with as many empty terms as there are terms, too.
        let again = topology_key(term).is_empty()
            || terms[..index].iter().any(|other| topology_key(other) == topology_key(term));
        if again {
            faults.duplicate(&path.field("matchLabelExpressions"), "");
        }
    }
    if let Some(old) = case.old {
        faults.unchanged(class, old, "parameters", &root);
        faults.same_text(class, old, "provisioner", &root);
        faults.unchanged(class, old, "reclaimPolicy", &root);
        faults.unchanged(class, old, "volumeBindingMode", &root);
    }
}

fn topology(term: &Value, path: &Path<'_>, faults: &mut Faults) {
    let above = path.field("matchLabelExpressions");
    let expressions = list(term, "matchLabelExpressions");
    for (index, expression) in expressions.iter().enumerate() {
        let path = above.index(index);
        let (values, on_values) = (list(expression, "values"), path.field("values"));
        if values.is_empty() {
            faults.required(&on_values, "");
        }
        for (index, value) in values.iter().enumerate().filter(|(index, value)| values[..*index].contains(value)) {
            faults.duplicate(&on_values.index(index), value.clone());
        }
        let key = text(expression, "key");
        faults.named(&path.field("key"), key, name::qualified_name);
        if expressions[..index].iter().any(|other| text(other, "key") == key) {
            faults.duplicate(&path.field("key"), key);
        }
    }
}

fn topology_key(term: &Value) -> std::collections::BTreeMap<&str, std::collections::BTreeSet<&str>> {
    let expressions = list(term, "matchLabelExpressions").iter();
    expressions
        .map(|expression| {
            (text(expression, "key"), list(expression, "values").iter().filter_map(Value::as_str).collect())
        })
        .collect()
}

fn provisioner(name: &str, path: &Path<'_>, faults: &mut Faults) {
    if name.is_empty() {
        faults.required(path, "");
    } else {
        let lower = name.to_lowercase();
        faults.verdict(path, &lower, name::qualified_name(&lower));
    }
}

fn parameters(class: &Value, path: &Path<'_>, faults: &mut Faults) {
    let map = at(class, "parameters");
    let count = map.as_object().map_or(0, serde_json::Map::len);
    if count > MOST_PARAMETERS {
        faults.too_long(path, MOST_PARAMETERS);
    }
    if has(map, "") {
        faults.invalid(path, "", "field can not be empty.");
    }
    if meta::size(map) > LARGEST {
        faults.too_long(path, LARGEST);
    }
}

pub(crate) fn attributes_class(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    if let Some(old) = case.old {
        for name in ["driverName", "parameters"] {
            if !same(at(case.new, name), at(old, name)) {
                faults.forbidden(&root.field(name), format!("updates to {name} are forbidden."));
            }
        }
    }
    provisioner(text(case.new, "driverName"), &root.field("driverName"), faults);
    parameters(case.new, &root.field("parameters"), faults);
    if crate::json::is_empty(at(case.new, "parameters")) {
        faults.required(&root.field("parameters"), "must contain at least one key/value pair");
    }
}

pub(crate) fn attachment(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    source::driver(text(spec, "attacher"), &path.field("attacher"), faults);
    let (from, on_source) = (at(spec, "source"), path.field("source"));
    let volume = at(from, "persistentVolumeName").as_str();
    let either = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (volume, has(from, "inlineVolumeSpec")) {
        (None, false) => faults.required(&on_source, either),
        (Some(_), true) => faults.forbidden(&on_source, either),
        (Some(""), false) => {
            faults.required(&on_source.field("persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (Some(_), false) => {}
        (None, true) => {
            persistent::inline_volume(at(from, "inlineVolumeSpec"), &on_source.field("inlineVolumeSpec"), faults);
        }
    }
    faults.named(&path.field("nodeName"), text(spec, "nodeName"), name::dns_subdomain);
    status(case, faults);
    if let Some(volume) = volume {
        faults.named(&path.field("source.persistentVolumeName"), volume, name::dns_subdomain);
    }
    if let Some(old) = case.old
        && !same(spec, at(old, "spec"))
    {
        faults.shown(&path, &golang::print("VolumeAttachmentSpec", spec), IMMUTABLE);
    }
}

const LONGEST_ERROR: usize = 1024;

fn status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    if meta::size(at(status, "attachmentMetadata")) > LARGEST {
        faults.too_long(&path.field("attachmentMetadata"), LARGEST);
    }
    for name in ["attachError", "detachError"] {
        let (error, path) = (at(status, name), path.field(name));
        if text(error, "message").len() > LONGEST_ERROR {
            // Upstream tells the wrong limit.
            faults.too_long(&path.field("message"), LARGEST);
        }
        if let Some(code) = int(error, "errorCode").filter(|code| *code < 0) {
            faults.invalid(&path.field("errorCode"), code, name::range_message(0, i64::from(i32::MAX)));
        }
    }
}

const LONGEST_NODE_ID: usize = 256;

pub(crate) fn csi_node(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let spec = root.field("spec");
    let above = spec.field("drivers");
    let drivers = list(case.spec(), "drivers");
    for (index, driver) in drivers.iter().enumerate() {
        let path = above.index(index);
        let name = text(driver, "name");
        source::driver(name, &path.field("name"), faults);
        let id = text(driver, "nodeID");
        if id.is_empty() {
            faults.required(&path.field("nodeID"), "");
        }
        if id.len() > LONGEST_NODE_ID {
            faults.invalid(&path.field("nodeID"), id, format!("must be {LONGEST_NODE_ID} characters or less"));
        }
        faults.not_negative(at(driver, "allocatable"), "count", &path.field("allocatable"));
        if drivers[..index].iter().any(|other| text(other, "name") == name) {
            faults.duplicate(&path.field("name"), name);
        }
        let keys = list(driver, "topologyKeys");
        for (index, key) in keys.iter().enumerate() {
            let text = key.as_str().unwrap_or("");
            if text.is_empty() {
                faults.required(&path, "");
            }
            if keys[..index].contains(key) {
                faults.duplicate(&path, text);
            }
            faults.named(&path, text, name::qualified_name);
        }
    }
    let bare = |driver: &Value| {
        let mut driver = driver.clone();
        driver.as_object_mut().map(|members| members.remove("allocatable"));
        driver
    };
    for old in list(at(case.old(), "spec"), "drivers") {
        for new in drivers.iter().filter(|new| text(new, "name") == text(old, "name")) {
            if !same(&bare(new), &bare(old)) {
                faults.shown(&above, &golang::print("CSINodeDriver", &bare(new)), IMMUTABLE);
            }
        }
    }
}

pub(crate) fn csi_driver(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (spec, path) = (case.spec(), root.field("spec"));
    // Upstream tells of `attachedRequired`.
    let on_attach = path.field("attachedRequired");
    for (name, path) in [
        ("attachRequired", on_attach),
        ("podInfoOnMount", path.field("podInfoOnMount")),
        ("storageCapacity", path.field("storageCapacity")),
    ] {
        if !has(spec, name) {
            faults.required(&path, "");
        }
    }
    faults.any_of(spec, "fsGroupPolicy", &path, &["File", "None", "ReadWriteOnceWithFSType"]);
    tokens(spec, &path.field("tokenRequests"), faults);
    let on_modes = path.field("volumeLifecycleModes");
    for mode in list(spec, "volumeLifecycleModes").iter().filter_map(Value::as_str) {
        if !matches!(mode, "Persistent" | "Ephemeral") {
            faults.not_supported(&on_modes, mode, &["Persistent", "Ephemeral"]);
        }
    }
    if !has(spec, "seLinuxMount") {
        faults.required(&path.field("seLinuxMount"), "");
    }
    if let Some(period) = int(spec, "nodeAllocatableUpdatePeriodSeconds").filter(|period| *period < 10) {
        let detail = "must be greater than or equal to 10 seconds";
        faults.invalid(&path.field("nodeAllocatableUpdatePeriodSeconds"), period, detail);
    }
    if has(spec, "serviceAccountTokenInSecrets") && list(spec, "tokenRequests").is_empty() {
        let detail = "serviceAccountTokenInSecrets is set but no tokenRequests are specified";
        let shown = at(spec, "serviceAccountTokenInSecrets").clone();
        faults.invalid(&path.field("serviceAccountTokenInSecrets"), shown, detail);
    }
    if let Some(old) = case.old {
        let old = at(old, "spec");
        if !same(at(spec, "attachRequired"), at(old, "attachRequired")) {
            faults.invalid(&on_attach, at(spec, "attachRequired").clone(), IMMUTABLE);
        }
        faults.unchanged(spec, old, "volumeLifecycleModes", &path);
    }
}

fn tokens(spec: &Value, above: &Path<'_>, faults: &mut Faults) {
    let requests = list(spec, "tokenRequests");
    for (index, request) in requests.iter().enumerate() {
        let path = above.index(index);
        let audience = text(request, "audience");
        if requests[..index].iter().any(|other| text(other, "audience") == audience) {
            faults.duplicate(&path.field("audience"), audience);
            continue;
        }
        let on_seconds = path.field("expirationSeconds");
        match int(request, "expirationSeconds") {
            Some(seconds) if seconds < 600 => {
                faults.invalid(&on_seconds, seconds, "may not specify a duration less than 10 minutes");
            }
            Some(seconds) if seconds > 1 << 32 => {
                faults.invalid(&on_seconds, seconds, "may not specify a duration larger than 2^32 seconds");
            }
            _ => {}
        }
    }
}

pub(crate) fn capacity(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let faulty = meta::has_faulty_values(at(case.old(), "nodeTopology"));
    meta::selector_of(at(case.new, "nodeTopology"), faulty, &root.field("nodeTopology"), faults);
    let class = text(case.new, "storageClassName");
    faults.named(&root.field("storageClassName"), class, name::dns_subdomain);
    if let Some(amount) = resources::quantity(at(case.new, "capacity")).filter(|amount| amount.sign() < 0) {
        faults.invalid(&root.field("capacity"), amount.to_string(), super::NEGATIVE);
    }
    if let Some(old) = case.old {
        faults.unchanged(case.new, old, "nodeTopology", &root);
        faults.same_text(case.new, old, "storageClassName", &root);
    }
}
