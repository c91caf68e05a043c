//! Objects that expressions make, to be applied or to patch with.
//!
//! Invariant: the odd ways of upstream are kept where an expression can tell: a field that was not given reads as null, or
//! as an empty text in a step of a patch, and an optional selection from an object finds nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Failure, Value, equal};
use crate::tree::Mode;
use crate::types::Type;

#[derive(Debug)]
pub struct Made<'a> {
    name: Arc<str>,
    fields: BTreeMap<Arc<str>, Value<'a>>,
}

/// The texts of a step of a patch.
const TEXTS: [&str; 3] = ["op", "path", "from"];

impl<'a> Made<'a> {
    /// Fails if a step of a patch is made of something else than it can be made of.
    pub(crate) fn new(name: Arc<str>, mut fields: BTreeMap<Arc<str>, Value<'a>>) -> Result<Self, Failure> {
        if &*name == Type::PATCH {
            for (field, value) in &fields {
                if TEXTS.contains(&&**field) {
                    let found = go_type(value);
                    let wrong = || Failure::new(format!("unexpected type {found} for JSONPatchType '{field}' field"));
                    value.as_str().ok_or_else(wrong)?;
                } else if &**field != "value" {
                    return Err(Failure::new(format!("unexpected JSONPatchType field: {field}")));
                }
            }
            fields.retain(|field, value| &**field == "value" || value.as_str() != Some(""));
        }
        Ok(Self { name, fields })
    }

    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub fn fields(&self) -> impl Iterator<Item = (&Arc<str>, &Value<'a>)> {
        self.fields.iter()
    }

    fn is_patch(&self) -> bool {
        &*self.name == Type::PATCH
    }

    /// What a selection finds.
    pub(crate) fn field(&self, name: &str, mode: Mode) -> Option<Value<'a>> {
        let held = self.fields.get(name).cloned();
        match mode {
            Mode::Test => held,
            Mode::Optional => held.filter(|_| self.is_patch()),
            Mode::Plain if held.is_none() && self.is_patch() && TEXTS.contains(&name) => Some(Value::Str("")),
            Mode::Plain => Some(held.unwrap_or(Value::Null)),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.fields.is_empty() && !self.is_patch()
    }

    pub(super) fn equals(&self, other: &Self) -> Result<bool, Failure> {
        if self.name != other.name || !self.fields.keys().eq(other.fields.keys()) {
            return Ok(false);
        }
        for (value, other) in self.fields.values().zip(other.fields.values()) {
            if !equal(value, other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// What Go calls the type of a value.
fn go_type(value: &Value<'_>) -> &'static str {
    match value {
        Value::Null => "structpb.NullValue",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Uint(_) => "uint64",
        Value::Double(_) => "float64",
        Value::Str(_) | Value::Text(_) => "string",
        Value::Bytes(_) => "[]uint8",
        Value::Timestamp(_) => "time.Time",
        Value::Duration(_) => "time.Duration",
        Value::List(..) => "[]ref.Val",
        Value::Map(_) | Value::Domains(_) => "map[ref.Val]ref.Val",
        Value::Data(data) if data.json.is_array() => "[]interface {}",
        Value::Data(_) | Value::Made(_) => "map[string]interface {}",
        Value::Optional(_) | Value::Type(_) | Value::Opaque(_) => "interface {}",
    }
}
