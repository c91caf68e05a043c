//! Bytes that are not HTTP: TCP, TLS passed on by name or ended here, and UDP.
//!
//! - [`hello`]: the name in the first message of a TLS client;
//! - [`relay`]: a connection between a client and an endpoint, from the choice of the endpoint to
//!   the last byte; [`copy`]: the bytes themselves;
//! - [`udp`]: datagrams, as sessions of their senders.
//!
//! Endpoints are chosen by the engines of [`crate::balance`], so what is known from HTTP of a
//! backend counts here too. Bytes are copied through this process and not spliced: what TLS ends
//! must be, and for the rest a copy is what counting and half-closing cost.

pub mod copy;
pub mod hello;
pub mod relay;
pub mod udp;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// How a stream ended, as logs and metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// Both sides closed.
    Closed,
    /// Nothing was said for too long.
    Idle,
    /// The client's connection broke.
    ClientGone,
    /// The endpoint's connection broke.
    BackendGone,
    /// No endpoint could be connected to.
    ConnectFailed,
    /// No endpoint was there, or as much is under way as may be.
    Refused,
    /// What the client said first was not as it must be.
    BadStart,
    /// Nobody serves the name the client asked for.
    NoRoute,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Closed,
        Self::Idle,
        Self::ClientGone,
        Self::BackendGone,
        Self::ConnectFailed,
        Self::Refused,
        Self::BadStart,
        Self::NoRoute,
    ];

    /// One word.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::ClientGone => "client_gone",
            Self::BackendGone => "backend_gone",
            Self::ConnectFailed => "connect_failed",
            Self::Refused => "refused",
            Self::BadStart => "bad_start",
            Self::NoRoute => "no_route",
        }
    }
}

/// Figures of all streams of a gateway.
#[derive(Debug, Default)]
pub struct Figures {
    /// Open now: streams, and sessions of UDP.
    pub open: AtomicU64,
    /// Ended, by [`End`].
    ended: [AtomicU64; End::ALL.len()],
    /// Bytes from clients.
    pub up: AtomicU64,
    /// Bytes to clients.
    pub down: AtomicU64,
    /// Datagrams that were let fall.
    pub lost: AtomicU64,
}

impl Figures {
    /// Counts an end.
    pub fn end(&self, end: End) {
        self.ended[end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many ended so.
    #[must_use]
    pub fn ended(&self, end: End) -> u64 {
        self.ended[end as usize].load(Ordering::Relaxed)
    }

    /// All figures in the text format of Prometheus.
    ///
    /// # Errors
    /// When `text` takes no more.
    pub fn render(&self, text: &mut impl fmt::Write) -> fmt::Result {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let single = [
            ("knarr_gateway_streams", "gauge", "streams open", &self.open),
            ("knarr_gateway_streams_received_bytes_total", "counter", "bytes of streams from clients", &self.up),
            ("knarr_gateway_streams_sent_bytes_total", "counter", "bytes of streams to clients", &self.down),
            ("knarr_gateway_datagrams_lost_total", "counter", "datagrams that were let fall", &self.lost),
        ];
        for (name, kind, help, figure) in single {
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {}", read(figure))?;
        }
        let name = "knarr_gateway_streams_ended_total";
        writeln!(text, "# HELP {name} streams that ended, by how\n# TYPE {name} counter")?;
        for end in End::ALL {
            writeln!(text, "{name}{{reason=\"{}\"}} {}", end.reason(), self.ended(end))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
