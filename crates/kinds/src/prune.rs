//! Fields that a kind does not have are removed and reported.
//!
//! Invariant: a field that the schema knows is never touched; values of a wrong shape are left for `coerce` to refuse.

use std::fmt;

use serde_json::Value;

use crate::catalog::Kind;
use crate::error::quote;
use crate::path::Path;
use crate::schema::{Schema, Type, TypeId, schema};

/// A field that was not known and was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// `spec.containers[0].foo`
    pub path: String,
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown field {}", quote(&self.path))
    }
}

/// Removes fields that the kind does not have.
pub fn prune(kind: &Kind, value: &mut Value) -> Vec<Unknown> {
    match &kind.custom {
        Some(custom) => custom.prune(value),
        None => prune_type(kind.schema, value),
    }
}

/// Removes fields that a built-in type does not have.
pub fn prune_type(id: TypeId, value: &mut Value) -> Vec<Unknown> {
    let mut unknown = Vec::new();
    walk(schema(), id, value, &Path::Root, &mut unknown);
    unknown
}

fn walk(schema: &Schema, id: TypeId, value: &mut Value, path: &Path<'_>, unknown: &mut Vec<Unknown>) {
    match (schema.ty(id), value) {
        (Type::Object, Value::Object(members)) => {
            let definition = schema.object(id);
            let before = unknown.len();
            for (name, member) in members.iter_mut() {
                let path = path.field(name);
                match definition.field(name) {
                    Some(field) => walk(schema, field.ty, member, &path, unknown),
                    None => unknown.push(Unknown { path: path.to_string() }),
                }
            }
            if unknown.len() > before {
                members.retain(|name, _| definition.field(name).is_some());
            }
        }
        (Type::List(item), Value::Array(items)) if has_structs(schema, item) => {
            for (index, value) in items.iter_mut().enumerate() {
                walk(schema, item, value, &path.index(index), unknown);
            }
        }
        (Type::Map(item), Value::Object(members)) if has_structs(schema, item) => {
            for (key, value) in members.iter_mut() {
                walk(schema, item, value, &path.field(key), unknown);
            }
        }
        (Type::Json, value @ (Value::Object(_) | Value::Array(_))) => {
            if let Some(inner) = schema.opened(id) {
                opened(schema, inner, value, path, unknown);
            }
        }
        _ => {}
    }
}

/// A schema, or a list of schemas.
fn opened(schema: &Schema, id: TypeId, value: &mut Value, path: &Path<'_>, unknown: &mut Vec<Unknown>) {
    match value {
        Value::Array(items) => {
            for (index, value) in items.iter_mut().enumerate() {
                walk(schema, id, value, &path.index(index), unknown);
            }
        }
        value => walk(schema, id, value, path, unknown),
    }
}

fn has_structs(schema: &Schema, id: TypeId) -> bool {
    matches!(schema.ty(id), Type::Object | Type::List(_) | Type::Map(_)) || schema.opened(id).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;
    use serde_json::json;

    #[test]
    fn unknown_fields_are_removed_and_named() {
        let kind = Catalog::builtin().resource("", "v1", "pods").unwrap();
        let mut pod = json!({
            "apiVersion": "v1", "kind": "Pod", "extra": 1,
            "metadata": {"name": "a", "labels": {"any": "thing"}},
            "spec": {"containers": [{"name": "c", "imagee": "x", "env": [{"name": "A", "vale": "b"}]}]},
        });
        let unknown: Vec<String> = prune(kind, &mut pod).iter().map(ToString::to_string).collect();
        assert_eq!(
            unknown,
            [
                "unknown field \"extra\"",
                "unknown field \"spec.containers[0].env[0].vale\"",
                "unknown field \"spec.containers[0].imagee\"",
            ]
        );
        assert_eq!(
            pod,
            json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "a", "labels": {"any": "thing"}},
                "spec": {"containers": [{"name": "c", "env": [{"name": "A"}]}]},
            })
        );
        assert_eq!(prune(kind, &mut pod), []);
    }
}
