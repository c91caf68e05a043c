//! Media types: what a body is, and in which form and shape an answer is wanted.
//!
//! Clients send long Accept lists with fallbacks (`application/json;as=Table;…,application/json`,
//! `application/vnd.kubernetes.protobuf,application/json`); the first clause we can serve wins, higher `q` first. What an
//! endpoint cannot serve makes a clause count for nothing: a table has no protobuf, a custom resource neither.

use http::{HeaderMap, header};

use crate::error::ApiError;

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// Served to who asks for it; upstream does so behind a feature gate and lists it only then.
const CBOR: &str = "application/cbor";
/// What upstream lists when nothing fits.
const LISTED: [&str; 3] = [JSON, YAML, PROTOBUF];
const STREAMED: [&str; 2] = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];
pub(crate) const PATCHES: [&str; 4] = [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH];
/// A custom resource has no merge rules of its own beyond what apply reads from its schema.
pub(crate) const CUSTOM_PATCHES: [&str; 3] = [JSON_PATCH, MERGE_PATCH, APPLY_PATCH];
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC_PATCH: &str = "application/strategic-merge-patch+json";
pub(crate) const APPLY_PATCH: &str = "application/apply-patch+yaml";
/// Taken from who sends it, and not listed, like CBOR itself.
pub(crate) const APPLY_CBOR: &str = "application/apply-patch+cbor";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    #[default]
    Json,
    Yaml,
    Protobuf,
    Cbor,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::Yaml, Self::Protobuf, Self::Cbor];

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Yaml => YAML,
            Self::Protobuf => PROTOBUF,
            Self::Cbor => CBOR,
        }
    }

    /// The media type of a watch; none if there is no way to tell where an event ends.
    pub(crate) fn stream_type(self) -> Option<&'static str> {
        match self {
            Self::Json => Some(JSON),
            Self::Yaml => None,
            Self::Protobuf => Some(STREAMED[1]),
            Self::Cbor => Some("application/cbor-seq"),
        }
    }

    fn matches(self, media: &str) -> bool {
        media == self.media_type() || media == "*/*" || media == "application/*"
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    #[default]
    Object,
    Table,
    /// `PartialObjectMetadata`
    Metadata,
    /// `PartialObjectMetadataList`
    MetadataList,
}

/// What an endpoint can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// Objects of a built-in kind, in any shape.
    Kind,
    /// Objects of a custom resource: without a schema in protobuf, but their metadata has one.
    Custom,
    /// What is only created, to be answered: a review, a token. It has no table.
    Question,
    /// One fixed type: discovery, a Status.
    Fixed,
}

