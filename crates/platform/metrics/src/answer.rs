//! The API: which paths there are, and what is answered.
//!
//! Invariant: whose figures are shown is decided by the API server: labels, fields and names are matched there, so a
//! selector means what it means for pods and nodes everywhere. What has no figures yet is not listed, and not found.

use base::{Quantity, quantity::Format, time};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use crate::book::{Book, Use};
use crate::{Metrics, documents};

/// The group and version that are served.
pub const GROUP: &str = "metrics.k8s.io";
pub const VERSION: &str = "v1beta1";

/// What a path means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Something about the API itself.
    Document(Document),
    Nodes {
        name: Option<String>,
    },
    Pods {
        namespace: Option<String>,
        name: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Document {
    Groups,
    Group,
    Resources,
    OpenApiIndex,
    OpenApi,
    Swagger,
    Health,
}

/// Reads a path; none if there is no such one.
pub(crate) fn asked(path: &str) -> Option<Asked> {
    let decoded = |part: &str| percent_encoding::percent_decode_str(part).decode_utf8_lossy().into_owned();
    let parts: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let owned = |text: &str| Some(text.to_owned());
    Some(match parts.as_slice() {
        ["healthz" | "livez" | "readyz"] => Asked::Document(Document::Health),
        ["apis"] => Asked::Document(Document::Groups),
        ["openapi", "v2"] => Asked::Document(Document::Swagger),
        ["openapi", "v3"] => Asked::Document(Document::OpenApiIndex),
        ["openapi", "v3", "apis", GROUP, VERSION] => Asked::Document(Document::OpenApi),
        ["apis", GROUP] => Asked::Document(Document::Group),
        ["apis", GROUP, VERSION] => Asked::Document(Document::Resources),
        ["apis", GROUP, VERSION, "nodes"] => Asked::Nodes { name: None },
        ["apis", GROUP, VERSION, "nodes", name] => Asked::Nodes { name: owned(name) },
        ["apis", GROUP, VERSION, "pods"] => Asked::Pods { namespace: None, name: None },
        ["apis", GROUP, VERSION, "namespaces", namespace, "pods"] => {
            Asked::Pods { namespace: owned(namespace), name: None }
        }
        ["apis", GROUP, VERSION, "namespaces", namespace, "pods", name] => {
            Asked::Pods { namespace: owned(namespace), name: owned(name) }
        }
        _ => return None,
    })
}

/// A refusal, as a Status.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) details: Value,
}

impl Failure {
    pub(crate) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self { code, reason: reason.to_owned(), message: message.into(), details: Value::Null }
    }

    fn not_found(plural: &str, group: &str, name: &str) -> Self {
        let dot = if group.is_empty() { "" } else { "." };
        let mut failure = Self::new(404, "NotFound", format!("{plural}{dot}{group} {name:?} not found"));
        failure.details = json!({ "name": name, "group": group, "kind": plural });
        failure
    }

    /// What the API server refused.
    fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::new(status.code, &status.reason, status.message.clone()),
            other => Self::new(500, "InternalError", format!("Internal error occurred: {}", base::error::chain(other))),
        }
    }

    pub(crate) fn response(&self) -> Response<Bytes> {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        let code = StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        written(code, &status)
    }
}

impl Metrics {
    /// Answers a request that its sender may make.
    pub async fn answer(&self, request: Request<Bytes>) -> Response<Bytes> {
        let (parts, _) = request.into_parts();
        let query = parts.uri.query().unwrap_or_default();
        match self.respond(&parts.method, parts.uri.path(), query, &parts.headers).await {
            Ok(response) => response,
            Err(failure) => failure.response(),
        }
    }

