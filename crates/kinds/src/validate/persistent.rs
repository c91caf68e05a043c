//! Rules of persistent volumes and claims for them.

use base::name;
use serde_json::Value;

use super::source::{self, Place};
use super::{Case, Faults, IMMUTABLE, NOT_POSITIVE, difference, meta, resources, scheduling};
use crate::json::{at, has, list, members, same, text};
use crate::path::Path;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: &[&str] = &["Block", "Filesystem"];
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

fn access_modes(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let modes = list(spec, "accessModes");
    for mode in modes.iter().filter_map(Value::as_str).filter(|mode| !MODES.contains(mode)) {
        faults.not_supported(path, mode, MODES);
    }
    let known = |mode: &&Value| mode.as_str().is_some_and(|mode| MODES.contains(&mode));
    let (alone, others): (Vec<&Value>, Vec<&Value>) =
        modes.iter().filter(known).partition(|mode| *mode == "ReadWriteOncePod");
    if !alone.is_empty() && !others.is_empty() {
        faults.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

pub(crate) fn volume(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    let tolerated = case
        .old
        .is_some_and(|old| scheduling::has_faulty_node_values(at(at(at(old, "spec"), "nodeAffinity"), "required")));
    volume_spec(case.spec(), case.name(), None, tolerated, &path, faults);
    mount_options(case, faults);
    if let Some(old) = case.old {
        volume_change(case.spec(), at(old, "spec"), faults);
    }
}

/// Where a volume's spec stands if not in a volume.
const INLINE: &str = "in the context of inline volumes";

/// The spec of a volume that a VolumeAttachment has inside itself.
pub(crate) fn inline_volume(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    volume_spec(spec, "", Some(INLINE), false, path, faults);
}

fn volume_spec(
    spec: &Value,
    own_name: &str,
    inline: Option<&str>,
    tolerated: bool,
    path: &Path<'_>,
    faults: &mut Faults,
) {
    if let Some(context) = inline {
        for name in ["claimRef", "capacity"] {
            if !crate::json::is_empty(at(spec, name)) {
                faults.forbidden(&path.field(name), format!("may not be specified {context}"));
            }
        }
        if !has(spec, "csi") {
            faults.required(&path.field("csi"), format!("has to be specified {context}"));
        }
    }
    if list(spec, "accessModes").is_empty() {
        faults.required(&path.field("accessModes"), "");
    }
    access_modes(spec, &path.field("accessModes"), faults);
    if inline.is_none() {
        capacity(spec, path, faults);
    }
    let policy = text(spec, "persistentVolumeReclaimPolicy");
    let on_policy = path.field("persistentVolumeReclaimPolicy");
    match (policy, inline) {
        ("" | "Retain", _) => {}
        (_, Some(context)) => faults.forbidden(&on_policy, format!("may only be Retain {context}")),
        ("Delete" | "Recycle", None) => {}
        (other, None) => faults.not_supported(&on_policy, other, &["Delete", "Recycle", "Retain"]),
    }
    let affinity = at(spec, "nodeAffinity");
    if has(spec, "nodeAffinity") {
        let path = path.field("nodeAffinity");
        match (inline, at(affinity, "required")) {
            (Some(context), _) => faults.forbidden(&path, format!("may not be specified {context}")),
            (None, Value::Null) => faults.required(&path.field("required"), "must specify required node constraints"),
            (None, required) => scheduling::node_selector(required, tolerated, &path.field("required"), faults),
        }
    }
    sources(spec, own_name, path, faults);
    if policy == "Recycle" && at(spec, "hostPath").get("path").and_then(Value::as_str).is_some_and(is_root) {
        faults.forbidden(&on_policy, "may not be 'recycle' for a hostPath mount of '/'");
    }
    let class = text(spec, "storageClassName");
    match inline {
        Some(context) if !class.is_empty() => {
            faults.forbidden(&path.field("storageClassName"), format!("may not be specified {context}"));
        }
        Some(_) => {}
        None => faults.optional_name(&path.field("storageClassName"), class, name::dns_subdomain),
    }
    match (at(spec, "volumeMode").as_str(), inline) {
        (None | Some("Filesystem"), _) => {}
        (Some(_), Some(context)) => {
            let detail = format!("may not specify volumeMode other than Filesystem {context}");
            faults.forbidden(&path.field("volumeMode"), detail);
        }
        (Some(_), None) => faults.any_of(spec, "volumeMode", path, VOLUME_MODES),
    }
    if let Some(class) = at(spec, "volumeAttributesClassName").as_str().filter(|_| inline.is_none()) {
        let on_class = path.field("volumeAttributesClassName");
        match class {
            "" => faults.required(&on_class, "an empty string is disallowed"),
            class => faults.named(&on_class, class, name::dns_subdomain),
        }
        if !has(spec, "csi") {
            faults.required(&path.field("csi"), "has to be specified when using volumeAttributesClassName");
        }
    }
}

fn is_root(path: &str) -> bool {
    path.starts_with('/') && path.split('/').all(|part| matches!(part, "" | "." | ".."))
}

fn capacity(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let (capacity, path) = (at(spec, "capacity"), path.field("capacity"));
    let count = members(spec, "capacity").count();
    if count == 0 {
        faults.required(&path, "");
    }
    if !has(capacity, "storage") || count > 1 {
        let shown = if count == 0 { Value::Null } else { capacity.clone() };
        faults.not_supported(&path, shown, &["storage"]);
    }
    for (resource, value) in members(spec, "capacity") {
        let Some(quantity) = resources::quantity(value) else { continue };
        let path = path.key(resource);
        if quantity.value() < 0 {
            faults.invalid(&path, quantity.value(), "must be a valid resource quantity");
        }
        if quantity.sign() <= 0 {
            faults.invalid(&path, quantity.to_string(), NOT_POSITIVE);
        }
    }
}

fn sources(spec: &Value, own_name: &str, path: &Path<'_>, faults: &mut Faults) {
    let place = Place { persistent: true, name: own_name };
    let mut found = false;
    for row in source::OF_VOLUME.iter().filter(|row| has(spec, row.field)) {
        if found && row.field != "flexVolume" {
            faults.forbidden(&path.field(row.extra), "may not specify more than 1 volume type");
            continue;
        }
        found = true;
        source::check(row.field, at(spec, row.field), place, &path.field(row.own), faults);
        if row.field == "local" && !has(spec, "nodeAffinity") {
            faults.required(&path.field("nodeAffinity"), "Local volume requires node affinity");
        }
    }
    if !found {
        faults.required(path, "must specify a volume type");
    }
}

const MOUNT_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

/// Sources whose mounts take options.
const WITH_OPTIONS: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

fn mount_options(case: &Case<'_>, faults: &mut Faults) {
    if has(case.annotations(), MOUNT_OPTIONS) && !WITH_OPTIONS.iter().any(|name| has(case.spec(), name)) {
        let root = Path::Root;
        let meta = root.field("metadata");
        let annotations = meta.field("annotations");
        faults.forbidden(&annotations.field(MOUNT_OPTIONS), "may not specify mount options for this volume type");
    }
}

fn volume_change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    let source = |spec: &Value| -> Value {
        let of = |row: &source::Row| {
            let mut value = at(spec, row.field).clone();
            let first_secret = row.field == "csi" && !has(at(old, "csi"), "controllerExpandSecretRef");
            if let Some(members) = value.as_object_mut().filter(|_| first_secret) {
                members.remove("controllerExpandSecretRef");
            }
            (row.field.to_owned(), value)
        };
        source::OF_VOLUME.iter().filter(|row| has(spec, row.field)).map(of).collect()
    };
    let (now, before) = (source(new), source(old));
    if !same(&now, &before) || now.as_object().map(serde_json::Map::len) != before.as_object().map(serde_json::Map::len)
    {
        let detail =
            format!("spec.persistentvolumesource is immutable after creation\n{}", difference::of(&before, &now));
        faults.forbidden(&path.field("persistentvolumesource"), detail);
    }
    faults.unchanged(new, old, "volumeMode", &root);
    if has(old, "nodeAffinity") && !same_but_for_labels(at(new, "nodeAffinity"), at(old, "nodeAffinity")) {
        let shown = if has(new, "nodeAffinity") { shown_affinity(at(new, "nodeAffinity")) } else { "null".to_owned() };
        let detail = format!("{IMMUTABLE}, except for updating from beta label to GA");
        faults.shown(&root.field("nodeAffinity"), &shown, &detail);
    }
    if has(old, "volumeAttributesClassName") && !has(new, "volumeAttributesClassName") {
        faults.forbidden(&path.field("volumeAttributesClassName"), "update from non-nil value to nil is forbidden");
    }
}

fn shown_affinity(affinity: &Value) -> String {
    let terms = list(at(affinity, "required"), "nodeSelectorTerms");
    format!("{{\"Required\":{{\"NodeSelectorTerms\":{}}}}}", super::golang::print_list("NodeSelectorTerm", terms))
}

/// Labels that got a new name.
const RENAMED: &[(&str, &str)] = &[
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("beta.kubernetes.io/os", "kubernetes.io/os"),
    ("beta.kubernetes.io/arch", "kubernetes.io/arch"),
    ("beta.kubernetes.io/instance-type", "node.kubernetes.io/instance-type"),
];

fn same_but_for_labels(new: &Value, old: &Value) -> bool {
    let mut old = old.clone();
    let terms = |value: &Value| list(at(value, "required"), "nodeSelectorTerms").to_vec();
    let (now, mut before) = (terms(new), terms(&old));
    for (now, before) in now.iter().zip(before.iter_mut()) {
        for kind in ["matchExpressions", "matchFields"] {
            let Some(requirements) = before.get_mut(kind).and_then(Value::as_array_mut) else { continue };
            for (now, before) in list(now, kind).iter().zip(requirements) {
                let (new_key, old_key) = (text(now, "key"), text(before, "key").to_owned());
                if RENAMED.contains(&(&*old_key, new_key)) {
                    before["key"] = Value::from(new_key);
                }
            }
        }
    }
    if let Some(terms) = old.get_mut("required").and_then(|required| required.get_mut("nodeSelectorTerms")) {
        *terms = Value::Array(before);
    }
    same(new, &old)
}

/// What an older claim had that is refused in new ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lenience {
    pub selector: bool,
    pub source_group: bool,
}