impl Endpoint {
    fn serves(self, format: Format, shape: Shape) -> bool {
        match (self, shape) {
            (Self::Fixed, shape) => shape == Shape::Object,
            (Self::Question, Shape::Table) => false,
            (_, Shape::Table) => matches!(format, Format::Json | Format::Yaml),
            (Self::Custom, Shape::Object) => format != Format::Protobuf,
            _ => true,
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepts {
    pub(crate) format: Format,
    pub(crate) shape: Shape,
    pub(crate) pretty: bool,
    /// The version of meta.k8s.io a Table was asked in.
    pub(crate) meta_version: &'static str,
}

impl Accepts {
    /// The object itself, not indented.
    pub(crate) fn is_plain(&self) -> bool {
        self.shape == Shape::Object && !self.pretty
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

    fn has(&self, name: &str) -> bool {
        self.parameters.iter().any(|(held, _)| *held == name)
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
                .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
                .collect();
            let quality =
                parameters.iter().find(|(name, _)| *name == "q").and_then(|(_, q)| q.parse().ok()).unwrap_or(1.0);
            Clause { media, parameters, quality }
        })
        .filter(|clause| !clause.media.is_empty())
        .collect();
    // stable: the client's order decides among equals; what is named goes before what is not
    clauses.sort_by(|a, b| {
        let wild = |clause: &Clause<'_>| clause.media.matches('*').count();
        b.quality.total_cmp(&a.quality).then_with(|| wild(a).cmp(&wild(b)))
    });
    clauses
}

pub(crate) fn accepts(headers: &HeaderMap, endpoint: Endpoint) -> Result<Accepts, ApiError> {
    let listed = accept_header(headers);
    if listed.is_empty() {
        return Ok(Accepts::default());
    }
    let found = clauses(&listed).iter().find_map(|clause| accepted(clause, endpoint));
    found.ok_or_else(|| ApiError::not_acceptable(&LISTED))
}

/// The form for a Status. Whoever accepts nothing we write must still be able to read why, so that is JSON.
pub(crate) fn for_errors(headers: &HeaderMap) -> Accepts {
    let accepts = accepts(headers, Endpoint::Fixed).unwrap_or_default();
    Accepts { pretty: accepts.pretty || is_person(headers), ..accepts }
}

pub(crate) fn no_stream() -> ApiError {
    ApiError::not_acceptable(&STREAMED)
}

/// Upstream indents for browsers and for what people type at a shell.
pub(crate) fn is_person(headers: &HeaderMap) -> bool {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"].iter().any(|person| agent.starts_with(person))
}

fn accept_header(headers: &HeaderMap) -> String {
    let values: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

fn accepted(clause: &Clause<'_>, endpoint: Endpoint) -> Option<Accepts> {
    let meta_version = match clause.parameter("v") {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => "",
    };
    let converted = ["as", "g", "v"].iter().any(|name| clause.has(name));
    let of_meta = clause.parameter("g") == "meta.k8s.io" && !meta_version.is_empty();
    let shape = match clause.parameter("as") {
        _ if !converted => Shape::Object,
        _ if !of_meta => return None,
        "Table" => Shape::Table,
        "PartialObjectMetadata" => Shape::Metadata,
        "PartialObjectMetadataList" => Shape::MetadataList,
        _ => return None,
    };
    let stream = clause.parameter("stream");
    let fits = |format: &Format| {
        format.matches(clause.media)
            && endpoint.serves(*format, shape)
            && (stream.is_empty() || (stream == "watch" && format.stream_type().is_some()))
    };
    let format = Format::ALL.into_iter().find(fits)?;
    if !clause.parameter("sv").is_empty() {
        return None;
    }
    Some(Accepts { format, shape, pretty: clause.parameter("pretty") == "1", meta_version })
}

/// The first clause of the Accept list in which aggregated discovery is asked for, with its version; none for the
/// plain form.
pub(crate) fn discovery_version(headers: &HeaderMap) -> Option<(Format, &'static str)> {
    for clause in clauses(&accept_header(headers)) {
        let Some(format) = Format::ALL.into_iter().find(|format| format.matches(clause.media)) else { continue };
        match (clause.parameter("as"), clause.parameter("g"), clause.parameter("v")) {
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => return Some((format, "v2")),
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2beta1") => return Some((format, "v2beta1")),
            ("", ..) => return None,
            _ => {}
        }
    }
    None
}

/// The first of `served` media types that is accepted, by the same rules; for documents that are not objects.
pub(crate) fn document_type(headers: &HeaderMap, served: &[&'static str]) -> Option<&'static str> {
    let listed = accept_header(headers);
    if listed.is_empty() {
        return served.first().copied();
    }
    clauses(&listed).iter().find_map(|clause| {
        let fits = |media: &&&str| **media == clause.media || matches!(clause.media, "*/*" | "application/*");
        served.iter().find(fits).copied()
    })
}

/// The media type of the body, without parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> &str {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

/// Whether a large answer may be compressed.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let encodings = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    encodings.flat_map(|value| value.split(',')).any(|encoding| encoding.trim() == "gzip")
}

/// Whether a patch is a configuration to apply.
pub(crate) fn is_apply(content_type: &str) -> bool {
    content_type == APPLY_PATCH || content_type == APPLY_CBOR
}

/// What the body of a write is written in.
pub(crate) fn body_format(content_type: &str) -> Result<Format, ApiError> {
    let media = if content_type.is_empty() { JSON } else { content_type };
    let found = Format::ALL.into_iter().find(|format| format.media_type() == media);
    found.ok_or_else(|| ApiError::unsupported_media_type("", &LISTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(accept: &str, endpoint: Endpoint) -> Option<(Format, Shape)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("header"));
        accepts(&headers, endpoint).ok().map(|accepts| (accepts.format, accepts.shape))
    }

    #[track_caller]
    fn check(accept: &str, expected: Option<(Format, Shape)>) {
        assert_eq!(seen(accept, Endpoint::Kind), expected, "{accept}");
    }

    const PARTIAL: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
                           application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

    #[test]
    fn the_first_clause_we_serve_wins() {
        check(
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
            Some((Format::Json, Shape::Table)),
        );
        check("application/vnd.kubernetes.protobuf,application/json", Some((Format::Protobuf, Shape::Object)));
        check(PARTIAL, Some((Format::Protobuf, Shape::MetadataList)));
        check("application/json;q=0.5, application/yaml", Some((Format::Yaml, Shape::Object)));
        check("*/*, application/yaml", Some((Format::Yaml, Shape::Object)));
        check("application/json;stream=watch", Some((Format::Json, Shape::Object)));
        check("application/yaml;stream=watch, application/vnd.kubernetes.protobuf;stream=watch", {
            Some((Format::Protobuf, Shape::Object))
        });
        check("*/*", Some((Format::Json, Shape::Object)));
    }

    #[test]
    fn a_clause_for_what_an_endpoint_has_not_counts_for_nothing() {
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json";
        check(table, Some((Format::Json, Shape::Object)));
        let protobuf = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(seen(protobuf, Endpoint::Custom), Some((Format::Json, Shape::Object)));
        assert_eq!(seen("application/vnd.kubernetes.protobuf", Endpoint::Custom), None);
        assert_eq!(seen(PARTIAL, Endpoint::Custom), Some((Format::Protobuf, Shape::MetadataList)));
        assert_eq!(seen(PARTIAL, Endpoint::Fixed), Some((Format::Json, Shape::Object)));
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/yaml";
        assert_eq!(seen(table, Endpoint::Question), Some((Format::Yaml, Shape::Object)));
        assert_eq!(seen(PARTIAL, Endpoint::Question), Some((Format::Protobuf, Shape::MetadataList)));
    }

    #[test]
    fn what_we_cannot_write_is_not_acceptable() {
        check("text/html", None);
        check("application/json;as=Table;v=v3;g=meta.k8s.io", None);
        check("application/json;as=Table", None);
        check("application/json;as=Pod;v=v1;g=meta.k8s.io", None);
        check("application/json;stream=other", None);
        check("application/yaml;stream=watch", None);
    }
}
