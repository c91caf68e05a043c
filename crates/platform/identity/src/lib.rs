//! Identity at the door: who may pass, shown by login, token, password, key, certificate or a service that is asked.
//!
//! Knows the protocols of HTTP identity; knows neither a proxy nor how objects are watched. A gateway makes one
//! [`Guard`] of each policy's [`Settings`] and asks it about each request. What a guard learns from others (keys of an
//! issuer, endpoints of a provider) stays in [`Means`], which outlives guards.
//!
//! Invariants: what cannot be decided does not pass; a header that tells a backend who somebody is never comes from the
//! client; nobody is sent to another host than the provider's or the one that was asked.

mod asked;
mod fault;
mod guard;
pub mod ingress;
mod means;
mod settings;

mod answer;
mod claims;
mod cookies;
mod jose;
mod memory;
mod outgoing;
mod seal;
mod variables;

mod addresses;
mod api_key;
mod basic;
mod bearer;
mod certificate;
mod external;
mod oidc;

pub use asked::{Asked, Pass, Verdict};
pub use fault::{Fault, Faults};
pub use guard::{Data, Guard, Sources};
pub use means::{Clock, Means, Resolve, SystemResolver};
pub use settings::*;

/// What fuzzing and property tests reach for: readers of what strangers send.
pub mod readers {
    pub use crate::basic::htpasswd;
    pub use crate::cookies::pairs;
    pub use crate::jose::{KeySet, Token};
}

#[cfg(test)]
mod tests;
