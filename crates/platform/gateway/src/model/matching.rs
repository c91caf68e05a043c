//! Names and requests that something is for.

use std::borrow::Cow;
use std::fmt;

use http::{HeaderName, Method};
use regex::Regex;

/// A host name, or many. Names are lower case, without port and final dot ([`canonical`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// All, and none.
    Any,
    /// This one.
    Exact(String),
    /// All that end with a dot and `suffix`.
    Wildcard {
        /// What follows `*.`.
        suffix: String,
        /// Whether the star stands for several labels (Gateway API), or for one (Ingress).
        deep: bool,
    },
}

impl Host {
    /// Reads a host of an object; the star of `*.a.com` is for several labels when `deep`.
    #[must_use]
    pub fn parse(text: &str, deep: bool) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix("*.") {
            _ if text.is_empty() || text == "*" => Self::Any,
            Some(suffix) => Self::Wildcard { suffix: suffix.to_owned(), deep },
            None => Self::Exact(text),
        }
    }

    /// True when the canonical name `host` is meant.
    #[must_use]
    pub fn takes(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact == host,
            Self::Wildcard { suffix, deep } => {
                let label = host.strip_suffix(suffix.as_str()).and_then(|rest| rest.strip_suffix('.'));
                label.is_some_and(|label| !label.is_empty() && (*deep || !label.contains('.')))
            }
        }
    }

    /// The names that are of both; none when there is no such name.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Any, one) | (one, Self::Any) => Some(one.clone()),
            (Self::Exact(name), many) | (many, Self::Exact(name)) => {
                many.takes(name).then(|| Self::Exact(name.clone()))
            }
            (Self::Wildcard { suffix: one, .. }, Self::Wildcard { suffix: two, .. }) => {
                let within = |long: &str, short: &str| {
                    long == short || long.strip_suffix(short).is_some_and(|rest| rest.ends_with('.'))
                };
                if within(one, two) { Some(self.clone()) } else { within(two, one).then(|| other.clone()) }
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard { suffix, .. } => write!(f, "*.{suffix}"),
        }
    }
}

/// A host as routes know it: lower case, no port, no final dot.
#[must_use]
pub fn canonical(host: &str) -> Cow<'_, str> {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if !name.contains(':') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some((name, port)) if name.ends_with(']') && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// Requests that fulfil all of it.
#[derive(Clone, Debug)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// The method; none is any.
    pub method: Option<Method>,
    /// Headers, all of them.
    pub headers: Vec<Field<HeaderName>>,
    /// Parameters of the query, all of them.
    pub queries: Vec<Field<String>>,
}

impl Match {
    /// All requests for a path.
    #[must_use]
    pub fn path(path: PathMatch) -> Self {
        Self { path, method: None, headers: Vec::new(), queries: Vec::new() }
    }
}

/// A path, or many.
#[derive(Clone, Debug)]
pub enum PathMatch {
    /// This one.
    Exact(String),
    /// This one and all below it, by whole elements.
    Prefix(String),
    /// All that match as a whole (the pattern is anchored by who makes it).
    Pattern(Regex),
}

/// A header or parameter that must be there, and be so.
#[derive(Clone, Debug)]
pub struct Field<N> {
    /// Its name.
    pub name: N,
    /// Its value.
    pub value: TextMatch,
}

/// A text, or many.
#[derive(Clone, Debug)]
pub enum TextMatch {
    /// This one.
    Exact(String),
    /// All that match as a whole (the pattern is anchored by who makes it).
    Pattern(Regex),
}

impl TextMatch {
    /// A pattern that must match all of a text, as Gateway API means `RegularExpression`.
    ///
    /// # Errors
    /// When it is no regular expression of RE2's kind, or too large once compiled.
    pub fn whole(pattern: &str) -> Result<Self, String> {
        whole(pattern).map(Self::Pattern)
    }

    /// True when `text` is meant.
    #[must_use]
    pub fn takes(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == text,
            Self::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

/// Largest compiled pattern: a route must not cost more than this.
const PATTERN_BYTES: usize = 256 << 10;

/// A pattern that must match the whole text.
///
/// # Errors
/// When it is no regular expression, or too large once compiled.
pub fn whole(pattern: &str) -> Result<Regex, String> {
    compile(&format!("^(?:{pattern})$"))
}

/// A pattern as it is, with a bound on its size.
///
/// # Errors
/// When it is no regular expression, or too large once compiled.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    let made = regex::RegexBuilder::new(pattern).size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES).build();
    made.map_err(|error| format!("{pattern:?} is no usable regular expression: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deep(text: &str) -> Host {
        Host::parse(text, true)
    }

    #[test]
    fn a_star_stands_for_one_label_or_for_several() {
        assert!(Host::parse("*.a.com", false).takes("x.a.com") && !Host::parse("*.a.com", false).takes("y.x.a.com"));
        assert!(
            deep("*.a.com").takes("y.x.a.com") && !deep("*.a.com").takes("a.com") && !deep("*.a.com").takes("xa.com")
        );
        assert!(deep("").takes("") && deep("A.com").takes("a.com"));
    }

    #[test]
    fn what_two_hosts_share_is_the_narrower_one() {
        for (one, two, shared) in [
            ("", "a.com", Some("a.com")),
            ("*.a.com", "x.a.com", Some("x.a.com")),
            ("*.a.com", "a.com", None),
            ("*.a.com", "*.x.a.com", Some("*.x.a.com")),
            ("*.a.com", "*.b.com", None),
            ("*.a.com", "*.aa.com", None),
            ("a.com", "b.com", None),
        ] {
            let told = |a: &str, b: &str| deep(a).intersect(&deep(b)).map(|host| host.to_string());
            assert_eq!(told(one, two).as_deref(), shared, "{one} {two}");
            assert_eq!(told(two, one).as_deref(), shared, "{two} {one}");
        }
    }

    #[test]
    fn a_host_loses_port_case_and_final_dot() {
        for (host, name) in [("A.com:80", "a.com"), ("a.com.", "a.com"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]")] {
            assert_eq!(canonical(host), name);
        }
    }

    #[test]
    fn a_pattern_is_for_all_of_a_text_and_has_bounds() {
        let one = TextMatch::whole("a|b+").unwrap();
        assert!(one.takes("a") && one.takes("bb") && !one.takes("ab"));
        assert!(TextMatch::whole("(").is_err() && TextMatch::whole("(a{1000}){1000}").is_err());
    }
}
