//! Puts pods on nodes.
//!
//! Invariant: [`decide`] is pure: the same pod, world and turn give the same node. The world holds assumed pods too, so
//! two decisions never spend the same room. Plugins are a closed set (`names`); what each does is in `plugins`.
//! Why its own caches and queue rather than the controllers': the scheduler runs under its own identity and can be a
//! process of its own, and it keeps a hundredth of what a controller needs.
//!
//! In reading order: `seen` (what is read from the API), `pod`, `node`, `facts` (what is kept), `cache` (where pods are),
//! `storage` and `devices` (what can be had besides room),
//! `cycle` and `plugins` (what plugins say), `decide`, `preempt`, then `hints` and `queue` (when to try), and `run`.

mod cache;
pub mod config;
mod cycle;
mod decide;
mod devices;
mod facts;
mod hints;
mod names;
mod node;
mod nominated;
mod plugins;
mod pod;
mod preempt;
mod profile;
mod queue;
mod resources;
mod run;
mod seen;
mod storage;
mod world;

pub use cache::Cache;
pub use decide::{Decision, Diagnosis, Turn, decide};
pub use devices::Plan as DevicePlan;
pub use names::{Plugin, Plugins, Point};
pub use pod::PodInfo;
pub use profile::Profile;
pub use queue::BackOff;
pub use resources::Resources;
pub use run::{Config, run};
pub use storage::Plan;
pub use world::World;

/// Pods that name no scheduler, or this one, are ours.
pub const NAME: &str = "default-scheduler";

#[cfg(test)]
mod tests;
