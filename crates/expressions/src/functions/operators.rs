//! Arithmetic, comparison, membership, size.
//!
//! Invariant: numbers never wrap; an operation on operands it is not defined for is "no such overload".

use std::sync::Arc;

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::shape::Meaning;
use crate::value::{Failure, List, Outcome, Value, compare, equal, index_by_token, token};

pub(super) const ROWS: &[Row] = &[
    ("_&&_", Price::Free, by_machine, &["(bool, bool) -> bool"]),
    ("_||_", Price::Free, by_machine, &["(bool, bool) -> bool"]),
    ("_?_:_", Price::Choice, by_machine, &["(bool, A, A) -> A"]),
    (
        "_[_]",
        Price::Index,
        by_machine,
        &[
            "(list(A), int) -> A",
            "(map(A, B), A) -> B",
            "(optional(list(A)), int) -> optional(A)",
            "(optional(map(A, B)), A) -> optional(B)",
        ],
    ),
    (
        "_[?_]",
        Price::One,
        by_machine,
        &[
            "(list(A), int) -> optional(A)",
            "(optional(list(A)), int) -> optional(A)",
            "(map(A, B), A) -> optional(B)",
            "(optional(map(A, B)), A) -> optional(B)",
        ],
    ),
    ("!_", Price::One, not, &["(bool) -> bool"]),
    ("-_", Price::One, negate, &["(double) -> double", "(int) -> int"]),
    ("_==_", Price::Equal, equals, &["(A, A) -> bool"]),
    ("_!=_", Price::Unequal, differs, &["(A, A) -> bool"]),
    ("_<_", Price::Order, less, ORDERED),
    ("_<=_", Price::Order, less_or_equal, ORDERED),
    ("_>_", Price::Order, greater, ORDERED),
    ("_>=_", Price::Order, greater_or_equal, ORDERED),
    (
        "_+_",
        Price::Add,
        add,
        &[
            "(bytes, bytes) -> bytes",
            "(double, double) -> double",
            "(duration, duration) -> duration",
            "(duration, timestamp) -> timestamp",
            "(timestamp, duration) -> timestamp",
            "(int, int) -> int",
            "(list(A), list(A)) -> list(A)",
            "(string, string) -> string",
            "(uint, uint) -> uint",
        ],
    ),
    (
        "_-_",
        Price::One,
        subtract,
        &[
            "(double, double) -> double",
            "(duration, duration) -> duration",
            "(int, int) -> int",
            "(timestamp, duration) -> timestamp",
            "(timestamp, timestamp) -> duration",
            "(uint, uint) -> uint",
        ],
    ),
    ("_*_", Price::One, multiply, &["(double, double) -> double", "(int, int) -> int", "(uint, uint) -> uint"]),
    ("_/_", Price::One, divide, &["(double, double) -> double", "(int, int) -> int", "(uint, uint) -> uint"]),
    ("_%_", Price::One, modulo, &["(int, int) -> int", "(uint, uint) -> uint"]),
    ("@in", Price::In, contains, &["(A, list(A)) -> bool", "(A, map(A, B)) -> bool"]),
    (
        "size",
        Price::One,
        size,
        &[
            "(bytes) -> int",
            "bytes.() -> int",
            "(list(A)) -> int",
            "list(A).() -> int",
            "(map(A, B)) -> int",
            "map(A, B).() -> int",
            "(string) -> int",
            "string.() -> int",
        ],
    ),
];

const ORDERED: &[&str] = &[
    "(bool, bool) -> bool",
    "(int, int) -> bool",
    "(int, double) -> bool",
    "(int, uint) -> bool",
    "(uint, uint) -> bool",
    "(uint, double) -> bool",
    "(uint, int) -> bool",
    "(double, double) -> bool",
    "(double, int) -> bool",
    "(double, uint) -> bool",
    "(string, string) -> bool",
    "(bytes, bytes) -> bool",
    "(timestamp, timestamp) -> bool",
    "(duration, duration) -> bool",
];

/// What does not evaluate all its arguments is a node of its own.
fn by_machine<'a>(_: &mut Meter<'a>, _: &[Value<'a>]) -> Outcome<'a> {
    Err(Failure::no_overload())
}

fn overflow(what: &str) -> Failure {
    Failure::new(format!("{what} overflow"))
}

fn int<'a>(value: Option<i64>) -> Outcome<'a> {
    value.map(Value::Int).ok_or_else(|| overflow("integer"))
}

fn uint<'a>(value: Option<u64>) -> Outcome<'a> {
    value.map(Value::Uint).ok_or_else(|| overflow("unsigned integer"))
}

fn duration<'a>(value: Option<i64>) -> Outcome<'a> {
    value.map(Value::Duration).ok_or_else(|| overflow("integer"))
}

fn not<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(!args[0].want_bool()?))
}

fn negate<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match args[0] {
        Value::Int(value) => int(value.checked_neg()),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(Failure::no_overload()),
    }
}

fn equals<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    equal(&args[0], &args[1]).map(Value::Bool)
}

fn differs<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    // What cannot be compared is not equal.
    Ok(Value::Bool(!equal(&args[0], &args[1]).unwrap_or(false)))
}

