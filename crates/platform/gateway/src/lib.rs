//! The cluster's front door: HTTP and HTTPS from outside to the pods behind an Ingress.
//!
//! Knows Ingress and HTTP, not who runs the pods or issues the certificates. In reading order:
//! - [`routes`]: what the Ingresses ask for, as a value with one pure question, `find`;
//! - [`certificates`]: which certificate a TLS client gets;
//! - [`proxy`]: what happens to one request, in the stages of pingora;
//! - [`serve`]: sockets, TLS and connections, on the runtime of the process;
//! - `status`: what is written back to an Ingress; `run`: keeps all of it current from watches.
//!
//! Invariants: a request never waits for the API; a change is in force as soon as its watch event
//! is read (the table is swapped, nothing polls); a Secret is only ever used for an Ingress of its
//! own namespace; the addresses of ready pods are dialled directly, not the service's virtual one.

pub mod certificates;
pub mod challenges;
mod connection;
pub mod proxy;
pub mod routes;
mod run;
pub mod serve;
mod status;

pub use run::{Config, run};