    async fn respond(
        &self,
        method: &Method,
        path: &str,
        query: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Bytes>, Failure> {
        let none = || Failure::new(404, "NotFound", "the server could not find the requested resource");
        let asked = asked(path).ok_or_else(none)?;
        let query = Query::read(query);
        if !matches!(*method, Method::GET | Method::HEAD) || query.watch {
            let message = "the server does not allow this method on the requested resource";
            return Err(Failure::new(405, "MethodNotAllowed", message));
        }
        let form = Form::asked(headers).ok_or_else(|| {
            let message = "only the following media types are accepted: application/json";
            Failure::new(406, "NotAcceptable", message)
        })?;
        let (kind, items, single) = match asked {
            Asked::Document(Document::Health) => return Ok(text("ok")),
            Asked::Document(document) => return Ok(documents::response(document, headers)),
            Asked::Nodes { name } => ("NodeMetrics", self.nodes(name.as_deref(), &query).await?, name.is_some()),
            Asked::Pods { namespace, name } => {
                let single = name.is_some();
                ("PodMetrics", self.pods(namespace.as_deref(), name.as_deref(), &query).await?, single)
            }
        };
        let value = match (form, single) {
            (Form::Table, _) => table(kind, &items, &query.include),
            (Form::Json, true) => items.into_iter().next().unwrap_or(Value::Null),
            (Form::Json, false) => json!({
                "kind": format!("{kind}List"), "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": {}, "items": items,
            }),
        };
        Ok(written(StatusCode::OK, &value))
    }

    async fn nodes(&self, name: Option<&str>, query: &Query) -> Result<Vec<Value>, Failure> {
        let api: Api<Node> = Api::all(self.inner.client.clone());
        let nodes: Vec<PartialObjectMeta<Node>> = match name {
            Some(name) => vec![api.get_metadata(name).await.map_err(|error| Failure::of(&error))?],
            None => api.list_metadata(&query.list).await.map_err(|error| Failure::of(&error))?.items,
        };
        let book = self.book().await.map_err(|error| Failure::of(&error))?;
        let found = nodes.iter().filter_map(|node| {
            let used = book.node(&node.name_any())?;
            Some(json!({
                "kind": "NodeMetrics", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata(node),
                "timestamp": time::rfc3339(used.at), "window": window(used), "usage": usage(used),
            }))
        });
        settled(name, found.collect(), |name| Failure::not_found("nodemetrics", GROUP, name))
    }

    async fn pods(&self, namespace: Option<&str>, name: Option<&str>, query: &Query) -> Result<Vec<Value>, Failure> {
        let client = self.inner.client.clone();
        let api: Api<Pod> = match namespace {
            Some(namespace) => Api::namespaced(client, namespace),
            None => Api::all(client),
        };
        let full = |name: &str| format!("{}/{name}", namespace.unwrap_or_default());
        let pods: Vec<PartialObjectMeta<Pod>> = match name {
            Some(name) => match api.get_metadata_opt(name).await.map_err(|error| Failure::of(&error))? {
                Some(pod) => vec![pod],
                None => return Err(Failure::not_found("pods", "", &full(name))),
            },
            None => api.list_metadata(&query.list).await.map_err(|error| Failure::of(&error))?.items,
        };
        let book = self.book().await.map_err(|error| Failure::of(&error))?;
        let found = pods.iter().filter_map(|pod| of_pod(&book, pod)).collect();
        settled(name, found, |name| Failure::not_found("podmetrics", GROUP, &full(name)))
    }
}

/// Who asks for one thing by its name must get it.
fn settled(
    name: Option<&str>,
    found: Vec<Value>,
    missing: impl FnOnce(&str) -> Failure,
) -> Result<Vec<Value>, Failure> {
    match name {
        Some(name) if found.is_empty() => Err(missing(name)),
        _ => Ok(found),
    }
}

fn of_pod(book: &Book, pod: &PartialObjectMeta<Pod>) -> Option<Value> {
    let containers = book.pod(pod.metadata.namespace.as_deref().unwrap_or(""), &pod.name_any())?;
    let oldest = containers.iter().map(|(_, used)| *used).min_by_key(|used| used.at)?;
    let containers: Vec<Value> =
        containers.iter().map(|(name, used)| json!({ "name": name, "usage": usage(*used) })).collect();
    Some(json!({
        "kind": "PodMetrics", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": metadata(pod),
        "timestamp": time::rfc3339(oldest.at), "window": window(oldest), "containers": containers,
    }))
}

/// Of what is measured only the names and labels are shown; it comes into being with each answer.
fn metadata(object: &impl kube::Resource) -> Value {
    let meta = object.meta();
    let mut shown = json!({ "name": meta.name, "creationTimestamp": time::rfc3339(time::now()) });
    if let Some(namespace) = &meta.namespace {
        shown["namespace"] = json!(namespace);
    }
    if let Some(labels) = meta.labels.as_ref().filter(|labels| !labels.is_empty()) {
        shown["labels"] = json!(labels);
    }
    shown
}

fn usage(used: Use) -> Value {
    json!({ "cpu": cpu(used.cpu).to_string(), "memory": memory(used.memory).to_string() })
}

fn cpu(billionths: u64) -> Quantity {
    format!("{billionths}n").parse().unwrap_or(Quantity::ZERO)
}

fn memory(bytes: u64) -> Quantity {
    Quantity::from_value(i64::try_from(bytes).unwrap_or(i64::MAX), Format::BinarySi)
}

/// As Go writes a duration of seconds, down to milliseconds.
fn window(used: Use) -> String {
    let millis = used.window.as_millis();
    let (minutes, millis) = (millis / 60_000, millis % 60_000);
    let mut text = if minutes > 0 { format!("{minutes}m") } else { String::new() };
    text.push_str(&(millis / 1000).to_string());
    if millis % 1000 > 0 {
        text.push_str(format!(".{:03}", millis % 1000).trim_end_matches('0'));
    }
    text.push('s');
    text
}

/// How things are shown to people: `kubectl get nodes.metrics.k8s.io`.
fn table(kind: &str, items: &[Value], include: &str) -> Value {
    let column = |name: &str, format: &str, description: &str| json!({ "name": name, "type": "string", "format": format, "description": description, "priority": 0 });
    let columns = [
        column("Name", "name", "Name of the resource"),
        column("cpu", "quantity", ""),
        column("memory", "quantity", ""),
        column("Window", "duration", ""),
    ];
    let rows = items.iter().map(|item| {
        let used = |resource: &str| {
            let read = |usage: &Value| usage[resource].as_str().and_then(|text| text.parse::<Quantity>().ok());
            if kind == "NodeMetrics" {
                return read(&item["usage"]).unwrap_or_default();
            }
            let all = item["containers"].as_array().into_iter().flatten();
            let all = all.filter_map(|container| read(&container["usage"]));
            all.fold(Quantity::ZERO, |sum, one| sum.checked_add(&one).unwrap_or(sum))
        };
        let cells =
            json!([item["metadata"]["name"], used("cpu").to_string(), used("memory").to_string(), item["window"]]);
        match include {
            "None" => json!({ "cells": cells }),
            "Object" => json!({ "cells": cells, "object": item }),
            _ => json!({ "cells": cells, "object": {
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"],
            } }),
        }
    });
    json!({
        "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns,
        "rows": rows.collect::<Vec<Value>>(),
    })
}

/// What of the query matters.
struct Query {
    list: ListParams,
    watch: bool,
    include: String,
}

impl Query {
    fn read(query: &str) -> Self {
        let mut read = Self { list: ListParams::default(), watch: false, include: String::new() };
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "labelSelector" if !value.is_empty() => read.list.label_selector = Some(value.into_owned()),
                "fieldSelector" if !value.is_empty() => read.list.field_selector = Some(value.into_owned()),
                "watch" => read.watch = matches!(&*value, "true" | "1"),
                "includeObject" => read.include = value.into_owned(),
                _ => {}
            }
        }
        read
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Table,
}

impl Form {
    /// The first form that the client asks for and we have.
    fn asked(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut wanted =
            accept.flat_map(|value| value.split(',')).map(str::trim).filter(|one| !one.is_empty()).peekable();
        if wanted.peek().is_none() {
            return Some(Self::Json);
        }
        wanted.find_map(|one| {
            let mut parts = one.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let parameters: Vec<&str> = parts.collect();
            let shape = parameters.iter().find_map(|one| one.strip_prefix("as="));
            match (media, shape) {
                ("application/json", Some("Table")) => Some(Self::Table),
                ("application/json" | "application/*" | "*/*", None) => Some(Self::Json),
                _ => None,
            }
        })
    }
}

pub(crate) fn written(code: StatusCode, value: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(format!("{value}\n")));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn text(text: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(text.as_bytes()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
