//! Paths that are not resources: health, version, discovery, OpenAPI, metrics, token keys.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header, request::Parts};
use serde_json::{Value, json};

use crate::{
    api::Inner,
    body::{self, Body},
    discovery,
    error::ApiError,
    negotiate::{self, Accepts, Endpoint, Format, JSON},
    request::Info,
    respond, tokens, view,
};

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
/// The Kubernetes version we serve, and ours.
const VERSION: (&str, &str) = ("1", "36");
const GIT_VERSION: &str = concat!("v1.36.0+knarr.", env!("CARGO_PKG_VERSION"));

/// The paths that `/` lists, apart from groups.
const PATHS: [&str; 13] = [
    "/.well-known/openid-configuration",
    "/api",
    "/api/v1",
    "/apis",
    "/apis/",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
];

/// JSON, and protobuf by its name and by an older one: an at sign has no place in the media type of an answer.
const OPENAPI_V2: [&str; 3] = [JSON, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", OPENAPI_V2_PROTOBUF];
const OPENAPI_V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// An OpenAPI v2 document without definitions, in protobuf: `swagger: "2.0"`, `info`, no paths.
///
/// kubectl validates by version 3 (on the server, in fact) and asks for version 2, in this form alone, only when it does
/// not find a kind. With nothing in here it goes on to discovery and says that there is no such kind.
const NO_DEFINITIONS: &[u8] = b"\n\x032.0\x12\x13\n\nKubernetes\x12\x05v1.36B\x00";

pub(crate) fn answer(inner: &Arc<Inner>, parts: &Parts, info: &Info) -> Result<Response<Body>, ApiError> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(ApiError::wrong_method());
    }
    let core = &inner.core;
    let query = parts.uri.query().unwrap_or_default();
    let path = if info.path.len() > 1 { info.path.trim_end_matches('/') } else { &info.path };
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let pretty = negotiate::is_person(&parts.headers);
    let plain = |value: Value| Ok(respond::value_response(200, &value, Accepts { pretty, ..Accepts::default() }));
    let served = |value: Value| {
        let accepts = negotiate::accepts(&parts.headers, Endpoint::Fixed)?;
        Ok(respond::value_response(200, &value, Accepts { pretty: accepts.pretty || pretty, ..accepts }))
    };
    match segments.as_slice() {
        [""] => plain(json!({ "paths": paths(inner) })),
        ["version"] => plain(version()),
        ["livez" | "readyz" | "healthz", ..] => Ok(health(inner, &segments, query)),
        ["metrics"] => {
            let text = inner.metrics.render(core.store.revision());
            Ok(respond::plain(200, METRICS, text))
        }
        ["openid", "v1", "jwks"] => {
            let keys = tokens::key_set(core).to_string();
            Ok(respond::plain(200, "application/jwk-set+json", keys))
        }
        [".well-known", "openid-configuration"] => plain(tokens::openid_configuration(core)),
        ["api"] => aggregated(inner, parts, true).map_or_else(|| served(discovery::legacy_versions(core)), Ok),
        ["apis"] => aggregated(inner, parts, false).map_or_else(|| served(discovery::groups(core)), Ok),
        ["api", version] => served(discovery::resources(core, "", version).ok_or_else(ApiError::no_such_path)?),
        ["apis", group] => served(discovery::group(core, group).ok_or_else(ApiError::no_such_path)?),
        ["apis", group, version] => {
            served(discovery::resources(core, group, version).ok_or_else(ApiError::no_such_path)?)
        }
        ["openapi", "v2"] => {
            let form = negotiate::document_type(&parts.headers, &OPENAPI_V2)
                .ok_or_else(|| ApiError::not_acceptable(&OPENAPI_V2))?;
            if form != JSON {
                return Ok(respond::plain(200, OPENAPI_V2_PROTOBUF, NO_DEFINITIONS));
            }
            let document = kinds::openapi::v2_of(&core.catalog(), &|kind| core.serves(kind));
            Ok(cached(parts, document.bytes.into(), &document.hash, ""))
        }
        ["openapi", "v3"] => plain(kinds::openapi::v3_index_of(&core.catalog(), &|kind| core.serves(kind))),
        ["openapi", "v3", "api", version] => openapi(inner, parts, "", version, query),
        ["openapi", "v3", "apis", group, version] => openapi(inner, parts, group, version, query),
        _ => Err(ApiError::no_such_path()),
    }
}

