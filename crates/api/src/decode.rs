//! From the body of a request to an object of the expected kind.
//!
//! Malformed text, wrong types, unknown and repeated fields are told apart here and worded as upstream words them;
//! after this module an object has only known fields of the right JSON types.

use kinds::Kind;
use serde_json::Value;

use crate::{
    call::Call,
    error::ApiError,
    negotiate::{self, Format},
    options::FieldValidation,
};

mod applied;
mod patched;

pub(crate) use applied::Applied;
pub(crate) use patched::Blame;

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
    if kind.custom.is_some() && negotiate::body_format(&call.content_type)? == Format::Protobuf {
        let (name, version) = (&kind.kind, &kind.version);
        return Err(ApiError::bad_request(format!(
            "{name} in version \"{version}\" cannot be handled as a {name}: object *unstructured.Unstructured does not \
             implement the protobuf marshalling interface and cannot be encoded to a protobuf message"
        )));
    }
    let parsed = parse(call, &kind.api_version(), &kind.kind)?;
    let mut value = parsed.value;
    identify(&mut value, kind)?;
    checked(call, kind, &mut value, &parsed.duplicates)?;
    Ok(value)
}

/// The object in the body of a subresource, of a type that is no row, pruned.
pub(crate) fn typed(call: &Call, api_version: &str, kind: &str) -> Result<Value, ApiError> {
    let Parsed { mut value, duplicates } = parse(call, api_version, kind)?;
    let given = text(&value, "kind");
    if !given.is_empty() && given != kind {
        let (_, version) = kinds::catalog::split_api_version(text(&value, "apiVersion"));
        return Err(unhandled(given, version, kind, "unknown conversion"));
    }
    let mut faults: Vec<String> = shape_of(&mut value, api_version, kind)?;
    faults.extend(duplicates.iter().map(|path| format!("duplicate field \"{path}\"")));
    let (_, version) = kinds::catalog::split_api_version(api_version);
    complain(call, faults).map_err(|why| unhandled(kind, version, kind, &why))?;
    Ok(value)
}

/// The options in the body of a delete. No body is no options, and what they do not know they ignore.
pub(crate) fn delete_options(call: &Call) -> Result<Value, ApiError> {
    const KIND: &str = "DeleteOptions";
    if call.body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    let mut value = parse(call, "v1", KIND)?.value;
    let given = text(&value, "kind");
    if !given.is_empty() && given != KIND {
        return Err(ApiError::bad_request("decoded object cannot be converted to DeleteOptions"));
    }
    shape_of(&mut value, "v1", KIND)?;
    Ok(value)
}

/// Refuses wrong types and removes what the type does not have; what that was.
fn shape_of(value: &mut Value, api_version: &str, kind: &str) -> Result<Vec<String>, ApiError> {
    let ty = kinds::protobuf::type_of(api_version, kind)
        .ok_or_else(|| ApiError::internal(format!("the schema knows no {kind}")))?;
    let (_, version) = kinds::catalog::split_api_version(api_version);
    kinds::coerce_type(ty, value).map_err(|error| unhandled(kind, version, kind, &error.to_string()))?;
    Ok(kinds::prune_type(ty, value).into_iter().map(|unknown| unknown.to_string()).collect())
}

fn unhandled(kind: &str, version: &str, expected: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("{kind} in version \"{version}\" cannot be handled as a {expected}: {why}"))
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// The object in the body, in whatever form; of the given kind if it does not say.
fn parse(call: &Call, api_version: &str, expected: &str) -> Result<Parsed, ApiError> {
    let parsed = match negotiate::body_format(&call.content_type)? {
        Format::Json => json(&call.body),
        Format::Yaml => yaml(&call.body),
        Format::Cbor => {
            let read = kinds::cbor::decode(&call.body).map_err(|error| {
                let why = format!("unable to determine group/version/kind: {error}");
                unrecognized(call, expected, &why)
            });
            Ok(Parsed { value: read?, duplicates: Vec::new() })
        }
        Format::Protobuf => {
            return match kinds::protobuf::decode_as(&call.body, api_version, expected) {
                Ok(value) => Ok(Parsed { value, duplicates: Vec::new() }),
                Err(error) => Err(match &error.object {
                    Some((version, kind)) => unhandled(kind, version, expected, &error.text),
                    None => unrecognized(call, expected, &error.text),
                }),
            };
        }
    };
    match parsed {
        Ok(parsed) if parsed.value.is_object() => Ok(parsed),
        Ok(parsed) => {
            let found = json_type(&parsed.value);
            let why = format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {found} into Go value of type \
                 struct {{ APIVersion string; Kind string }}"
            );
            Err(unrecognized(call, expected, &why))
        }
        Err(fault) => Err(unrecognized(call, expected, &format!("couldn't get version/kind; {fault}"))),
    }
}

fn unrecognized(call: &Call, expected: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {expected}): {why} ({})",
        summary(&call.body)
    ))
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

pub(crate) fn json_type(value: &Value) -> &'static str {
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
