//! What is wrong with an object, in upstream's words.
//!
//! Invariant: `Display` is exactly the text that `Status.details.causes` and kubectl show: path, cause, value, detail.

use std::fmt;

pub(crate) use base::error::quote;
use serde_json::Value;

/// The class of a field error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    Required,
    Invalid,
    NotSupported,
    Forbidden,
    Duplicate,
    TooLong,
    TooMany,
    TypeInvalid,
    NotFound,
    Internal,
}

impl Cause {
    /// The reason in `Status.details.causes`.
    pub fn reason(self) -> &'static str {
        match self {
            Cause::Required => "FieldValueRequired",
            Cause::Invalid => "FieldValueInvalid",
            Cause::NotSupported => "FieldValueNotSupported",
            Cause::Forbidden => "FieldValueForbidden",
            Cause::Duplicate => "FieldValueDuplicate",
            Cause::TooLong => "FieldValueTooLong",
            Cause::TooMany => "FieldValueTooMany",
            Cause::TypeInvalid => "FieldValueTypeInvalid",
            Cause::NotFound => "FieldValueNotFound",
            Cause::Internal => "InternalError",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Cause::Required => "Required value",
            Cause::Invalid | Cause::TypeInvalid => "Invalid value",
            Cause::NotSupported => "Unsupported value",
            Cause::Forbidden => "Forbidden",
            Cause::Duplicate => "Duplicate value",
            Cause::TooLong => "Too long",
            Cause::TooMany => "Too many",
            Cause::NotFound => "Not found",
            Cause::Internal => "Internal error",
        }
    }
}

/// One fault of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldError {
    /// `spec.containers[0].name`
    pub path: String,
    pub kind: Cause,
    pub detail: String,
    pub value: Option<Value>,
}

impl FieldError {
    pub fn new(kind: Cause, path: impl ToString, detail: impl Into<String>, value: Option<Value>) -> Self {
        Self { path: path.to_string(), kind, detail: detail.into(), value }
    }

    pub fn required(path: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(Cause::Required, path, detail, None)
    }

    pub fn invalid(path: impl ToString, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self::new(Cause::Invalid, path, detail, Some(value.into()))
    }

    pub fn forbidden(path: impl ToString, detail: impl Into<String>) -> Self {
        Self::new(Cause::Forbidden, path, detail, None)
    }

    pub fn duplicate(path: impl ToString, value: impl Into<Value>) -> Self {
        Self::new(Cause::Duplicate, path, "", Some(value.into()))
    }

    pub fn not_found(path: impl ToString, value: impl Into<Value>) -> Self {
        Self::new(Cause::NotFound, path, "", Some(value.into()))
    }

    pub fn not_supported<T: AsRef<str>>(path: impl ToString, value: impl Into<Value>, supported: &[T]) -> Self {
        let list: Vec<String> = supported.iter().map(|value| quote(value.as_ref())).collect();
        let detail = if list.is_empty() { String::new() } else { format!("supported values: {}", list.join(", ")) };
        Self::new(Cause::NotSupported, path, detail, Some(value.into()))
    }

    pub fn too_long(path: impl ToString, limit: usize) -> Self {
        Self::new(Cause::TooLong, path, format!("may not be more than {limit} bytes"), None)
    }

    pub fn too_many(path: impl ToString, count: usize, limit: usize) -> Self {
        Self::new(Cause::TooMany, path, format!("must have at most {limit} items"), Some(count.into()))
    }

    /// The reason in `Status.details.causes`.
    pub fn reason(&self) -> &'static str {
        self.kind.reason()
    }

    /// The text without the path, as `Status.details.causes[].message` has it.
    pub fn body(&self) -> String {
        let mut text = self.kind.text().to_owned();
        let shows_value = !matches!(self.kind, Cause::Required | Cause::Forbidden | Cause::TooLong | Cause::Internal);
        if let Some(value) = self.value.as_ref().filter(|_| shows_value) {
            text.push_str(": ");
            match value {
                Value::String(value) => text.push_str(&quote(value)),
                Value::Number(number) if number.is_f64() => {
                    text.push_str(&go_number(number.as_f64().unwrap_or_default()));
                }
                other => text.push_str(&go_json(other)),
            }
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

impl std::error::Error for FieldError {}

/// A float as Go's `%v` prints it: the shortest digits, with an exponent from a million on.
pub(crate) fn go_number(number: f64) -> String {
    let text = format!("{number:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// JSON as Go writes it: what HTML would take for markup is escaped.
pub(crate) fn go_json(value: &Value) -> String {
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => escaped.push_str(&format!("\\u{:04x}", u32::from(character))),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_read_as_upstream_prints_them() {
        for (error, text) in [
            (FieldError::required("spec.containers[0].name", ""), "spec.containers[0].name: Required value"),
            (
                FieldError::invalid("metadata.name", "A", "must be lower"),
                "metadata.name: Invalid value: \"A\": must be lower",
            ),
            (FieldError::invalid("spec.replicas", -1, "bad"), "spec.replicas: Invalid value: -1: bad"),
            (
                FieldError::not_supported("spec.type", "X", &["ClusterIP", "NodePort"]),
                "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \"NodePort\"",
            ),
            (FieldError::forbidden("spec", "no"), "spec: Forbidden: no"),
            (FieldError::duplicate("a[1]", "x"), "a[1]: Duplicate value: \"x\""),
            (FieldError::too_long("data", 5), "data: Too long: may not be more than 5 bytes"),
            (FieldError::not_found("v", "web"), "v: Not found: \"web\""),
            (FieldError::invalid("l", json!({"a": "b"}), "x"), "l: Invalid value: {\"a\":\"b\"}: x"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
