//! How much may be under way to one backend: what is beyond fails at once instead of waiting.

use std::sync::atomic::{AtomicU32, Ordering};

/// The bounds of a pool. `u32::MAX` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circuit {
    /// Connections of streams (TCP, TLS, upgraded) at once.
    pub connections: u32,
    /// Requests that wait for a connection to be made.
    pub pending: u32,
    /// Requests in flight.
    pub requests: u32,
    /// Retries in flight.
    pub retries: u32,
    /// Requests in flight to one endpoint.
    pub per_endpoint: u32,
}

impl Default for Circuit {
    fn default() -> Self {
        let none = u32::MAX;
        Self { connections: none, pending: none, requests: none, retries: none, per_endpoint: none }
    }
}

/// What a lease is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A request's first try.
    #[default]
    Request,
    /// Another try of a request.
    Retry,
    /// A connection of a stream.
    Connection,
}

/// Why there is no endpoint for a request. All of them are a 503.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody is there.
    #[error("no endpoint is ready")]
    Empty,
    /// As many connections as may be.
    #[error("the backend has as many connections as its policy allows")]
    Connections,
    /// As many waiting as may be.
    #[error("as many requests wait for a connection to the backend as its policy allows")]
    Pending,
    /// As many requests as may be.
    #[error("the backend has as many requests in flight as its policy allows")]
    Requests,
    /// As many retries as may be.
    #[error("the backend has as many retries in flight as its policy allows")]
    Retries,
    /// Every endpoint has as many as may be.
    #[error("every endpoint has as many requests in flight as its policy allows")]
    Endpoints,
}

impl Refusal {
    /// One word for metrics and logs.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Empty => "no_endpoint",
            Self::Connections => "circuit_connections",
            Self::Pending => "circuit_pending",
            Self::Requests => "circuit_requests",
            Self::Retries => "circuit_retries",
            Self::Endpoints => "circuit_endpoints",
        }
    }
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Gauges {
    pub(super) connections: AtomicU32,
    pub(super) pending: AtomicU32,
    pub(super) requests: AtomicU32,
    pub(super) retries: AtomicU32,
}

impl Gauges {
    /// Takes a place for `kind`, and one of those that wait.
    pub(super) fn enter(&self, kind: Kind, bounds: &Circuit) -> Result<(), Refusal> {
        let places: &[(&AtomicU32, u32, Refusal)] = match kind {
            Kind::Request => &[
                (&self.requests, bounds.requests, Refusal::Requests),
                (&self.pending, bounds.pending, Refusal::Pending),
            ],
            Kind::Retry => &[
                (&self.retries, bounds.retries, Refusal::Retries),
                (&self.requests, bounds.requests, Refusal::Requests),
                (&self.pending, bounds.pending, Refusal::Pending),
            ],
            Kind::Connection => &[
                (&self.connections, bounds.connections, Refusal::Connections),
                (&self.pending, bounds.pending, Refusal::Pending),
            ],
        };
        for (taken, (gauge, bound, refusal)) in places.iter().enumerate() {
            if !take(gauge, *bound) {
                places[..taken].iter().for_each(|(gauge, ..)| give(gauge));
                return Err(*refusal);
            }
        }
        Ok(())
    }

    /// The connection is made: a place of those that wait is free.
    pub(super) fn connected(&self) {
        give(&self.pending);
    }

    /// Gives the place of `kind` back.
    pub(super) fn leave(&self, kind: Kind) {
        match kind {
            Kind::Request => give(&self.requests),
            Kind::Retry => {
                give(&self.retries);
                give(&self.requests);
            }
            Kind::Connection => give(&self.connections),
        }
    }
}

/// Counts one more unless there are `bound` already.
pub(super) fn take(gauge: &AtomicU32, bound: u32) -> bool {
    if gauge.fetch_add(1, Ordering::Relaxed) < bound {
        return true;
    }
    give(gauge);
    false
}

pub(super) fn give(gauge: &AtomicU32) {
    gauge.fetch_sub(1, Ordering::Relaxed);
}
