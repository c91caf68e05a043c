//! The shapes an object can be shown in: itself, only its metadata, or a row of a table.

use kinds::Kind;
use kinds::table::Include;
use serde_json::{Value, json};

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
