//! What may be said about choosing endpoints.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

use super::Circuit;

/// How the endpoint of a request is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// One after the other, as often as their weights say.
    #[default]
    RoundRobin,
    /// Of two taken at random the one with less to do for its weight.
    LeastRequests,
    /// At random, by weight.
    Random,
    /// The same for the same key, as long as it is there; what has no key goes at random.
    RingHash(Source),
}

/// Where the key of a consistent choice comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The value of a header.
    Header(HeaderName),
    /// The value of a cookie.
    Cookie(String),
    /// The address of the client.
    Client,
    /// Path and query.
    Uri,
}

impl Source {
    /// The key of a request, as the ring knows it; none when the request does not have it.
    #[must_use]
    pub fn key(&self, headers: &HeaderMap, uri: &str, client: Option<IpAddr>) -> Option<u64> {
        match self {
            Self::Header(name) => headers.get(name).map(|value| super::hash(value.as_bytes())),
            Self::Cookie(name) => cookie(headers, name).map(|value| super::hash(value.as_bytes())),
            Self::Client => client.map(|client| match client.to_canonical() {
                IpAddr::V4(address) => super::hash(&address.octets()),
                IpAddr::V6(address) => super::hash(&address.octets()),
            }),
            Self::Uri => Some(super::hash(uri.as_bytes())),
        }
    }
}

/// The value of the first cookie called `name`.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(known, _)| *known == name).map(|(_, value)| value.trim_matches('"'))
}

/// New endpoints get less at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowStart {
    /// How long an endpoint is new.
    pub window: Duration,
    /// What it gets at first, in percent of its weight.
    pub least_percent: u8,
}

/// When an endpoint that answers badly is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Answers 5xx in a row, failures to answer among them; never when 0.
    pub server_errors: u32,
    /// Answers 502, 503 or 504 in a row, failures to answer among them; never when 0.
    pub gateway_errors: u32,
    /// Failures to connect in a row; never when 0.
    pub connect_failures: u32,
    /// How long the first time; each time doubles it, each time span without one halves it.
    pub base: Duration,
    /// How long at most.
    pub longest: Duration,
    /// How many of the endpoints at most, in percent.
    pub most_percent: u8,
}

impl Default for Outlier {
    /// Without a policy only what cannot be connected to is left alone, and shortly.
    fn default() -> Self {
        Self {
            server_errors: 0,
            gateway_errors: 0,
            connect_failures: 1,
            base: Duration::from_secs(3),
            longest: Duration::from_secs(30),
            most_percent: 100,
        }
    }
}

/// All of it, for one pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// How endpoints are chosen.
    pub algorithm: Algorithm,
    /// Whether new ones get less at first.
    pub slow_start: Option<SlowStart>,
    /// When one is left alone.
    pub outlier: Outlier,
    /// When fewer than this share (percent) of the endpoints are well, all are used: the few would
    /// only fall as well. Nobody is ejected beyond it.
    pub panic_percent: u8,
    /// Endpoints that EndpointSlices hint at for our zone are preferred.
    pub prefer_zone: bool,
    /// How much may be under way.
    pub circuit: Circuit,
    /// What is asked of every endpoint from time to time.
    pub health: Option<super::health::Check>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_the_source_names_and_nothing_when_the_request_lacks_it() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; session=\"x y\"".parse().unwrap());
        headers.append(header::COOKIE, "session=second".parse().unwrap());
        headers.insert("x-user", "ann".parse().unwrap());
        let client = "::ffff:10.0.0.1".parse().ok();
        let key = |source: Source| source.key(&headers, "/a?b", client);
        assert_eq!(cookie(&headers, "session"), Some("x y"));
        assert_eq!(key(Source::Cookie("session".to_owned())), Some(crate::balance::hash(b"x y")));
        assert_eq!(key(Source::Cookie("sess".to_owned())), None);
        assert_eq!(key(Source::Header(HeaderName::from_static("x-user"))), Some(crate::balance::hash(b"ann")));
        assert_eq!(key(Source::Client), Some(crate::balance::hash(&[10, 0, 0, 1])));
        assert_eq!(key(Source::Uri), Some(crate::balance::hash(b"/a?b")));
    }
}
