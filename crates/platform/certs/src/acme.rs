//! A client of ACME servers (RFC 8555), with external accounts (7.3.4), renewal information (RFC 9773) and profiles.
//!
//! Knows the protocol, not Kubernetes. Invariant: a server that refuses by rate, fails, or cannot be reached is left alone
//! for a while by everybody who would ask it ([`Gate`]), at least as long as it says. Why not a library: those keep the
//! state of an order in memory, while ours must survive in objects, and keep `Retry-After` and alternate chains to
//! themselves.

mod client;
mod gate;
mod jws;

pub use client::{
    Account, AuthorizationBody, Certificate, Challenge, Identifier, NewOrder, OrderBody, RenewalInfo, Server, Trust,
    certificate_id, detail,
};
pub use gate::Gate;
pub use jws::{External, Signer, key_authorization, key_hash};

use std::time::Duration;

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is left alone for now.
    #[error("{why}")]
    Closed {
        /// How long still.
        wait: Duration,
        /// What happened.
        why: String,
    },
    /// It cannot be reached, or breaks off.
    #[error("cannot reach {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It refused (RFC 7807).
    #[error("{status} {kind}: {detail}")]
    Problem {
        /// Of HTTP.
        status: u16,
        /// Of the problem, without the common prefix.
        kind: String,
        /// For people.
        detail: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// It does not speak the protocol.
    #[error("{url} answered what no ACME server may: {what}")]
    Protocol {
        /// What was asked for.
        url: String,
        /// What is wrong.
        what: String,
    },
    /// What it was to be asked cannot be signed or sent.
    #[error("cannot make the request: {0}")]
    Request(String),
}

impl Error {
    /// Whether the same may go well later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Closed { .. } | Self::Unreachable { .. } | Self::Protocol { .. } => true,
            Self::Problem { status, kind, .. } => {
                *status == 429 || *status >= 500 || kind == "rateLimited" || kind == "badNonce"
            }
            Self::Request(_) => false,
        }
    }

    /// How long to wait at least.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Closed { wait, .. } => Some(*wait),
            Self::Problem { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The type of the problem.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Problem { kind, .. } => Some(kind),
            _ => None,
        }
    }
}
