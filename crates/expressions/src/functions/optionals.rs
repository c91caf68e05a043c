//! Values that may be absent.
//!
//! Invariant: only `value()` fails on an absent value.

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::value::{Failure, Outcome, Value};

pub(super) const ROWS: &[Row] = &[
    ("optional.of", Price::One, of, &["(A) -> optional(A)"]),
    ("optional.ofNonZeroValue", Price::One, of_non_zero, &["(A) -> optional(A)"]),
    ("optional.none", Price::One, none, &["() -> optional(A)"]),
    ("value", Price::One, value, &["optional(A).() -> A"]),
    ("hasValue", Price::One, has_value, &["optional(A).() -> bool"]),
    ("or", Price::One, by_machine, &["optional(A).(optional(A)) -> optional(A)"]),
    ("orValue", Price::One, by_machine, &["optional(A).(A) -> A"]),
    ("first", Price::One, first, &["list(A).() -> optional(A)"]),
    ("last", Price::One, last, &["list(A).() -> optional(A)"]),
    ("optional.unwrap", Price::One, unwrap, &["(list(optional(A))) -> list(A)"]),
    ("unwrapOpt", Price::One, unwrap, &["list(optional(A)).() -> list(A)"]),
];

/// What does not evaluate all its arguments is a node of its own.
fn by_machine<'a>(_: &mut Meter<'a>, _: &[Value<'a>]) -> Outcome<'a> {
    Err(Failure::no_overload())
}

fn of<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::some(args[0].clone()))
}

fn of_non_zero<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(if args[0].is_zero() { Value::NONE } else { Value::some(args[0].clone()) })
}

fn none<'a>(_: &mut Meter<'a>, _: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::NONE)
}

fn value<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Optional(Some(inner)) => Ok((**inner).clone()),
        Value::Optional(None) => Err(Failure::new("optional.none() dereference")),
        _ => Err(Failure::no_overload()),
    }
}

fn has_value<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        Value::Optional(inner) => Ok(Value::Bool(inner.is_some())),
        _ => Err(Failure::no_overload()),
    }
}

fn end<'a>(value: &Value<'a>, last: bool) -> Outcome<'a> {
    let list = value.want_list()?;
    let at = if last { list.len().wrapping_sub(1) } else { 0 };
    Ok(list.get(at).transpose()?.map_or(Value::NONE, Value::some))
}

fn first<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    end(&args[0], false)
}

fn last<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    end(&args[0], true)
}

fn unwrap<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut kept = Vec::new();
    for value in args[0].want_list()?.values() {
        match value? {
            Value::Optional(Some(inner)) => kept.push((*inner).clone()),
            Value::Optional(None) => {}
            other => return Err(Failure::new(format!("value {other} is not optional"))),
        }
    }
    Ok(Value::list(kept))
}
