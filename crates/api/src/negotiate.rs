//! Media types: what a body is, and in which form and shape an answer is wanted.
//!
//! Clients send long Accept lists with fallbacks (`application/json;as=Table;…,application/json`,
//! `application/vnd.kubernetes.protobuf,application/json`); the first clause we can serve wins, higher `q` first.

use http::{HeaderMap, header};

use crate::error::ApiError;

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What we write, and what we read.
const SERVED: [&str; 2] = [JSON, YAML];
const READ: [&str; 3] = [JSON, YAML, PROTOBUF];
pub(crate) const PATCHES: [&str; 3] = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH];
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Format {
    #[default]
    Json,
    Yaml,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    #[default]
    Object,
    Table,
    /// `PartialObjectMetadata`, or its list.
    Metadata,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepts {
    pub(crate) format: Format,
    pub(crate) shape: Shape,
    pub(crate) pretty: bool,
    /// The version of meta.k8s.io a Table was asked in.
    pub(crate) meta_version: &'static str,
}

impl Accepts {
    /// JSON of the object itself, not indented: what is stored can be sent.
    pub(crate) fn is_plain(&self) -> bool {
        self.format == Format::Json && self.shape == Shape::Object && !self.pretty
    }
}

struct Clause<'a> {
    media: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Clause<'_> {
    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(held, _)| *held == name).map_or("", |(_, value)| value)
    }
}

fn clauses(accept: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = accept
        .split(',')
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts
                .filter_map(|part| part.split_once('='))
                .map(|(name, value)| (name.trim(), value.trim()))
                .collect();
            let quality =
                parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
            Clause { media, parameters, quality }
        })
        .filter(|clause| !clause.media.is_empty())
        .collect();
    clauses.sort_by(|a, b| b.quality.total_cmp(&a.quality)); // stable: the client's order decides among equals
    clauses
}

pub(crate) fn accepts(headers: &HeaderMap) -> Result<Accepts, ApiError> {
    let listed = accept_header(headers);
    if listed.is_empty() {
        return Ok(Accepts::default());
    }
    clauses(&listed).iter().find_map(accepted).ok_or_else(|| ApiError::not_acceptable(&SERVED))
}

fn accept_header(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

fn accepted(clause: &Clause<'_>) -> Option<Accepts> {
    let format = match clause.media {
        JSON | "*/*" | "application/*" => Format::Json,
        YAML => Format::Yaml,
        _ => return None,
    };
    let meta_version = match clause.parameter("v") {
        "" | "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => return None,
    };
    let shape = match clause.parameter("as") {
        "" => Shape::Object,
        _ if clause.parameter("g") != "meta.k8s.io" => return None,
        "Table" => Shape::Table,
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Shape::Metadata,
        _ => return None,
    };
    Some(Accepts { format, shape, pretty: clause.parameter("pretty") == "1", meta_version })
}

/// The first `as=` of the Accept list that discovery of `kind` serves, with its version; none for the plain form.
pub(crate) fn discovery_version(headers: &HeaderMap) -> Option<&'static str> {
    for clause in clauses(&accept_header(headers)) {
        if clause.media != JSON {
            continue;
        }
        match (clause.parameter("as"), clause.parameter("g"), clause.parameter("v")) {
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => return Some("v2"),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => return Some("v2beta1"),
            ("", ..) => return None,
            _ => {}
        }
    }
    None
}

/// The media type of the body, without parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// What the body of a write is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    Json,
    Yaml,
    Protobuf,
}

pub(crate) fn body_format(content_type: &str) -> Result<BodyFormat, ApiError> {
    match content_type {
        "" | JSON => Ok(BodyFormat::Json),
        YAML => Ok(BodyFormat::Yaml),
        PROTOBUF => Ok(BodyFormat::Protobuf),
        other => Err(ApiError::unsupported_media_type(other, &READ)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: Option<(Format, Shape)>) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("header"));
        let seen = accepts(&headers).ok().map(|accepts| (accepts.format, accepts.shape));
        assert_eq!(seen, expected, "{accept}");
    }

    #[test]
    fn the_first_clause_we_serve_wins() {
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Format::Json, Shape::Table)),
        );
        check("application/vnd.kubernetes.protobuf,application/json", Some((Format::Json, Shape::Object)));
        check(
            "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
            Some((Format::Json, Shape::Metadata)),
        );
        check("application/json;q=0.5, application/yaml", Some((Format::Yaml, Shape::Object)));
        check("application/json;stream=watch", Some((Format::Json, Shape::Object)));
        check("*/*", Some((Format::Json, Shape::Object)));
    }

    #[test]
    fn what_we_cannot_write_is_not_acceptable() {
        check("application/vnd.kubernetes.protobuf", None);
        check("text/html", None);
        check("application/json;as=Table;v=v3;g=meta.k8s.io", None);
    }
}
