//! Cluster DNS: the names of services and pods, and everything else by forwarding.
//!
//! Knows the Kubernetes DNS specification (v1.1.0) and the DNS protocol, not who assigns addresses.
//! [`zone`] is the whole knowledge as a value with one pure question, `answer`; [`serve`] puts it
//! behind UDP and TCP; `run` keeps it current from watches. Invariant: an answer never waits for
//! the API; a name that is not in the zone now does not exist now.

mod challenges;
mod run;
pub mod serve;
pub mod zone;

pub use run::{Config, run};
