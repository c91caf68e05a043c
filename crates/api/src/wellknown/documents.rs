//! Documents that change only when the served kinds do: OpenAPI, and what discovery has of that sort.
//!
//! Invariant: a document and its tag always belong together, in every form; who has the newest is told so before it is
//! made. An address with a hash never changes its meaning: it is that document, or a way to the newer one.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use kinds::{Kind, openapi};
use sha2::{Digest, Sha512};

use crate::{
    aggregate,
    api::Inner,
    body::{self, Body},
    discovery,
    error::ApiError,
    negotiate::{self, JSON},
    respond,
};

/// Each in JSON, and in protobuf by its name and by an older one: an at sign has no place in the type of an answer.
const V2: [&str; 3] = [JSON, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", V2_PROTOBUF];
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const V3: [&str; 3] = [JSON, V3_PROTOBUF, "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"];
const V3_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";

const A_YEAR: base::time::SignedDuration = base::time::SignedDuration::from_hours(365 * 24);

pub(super) fn v2(inner: &Inner, parts: &Parts) -> Result<Response<Body>, ApiError> {
    let catalog = inner.core.catalog();
    let served = |kind: &Kind| inner.core.serves(kind);
    let asked = negotiate::document_type(&parts.headers, &V2).ok_or_else(|| ApiError::not_acceptable(&V2))?;
    let form = if asked == JSON { JSON } else { V2_PROTOBUF };
    let told = aggregate::documents::told(&inner.core);
    let additions: Vec<&openapi::Addition> = told.iter().map(|told| &told.swagger).collect();
    let hash = openapi::v2_hash(&catalog, &served, &additions);
    Ok(tagged(parts, &hash, HeaderValue::from_static(form), || {
        let document = openapi::v2_of(&catalog, &served, &additions);
        if form == JSON { document.bytes.into() } else { document.protobuf().into() }
    }))
}

/// Where the documents of version 3 are.
pub(super) fn index(inner: &Inner, parts: &Parts) -> Response<Body> {
    let mut index = openapi::v3_index_of(&inner.core.catalog(), &|kind| inner.core.serves(kind));
    aggregate::documents::add_to_index(&inner.core, &mut index);
    let index = index.to_string();
    let hash = hex::encode_upper(Sha512::digest(&index));
    tagged(parts, &hash, HeaderValue::from_static(JSON), || index.into())
}

pub(super) fn v3(inner: &Inner, parts: &Parts, group: &str, version: &str) -> Result<Response<Body>, ApiError> {
    if !discovery::served_versions(&inner.core).into_iter().any(|(held, served)| held == group && served == version) {
        return Err(ApiError::no_such_path());
    }
    let catalog = inner.core.catalog();
    let served = |kind: &Kind| inner.core.serves(kind);
    let asked = negotiate::document_type(&parts.headers, &V3).ok_or_else(|| ApiError::not_acceptable(&V3))?;
    let form = if asked == JSON { JSON } else { V3_PROTOBUF };
    let hash = openapi::v3_hash(&catalog, &served, group, version);
    let query = parts.uri.query().unwrap_or_default();
    let wanted = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "hash");
    let wanted = wanted.map(|(_, hash)| hash.into_owned()).unwrap_or_default();
    if !wanted.is_empty() && wanted != hash {
        let place = format!("/openapi/v3/{}?hash={hash}", openapi::document_path(group, version));
        return Ok(moved(&place));
    }
    let mut response = tagged(parts, &hash, HeaderValue::from_static(form), || {
        match openapi::v3_of(&catalog, &served, group, version) {
            Some(document) if form == JSON => document.bytes.into(),
            Some(document) => document.protobuf().into(),
            None => Bytes::new(),
        }
    });
    if !wanted.is_empty() {
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let expires = (base::time::now() + A_YEAR).strftime("%a, %d %b %Y %H:%M:%S UTC").to_string();
        if let Ok(expires) = HeaderValue::from_str(&expires) {
            headers.insert(header::EXPIRES, expires);
        }
    }
    Ok(response)
}

fn moved(place: &str) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(place) = HeaderValue::from_str(place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// A document with its entity tag, or 304 for who has it.
pub(super) fn tagged(
    parts: &Parts,
    hash: &str,
    content_type: HeaderValue,
    make: impl FnOnce() -> Bytes,
) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let held = parts.headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let known = held.is_some_and(|held| held.split(',').any(|one| one.trim() == tag));
    let mut response = if known {
        let mut response = Response::new(body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        respond::document(make(), negotiate::takes_gzip(&parts.headers))
    };
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    headers.append(header::VARY, HeaderValue::from_static("Accept"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}
