//! A few members of an object's text, without a tree of all the others.
//!
//! Invariant: what is read equals what the whole tree has at the same paths. Why: most of a pod's text is its containers,
//! volumes and owners of fields, and most who read a pod want its labels or its node.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Names of members from the top of the object down.
pub(crate) type Path = &'static [&'static str];

/// The object with only the members at these paths; the whole object if the text is not as expected.
pub(crate) fn slim(text: &[u8], paths: &[Path]) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Slim { paths, depth: 0 }.deserialize(&mut reader);
    match read {
        Ok(members) => Ok(Value::Object(members)),
        Err(_) => serde_json::from_slice(text),
    }
}

/// A member's name, as it stands in the text unless it is escaped.
#[derive(Deserialize)]
struct Name<'t>(#[serde(borrow)] Cow<'t, str>);

/// What is wanted below a member; `paths` are those that lead here, `depth` members deep.
#[derive(Clone, Copy)]
struct Slim<'p> {
    paths: &'p [Path],
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Slim<'_> {
    type Value = Map<String, Value>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Slim<'_> {
    type Value = Map<String, Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = Map::new();
        while let Some(Name(name)) = members.next_key::<Name<'de>>()? {
            let inner: Vec<Path> =
                self.paths.iter().copied().filter(|path| path.get(self.depth) == Some(&name.as_ref())).collect();
            if inner.is_empty() {
                members.next_value::<IgnoredAny>()?;
            } else if inner.iter().any(|path| path.len() == self.depth + 1) {
                found.insert(name.into_owned(), members.next_value()?);
            } else {
                let below = Slim { paths: &inner, depth: self.depth + 1 };
                let value = members.next_value_seed(below).map_err(A::Error::custom)?;
                found.insert(name.into_owned(), Value::Object(value));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_wanted_is_read() {
        let text = json!({
            "metadata": { "labels": { "a": "b" }, "managedFields": [{ "x": 1 }] },
            "spec": { "nodeName": "n", "containers": [{}], "odd\"name": 1 },
            "status": { "phase": "Running" },
        });
        let paths: &[Path] = &[&["metadata", "labels"], &["spec", "nodeName"], &["spec", "none"]];
        let read = slim(text.to_string().as_bytes(), paths).expect("an object");
        assert_eq!(read, json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "nodeName": "n" } }));
    }

    #[test]
    fn what_is_shaped_otherwise_is_read_whole() {
        let text = br#"{"metadata": null, "spec": 3}"#;
        let read = slim(text, &[&["metadata", "labels"]]).expect("JSON");
        assert_eq!(read, json!({ "metadata": null, "spec": 3 }));
        assert!(slim(b"{", &[&["a"]]).is_err());
    }
}
