//! What is refused before anything else looks at a request: sizes, methods, paths, networks, agents.
//!
//! Not a filter for attacks by signature: rules here say what a route is for and from where, and
//! everything else is turned away. The first rule that a request matches decides; what no rule
//! matches passes. A rule in [`Mode::Report`] decides nothing and is told of. Invariant: a rule
//! about paths sees what a backend may make of a path ([`path::strict`]), so that no spelling of a
//! path gets round it.

mod nets;
pub mod path;

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, StatusCode, header};
use regex::Regex;

pub use nets::{NetFault, Nets, net};

/// What of a request is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path, normalised ([`path::normalise`]).
    pub path: &'a str,
    /// Bytes of path and query.
    pub target_bytes: usize,
    /// Its header.
    pub headers: &'a HeaderMap,
    /// Where it comes from.
    pub client: Option<IpAddr>,
}

/// Sizes; none is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Header fields.
    pub headers: Option<u32>,
    /// Bytes of all names and values of the header.
    pub header_bytes: Option<u32>,
    /// Bytes of path and query.
    pub target_bytes: Option<u32>,
    /// Bytes of the body.
    pub body_bytes: Option<u64>,
}

/// What follows when a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It passes, whatever comes after says.
    Allow,
    /// It is refused with this status.
    Deny(StatusCode),
}

/// Whether what is found counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// It does.
    #[default]
    Enforce,
    /// It is only told.
    Report,
}

/// A condition on the path.
#[derive(Clone, Debug)]
pub enum PathRule {
    /// All of it.
    Exact(String),
    /// It or what is below.
    Prefix(String),
    /// All of it, as a pattern.
    Regex(Regex),
}

/// One rule; a condition that is empty holds for every request, of a list any member must hold.
#[derive(Clone, Debug)]
pub struct Rule {
    /// For metrics and logs.
    pub name: Arc<str>,
    /// What follows.
    pub action: Action,
    /// Whether it does.
    pub mode: Mode,
    /// Methods.
    pub methods: Vec<Method>,
    /// Paths.
    pub paths: Vec<PathRule>,
    /// Networks the client is of.
    pub clients: Option<Arc<Nets>>,
    /// Networks the client is not of.
    pub clients_outside: Option<Arc<Nets>>,
    /// Patterns of which one is found in `User-Agent`; a request without one has an empty one.
    pub agents: Vec<Regex>,
}

/// All rules of a policy.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Sizes.
    pub bounds: Bounds,
    /// Whether sizes count.
    pub mode: Mode,
    /// In this order.
    pub rules: Vec<Rule>,
}

/// Something found wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The status that tells it.
    pub status: StatusCode,
    /// The name of the rule, or the size that is exceeded; what metrics and logs say.
    pub rule: Arc<str>,
    /// False when it is only told.
    pub enforced: bool,
}

impl Rules {
    /// What is wrong with a request: findings that are only told, then at most one that counts.
    #[must_use]
    pub fn judge(&self, facts: &Facts<'_>) -> Vec<Finding> {
        let mut findings = Vec::new(); // allocates only when there is something
        for (exceeded, status, name) in self.sizes(facts) {
            if exceeded {
                let enforced = self.mode == Mode::Enforce;
                findings.push(Finding { status, rule: name.into(), enforced });
                if enforced {
                    return findings;
                }
            }
        }
        let strict =
            if self.rules.iter().any(|rule| !rule.paths.is_empty()) { path::strict(facts.path) } else { "".into() };
        for rule in &self.rules {
            if !rule.matches(facts, &strict) {
                continue;
            }
            match (rule.action, rule.mode) {
                (Action::Allow, Mode::Enforce) => return findings,
                (Action::Allow, Mode::Report) => {}
                (Action::Deny(status), mode) => {
                    let enforced = mode == Mode::Enforce;
                    findings.push(Finding { status, rule: Arc::clone(&rule.name), enforced });
                    if enforced {
                        return findings;
                    }
                }
            }
        }
        findings
    }

    /// Bytes of a body, when that is bounded and counts.
    #[must_use]
    pub fn body_limit(&self) -> Option<u64> {
        self.bounds.body_bytes.filter(|_| self.mode == Mode::Enforce)
    }

    fn sizes(&self, facts: &Facts<'_>) -> [(bool, StatusCode, &'static str); 4] {
        let Bounds { headers, header_bytes, target_bytes, body_bytes } = self.bounds;
        let over = |bound: Option<u32>, size: &dyn Fn() -> usize| bound.is_some_and(|bound| size() > bound as usize);
        let bytes = || facts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
        let told = facts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let fields = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        [
            (over(target_bytes, &|| facts.target_bytes), StatusCode::URI_TOO_LONG, "target_bytes"),
            (over(headers, &|| facts.headers.len()), fields, "headers"),
            (over(header_bytes, &bytes), fields, "header_bytes"),
            (body_bytes.is_some_and(|bound| told > Some(bound)), StatusCode::PAYLOAD_TOO_LARGE, "body_bytes"),
        ]
    }
}

impl Rule {
    fn matches(&self, facts: &Facts<'_>, strict: &str) -> bool {
        let agent = || facts.headers.get(header::USER_AGENT).map_or(&b""[..], |value| value.as_bytes());
        (self.methods.is_empty() || self.methods.contains(facts.method))
            && (self.paths.is_empty() || self.paths.iter().any(|rule| rule.any(self.action, facts.path, strict)))
            && self.clients.as_ref().is_none_or(|nets| facts.client.is_some_and(|client| nets.contains(client)))
            && self
                .clients_outside
                .as_ref()
                .is_none_or(|nets| !facts.client.is_some_and(|client| nets.contains(client)))
            && (self.agents.is_empty() || {
                let agent = String::from_utf8_lossy(agent());
                self.agents.iter().any(|pattern| pattern.is_match(&agent))
            })
    }
}

impl PathRule {
    /// A refusal needs one reading of the path that matches, a permission needs both.
    fn any(&self, action: Action, path: &str, strict: &str) -> bool {
        match action {
            Action::Deny(_) => self.matches(path) || self.matches(strict),
            Action::Allow => self.matches(path) && self.matches(strict),
        }
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Prefix(prefix) => {
                let prefix = prefix.trim_end_matches('/');
                path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            Self::Regex(pattern) => {
                pattern.find(path).is_some_and(|found| found.start() == 0 && found.end() == path.len())
            }
        }
    }
}

#[cfg(test)]
mod tests;
