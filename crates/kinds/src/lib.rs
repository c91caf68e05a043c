//! Every Kubernetes kind as a row and a schema, and the engine that works on objects by them.
//!
//! Invariant: no I/O, no async, and no input makes it panic: objects are `serde_json::Value`s of any shape and depth that
//! the decoder lets in. Reading order: `schema` (the graph), `catalog` (the rows), then the engine in the order of a write.
//! Why one engine over tables: a fact about a kind is written once; the request pipeline has no handler per kind.

pub mod catalog;
pub mod error;
pub mod patch;
pub mod schema;
pub mod table;

mod rules;

pub use catalog::{Catalog, Group, Kind, Subresource, Version};
pub use error::{Cause, FieldError};
pub use schema::TypeId;
