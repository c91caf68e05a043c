//! Volumes that are directories of a node, for claims that ask this provisioner.
//!
//! Knows claims, volumes, classes and nodes; makes and removes no directory: the node does, where the data lies. A node
//! says by an annotation where it keeps such volumes, and holds a volume by a finalizer until its directory is gone.
//! Invariant: a volume is named after the uid of its claim, so however often this is killed a claim gets one.
//! The size of a directory is not limited: what a claim asks for is what it is told to have.

pub mod plan;
mod run;

pub use run::{Config, run};
