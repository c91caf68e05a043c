//! The shapes an object can be shown in: itself, only its metadata, or a row of a table.

use kinds::table::Include;
use kinds::{FieldError, Kind};
use serde_json::{Value, json};

use crate::{call::Call, error::ApiError, negotiate::Shape};

/// Whether the shape that was asked for can be made as it was asked. Upstream looks at this only when the answer is
/// there, so a write that asks for the wrong table has happened.
pub(crate) fn check(call: &Call) -> Result<(), ApiError> {
    let include = call.options.include_object.as_str();
    if call.accepts.shape != Shape::Table || Include::parse(include).is_some() {
        return Ok(());
    }
    let why = "must be 'Metadata', 'Object', 'None', or empty";
    let fault = FieldError::invalid("includeObject", include, why);
    Err(ApiError::bad_request(format!("Unable to convert to Table as requested: {fault}")))
}

/// `PartialObjectMetadata` of an object.
pub(crate) fn metadata(object: &Value) -> Value {
    kinds::table::partial(object)
}

/// A `Table` with a row per object. `include` is None, Metadata (also if empty) or Object.
pub(crate) fn table(
    kind: &Kind,
    objects: &[Value],
    include: &str,
    meta_version: &str,
    metadata: Value,
    columns: bool,
) -> Value {
    let include = Include::parse(include).unwrap_or(Include::Metadata);
    let mut table = kinds::table::table(kind, objects, base::time::now(), include, metadata, columns);
    if !meta_version.is_empty() {
        table["apiVersion"] = json!(format!("meta.k8s.io/{meta_version}"));
    }
    table
}
