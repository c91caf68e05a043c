//! JSON patch (RFC 6902) with upstream's limits and messages.
//!
//! Invariant: work is bounded by the patch, not by what it can conjure: at most [`MAX_OPERATIONS`] operations, `copy`
//! may add at most [`MAX_COPIED_BYTES`] (else a short patch could double a document again and again), and no value may
//! end up nested deeper than [`MAX_DEPTH`] (else moves could build a document that no parser reads back).
//! Negative array indices count from the end, as in upstream's library.

use super::PatchError;
use serde_json::Value;

/// How many operations one JSON patch may have.
pub const MAX_OPERATIONS: usize = 10_000;

/// How many bytes `copy` operations may add in total: the size limit of a request body.
const MAX_COPIED_BYTES: usize = 3 * 1024 * 1024;

/// How deep containers may nest in the result; the JSON parser gives up at 128.
const MAX_DEPTH: usize = 120;

const MISSING: &str = "missing value";
pub(super) const TEST_FAILED: &str = "test failed";
const INVALID_INDEX: &str = "invalid index referenced";

pub(super) fn apply(original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = decode(patch)?;
    let mut document = original.clone();
    let mut growth = Growth { copied: 0, depth: depth(&document) };
    for operation in &operations {
        let done = match operation.kind {
            "add" => operation.add(&mut document, &mut growth),
            "remove" => operation.remove(&mut document),
            "replace" => operation.replace(&mut document, &mut growth),
            "move" => operation.rename(&mut document, &mut growth),
            "copy" => operation.copy(&mut document, &mut growth),
            "test" => operation.test(&document),
            other => Err(format!("Unexpected kind: {other}")),
        };
        done.map_err(PatchError::Unprocessable)?;
    }
    Ok(document)
}

/// What the operations so far have added.
struct Growth {
    copied: usize,
    /// An upper bound of how deep the document, and so any value taken from it, nests.
    depth: usize,
}

impl Growth {
    /// Refuses to put `value` at `pointer` if it would nest too deep. The exact depth is only computed when the bound
    /// does not already answer.
    fn nest(&mut self, pointer: &str, value: &Value, taken: bool) -> Result<(), String> {
        let above = pointer.matches('/').count();
        let mut below = if taken { self.depth } else { depth(value) };
        if above + below > MAX_DEPTH {
            below = depth(value);
        }
        if above + below > MAX_DEPTH {
            return Err(format!("the value at path '{pointer}' would nest deeper than {MAX_DEPTH} levels"));
        }
        self.depth = self.depth.max(above + below);
        Ok(())
    }
}

struct Operation<'a> {
    kind: &'a str,
    path: Option<&'a str>,
    from: Option<&'a str>,
    value: &'a Value,
}

fn decode(patch: &Value) -> Result<Vec<Operation<'_>>, PatchError> {
    let Value::Array(items) = patch else {
        return Err(PatchError::Malformed(format!(
            "json: cannot unmarshal {} into Go value of type jsonpatch.Patch",
            json_kind(patch)
        )));
    };
    if items.len() > MAX_OPERATIONS {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}",
            items.len()
        )));
    }
    items.iter().map(decode_one).collect()
}

fn decode_one(item: &Value) -> Result<Operation<'_>, PatchError> {
    let Value::Object(fields) = item else {
        return Err(PatchError::Malformed(format!(
            "json: cannot unmarshal {} into Go value of type jsonpatch.Operation",
            json_kind(item)
        )));
    };
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    Ok(Operation {
        kind: text("op").unwrap_or("unknown"),
        path: text("path"),
        from: text("from"),
        value: fields.get("value").unwrap_or(&Value::Null),
    })
}

