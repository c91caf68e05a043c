//! One step of a path in a field set: a field, a list item by key or value, or a place in a list.
//!
//! Invariant: elements have a total order (that of upstream's field sets), so sets are sorted vectors and walks zip them.
//! Texts are borrowed from the object or the entry they came from; only keys of list items are allocated.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserializer as _, MapAccess, Visitor};
use serde_json::Value;

use crate::error::quote;

/// A value inside a path element.
#[derive(Clone, Debug)]
pub(super) enum Scalar<'a> {
    /// Also a float without a fraction, which upstream takes for the same number.
    Integer(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Bool(bool),
    /// Null, lists and maps: never made from an object, but a stored entry may have them.
    Other(Cow<'a, Value>),
}

impl<'a> Scalar<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Bool(flag) => Self::Bool(*flag),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Number(number) => Self::number(number),
            other => Self::Other(Cow::Borrowed(other)),
        }
    }

    fn owned(value: Value) -> Scalar<'static> {
        match value {
            Value::Bool(flag) => Scalar::Bool(flag),
            Value::String(text) => Scalar::Text(Cow::Owned(text)),
            Value::Number(number) => Scalar::number(&number),
            other => Scalar::Other(Cow::Owned(other)),
        }
    }

    fn number(number: &serde_json::Number) -> Scalar<'static> {
        match number.as_i64() {
            Some(integer) => Scalar::Integer(integer),
            None => Scalar::float(number.as_f64().unwrap_or_default()),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    fn float(float: f64) -> Scalar<'static> {
        const EDGE: f64 = 9_223_372_036_854_775_808.0;
        if float.fract() == 0.0 && (-EDGE..EDGE).contains(&float) {
            Scalar::Integer(float as i64)
        } else {
            Scalar::Float(float)
        }
    }

    /// The place of its type in the order of values.
    fn rank(&self) -> u8 {
        match self {
            Self::Integer(_) | Self::Float(_) => 0,
            Self::Text(_) => 1,
            Self::Bool(_) => 2,
            Self::Other(value) => match &**value {
                Value::Array(_) => 3,
                Value::Object(_) => 4,
                _ => 5,
            },
        }
    }

    /// JSON as upstream's encoder writes it into a key.
    fn write(&self, out: &mut String) {
        match self {
            Self::Integer(integer) => out.push_str(&integer.to_string()),
            Self::Float(float) => out.push_str(&float.to_string()),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Text(text) => write_text(text, out),
            Self::Other(value) => out.push_str(&value.to_string()),
        }
    }
}

/// Integers and floats as one line of numbers; exact, so that the order is total.
#[expect(clippy::cast_possible_truncation, reason = "floats without a fraction are integers by construction")]
fn compare_mixed(integer: i64, float: f64) -> Ordering {
    const EDGE: f64 = 9_223_372_036_854_775_808.0;
    if float >= EDGE {
        Ordering::Less
    } else if float < -EDGE {
        Ordering::Greater
    } else {
        integer.cmp(&(float.trunc() as i64)).then_with(|| 0.0_f64.total_cmp(&float.fract()))
    }
}

impl Ord for Scalar<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => a.cmp(b),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Integer(a), Self::Float(b)) => compare_mixed(*a, *b),
            (Self::Float(a), Self::Integer(b)) => compare_mixed(*b, *a).reverse(),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Other(a), Self::Other(b)) => {
                self.rank().cmp(&other.rank()).then_with(|| a.to_string().cmp(&b.to_string()))
            }
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar<'_> {}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(integer) => integer.fmt(f),
            Self::Float(float) => float.fmt(f),
            Self::Text(text) => f.write_str(&quote(text)),
            Self::Bool(flag) => flag.fmt(f),
            Self::Other(value) => match &**value {
                Value::Array(items) => {
                    let items: Vec<String> = items.iter().map(|item| Scalar::of(item).to_string()).collect();
                    write!(f, "[{}]", items.join(","))
                }
                Value::Object(members) => {
                    members.iter().try_for_each(|(name, value)| write!(f, "{name}={}", Scalar::of(value)))
                }
                other => write!(f, "{other}"),
            },
        }
    }
}

