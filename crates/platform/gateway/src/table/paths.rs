//! The matches of one host.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method};
use regex::Regex;

use super::Found;
use crate::model::{Field, Match, PathMatch, Rank, Rule};

/// What a request asks for, as matches see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Its path, normalised.
    pub path: &'a str,
    /// Its query, without the question mark.
    pub query: &'a str,
    /// Its method.
    pub method: &'a Method,
    /// Its headers.
    pub headers: &'a HeaderMap,
}

/// The matches of one host.
#[derive(Debug, Default)]
pub(super) struct Paths {
    exact: HashMap<String, Vec<Candidate>>,
    /// Keys without final slashes, so that `/` is the empty key.
    prefix: HashMap<String, Vec<Candidate>>,
    patterns: Vec<(Regex, Candidate)>,
    /// Length of the longest key of `prefix`: longer pieces of a path need no lookup.
    longest: usize,
}

/// What is wanted of a request beyond its path.
#[derive(Debug)]
struct Candidate {
    more: Option<Box<More>>,
    rank: Rank,
    /// In the order they were added.
    order: usize,
    rule: Arc<Rule>,
}

#[derive(Debug)]
struct More {
    method: Option<Method>,
    headers: Vec<Field<HeaderName>>,
    queries: Vec<Field<String>>,
}

impl Candidate {
    /// What comes first.
    fn precedence(&self) -> (Reverse<(bool, usize, usize)>, &Rank, usize) {
        let more = self.more.as_ref();
        let wants = more.map(|more| (more.method.is_some(), more.headers.len(), more.queries.len()));
        (Reverse(wants.unwrap_or_default()), &self.rank, self.order)
    }

    fn takes(&self, asked: &Asked<'_>) -> bool {
        let Some(more) = &self.more else { return true };
        more.method.as_ref().is_none_or(|method| method == asked.method)
            && more.headers.iter().all(|field| header_fits(asked.headers, field))
            && more.queries.iter().all(|field| query_fits(asked.query, field))
    }
}

/// Several lines of a header count as one, joined by commas (RFC 9110 5.3).
fn header_fits(headers: &HeaderMap, field: &Field<HeaderName>) -> bool {
    let mut lines = headers.get_all(&field.name).iter().filter_map(|value| value.to_str().ok());
    let Some(first) = lines.next() else { return false };
    match lines.next() {
        None => field.value.takes(first),
        Some(second) => {
            let joined: Vec<&str> = [first, second].into_iter().chain(lines).collect();
            field.value.takes(&joined.join(","))
        }
    }
}

/// Of several parameters of one name the first counts.
fn query_fits(query: &str, field: &Field<String>) -> bool {
    let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.find(|(name, _)| decoded(name) == field.name).is_some_and(|(_, value)| field.value.takes(&decoded(value)))
}

fn decoded(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains(['%', '+']) {
        let spaced = text.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned().into()
    } else {
        text.into()
    }
}

impl Paths {
    pub(super) fn add(&mut self, wanted: &Match, rank: &Rank, rule: &Arc<Rule>) {
        let plain = wanted.method.is_none() && wanted.headers.is_empty() && wanted.queries.is_empty();
        let more = (!plain).then(|| {
            Box::new(More {
                method: wanted.method.clone(),
                headers: wanted.headers.clone(),
                queries: wanted.queries.clone(),
            })
        });
        let order = self.patterns.len();
        let candidate = |order| Candidate { more, rank: rank.clone(), order, rule: Arc::clone(rule) };
        match &wanted.path {
            PathMatch::Exact(path) => {
                let all = self.exact.entry(path.clone()).or_default();
                all.push(candidate(all.len()));
            }
            PathMatch::Prefix(path) => {
                let path = path.trim_end_matches('/');
                self.longest = self.longest.max(path.len());
                let all = self.prefix.entry(path.to_owned()).or_default();
                all.push(candidate(all.len()));
            }
            PathMatch::Pattern(pattern) => self.patterns.push((pattern.clone(), candidate(order))),
        }
    }

    /// Brings candidates in the order they are asked.
    pub(super) fn settle(&mut self) {
        for all in self.exact.values_mut().chain(self.prefix.values_mut()) {
            all.sort_by(|one, two| one.precedence().cmp(&two.precedence()));
            all.shrink_to_fit();
        }
        self.patterns.sort_by(|(pattern, one), (other, two)| {
            let length = |pattern: &Regex| Reverse(pattern.as_str().len());
            (length(pattern), one.precedence()).cmp(&(length(other), two.precedence()))
        });
    }

    pub(super) fn find(&self, asked: &Asked<'_>) -> Option<Found<'_>> {
        if let Some(found) = self.exact.get(asked.path).and_then(|all| first(all, asked, asked.path.len())) {
            return Some(found);
        }
        for (pattern, candidate) in &self.patterns {
            if pattern.is_match(asked.path) && candidate.takes(asked) {
                return Some(Found { rule: &candidate.rule, matched: asked.path.len() });
            }
        }
        let mut rest = asked.path;
        loop {
            if rest.len() <= self.longest
                && let Some(found) = self.prefix.get(rest).and_then(|all| first(all, asked, rest.len()))
            {
                return Some(found);
            }
            rest = &rest[..rest.rfind('/')?];
        }
    }
}

fn first<'a>(all: &'a [Candidate], asked: &Asked<'_>, matched: usize) -> Option<Found<'a>> {
    all.iter().find(|candidate| candidate.takes(asked)).map(|candidate| Found { rule: &candidate.rule, matched })
}
