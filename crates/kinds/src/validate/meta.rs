//! Rules of metadata, which all kinds share (apimachinery `api/validation/objectmeta.go`), and of labels and selectors.

use base::name;
use serde_json::Value;

use super::{Case, Faults, IMMUTABLE};
use crate::catalog::split_api_version;
use crate::json::{at, flag, has, int, list, members, same, text};
use crate::path::Path;

const ANNOTATIONS_LIMIT: usize = 256 * 1024;

/// How upstream looks at the metadata of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    /// Finalizers must be known ones or have a domain.
    Core,
    /// Names are checked without looking at `generateName`.
    Declared,
    /// Only when nothing else is wrong.
    Late,
}

/// Metadata of an object; a generated name must already be there.
pub(crate) fn object(case: &Case<'_>, faults: &mut Faults) {
    let (root, meta) = (Path::Root, at(case.new, "metadata"));
    let path = root.field("metadata");
    let rules = case.kind.rules;
    let rule = if case.old.is_some() { name::path_segment } else { rules.name };
    let generate = text(meta, "generateName");
    if !generate.is_empty() && rules.meta != Style::Declared && case.old.is_none() {
        // A base may end with a dash, because more characters follow.
        let mut masked = generate.to_owned();
        if generate.len() > 1 && generate.ends_with('-') {
            masked.truncate(generate.len() - 2);
            masked.push('a');
        }
        faults.verdict(&path.field("generateName"), generate, rule(&masked));
    }
    match text(meta, "name") {
        "" => faults.required(&path.field("name"), "name or generateName is required"),
        name => match rules.own_name {
            Some(rule) => faults.verdict(&path.field("name"), name, rule(case.new, name)),
            None => faults.named(&path.field("name"), name, rule),
        },
    }
    let namespace = text(meta, "namespace");
    match (case.kind.namespaced, namespace.is_empty()) {
        (true, true) => faults.required(&path.field("namespace"), ""),
        (true, false) => faults.named(&path.field("namespace"), namespace, name::dns_label),
        (false, false) => faults.forbidden(&path.field("namespace"), "not allowed on this type"),
        (false, true) => {}
    }
    faults.not_negative(meta, "generation", &path);
    labels(at(meta, "labels"), &path.field("labels"), faults);
    annotations(meta, &path.field("annotations"), faults);
    owners(list(meta, "ownerReferences"), &path.field("ownerReferences"), faults);
    finalizers(list(meta, "finalizers"), &path.field("finalizers"), faults);
    managers(list(meta, "managedFields"), &path.field("managedFields"), faults);
    if rules.meta == Style::Core {
        let above = path.field("finalizers");
        for (index, finalizer) in list(meta, "finalizers").iter().filter_map(Value::as_str).enumerate() {
            known_finalizer(finalizer, &above.index(index), faults);
        }
    }
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
    labels(at(meta, "labels"), &path.field("labels"), faults);
    annotations(meta, &path.field("annotations"), faults);
    owners(list(meta, "ownerReferences"), &path.field("ownerReferences"), faults);
    finalizers(list(meta, "finalizers"), &path.field("finalizers"), faults);
}

