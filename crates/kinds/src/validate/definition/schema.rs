//! What the schema of a version may say, apart from being structural.
//!
//! Invariant: every place of a schema is visited once; the depth is that of the definition's text, which the decoder
//! bounds.

use serde_json::Value;

use super::{Options, field_path, structural};
use crate::error::FieldError;
use crate::json::{at, flag, has, list, members, text};
use crate::path::Path;
use crate::structural::{check_default, compile, pattern, prune_defaults, rules, validate_value};
use crate::validate::Faults;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];

/// Keywords that do not lose their meaning when the status is validated alone, in upstream's words.
const ROOT: &str = "[Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength \
     MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example \
     XPreserveUnknownFields XValidations]";

const ALLOWED_AT_ROOT: [&str; 22] = [
    "description",
    "type",
    "format",
    "title",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "multipleOf",
    "required",
    "items",
    "properties",
    "externalDocs",
    "example",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
];

/// Checks the schema of a version; `path` is what holds `openAPIV3Schema`. Whether there is a schema, and it is sound.
pub(super) fn check(schema: &Value, path: &Path<'_>, status: bool, options: Options<'_>, faults: &mut Faults) -> bool {
    if !schema.is_object() {
        return false;
    }
    let before = faults.list.len();
    if status {
        root(schema, path, faults);
    }
    if flag(schema, "nullable") {
        faults.forbidden(&path.field("openAPIV3Schema.nullable"), "nullable cannot be true at the root");
    }
    let place = path.field("openAPIV3Schema");
    let mut unreadable = None;
    if options.structural {
        match structural::unsupported(schema) {
            Some(why) => unreadable = Some(why),
            None => match structural::violations(schema, &place.to_string()) {
                found if found.is_empty() => defaults(schema, &place, options, faults),
                found => faults.list.extend(found),
            },
        }
    }
    let walk = Walk { options, defaults: Ok(()), inside_meta: false, root: true };
    walk.schema(schema, &place, faults);
    if let Some(why) = unreadable.filter(|_| faults.list.len() == before) {
        faults.push(FieldError::invalid(place, "", why));
    }
    faults.list.len() == before
}

fn root(schema: &Value, path: &Path<'_>, faults: &mut Faults) {
    if text(schema, "type") != "object" && has(schema, "type") {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        faults.invalid(&path.field("openAPIV3Schema.type"), text(schema, "type"), detail);
        return;
    }
    let odd = |(name, value): (&String, &Value)| !ALLOWED_AT_ROOT.contains(&&**name) && is_set(value);
    if schema.as_object().into_iter().flatten().any(odd) {
        let detail =
            format!("only {ROOT} fields are allowed at the root of the schema if the status subresource is enabled");
        faults.invalid(&path.field("openAPIV3Schema"), schema.clone(), detail);
    }
}

fn is_set(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && !crate::json::is_empty(value)
}

/// The schemas directly below one, of all kinds of nesting.
pub(crate) fn below(schema: &Value) -> impl Iterator<Item = &Value> {
    let one = ["items", "not", "additionalProperties", "additionalItems"].into_iter().map(move |name| at(schema, name));
    let lists = ["allOf", "anyOf", "oneOf", "items"].into_iter().flat_map(move |name| list(schema, name));
    let maps = ["properties", "patternProperties", "definitions", "dependencies"]
        .into_iter()
        .flat_map(move |name| members(schema, name).map(|(_, value)| value));
    one.chain(lists).chain(maps).filter(|schema| schema.is_object())
}

/// Whether anything in the schema has a property.
pub(super) fn any(schema: &Value, has: &impl Fn(&Value) -> bool) -> bool {
    has(schema) || below(schema).any(|inner| any(inner, has))
}

/// Whether it uses what only structural schemas have.
pub(super) fn is_extended(schema: &Value) -> bool {
    let flags = ["x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"];
    let said = ["x-kubernetes-preserve-unknown-fields", "x-kubernetes-list-type"];
    let lists = ["x-kubernetes-list-map-keys", "x-kubernetes-validations"];
    flags.iter().any(|name| flag(schema, name))
        || said.iter().any(|name| has(schema, name))
        || lists.iter().any(|name| !list(schema, name).is_empty())
}

pub(super) fn has_unpruned_defaults(schema: &Value) -> bool {
    if structural::is_broken(schema) || !any(schema, &|schema| has(schema, "default")) {
        return false;
    }
    let mut faults = Faults::default();
    let options = Options { pruned_defaults: true, ..Options::NEW };
    defaults(schema, &Path::Root, options, &mut faults);
    faults.list.iter().any(|fault| fault.detail == UNPRUNED)
}

