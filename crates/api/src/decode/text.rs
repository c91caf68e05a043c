//! JSON and YAML text to values, noticing fields that are given twice.
//!
//! serde_json keeps the last of two equal keys and says nothing; a strict client wants to know. Go's error texts are
//! imitated because people search for them.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

#[derive(Debug)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// Paths of fields that were given more than once.
    pub(crate) duplicates: Vec<String>,
}

pub(crate) fn json(text: &[u8]) -> Result<Parsed, String> {
    let duplicates = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(text);
    let seed = Seed { at: &Path::Root, duplicates: &duplicates };
    let value = seed
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| format!("json parse error: {}", go_text(text, &error)))?;
    Ok(Parsed { value, duplicates: duplicates.into_inner() })
}

pub(crate) fn yaml(text: &[u8]) -> Result<Parsed, String> {
    let text = std::str::from_utf8(text).map_err(|_| "yaml: invalid UTF-8".to_owned())?;
    let value = serde_saphyr::from_str::<Value>(text).map_err(|error| {
        let said = error.to_string();
        format!("error converting YAML to JSON: yaml: {}", said.lines().next().unwrap_or_default())
    })?;
    Ok(Parsed { value, duplicates: Vec::new() })
}

/// The words Go's decoder has for the same fault.
fn go_text(text: &[u8], error: &serde_json::Error) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let said = error.to_string();
    let place = [
        ("expected value", "looking for beginning of value"),
        ("key must be a string", "looking for beginning of object key string"),
        ("trailing comma", "looking for beginning of object key string"),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("trailing characters", "after top-level value"),
        ("expected ident", "in literal"),
        ("control character", "in string literal"),
        ("invalid escape", "in string escape code"),
        ("invalid number", "in numeric literal"),
    ]
    .into_iter()
    .find(|(ours, _)| said.starts_with(ours));
    let line = text.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1)).unwrap_or_default();
    let found = line.get(error.column().saturating_sub(1)).copied().map(char::from);
    match (place, found) {
        (Some((_, place)), Some(found)) => format!("invalid character {found:?} {place}"),
        _ => said,
    }
}

enum Path<'a> {
    Root,
    Field(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Path::Root => Ok(()),
            Path::Field(Path::Root, name) => f.write_str(name),
            Path::Field(parent, name) => write!(f, "{parent}.{name}"),
            Path::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

struct Seed<'a> {
    at: &'a Path<'a>,
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

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("invalid number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            let at = Path::Index(self.at, items.len());
            match access.next_element_seed(Seed { at: &at, duplicates: self.duplicates })? {
                Some(item) => items.push(item),
                None => return Ok(Value::Array(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            let at = Path::Field(self.at, &name);
            let value = access.next_value_seed(Seed { at: &at, duplicates: self.duplicates })?;
            if fields.contains_key(&name) {
                let mut duplicates = self.duplicates.borrow_mut();
                if duplicates.len() > 100 {
                    return Err(A::Error::custom("too many repeated fields"));
                }
                duplicates.push(at.to_string());
            }
            fields.insert(name, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let seen = match json(text.as_bytes()) {
            Ok(parsed) => format!("{} {:?}", parsed.value, parsed.duplicates),
            Err(error) => error,
        };
        assert_eq!(seen, expected, "{text}");
    }

    #[test]
    fn repeated_fields_are_noticed_with_their_path() {
        check(r#"{"a":[{"b":1,"b":2}],"c":null}"#, r#"{"a":[{"b":2}],"c":null} ["a[0].b"]"#);
    }

    #[test]
    fn faults_read_as_in_upstream() {
        check("", "json parse error: unexpected end of JSON input");
        check("{", "json parse error: unexpected end of JSON input");
        check("nope", "json parse error: invalid character 'o' in literal");
        check("{\"a\" 1}", "json parse error: invalid character '1' after object key");
        check("{a: 1}", "json parse error: invalid character 'a' looking for beginning of object key string");
        check("{} x", "json parse error: invalid character 'x' after top-level value");
    }

    #[test]
    fn yaml_becomes_the_same_values() {
        let parsed = yaml(b"a: [1, two]\nb: {c: true}\n").expect("yaml");
        assert_eq!(parsed.value.to_string(), r#"{"a":[1,"two"],"b":{"c":true}}"#);
        assert!(yaml(b"a: [1").is_err());
    }
}
