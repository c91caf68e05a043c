//! The body of an apply: YAML, which JSON is a part of, or CBOR.
//!
//! Nothing is removed here: what the schema does not know is for the merge to refuse, in its own words. Keys that occur
//! twice are noticed and told only after the apply has succeeded, as upstream does it.

use serde_json::Value;

use crate::{call::Call, error::ApiError, negotiate::APPLY_CBOR, options::FieldValidation};

pub(crate) struct Applied {
    pub(crate) config: Value,
    /// What strict reading has to say.
    complaint: Option<String>,
}

impl Applied {
    pub(crate) fn read(call: &Call) -> Result<Self, ApiError> {
        let read = if call.content_type == APPLY_CBOR {
            // a key that occurs twice is no CBOR, so there is nothing to complain of
            kinds::cbor::decode(&call.body)
                .map(|config| Self { config, complaint: None })
                .map_err(|error| error.to_string())
        } else {
            json(&call.body).map_or_else(|| yaml(&call.body), Ok)
        };
        let read = read.and_then(|applied| match &applied.config {
            Value::Object(_) => Ok(applied),
            other => Err(format!(
                "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
                super::json_type(other)
            )),
        });
        read.map_err(|why| ApiError::bad_request(format!("error decoding YAML: {why}")))
    }

    /// Refuses or warns of what strict reading found, as the client asked.
    pub(crate) fn complain(&self, call: &Call) -> Result<(), ApiError> {
        let Some(complaint) = &self.complaint else { return Ok(()) };
        match call.options.field_validation {
            FieldValidation::Strict => Err(ApiError::bad_request(format!("error strict decoding YAML: {complaint}"))),
            FieldValidation::Warn => {
                call.warn(complaint.replace('\n', ""));
                Ok(())
            }
            FieldValidation::Ignore => Ok(()),
        }
    }
}

/// kubectl sends JSON, which is read faster as what it is; none if it is not.
fn json(body: &[u8]) -> Option<Applied> {
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
        return None;
    }
    let (config, duplicates) = kinds::decode::json(body, kinds::decode::MAX_DEPTH).ok()?;
    let keys: Vec<String> = duplicates
        .iter()
        .map(|path| format!("\n  line 1: key \"{}\" already set in map", path.rsplit('.').next().unwrap_or_default()))
        .collect();
    let complaint = (!keys.is_empty()).then(|| twice(&keys.concat()));
    Some(Applied { config, complaint })
}

fn twice(keys: &str) -> String {
    format!("error converting YAML to JSON: yaml: unmarshal errors:{keys}")
}

fn yaml(body: &[u8]) -> Result<Applied, String> {
    use serde_saphyr::{DuplicateKeyPolicy, Error, from_str_with_options, options};
    let failed = |why: &str| format!("error converting YAML to JSON: yaml: {}", why.lines().next().unwrap_or_default());
    let text = std::str::from_utf8(body).map_err(|_| failed("invalid UTF-8"))?;
    let strict = options! { strict_booleans: true, duplicate_keys: DuplicateKeyPolicy::Error };
    let error = match from_str_with_options(text, strict) {
        Ok(config) => return Ok(Applied { config, complaint: None }),
        Err(error) => error,
    };
    let lenient = options! { strict_booleans: true, duplicate_keys: DuplicateKeyPolicy::LastWins };
    match from_str_with_options(text, lenient) {
        Ok(config) => {
            let key = match error.without_snippet() {
                Error::DuplicateMappingKey { key, .. } => key.clone().unwrap_or_default(),
                _ => String::new(),
            };
            let line = error.location().map_or(1, |place| place.line());
            let complaint = twice(&format!("\n  line {line}: key \"{key}\" already set in map"));
            Ok(Applied { config, complaint: Some(complaint) })
        }
        Err(error) => Err(failed(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(body: &str) -> (Value, String) {
        let applied = super::json(body.as_bytes()).map_or_else(|| yaml(body.as_bytes()), Ok).expect("a document");
        (applied.config, applied.complaint.unwrap_or_default())
    }

    #[test]
    fn keys_that_occur_twice_are_told_and_the_last_wins() {
        let complaint = |line: u32| {
            format!(
                "error converting YAML to JSON: yaml: unmarshal errors:\n  line {line}: key \"b\" already set in map"
            )
        };
        assert_eq!(told("a:\n  b: 1\n  b: 2\n"), (json!({"a": {"b": 2}}), complaint(3)));
        assert_eq!(told(r#"{"a": {"b": 1, "b": 2}}"#), (json!({"a": {"b": 2}}), complaint(1)));
        assert_eq!(told("a: [1, x]"), (json!({"a": [1, "x"]}), String::new()));
        assert_eq!(told("{a: 1}"), (json!({"a": 1}), String::new()));
        assert!(yaml(b"a: [").is_err() && yaml(b"\xff").is_err());
    }
}
