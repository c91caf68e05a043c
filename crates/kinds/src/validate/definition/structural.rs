//! Whether a schema is structural: what a value is stands outside of what must hold of it.
//!
//! Invariant: total over any JSON; faults are sorted as upstream sorts them, by their text.

use serde_json::Value;

use super::schema::pattern_fault;
use crate::error::FieldError;
use crate::json::{at, flag, has, list, members, text};
use crate::path::Path;

/// Where a schema stands, for the words of a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Whether the schema is not structural.
pub(super) fn is_broken(schema: &Value) -> bool {
    unsupported(schema).is_some() || !violations(schema, "").is_empty()
}

/// The first keyword that no structural schema can have.
pub(crate) fn unsupported(schema: &Value) -> Option<String> {
    for (name, shown) in [
        ("id", "id"),
        ("$schema", "schema"),
        ("$ref", "$ref"),
        ("patternProperties", "patternProperties"),
        ("dependencies", "dependencies"),
        ("additionalItems", "additionalItems"),
        ("definitions", "definitions"),
    ] {
        let held = at(schema, name);
        if !crate::json::is_empty(held) || (name == "additionalItems" && !held.is_null()) {
            return Some(format!("OpenAPIV3Schema '{shown}' is not supported"));
        }
    }
    if !list(schema, "items").is_empty() {
        return Some("OpenAPIV3Schema 'items' must be a schema, but is an array".to_owned());
    }
    if at(schema, "x-kubernetes-preserve-unknown-fields") == &Value::Bool(false) {
        let why = "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined";
        return Some(why.to_owned());
    }
    let one = ["not", "items", "additionalProperties"].into_iter().map(|name| at(schema, name));
    let many = ["allOf", "anyOf", "oneOf"].into_iter().flat_map(|name| list(schema, name));
    let named = members(schema, "properties").map(|(_, value)| value);
    one.chain(many).chain(named).filter(|inner| inner.is_object()).find_map(unsupported)
}

/// What keeps a schema from being structural; `place` is where it stands.
pub(crate) fn violations(schema: &Value, place: &str) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let root = Path::Root;
    let path = if place.is_empty() { Path::Root } else { root.field(place) };
    invariants(schema, Level::Root, &path, &mut faults);
    branches_complete(schema, Some(schema), &path, &path, &mut faults);
    faults.sort_by_cached_key(ToString::to_string);
    faults.dedup();
    faults
}

fn invariants(schema: &Value, level: Level, path: &Path<'_>, faults: &mut Vec<FieldError>) {
    let ty = text(schema, "type");
    let items = at(schema, "items");
    if ty == "array" && items.is_null() {
        faults.push(FieldError::required(path.field("items"), "must be specified"));
    }
    if items.is_object() {
        invariants(items, Level::Item, &path.field("items"), faults);
    }
    let properties = path.field("properties");
    for (name, property) in members(schema, "properties") {
        invariants(property, Level::Field, &properties.key(name), faults);
    }
    let (other, place) = (at(schema, "additionalProperties"), path.field("additionalProperties"));
    if !other.is_null() && level == Level::Root {
        faults.push(FieldError::forbidden(place, "must not be used at the root"));
    }
    if other.is_object() {
        invariants(other, Level::Field, &place, faults);
    }
    extensions(schema, path, faults);
    let first = list(schema, "allOf").first();
    let skip = Skip {
        any_of: is_int_or_string(list(schema, "anyOf")),
        first_all_of: first.is_some_and(|first| is_int_or_string(list(first, "anyOf"))),
    };
    validation(schema, skip, level, path, faults);
    forms(schema, level, path, faults);
    let metadata = at(at(schema, "properties"), "metadata");
    if metadata.is_object() {
        let checked = level == Level::Root || flag(schema, "x-kubernetes-embedded-resource");
        self::metadata(metadata, checked, level, &properties.key("metadata"), faults);
    }
}

/// What the type of a schema must be.
fn forms(schema: &Value, level: Level, path: &Path<'_>, faults: &mut Vec<FieldError>) {
    let (ty, place) = (text(schema, "type"), path.field("type"));
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let preserves = flag(schema, "x-kubernetes-preserve-unknown-fields");
    if embedded && ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        faults.push(match ty {
            "" => FieldError::required(place, detail),
            ty => FieldError::invalid(place, ty, detail),
        });
    } else if ty.is_empty() && !flag(schema, "x-kubernetes-int-or-string") && !preserves {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        faults.push(FieldError::required(place, detail));
    }
    if embedded && has(schema, "additionalProperties") {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        faults.push(FieldError::forbidden(path.field("additionalProperties"), detail));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        faults.push(FieldError::invalid(place, ty, "must be object at the root"));
    }
    let named = at(schema, "properties");
    let properties = path.field("properties");
    if level == Level::Root || embedded {
        for name in ["kind", "apiVersion"] {
            let property = at(named, name);
            if property.is_object() && text(property, "type") != "string" {
                let place = properties.key(name);
                faults.push(FieldError::invalid(place.field("type"), text(property, "type"), "must be string"));
            }
        }
    }
    if embedded && !preserves && crate::json::is_empty(named) {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        faults.push(FieldError::required(properties, detail));
    }
}