pub(crate) fn claim(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let lenient = case.old.map_or(Lenience::default(), |old| {
        let spec = at(old, "spec");
        Lenience {
            selector: meta::is_faulty_selector(at(spec, "selector")),
            source_group: ["dataSource", "dataSourceRef"].iter().any(|name| has(at(spec, name), "apiGroup")),
        }
    });
    claim_spec(case.spec(), lenient, &root.field("spec"), faults);
    if let Some(old) = case.old {
        claim_change(case, old, faults);
    }
}

/// The spec of a claim, also inside templates.
pub(crate) fn claim_spec(spec: &Value, lenient: Lenience, path: &Path<'_>, faults: &mut Faults) {
    if list(spec, "accessModes").is_empty() {
        faults.required(&path.field("accessModes"), "at least 1 access mode is required");
    }
    meta::selector_of(at(spec, "selector"), lenient.selector, &path.field("selector"), faults);
    access_modes(spec, &path.field("accessModes"), faults);
    let resources = path.field("resources");
    let on_storage = resources.key("storage");
    match resources::quantity(at(at(at(spec, "resources"), "requests"), "storage")) {
        None => faults.required(&on_storage, ""),
        Some(amount) if amount.sign() <= 0 => faults.invalid(&on_storage, amount.to_string(), NOT_POSITIVE),
        Some(_) => {}
    }
    faults.optional_name(&path.field("storageClassName"), text(spec, "storageClassName"), name::dns_subdomain);
    faults.any_of(spec, "volumeMode", path, VOLUME_MODES);
    for name in ["dataSource", "dataSourceRef"] {
        if has(spec, name) {
            data_source(at(spec, name), lenient.source_group, &path.field(name), faults);
        }
    }
    let (source, reference) = (at(spec, "dataSource"), at(spec, "dataSourceRef"));
    let differs = ["apiGroup", "kind", "name"].iter().any(|name| at(source, name) != at(reference, name));
    // Upstream prints the path where a value should stand, as Go shows a struct without public members.
    if !text(reference, "namespace").is_empty() {
        if !source.is_null() {
            faults.shown(path, "{}", "may not be specified when dataSourceRef.namespace is specified");
        }
    } else if !source.is_null() && !reference.is_null() && differs {
        faults.shown(path, "{}", "must match dataSourceRef");
    }
    let class = text(spec, "volumeAttributesClassName");
    faults.optional_name(&path.field("volumeAttributesClassName"), class, name::dns_subdomain);
}

