//! The one way each scalar is written: Go decodes and encodes times and quantities, so clients read them in that form.
//!
//! Invariant: rewriting twice changes nothing; a text that cannot be read is left for validation.

use base::Quantity;
use serde_json::Value;

use crate::schema::Type;

pub(super) fn rewrite(ty: Type, value: &mut Value) {
    let replacement = match (ty, &*value) {
        (Type::Quantity, Value::String(text)) => quantity(text),
        (Type::Quantity, Value::Number(number)) => quantity(&number.to_string()),
        (Type::Time, Value::String(text)) if text.len() != 20 || !text.ends_with('Z') => {
            base::time::parse(text).ok().map(base::time::rfc3339)
        }
        (Type::MicroTime, Value::String(text)) if text.len() != 27 || !text.ends_with('Z') => {
            base::time::parse(text).ok().map(base::time::rfc3339_micro)
        }
        _ => None,
    };
    replace(value, replacement);
}

/// A value of a resource list, which is kept to thousandths.
pub(super) fn resource(value: &mut Value) {
    let text = match &*value {
        Value::String(text) => quantity_of(text),
        Value::Number(number) => quantity_of(&number.to_string()),
        Value::Null => Some(Quantity::ZERO),
        _ => None,
    };
    replace(value, text.map(|quantity| quantity.rounded_to_milli().to_string()));
}

fn quantity_of(text: &str) -> Option<Quantity> {
    text.trim().parse().ok()
}

fn quantity(text: &str) -> Option<String> {
    quantity_of(text).map(|quantity| quantity.to_string())
}

fn replace(value: &mut Value, replacement: Option<String>) {
    if let Some(text) = replacement.filter(|text| value.as_str() != Some(text)) {
        *value = Value::String(text);
    }
}
