//! Rules of definitions of custom resources: names, versions, columns, subresources, conversion, schemas.
//!
//! Invariant: paths and words are upstream's, which speaks of a form that clients never see: what all versions have in
//! common stands at `spec.validation`, `spec.subresources` and so on, also for a definition with one version. What was
//! accepted once stays acceptable: an update is held only to those rules that the old definition obeyed.

mod columns;
mod conversion;
pub(crate) mod field_path;
mod rules;
mod schema;
mod structural;

use base::name;
use serde_json::Value;

use super::{Case, Faults, IMMUTABLE};
use crate::error::FieldError;
use crate::json::{at, flag, has, list, same, text};
use crate::path::Path;

pub(crate) use schema::below;
pub(crate) use structural::violations;

/// Which rules apply; all of them to a new definition.
#[derive(Clone, Copy)]
pub(crate) struct Options<'a> {
    old: Option<&'a Value>,
    /// Definitions of other times may have schemas that are not structural.
    structural: bool,
    schema_required: bool,
    pruned_defaults: bool,
    atomic_sets: bool,
    sound_map_keys: bool,
}

impl Options<'_> {
    const NEW: Options<'static> = Options {
        old: None,
        structural: true,
        schema_required: true,
        pruned_defaults: true,
        atomic_sets: true,
        sound_map_keys: true,
    };
}

/// A definition as the rules of other kinds are given theirs.
pub(crate) fn create_or_change(case: &Case<'_>, faults: &mut Faults) {
    match case.old {
        Some(old) => change(case.new, old, faults),
        None => create(case.new, faults),
    }
}

pub(crate) fn changed_status(case: &Case<'_>, faults: &mut Faults) {
    status(case.new, faults);
}