const UNPRUNED: &str = "must not have unknown fields";

/// Defaults must be values of their own schema.
fn defaults(schema: &Value, path: &Path<'_>, options: Options<'_>, faults: &mut Faults) {
    let default = at(schema, "default");
    if !default.is_null() {
        let mut node = compile(schema);
        prune_defaults(&mut node);
        let place = path.field("default").to_string();
        let mut found = Faults::default();
        let sound = check_default(&node, default, &place, &mut found);
        found.list.retain(|fault| options.pruned_defaults || fault.detail != UNPRUNED);
        faults.list.extend(found.list);
        if sound {
            let found = validate_value(&node, default, &place);
            if found.is_empty() {
                faults.list.extend(rules::check_default(&node, default, &place));
            }
            faults.list.extend(found);
        }
    }
    let items = at(schema, "items");
    if items.is_object() {
        defaults(items, &path.field("items"), options, faults);
    }
    let above = path.field("properties");
    for (name, property) in members(schema, "properties") {
        defaults(property, &above.key(name), options, faults);
    }
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    options: Options<'a>,
    /// Or why there may be none.
    defaults: Result<(), Forbidden<'a>>,
    inside_meta: bool,
    root: bool,
}

/// Where defaults are not allowed.
#[derive(Clone, Copy)]
enum Forbidden<'a> {
    InMember(&'a str),
    InMetadataMap,
}

impl Walk<'_> {
    fn schema(self, schema: &Value, path: &Path<'_>, faults: &mut Faults) {
        if !schema.is_object() {
            return;
        }
        self.keywords(schema, path, faults);
        if flag(schema, "uniqueItems") {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            faults.forbidden(&path.field("uniqueItems"), detail);
        }
        let inner = Walk { root: false, ..self };
        let other = at(schema, "additionalProperties");
        if !other.is_null() {
            let place = path.field("additionalProperties");
            let named = at(schema, "properties").as_object().is_some_and(|named| !named.is_empty());
            if named && *other != Value::Bool(true) {
                faults.forbidden(&place, "additionalProperties and properties are mutual exclusive");
            }
            let defaults = if self.inside_meta { Err(Forbidden::InMetadataMap) } else { self.defaults };
            Walk { defaults, ..inner }.schema(other, &place, faults);
        }
        let above = path.field("properties");
        for (name, property) in members(schema, "properties") {
            let meta = (self.root || flag(schema, "x-kubernetes-embedded-resource"))
                && matches!(name.as_str(), "metadata" | "kind" | "apiVersion");
            let inner = Walk {
                options: self.options,
                defaults: if meta && self.root { Err(Forbidden::InMember(name)) } else { self.defaults },
                inside_meta: self.inside_meta || meta,
                root: false,
            };
            inner.schema(property, &above.key(name), faults);
        }
        inner.schema(at(schema, "not"), &path.field("not"), faults);
        for name in ["allOf", "oneOf", "anyOf"] {
            let above = path.field(name);
            for (index, branch) in list(schema, name).iter().enumerate() {
                inner.schema(branch, &above.index(index), faults);
            }
        }
        for name in ["definitions", "dependencies"] {
            let above = path.field(name);
            for (key, held) in members(schema, name) {
                inner.schema(held, &above.key(key), faults);
            }
        }
        let items = path.field("items");
        inner.schema(at(schema, "items"), &items, faults);
        for (index, item) in list(schema, "items").iter().enumerate() {
            inner.schema(item, &items.index(index), faults);
        }
        self.extensions(schema, path, faults);
    }

    fn keywords(self, schema: &Value, path: &Path<'_>, faults: &mut Faults) {
        let ty = text(schema, "type");
        if !ty.is_empty() && !TYPES.contains(&ty) {
            faults.not_supported(&path.field("type"), ty, &TYPES);
        }
        if let (true, Err(reason)) = (has(schema, "default"), self.defaults) {
            let detail = match reason {
                Forbidden::InMember(name) => format!("must not be set in top-level {name}"),
                Forbidden::InMetadataMap => {
                    "must not be set inside additionalProperties applying to object metadata".to_owned()
                }
            };
            faults.forbidden(&path.field("default"), detail);
        }
        for name in ["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"] {
            let held = at(schema, name);
            if !held.is_null() && (name == "dependencies" || !crate::json::is_empty(held)) {
                faults.forbidden(&path.field(name), format!("{name} is not supported"));
            }
        }
        if ty == "null" {
            faults.forbidden(&path.field("type"), "type cannot be set to null, use nullable as an alternative");
        }
        if !list(schema, "items").is_empty() {
            faults.forbidden(&path.field("items"), "items must be a schema object and not an array");
        }
        if self.inside_meta && flag(schema, "x-kubernetes-embedded-resource") {
            let path = path.field("x-kubernetes-embedded-resource");
            faults.forbidden(&path, "must not be used inside of resource meta");
        }
    }

    fn extensions(self, schema: &Value, path: &Path<'_>, faults: &mut Faults) {
        if at(schema, "x-kubernetes-preserve-unknown-fields") == &Value::Bool(false) {
            let path = path.field("x-kubernetes-preserve-unknown-fields");
            faults.invalid(&path, false, "must be true or undefined");
        }
        map_type(schema, path, faults);
        self.list_type(schema, path, faults);
        if self.options.sound_map_keys {
            faults.list.extend(loose_keys(schema, path));
        }
        for (index, rule) in list(schema, "x-kubernetes-validations").iter().enumerate() {
            let above = path.field("x-kubernetes-validations");
            rule_texts(schema, rule, &above.index(index), faults);
        }
    }

    fn list_type(self, schema: &Value, path: &Path<'_>, faults: &mut Faults) {
        let held = at(schema, "x-kubernetes-list-type").as_str();
        let keys = list(schema, "x-kubernetes-list-map-keys");
        let place = path.field("x-kubernetes-list-type");
        if let Some(kind) = held {
            if text(schema, "type") != "array" {
                wrong_type(schema, path, "must be array if x-kubernetes-list-type is specified", faults);
            } else if self.options.atomic_sets && kind == "set" {
                loose_set(schema, path, faults);
            }
            if !["atomic", "set", "map"].contains(&kind) {
                faults.push(not_supported(&place, kind, &["atomic", "set", "map"]));
            }
        }
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        match held {
            None if !keys.is_empty() => faults.required(&place, detail),
            Some(kind) if !keys.is_empty() && kind != "map" => faults.invalid(&place, kind, detail),
            _ => {}
        }
        if held == Some("map") {
            map_list(schema, keys, path, faults);
        }
    }
}

