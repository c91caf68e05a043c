//! Strategic merge patch: a merge patch that knows from the schema which lists merge by key.
//!
//! Invariant: the behaviour, quirks included, is that of upstream's server side (`mergeMap` of apimachinery's
//! strategicpatch): `$setElementOrder` is worked off first, then the remaining fields. Client-only modes (merging two
//! patches, making patches) are left out on purpose: a server never needs them.
//! One deviation: directives and nulls inside values that are new to the object are dropped here, where upstream lets
//! them reach the decoder, which warns about fields the user never wrote.

use super::PatchError;
use super::golang;
use super::lists;
use super::meta::Node;
use crate::schema::TypeId;
use serde_json::{Map, Value};

pub(super) const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const SET_ELEMENT_ORDER: &str = "$setElementOrder";
const DELETE_FROM_PRIMITIVE_LIST: &str = "$deleteFromPrimitiveList";

pub(super) const BAD_ORDER_LIST: &str = "invalid patch format of setElementOrder list";
const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";

pub(super) type Fields = Map<String, Value>;

pub(super) fn malformed(text: impl Into<String>) -> PatchError {
    PatchError::Malformed(text.into())
}

/// Upstream tells these as plain errors, so they are answered as its own faults.
pub(super) fn misfit(text: impl Into<String>) -> PatchError {
    PatchError::Misfit(text.into())
}

/// The error for a value of the wrong JSON type.
pub(super) fn bad_type(expected: &str, actual: &Value) -> PatchError {
    misfit(format!("expected a {expected}, but received a {}", golang::type_name(actual)))
}

pub(super) fn apply(ty: TypeId, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        return Err(malformed("invalid JSON document"));
    };
    merge_maps(original.clone(), patch.clone(), Node::of(ty)).map(Value::Object)
}

/// Merges `patch` into `original`, both objects of the shape `node`.
pub(super) fn merge_maps(mut original: Fields, mut patch: Fields, node: Node) -> Result<Fields, PatchError> {
    if let Some(directive) = patch.remove(DIRECTIVE) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Fields::new()),
            _ => {
                patch.insert(DIRECTIVE.to_owned(), directive.clone());
                Err(unknown_directive(&directive, &patch))
            }
        };
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_order(&mut original, &mut patch, node)?;
    for (name, change) in patch {
        let (name, deletes) = match directive_target(&name, DELETE_FROM_PRIMITIVE_LIST, BAD_PRIMITIVE_LIST)? {
            Some(target) => (target.to_owned(), true),
            None => (name, false),
        };
        merge_field(&mut original, name, change, node, deletes)?;
    }
    Ok(original)
}

fn merge_field(
    original: &mut Fields,
    name: String,
    change: Value,
    node: Node,
    deletes: bool,
) -> Result<(), PatchError> {
    if change.is_null() {
        original.remove(&name);
        return Ok(());
    }
    let merged = match (original.get_mut(&name).map(Value::take), change) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            let field = node.field(&name)?;
            if field.replaces {
                Some(Value::Object(new))
            } else {
                Some(Value::Object(merge_maps(old, new, field.node)?))
            }
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            let field = node.list_field(&name)?;
            if field.merges || deletes {
                Some(Value::Array(lists::merge(old, new, &field, deletes)?))
            } else {
                Some(Value::Array(new))
            }
        }
        // Nothing of that shape to delete from: the object stays as it is.
        (old, _) if deletes => old,
        (_, new) => without_directives(new),
    };
    match merged {
        Some(value) => original.insert(name, value),
        None => original.remove(&name),
    };
    Ok(())
}

pub(super) fn unknown_directive(directive: &Value, map: &Fields) -> PatchError {
    misfit(format!("unknown patch type: {} in map: {}", golang::value(directive), golang::map(map)))
}

/// The field that a directive key such as `$setElementOrder/containers` talks about.
fn directive_target<'k>(key: &'k str, prefix: &str, error: &str) -> Result<Option<&'k str>, PatchError> {
    match key.strip_prefix(prefix) {
        None => Ok(None),
        Some(rest) => rest.strip_prefix('/').map(Some).ok_or_else(|| malformed(error)),
    }
}

fn is_list_directive(key: &str) -> bool {
    key.starts_with(DELETE_FROM_PRIMITIVE_LIST) || key.starts_with(SET_ELEMENT_ORDER)
}

/// Works off `$retainKeys`: fields of the object that it does not name go away.
fn retain_keys(original: &mut Fields, patch: &mut Fields) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(malformed(BAD_RETAIN_KEYS)) };
    let named = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let stray = patch.iter().any(|(name, value)| !value.is_null() && !is_list_directive(name) && !named(name));
    if stray {
        return Err(malformed(BAD_RETAIN_KEYS));
    }
    original.retain(|name, _| named(name));
    Ok(())
}

/// Works off every `$setElementOrder/<list>` together with the patch of that list, and takes both out of the patch.
fn set_element_order(original: &mut Fields, patch: &mut Fields, node: Node) -> Result<(), PatchError> {
    let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ELEMENT_ORDER)).cloned().collect();
    for directive in directives {
        let Some(order) = patch.remove(&directive) else { continue };
        let Some(name) = directive_target(&directive, SET_ELEMENT_ORDER, BAD_ORDER_LIST)? else { continue };
        let list = |value: Option<&Value>| match value {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items.clone())),
            Some(other) => Err(bad_type("[]interface {}", other)),
        };
        let order = list(Some(&order))?.unwrap_or_default();
        let live = list(original.get(name))?;
        let changes = list(patch.get(name))?;
        let field = node.list_field(name)?;
        lists::check_order(changes.as_deref().unwrap_or_default(), &order, field.key)?;
        let ordered = lists::merge_ordered(live, changes, &order, &field)?;
        patch.remove(name);
        if let Some(ordered) = ordered {
            original.insert(name.to_owned(), Value::Array(ordered));
        }
    }
    Ok(())
}

/// A value that is new to the object, without directives and nulls; `None` if the value is itself a directive.
pub(super) fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => {
            let keep = |(name, field): (String, Value)| {
                let hidden = field.is_null() || name == RETAIN_KEYS || is_list_directive(&name);
                if hidden { None } else { without_directives(field).map(|field| (name, field)) }
            };
            Some(Value::Object(fields.into_iter().filter_map(keep).collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(without_directives).collect())),
        scalar => Some(scalar),
    }
}
