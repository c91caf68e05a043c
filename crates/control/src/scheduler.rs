//! Puts pods on nodes.
//!
//! Invariant: [`schedule`] is pure: the same pod and snapshot give the same node. The snapshot holds assumed pods too, so
//! two decisions never spend the same room. What a plugin is lives in one table (`plugins::TABLE`); adding one is adding
//! a row.
//! Why its own caches and queue rather than the controllers': the scheduler runs under its own identity and can be a
//! process of its own.

mod decide;
mod plugins;
mod queue;
mod resources;
mod run;
mod snapshot;

pub use decide::{Decision, Diagnosis, schedule};
pub use resources::Resources;
pub use run::run;
pub use snapshot::{NodeInfo, Snapshot};

/// Pods that name no scheduler, or this one, are ours.
pub const NAME: &str = "default-scheduler";

#[cfg(test)]
mod tests;
