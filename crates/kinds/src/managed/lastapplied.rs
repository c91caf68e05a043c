//! From client-side to server-side apply and back: the annotation in which kubectl keeps what it applied.
//!
//! Invariant: only the manager named `kubectl` is treated so; others ask for it by that name.

use serde_json::Value;

use super::Scope;
use super::compare::compare;
use super::entries::Id;
use super::set::Set;
use super::typed::{fields_of, validate};
use crate::json::{dig, text};

pub(super) const KUBECTL: &str = "kubectl";
const ANNOTATION: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Upstream's limit for all annotations of an object.
const MOST_BYTES: usize = 256 * 1024;

fn annotation(object: &Value) -> &str {
    text(dig(object, &["metadata", "annotations"]), ANNOTATION)
}

/// The fields that client-side apply set and nobody has changed since.
pub(super) fn allowed(scope: &Scope<'_>, live: &Value) -> Option<Allowed> {
    let last: Value = serde_json::from_str(annotation(live)).ok()?;
    let fits = text(&last, "apiVersion") == scope.api_version
        && validate(scope.shape, &last, false).0.is_empty()
        && validate(scope.shape, live, false).0.is_empty();
    if !fits {
        return None;
    }
    let mut set = fields_of(scope.shape, &last);
    let comparison = compare(scope.shape, &last, live).ok()?;
    for changed in [&comparison.modified, &comparison.added, &comparison.removed] {
        set.subtract(changed);
    }
    // as the object form of the set, which outlives the text it was read from
    Some(Allowed(super::fields::encode(&set)))
}

/// Fields for which kubectl may take over from itself.
pub(super) struct Allowed(Value);

/// The conflicts that are none of client-side apply.
pub(super) fn remaining<'a>(conflicts: Vec<(Id<'a>, Set<'a>)>, allowed: &Allowed) -> Vec<(Id<'a>, Set<'a>)> {
    let allowed = super::fields::decode(&allowed.0).unwrap_or_default();
    let less = |(id, mut set): (Id<'a>, Set<'a>)| {
        set.subtract(&allowed);
        (id, set)
    };
    conflicts.into_iter().map(less).filter(|(_, set)| !set.is_empty()).collect()
}

/// Keeps the annotation true, so that client-side apply can go on from here.
pub(super) fn refresh(new: &mut Value, config: &Value) {
    if annotation(new).is_empty() {
        return;
    }
    let mut applied = config.clone();
    if let Some(annotations) = applied.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
        annotations.remove(ANNOTATION);
    }
    let Some(annotations) = new.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) else { return };
    annotations.insert(ANNOTATION.to_owned(), Value::String(format!("{applied}\n")));
    let total: usize = annotations.iter().map(|(name, value)| name.len() + value.as_str().map_or(0, str::len)).sum();
    if total > MOST_BYTES {
        annotations.remove(ANNOTATION);
    }
}
