//! Every Kubernetes kind as a row and a schema, and the engine that works on objects by them.
//!
//! Invariant: no I/O, no async, and no input makes it panic: objects are `serde_json::Value`s of any shape and depth that
//! the decoder lets in. Reading order: `schema` (the graph), `catalog` (the rows), then the engine in the order of a write.
//! Why one engine over tables: a fact about a kind is written once; the request pipeline has no handler per kind.

pub mod catalog;
pub mod cbor;
pub mod decode;
pub mod discovery;
pub mod error;
pub mod managed;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod schema;
pub mod strategy;
pub mod structural;
pub mod table;

mod base64;
mod coerce;
mod convert;
mod default;
mod fields;
mod json;
mod path;
mod prune;
mod rules;
mod validate;
mod warn;

pub use catalog::{Catalog, Group, Kind, Subresource, Version, compare_versions};
pub use coerce::{coerce, coerce_type};
pub use convert::convert;
pub use decode::DecodeError;
pub use default::{default, default_type};
pub use error::{Cause, FieldError};
pub use fields::{field_label, selectable_fields, selectable_paths};
pub use prune::{Unknown, prune, prune_type};
pub use schema::TypeId;
pub use validate::{
    validate_approval, validate_create, validate_ephemeral_containers, validate_finalize, validate_resize,
    validate_status, validate_update,
};
pub use warn::{deprecation, warnings, warnings_of_change, warns};

#[cfg(test)]
mod cost;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
