//! What expressions compute with.
//!
//! Invariant: data is never copied to be looked at: lists and objects stay the JSON they are, read through their shape
//! one step at a time. Cloning any value is cheap. Why not a converted tree: converting an object costs several times
//! what most rules cost.

mod data;
mod equal;
mod json;
mod key;
mod made;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::clock::Timestamp;
use crate::functions::access::Asking;
use crate::functions::formats::NamedFormat;
use crate::functions::net::{Cidr, Ip};
use crate::functions::urls::Url;
use crate::shape::{Meaning, Shape};
use crate::types::Type;

pub(crate) use data::{List, Map};
pub(crate) use equal::{compare, equal, index_by_token, token};
pub(crate) use key::Key;
pub(crate) use made::Made;

/// A value; borrows from data and from its program.
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    /// A string of the data.
    Str(&'a str),
    /// A string made by an expression.
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    Timestamp(Timestamp),
    /// In nanoseconds.
    Duration(i64),
    /// A list or an object of the data.
    Data(Data<'a>),
    /// A list made by an expression; with the meaning it has from the data it is made of.
    List(Arc<Vec<Value<'a>>>, Option<&'a Meaning>),
    Map(Arc<Entries<'a>>),
    /// A map in which every name that it does not have leads to an empty map.
    Domains(Arc<Entries<'a>>),
    /// An object made by an expression that changes something.
    Made(Arc<Made<'a>>),
    Optional(Option<Arc<Value<'a>>>),
    Type(Arc<Type>),
    Opaque(Arc<Special>),
}

/// A JSON list or object, with what is known of it.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    pub(crate) json: &'a Json,
    pub(crate) shape: Option<&'a Shape>,
}

/// The entries of a map made by an expression: the key as written, and the value.
pub(crate) type Entries<'a> = BTreeMap<Key, (Value<'a>, Value<'a>)>;

/// Values of types that only functions understand.
#[derive(Debug)]
pub enum Special {
    Quantity(base::Quantity),
    Url(Url),
    Ip(Ip),
    Cidr(Cidr),
    Format(&'static NamedFormat),
    Semver(semver::Version),
    Asking(Asking),
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The expression cannot be evaluated with this data.
    #[error("{0}")]
    Error(String),
    /// One evaluation cost more than any may.
    #[error("operation cancelled: actual cost limit exceeded")]
    TooCostly,
    /// Nothing is left of the budget for several evaluations.
    #[error("out of cost budget")]
    Exhausted,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Error(message.into())
    }

    pub(crate) fn no_overload() -> Self {
        Self::new("no such overload")
    }

    /// Whether a logical operator may take it for an unknown operand.
    pub(crate) fn is_absorbable(&self) -> bool {
        matches!(self, Self::Error(_))
    }
}

pub(crate) type Outcome<'a> = Result<Value<'a>, Failure>;

impl<'a> Value<'a> {
    /// JSON data as a value; fails if it is not of its shape.
    pub fn of(json: &'a Json, shape: &'a Shape) -> Result<Self, Failure> {
        data::read(json, Some(shape))
    }

    /// JSON data of which nothing is known.
    pub fn untyped(json: &'a Json) -> Self {
        data::untyped(json)
    }

    /// A map of values by name, such as a policy's variables.
    pub fn named(values: impl IntoIterator<Item = (Arc<str>, Self)>) -> Self {
        let entry = |(name, value): (Arc<str>, Self)| (Key::Text(name.clone()), (Self::Text(name), value));
        Self::Map(Arc::new(values.into_iter().map(entry).collect()))
    }

    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    pub fn some(value: Self) -> Self {
        Self::Optional(Some(Arc::new(value)))
    }

    pub const NONE: Self = Self::Optional(None);

    pub(crate) fn list(values: Vec<Self>) -> Self {
        Self::List(Arc::new(values), None)
    }

    pub(crate) fn special(special: Special) -> Self {
        Self::Opaque(Arc::new(special))
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Str(text) => Some(text),
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_list(&self) -> Option<List<'a, '_>> {
        List::of(self)
    }

    pub(crate) fn as_map(&self) -> Option<Map<'a, '_>> {
        Map::of(self)
    }

    pub(crate) fn want_str(&self) -> Result<&str, Failure> {
        self.as_str().ok_or_else(Failure::no_overload)
    }

    pub(crate) fn want_int(&self) -> Result<i64, Failure> {
        match self {
            Self::Int(value) => Ok(*value),
            _ => Err(Failure::no_overload()),
        }
    }

    pub(crate) fn want_bool(&self) -> Result<bool, Failure> {
        self.as_bool().ok_or_else(Failure::no_overload)
    }

    pub(crate) fn want_list(&self) -> Result<List<'a, '_>, Failure> {
        self.as_list().ok_or_else(Failure::no_overload)
    }

    /// What `size()` says; 1 for what has no size.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Str(text) => characters(text),
            Self::Text(text) => characters(text),
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Data(data) => data.len() as u64,
            Self::List(items, _) => items.len() as u64,
            Self::Map(entries) | Self::Domains(entries) => entries.len() as u64,
            Self::Optional(Some(inner)) => inner.size(),
            Self::Opaque(special) => match special.as_ref() {
                Special::Ip(ip) => ip.size(),
                Special::Cidr(cidr) => cidr.size(),
                _ => 1,
            },
            _ => 1,
        }
    }

    /// The type of the value itself, parts left open.
    pub(crate) fn type_of(&self) -> Type {
        use crate::types::Opaque;
        match self {
            Self::Null => Type::Null,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Uint(_) => Type::Uint,
            Self::Double(_) => Type::Double,
            Self::Str(_) | Self::Text(_) => Type::String,
            Self::Bytes(_) => Type::Bytes,
            Self::Timestamp(_) => Type::Timestamp,
            Self::Duration(_) => Type::Duration,
            Self::Data(data) if data.json.is_array() => Type::list(Type::Dyn),
            Self::List(..) => Type::list(Type::Dyn),
            Self::Data(_) | Self::Map(_) | Self::Domains(_) => Type::map(Type::Dyn, Type::Dyn),
            Self::Made(made) => Type::Made(made.name().clone()),
            Self::Optional(_) => Type::optional(Type::Dyn),
            Self::Type(_) => Type::Type(Arc::new(Type::Dyn)),
            Self::Opaque(special) => Type::Opaque(match special.as_ref() {
                Special::Quantity(_) => Opaque::Quantity,
                Special::Url(_) => Opaque::Url,
                Special::Ip(_) => Opaque::Ip,
                Special::Cidr(_) => Opaque::Cidr,
                Special::Format(_) => Opaque::Format,
                Special::Semver(_) => Opaque::Semver,
                Special::Asking(asking) => asking.stage(),
            }),
        }
    }

    /// The name of its type as runtime errors use it.
    pub(crate) fn type_name(&self) -> String {
        self.type_of().name()
    }

    /// Empty, zero or absent.
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Null | Self::Optional(None) => true,
            Self::Bool(value) => !value,
            Self::Int(value) | Self::Duration(value) => *value == 0,
            Self::Uint(value) => *value == 0,
            Self::Double(value) => *value == 0.0,
            Self::Timestamp(at) => at.is_zero(),
            Self::Str(_)
            | Self::Text(_)
            | Self::Bytes(_)
            | Self::Data(_)
            | Self::List(..)
            | Self::Map(_)
            | Self::Domains(_) => self.size() == 0,
            Self::Made(made) => made.is_zero(),
            Self::Optional(Some(inner)) => inner.is_zero(),
            Self::Type(_) | Self::Opaque(_) => false,
        }
    }
}

/// Characters of a text; its bytes if they are all ASCII, which is told quickly.
pub(crate) fn characters(text: &str) -> u64 {
    if text.is_ascii() { text.len() as u64 } else { text.chars().count() as u64 }
}

/// As runtime errors show a value.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Uint(value) => write!(f, "{value}"),
            Self::Double(value) => f.write_str(&crate::functions::convert::double_text(*value)),
            Self::Str(text) => f.write_str(text),
            Self::Text(text) => f.write_str(text),
            Self::Timestamp(at) => write!(f, "{at}"),
            Self::Duration(nanos) => f.write_str(&crate::clock::duration_text(*nanos)),
            other => f.write_str(&other.type_name()),
        }
    }
}

