//! Conversions between types, and the type of a value.
//!
//! Invariant: a conversion that would lose more than a fraction fails.

use std::sync::Arc;

use crate::clock::{self, Timestamp};
use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::types::Type;
use crate::value::{Failure, Outcome, Special, Value};

pub(super) const ROWS: &[Row] = &[
    ("type", Price::One, type_of, &["(A) -> type(A)"]),
    ("dyn", Price::Dyn, dynamic, &["(A) -> dyn"]),
    ("bool", Price::One, to_bool, &["(bool) -> bool", "(string) -> bool"]),
    ("bytes", Price::ToBytes, to_bytes, &["(bytes) -> bytes", "(string) -> bytes"]),
    (
        "double",
        Price::One,
        to_double,
        &["(double) -> double", "(int) -> double", "(string) -> double", "(uint) -> double"],
    ),
    ("duration", Price::One, to_duration, &["(duration) -> duration", "(int) -> duration", "(string) -> duration"]),
    (
        "int",
        Price::One,
        to_int,
        &[
            "(int) -> int",
            "(double) -> int",
            "(duration) -> int",
            "(string) -> int",
            "(timestamp) -> int",
            "(uint) -> int",
        ],
    ),
    (
        "string",
        Price::ToText,
        to_text,
        &[
            "(string) -> string",
            "(bool) -> string",
            "(bytes) -> string",
            "(double) -> string",
            "(duration) -> string",
            "(int) -> string",
            "(timestamp) -> string",
            "(uint) -> string",
            "(ip) -> string",
            "(cidr) -> string",
        ],
    ),
    (
        "timestamp",
        Price::One,
        to_timestamp,
        &["(timestamp) -> timestamp", "(int) -> timestamp", "(string) -> timestamp"],
    ),
    ("uint", Price::One, to_uint, &["(uint) -> uint", "(double) -> uint", "(int) -> uint", "(string) -> uint"]),
];

fn impossible(from: &Value<'_>, to: &str) -> Failure {
    match from {
        Value::Str(_) | Value::Text(_) => Failure::new(format!("type conversion error from 'string' to '{to}'")),
        _ => Failure::no_overload(),
    }
}

fn type_of<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    // As upstream has it, the type of a made object is that of any type.
    let ty = if let Value::Made(_) = args[0] { Type::Type(Arc::new(Type::Dyn)) } else { args[0].type_of() };
    Ok(Value::Type(Arc::new(ty)))
}

fn dynamic<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(args[0].clone())
}

fn to_bool<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], args[0].as_str()) {
        (Value::Bool(value), _) => Ok(Value::Bool(*value)),
        (_, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) => Ok(Value::Bool(true)),
        (_, Some("0" | "f" | "F" | "false" | "FALSE" | "False")) => Ok(Value::Bool(false)),
        (other, _) => Err(impossible(other, "bool")),
    }
}

fn to_bytes<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], args[0].as_str()) {
        (Value::Bytes(bytes), _) => Ok(Value::Bytes(bytes.clone())),
        (_, Some(text)) => Ok(Value::Bytes(text.as_bytes().into())),
        _ => Err(Failure::no_overload()),
    }
}

fn to_double<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Double(match &args[0] {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        other => {
            let parsed = other.as_str().and_then(parse_double);
            parsed.ok_or_else(|| impossible(other, "double"))?
        }
    }))
}

/// Go's forms of a number; one too large for a double is none.
fn parse_double(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let special = ["inf", "infinity", "nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    let value = text.parse::<f64>().ok()?;
    (special || value.is_finite()).then_some(value)
}

fn to_duration<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Duration(nanos) | Value::Int(nanos) => Ok(Value::Duration(*nanos)),
        other => {
            let parsed = other.as_str().and_then(clock::parse_duration);
            parsed.map(Value::Duration).ok_or_else(|| impossible(other, "google.protobuf.Duration"))
        }
    }
}

fn to_int<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let overflow = || Failure::new("integer overflow");
    Ok(Value::Int(match &args[0] {
        Value::Int(value) | Value::Duration(value) => *value,
        Value::Double(value) if value.is_nan() || *value <= i64::MIN as f64 || *value >= i64::MAX as f64 => {
            return Err(overflow());
        }
        Value::Double(value) => *value as i64,
        Value::Uint(value) => i64::try_from(*value).map_err(|_| overflow())?,
        Value::Timestamp(at) => at.seconds(),
        other => {
            let parsed = other.as_str().and_then(|text| text.parse().ok());
            parsed.ok_or_else(|| impossible(other, "int"))?
        }
    }))
}

fn to_uint<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let overflow = || Failure::new("unsigned integer overflow");
    Ok(Value::Uint(match &args[0] {
        Value::Uint(value) => *value,
        Value::Int(value) => u64::try_from(*value).map_err(|_| overflow())?,
        Value::Double(value) if value.is_nan() || *value < 0.0 || *value >= u64::MAX as f64 => return Err(overflow()),
        Value::Double(value) => *value as u64,
        other => {
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?;
            other.as_str().and_then(digits).ok_or_else(|| impossible(other, "uint"))?
        }
    }))
}

fn to_timestamp<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let overflow = || Failure::new("timestamp overflow");
    match &args[0] {
        Value::Timestamp(at) => Ok(Value::Timestamp(*at)),
        Value::Int(seconds) => Timestamp::from_seconds(*seconds).map(Value::Timestamp).ok_or_else(overflow),
        other => {
            let parsed = other.as_str().and_then(clock::parse_rfc3339);
            let at = parsed.ok_or_else(|| impossible(other, "google.protobuf.Timestamp"))?;
            at.map(Value::Timestamp).ok_or_else(overflow)
        }
    }
}

fn to_text<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    text_of(&args[0])
}

/// What `string()` makes of a value.
pub(super) fn text_of<'a>(value: &Value<'a>) -> Outcome<'a> {
    Ok(match value {
        Value::Str(_) | Value::Text(_) => value.clone(),
        Value::Bool(_)
        | Value::Int(_)
        | Value::Uint(_)
        | Value::Double(_)
        | Value::Timestamp(_)
        | Value::Duration(_) => Value::text(value.to_string()),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Value::text(text),
            Err(_) => return Err(Failure::new("invalid UTF-8 in bytes, cannot convert to string")),
        },
        Value::Type(ty) => Value::text(ty.name()),
        Value::Opaque(special) => match special.as_ref() {
            Special::Ip(ip) => Value::text(ip.to_string()),
            Special::Cidr(cidr) => Value::text(cidr.to_string()),
            _ => return Err(Failure::no_overload()),
        },
        _ => return Err(Failure::no_overload()),
    })
}

/// The shortest decimal text of a double, with an exponent where Go writes one.
pub(crate) fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..6).contains(&exponent) {
        return format!("{value}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}
