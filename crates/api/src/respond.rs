//! From an answer to bytes, in the form and shape the client asked for.
//!
//! Stored objects go out as the bytes the store holds whenever the client speaks their version; a list is made while it
//! is sent, so that a large one is never in memory as a whole. What is large is compressed for whoever asks.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Response, StatusCode, header};
use kinds::Kind;
use serde_json::{Value, json};

use crate::{
    body::{self, Body},
    call::{Answer, Call, List},
    core::{Core, text},
    error::ApiError,
    negotiate::{Accepts, Format, Shape},
    shape,
    view::{self, View, meta_version},
};

mod gzip;
mod listing;

use listing::Listing;

pub(crate) fn answer(core: &Arc<Core>, call: &Call, answer: Answer) -> Result<Response<Body>, ApiError> {
    if !matches!(answer, Answer::Response(_)) {
        shape::check(call)?;
    }
    let view = |kind: &Arc<Kind>| View::new(core, kind, call.accepts, &call.options.include_object);
    let mut response = match answer {
        Answer::Response(response) => response,
        Answer::Object { code, value } => written(code, &value, call)?,
        Answer::Unstored { code, kind, value } => {
            one(&kind, text(&value, "/kind"), call.accepts.shape)?;
            written(code, &view(&kind).shaped(value), call)?
        }
        Answer::Record { code, kind, record } => {
            one(&kind, &kind.kind, call.accepts.shape)?;
            let mut view = view(&kind);
            if view.is_verbatim() {
                finish(code, Format::Json, record.value.clone(), call)
            } else {
                let mut out = Vec::with_capacity(record.value.len());
                view.object(&record, &mut out);
                if call.accepts.format == Format::Json {
                    out.push(b'\n');
                }
                finish(code, call.accepts.format, out, call)
            }
        }
        Answer::List(listed) => list(core, view(&listed.kind), call, listed)?,
    };
    for warning in call.take_warnings() {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
    Ok(response)
}

/// A single object has no list of metadata. `name` is the kind of the object, which may be a part of `kind`.
fn one(kind: &Kind, name: &str, shape: Shape) -> Result<(), ApiError> {
    if shape != Shape::MetadataList {
        return Ok(());
    }
    let ty = match name {
        "Scale" if kind.custom.is_some() => "*v1.Scale".to_owned(),
        "Scale" => "*autoscaling.Scale".to_owned(),
        "TokenRequest" => "*authentication.TokenRequest".to_owned(),
        _ => go_type(kind, ""),
    };
    let message = format!("you requested PartialObjectMetadataList, but the requested object is not a list ({ty})");
    Err(ApiError::new(406, "NotAcceptable", message))
}

/// The Go type of an object, as upstream names it in messages.
fn go_type(kind: &Kind, suffix: &str) -> String {
    if kind.custom.is_some() {
        return format!("*unstructured.Unstructured{suffix}");
    }
    let package = match kind.group.split('.').next().unwrap_or_default() {
        "" | "events" => "core",
        "internal" => "apiserverinternal",
        other => other,
    };
    format!("*{package}.{}{suffix}", kind.kind)
}

fn list(core: &Core, view: View, call: &Call, list: List) -> Result<Response<Body>, ApiError> {
    let kind = view.kind.clone();
    let accepts = call.accepts;
    if accepts.shape == Shape::Metadata {
        let ty = go_type(&kind, "List");
        let message = format!("you requested PartialObjectMetadata, but the requested object is a list ({ty})");
        return Err(ApiError::new(406, "NotAcceptable", message));
    }
    let mut metadata = json!({ "resourceVersion": list.revision.to_string() });
    if !list.continue_token.is_empty() {
        metadata["continue"] = json!(list.continue_token);
    }
    if let Some(remaining) = list.remaining {
        metadata["remainingItemCount"] = json!(remaining);
    }
    // the fields of the older list of metadata have other numbers; nobody asks for it any more
    let odd = accepts.format == Format::Protobuf && accepts.meta_version == "v1beta1";
    if accepts.pretty || accepts.format == Format::Yaml || odd {
        return written(200, &whole_list(&view, metadata, &list), call);
    }
    let stored: usize = list.records.iter().map(|record| record.value.len()).sum();
    let listing = Listing::new(view, metadata, list.records);
    if stored < listing::CHUNK {
        return Ok(finish(200, accepts.format, listing.whole(), call));
    }
    let gzip = call.takes_gzip && stored > gzip::LARGE;
    let apart = (stored >= listing::LARGE).then(|| core.customs.children()).flatten();
    let chunks = match apart {
        Some(children) => listing.beside(children).left_stream(),
        None => listing.stream().right_stream(),
    };
    let body = if gzip { body::stream(gzip::stream(chunks)) } else { body::stream(chunks) };
    Ok(headed(200, accepts.format.media_type(), body, gzip))
}

fn whole_list(view: &View, metadata: Value, list: &List) -> Value {
    let kind = &view.kind;
    let objects = list.records.iter().map(|record| view.core.decode(kind, record));
    match view.accepts.shape {
        Shape::Object => json!({
            "kind": kind.list_kind(),
            "apiVersion": kind.api_version(),
            "metadata": metadata,
            "items": objects.collect::<Vec<_>>(),
        }),
        Shape::Metadata | Shape::MetadataList => json!({
            "kind": "PartialObjectMetadataList",
            "apiVersion": meta_version(view.accepts.meta_version),
            "metadata": metadata,
            "items": objects.map(|object| view.partial(&object)).collect::<Vec<_>>(),
        }),
        Shape::Table => view.table(&objects.collect::<Vec<_>>(), metadata, true),
    }
}

fn written(code: u16, value: &Value, call: &Call) -> Result<Response<Body>, ApiError> {
    let bytes = printed(value, call.accepts)?;
    Ok(finish(code, call.accepts.format, bytes, call))
}

fn printed(value: &Value, accepts: Accepts) -> Result<Vec<u8>, ApiError> {
    let mut out = Vec::with_capacity(1024);
    view::write(accepts, value, &mut out)?;
    if accepts.format == Format::Json {
        out.push(b'\n');
    }
    Ok(out)
}

/// The answer as a whole, compressed if it is large and the client can read that.
fn finish(code: u16, format: Format, bytes: impl Into<Bytes>, call: &Call) -> Response<Body> {
    let bytes = bytes.into();
    if call.takes_gzip && bytes.len() > gzip::LARGE {
        return headed(code, format.media_type(), body::full(gzip::whole(&bytes)), true);
    }
    plain(code, format.media_type(), bytes)
}

/// A document that is no object; whoever asks for it says what it is.
pub(crate) fn document(bytes: Bytes, takes_gzip: bool) -> Response<Body> {
    if takes_gzip && bytes.len() > gzip::LARGE {
        return headed(200, Format::Json.media_type(), body::full(gzip::whole(&bytes)), true);
    }
    plain(200, Format::Json.media_type(), bytes)
}

pub(crate) fn value_response(code: u16, value: &Value, accepts: Accepts) -> Response<Body> {
    match printed(value, accepts) {
        Ok(bytes) => plain(code, accepts.format.media_type(), bytes),
        Err(error) => failure(&error, Accepts::default()),
    }
}

pub(crate) fn plain(code: u16, content_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    headed(code, content_type, body::full(bytes), false)
}

fn headed(code: u16, content_type: &'static str, body: Body, gzip: bool) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

/// A Status, in the form the client reads.
pub(crate) fn failure(error: &ApiError, accepts: Accepts) -> Response<Body> {
    let mut response = value_response(error.code, &error.status(), accepts);
    if let Some(seconds) = error.details.retry_after_seconds {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == 401 {
        let challenge = HeaderValue::from_static("Bearer realm=\"kubernetes\"");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}
