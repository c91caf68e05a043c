//! Matches and rules of HTTPRoutes.

use std::sync::Arc;

use http::{HeaderName, Method};

use super::{filters, settings, split};
use crate::gateways::backends::Resolver;
use crate::gateways::kinds::{HttpMatch, HttpRule, PathMatch as AskedPath, ValueMatch};
use crate::gateways::references::Refusal;
use crate::model::{Field, Filter, Match, PathMatch, Rule, Source, Split, TextMatch, whole};

pub(super) fn matches(asked: &[HttpMatch]) -> Result<Vec<Match>, Refusal> {
    if asked.is_empty() {
        return Ok(vec![Match::path(PathMatch::Prefix("/".to_owned()))]);
    }
    asked.iter().map(one).collect()
}

fn one(asked: &HttpMatch) -> Result<Match, Refusal> {
    let method = asked
        .method
        .as_deref()
        .map(|text| text.parse::<Method>().map_err(|_| unsupported(format!("{text:?} is no method"))));
    let mut queries: Vec<Field<String>> = Vec::new();
    for wanted in &asked.query_params {
        // Of several for one name the first counts.
        if !queries.iter().any(|known| known.name == wanted.name) {
            queries.push(Field { name: wanted.name.clone(), value: text(wanted)? });
        }
    }
    let path = asked.path.as_ref().map_or_else(|| Ok(PathMatch::Prefix("/".to_owned())), path)?;
    Ok(Match { path, method: method.transpose()?, headers: headers(&asked.headers)?, queries })
}

fn path(asked: &AskedPath) -> Result<PathMatch, Refusal> {
    let value = asked.value.as_deref().filter(|value| !value.is_empty()).unwrap_or("/");
    match asked.type_.as_deref().unwrap_or("PathPrefix") {
        "Exact" => Ok(PathMatch::Exact(value.to_owned())),
        "PathPrefix" => Ok(PathMatch::Prefix(value.to_owned())),
        "RegularExpression" => whole(value).map(PathMatch::Pattern).map_err(unsupported),
        other => Err(unsupported(format!("paths are not matched by {other}"))),
    }
}

/// Of several for one name, whatever its case, the first counts.
pub(super) fn headers(asked: &[ValueMatch]) -> Result<Vec<Field<HeaderName>>, Refusal> {
    let mut made: Vec<Field<HeaderName>> = Vec::new();
    for wanted in asked {
        let name: HeaderName =
            wanted.name.parse().map_err(|_| unsupported(format!("{:?} is no name of a header", wanted.name)))?;
        if !made.iter().any(|known| known.name == name) {
            made.push(Field { name, value: text(wanted)? });
        }
    }
    Ok(made)
}

fn text(wanted: &ValueMatch) -> Result<TextMatch, Refusal> {
    match wanted.type_.as_deref().unwrap_or("Exact") {
        "Exact" => Ok(TextMatch::Exact(wanted.value.clone())),
        "RegularExpression" => TextMatch::whole(&wanted.value).map_err(unsupported),
        other => Err(unsupported(format!("values are not matched by {other}"))),
    }
}

pub(super) fn unsupported(message: impl Into<String>) -> Refusal {
    Refusal::new("UnsupportedValue", message)
}

pub(super) fn rule(resolver: &mut Resolver<'_>, asked: &HttpRule, source: Source) -> Result<Rule, Refusal> {
    let filters = filters::all(resolver, &asked.filters)?;
    let answers = filters.iter().any(|filter| matches!(filter, Filter::Redirect(_) | Filter::Answer(..)));
    let split =
        if answers && asked.backend_refs.is_empty() { Split::default() } else { split(resolver, &asked.backend_refs)? };
    let mut rule = Rule::new(Arc::new(source), split);
    rule.filters = filters;
    rule.timeouts = settings::timeouts(asked.timeouts.as_ref())?;
    rule.retry = asked.retry.as_ref().map(settings::retry).transpose()?;
    rule.persistence = asked.session_persistence.as_ref().map(settings::persistence).transpose()?;
    Ok(rule)
}
