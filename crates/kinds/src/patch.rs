//! Applies the three patch dialects of the API to an object: JSON patch (RFC 6902), JSON merge patch
//! (RFC 7386) and strategic merge patch.
//!
//! Invariant: a patch never panics and never half applies; the caller gets a whole new object or an error, and
//! keeps the original. Why the results are not checked here: pruning, defaulting and validation happen once, in the
//! pipeline, for every way an object can arrive.

use crate::schema::TypeId;
use serde_json::{Map, Value};

pub(crate) mod golang;
mod json;
mod lists;
mod meta;
mod strategic;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use json::MAX_OPERATIONS;

/// Why a patch was refused. The text is the one upstream gives; `code` is the HTTP status that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The patch document itself is not what its content type says.
    #[error("{0}")]
    Malformed(String),
    /// The patch is well formed but does not fit this object (a missing path, a failed test).
    #[error("{0}")]
    Unprocessable(String),
    /// The patch asks for more operations, or more copying, than is allowed.
    #[error("{0}")]
    TooLarge(String),
    /// The patch does not fit the schema; upstream takes that for a fault of its own.
    #[error("{0}")]
    Misfit(String),
}

impl PatchError {
    /// Whether a test of a JSON patch did not hold, so that nothing else is wrong with it.
    pub fn is_failed_test(&self) -> bool {
        matches!(self, PatchError::Unprocessable(why) if why.ends_with(json::TEST_FAILED))
    }

    /// The HTTP status of this refusal.
    pub fn code(&self) -> u16 {
        match self {
            PatchError::Malformed(_) => 400,
            PatchError::Unprocessable(_) => 422,
            PatchError::TooLarge(_) => 413,
            PatchError::Misfit(_) => 500,
        }
    }
}

/// Applies a JSON patch: a list of operations, all or nothing.
pub fn json(original: &Value, patch: &Value) -> Result<Value, PatchError> {
    json::apply(original, patch)
}

/// Applies a JSON merge patch: null removes, objects merge, everything else replaces.
pub fn merge(original: &Value, patch: &Value) -> Value {
    let mut result = original.clone();
    merge_into(&mut result, patch);
    result
}

fn merge_into(target: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(fields) = target else { return };
    for (name, change) in changes {
        if change.is_null() {
            fields.remove(name);
        } else {
            merge_into(fields.entry(name.as_str()).or_insert(Value::Null), change);
        }
    }
}

/// A document as upstream's messages show it: `map[spec:map[replicas:3]]`.
pub fn printed(document: &Value) -> String {
    golang::value(document)
}

/// Applies a strategic merge patch to an object of type `ty`: lists merge by key where the schema says so.
pub fn strategic(ty: TypeId, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    strategic::apply(ty, original, patch)
}