/// Metadata of an object that is about to replace another.
pub(crate) fn change(case: &Case<'_>, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("metadata");
    let (new, old) = (at(case.new, "metadata"), at(case.old(), "metadata"));
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

/// A map of labels: names and values.
pub(crate) fn labels(labels: &Value, path: &Path<'_>, faults: &mut Faults) {
    for (key, value) in labels.as_object().into_iter().flatten() {
        faults.named(path, key, name::qualified_name);
        faults.named(path, value.as_str().unwrap_or(""), name::label_value);
    }
}

/// Annotations of an object or a pod template.
pub(crate) fn annotations(meta: &Value, path: &Path<'_>, faults: &mut Faults) {
    for (key, _) in members(meta, "annotations") {
        faults.verdict(path, key, name::qualified_name(&key.to_lowercase()));
    }
    if size(at(meta, "annotations")) > ANNOTATIONS_LIMIT {
        faults.too_long(path, ANNOTATIONS_LIMIT);
    }
}

/// The bytes of a map of texts.
pub(crate) fn size(map: &Value) -> usize {
    map.as_object().into_iter().flatten().map(|(key, value)| key.len() + value.as_str().map_or(0, str::len)).sum()
}

/// Annotations that a pod asks a signer to see.
pub(crate) fn user_annotations(annotations: &Value, path: &Path<'_>, faults: &mut Faults) {
    for key in annotations.as_object().into_iter().flatten().map(|(key, _)| key.to_lowercase()) {
        if key.is_empty() {
            faults.required(path, "");
        } else if let Err(reasons) = name::qualified_name(&key) {
            faults.verdict(path, &key, Err(reasons));
        } else if !key.contains('/') {
            faults.invalid(path, key, "must be a domain-prefixed key (such as \"acme.io/foo\")");
        }
    }
    if size(annotations) > ANNOTATIONS_LIMIT {
        faults.too_long(path, ANNOTATIONS_LIMIT);
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

/// Without a domain only the finalizers of Kubernetes itself may be used.
pub(crate) fn known_finalizer(finalizer: &str, path: &Path<'_>, faults: &mut Faults) {
    if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
        let detail = "name is neither a standard finalizer name nor is it fully qualified";
        faults.invalid(path, finalizer, detail);
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
                Some(first) => {
                    let detail = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    );
                    faults.invalid(path, owners.to_vec(), detail);
                }
            }
        }
    }
}

fn managers(entries: &[Value], above: &Path<'_>, faults: &mut Faults) {
    for (index, entry) in entries.iter().enumerate() {
        let path = above.index(index);
        let operation = text(entry, "operation");
        if !matches!(operation, "Apply" | "Update") {
            faults.invalid(&path.field("operation"), operation, "must be `Apply` or `Update`");
        }
        let kind = text(entry, "fieldsType");
        if !matches!(kind, "" | "FieldsV1") {
            faults.invalid(&path.field("fieldsType"), kind, "must be `FieldsV1`");
        }
        if text(entry, "manager").len() > 128 {
            faults.too_long(&path.field("manager"), 128);
        }
        if text(entry, "subresource").len() > 256 {
            faults.too_long(&path.field("subresource"), 256);
        }
    }
}

/// Metadata of a template, of which only labels and annotations may be given.
pub(crate) fn template(meta: &Value, path: &Path<'_>, faults: &mut Faults) {
    annotations(meta, &path.field("annotations"), faults);
    labels(at(meta, "labels"), &path.field("labels"), faults);
    const OTHERS: &[&str] = &[
        "name",
        "generateName",
        "namespace",
        "selfLink",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    for name in OTHERS.iter().filter(|name| !crate::json::is_empty(at(meta, name))) {
        // Upstream names the Go field.
        let shown = match *name {
            "uid" => "uID",
            other => other,
        };
        faults.forbidden(&path.field(shown), "cannot be set");
    }
}

/// A metav1.LabelSelector inside an object.
pub(crate) fn selector(selector: &Value, path: &Path<'_>, faults: &mut Faults) {
    selector_of(selector, false, path, faults);
}

/// As `selector`; values that were always wrong are tolerated if asked.
pub(crate) fn selector_of(selector: &Value, lenient: bool, path: &Path<'_>, faults: &mut Faults) {
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
        if !lenient {
            label_values(values, &path.field("values"), faults);
        }
    }
}

pub(crate) fn label_values(values: &[Value], above: &Path<'_>, faults: &mut Faults) {
    for (index, value) in values.iter().enumerate() {
        faults.named(&above.index(index), value.as_str().unwrap_or(""), name::label_value);
    }
}

/// Whether a selector has faults, which are then tolerated in its successor.
pub(crate) fn is_faulty_selector(value: &Value) -> bool {
    let mut faults = Faults::default();
    selector(value, &Path::Root, &mut faults);
    !faults.list.is_empty()
}

/// Whether the values of a selector's expressions break the rules of label values.
pub(crate) fn has_faulty_values(selector: &Value) -> bool {
    let values = list(selector, "matchExpressions").iter().flat_map(|expression| list(expression, "values"));
    values.filter_map(Value::as_str).any(|value| name::label_value(value).is_err())
}

/// Whether a selector selects everything.
pub(crate) fn selects_all(selector: &Value) -> bool {
    !has(selector, "matchLabels") && list(selector, "matchExpressions").is_empty()
        || crate::json::is_empty(at(selector, "matchLabels")) && list(selector, "matchExpressions").is_empty()
}
