//! The ownership graph and what follows when an owner goes.
//!
//! Invariant: a node is kept only for objects that own, are owned, or are being deleted with one of our finalizers; the
//! thousands of others cost nothing. The graph decides whom to look at; what is deleted is decided on live facts only
//! (`judge`), since a watch may lag.
//! Why not delete straight from the graph: an owner we have not seen yet would look like one that is gone.

mod graph;
mod judge;

pub use graph::{Graph, Identity, Kind, Object, Owner, Wake};
pub use judge::{Fate, Liveness, Verdict, judge, orphan_patch, unblocked};

/// Set by a delete that must wait for the dependents.
pub const FOREGROUND: &str = "foregroundDeletion";
/// Set by a delete that must leave the dependents alone.
pub const ORPHAN: &str = "orphan";

#[cfg(test)]
mod tests;