/// As [`FieldError::not_supported`], in the order given.
fn not_supported(path: &Path<'_>, value: &str, supported: &[&str]) -> FieldError {
    let quoted: Vec<String> = supported.iter().map(|value| crate::error::quote(value)).collect();
    let mut fault = FieldError::not_supported(path, value, supported);
    fault.detail = format!("supported values: {}", quoted.join(", "));
    fault
}

fn wrong_type(schema: &Value, path: &Path<'_>, detail: &str, faults: &mut Faults) {
    match text(schema, "type") {
        "" => faults.required(&path.field("type"), detail),
        ty => faults.invalid(&path.field("type"), ty, detail),
    }
}

fn map_type(schema: &Value, path: &Path<'_>, faults: &mut Faults) {
    let Some(kind) = at(schema, "x-kubernetes-map-type").as_str() else { return };
    if text(schema, "type") != "object" {
        wrong_type(schema, path, "must be object if x-kubernetes-map-type is specified", faults);
    }
    if !["atomic", "granular"].contains(&kind) {
        faults.push(not_supported(&path.field("x-kubernetes-map-type"), kind, &["atomic", "granular"]));
    }
}

/// What of a set's items must be atomic and is not.
fn loose_item(items: &Value) -> Option<(&'static str, &Value)> {
    let (list_type, map_type) = (at(items, "x-kubernetes-list-type"), at(items, "x-kubernetes-map-type"));
    match text(items, "type") {
        "array" if !list_type.is_null() && list_type != "atomic" => Some(("x-kubernetes-list-type", list_type)),
        // upstream shows the list type of the item here, too
        "object" if map_type != "atomic" => Some(("x-kubernetes-map-type", list_type)),
        _ => None,
    }
}

pub(super) fn is_loose_set(schema: &Value) -> bool {
    text(schema, "x-kubernetes-list-type") == "set" && loose_item(at(schema, "items")).is_some()
}

fn loose_set(schema: &Value, path: &Path<'_>, faults: &mut Faults) {
    if let Some((name, shown)) = loose_item(at(schema, "items")) {
        let above = path.field("items");
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        faults.invalid(&above.field(name), shown.clone(), detail);
    }
}

