//! Controllers and scheduler.
pub mod plan;
pub mod scheduler;
#[cfg(test)]
mod world;
