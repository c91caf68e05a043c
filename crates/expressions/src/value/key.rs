//! Keys of maps.
//!
//! Invariant: numbers that are equal are one key, whatever their type.

use super::Value;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Number(i128),
    Text(std::sync::Arc<str>),
}

impl Key {
    /// The key a value is; none if it can be none.
    pub(crate) fn of(value: &Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Number(i128::from(*value)),
            Value::Uint(value) => Self::Number(i128::from(*value)),
            Value::Double(value) if value.fract() == 0.0 && value.abs() < 1e19 => Self::Number(*value as i128),
            Value::Str(text) => Self::Text((*text).into()),
            Value::Text(text) => Self::Text(text.clone()),
            _ => return None,
        })
    }
}
