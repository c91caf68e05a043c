//! Bytes to JSON values: duplicate members are noticed, nesting is limited, faults are told in the words of Go's decoder.
//!
//! Invariant: the last of several equal members wins, as in Go. Why not `serde_json::Value`'s own reader: it drops
//! duplicates without a word, and clients that ask for strict decoding must be told of them.

use std::cell::RefCell;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::path::Path;

/// As deep as the reader goes; real objects stay far below.
pub const MAX_DEPTH: usize = 120;

/// Why bytes or values do not become an object.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Not JSON.
    #[error("{0}")]
    Syntax(String),
    #[error("exceeded max depth")]
    TooDeep,
    /// JSON, but not of the kind's shape.
    #[error("{0}")]
    Type(String),
}

const TOO_DEEP: &str = "exceeded max depth";

/// Reads one JSON value and reports the paths of members that occur twice.
pub fn json(bytes: &[u8], depth: usize) -> Result<(Value, Vec<String>), DecodeError> {
    let duplicates = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { path: &Path::Root, left: depth.min(MAX_DEPTH), duplicates: &duplicates };
    let value = seed.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    match value {
        Ok(value) => Ok((value, duplicates.into_inner())),
        Err(error) => Err(explain(bytes, &error)),
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    path: &'a Path<'a>,
    left: usize,
    duplicates: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let left = self.left.checked_sub(1).ok_or_else(|| A::Error::custom(TOO_DEEP))?;
        let mut list = Vec::new();
        loop {
            let path = self.path.index(list.len());
            let seed = Seed { path: &path, left, duplicates: self.duplicates };
            match items.next_element_seed(seed)? {
                Some(item) => list.push(item),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let left = self.left.checked_sub(1).ok_or_else(|| A::Error::custom(TOO_DEEP))?;
        let mut members = Map::new();
        while let Some(name) = entries.next_key::<String>()? {
            let path = self.path.field(&name);
            let value = entries.next_value_seed(Seed { path: &path, left, duplicates: self.duplicates })?;
            if members.contains_key(&name) {
                self.duplicates.borrow_mut().push(path.to_string());
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// Says what serde_json found in the words of Go's encoding/json.
fn explain(bytes: &[u8], error: &serde_json::Error) -> DecodeError {
    let message = error.to_string();
    if message.starts_with(TOO_DEEP) || message.starts_with("recursion limit") {
        return DecodeError::TooDeep;
    }
    if error.is_eof() {
        return DecodeError::Syntax("unexpected end of JSON input".to_owned());
    }
    let place = [
        ("expected value", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("expected `:`", "after object key"),
        ("trailing comma", "looking for beginning of value"),
        ("trailing characters", "after top-level value"),
        ("control character", "in string literal"),
        ("invalid escape", "in string escape code"),
        ("invalid number", "in numeric literal"),
    ]
    .into_iter()
    .find_map(|(start, place)| message.starts_with(start).then_some(place));
    let character = character_at(bytes, error.line(), error.column());
    match (place, character) {
        (Some(place), Some(character)) => {
            DecodeError::Syntax(format!("invalid character {} {place}", go_character(character)))
        }
        _ => DecodeError::Syntax(message),
    }
}

fn character_at(bytes: &[u8], line: usize, column: usize) -> Option<char> {
    let row = bytes.split(|byte| *byte == b'\n').nth(line.checked_sub(1)?)?;
    let rest = row.get(column.checked_sub(1)?..)?;
    String::from_utf8_lossy(&rest[..rest.len().min(4)]).chars().next()
}

fn go_character(character: char) -> String {
    match character {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        other => format!("'{}'", other.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn duplicates_are_reported_and_the_last_wins() {
        let (value, duplicates) = json(br#"{"a":1,"b":[{"c":1,"c":2}],"a":3}"#, 100).unwrap();
        assert_eq!(value, serde_json::json!({"a": 3, "b": [{"c": 2}]}));
        assert_eq!(duplicates, ["b[0].c", "a"]);
    }

    #[test]
    fn faults_are_told_in_the_words_of_go() {
        for (text, message) in [
            ("", "unexpected end of JSON input"),
            ("{\"a\":", "unexpected end of JSON input"),
            ("x", "invalid character 'x' looking for beginning of value"),
            ("{a}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
        ] {
            assert_eq!(json(text.as_bytes(), 100).unwrap_err().to_string(), message, "{text}");
        }
    }

    #[test]
    fn nesting_is_limited() {
        assert!(json(b"[[[1]]]", 3).is_ok());
        assert_eq!(json(b"[[[1]]]", 2), Err(DecodeError::TooDeep));
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(json(deep.as_bytes(), usize::MAX), Err(DecodeError::TooDeep));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            drop(json(&bytes, 100));
        }

        #[test]
        fn json_like_texts_never_panic(text in "[\\[\\]{}:,\"a0-9.eE\\\\\n -]{0,30}") {
            drop(json(text.as_bytes(), 100));
        }
    }
}
