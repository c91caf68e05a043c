//! Printer columns, subresources and selectable fields of a definition.

use serde_json::Value;

use super::field_path;
use crate::error::FieldError;
use crate::json::{at, list, same, text};
use crate::path::Path;
use crate::validate::Faults;

/// Selectable fields that a version may have.
const SELECTABLE_MOST: usize = 8;

const TYPES: &str = "boolean,date,integer,number,string";
const FORMATS: &str = "byte,date,date-time,double,float,int32,int64,password";

pub(super) fn printer(column: &Value, path: &Path<'_>, faults: &mut Faults) {
    faults.required_text(column, "name", path);
    let (kind, format) = (text(column, "type"), text(column, "format"));
    if kind.is_empty() {
        faults.required(&path.field("type"), format!("must be one of {TYPES}"));
    } else if !TYPES.split(',').any(|known| known == kind) {
        faults.invalid(&path.field("type"), kind, format!("must be one of {TYPES}"));
    }
    if !format.is_empty() && !FORMATS.split(',').any(|known| known == format) {
        faults.invalid(&path.field("format"), format, format!("must be one of {FORMATS}"));
    }
    let path = path.field("JSONPath");
    match text(column, "jsonPath") {
        "" => faults.required(&path, ""),
        text => drop(simple(text, &path, faults)),
    }
}

/// Whether a path starts as it must.
fn simple(text: &str, path: &Path<'_>, faults: &mut Faults) -> bool {
    let good = text.starts_with('.');
    if !good {
        faults.invalid(path, text, "must be a simple json path starting with .");
    }
    good
}

pub(super) fn subresources(below: &Value, path: &Path<'_>, faults: &mut Faults) {
    let scale = at(below, "scale");
    if scale.is_null() {
        return;
    }
    for (name, root) in [("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")] {
        let label = format!("scale.{name}");
        let path = path.field(&label);
        match text(scale, name) {
            "" => faults.required(&path, ""),
            text => {
                if simple(text, &path, faults) && !text.starts_with(root) {
                    let root = root.trim_end_matches('.');
                    faults.invalid(&path, text, format!("should be a json path under {root}"));
                }
            }
        }
    }
    let selector = text(scale, "labelSelectorPath");
    let path = path.field("scale.labelSelectorPath");
    let placed = selector.starts_with(".spec.") || selector.starts_with(".status.");
    if !selector.is_empty() && simple(selector, &path, faults) && !placed {
        faults.invalid(&path, selector, "should be a json path under either .spec or .status");
    }
}

/// `old` is the same version before a change.
pub(super) fn selectable(version: &Value, old: Option<&Value>, path: &Path<'_>, faults: &mut Faults) {
    let fields = list(version, "selectableFields");
    let schema = super::schema_of(version);
    if !fields.is_empty() && schema.is_null() {
        let detail = "may only be set when `version.schema.openAPIV3Schema` is not included";
        faults.invalid(path, "", detail);
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let above = path.index(index);
        let path = above.field("jsonPath");
        let text_of = text(field, "jsonPath");
        if text_of.is_empty() {
            faults.required(&path, "");
            continue;
        }
        let (names, found) = match field_path::find(text_of, schema, false) {
            Ok(found) => found,
            Err(why) => {
                faults.invalid(&path, text_of, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if names.first().is_some_and(|first| first == "metadata") {
            faults.invalid(&path, text_of, "must not point to fields in metadata");
        }
        if !matches!(text(found, "type"), "string" | "boolean" | "integer") {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                          formats are allowed.";
            faults.invalid(&path, text_of, detail);
        }
        let name = names.join(".");
        if seen.contains(&name) {
            faults.duplicate(&path, text_of);
        } else {
            seen.push(name);
        }
    }
    let before = old
        .map(|old| at(old, "selectableFields"))
        .filter(|before| before.as_array().is_some_and(|fields| fields.len() > SELECTABLE_MOST));
    let excused = before.is_some_and(|before| same(before, at(version, "selectableFields")));
    if seen.len() > SELECTABLE_MOST && !excused {
        faults.push(FieldError::too_many(path, seen.len(), SELECTABLE_MOST));
    }
}