/// The key fields of an item of a list map, sorted by name.
pub(super) type Key<'a> = Box<[(Cow<'a, str>, Scalar<'a>)]>;

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Element<'a> {
    Field(&'a str),
    /// An item of a list map.
    Key(Key<'a>),
    /// An item of a set.
    Value(Scalar<'a>),
    Index(i64),
}

/// Why a text is no path element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) String);

impl<'a> Element<'a> {
    /// Reads the name of a member of a FieldsV1 object; none for types that a later version may have.
    pub(super) fn parse(text: &'a str) -> Result<Option<Self>, Malformed> {
        let wrong = |error: &dyn fmt::Display| Malformed(error.to_string());
        let (kind, rest) = match text.as_bytes() {
            [_] | [] => return Err(Malformed("key must be 2 characters long:".to_owned())),
            [kind, b':', ..] => (*kind, &text[2..]),
            _ => return Err(Malformed(format!("missing colon: {text}"))),
        };
        Ok(match kind {
            b'f' => Some(Self::Field(rest)),
            b'k' => Some(Self::Key(key(rest)?)),
            b'v' => Some(Self::Value(Scalar::owned(serde_json::from_str(rest).map_err(|error| wrong(&error))?))),
            b'i' => Some(Self::Index(rest.parse().map_err(|error| wrong(&error))?)),
            _ => None,
        })
    }

    /// The name of its member in a FieldsV1 object.
    pub(super) fn write(&self, out: &mut String) {
        match self {
            Self::Field(name) => {
                out.push_str("f:");
                out.push_str(name);
            }
            Self::Key(fields) => {
                out.push_str("k:{");
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_text(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Self::Value(value) => {
                out.push_str("v:");
                value.write(out);
            }
            Self::Index(index) => {
                out.push_str("i:");
                out.push_str(&index.to_string());
            }
        }
    }
}

/// As conflicts show it: `.name`, `[name="web"]`, `[="a"]`, `[0]`.
impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                for (index, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name}={value}", if index == 0 { '[' } else { ',' })?;
                }
                f.write_str(if fields.is_empty() { "[]" } else { "]" })
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// A JSON string as Go's encoder writes it: safe inside HTML.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

fn key(text: &str) -> Result<Key<'_>, Malformed> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let fields = reader.deserialize_map(Fields).and_then(|fields| reader.end().map(|()| fields));
    fields.map_err(|error| Malformed(error.to_string()))
}

/// Reads a key without copying what stands in it unescaped.
struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of key fields")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut fields: Vec<(Cow<'de, str>, Scalar<'de>)> = Vec::with_capacity(2);
        while let Some(name) = members.next_key_seed(Text)? {
            fields.push((name, members.next_value_seed(One)?));
        }
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(fields.into())
    }
}

struct Text;

impl<'de> serde::de::DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

struct One;

impl<'de> serde::de::DeserializeSeed<'de> for One {
    type Value = Scalar<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for One {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(flag))
    }

    fn visit_i64<E>(self, integer: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(integer))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Self::Value, E> {
        Ok(Scalar::number(&integer.into()))
    }

    fn visit_f64<E>(self, float: f64) -> Result<Self::Value, E> {
        Ok(Scalar::float(float))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Other(Cow::Owned(Value::Null)))
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Value>()? {
            list.push(item);
        }
        Ok(Scalar::Other(Cow::Owned(Value::Array(list))))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut map = serde_json::Map::new();
        while let Some((name, value)) = members.next_entry::<String, Value>()? {
            map.insert(name, value);
        }
        Ok(Scalar::Other(Cow::Owned(Value::Object(map))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_and_read_as_upstream_does() {
        for (text, shown) in [
            ("f:metadata", ".metadata"),
            ("f:app.kubernetes.io/name", ".app.kubernetes.io/name"),
            ("k:{\"name\":\"web\"}", "[name=\"web\"]"),
            ("k:{\"containerPort\":80,\"protocol\":\"TCP\"}", "[containerPort=80,protocol=\"TCP\"]"),
            ("k:{\"name\":\"a\\u003cb\\\"\"}", "[name=\"a<b\\\"\"]"),
            ("k:{}", "[]"),
            ("v:\"kubernetes.io/pvc\"", "[=\"kubernetes.io/pvc\"]"),
            ("v:1.5", "[=1.5]"),
            ("v:true", "[=true]"),
            ("i:3", "[3]"),
        ] {
            let element = Element::parse(text).unwrap().unwrap();
            let mut written = String::new();
            element.write(&mut written);
            assert_eq!((written.as_str(), element.to_string().as_str()), (text, shown));
        }
        let sorted = Element::parse("k:{\"protocol\":\"UDP\",\"port\":53.0}").unwrap().unwrap();
        assert_eq!(sorted, Element::parse("k:{\"port\":53,\"protocol\":\"UDP\"}").unwrap().unwrap());
    }

    #[test]
    fn what_is_no_element_is_refused_and_what_is_of_a_later_version_is_skipped() {
        for text in ["", "f", "fx", "k:x", "k:[]", "v:", "i:x", "k:{} x"] {
            assert!(Element::parse(text).is_err(), "{text}");
        }
        assert_eq!(Element::parse("z:later"), Ok(None));
    }

    #[test]
    fn the_order_is_fields_keys_values_places_and_numbers_by_size() {
        let texts = [
            "f:a",
            "f:b",
            "k:{\"port\":9}",
            "k:{\"port\":9.5}",
            "k:{\"port\":10}",
            "k:{\"port\":10,\"x\":1}",
            "k:{\"port\":\"a\"}",
            "k:{\"port\":false}",
            "v:-1",
            "v:1e30",
            "v:\"a\"",
            "v:[1]",
            "v:{}",
            "v:null",
            "i:2",
            "i:10",
        ];
        let elements: Vec<Element<'_>> = texts.iter().map(|text| Element::parse(text).unwrap().unwrap()).collect();
        assert!(elements.is_sorted_by(|a, b| a < b), "{elements:?}");
    }
}
