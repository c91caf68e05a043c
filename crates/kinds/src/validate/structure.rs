//! What the schema alone demands: values of enums and required texts.
//!
//! Invariant: `status` is not looked at, as upstream does not either, and texts for which upstream takes the empty text
//! although its schema calls them required are listed in `MAY_BE_EMPTY`. Why the schema comes after the kind's rules:
//! they know better words for the same fault.

use serde_json::Value;

use super::Faults;
use crate::catalog::Kind;
use crate::json::Members;
use crate::path::Path;
use crate::schema::{Definition, Field, Schema, Type, TypeId, schema};

/// Type and field; conditions may also have empty messages.
const MAY_BE_EMPTY: &[(&str, &str)] = &[
    ("api.core.v1.HTTPHeader", "value"),
    ("api.core.v1.Sysctl", "value"),
    ("api.storage.v1.TokenRequest", "audience"),
    ("apimachinery.pkg.apis.meta.v1.GroupResource", "group"),
];

/// Enums that only clients and controllers interpret.
const OPEN_ENUMS: &[(&str, &str)] =
    &[("api.core.v1.HostPathVolumeSource", "type"), ("api.core.v1.ServiceSpec", "ipFamilies")];

pub(crate) fn check(kind: &Kind, value: &Value, faults: &mut Faults) {
    let Some(members) = value.as_object() else { return };
    let schema = schema();
    let Some(definition) = schema.definition(kind.schema) else { return };
    for field in &definition.fields {
        if !matches!(&*field.name, "status" | "metadata" | "apiVersion" | "kind")
            && let Some(value) = members.get(&*field.name)
        {
            let path = Path::Root;
            member(schema, definition, field, value, &path.field(&field.name), faults);
        }
    }
    required(schema, definition, members, &Path::Root, faults);
}

fn walk(schema: &Schema, id: TypeId, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match (schema.ty(id), value) {
        (Type::Object, Value::Object(members)) => {
            let definition = schema.object(id);
            for (name, value) in members {
                if let Some(field) = definition.field(name) {
                    member(schema, definition, field, value, &path.field(name), faults);
                }
            }
            required(schema, definition, members, path, faults);
        }
        (Type::List(item), Value::Array(items)) if !is_scalar(schema, item) => {
            for (index, value) in items.iter().enumerate() {
                walk(schema, item, value, &path.index(index), faults);
            }
        }
        (Type::Map(item), Value::Object(members)) if !is_scalar(schema, item) => {
            for (key, value) in members {
                walk(schema, item, value, &path.key(key), faults);
            }
        }
        _ => {}
    }
}

fn is_scalar(schema: &Schema, id: TypeId) -> bool {
    !matches!(schema.ty(id), Type::Object | Type::List(_) | Type::Map(_))
}

fn member(
    schema: &Schema,
    definition: &Definition,
    field: &Field,
    value: &Value,
    path: &Path<'_>,
    faults: &mut Faults,
) {
    if field.values.is_some() && !listed(OPEN_ENUMS, definition, field) {
        enumerated(field, value, path, faults);
    }
    walk(schema, field.ty, value, path, faults);
}

fn listed(list: &[(&str, &str)], definition: &Definition, field: &Field) -> bool {
    list.iter().any(|(name, member)| *member == &*field.name && *name == &*definition.name)
}

fn enumerated(field: &Field, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match value {
        Value::String(text) => one_value(field, text, path, faults),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                if let Some(text) = item.as_str() {
                    one_value(field, text, &path.index(index), faults);
                }
            }
        }
        _ => {}
    }
}

fn one_value(field: &Field, text: &str, path: &Path<'_>, faults: &mut Faults) {
    let values = field.values.as_deref().unwrap_or_default();
    if !text.is_empty() && !values.iter().any(|value| &**value == text) && !faults.mentions(&path.to_string()) {
        faults.not_supported(path, text, values);
    }
}

fn required(schema: &Schema, definition: &Definition, members: &Members, path: &Path<'_>, faults: &mut Faults) {
    for field in definition.fields.iter().filter(|field| field.required) {
        let empty = match (schema.ty(field.ty), members.get(&*field.name)) {
            (Type::String, value) => value.and_then(Value::as_str).unwrap_or("").is_empty(),
            (Type::Object, value) => field.pointer && value.is_none_or(Value::is_null),
            _ => false,
        };
        if empty && !definition.name.ends_with("Condition") && !listed(MAY_BE_EMPTY, definition, field) {
            let path = path.field(&field.name);
            if !faults.mentions(&path.to_string()) {
                faults.required(&path, "");
            }
        }
    }
}
