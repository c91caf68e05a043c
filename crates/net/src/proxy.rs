//! Cluster addresses and node ports, as data in nf_tables.
//!
//! The rules never change; services are elements of four maps ([`table`]). [`plan`] turns a
//! Service and its EndpointSlices into elements, and two sets of elements into the difference;
//! `run` follows the API and commits differences, one batch per wake-up.
//!
//! Invariant: what the kernel holds is what [`plan::Rules`] of every service add up to.

mod conntrack;
pub mod plan;
mod run;
mod table;

pub use run::{Config, run};

/// The kernel's half, for tests and tools that bring their own services.
pub mod kernel {
    pub use super::table::Table;
}
