//! Gateway API (`gateway.networking.k8s.io`) into the model, and what its objects are told.
//!
//! One pure function, [`plan`], goes from a [`World`] to listeners and statuses. In reading order:
//! - [`kinds`]: the objects, as far as they are acted on; [`World`]: all of them;
//! - `addresses`, `listeners`: where each Gateway is served, and what of it cannot be;
//! - `attach`: which listeners a route belongs to; `grants`, `hostnames`: by whose leave, for which hosts;
//! - `backends`, `policies`, `rules`: what a route does;
//! - [`status`]: what is written back; `run`: watches and writes;
//! - [`definitions`]: the CRDs, and how a cluster gets them.
//!
//! Invariants: no I/O, no clock and no randomness but in `run` and `definitions`; planning again on what was written writes
//! nothing; objects of other controllers, and their parts of shared statuses, are left alone; what cannot be obeyed is told and
//! served closed.

mod addresses;
mod attach;
mod backends;
mod conflicts;
pub mod definitions;
pub mod features;
mod grants;
mod hostnames;
pub mod kinds;
mod listeners;
mod plan;
mod policies;
mod references;
mod rules;
mod run;
pub mod status;
#[cfg(test)]
mod tests;
mod verdict;
mod world;

pub use addresses::{BadPool, Place, Pool};
pub use listeners::{RouteKind, SharedPorts};
pub use plan::{CONTROLLER, plan};
pub(crate) use run::{Around, Gateways};
pub use status::Statuses;
pub use verdict::Verdict;
pub use world::World;