fn data_source(source: &Value, any_group: bool, path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(source, "name", path);
    faults.required_text(source, "kind", path);
    let (group, kind) = (text(source, "apiGroup"), text(source, "kind"));
    if group.is_empty() && kind != "PersistentVolumeClaim" {
        let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
        faults.invalid(path, kind, detail);
    }
    if !any_group {
        faults.optional_name(&path.field("apiGroup"), group, name::dns_subdomain);
    }
    faults.optional_name(&path.field("namespace"), text(source, "namespace"), name::dns_label);
}

fn claim_change(case: &Case<'_>, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("spec");
    // claims from before both fields were filled
    let mut before = at(old, "spec").clone();
    before.as_object_mut().into_iter().for_each(crate::strategy::normalize);
    let (new, before) = (case.spec(), &before);
    let (now, then) = (case.annotations(), at(at(old, "metadata"), "annotations"));
    let class = at(new, "storageClassName");
    // The class may come over from the old annotation, and be named once where there was none.
    let moved = has(then, CLASS)
        && !has(before, "storageClassName")
        && class == at(then, CLASS)
        && (!has(now, CLASS) || at(now, CLASS) == at(then, CLASS));
    let mut open: Vec<&str> = Vec::new();
    if moved {
        open.push("storageClassName");
    } else {
        if text(now, CLASS) != text(then, CLASS) {
            let meta = root.field("metadata");
            let annotations = meta.field("annotations");
            faults.invalid(&annotations.field(CLASS), text(now, CLASS), IMMUTABLE);
        }
        let named = !has(before, "storageClassName") && has(new, "storageClassName");
        if named && (!has(then, CLASS) || class == at(then, CLASS)) {
            open.push("storageClassName");
        }
    }
    if text(before, "volumeName").is_empty() {
        open.push("volumeName");
    }
    let bound = text(at(case.new, "status"), "phase") == "Bound";
    if bound {
        open.push("volumeAttributesClassName");
    }
    let mut allowed = new.clone();
    if let Some(members) = allowed.as_object_mut() {
        for name in open {
            match at(before, name) {
                Value::Null => drop(members.remove(name)),
                value => drop(members.insert(name.to_owned(), value.clone())),
            }
        }
        if bound && has(at(new, "resources"), "requests") {
            let requests = crate::json::object(crate::json::object(members, "resources"), "requests");
            requests.insert("storage".to_owned(), at(at(at(before, "resources"), "requests"), "storage").clone());
        }
    }
    if !same(&allowed, before) {
        let detail = format!(
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n{}",
            difference::of(before, &allowed)
        );
        faults.forbidden(&path, detail);
    }
    shrink(case, old, &path, faults);
    faults.unchanged(new, before, "volumeMode", &root);
    if has(at(old, "status"), "currentVolumeAttributesClassName") {
        let on_class = path.field("volumeAttributesClassName");
        let when = "is forbidden when status.currentVolumeAttributesClassName is not nil";
        match (at(new, "volumeAttributesClassName").as_str(), at(before, "volumeAttributesClassName").as_str()) {
            (None, Some(_)) => faults.forbidden(&on_class, format!("update to nil {when}")),
            (Some(""), before) if before != Some("") => {
                faults.forbidden(&on_class, format!("update to empty string {when}"));
            }
            _ => {}
        }
    }
}

