//! Reading JSON through its shape; lists and maps of either origin through one view.
//!
//! Invariant: what does not fit its shape is an error, not a value of another type: data has been validated before rules
//! see it, and a rule that was type-checked may rely on that.

use base64::Engine;
use serde_json::Value as Json;

use super::{Data, Entries, Failure, Key, Outcome, Special, Value};
use crate::clock;
use crate::shape::{Field, Form, Meaning, Shape};
use crate::types::{Opaque, Type};

/// JSON as a value.
pub(super) fn read<'a>(json: &'a Json, shape: Option<&'a Shape>) -> Outcome<'a> {
    let Some(shape) = shape else { return Ok(untyped(json)) };
    let expected = |what: &str| Failure::new(format!("invalid data, expected {what}, got {}", kind_of(json)));
    Ok(match (&shape.form, json) {
        (Form::Typed(Type::Opaque(Opaque::Quantity)), Json::String(text)) => {
            let quantity = text.parse::<base::Quantity>().map_err(|error| Failure::new(error.to_string()))?;
            Value::special(Special::Quantity(quantity))
        }
        (Form::Dyn | Form::Typed(_), _) => untyped(json),
        (_, Json::Null) if shape.nullable => Value::Null,
        (_, Json::Null) => return Err(Failure::new("invalid data, got null for schema with nullable=false")),
        (Form::Bool, Json::Bool(value)) => Value::Bool(*value),
        (Form::Bool, _) => return Err(expected("bool")),
        (Form::Int, Json::Number(number)) => {
            let whole = |value: f64| (value.fract() == 0.0 && value.abs() < 9.2e18).then_some(value as i64);
            let value = number.as_i64().or_else(|| number.as_f64().and_then(whole));
            Value::Int(value.ok_or_else(|| expected("int"))?)
        }
        (Form::Int, _) => return Err(expected("int")),
        (Form::Double, Json::Number(number)) => Value::Double(number.as_f64().ok_or_else(|| expected("float"))?),
        (Form::Double, _) => return Err(expected("float")),
        (Form::String, Json::String(text)) => Value::Str(text),
        (Form::Bytes | Form::Date | Form::DateTime | Form::Duration, Json::String(text)) => {
            return formatted(&shape.form, text);
        }
        (Form::String | Form::Bytes | Form::Date | Form::DateTime | Form::Duration, _) => {
            return Err(expected("string"));
        }
        (Form::List { .. }, Json::Array(_)) | (Form::Map(_) | Form::Object(_), Json::Object(_)) => {
            Value::Data(Data { json, shape: Some(shape) })
        }
        (Form::List { .. }, _) => {
            return Err(Failure::new("invalid data, expected an array for the provided schema with type=array"));
        }
        (Form::Map(_) | Form::Object(_), _) => {
            return Err(Failure::new("invalid data, expected a map for the provided schema with type=object"));
        }
    })
}

fn kind_of(json: &Json) -> &'static str {
    match json {
        Json::Null => "null",
        Json::Bool(_) => "bool",
        Json::Number(number) if number.is_f64() => "float64",
        Json::Number(_) => "int64",
        Json::String(_) => "string",
        Json::Array(_) => "[]interface {}",
        Json::Object(_) => "map[string]interface {}",
    }
}

fn formatted<'a>(form: &Form, text: &str) -> Outcome<'a> {
    match form {
        Form::Date => clock::parse_date(text)
            .map(Value::Timestamp)
            .ok_or_else(|| Failure::new(format!("Invalid date formatted string {text}: not a date"))),
        Form::DateTime => clock::parse_date_time(text)
            .map(Value::Timestamp)
            .ok_or_else(|| Failure::new(format!("Invalid date-time formatted string {text}: not a date-time"))),
        Form::Duration => clock::parse_lenient_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| Failure::new(format!("Invalid duration {text}: unable to parse"))),
        _ => base64::engine::general_purpose::STANDARD
            .decode(text)
            .map(|bytes| Value::Bytes(bytes.into()))
            .map_err(|error| Failure::new(format!("Invalid byte formatted string {text}: {error}"))),
    }
}

pub(super) fn untyped(json: &Json) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Int(value),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::Str(text),
        Json::Array(_) | Json::Object(_) => Value::Data(Data { json, shape: None }),
    }
}

impl<'a> Data<'a> {
    pub(crate) fn len(&self) -> usize {
        match self.json {
            Json::Array(items) => items.len(),
            Json::Object(fields) => fields.len(),
            _ => 0,
        }
    }

    fn item_shape(&self) -> Option<&'a Shape> {
        self.shape.and_then(Shape::elements).map(AsRef::as_ref)
    }
}

