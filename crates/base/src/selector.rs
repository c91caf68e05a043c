//! Label and field selectors: what a list, a watch, a Service or a ReplicaSet picks.
//!
//! Invariant: an empty selector picks everything; `LabelSelector::nothing` picks nothing.
//! Why two types: labels have set operators and typed names, fields only `=` and `!=` over names that a kind declares.

mod field;
mod label;

pub use field::{FieldRequirement, FieldSelector};
pub use label::{LabelSelector, Operator, Requirement};

/// Why a selector cannot be read.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectorError {
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    #[error("{0}")]
    Syntax(String),
    #[error("invalid selector: '{selector}'; can't understand '{part}'")]
    Field { selector: String, part: String },
    #[error("invalid label selector: {0}")]
    Structure(String),
}