/// The order of the operands of an operator.
fn ordered(args: &[Value<'_>], operator: &str) -> Result<std::cmp::Ordering, Failure> {
    let unordered = matches!(
        args[0],
        Value::Data(_) | Value::List(..) | Value::Map(_) | Value::Domains(_) | Value::Null | Value::Optional(_)
    );
    if unordered {
        return Err(Failure::new(format!("no such overload: {operator}")));
    }
    compare(&args[0], &args[1])
}

fn less<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(ordered(args, "_<_")?.is_lt()))
}

fn less_or_equal<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(ordered(args, "_<=_")?.is_le()))
}

fn greater<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(ordered(args, "_>_")?.is_gt()))
}

fn greater_or_equal<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(ordered(args, "_>=_")?.is_ge()))
}

/// The sum of two values; what `sum()` adds up with, too.
pub(super) fn sum<'a>(a: &Value<'a>, b: &Value<'a>) -> Outcome<'a> {
    let timestamp = |at: crate::clock::Timestamp, nanos: i64| {
        at.plus(i128::from(nanos)).map(Value::Timestamp).ok_or_else(|| overflow("timestamp"))
    };
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_add(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_add(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::Duration(a), Value::Duration(b)) => duration(a.checked_add(*b)),
        (Value::Timestamp(at), Value::Duration(nanos)) | (Value::Duration(nanos), Value::Timestamp(at)) => {
            timestamp(*at, *nanos)
        }
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&**a, &**b].concat().into())),
        _ => Err(Failure::no_overload()),
    }
}

fn add<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (a, b) = (&args[0], &args[1]);
    if let (Some(a), Some(b)) = (a.as_str(), b.as_str()) {
        return Ok(Value::text([a, b].concat()));
    }
    if let (Some(a), Some(b)) = (a.as_list(), b.as_list()) {
        return joined(a, b);
    }
    sum(a, b)
}

/// Two lists as one; of sets and maps the second's elements take the place of the first's.
fn joined<'a>(a: List<'a, '_>, b: List<'a, '_>) -> Outcome<'a> {
    let meaning = a.meaning();
    let mut values = a.to_vec()?;
    let added = b.to_vec()?;
    let keys = match meaning {
        Some(Meaning::Map(keys)) => Some(keys.as_slice()),
        Some(Meaning::Set) => None,
        Some(Meaning::Atomic) | None => {
            values.extend(added);
            return Ok(Value::List(Arc::new(values), meaning));
        }
    };
    let mut index = index_by_token(&values, keys);
    for value in added {
        let token = token(&value, keys);
        match index.get(&token).and_then(|places| places.first()) {
            Some(at) if keys.is_some() => values[*at] = value,
            Some(_) => {}
            None => {
                index.insert(token, vec![values.len()]);
                values.push(value);
            }
        }
    }
    Ok(Value::List(Arc::new(values), meaning))
}

fn subtract<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_sub(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_sub(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => duration(a.checked_sub(*b)),
        (Value::Timestamp(a), Value::Timestamp(b)) => duration(a.since(*b)),
        (Value::Timestamp(at), Value::Duration(nanos)) => {
            at.plus(-i128::from(*nanos)).map(Value::Timestamp).ok_or_else(|| overflow("timestamp"))
        }
        _ => Err(Failure::no_overload()),
    }
}

fn multiply<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(a), Value::Int(b)) => int(a.checked_mul(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_mul(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        _ => Err(Failure::no_overload()),
    }
}

fn divide<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(Failure::new("division by zero")),
        (Value::Int(a), Value::Int(b)) => int(a.checked_div(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_div(*b)),
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        _ => Err(Failure::no_overload()),
    }
}

fn modulo<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match (&args[0], &args[1]) {
        (Value::Int(_), Value::Int(0)) | (Value::Uint(_), Value::Uint(0)) => Err(Failure::new("modulus by zero")),
        (Value::Int(a), Value::Int(b)) => int(a.checked_rem(*b)),
        (Value::Uint(a), Value::Uint(b)) => uint(a.checked_rem(*b)),
        _ => Err(Failure::no_overload()),
    }
}

fn contains<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (sought, range) = (&args[0], &args[1]);
    if let Some(list) = range.as_list() {
        return holds(list, sought).map(Value::Bool);
    }
    let map = range.as_map().ok_or_else(Failure::no_overload)?;
    match map.known().get(sought) {
        Some(Err(failure)) => Err(failure),
        found => Ok(Value::Bool(found.is_some())),
    }
}

/// Whether a list has an element equal to the value.
pub(crate) fn holds<'a>(list: List<'a, '_>, sought: &Value<'a>) -> Result<bool, Failure> {
    if let (List::Made(items, _), Some(sought)) = (list, sought.as_str()) {
        return Ok(items.iter().any(|item| item.as_str() == Some(sought)));
    }
    for value in list.values() {
        if equal(&value?, sought)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn size<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    match &args[0] {
        value @ (Value::Str(_)
        | Value::Text(_)
        | Value::Bytes(_)
        | Value::Data(_)
        | Value::List(..)
        | Value::Map(_)
        | Value::Domains(_)) => Ok(Value::Int(value.size() as i64)),
        _ => Err(Failure::no_overload()),
    }
}
