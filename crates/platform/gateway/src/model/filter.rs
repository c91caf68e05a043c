//! Changes to a request or its answer on the way.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, StatusCode};
use regex::Regex;

use super::Backend;

/// One change, or one answer in place of a backend's.
#[derive(Clone, Debug)]
pub enum Filter {
    /// Changes headers of the request.
    Request(HeaderEdit),
    /// Changes headers of the answer.
    Response(HeaderEdit),
    /// Answers with another place.
    Redirect(Redirect),
    /// Asks the backend for another place.
    Rewrite(Rewrite),
    /// Sends a copy elsewhere, whose answer nobody sees.
    Mirror(Mirror),
    /// Answers preflight requests, and marks answers for browsers.
    Cors(Arc<Cors>),
    /// Lets nobody pass whom the guard does not know.
    Guard(Arc<identity::Guard>),
    /// Answers with a status and a text: what stands where a rule cannot be obeyed.
    Answer(StatusCode, Arc<str>),
}

/// Changes to headers: set replaces, add appends, in this order; then remove.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderEdit {
    /// Replaced.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Appended.
    pub add: Vec<(HeaderName, HeaderValue)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

/// Where a client is sent.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// `http` or `https`; none is as the request came.
    pub scheme: Option<&'static str>,
    /// None is the request's.
    pub host: Option<String>,
    /// None is the usual port of the scheme when there is a new scheme, else the listener's.
    pub port: Option<u16>,
    /// None is the request's.
    pub path: Option<PathEdit>,
    /// Whether the request's query follows; it does not when `path` is a whole URL's.
    pub keep_query: bool,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

/// Where a backend is asked.
#[derive(Clone, Debug, Default)]
pub struct Rewrite {
    /// The `Host` it sees.
    pub host: Option<HeaderValue>,
    /// The path it sees.
    pub path: Option<PathEdit>,
}

/// A change of a path.
#[derive(Clone, Debug)]
pub enum PathEdit {
    /// All of it.
    Full(String),
    /// What the match's prefix matched.
    Prefix(String),
    /// What the pattern matches; `$1` stands for what its first group took, and so on (ingress-nginx).
    Pattern(Arc<Regex>, String),
}

impl PathEdit {
    /// `path` changed; `matched` is the length of what the match's prefix matched, without a final slash.
    #[must_use]
    pub fn apply(&self, path: &str, matched: usize) -> String {
        match self {
            Self::Full(full) => full.clone(),
            Self::Prefix(prefix) => {
                let rest = path.get(matched..).unwrap_or_default().trim_start_matches('/');
                let prefix = prefix.trim_end_matches('/');
                // "/foo" of "/foo" becomes "/xyz", "/foo/" becomes "/xyz/" (HTTPPathModifier's table).
                match (rest.is_empty(), path.len() > matched) {
                    (true, false) if prefix.is_empty() => "/".to_owned(),
                    (true, false) => prefix.to_owned(),
                    (true, true) => format!("{prefix}/"),
                    (false, _) => format!("{prefix}/{rest}"),
                }
            }
            Self::Pattern(pattern, to) => {
                let Some(groups) = pattern.captures(path) else { return path.to_owned() };
                let mut changed = String::new();
                groups.expand(to, &mut changed);
                if changed.starts_with('/') { changed } else { format!("/{changed}") }
            }
        }
    }
}

/// Who gets a copy of a request.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Where to.
    pub backend: Arc<Backend>,
    /// Of `out_of` requests, this many.
    pub share: u32,
    /// See `share`; never zero.
    pub out_of: u32,
}

/// What browsers are told of other origins (the Fetch standard; GEP-1767).
#[derive(Clone, Debug, Default)]
pub struct Cors {
    /// Who may ask.
    pub origins: Vec<AllowOrigin>,
    /// With which methods; empty with `any_method`.
    pub methods: Vec<Method>,
    /// `*`.
    pub any_method: bool,
    /// With which headers.
    pub headers: Vec<HeaderName>,
    /// `*`.
    pub any_header: bool,
    /// Which headers of the answer they see.
    pub expose: Vec<HeaderName>,
    /// `*`.
    pub expose_any: bool,
    /// Whether they may send cookies.
    pub credentials: bool,
    /// How long the answer may be kept.
    pub max_age: Option<Duration>,
}

