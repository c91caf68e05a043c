//! The shapes an object can be shown in: itself, only its metadata, or a row of a table.

use kinds::Kind;
use serde_json::{Value, json};

/// `PartialObjectMetadata` of an object.
pub(crate) fn metadata(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// A `Table` with a row per object. `include` is None, Metadata (also if empty) or Object.
pub(crate) fn table(kind: &Kind, objects: &[Value], include: &str, meta_version: &str) -> Value {
    let now = base::time::now();
    let rows: Vec<Value> = objects
        .iter()
        .map(|object| {
            let cells = kinds::table::cells(kind, object, now);
            let shown = match include {
                "None" => return json!({ "cells": cells }),
                "Object" => object.clone(),
                _ => metadata(object),
            };
            json!({ "cells": cells, "object": shown })
        })
        .collect();
    let version = if meta_version.is_empty() { "v1" } else { meta_version };
    json!({
        "kind": "Table",
        "apiVersion": format!("meta.k8s.io/{version}"),
        "metadata": {},
        "columnDefinitions": kinds::table::columns(kind),
        "rows": rows,
    })
}
