//! From an answer to bytes, in the form and shape the client asked for.
//!
//! Stored objects go out as the bytes the store holds whenever the client speaks their version; a list is those bytes
//! between commas, handed to the connection in chunks, so that a large list is never one large buffer.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderValue, Response, StatusCode, header};
use kinds::Kind;
use serde_json::{Value, json};
use store::Record;

use crate::{
    body::{self, Body, BoxError},
    call::{Answer, Call, List},
    core::Core,
    error::ApiError,
    negotiate::{Accepts, Format, JSON, Shape, YAML},
    shape,
};

const CHUNK: usize = 64 * 1024;

pub(crate) fn answer(core: &Core, call: &Call, answer: Answer) -> Response<Body> {
    let mut response = match answer {
        Answer::Response(response) => response,
        Answer::Object { code, value } => value_response(code, &value, &call.accepts),
        Answer::Unstored { code, kind, value } => value_response(code, &shaped(call, &kind, value), &call.accepts),
        Answer::Record { code, kind, record } => {
            if call.accepts.is_plain() && core.foreign_storage(&kind).is_none() {
                plain(code, JSON, record.value.clone())
            } else {
                value_response(code, &shaped(call, &kind, core.decode(&kind, &record)), &call.accepts)
            }
        }
        Answer::List(listed) => list(core, call, listed),
    };
    for warning in call.take_warnings() {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    response
}

fn shaped(call: &Call, kind: &Kind, value: Value) -> Value {
    match call.accepts.shape {
        Shape::Object => value,
        Shape::Metadata => shape::metadata(&value),
        Shape::Table => {
            let version = value["metadata"]["resourceVersion"].clone();
            let mut table = shape::table(kind, &[value], &call.options.include_object, call.accepts.meta_version);
            if version.is_string() {
                table["metadata"]["resourceVersion"] = version;
            }
            table
        }
    }
}

fn list(core: &Core, call: &Call, list: List) -> Response<Body> {
    let mut metadata = json!({ "resourceVersion": list.revision.to_string() });
    if !list.continue_token.is_empty() {
        metadata["continue"] = json!(list.continue_token);
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    let kind = &list.kind;
    if call.accepts.is_plain() && core.foreign_storage(kind).is_none() {
        return stored_list(kind, &metadata, list.records);
    }
    let objects: Vec<Value> = list.records.iter().map(|record| core.decode(kind, record)).collect();
    let value = match call.accepts.shape {
        Shape::Object => json!({
            "kind": kind.list_kind(),
            "apiVersion": kind.api_version(),
            "metadata": metadata,
            "items": objects,
        }),
        Shape::Metadata => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata,
            "items": objects.iter().map(shape::metadata).collect::<Vec<_>>(),
        }),
        Shape::Table => {
            let mut table = shape::table(kind, &objects, &call.options.include_object, call.accepts.meta_version);
            table["metadata"] = metadata;
            table
        }
    };
    value_response(200, &value, &call.accepts)
}

/// Stored bytes between commas.
fn stored_list(kind: &Kind, metadata: &Value, records: Vec<Arc<Record>>) -> Response<Body> {
    let (list_kind, version) = (kind.list_kind(), kind.api_version());
    let head = format!("{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":[");
    let total: usize = records.iter().map(|record| record.value.len() + 1).sum();
    let mut listing =
        Listing { head: Some(head), records: records.into_iter(), room: CHUNK, first: true, ended: false };
    if total + 1024 < CHUNK {
        listing.room = total + 1024;
        let bytes = listing.next().unwrap_or_default();
        return plain(200, JSON, bytes);
    }
    let chunks = futures::stream::iter(listing.map(Ok::<Bytes, BoxError>));
    let mut response = Response::new(body::stream(chunks));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

struct Listing {
    head: Option<String>,
    records: std::vec::IntoIter<Arc<Record>>,
    room: usize,
    first: bool,
    ended: bool,
}

impl Iterator for Listing {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        let mut out = BytesMut::with_capacity(self.room);
        if let Some(head) = self.head.take() {
            out.put_slice(head.as_bytes());
        }
        while out.len() < CHUNK {
            let Some(record) = self.records.next() else {
                self.ended = true;
                out.put_slice(b"]}\n");
                break;
            };
            if !std::mem::replace(&mut self.first, false) {
                out.put_u8(b',');
            }
            out.put_slice(&record.value);
        }
        Some(out.freeze())
    }
}

pub(crate) fn value_response(code: u16, value: &Value, accepts: &Accepts) -> Response<Body> {
    if accepts.format == Format::Yaml {
        return match serde_saphyr::to_string(value) {
            Ok(text) => plain(code, YAML, text),
            Err(error) => {
                tracing::error!(%error, "an object cannot be written as YAML");
                failure(&ApiError::internal("the answer cannot be written as YAML"))
            }
        };
    }
    let printed = if accepts.pretty { serde_json::to_vec_pretty(value) } else { serde_json::to_vec(value) };
    let mut bytes = printed.expect("invariant: a JSON value encodes into memory");
    bytes.push(b'\n');
    plain(code, JSON, bytes)
}

pub(crate) fn plain(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(body::full(bytes));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A Status, always as JSON: also a client that asked for something we cannot write must be able to read why.
pub(crate) fn failure(error: &ApiError) -> Response<Body> {
    let mut response = value_response(error.code, &error.status(), &Accepts::default());
    if let Some(seconds) = error.details.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == 401 {
        let challenge = HeaderValue::from_static("Bearer realm=\"kubernetes\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
