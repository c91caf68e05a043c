//! A request as the gateway sees it, and what the gateway is to do with it.

use std::net::IpAddr;

use bytes::Bytes;
use http::header::{COOKIE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Response};
use rustls::pki_types::CertificateDer;

use crate::cookies;

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a Method,
    /// `http` or `https`, as the client spoke it.
    pub scheme: &'a str,
    /// The host the client asked for, with its port if it named one.
    pub host: &'a str,
    /// Path and query.
    pub target: &'a str,
    pub headers: &'a HeaderMap,
    /// The client's address (behind a trusted proxy: the one that proxy told).
    pub client: IpAddr,
    /// The certificates the client showed, its own first; none if it showed none.
    pub certificate: Option<&'a [CertificateDer<'static>]>,
    /// The body, up to [`Guard::body_limit`](crate::Guard::body_limit); none if the policy asked for none.
    pub body: Option<&'a Bytes>,
}

impl<'a> Asked<'a> {
    /// The path without its query.
    pub(crate) fn path(&self) -> &'a str {
        self.target.split_once('?').map_or(self.target, |(path, _)| path)
    }

    /// The query without its question mark; empty if there is none.
    pub(crate) fn query(&self) -> &'a str {
        self.target.split_once('?').map_or("", |(_, query)| query)
    }

    /// The value of a parameter of the query, the first of its name.
    pub(crate) fn parameter(&self, name: &str) -> Option<String> {
        let mut pairs = form_urlencoded::parse(self.query().as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// The text of a header; none if it is not there or no text.
    pub(crate) fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// `https://host`, of what was asked for; none if the host is none a link may be made of.
    pub(crate) fn origin(&self) -> Option<String> {
        let authority: http::uri::Authority = self.host.parse().ok()?;
        let plain = !self.host.contains(['@', '\\']) && !authority.host().is_empty();
        plain.then(|| format!("{}://{}", self.scheme, authority.as_str().to_ascii_lowercase()))
    }

    /// Whether a person in front of a browser waits for a page, rather than a program for an answer.
    pub(crate) fn is_navigation(&self) -> bool {
        let program = self.header("x-requested-with").is_some()
            || self.header("sec-fetch-mode").is_some_and(|mode| mode != "navigate");
        let html = self.header("accept").is_some_and(|accept| accept.to_ascii_lowercase().contains("text/html"));
        html && !program && matches!(*self.method, Method::GET | Method::HEAD)
    }
}

/// What is to happen with a request.
#[derive(Debug)]
pub enum Verdict {
    /// It goes to the backend.
    Pass(Pass),
    /// It is answered with this.
    Answer(Response<Bytes>),
}

/// What is changed about a request that passes: first `remove`, then `set`, on what goes to the backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pass {
    /// In place of all headers of the same name.
    pub set: Vec<(HeaderName, HeaderValue)>,
    pub remove: Vec<HeaderName>,
    /// Added to the answer the client gets, beside what is there (`Set-Cookie`).
    pub respond: Vec<(HeaderName, HeaderValue)>,
    /// A new path and query for the backend.
    pub target: Option<String>,
    /// Who it is, for access logs.
    pub who: Option<String>,
    /// Cookies that the backend does not get, with their parts (`name`, `name.1`).
    pub(crate) hidden_cookies: Vec<String>,
    /// Parameters of the query that the backend does not get.
    pub(crate) hidden_parameters: Vec<String>,
}

impl Pass {
    /// Takes over what another part of the policy says; what it sets counts more.
    pub(crate) fn merge(&mut self, other: Self) {
        self.set.retain(|(name, _)| other.set.iter().all(|(newer, _)| newer != name));
        self.set.extend(other.set);
        self.remove.extend(other.remove);
        self.respond.extend(other.respond);
        self.target = other.target.or(self.target.take());
        self.hidden_cookies.extend(other.hidden_cookies);
        self.hidden_parameters.extend(other.hidden_parameters);
        self.who = self.who.take().or(other.who);
    }

    /// Says in headers and target what is hidden from the backend.
    pub(crate) fn hide(&mut self, asked: &Asked<'_>) {
        let hidden = |name: &str| {
            let is_part = |cookie: &String| {
                name.strip_prefix(cookie.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            self.hidden_cookies.iter().any(is_part)
        };
        if cookies::pairs(asked.headers).any(|(name, _)| hidden(name)) {
            let kept = cookies::except(asked.headers, hidden);
            self.remove.push(COOKIE);
            self.set.extend(kept.map(|kept| (COOKIE, kept)));
        }
        let named = |pair: &str| {
            let key = form_urlencoded::parse(pair.as_bytes()).next().map(|(key, _)| key.into_owned());
            key.is_some_and(|key| self.hidden_parameters.contains(&key))
        };
        let target = self.target.as_deref().unwrap_or(asked.target);
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        if query.split('&').any(named) {
            let kept: Vec<&str> = query.split('&').filter(|pair| !named(pair)).collect();
            let mark = if kept.is_empty() { "" } else { "?" };
            self.target = Some(format!("{path}{mark}{}", kept.join("&")));
        }
    }

    /// The headers that a backend gets.
    pub(crate) fn applied(&self, headers: &HeaderMap) -> HeaderMap {
        let mut applied = headers.clone();
        for name in &self.remove {
            applied.remove(name);
        }
        for (name, value) in &self.set {
            applied.insert(name.clone(), value.clone());
        }
        applied
    }
}

/// A header name as servers see it that turn dashes and underscores into the same variable.
pub(crate) fn plain_name(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use crate::tests::ask;

    #[test]
    fn programs_are_told_from_people() {
        let cases: &[(&[(&str, &str)], bool)] = &[
            (&[("accept", "text/html,application/xhtml+xml")], true),
            (&[("accept", "TEXT/HTML"), ("sec-fetch-mode", "navigate")], true),
            (&[("accept", "*/*")], false),
            (&[], false),
            (&[("accept", "application/json")], false),
            (&[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")], false),
            (&[("accept", "text/html"), ("sec-fetch-mode", "cors")], false),
        ];
        for (headers, expected) in cases {
            let request = ask("GET", "https://a.example/", headers);
            assert_eq!(request.asked().is_navigation(), *expected, "{headers:?}");
        }
        assert!(!ask("POST", "https://a.example/", &[("accept", "text/html")]).asked().is_navigation());
    }

    #[test]
    fn a_host_that_is_none_makes_no_link() {
        for (host, expected) in [
            ("a.example", Some("https://a.example")),
            ("A.Example:8443", Some("https://a.example:8443")),
            ("[::1]:1", Some("https://[::1]:1")),
            ("a@evil", None),
            ("a\\evil", None),
            ("a/evil", None),
            ("a evil", None),
            ("", None),
        ] {
            let mut request = ask("GET", "https://a.example/", &[]);
            request.host = host.to_owned();
            assert_eq!(request.asked().origin().as_deref(), expected, "{host}");
        }
    }
}
