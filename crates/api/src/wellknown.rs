//! Paths that are not resources: health, version, discovery, OpenAPI, metrics, token keys.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, request::Parts};
use serde_json::{Value, json};

use crate::{
    api::{Inner, OF_READINESS},
    body::Body,
    discovery,
    error::ApiError,
    negotiate::{self, Accepts, Endpoint, Format},
    request::Info,
    respond, tokens, view,
};

mod documents;

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
        ["openapi", "v2"] => documents::v2(inner, parts),
        ["openapi", "v3"] => Ok(documents::index(inner, parts)),
        ["openapi", "v3", "api", version] => documents::v3(inner, parts, "", version),
        ["openapi", "v3", "apis", group, version] => documents::v3(inner, parts, group, version),
        _ => Err(ApiError::no_such_path()),
    }
}

fn paths(inner: &Inner) -> Vec<String> {
    let mut paths: Vec<String> = PATHS.iter().map(|path| (*path).to_owned()).collect();
    for (group, version) in discovery::all_versions(&inner.core).into_iter().filter(|(group, _)| !group.is_empty()) {
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
        inner.checks().into_iter().filter(|(name, _)| !OF_READINESS.contains(name) || probe == "readyz").collect();
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
    let content_type = format!("{};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList", format.media_type());
    let content_type = HeaderValue::from_str(&content_type).ok()?;
    Some(documents::tagged(parts, &hash, content_type, || document))
}
