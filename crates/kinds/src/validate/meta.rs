//! Rules of metadata, which all kinds share (apimachinery `api/validation/objectmeta.go`).

use base::name;
use serde_json::Value;

use super::{Faults, IMMUTABLE};
use crate::catalog::{Kind, split_api_version};
use crate::error::FieldError;
use crate::json::{at, flag, int, list, members, same, text};
use crate::path::Path;

const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// Metadata of an object that is about to be created; a generated name must already be there.
pub(crate) fn object(kind: &Kind, object: &Value, faults: &mut Faults) {
    let (root, meta) = (Path::Root, at(object, "metadata"));
    let path = root.field("metadata");
    let rule = kind.rules.name;
    let generate = text(meta, "generateName");
    if !generate.is_empty() {
        // A base may end with a dash, because more characters follow.
        let masked = generate.strip_suffix('-').map_or_else(|| generate.to_owned(), |base| format!("{base}a"));
        if let Err(reason) = rule(&masked) {
            faults.invalid(&path.field("generateName"), generate, reason);
        }
    }
    match text(meta, "name") {
        "" => faults.required(&path.field("name"), "name or generateName is required"),
        name => faults.named(&path.field("name"), name, rule),
    }
    let namespace = text(meta, "namespace");
    match (kind.namespaced, namespace.is_empty()) {
        (true, true) => faults.required(&path.field("namespace"), ""),
        (true, false) => faults.named(&path.field("namespace"), namespace, name::dns_label),
        (false, false) => faults.forbidden(&path.field("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    faults.not_negative(meta, "generation", &path);
    finalizers(list(meta, "finalizers"), &path.field("finalizers"), faults);
    common(meta, &path, faults);
}

/// Metadata of an object inside another one: it may be nameless, and in any namespace.
pub(crate) fn embedded(meta: &Value, path: &Path<'_>, faults: &mut Faults) {
    for field in ["generateName", "name"] {
        let name = text(meta, field);
        if !name.is_empty() {
            faults.named(&path.field(field), name, name::path_segment);
        }
    }
    let namespace = text(meta, "namespace");
    if !namespace.is_empty() {
        faults.named(&path.field("namespace"), namespace, name::dns_label);
    }
    faults.not_negative(meta, "generation", path);
    finalizers(list(meta, "finalizers"), &path.field("finalizers"), faults);
    common(meta, path, faults);
}

/// Metadata of an object that is about to replace another.
pub(crate) fn change(new: &Value, old: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("metadata");
    let (new, old) = (at(new, "metadata"), at(old, "metadata"));
    if !at(old, "deletionTimestamp").is_null() {
        no_new_finalizers(new, old, &path, faults);
    }
    if text(new, "resourceVersion").is_empty() {
        faults.invalid(&path.field("resourceVersion"), "", "must be specified for an update");
    }
    let generation = int(new, "generation").unwrap_or(0);
    if generation < int(old, "generation").unwrap_or(0) {
        faults.invalid(&path.field("generation"), generation, "must not be decremented");
    }
    for name in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if !same(at(new, name), at(old, name)) {
            let value = match at(new, name) {
                Value::Null if matches!(name, "name" | "namespace" | "uid") => Value::from(""),
                value => value.clone(),
            };
            faults.invalid(&path.field(name), value, IMMUTABLE);
        }
    }
    finalizers(list(new, "finalizers"), &path.field("finalizers"), faults);
    common(new, &path, faults);
}

fn no_new_finalizers(new: &Value, old: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut extra: Vec<String> = list(new, "finalizers")
        .iter()
        .filter(|finalizer| !list(old, "finalizers").contains(finalizer))
        .filter_map(|finalizer| finalizer.as_str().map(crate::error::quote))
        .collect();
    extra.sort_unstable();
    if !extra.is_empty() {
        faults.forbidden(
            &path.field("finalizers"),
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                extra.join(", ")
            ),
        );
    }
}

fn common(meta: &Value, path: &Path<'_>, faults: &mut Faults) {
    labels(at(meta, "labels"), &path.field("labels"), faults);
    annotations(meta, &path.field("annotations"), faults);
    owners(list(meta, "ownerReferences"), &path.field("ownerReferences"), faults);
}

/// A map of labels: names and values.
pub(crate) fn labels(labels: &Value, path: &Path<'_>, faults: &mut Faults) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        faults.named(path, key, name::qualified_name);
        if let Some(value) = value.as_str() {
            faults.named(&path.key(key), value, name::label_value);
        }
    }
}

/// Annotations of an object or a pod template.
pub(crate) fn annotations(meta: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut size = 0;
    for (key, value) in members(meta, "annotations") {
        size += key.len() + value.as_str().map_or(0, str::len);
        if let Err(reason) = name::qualified_name(&key.to_lowercase()) {
            faults.invalid(path, key.as_str(), reason);
        }
    }
    if size > ANNOTATIONS_LIMIT {
        faults.push(FieldError::too_long(path, ANNOTATIONS_LIMIT));
    }
}

fn finalizers(finalizers: &[Value], path: &Path<'_>, faults: &mut Faults) {
    for finalizer in finalizers.iter().filter_map(Value::as_str) {
        faults.named(path, finalizer, name::qualified_name);
    }
    let has = |wanted: &str| finalizers.iter().any(|finalizer| finalizer == wanted);
    if has("orphan") && has("foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        faults.invalid(path, finalizers.to_vec(), detail);
    }
}

fn owners(owners: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let mut controller: Option<String> = None;
    for owner in owners {
        let api_version = text(owner, "apiVersion");
        if split_api_version(api_version).1.is_empty() {
            faults.invalid(&path.field("apiVersion"), api_version, "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if text(owner, name).is_empty() {
                faults.invalid(&path.field(name), "", "must not be empty");
            }
        }
        if api_version == "v1" && text(owner, "kind") == "Event" {
            faults.invalid(path, owner.clone(), "/v1, Kind=Event is disallowed from being an owner");
        }
        if flag(owner, "controller") {
            let this = format!("{}/{}", text(owner, "kind"), text(owner, "name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => faults.invalid(
                    path,
                    owners.to_vec(),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                ),
            }
        }
    }
}

/// A metav1.LabelSelector inside an object.
pub(crate) fn selector(selector: &Value, path: &Path<'_>, faults: &mut Faults) {
    labels(at(selector, "matchLabels"), &path.field("matchLabels"), faults);
    let above = path.field("matchExpressions");
    for (index, expression) in list(selector, "matchExpressions").iter().enumerate() {
        let path = above.index(index);
        let values = list(expression, "values");
        match text(expression, "operator") {
            "In" | "NotIn" if values.is_empty() => {
                faults.required(&path.field("values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                faults.forbidden(&path.field("values"), detail);
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => faults.invalid(&path.field("operator"), other, "not a valid selector operator"),
        }
        faults.named(&path.field("key"), text(expression, "key"), name::qualified_name);
        for (index, value) in values.iter().enumerate() {
            let values = path.field("values");
            faults.named(&values.index(index), value.as_str().unwrap_or(""), name::label_value);
        }
    }
}
