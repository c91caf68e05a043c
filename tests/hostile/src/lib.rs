//! What strangers can send, as functions of bytes: each target takes any bytes at all and must neither panic, nor
//! hang, nor break the rule it states.
//!
//! The functions run twice: under cargo-fuzz (`make fuzz`, the crate `fuzz/` has one line for each), and in
//! `make test`, which replays the corpus and some thousand mutations of it. Why not inside the crates they test:
//! a fuzzer needs them from outside, and what is reached through the API keeps its meaning when the inside changes.

pub mod corpus;
pub mod mutate;
pub mod server;
pub mod targets;

pub use targets::{TARGETS, Target, run};
