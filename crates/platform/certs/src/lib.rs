//! Certificates for Ingress hosts, from the cluster's own authority.
//!
//! Knows Ingress, TLS Secrets and the `cert-manager.io` annotations, not who serves them. An
//! Ingress that carries `cert-manager.io/cluster-issuer` with our issuer's name gets, for every
//! `spec.tls` entry, a Secret with a certificate for its hosts, renewed before it expires.
//! Invariant: a Secret that somebody else made is never overwritten; its owner is told by an event.

pub mod plan;
mod run;

pub use run::{Config, run};
