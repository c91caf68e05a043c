//! Certificates: `cert-manager.io/v1`, so that who uses cert-manager finds what they know.
//!
//! Knows the kinds of cert-manager, X.509, and the protocols of those who sign (ACME, Vault), not who serves certificates.
//! - [`api`] and [`definitions`]: the kinds, as far as we act on them, and whole.
//! - [`plan`]: what to do next, pure; `run`: watches, plans, does, writes.
//! - [`x509`], [`acme`], [`dns`], [`vault`]: the outside worlds, one each.
//!
//! Invariants: the key of an issuance is kept before anybody is asked to sign with it; a request that was answered is never
//! made anew; a server that refuses is left alone.

pub mod acme;
pub mod api;
mod clock;
pub mod definitions;
pub mod dns;
mod http;
pub mod plan;
mod run;
pub mod vault;
pub mod x509;

pub use clock::Clock;
pub use run::{Config, run};
