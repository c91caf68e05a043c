//! Matches and rules of GRPCRoutes.
//!
//! A call of method `M` of service `S` is a POST for `/S/M` (the gRPC protocol over HTTP/2), so a method is matched as a path.

use std::sync::Arc;

use super::http::{headers, unsupported};
use super::{filters, settings, split};
use crate::gateways::backends::Resolver;
use crate::gateways::kinds::{GrpcMatch, GrpcMethod, GrpcRule};
use crate::gateways::references::Refusal;
use crate::model::{Match, PathMatch, Rule, Source, whole};

pub(super) fn matches(asked: &[GrpcMatch]) -> Result<Vec<Match>, Refusal> {
    if asked.is_empty() {
        return Ok(vec![Match::path(PathMatch::Prefix("/".to_owned()))]);
    }
    let one = |asked: &GrpcMatch| {
        let path = asked.method.as_ref().map_or_else(|| Ok(PathMatch::Prefix("/".to_owned())), path)?;
        Ok(Match { headers: headers(&asked.headers)?, ..Match::path(path) })
    };
    asked.iter().map(one).collect()
}

fn path(asked: &GrpcMethod) -> Result<PathMatch, Refusal> {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (service, method) = (some(&asked.service), some(&asked.method));
    match asked.type_.as_deref().unwrap_or("Exact") {
        "Exact" => match (service, method) {
            (Some(service), Some(method)) => Ok(PathMatch::Exact(format!("/{service}/{method}"))),
            (Some(service), None) => Ok(PathMatch::Prefix(format!("/{service}"))),
            (None, Some(method)) => pattern("[^/]+", &regex::escape(&method)),
            (None, None) => Ok(PathMatch::Prefix("/".to_owned())),
        },
        "RegularExpression" => pattern(service.as_deref().unwrap_or("[^/]+"), method.as_deref().unwrap_or("[^/]+")),
        other => Err(unsupported(format!("methods are not matched by {other}"))),
    }
}

fn pattern(service: &str, method: &str) -> Result<PathMatch, Refusal> {
    whole(&format!("/(?:{service})/(?:{method})")).map(PathMatch::Pattern).map_err(unsupported)
}

pub(super) fn rule(resolver: &mut Resolver<'_>, asked: &GrpcRule, source: Source) -> Result<Rule, Refusal> {
    let filters = filters::all(resolver, &asked.filters)?;
    let mut rule = Rule::new(Arc::new(source), split(resolver, &asked.backend_refs)?);
    rule.filters = filters;
    rule.persistence = asked.session_persistence.as_ref().map(settings::persistence).transpose()?;
    Ok(rule)
}