/// A list of either origin.
#[derive(Clone, Copy)]
pub(crate) enum List<'a, 'v> {
    Data(&'a [Json], Option<&'a Shape>, Option<&'a Meaning>),
    Made(&'v [Value<'a>], Option<&'a Meaning>),
}

impl<'a, 'v> List<'a, 'v> {
    pub(super) fn of(value: &'v Value<'a>) -> Option<Self> {
        match value {
            Value::Data(data) => {
                let meaning = match data.shape.map(|shape| &shape.form) {
                    Some(Form::List { meaning, .. }) => Some(meaning),
                    _ => None,
                };
                data.json.as_array().map(|items| Self::Data(items, data.item_shape(), meaning))
            }
            Value::List(items, meaning) => Some(Self::Made(items, *meaning)),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Data(items, ..) => items.len(),
            Self::Made(items, _) => items.len(),
        }
    }

    pub(crate) fn meaning(&self) -> Option<&'a Meaning> {
        match self {
            Self::Data(_, _, meaning) | Self::Made(_, meaning) => *meaning,
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<Outcome<'a>> {
        match self {
            Self::Data(items, shape, _) => items.get(at).map(|item| read(item, *shape)),
            Self::Made(items, _) => items.get(at).cloned().map(Ok),
        }
    }

    pub(crate) fn values(self) -> impl Iterator<Item = Outcome<'a>> + use<'a, 'v> {
        (0..self.len()).map(move |at| self.get(at).expect("invariant: below the length"))
    }

    pub(crate) fn to_vec(self) -> Result<Vec<Value<'a>>, Failure> {
        self.values().collect()
    }
}

/// A map or an object of either origin.
#[derive(Clone, Copy)]
pub(crate) enum Map<'a, 'v> {
    Data(&'a serde_json::Map<String, Json>, Option<&'a Shape>),
    Made(&'v Entries<'a>),
    /// What is not there is empty.
    Domains(&'v Entries<'a>),
}

impl<'a, 'v> Map<'a, 'v> {
    pub(super) fn of(value: &'v Value<'a>) -> Option<Self> {
        match value {
            Value::Data(data) => data.json.as_object().map(|fields| Self::Data(fields, data.shape)),
            Value::Map(entries) => Some(Self::Made(entries)),
            Value::Domains(entries) => Some(Self::Domains(entries)),
            _ => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Data(fields, _) => fields.len(),
            Self::Made(entries) | Self::Domains(entries) => entries.len(),
        }
    }

    /// The same without what is there only because it is looked up.
    pub(crate) fn known(self) -> Self {
        match self {
            Self::Domains(entries) => Self::Made(entries),
            other => other,
        }
    }

    /// The value of a field by the name used in expressions.
    pub(crate) fn field(&self, name: &str) -> Option<Outcome<'a>> {
        match self {
            Self::Data(fields, shape) => match shape.map(|shape| &shape.form) {
                Some(Form::Object(object)) => {
                    let Field { name, shape } = object.field(name)?;
                    fields.get(name).filter(|json| !json.is_null()).map(|json| read(json, Some(shape)))
                }
                Some(Form::Map(map)) => fields.get(name).map(|json| read(json, Some(&map.values))),
                _ => fields.get(name).map(|json| Ok(untyped(json))),
            },
            Self::Made(entries) => entries.get(&Key::Text(name.into())).map(|(_, value)| Ok(value.clone())),
            Self::Domains(_) => {
                Some(self.known().field(name).unwrap_or_else(|| Ok(Value::Map(std::sync::Arc::default()))))
            }
        }
    }

    pub(crate) fn get(&self, key: &Value<'a>) -> Option<Outcome<'a>> {
        match (self, key.as_str()) {
            (_, Some(name)) => self.field(name),
            (Self::Data(..), None) => Some(Err(Failure::no_overload())),
            (Self::Made(entries) | Self::Domains(entries), None) => {
                entries.get(&Key::of(key)?).map(|(_, value)| Ok(value.clone()))
            }
        }
    }

    /// Keys and values; of an object only the declared fields that are present.
    pub(crate) fn entries(self) -> Vec<(Value<'a>, Outcome<'a>)> {
        match self {
            Self::Made(entries) | Self::Domains(entries) => {
                entries.values().map(|(key, value)| (key.clone(), Ok(value.clone()))).collect()
            }
            Self::Data(fields, shape) => fields
                .iter()
                .filter_map(|(name, json)| match shape.map(|shape| &shape.form) {
                    Some(Form::Object(object)) => {
                        let escaped = object.escaped.get(name).unwrap_or(name);
                        let field = object.field_of_json(name)?;
                        (!json.is_null()).then(|| (Value::Str(escaped), read(json, Some(&field.shape))))
                    }
                    Some(Form::Map(map)) => Some((Value::Str(name), read(json, Some(&map.values)))),
                    _ => Some((Value::Str(name), Ok(untyped(json)))),
                })
                .collect(),
        }
    }
}
