//! The model as a lookup: which rule a request of a socket is for.
//!
//! Of all matches of a listener the most specific wins, as HTTPRoute says: an exact host before a
//! wildcard (the longer first) before none; then an exact path, a pattern (the longer first), the
//! longest prefix; then with a method before without; then more headers; then more parameters; then
//! the older object; then its name; then the order in it. A lookup costs a few hashes and what the
//! path is long, whatever the number of routes is. Invariant: no I/O, no clock; a table never
//! changes after it was built.

mod hosts;
mod paths;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::{Arc, OnceLock};

use rustls::ServerConfig;

use crate::certificates::Greeter;
use crate::model::{Listener, Offer, Rule, Serves, Source, StreamRoute, Tls};
use hosts::Hosts;
pub use paths::Asked;
use paths::Paths;

/// Everything of one socket.
#[derive(Debug, Default)]
pub struct Door {
    /// Listeners that keep their hosts to themselves.
    isolated: Hosts<Entrance>,
    /// Asked when no listener above has the host: Ingress.
    open: Option<Entrance>,
    /// Some listener passes TLS on.
    passthrough: bool,
}

/// All listeners of a socket that have the same host.
#[derive(Debug)]
pub struct Entrance {
    /// The first listener's object.
    pub source: Arc<Source>,
    /// What happens to TLS.
    pub tls: Tls,
    routes: Hosts<Paths>,
    streams: Hosts<StreamRoute>,
    /// Made with the first handshake.
    config: OnceLock<Arc<ServerConfig>>,
}

/// A rule that a request is for.
#[derive(Clone, Copy, Debug)]
pub struct Found<'a> {
    /// The rule.
    pub rule: &'a Arc<Rule>,
    /// Length of what the match's prefix matched, without a final slash; all of the path for other matches.
    pub matched: usize,
}

/// Why there is no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Nobody serves the host.
    Host,
    /// Nobody serves this of the host.
    Path,
    /// The TLS connection was made for a name of another listener (RFC 9110, 421).
    Misdirected,
}

impl Door {
    /// The door of `listeners`, the first of which count most.
    #[must_use]
    pub fn build(listeners: &[Listener]) -> Self {
        let passthrough = listeners.iter().any(|listener| matches!(listener.tls, Tls::Passthrough));
        let mut door = Self { passthrough, ..Self::default() };
        for listener in listeners {
            let entrance = if listener.isolated {
                door.isolated.slot(&listener.host).get_or_insert_with(|| Entrance::new(listener))
            } else {
                door.open.get_or_insert_with(|| Entrance::new(listener))
            };
            entrance.add(listener);
        }
        door.isolated.each(Entrance::settle);
        door.open.iter_mut().for_each(Entrance::settle);
        door
    }

    /// The entrance for a TLS client that asks for the canonical name `host` (empty when it names none).
    #[must_use]
    pub fn entrance(&self, host: &str) -> Option<&Entrance> {
        self.isolated.find(host, Some).or(self.open.as_ref())
    }

    /// The rule for a request for the canonical name `host`; `greeted` is the name the TLS client asked for.
    ///
    /// # Errors
    /// Why there is none.
    pub fn find(&self, host: &str, greeted: Option<&str>, asked: &Asked<'_>) -> Result<Found<'_>, Miss> {
        let mine = self.isolated.find(host, Some);
        if let Some(name) = greeted.filter(|name| *name != host) {
            let theirs = self.isolated.find(name, Some);
            let same = match (mine, theirs) {
                (Some(mine), Some(theirs)) => std::ptr::eq(mine, theirs),
                (None, None) => true,
                _ => false,
            };
            if !same {
                return Err(Miss::Misdirected);
            }
        }
        let found = mine.or(self.open.as_ref()).ok_or(Miss::Host)?;
        found.find(host, asked)
    }

    /// True when connections begin with a TLS handshake.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        let tls = |entrance: &Entrance| !matches!(entrance.tls, Tls::None);
        self.open.as_ref().or_else(|| self.isolated.some()).is_some_and(tls)
    }

    /// True when TLS of some names is passed on.
    #[must_use]
    pub fn has_passthrough(&self) -> bool {
        self.passthrough
    }

    /// True when there is nothing here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.isolated.is_empty() && self.open.is_none()
    }

    /// The route of a stream whose TLS client asks for `host`.
    #[must_use]
    pub fn stream(&self, host: &str) -> Option<&StreamRoute> {
        self.entrance(host)?.stream(host)
    }
}

impl Entrance {
    fn new(listener: &Listener) -> Self {
        Self {
            source: Arc::clone(&listener.source),
            tls: listener.tls.clone(),
            routes: Hosts::default(),
            streams: Hosts::default(),
            config: OnceLock::new(),
        }
    }

    fn add(&mut self, listener: &Listener) {
        match &listener.serves {
            Serves::Http(routes) => {
                for route in routes {
                    for host in &route.hosts {
                        let paths = self.routes.slot(host).get_or_insert_default();
                        for wanted in &route.matches {
                            paths.add(wanted, &route.rank, &route.rule);
                        }
                    }
                }
            }
            Serves::Streams(routes) => {
                for route in routes {
                    for host in &route.hosts {
                        let slot = self.streams.slot(host);
                        if slot.as_ref().is_none_or(|known| route.rank < known.rank) {
                            *slot = Some(route.clone());
                        }
                    }
                }
            }
        }
    }

    fn settle(&mut self) {
        self.routes.each(Paths::settle);
    }

    fn find(&self, host: &str, asked: &Asked<'_>) -> Result<Found<'_>, Miss> {
        let mut served = false;
        let found = self.routes.find(host, |paths| {
            served = true;
            paths.find(asked)
        });
        found.ok_or(if served { Miss::Path } else { Miss::Host })
    }

    /// The route of a stream whose TLS client asks for `host`.
    #[must_use]
    pub fn stream(&self, host: &str) -> Option<&StreamRoute> {
        self.streams.find(host, Some)
    }

    /// The settings for TLS clients.
    ///
    /// # Errors
    /// When TLS does not end here, or the settings cannot be used.
    pub fn config(&self, greeter: &Greeter) -> io::Result<Arc<ServerConfig>> {
        if let Some(config) = self.config.get() {
            return Ok(Arc::clone(config));
        }
        let offer = self.offer().ok_or_else(|| io::Error::other("TLS does not end at this listener"))?;
        let made = greeter.config(offer).map_err(io::Error::other)?;
        Ok(Arc::clone(self.config.get_or_init(|| made)))
    }

    /// What TLS clients are shown; none when TLS does not end here.
    #[must_use]
    pub fn offer(&self) -> Option<&Arc<Offer>> {
        match &self.tls {
            Tls::Terminate(offer) => Some(offer),
            _ => None,
        }
    }
}