/// An origin, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowOrigin {
    /// `*`.
    Any,
    /// `https://a.example`, with its port if it is not the usual.
    Exact(String),
    /// Scheme, host behind the star (`.example.com`), and port (with colon) or nothing.
    Wildcard(String, String, String),
}

impl AllowOrigin {
    /// Reads `*`, `https://a.example:8443` or `https://*.example`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text == "*" {
            return Self::Any;
        }
        match text.split_once("://*") {
            Some((scheme, rest)) => {
                let (host, port) = rest.rsplit_once(':').map_or((rest, String::new()), |(h, p)| (h, format!(":{p}")));
                Self::Wildcard(scheme.to_ascii_lowercase(), host.to_ascii_lowercase(), port)
            }
            None => Self::Exact(text.to_ascii_lowercase()),
        }
    }

    /// True when `origin` is meant.
    #[must_use]
    pub fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.eq_ignore_ascii_case(origin),
            Self::Wildcard(scheme, suffix, port) => {
                let origin = origin.to_ascii_lowercase();
                let rest = origin.strip_prefix(scheme.as_str()).and_then(|rest| rest.strip_prefix("://"));
                let host = rest.and_then(|rest| rest.strip_suffix(port.as_str()));
                let label = host.and_then(|host| host.strip_suffix(suffix.as_str()));
                label.is_some_and(|label| !label.is_empty() && !label.contains([':', '/']))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_replaced_as_the_table_of_the_api_says() {
        for (path, matched, to, becomes) in [
            ("/foo/bar", 4, "/xyz", "/xyz/bar"),
            ("/foo/bar", 4, "/xyz/", "/xyz/bar"),
            ("/foo", 4, "/xyz", "/xyz"),
            ("/foo/", 4, "/xyz", "/xyz/"),
            ("/foo/bar", 4, "", "/bar"),
            ("/foo/", 4, "", "/"),
            ("/foo", 4, "", "/"),
            ("/foo/", 4, "/", "/"),
            ("/foo", 4, "/", "/"),
            ("/", 0, "/xyz", "/xyz/"),
            ("/a", 0, "/xyz", "/xyz/a"),
        ] {
            assert_eq!(PathEdit::Prefix(to.to_owned()).apply(path, matched), becomes, "{path} by {to}");
        }
    }

    #[test]
    fn a_pattern_puts_its_groups_where_the_target_names_them() {
        let edit = PathEdit::Pattern(Arc::new(Regex::new("(?i)^/api(/|$)(.*)").unwrap()), "/${2}".to_owned());
        assert_eq!(edit.apply("/api/v1/x", 0), "/v1/x");
        assert_eq!(edit.apply("/api", 0), "/");
        assert_eq!(edit.apply("/other", 0), "/other");
    }

    #[test]
    fn an_origin_is_allowed_whole_or_by_a_star_for_its_first_labels() {
        let star = AllowOrigin::parse("https://*.a.com:8443");
        for (origin, allowed) in [
            ("https://x.a.com:8443", true),
            ("https://x.y.a.com:8443", true),
            ("https://x.a.com", false),
            ("http://x.a.com:8443", false),
            ("https://a.com:8443", false),
            ("https://.a.com:8443", false),
            ("https://evil.com/x.a.com:8443", false),
        ] {
            assert_eq!(star.allows(origin), allowed, "{origin}");
        }
        assert!(AllowOrigin::parse("https://A.com").allows("https://a.com"));
        assert!(!AllowOrigin::parse("https://a.com").allows("https://a.com.evil"));
        assert!(AllowOrigin::parse("*").allows("null"));
    }
}