/// A claim gets smaller only back to what it already has.
fn shrink(case: &Case<'_>, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let size = |spec: &Value| resources::quantity(at(at(at(spec, "resources"), "requests"), "storage"));
    let has_now = resources::quantity(at(at(at(old, "status"), "capacity"), "storage"));
    if let (Some(now), Some(before)) = (size(case.spec()), size(at(old, "spec")))
        && now < before
        && now <= has_now.unwrap_or(base::Quantity::ZERO)
    {
        let resources = path.field("resources");
        let requests = resources.field("requests");
        faults.forbidden(&requests.field("storage"), "field can not be less than status.capacity");
    }
}

const RESIZING: &[&str] = &[
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
];

pub(crate) fn claim_status(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let (status, path) = (at(case.new, "status"), root.field("status"));
    if list(case.spec(), "accessModes").is_empty() {
        faults.required(&root.field("Spec").field("accessModes"), "");
    }
    let capacity = path.field("capacity");
    for (resource, value) in members(status, "capacity") {
        not_negative(value, &capacity.key(resource), faults);
    }
    let statuses = path.field("allocatedResourceStatuses");
    for (resource, state) in members(status, "allocatedResourceStatuses") {
        claim_resource(resource, &statuses, faults);
        if !state.as_str().is_some_and(|state| RESIZING.contains(&state)) {
            faults.not_supported(&statuses, resource.as_str(), RESIZING);
        }
    }
    let allocated = path.field("allocatedResources");
    for (resource, value) in members(status, "allocatedResources") {
        if claim_resource(resource, &allocated, faults) {
            not_negative(value, &allocated.key(resource), faults);
        }
    }
}

fn not_negative(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some(amount) = resources::quantity(value).map(|quantity| quantity.value()).filter(|amount| *amount < 0) {
        faults.invalid(path, amount, "must be a valid resource quantity");
    }
}

fn claim_resource(resource: &str, path: &Path<'_>, faults: &mut Faults) -> bool {
    if let Err(reasons) = name::qualified_name(resource) {
        faults.verdict(path, resource, Err(reasons));
        return false;
    }
    if resources::is_native(resource) && resource != "storage" {
        faults.not_supported(path, resource, &["storage"]);
        return false;
    }
    true
}
