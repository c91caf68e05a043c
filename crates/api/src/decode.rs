//! From the body of a request to an object of the expected kind.
//!
//! Malformed text, wrong types, unknown and repeated fields are told apart here and worded as upstream words them;
//! after this module an object has only known fields of the right JSON types.

use kinds::Kind;
use serde_json::Value;

use crate::{
    call::Call,
    error::ApiError,
    negotiate::{self, BodyFormat},
    options::FieldValidation,
};

mod protobuf;

#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// Paths of fields that were given more than once.
    pub(crate) duplicates: Vec<String>,
}

pub(crate) fn json(text: &[u8]) -> Result<Parsed, String> {
    let read = kinds::decode::json(text, kinds::decode::MAX_DEPTH);
    read.map(|(value, duplicates)| Parsed { value, duplicates }).map_err(|error| format!("json parse error: {error}"))
}

fn yaml(text: &[u8]) -> Result<Parsed, String> {
    let failed = |why: &str| format!("error converting YAML to JSON: yaml: {}", why.lines().next().unwrap_or_default());
    let text = std::str::from_utf8(text).map_err(|_| failed("invalid UTF-8"))?;
    let options = serde_saphyr::options! { strict_booleans: true };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(value) => Ok(Parsed { value, duplicates: Vec::new() }),
        Err(error) => Err(failed(&error.to_string())),
    }
}

/// The object in the body, of `kind`, pruned.
pub(crate) fn object(call: &Call, kind: &Kind) -> Result<Value, ApiError> {
    let parsed = parse(call, &kind.kind)?;
    let mut value = parsed.value;
    identify(&mut value, kind)?;
    checked(call, kind, &mut value, &parsed.duplicates)?;
    Ok(value)
}

/// The JSON or YAML in the body, whatever it is.
pub(crate) fn parse(call: &Call, expected: &str) -> Result<Parsed, ApiError> {
    let parsed = match negotiate::body_format(&call.content_type)? {
        BodyFormat::Json => json(&call.body),
        BodyFormat::Yaml => yaml(&call.body),
        BodyFormat::Protobuf => protobuf::decode(&call.body).map(|value| Parsed { value, duplicates: Vec::new() }),
    };
    let fault = match parsed {
        Ok(parsed) if parsed.value.is_object() => return Ok(parsed),
        Ok(parsed) => {
            let found = json_type(&parsed.value);
            format!(
                "json parse error: json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string; Kind string }}"
            )
        }
        Err(fault) => fault,
    };
    Err(ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {expected}): couldn't get version/kind; {fault} ({})",
        summary(&call.body)
    )))
}

/// The body of options, reviews and other objects that are no rows; an empty body is an empty object.
pub(crate) fn loose(call: &Call, expected: &str) -> Result<Value, ApiError> {
    if call.body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    Ok(parse(call, expected)?.value)
}

/// Fills in apiVersion and kind where the client left them out, refuses others.
fn identify(value: &mut Value, kind: &Kind) -> Result<(), ApiError> {
    let expected = kind.api_version();
    let given = value.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    let given_kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
    if !given.is_empty() && given != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given}) does not match the expected API version ({expected})"
        )));
    }
    if !given_kind.is_empty() && given_kind != kind.kind {
        return Err(ApiError::bad_request(format!(
            "{given_kind} in version \"{}\" cannot be handled as a {}: unknown conversion",
            kind.version, kind.kind
        )));
    }
    value["apiVersion"] = Value::String(expected);
    value["kind"] = Value::String(kind.kind.clone());
    Ok(())
}

/// Types and unknown fields of an object that came in a body.
fn checked(call: &Call, kind: &Kind, value: &mut Value, duplicates: &[String]) -> Result<(), ApiError> {
    let refuse = |why: String| {
        let message =
            format!("{} in version \"{}\" cannot be handled as a {}: {why}", kind.kind, kind.version, kind.kind);
        Err(ApiError::bad_request(message))
    };
    if let Err(error) = kinds::coerce(kind, value) {
        return Err(ApiError::bad_request(error.to_string()));
    }
    let faults = strictness(kind, value, duplicates);
    complain(call, faults).or_else(refuse)
}

/// Removes unknown fields; the complaints about them, and about repeated ones.
fn strictness(kind: &Kind, value: &mut Value, duplicates: &[String]) -> Vec<String> {
    let unknown = kinds::prune(kind, value).into_iter().map(|unknown| unknown.to_string());
    unknown.chain(duplicates.iter().map(|path| format!("duplicate field \"{path}\""))).collect()
}

/// The same for an object that came out of a patch, where upstream blames the patch.
pub(crate) fn patched(call: &Call, kind: &Kind, value: &mut Value, duplicates: &[String]) -> Result<(), ApiError> {
    let refuse = |why: String| {
        let given = String::from_utf8_lossy(&call.body).into_owned();
        let fault = kinds::FieldError {
            path: "patch".to_owned(),
            kind: kinds::Cause::Invalid,
            detail: why,
            value: Some(Value::String(given)),
        };
        Err(ApiError::invalid_kind("", "", "", &[fault]))
    };
    if let Err(error) = kinds::coerce(kind, value) {
        return refuse(error.to_string());
    }
    let faults = strictness(kind, value, duplicates);
    complain(call, faults).or_else(refuse)
}

/// Ignores, warns of or refuses what strict decoding found, as the client asked.
fn complain(call: &Call, faults: Vec<String>) -> Result<(), String> {
    match call.options.field_validation {
        FieldValidation::Strict if !faults.is_empty() => Err(format!("strict decoding error: {}", faults.join(", "))),
        FieldValidation::Warn => {
            faults.into_iter().for_each(|fault| call.warn(fault));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn json_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The start of a body, for a message: as text if it may be JSON, else as hex.
fn summary(body: &[u8]) -> String {
    const LONGEST: usize = 30;
    let head = &body[..body.len().min(LONGEST)];
    let more = if body.len() > LONGEST { " ..." } else { "" };
    match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(head)),
        Some(_) => format!("{}{more}", hex::encode(head)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_shows_json_as_text_and_the_rest_as_hex() {
        assert_eq!(summary(b""), "<empty>");
        assert_eq!(summary(b"{bad"), "{bad");
        assert_eq!(summary(b"hi"), "6869");
        assert!(summary(&[b'{'; 40]).ends_with(" ..."));
    }

    #[test]
    fn yaml_becomes_the_same_values_as_json() {
        let parsed = yaml(b"a: [1, two, y]\nb: {c: true}\n").expect("yaml");
        assert_eq!(parsed.value.to_string(), r#"{"a":[1,"two","y"],"b":{"c":true}}"#);
        assert!(yaml(b"a: [1").is_err() && yaml(b"\xff").is_err());
    }
}