fn map_list(schema: &Value, keys: &[Value], path: &Path<'_>, faults: &mut Faults) {
    let (items, place) = (at(schema, "items"), path.field("x-kubernetes-list-map-keys"));
    if keys.is_empty() {
        faults.required(&place, "must not be empty if x-kubernetes-list-type is map");
    }
    let above = path.field("items");
    if items.is_null() {
        faults.required(&above, "must have a schema if x-kubernetes-list-type is map");
        return;
    }
    if items.is_array() {
        faults.invalid(&above, items.clone(), "must only have a single schema if x-kubernetes-list-type is map");
        return;
    }
    if text(items, "type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        faults.invalid(&above.field("type"), text(items, "type"), detail);
        return;
    }
    let properties = above.field("properties");
    for (index, key) in keys.iter().enumerate() {
        let name = key.as_str().unwrap_or_default();
        let property = at(at(items, "properties"), name);
        if property.is_null() {
            faults.invalid(&place, keys.to_vec(), "entries must all be names of item properties");
        } else if matches!(text(property, "type"), "array" | "object") {
            let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
            let property = properties.key(name);
            faults.invalid(&property.field("type"), text(items, "type"), detail);
        }
        if keys[..index].contains(key) {
            faults.invalid(&place, keys.to_vec(), "must not contain duplicate entries");
        }
    }
}

pub(super) fn has_loose_keys(schema: &Value) -> bool {
    !loose_keys(schema, &Path::Root).is_empty()
}

/// Keys of list maps must always be there, and neither they nor items may be null.
fn loose_keys(schema: &Value, path: &Path<'_>) -> Vec<FieldError> {
    let (kind, items) = (text(schema, "x-kubernetes-list-type"), at(schema, "items"));
    let mut faults = Vec::new();
    if !items.is_object() || !matches!(kind, "set" | "map") {
        return faults;
    }
    let above = path.field("items");
    if flag(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        faults.push(FieldError::forbidden(above.field("nullable"), detail));
    }
    if kind == "set" {
        return faults;
    }
    let properties = above.field("properties");
    for key in list(schema, "x-kubernetes-list-map-keys").iter().filter_map(Value::as_str) {
        let property = at(at(items, "properties"), key);
        if property.is_null() {
            continue;
        }
        let place = properties.key(key);
        let required = list(items, "required").iter().any(|name| name == key);
        if !required && !has(property, "default") {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            faults.push(FieldError::required(place.field("default"), detail));
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            faults.push(FieldError::forbidden(place.field("nullable"), detail));
        }
    }
    faults
}

/// What of a rule can be judged without reading its expression.
fn rule_texts(schema: &Value, rule: &Value, path: &Path<'_>, faults: &mut Faults) {
    let lines = |text: &str| text.contains(['\n', '\r']);
    let (message, expression) = (text(rule, "message"), text(rule, "rule").trim());
    let place = path.field("message");
    if expression.is_empty() {
        faults.required(&path.field("rule"), "rule is not specified");
    } else if !message.is_empty() && message.trim().is_empty() {
        faults.invalid(&place, message, "must be non-empty if specified");
    } else if lines(message.trim()) {
        faults.invalid(&place, message, "must not contain line breaks");
    } else if lines(expression) && message.trim().is_empty() {
        faults.required(&place, "message must be specified if rule contains line breaks");
    }
    let shown = text(rule, "messageExpression");
    if !shown.is_empty() && shown.trim().is_empty() {
        let detail = "messageExpression must be non-empty if specified";
        faults.required(&path.field("messageExpression"), detail);
    }
    let reasons = ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
    if let Some(reason) = at(rule, "reason").as_str().filter(|reason| !reasons.contains(reason)) {
        faults.not_supported(&path.field("reason"), reason, &reasons);
    }
    let (held, place) = (text(rule, "fieldPath"), path.field("fieldPath"));
    if !held.is_empty() && held.trim().is_empty() {
        faults.invalid(&place, held, "must be non-empty if specified");
    }
    if lines(held) {
        faults.invalid(&place, held, "must not contain line breaks");
    }
    if !held.is_empty() && field_path::find(held, schema, true).is_err() {
        faults.invalid(&place, held, "must be a valid path");
    }
}

/// What is wrong with a regular expression.
pub(super) fn pattern_fault(schema: &Value) -> Option<String> {
    let held = Some(text(schema, "pattern")).filter(|held| !held.is_empty())?;
    let why = pattern::compile(held).err()?;
    Some(format!("must be a valid regular expression, but isn't: {why}"))
}