/// At the root only the name of an object may be restricted.
fn metadata(schema: &Value, checked: bool, level: Level, path: &Path<'_>, faults: &mut Vec<FieldError>) {
    if checked && text(schema, "type") != "object" {
        faults.push(FieldError::invalid(path.field("type"), text(schema, "type"), "must be object"));
    }
    if level != Level::Root {
        return;
    }
    let harmless = |(name, value): (&String, &Value)| match name.as_str() {
        "type" | "default" => true,
        "properties" => members(schema, "properties").all(|(name, _)| matches!(name.as_str(), "name" | "generateName")),
        _ => crate::json::is_empty(value) || *value == Value::Bool(false),
    };
    if !schema.as_object().into_iter().flatten().all(harmless) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        faults.push(FieldError::forbidden(path, detail));
    }
}

fn extensions(schema: &Value, path: &Path<'_>, faults: &mut Vec<FieldError>) {
    if !flag(schema, "x-kubernetes-int-or-string") {
        return;
    }
    for name in ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"] {
        if flag(schema, name) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            faults.push(FieldError::invalid(path.field(name), true, detail));
        }
    }
}

/// `[{type: integer}, {type: string}]`: the one place where branches may say types.
fn is_int_or_string(branches: &[Value]) -> bool {
    let only = |branch: &Value, ty: &str| {
        let said: Vec<&String> = branch.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        said.len() == 1 && text(branch, "type") == ty
    };
    matches!(branches, [first, second] if only(first, "integer") && only(second, "string"))
}

#[derive(Clone, Copy, Default)]
struct Skip {
    any_of: bool,
    first_all_of: bool,
}

fn validation(schema: &Value, skip: Skip, level: Level, path: &Path<'_>, faults: &mut Vec<FieldError>) {
    for name in ["anyOf", "allOf", "oneOf"] {
        if name == "anyOf" && skip.any_of {
            continue;
        }
        let above = path.field(name);
        for (index, branch) in list(schema, name).iter().enumerate() {
            let any_of = name == "allOf" && index == 0 && skip.first_all_of;
            let inner = Skip { any_of, first_all_of: false };
            nested(branch, inner, level, &above.index(index), faults);
        }
    }
    if at(schema, "not").is_object() {
        nested(at(schema, "not"), Skip::default(), level, &path.field("not"), faults);
    }
    if let Some(why) = pattern_fault(schema) {
        faults.push(FieldError::invalid(path.field("pattern"), text(schema, "pattern"), why));
    }
}

/// A branch may demand things of a value, but not say what it is.
fn nested(schema: &Value, skip: Skip, level: Level, path: &Path<'_>, faults: &mut Vec<FieldError>) {
    validation(schema, skip, level, path, faults);
    if at(schema, "items").is_object() {
        nested(at(schema, "items"), Skip::default(), level, &path.field("items"), faults);
    }
    let above = path.field("properties");
    for (name, property) in members(schema, "properties") {
        nested(property, Skip::default(), Level::Field, &above.key(name), faults);
    }
    let mut refuse = |name: &str, detail: &str| faults.push(FieldError::forbidden(path.field(name), detail));
    for (name, detail) in [
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ] {
        let held = at(schema, name);
        let said = match held {
            Value::Null | Value::Bool(false) => false,
            Value::Object(_) => true,
            held => name == "default" || !crate::json::is_empty(held),
        };
        if said {
            refuse(name, detail);
        }
    }
    if has(at(schema, "properties"), "metadata") {
        let detail = "must not be specified in a nested context";
        faults.push(FieldError::forbidden(above.key("metadata"), detail));
    }
}

/// Every member and item that a branch at the root speaks of must exist outside of branches; upstream looks no deeper.
fn branches_complete(
    schema: &Value,
    structure: Option<&Value>,
    path: &Path<'_>,
    outside: &Path<'_>,
    faults: &mut Vec<FieldError>,
) {
    for name in ["allOf", "anyOf", "oneOf"] {
        let above = path.field(name);
        for (index, branch) in list(schema, name).iter().enumerate() {
            branch_complete(branch, structure, &above.index(index), outside, faults);
        }
    }
    if at(schema, "not").is_object() {
        branch_complete(at(schema, "not"), structure, &path.field("not"), outside, faults);
    }
}

fn branch_complete(
    branch: &Value,
    structure: Option<&Value>,
    path: &Path<'_>,
    outside: &Path<'_>,
    faults: &mut Vec<FieldError>,
) {
    let Some(structure) = structure else {
        faults.push(FieldError::required(outside, format!("because it is defined in {path}")));
        return;
    };
    branches_complete(branch, Some(structure), path, outside, faults);
    if at(branch, "items").is_object() {
        let held = Some(at(structure, "items")).filter(|held| held.is_object());
        branch_complete(at(branch, "items"), held, &path.field("items"), &outside.field("items"), faults);
    }
    let (above, beyond) = (path.field("properties"), outside.field("properties"));
    for (name, property) in members(branch, "properties") {
        let held = at(structure, "properties").get(name).filter(|held| held.is_object());
        branch_complete(property, held, &above.key(name), &beyond.key(name), faults);
    }
}