fn paths(inner: &Inner) -> Vec<String> {
    let mut paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    for (group, version) in discovery::served_versions(&inner.core).into_iter().filter(|(group, _)| !group.is_empty()) {
        for path in [format!("/apis/{group}"), format!("/apis/{group}/{version}")] {
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
    }
    for check in inner.checks() {
        paths.extend(["healthz", "livez", "readyz"].map(|probe| format!("/{probe}/{}", check.0)));
    }
    paths.sort();
    paths
}

fn version() -> Value {
    let (major, minor) = VERSION;
    json!({
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": minor,
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{}", arch()),
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `/livez`, `/readyz` and `/healthz`, each with `?verbose`, `?exclude=` and a path per check.
fn health(inner: &Inner, segments: &[&str], query: &str) -> Response<Body> {
    let probe = segments[0];
    let parameters: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let verbose = parameters.iter().any(|(name, _)| name == "verbose");
    let excluded = |check: &str| parameters.iter().any(|(name, value)| name == "exclude" && value == check);
    let checks: Vec<(&str, bool)> =
        inner.checks().into_iter().filter(|(name, _)| *name != "shutdown" || probe == "readyz").collect();
    if segments.len() > 1 {
        let one = segments[1..].join("/");
        return match checks.iter().find(|(name, _)| *name == one) {
            Some((_, true)) => respond::plain(200, TEXT, "ok"),
            Some((name, false)) => respond::plain(500, TEXT, format!("internal server error: {name} is not ready\n")),
            None => respond::failure(&ApiError::no_such_path(), Accepts::default()),
        };
    }
    let well = checks.iter().all(|(name, well)| *well || excluded(name));
    let verdict = if well { "passed" } else { "failed" };
    let lines: String = checks
        .iter()
        .map(|(name, well)| match (excluded(name), well) {
            (true, _) => format!("[+]{name} excluded: ok\n"),
            (false, true) => format!("[+]{name} ok\n"),
            (false, false) => format!("[-]{name} failed: reason withheld\n"),
        })
        .collect();
    match (well, verbose) {
        (true, false) => respond::plain(200, TEXT, "ok"),
        (true, true) => respond::plain(200, TEXT, format!("{lines}{probe} check {verdict}\n")),
        (false, _) => respond::plain(500, TEXT, format!("{lines}{probe} check {verdict}\n")),
    }
}

fn aggregated(inner: &Inner, parts: &Parts, legacy: bool) -> Option<Response<Body>> {
    let (format, version) = negotiate::discovery_version(&parts.headers)?;
    let (mut document, hash) = inner.discovery.document(&inner.core, legacy, version);
    if format != Format::Json {
        let value: Value = serde_json::from_slice(&document).unwrap_or_default();
        let mut out = Vec::new();
        view::write(Accepts { format, ..Accepts::default() }, &value, &mut out).ok()?;
        document = out.into();
    }
    let mut response = cached(parts, document, &hash, "");
    let content_type = format!("{};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList", format.media_type());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_str(&content_type).ok()?);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    Some(response)
}

fn openapi(inner: &Inner, parts: &Parts, group: &str, version: &str, query: &str) -> Result<Response<Body>, ApiError> {
    if !discovery::served_versions(&inner.core).into_iter().any(|(held, served)| held == group && served == version) {
        return Err(ApiError::no_such_path());
    }
    let document = kinds::openapi::v3_of(&inner.core.catalog(), &|kind| inner.core.serves(kind), group, version);
    let document = document.ok_or_else(ApiError::no_such_path)?;
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "hash");
    let asked = asked.map(|(_, hash)| hash.into_owned()).unwrap_or_default();
    Ok(cached(parts, document.bytes.into(), &document.hash, &asked))
}

/// A document that changes only with the server: an ETag, 304 for who has it, and no expiry if the URL has its hash.
fn cached(parts: &Parts, bytes: Bytes, hash: &str, asked_hash: &str) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let held = parts.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = held.is_some_and(|held| held.split(',').any(|one| one.trim() == tag));
    let mut response = if known {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::plain(200, JSON, bytes)
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    let cache = if !asked_hash.is_empty() && asked_hash == hash { "public, immutable" } else { "no-cache, private" };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}
