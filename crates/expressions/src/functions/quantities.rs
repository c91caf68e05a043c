//! Resource quantities, and the comparisons quantities share with versions.
//!
//! Invariant: amounts are exact; only the approximate float is not.

use base::Quantity;
use base::quantity::Format;

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::value::{Failure, Outcome, Special, Value};

pub(super) const ROWS: &[Row] = &[
    ("quantity", Price::Traverse { keeps: false }, parse, &["(string) -> quantity"]),
    ("isQuantity", Price::Traverse { keeps: false }, is_quantity, &["(string) -> bool"]),
    ("sign", Price::One, sign, &["(quantity) -> int"]),
    ("isInteger", Price::One, is_integer, &["quantity.() -> bool"]),
    ("asInteger", Price::One, as_integer, &["quantity.() -> int"]),
    ("asApproximateFloat", Price::One, as_float, &["quantity.() -> double"]),
    ("add", Price::One, add, &["quantity.(quantity) -> quantity", "quantity.(int) -> quantity"]),
    ("sub", Price::One, subtract, &["quantity.(quantity) -> quantity", "quantity.(int) -> quantity"]),
    ("isGreaterThan", Price::One, greater, &["quantity.(quantity) -> bool", "semver.(semver) -> bool"]),
    ("isLessThan", Price::One, less, &["quantity.(quantity) -> bool", "semver.(semver) -> bool"]),
    ("compareTo", Price::One, compare, &["quantity.(quantity) -> int", "semver.(semver) -> int"]),
];

fn quantity(value: &Value<'_>) -> Result<Quantity, Failure> {
    match value {
        Value::Opaque(special) => match special.as_ref() {
            Special::Quantity(quantity) => Ok(*quantity),
            _ => Err(Failure::no_overload()),
        },
        Value::Int(value) => Ok(Quantity::from_value(*value, Format::DecimalExponent)),
        _ => Err(Failure::no_overload()),
    }
}

fn made<'a>(quantity: Option<Quantity>) -> Outcome<'a> {
    let quantity = quantity.ok_or_else(|| Failure::new("quantity overflow"))?;
    Ok(Value::special(Special::Quantity(quantity)))
}

fn parse<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let parsed = args[0].want_str()?.parse::<Quantity>();
    made(Some(parsed.map_err(|error| Failure::new(error.to_string()))?))
}

fn is_quantity<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(args[0].want_str()?.parse::<Quantity>().is_ok()))
}

fn sign<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(i64::from(quantity(&args[0])?.sign())))
}

fn whole(quantity: Quantity) -> Option<i64> {
    // The greatest is what larger ones are capped at.
    let value = quantity.value();
    (value != i64::MAX && Quantity::from_value(value, quantity.format()) == quantity).then_some(value)
}

fn is_integer<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(whole(quantity(&args[0])?).is_some()))
}

fn as_integer<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let value = whole(quantity(&args[0])?);
    value.map(Value::Int).ok_or_else(|| Failure::new("cannot convert value to integer"))
}

fn as_float<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Double(quantity(&args[0])?.approximate()))
}

fn add<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    made(quantity(&args[0])?.checked_add(&quantity(&args[1])?))
}

fn subtract<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    made(quantity(&args[0])?.checked_sub(&quantity(&args[1])?))
}

fn order(args: &[Value<'_>]) -> Result<std::cmp::Ordering, Failure> {
    let (Value::Opaque(a), Value::Opaque(b)) = (&args[0], &args[1]) else { return Err(Failure::no_overload()) };
    match (a.as_ref(), b.as_ref()) {
        (Special::Quantity(a), Special::Quantity(b)) => Ok(a.cmp(b)),
        (Special::Semver(a), Special::Semver(b)) => Ok(a.cmp_precedence(b)),
        _ => Err(Failure::no_overload()),
    }
}

fn greater<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_gt()))
}

fn less<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(order(args)?.is_lt()))
}

fn compare<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(order(args)? as i64))
}