impl Operation<'_> {
    fn path(&self) -> Result<&str, String> {
        self.path.ok_or_else(|| format!("{} operation failed to decode path: {MISSING}", self.kind))
    }

    fn from(&self) -> Result<&str, String> {
        self.from.ok_or_else(|| format!("{} operation failed to decode from: {MISSING}", self.kind))
    }

    fn add(&self, document: &mut Value, growth: &mut Growth) -> Result<(), String> {
        let path = self.path()?;
        growth.nest(path, self.value, false)?;
        let (container, key) = locate_mut(document, path)
            .ok_or_else(|| format!("add operation does not apply: doc is missing path: \"{path}\": {MISSING}"))?;
        insert(container, &key, self.value.clone()).map_err(|error| format!("error in add for path: '{path}': {error}"))
    }

    fn remove(&self, document: &mut Value) -> Result<(), String> {
        let path = self.path()?;
        let (container, key) = locate_mut(document, path)
            .ok_or_else(|| format!("remove operation does not apply: doc is missing path: \"{path}\": {MISSING}"))?;
        take(container, &key).map(drop).map_err(|error| format!("error in remove for path: '{path}': {error}"))
    }

    fn replace(&self, document: &mut Value, growth: &mut Growth) -> Result<(), String> {
        let path = self.path()?;
        growth.nest(path, self.value, false)?;
        if path.is_empty() {
            if !self.value.is_object() && !self.value.is_array() {
                return Err("replace operation value must be object or array".to_owned());
            }
            *document = self.value.clone();
            return Ok(());
        }
        let (container, key) = locate_mut(document, path)
            .ok_or_else(|| format!("replace operation does not apply: doc is missing path: {path}: {MISSING}"))?;
        let place = child_mut(container, &key)
            .ok_or_else(|| format!("replace operation does not apply: doc is missing key: {path}: {MISSING}"))?;
        *place = self.value.clone();
        Ok(())
    }

    fn rename(&self, document: &mut Value, growth: &mut Growth) -> Result<(), String> {
        let from = self.from()?;
        let path = self.path()?;
        // Moving a value into itself would lose it: RFC 6902 forbids it.
        if path.strip_prefix(from).is_some_and(|rest| rest.starts_with('/')) {
            return Err(format!("error in move for path: '{path}': {MISSING}"));
        }
        let (container, key) = locate_mut(document, from)
            .ok_or_else(|| format!("move operation does not apply: doc is missing from path: {from}: {MISSING}"))?;
        let value = take(container, &key).map_err(|error| format!("error in move for path: '{from}': {error}"))?;
        growth.nest(path, &value, true)?;
        let (container, key) = locate_mut(document, path).ok_or_else(|| {
            format!("move operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        insert(container, &key, value).map_err(|error| format!("error in move for path: '{path}': {error}"))
    }

    fn copy(&self, document: &mut Value, growth: &mut Growth) -> Result<(), String> {
        let from = self.from()?;
        let path = self.path()?;
        let (container, key) = locate(document, from)
            .ok_or_else(|| format!("copy operation does not apply: doc is missing from path: {from}: {MISSING}"))?;
        let value = child(container, &key)
            .ok_or_else(|| {
                format!("error in copy for from: '{from}': unable to get nonexistent key: {key}: {MISSING}")
            })?
            .clone();
        growth.copied += weight(&value);
        if growth.copied > MAX_COPIED_BYTES {
            return Err(format!(
                "Unable to complete the copy, the accumulated size increase of copy is {}, exceeding the limit {MAX_COPIED_BYTES}",
                growth.copied
            ));
        }
        growth.nest(path, &value, true)?;
        let (container, key) = locate_mut(document, path).ok_or_else(|| {
            format!("copy operation does not apply: doc is missing destination path: {path}: {MISSING}")
        })?;
        insert(container, &key, value).map_err(|error| format!("error while adding value during copy: {error}"))
    }

    fn test(&self, document: &Value) -> Result<(), String> {
        let path = self.path()?;
        let found = if path.is_empty() {
            document
        } else {
            let (container, key) = locate(document, path)
                .ok_or_else(|| format!("test operation does not apply: is missing path: {path}: {MISSING}"))?;
            match child(container, &key) {
                Some(found) => found,
                // An absent field tests equal to null, as in upstream's library.
                None if container.is_object() && self.value.is_null() => &Value::Null,
                None => {
                    return Err(format!(
                        "error in test for path: '{path}': unable to get nonexistent key: {key}: {MISSING}"
                    ));
                }
            }
        };
        if found == self.value { Ok(()) } else { Err(format!("testing value {path} failed: {TEST_FAILED}")) }
    }
}

/// Splits `/a/b~1c` into its unescaped steps; `None` for a pointer that does not start at the root.
fn steps(pointer: &str) -> Option<Vec<String>> {
    let rest = pointer.strip_prefix('/')?;
    Some(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
}

/// The container that holds, or would hold, the last step of `pointer`, and that step.
fn locate<'d>(document: &'d Value, pointer: &str) -> Option<(&'d Value, String)> {
    let mut steps = steps(pointer)?;
    let key = steps.pop()?;
    let container = steps.iter().try_fold(document, |at, step| child(at, step))?;
    (container.is_object() || container.is_array()).then_some((container, key))
}

fn locate_mut<'d>(document: &'d mut Value, pointer: &str) -> Option<(&'d mut Value, String)> {
    let mut steps = steps(pointer)?;
    let key = steps.pop()?;
    let container = steps.iter().try_fold(document, |at, step| child_mut(at, step))?;
    (container.is_object() || container.is_array()).then_some((container, key))
}

fn child<'d>(container: &'d Value, key: &str) -> Option<&'d Value> {
    match container {
        Value::Object(fields) => fields.get(key),
        Value::Array(items) => items.get(position(key, items.len()).ok()?),
        _ => None,
    }
}

fn child_mut<'d>(container: &'d mut Value, key: &str) -> Option<&'d mut Value> {
    match container {
        Value::Object(fields) => fields.get_mut(key),
        Value::Array(items) => {
            let at = position(key, items.len()).ok()?;
            items.get_mut(at)
        }
        _ => None,
    }
}

fn insert(container: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match container {
        Value::Object(fields) => {
            fields.insert(key.to_owned(), value);
        }
        Value::Array(items) if key == "-" => items.push(value),
        Value::Array(items) => items.insert(position(key, items.len() + 1)?, value),
        _ => return Err(MISSING.to_owned()),
    }
    Ok(())
}

fn take(container: &mut Value, key: &str) -> Result<Value, String> {
    match container {
        Value::Object(fields) => {
            fields.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
        }
        Value::Array(items) => {
            let at = position(key, items.len())?;
            Ok(items.remove(at))
        }
        _ => Err(MISSING.to_owned()),
    }
}

/// The array index that `key` names among `len` places.
fn position(key: &str, len: usize) -> Result<usize, String> {
    let wrong = || format!("Unable to access invalid index: {key}: {INVALID_INDEX}");
    let index: i64 = key.parse().map_err(|_| format!("strconv.Atoi: parsing {}: invalid syntax", Value::from(key)))?;
    let at = if index < 0 { index.checked_add_unsigned(len as u64).ok_or_else(wrong)? } else { index };
    usize::try_from(at).ok().filter(|at| *at < len).ok_or_else(wrong)
}

/// Roughly how many bytes `value` takes when written.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => 2 + items.iter().map(|item| weight(item) + 1).sum::<usize>(),
        Value::Object(fields) => 2 + fields.iter().map(|(name, field)| name.len() + 4 + weight(field)).sum::<usize>(),
    }
}

/// How many containers nest in `value`: 0 for a scalar.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn json_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