/// A definition as it will be stored.
pub(crate) fn check(definition: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let meta = root.field("metadata");
    let (name, spec) = (text(at(definition, "metadata"), "name"), at(definition, "spec"));
    if name != format!("{}.{}", text(at(spec, "names"), "plural"), text(spec, "group")) {
        faults.invalid(&meta.field("name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
}

/// A new definition; its metadata has been checked.
pub(crate) fn create(definition: &Value, faults: &mut Faults) {
    check(definition, faults);
    contents(definition, Options::NEW, faults);
    approval(definition, None, faults);
    legacy(definition, None, faults);
}

/// A definition that replaces another one.
pub(crate) fn change(new: &Value, old: &Value, faults: &mut Faults) {
    let (root, spec, old_spec) = (Path::Root, at(new, "spec"), at(old, "spec"));
    let schemas: Vec<&Value> = schemas(old_spec).collect();
    let options = Options {
        old: Some(old),
        structural: !schemas.iter().any(|schema| structural::is_broken(schema)),
        schema_required: list(old_spec, "versions").iter().all(|version| !schema_of(version).is_null()),
        pruned_defaults: !schemas.iter().any(|schema| schema::has_unpruned_defaults(schema)),
        atomic_sets: !schemas.iter().any(|one| schema::any(one, &schema::is_loose_set)),
        sound_map_keys: !schemas.iter().any(|one| schema::any(one, &schema::has_loose_keys)),
    };
    contents(new, options, faults);
    let path = root.field("spec");
    let names = path.field("names");
    let fixed = |path: &Path<'_>, new: &Value, old: &Value, faults: &mut Faults| {
        if !same(new, old) {
            faults.invalid(path, new.clone(), IMMUTABLE);
        }
    };
    if condition(old, "Established") {
        fixed(&path.field("scope"), at(spec, "scope"), at(old_spec, "scope"), faults);
        fixed(&names.field("kind"), at(at(spec, "names"), "kind"), at(at(old_spec, "names"), "kind"), faults);
    }
    fixed(&path.field("group"), at(spec, "group"), at(old_spec, "group"), faults);
    fixed(&names.field("plural"), at(at(spec, "names"), "plural"), at(at(old_spec, "names"), "plural"), faults);
    approval(new, Some(old), faults);
    legacy(new, Some(old), faults);
}

/// A definition whose status changes.
pub(crate) fn status(definition: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let path = root.field("status");
    names(at(at(definition, "status"), "acceptedNames"), &path.field("acceptedNames"), faults);
}

fn condition(definition: &Value, kind: &str) -> bool {
    let held = list(at(definition, "status"), "conditions");
    held.iter().any(|condition| text(condition, "type") == kind && text(condition, "status") == "True")
}

fn schema_of(version: &Value) -> &Value {
    at(at(version, "schema"), "openAPIV3Schema")
}

fn schemas(spec: &Value) -> impl Iterator<Item = &Value> {
    list(spec, "versions").iter().map(schema_of).filter(|schema| schema.is_object())
}

fn contents(definition: &Value, options: Options<'_>, faults: &mut Faults) {
    let (root, spec) = (Path::Root, at(definition, "spec"));
    let path = root.field("spec");
    group(spec, &path, faults);
    faults.one_of(spec, "scope", &path, &["Cluster", "Namespaced"]);
    let mut options = options;
    let preserves = flag(spec, "preserveUnknownFields");
    options.structural |= !preserves || schemas(spec).any(|one| schema::any(one, &schema::is_extended));
    if schemas(spec).any(|one| schema::any(one, &|schema| has(schema, "default"))) {
        options.structural = true;
        if preserves {
            let detail = "must be false in order to use defaults in the schema";
            faults.invalid(&path.field("preserveUnknownFields"), true, detail);
        }
    }
    schemas_present(spec, &path.field("versions"), options, preserves, faults);
    versions(spec, &path, options, faults);
    let held = at(spec, "names");
    let above = path.field("names");
    for name in ["plural", "singular", "kind", "listKind"] {
        faults.required_text(held, name, &above);
    }
    names(held, &above, faults);
    conversion::check(spec, &path.field("conversion"), options.old, faults);
    status(definition, faults);
    stored_versions(definition, faults);
}

fn group(spec: &Value, path: &Path<'_>, faults: &mut Faults) {
    let group = text(spec, "group");
    let path = path.field("group");
    if group.is_empty() {
        faults.required(&path, "");
    } else if let Err(reason) = name::dns_subdomain(group) {
        faults.invalid(&path, group, reason);
    } else if !group.contains('.') {
        faults.invalid(&path, group, "should be a domain with at least one dot");
    }
}

fn schemas_present(spec: &Value, path: &Path<'_>, options: Options<'_>, preserves: bool, faults: &mut Faults) {
    for (index, version) in list(spec, "versions").iter().enumerate() {
        let at_version = path.index(index);
        let above = at_version.field("schema");
        let missing = schema_of(version).is_null();
        if missing && options.schema_required {
            faults.required(&above.field("openAPIV3Schema"), "");
        } else if missing && !preserves && flag(version, "served") {
            faults.required(&above.field("openAPIV3Schema"), "because otherwise all fields are pruned");
        }
    }
}

/// Whether all versions say the same of a field.
fn is_common(versions: &[Value], name: &str) -> bool {
    versions.split_first().is_some_and(|(first, rest)| rest.iter().all(|one| same(at(one, name), at(first, name))))
}

fn versions(spec: &Value, path: &Path<'_>, options: Options<'_>, faults: &mut Faults) {
    let versions = list(spec, "versions");
    let above = path.field("versions");
    for (index, version) in versions.iter().enumerate() {
        let place = above.index(index);
        faults.named(&place.field("name"), text(version, "name"), name::dns1035_label);
        deprecation(version, &place, faults);
    }
    each_or_all(versions, "schema", &above, &path.field("validation"), &mut |version, place| {
        let status = list(spec, "versions").iter().any(|other| {
            let same_version = std::ptr::eq(other, version) || is_common(versions, "schema");
            same_version && has(at(other, "subresources"), "status")
        });
        let before = options.old.map(|old| list(at(old, "spec"), "versions"));
        let known = before
            .into_iter()
            .flatten()
            .any(|old| text(old, "name") == text(version, "name") && same(schema_of(old), schema_of(version)));
        let sound = schema::check(schema_of(version), place, status, options, faults);
        if sound && options.structural {
            rules::check(schema_of(version), &place.field("openAPIV3Schema"), known, faults);
        }
    });
    each_or_all(versions, "subresources", &above, &path.field("subresources"), &mut |version, place| {
        columns::subresources(at(version, "subresources"), place, faults);
    });
    let place = path.field("additionalPrinterColumns");
    each_or_all(versions, "additionalPrinterColumns", &above, &place, &mut |version, place| {
        for (index, column) in list(version, "additionalPrinterColumns").iter().enumerate() {
            columns::printer(column, &place.index(index), faults);
        }
    });
    let place = path.field("selectableFields");
    each_or_all(versions, "selectableFields", &above, &place, &mut |version, place| {
        let before = options.old.map(|old| list(at(old, "spec"), "versions"));
        let same_version = |other: &&Value| text(other, "name") == text(version, "name");
        let old = before.and_then(|versions| versions.iter().find(same_version));
        columns::selectable(version, old, place, faults);
    });
    let names: Vec<&str> = versions.iter().map(|version| text(version, "name")).collect();
    if (1..names.len()).any(|index| names[..index].contains(&names[index])) {
        faults.invalid(&above, versions.to_vec(), "must contain unique version names");
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        faults.invalid(&above, versions.to_vec(), "must have exactly one version marked as storage version");
    }
}

/// Checks a field once if all versions have it in common, else in each version.
fn each_or_all(
    versions: &[Value],
    name: &str,
    above: &Path<'_>,
    common: &Path<'_>,
    check: &mut impl FnMut(&Value, &Path<'_>),
) {
    match versions.first() {
        Some(first) if is_common(versions, name) => check(first, common),
        _ => versions.iter().enumerate().for_each(|(index, version)| check(version, &above.index(index).field(name))),
    }
}

fn deprecation(version: &Value, place: &Path<'_>, faults: &mut Faults) {
    let path = place.field("deprecationWarning");
    let Some(warning) = at(version, "deprecationWarning").as_str() else { return };
    if !flag(version, "deprecated") {
        faults.invalid(&path, warning, "can only be set for deprecated versions");
        return;
    }
    if warning.len() > 256 {
        faults.invalid(&path, warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        faults.invalid(&path, warning, "must not be an empty string");
    }
    let odd = |c: char| c.is_control() || (c.is_whitespace() && c != ' ');
    if let Some((index, _)) = warning.char_indices().find(|(_, c)| odd(*c)) {
        let detail =
            format!("must only contain printable UTF-8 characters; non-printable character found at index {index}");
        faults.invalid(&path, warning, detail);
    }
}

/// Names, asked for or accepted; those that are absent are judged elsewhere.
fn names(names: &Value, path: &Path<'_>, faults: &mut Faults) {
    for (field, mixed) in [("plural", false), ("singular", false), ("kind", true), ("listKind", true)] {
        let value = text(names, field);
        let checked = if mixed { value.to_lowercase() } else { value.to_owned() };
        if let (false, Err(reasons)) = (value.is_empty(), name::dns1035_label(&checked)) {
            let reason = reasons.into_iter().collect::<Vec<_>>().join(",");
            let detail = match mixed {
                true => format!("may have mixed case, but should otherwise match: {reason}"),
                false => reason,
            };
            faults.invalid(&path.field(field), value, detail);
        }
    }
    let each = |field: &str, faults: &mut Faults| {
        let above = path.field(field);
        for (index, value) in list(names, field).iter().enumerate() {
            faults.named(&above.index(index), value.as_str().unwrap_or_default(), name::dns1035_label);
        }
    };
    each("shortNames", faults);
    let list_kind = text(names, "listKind");
    if !list_kind.is_empty() && text(names, "kind") == list_kind {
        faults.invalid(&path.field("listKind"), list_kind, "kind and listKind may not be the same");
    }
    each("categories", faults);
}

fn stored_versions(definition: &Value, faults: &mut Faults) {
    let root = Path::Root;
    let status = root.field("status");
    let path = status.field("storedVersions");
    let held = at(definition, "status").get("storedVersions").cloned().unwrap_or_else(|| Value::Array(Vec::new()));
    let stored = list(at(definition, "status"), "storedVersions");
    if stored.is_empty() {
        faults.invalid(&path, held, "must have at least one stored version");
        return;
    }
    let versions = list(at(definition, "spec"), "versions");
    for version in versions.iter().filter(|version| flag(version, "storage")) {
        let name = text(version, "name");
        if !stored.iter().any(|one| one == name) {
            faults.invalid(&path, held.clone(), format!("must have the storage version {name}"));
        }
    }
    for (index, name) in stored.iter().enumerate() {
        let name = name.as_str().unwrap_or_default();
        if !versions.iter().any(|version| text(version, "name") == name) {
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions \
                 until a storage migration ensures no data remains persisted in {name} and removes {name} from \
                 status.storedVersions"
            );
            faults.invalid(&path.index(index), name, detail);
        }
    }
}

/// Whether a group belongs to the Kubernetes community.
pub(crate) fn is_protected(group: &str) -> bool {
    ["k8s.io", "kubernetes.io"]
        .iter()
        .any(|owned| group.strip_suffix(owned).is_some_and(|before| before.is_empty() || before.ends_with('.')))
}

const APPROVED: &str = "api-approved.kubernetes.io";

/// What the approval annotation of a protected group says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approval {
    Missing,
    Bypassed,
    Approved,
    Invalid,
}

/// The state of the approval annotation, and why.
pub(crate) fn approval_of(annotation: &str) -> (Approval, String) {
    let address = annotation.split_once("://").filter(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    if annotation.is_empty() {
        let why = format!(
            "protected groups must have approval annotation \"{APPROVED}\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        (Approval::Missing, why)
    } else if annotation.starts_with("unapproved") {
        (Approval::Bypassed, format!("not approved: {}", crate::error::quote(annotation)))
    } else if address.is_some_and(|(_, rest)| !rest.starts_with('/')) {
        (Approval::Approved, format!("approved in {annotation}"))
    } else {
        let why = format!(
            "protected groups must have approval annotation \"{APPROVED}\" with either a URL or a reason starting with \
             \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
        );
        (Approval::Invalid, why)
    }
}

fn approval(new: &Value, old: Option<&Value>, faults: &mut Faults) {
    if !is_protected(text(at(new, "spec"), "group")) {
        return;
    }
    let annotation = |definition| text(at(at(definition, "metadata"), "annotations"), APPROVED);
    let (state, reason) = approval_of(annotation(new));
    if old.is_some_and(|old| approval_of(annotation(old)).0 == state) {
        return;
    }
    let root = Path::Root;
    let meta = root.field("metadata");
    let above = meta.field("annotations");
    let path = above.key(APPROVED);
    match state {
        Approval::Missing => faults.required(&path, &reason),
        Approval::Invalid => faults.invalid(&path, annotation(new), reason),
        Approval::Approved | Approval::Bypassed => {}
    }
}

fn legacy(new: &Value, old: Option<&Value>, faults: &mut Faults) {
    let preserves = |definition| flag(at(definition, "spec"), "preserveUnknownFields");
    if preserves(new) && !old.is_some_and(preserves) {
        let detail = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema \
                      instead";
        faults.push(FieldError::invalid("spec.preserveUnknownFields", true, detail));
    }
}
