//! The cluster's front door: HTTP, HTTPS and streams from outside to the pods behind an Ingress or a Gateway.
//!
//! Knows Ingress, Gateway API and HTTP, not who runs the pods or issues the certificates. In reading
//! order:
//! - [`model`]: what is asked for, whatever objects asked; [`ingress`] and [`gateways`] translate objects into it;
//! - [`table`]: the model as a value with one pure question, `find`;
//! - [`certificates`]: which certificate a TLS client gets;
//! - [`proxy`]: what happens to one request, in the stages of pingora;
//! - [`serve`]: sockets, TLS and connections, on the runtime of the process;
//! - `status`: what is written back to an Ingress; `run`: keeps all of it current from watches.
//!
//! Invariants: a request never waits for the API; a change is in force as soon as its watch event
//! is read (tables are swapped, nothing polls); a Secret is only ever used for an object of its own
//! namespace, or one that a ReferenceGrant lets have it; the addresses of ready pods are dialled
//! directly, not the service's virtual one.

mod admin;
pub mod attach;
pub mod backend;
pub mod balance;
pub mod caching;
pub mod certificates;
pub mod challenges;
pub mod clock;
mod connection;
pub mod edge;
pub mod gateways;
mod guards;
pub mod ingress;
pub mod limit;
pub mod model;
pub mod policies;
pub mod policy;
pub mod proxy;
pub mod proxy_protocol;
pub mod report;
pub mod retry;
pub mod rules;
mod run;
pub mod seen;
pub mod serve;
mod status;
pub mod stream;
pub mod table;
mod upstream;

pub use run::{Config, Installer, run};
