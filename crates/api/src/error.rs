//! Everything the API can answer instead of an object, as a metav1 `Status`.
//!
//! Reasons, codes, messages and causes are upstream's (apimachinery `api/errors`), since clients branch on the reason
//! and people read the message. One type, because a refusal of the store, of admission or of the parser looks the same
//! to a client; the constructors are the closed list of meanings.

use std::borrow::Cow;

use kinds::{FieldError, Kind};
use serde_json::{Value, json};

use crate::attributes::Attributes;

#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    pub code: u16,
    pub reason: Cow<'static, str>,
    pub message: String,
    pub details: Box<Details>,
}

#[derive(Clone, Debug, Default)]
pub struct Details {
    pub name: String,
    pub group: String,
    pub kind: String,
    pub uid: String,
    pub causes: Vec<StatusCause>,
    pub retry_after_seconds: Option<u32>,
    /// How an expired list may go on; shown in the metadata of the Status.
    pub continue_token: String,
}

#[derive(Clone, Debug)]
pub struct StatusCause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// `deployments.apps`, or `pods` in the core group.
pub(crate) fn group_resource(kind: &Kind) -> String {
    qualified(&kind.plural, &kind.group)
}

fn qualified(name: &str, group: &str) -> String {
    if group.is_empty() { name.to_owned() } else { format!("{name}.{group}") }
}

impl ApiError {
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), message: message.into(), details: Box::default() }
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.details.name = name.to_owned();
        self.details.group = kind.group.clone();
        self.details.kind = kind.plural.clone();
        self
    }

    fn because(mut self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        let (reason, message, field) = (reason.to_owned(), message.into(), field.to_owned());
        self.details.causes.push(StatusCause { reason, message, field });
        self
    }

    pub fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", group_resource(kind));
        Self::new(404, "NotFound", message).about(kind, name)
    }

    /// No such path: the group, version, resource or subresource does not exist.
    pub fn no_such_path() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    pub fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", group_resource(kind));
        Self::new(409, "AlreadyExists", message).about(kind, name)
    }

    pub fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", group_resource(kind));
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// The object changed since the client read it.
    pub fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    pub fn invalid(kind: &Kind, name: &str, errors: &[FieldError]) -> Self {
        Self::invalid_kind(&kind.group, &kind.kind, name, errors)
    }

    /// As [`Self::invalid`], for bodies that are not rows of their own (a Scale, a Binding, DeleteOptions).
    pub fn invalid_kind(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Self {
        let mut texts: Vec<String> = Vec::with_capacity(errors.len());
        for text in errors.iter().map(ToString::to_string) {
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let list = if texts.len() == 1 { texts.remove(0) } else { format!("[{}]", texts.join(", ")) };
        let message = format!("{} \"{name}\" is invalid: {list}", qualified(kind, group));
        let mut error = Self::new(422, "Invalid", message);
        error.details.name = name.to_owned();
        error.details.group = group.to_owned();
        error.details.kind = kind.to_owned();
        for fault in errors {
            let text = fault.to_string();
            let body = text.strip_prefix(&format!("{}: ", fault.path)).unwrap_or(&text);
            error = error.because(fault.reason(), body, &fault.path);
        }
        error
    }

    /// Refused by the authorizer; `why` is what it added, or empty.
    pub fn forbidden(attributes: &Attributes, why: &str) -> Self {
        let refusal = attributes.refusal();
        let tail = if why.is_empty() { String::new() } else { format!(": {why}") };
        let subject = match (attributes.is_resource, attributes.name.is_empty()) {
            (true, false) => format!("{} \"{}\" is forbidden: ", attributes.group_resource(), attributes.name),
            (true, true) => format!("{} is forbidden: ", attributes.group_resource()),
            (false, _) => "forbidden: ".to_owned(),
        };
        let mut error = Self::new(403, "Forbidden", format!("{subject}{refusal}{tail}"));
        if attributes.is_resource {
            error.details.name = attributes.name.clone();
            error.details.group = attributes.group.clone();
            error.details.kind = attributes.resource.clone();
        }
        error
    }

    /// Refused by admission.
    pub fn denied(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", group_resource(kind));
        Self::new(403, "Forbidden", message).about(kind, name)
    }

    /// Adds a cause, as `NamespaceLifecycle` does with reason `NamespaceTerminating`.
    pub fn with_cause(self, reason: &str, message: impl Into<String>, field: &str) -> Self {
        self.because(reason, message, field)
    }

    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.details.retry_after_seconds = Some(seconds);
        self
    }

    pub fn unauthorized() -> Self {
        Self::new(401, "Unauthorized", "Unauthorized")
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub fn too_large(limit: usize) -> Self {
        Self::new(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit}"))
    }

    pub fn unsupported_media_type(given: &str, accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {list}");
        let mut error = Self::new(415, "UnsupportedMediaType", message);
        if !given.is_empty() {
            error = error.because("", format!("the request said content type {given}"), "");
        }
        error
    }

    pub fn not_acceptable(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        Self::new(406, "NotAcceptable", format!("only the following media types are accepted: {list}"))
    }

    pub fn method_not_allowed(kind: &Kind, verb: &str) -> Self {
        let message = format!("{verb} is not supported on resources of kind \"{}\"", group_resource(kind));
        let mut error = Self::new(405, "MethodNotAllowed", message);
        error.details.group = kind.group.clone();
        error.details.kind = kind.plural.clone();
        error
    }

    pub fn wrong_method() -> Self {
        Self::new(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
    }

    pub fn internal(cause: impl std::fmt::Display) -> Self {
        let cause = cause.to_string();
        Self::new(500, "InternalError", format!("Internal error occurred: {cause}")).because("", cause, "")
    }

    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(504, "Timeout", format!("Timeout: {}", message.into()))
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::new(429, "TooManyRequests", message).with_retry_after(retry_after_seconds)
    }

    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// A read at a resourceVersion that is ahead of the store.
    pub fn too_large_resource_version(asked: u64, newest: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {newest}");
        Self::new(504, "Timeout", message).because("ResourceVersionTooLarge", "Too large resource version", "")
    }

    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }

    /// The metav1 `Status` sent to the client.
    pub fn status(&self) -> Value {
        let details = &self.details;
        let mut shown = serde_json::Map::new();
        let texts =
            [("name", &details.name), ("group", &details.group), ("kind", &details.kind), ("uid", &details.uid)];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            shown.insert(field.to_owned(), Value::String(text.clone()));
        }
        if !details.causes.is_empty() {
            let causes = details.causes.iter().map(StatusCause::to_json).collect();
            shown.insert("causes".to_owned(), Value::Array(causes));
        }
        if let Some(seconds) = details.retry_after_seconds {
            shown.insert("retryAfterSeconds".to_owned(), Value::from(seconds));
        }
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = Value::from(&*self.reason);
        }
        if !details.continue_token.is_empty() {
            status["metadata"]["continue"] = Value::String(details.continue_token.clone());
        }
        if !shown.is_empty() {
            status["details"] = Value::Object(shown);
        }
        status
    }
}

impl StatusCause {
    fn to_json(&self) -> Value {
        let mut cause = serde_json::Map::new();
        let texts = [("reason", &self.reason), ("message", &self.message), ("field", &self.field)];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            cause.insert(field.to_owned(), Value::String(text.clone()));
        }
        Value::Object(cause)
    }
}