impl Value<'_> {
    /// The value in full, as an expression would write it, with maps in the order of their keys. For tests and logs.
    pub fn shown(&self) -> Result<String, Failure> {
        let text = |text: &str| Json::String(text.to_owned()).to_string();
        if let Some(list) = self.as_list() {
            let parts = list.values().map(|value| value?.shown()).collect::<Result<Vec<_>, _>>()?;
            return Ok(format!("[{}]", parts.join(", ")));
        }
        if let Some(map) = self.as_map() {
            let entry = |(key, value): (Value<'_>, Outcome<'_>)| Ok(format!("{}: {}", key.shown()?, value?.shown()?));
            let mut parts = map.entries().into_iter().map(entry).collect::<Result<Vec<_>, Failure>>()?;
            parts.sort();
            return Ok(format!("{{{}}}", parts.join(", ")));
        }
        if let Self::Made(made) = self {
            let field = |(name, value): (&Arc<str>, &Value<'_>)| Ok(format!("{name}: {}", value.shown()?));
            let parts = made.fields().map(field).collect::<Result<Vec<_>, Failure>>()?;
            return Ok(format!("{}{{{}}}", made.name(), parts.join(", ")));
        }
        Ok(match self {
            Self::Uint(value) => format!("{value}u"),
            Self::Double(_) => format!("{self}d"),
            Self::Str(value) => text(value),
            Self::Text(value) => text(value),
            Self::Bytes(bytes) => format!("b{:?}", String::from_utf8_lossy(bytes)),
            Self::Timestamp(at) => format!("timestamp({at})"),
            Self::Duration(_) => format!("duration({self})"),
            Self::Optional(None) => "none".to_owned(),
            Self::Optional(Some(inner)) => format!("some({})", inner.shown()?),
            Self::Type(ty) => format!("type({})", ty.name()),
            other => other.to_string(),
        })
    }
}
