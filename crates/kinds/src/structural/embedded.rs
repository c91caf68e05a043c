//! Metadata of custom resources and of objects embedded in them.
//!
//! Invariant: metadata is always an ObjectMeta, whatever the schema says of it; wrong types are refused on the way in, and
//! unknown members are dropped.

use base::name;
use serde_json::Value;

use super::node::Node;
use super::shape::is_meta;
use crate::catalog::split_api_version;
use crate::decode::DecodeError;
use crate::error::FieldError;
use crate::json::at;
use crate::path::Path;
use crate::prune::Unknown;
use crate::schema::{self, TypeId};
use crate::validate::Faults;

fn object_meta() -> TypeId {
    schema::find("apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("invariant: the built-in schema has ObjectMeta")
}

/// Refuses metadata of a wrong type, of the object itself and of those embedded in it.
pub(crate) fn coerce(node: &Node, value: &Value) -> Result<(), DecodeError> {
    crate::coerce::coerce_type(object_meta(), at(value, "metadata"))?;
    walk(node, value, &Path::Root, &mut |_, value, path| {
        for name in ["apiVersion", "kind"] {
            if let Some(held) = value.get(name).filter(|held| !held.is_string()) {
                let fault = FieldError::invalid(path.field(name), held.clone(), "must be a string");
                return Err(DecodeError::Type(fault.to_string()));
            }
        }
        let metadata = at(value, "metadata");
        let checked = match metadata {
            Value::Null | Value::Object(_) => crate::coerce::coerce_type(object_meta(), metadata),
            _ => Err(DecodeError::Type("invalid metadata".to_owned())),
        };
        checked.map_err(|error| {
            let fault = FieldError::invalid(path.field("metadata"), metadata.clone(), error.to_string());
            DecodeError::Type(fault.to_string())
        })
    })
}

/// Visits embedded objects; the root is not one of them, as its metadata is looked at with every object's.
fn walk<'n, E>(
    node: &'n Node,
    value: &Value,
    path: &Path<'_>,
    visit: &mut impl FnMut(&'n Node, &Value, &Path<'_>) -> Result<(), E>,
) -> Result<(), E> {
    match value {
        Value::Object(members) => {
            if node.embedded {
                visit(node, value, path)?;
            }
            for (name, value) in members {
                if let Some(property) = node.property(name) {
                    walk(property, value, &path.field(name), visit)?;
                } else if let Some(other) = node.additional.node() {
                    walk(other, value, &path.key(name), visit)?;
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = node.items.as_deref() {
                for (index, value) in items.iter().enumerate() {
                    walk(item, value, &path.index(index), visit)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Drops what an ObjectMeta does not have, and what Go would not write of it.
pub(crate) fn prune(node: &Node, value: &mut Value) -> Vec<Unknown> {
    let mut unknown = prune_metadata(value, &Path::Root);
    prune_embedded(node, value, &Path::Root, &mut unknown);
    unknown
}

fn prune_metadata(value: &mut Value, path: &Path<'_>) -> Vec<Unknown> {
    let above = path.field("metadata");
    let Some(metadata) = value.get_mut("metadata") else { return Vec::new() };
    let unknown = crate::prune::prune_type(object_meta(), metadata);
    unknown.into_iter().map(|unknown| Unknown { path: format!("{above}.{}", unknown.path) }).collect()
}

fn prune_embedded(node: &Node, value: &mut Value, path: &Path<'_>, unknown: &mut Vec<Unknown>) {
    if node.embedded && value.is_object() {
        unknown.extend(prune_metadata(value, path));
        default_metadata(value);
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                if let Some(inner) = node.member(name) {
                    prune_embedded(inner, value, &path.field(name), unknown);
                }
            }
        }
        Value::Array(items) => {
            if let Some(item) = node.items.as_deref() {
                for (index, value) in items.iter_mut().enumerate() {
                    prune_embedded(item, value, &path.index(index), unknown);
                }
            }
        }
        _ => {}
    }
}

/// Metadata as Go would have written it.
pub(crate) fn default_metadata(value: &mut Value) {
    if let Some(metadata) = value.get_mut("metadata") {
        crate::default::default_type(object_meta(), metadata);
        if let Some(members) = metadata.as_object_mut() {
            members.retain(|name, value| name != "creationTimestamp" || !value.is_null());
        }
    }
}

/// Embedded objects must say what they are, and their metadata obeys the rules of metadata.
pub(crate) fn validate(node: &Node, value: &Value, faults: &mut Faults) {
    let checked: Result<(), std::convert::Infallible> = walk(node, value, &Path::Root, &mut |_, value, path| {
        object(value, path, faults);
        Ok(())
    });
    let Ok(()) = checked;
}

/// One embedded object.
pub(crate) fn object(value: &Value, path: &Path<'_>, faults: &mut Faults) {
    for name in ["apiVersion", "kind"] {
        if value.get(name).is_none() {
            faults.required(&path.field(name), "");
        }
    }
    for (name, value) in value.as_object().into_iter().flatten().filter(|(name, _)| is_meta(name)) {
        let path = path.field(name);
        match (name.as_str(), value.as_str()) {
            ("metadata", _) => crate::validate::meta::embedded(value, &path, faults),
            (_, None) => faults.invalid(&path, value.clone(), "must be a string"),
            (_, Some("")) => faults.invalid(&path, "", "must not be empty"),
            ("apiVersion", Some(version)) => {
                if split_api_version(version).1.contains('/') {
                    faults.invalid(&path, version, format!("unexpected GroupVersion string: {version}"));
                }
            }
            (_, Some(kind)) => {
                if let Err(reason) = name::dns1035_label(&kind.to_lowercase()) {
                    faults.invalid(&path, kind, format!("may have mixed case, but should otherwise match: {reason}"));
                }
            }
        }
    }
}
