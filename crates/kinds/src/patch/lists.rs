//! The list half of strategic merge patch: merging by key, deleting, and the order of the result.
//!
//! Invariant: within the result, items that the patch names stand in the patch's order, the others in the object's
//! order; an untouched item goes before the first named item that followed it in the object. Items are only compared
//! by merge key (maps) or by value (scalars), never by position.

use super::PatchError;
use super::golang;
use super::meta::Field;
use super::strategic::{DIRECTIVE, bad_type, merge_maps, misfit, unknown_directive, without_directives};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

/// What identifies an item: the value of its merge key, or the item itself if there is none.
fn identity<'i>(item: &'i Value, key: Option<&str>) -> Result<&'i Value, PatchError> {
    let Some(key) = key else { return Ok(item) };
    let Value::Object(fields) = item else { return Err(bad_type("map[string]interface {}", item)) };
    fields.get(key).ok_or_else(|| no_merge_key(fields, key))
}

fn no_merge_key(fields: &Map<String, Value>, key: &str) -> PatchError {
    misfit(format!("map: {} does not contain declared merge key: {key}", golang::map(fields)))
}

/// Where each identity first occurs in `items`. Items without identity are skipped.
fn index<'i>(items: &'i [Value], key: Option<&str>) -> HashMap<&'i Value, usize> {
    let mut places = HashMap::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        if let Ok(id) = identity(item, key) {
            places.entry(id).or_insert(at);
        }
    }
    places
}

#[derive(PartialEq, Clone, Copy)]
enum Element {
    Map,
    Scalar,
}

/// The one type that all items of both lists have; `None` if there are no items.
fn element(original: &[Value], patch: &[Value]) -> Result<Option<Element>, PatchError> {
    let mut items = original.iter().chain(patch);
    let Some(first) = items.next() else { return Ok(None) };
    let name = golang::type_name(first);
    if first.is_array() {
        return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
    }
    if first.is_null() || items.any(|item| golang::type_name(item) != name) {
        return Err(misfit(format!(
            "list element types are not identical: [{} {}]",
            golang::list(original),
            golang::list(patch)
        )));
    }
    Ok(Some(if first.is_object() { Element::Map } else { Element::Scalar }))
}

/// Merges the patch of a list into the list.
pub(super) fn merge(
    original: Vec<Value>,
    patch: Vec<Value>,
    field: &Field,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    let (original, patch, merged) = match element(&original, &patch)? {
        None => return Ok(original),
        Some(Element::Scalar) if deletes => {
            let doomed: HashSet<&Value> = patch.iter().collect();
            return Ok(original.into_iter().filter(|item| !doomed.contains(item)).collect());
        }
        Some(Element::Scalar) => {
            let mut seen = HashSet::new();
            let merged = original.iter().chain(&patch).filter(|item| seen.insert(*item)).cloned().collect();
            (original, patch, merged)
        }
        Some(Element::Map) => {
            let Some(key) = field.key else {
                return Err(misfit(format!("cannot merge lists without merge key for {}", field.node.go_kind())));
            };
            let (original, patch) = special_elements(original, patch, key)?;
            let merged = merge_by_key(original.clone(), patch.clone(), key, field)?;
            (original, patch, merged)
        }
    };
    order(merged, &patch, &original, field.key)
}

/// Merges and orders a list that comes with `$setElementOrder`; `None` if neither side has the list.
pub(super) fn merge_ordered(
    live: Option<Vec<Value>>,
    changes: Option<Vec<Value>>,
    wanted: &[Value],
    field: &Field,
) -> Result<Option<Vec<Value>>, PatchError> {
    element(live.as_deref().unwrap_or_default(), changes.as_deref().unwrap_or_default())?;
    let merged = match (live.clone(), changes) {
        (None, None) => return Ok(None),
        (Some(live), None) => live,
        (None, Some(changes)) => changes.into_iter().filter_map(without_directives).collect(),
        (Some(live), Some(changes)) if field.merges => merge(live, changes, field, false)?,
        (Some(_), Some(changes)) => changes,
    };
    order(merged, wanted, &live.unwrap_or_default(), field.key).map(Some)
}

/// Checks that the items of a patch list come in the order of its `$setElementOrder` list, and are all in it.
pub(super) fn check_order(patch: &[Value], wanted: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if patch.is_empty() || wanted.is_empty() {
        return Ok(());
    }
    let mut rest = wanted.iter();
    for item in patch {
        if key.is_some() && !item.is_object() {
            return Err(bad_type("map[string]interface {}", item));
        }
        if item.get(DIRECTIVE).is_some() {
            continue;
        }
        let mut found = false;
        for place in rest.by_ref() {
            found = identity(item, key)? == identity(place, key)?;
            if found {
                break;
            }
        }
        if !found {
            return Err(misfit(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                golang::list(patch),
                golang::list(wanted)
            )));
        }
    }
    Ok(())
}

/// Works off items with `$patch`: deletes what they delete, and tells what remains of both lists.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut doomed = HashSet::new();
    let mut replaces = false;
    for item in patch {
        let Value::Object(fields) = &item else { return Err(bad_type("map[string]interface {}", &item)) };
        match fields.get(DIRECTIVE) {
            None => plain.push(item),
            Some(Value::String(directive)) if directive == "delete" => {
                doomed.insert(fields.get(key).ok_or_else(|| no_merge_key(fields, key))?.clone());
            }
            Some(Value::String(directive)) if directive == "replace" => replaces = true,
            Some(Value::String(directive)) if directive == "merge" => {
                return Err(misfit("merging lists cannot yet be specified in the patch"));
            }
            Some(other) => return Err(unknown_directive(other, fields)),
        }
    }
    original.retain(|item| item.get(key).is_none_or(|id| !doomed.contains(id)));
    Ok(if replaces { (plain, Vec::new()) } else { (original, plain) })
}

fn merge_by_key(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    field: &Field,
) -> Result<Vec<Value>, PatchError> {
    let mut places: HashMap<Value, usize> =
        index(&original, Some(key)).into_iter().map(|(id, at)| (id.clone(), at)).collect();
    for item in patch {
        let id = identity(&item, Some(key))?;
        let Some(&at) = places.get(id) else {
            places.insert(id.clone(), original.len());
            original.extend(without_directives(item));
            continue;
        };
        if let (Value::Object(old), Value::Object(new)) = (original[at].take(), item) {
            original[at] = Value::Object(merge_maps(old, new, field.node)?);
        }
    }
    Ok(original)
}

/// Puts `merged` in order: items of `wanted` as they stand there, the others as they stand in `live`.
fn order(merged: Vec<Value>, wanted: &[Value], live: &[Value], key: Option<&str>) -> Result<Vec<Value>, PatchError> {
    let (live, wanted) = (index(live, key), index(wanted, key));
    let mut named = Vec::new();
    let mut others = Vec::new();
    for item in merged {
        let id = identity(&item, key)?;
        let at_live = live.get(id).copied();
        match wanted.get(id).copied() {
            Some(at) => named.push((at, at_live, item)),
            None => others.push((at_live, item)),
        }
    }
    named.sort_by_key(|(at, _, _)| *at);
    others.sort_by_key(|(at_live, _)| at_live.unwrap_or(usize::MAX));
    let mut ordered = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for (_, named_at, item) in named {
        while let Some((_, other)) =
            others.next_if(|(other_at, _)| matches!((other_at, named_at), (Some(other), Some(named)) if *other < named))
        {
            ordered.push(other);
        }
        ordered.push(item);
    }
    ordered.extend(others.map(|(_, other)| other));
    Ok(ordered)
}
