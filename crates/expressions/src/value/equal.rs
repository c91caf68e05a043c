//! Equality and order of values.
//!
//! Invariant: values of different types are not equal, except numbers, which compare by what they count; a list or object
//! of data with a shape compares with its like only. Lists of the data that are sets or maps compare without regard to order.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::Value as Json;

use super::{Data, Failure, List, Map, Special, Value};
use crate::shape::{Form, Meaning};

/// Whether two values are equal; fails if data is not of its shape.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, Failure> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return Ok(a == b);
    }
    if let (Some(a), Some(b)) = (a.as_list(), b.as_list()) {
        return lists(a, b);
    }
    if let (Value::Data(a), Value::Data(b)) = (a, b) {
        return objects(a, b);
    }
    if let (Some(a), Some(b)) = (a.as_map(), b.as_map()) {
        return maps(a, b);
    }
    if let (Value::Made(a), Value::Made(b)) = (a, b) {
        return a.equals(b);
    }
    if matches!(a, Value::Data(Data { shape: Some(_), .. }) | Value::List(_, Some(_))) {
        return Err(Failure::no_overload());
    }
    Ok(match (a, b) {
        (Value::Null, Value::Null) | (Value::Optional(None), Value::Optional(None)) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
        (Value::Duration(a), Value::Duration(b)) => a == b,
        (Value::Optional(Some(a)), Value::Optional(Some(b))) => equal(a, b)?,
        (Value::Type(a), Value::Type(b)) => {
            std::mem::discriminant(&**a) == std::mem::discriminant(&**b) && same_type(a, b)
        }
        (Value::Opaque(a), Value::Opaque(b)) => specials(a, b),
        _ => numbers(a, b) == Some(Ordering::Equal),
    })
}

fn same_type(a: &crate::types::Type, b: &crate::types::Type) -> bool {
    use crate::types::Type;
    match (a, b) {
        (Type::Opaque(a), Type::Opaque(b)) => a == b,
        (Type::Object(_), Type::Object(_)) => a.is(b),
        _ => true,
    }
}

fn specials(a: &Special, b: &Special) -> bool {
    match (a, b) {
        (Special::Quantity(a), Special::Quantity(b)) => a == b,
        (Special::Url(a), Special::Url(b)) => a == b,
        (Special::Ip(a), Special::Ip(b)) => a == b,
        (Special::Cidr(a), Special::Cidr(b)) => a == b,
        (Special::Format(a), Special::Format(b)) => a.name == b.name,
        (Special::Semver(a), Special::Semver(b)) => a.cmp_precedence(b) == Ordering::Equal,
        _ => false,
    }
}

fn lists(a: List<'_, '_>, b: List<'_, '_>) -> Result<bool, Failure> {
    if a.len() != b.len() {
        return Ok(false);
    }
    if let List::Data(a, None, _) = a
        && let List::Data(b, None, _) = b
    {
        return Ok(a == b);
    }
    // As upstream has it, the list on the left decides.
    match a.meaning() {
        Some(Meaning::Set) => unordered(a, b, None),
        Some(Meaning::Map(keys)) => unordered(a, b, Some(keys)),
        Some(Meaning::Atomic) | None => {
            for (a, b) in a.values().zip(b.values()) {
                if !equal(&a?, &b?)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Whether every element of one has a partner in the other.
fn unordered<'a>(a: List<'a, '_>, b: List<'a, '_>, keys: Option<&[String]>) -> Result<bool, Failure> {
    let others = b.to_vec()?;
    let index = index_by_token(&others, keys);
    for value in a.values() {
        let value = value?;
        let partners = index.get(&token(&value, keys)).map(Vec::as_slice).unwrap_or_default();
        let mut found = false;
        for at in partners {
            if equal(&value, &others[*at])? {
                found = true;
                break;
            }
        }
        if !found {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Places of elements by their token.
pub(crate) fn index_by_token(values: &[Value<'_>], keys: Option<&[String]>) -> HashMap<String, Vec<usize>> {
    let mut index: HashMap<String, Vec<usize>> = HashMap::with_capacity(values.len());
    for (at, value) in values.iter().enumerate() {
        index.entry(token(value, keys)).or_default().push(at);
    }
    index
}

/// A text that is the same for elements that may be the same one: of its keys in a list that is a map.
pub(crate) fn token(value: &Value<'_>, keys: Option<&[String]>) -> String {
    match (value, keys) {
        (Value::Data(data), Some(keys)) => {
            let parts = keys.iter().map(|key| data.json.get(key).unwrap_or(&Json::Null).to_string());
            parts.collect::<Vec<_>>().join(",")
        }
        (Value::Data(data), None) => data.json.to_string(),
        _ => value.to_string(),
    }
}

fn objects(a: &Data<'_>, b: &Data<'_>) -> Result<bool, Failure> {
    let (Json::Object(left), Json::Object(right)) = (a.json, b.json) else { return Ok(false) };
    let (Some(shape), Some(_)) = (a.shape, b.shape) else {
        return Ok(left == right);
    };
    match &shape.form {
        Form::Object(object) => {
            if left.len() != right.len() {
                return Ok(false);
            }
            for (name, json) in left {
                let Some(other) = right.get(name) else { return Ok(false) };
                let same = match object.field_of_json(name) {
                    Some(field) if !json.is_null() && !other.is_null() => {
                        equal(&Value::of(json, &field.shape)?, &Value::of(other, &field.shape)?)?
                    }
                    _ => json == other,
                };
                if !same {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => maps(Map::Data(left, a.shape), Map::Data(right, b.shape)),
    }
}

fn maps(a: Map<'_, '_>, b: Map<'_, '_>) -> Result<bool, Failure> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (key, value) in a.entries() {
        let Some(other) = b.get(&key) else { return Ok(false) };
        if !equal(&value?, &other?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The order of two numbers of any type; none if one is not a number.
fn numbers(a: &Value<'_>, b: &Value<'_>) -> Option<Ordering> {
    let whole = |value: &Value<'_>| match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    };
    match (a, b) {
        (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
        (Value::Double(a), _) => whole(b).and_then(|b| double_to_whole(*a, b)),
        (_, Value::Double(b)) => whole(a).and_then(|a| double_to_whole(*b, a)).map(Ordering::reverse),
        _ => Some(whole(a)?.cmp(&whole(b)?)),
    }
}

fn double_to_whole(a: f64, b: i128) -> Option<Ordering> {
    if a.is_nan() {
        return None;
    }
    if a.abs() >= 1e20 {
        return Some(if a > 0.0 { Ordering::Greater } else { Ordering::Less });
    }
    let floor = a.floor();
    Some((floor as i128).cmp(&b).then(if a > floor { Ordering::Greater } else { Ordering::Equal }))
}

/// The order of two values of a type that has one.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, Failure> {
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return Ok(a.cmp(b));
    }
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
        (Value::Double(value), _) | (_, Value::Double(value)) if value.is_nan() => {
            return Err(Failure::new("NaN values cannot be ordered"));
        }
        _ => return numbers(a, b).ok_or_else(Failure::no_overload),
    })
}
