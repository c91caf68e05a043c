//! From the rules of a route to the model.
//!
//! A rule that cannot be obeyed as it stands answers 500 rather than do half of it; when no rule of a route can be obeyed the
//! route is not accepted, else it is partially invalid (GEP-1364). A backend that leads nowhere answers 500 for its share.

mod filters;
mod grpc;
mod http;
mod settings;
mod streams;

use std::sync::Arc;

use ::http::StatusCode;
use base::Key;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub(crate) use streams::streams;

use super::backends::Resolver;
use super::kinds::{BackendFilters, BackendRef, GrpcRoute, HttpRoute};
use super::listeners::RouteKind;
use super::references::Refusal;
use super::world::key;
use crate::model::{Filter, Match, Rank, Rule, Share, Source, Split, Target};

/// The rules of an HTTPRoute or GRPCRoute.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// What each rule is for, and what it does.
    pub(crate) rules: Vec<(Vec<Match>, Rank, Arc<Rule>)>,
    /// Why rules cannot be obeyed.
    pub(crate) faults: Vec<Refusal>,
}

impl Made {
    /// Why no rule can be obeyed.
    pub(crate) fn refused(&self) -> Option<&Refusal> {
        self.faults.first().filter(|_| self.faults.len() >= self.rules.len().max(1))
    }

    /// Why some cannot.
    pub(crate) fn partial(&self) -> Option<&Refusal> {
        self.faults.first().filter(|_| self.refused().is_none())
    }

    /// Adds a rule as it is, or one that says why not.
    fn add(&mut self, rank: Rank, source: Source, matches: Vec<Match>, made: Result<Rule, Refusal>) {
        let rule = made.unwrap_or_else(|refusal| {
            let mut rule = Rule::new(Arc::new(source), Split::default());
            let text = format!("{}\n", refusal.message);
            rule.filters.push(Filter::Answer(StatusCode::INTERNAL_SERVER_ERROR, text.into()));
            self.faults.push(refusal);
            rule
        });
        self.rules.push((matches, rank, Arc::new(rule)));
    }
}

pub(crate) fn http(resolver: &mut Resolver<'_>, route: &HttpRoute) -> Made {
    let mut made = Made::default();
    for (at, rule) in route.spec.rules.iter().enumerate() {
        let (rank, source) = place(RouteKind::Http, &route.metadata, at, rule.name.as_deref());
        match http::matches(&rule.matches) {
            Ok(matches) => {
                let rule = http::rule(resolver, rule, source.clone());
                made.add(rank, source, matches, rule);
            }
            // What it is for is not known: it serves nothing.
            Err(refusal) => made.add(rank, source, Vec::new(), Err(refusal)),
        }
    }
    made
}

pub(crate) fn grpc(resolver: &mut Resolver<'_>, route: &GrpcRoute) -> Made {
    let mut made = Made::default();
    for (at, rule) in route.spec.rules.iter().enumerate() {
        let (rank, source) = place(RouteKind::Grpc, &route.metadata, at, rule.name.as_deref());
        match grpc::matches(&rule.matches) {
            Ok(matches) => {
                let rule = grpc::rule(resolver, rule, source.clone());
                made.add(rank, source, matches, rule);
            }
            Err(refusal) => made.add(rank, source, Vec::new(), Err(refusal)),
        }
    }
    made
}

fn place(kind: RouteKind, metadata: &ObjectMeta, at: usize, name: Option<&str>) -> (Rank, Source) {
    let key: Key = key(metadata);
    let rank = Rank { created: metadata.creation_timestamp.as_ref().map(|time| time.0), key: key.clone(), rule: at };
    (rank, Source::new(kind.name(), key, name.map_or_else(|| at.to_string(), str::to_owned)))
}

/// Who answers, by weight.
fn split(resolver: &mut Resolver<'_>, backends: &[BackendFilters]) -> Result<Split, Refusal> {
    let mut shares = Vec::new();
    for BackendFilters { backend, filters } in backends {
        let target = resolver.target(backend);
        shares.push(Share { weight: weight(backend), target, filters: filters::all(resolver, filters)? });
    }
    if shares.is_empty() {
        let target = Target::Nobody(StatusCode::INTERNAL_SERVER_ERROR, "the rule names no backend\n".into());
        return Ok(Split::all(target));
    }
    Ok(Split::new(shares))
}

fn weight(backend: &BackendRef) -> u32 {
    u32::try_from(backend.weight.unwrap_or(1)).unwrap_or_default()
}
