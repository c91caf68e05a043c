//! Lists and sets.
//!
//! Invariant: functions that compare every element with every other are charged for that before they begin.

use std::sync::Arc;

use crate::cost::calls::INCLUDED;
use crate::cost::price::Price;
use crate::eval::Meter;
use crate::functions::{operators, strings};
use crate::library::Row;
use crate::types::Type;
use crate::value::{Failure, Outcome, Value, compare, equal};

const COMPARABLE_SORTED: &[&str] = &[
    "list(int).() -> bool",
    "list(uint).() -> bool",
    "list(double).() -> bool",
    "list(bool).() -> bool",
    "list(duration).() -> bool",
    "list(timestamp).() -> bool",
    "list(string).() -> bool",
    "list(bytes).() -> bool",
];
const COMPARABLE_ELEMENT: &[&str] = &[
    "list(int).() -> int",
    "list(uint).() -> uint",
    "list(double).() -> double",
    "list(bool).() -> bool",
    "list(duration).() -> duration",
    "list(timestamp).() -> timestamp",
    "list(string).() -> string",
    "list(bytes).() -> bytes",
];
const COMPARABLE_LIST: &[&str] = &[
    "list(int).() -> list(int)",
    "list(uint).() -> list(uint)",
    "list(double).() -> list(double)",
    "list(bool).() -> list(bool)",
    "list(duration).() -> list(duration)",
    "list(timestamp).() -> list(timestamp)",
    "list(string).() -> list(string)",
    "list(bytes).() -> list(bytes)",
];
const COMPARABLE_KEYS: &[&str] = &[
    "list(A).(list(int)) -> list(A)",
    "list(A).(list(uint)) -> list(A)",
    "list(A).(list(double)) -> list(A)",
    "list(A).(list(bool)) -> list(A)",
    "list(A).(list(duration)) -> list(A)",
    "list(A).(list(timestamp)) -> list(A)",
    "list(A).(list(string)) -> list(A)",
    "list(A).(list(bytes)) -> list(A)",
];

pub(super) const ROWS: &[Row] = &[
    ("includes", Price::Includes, includes, &["dyn.(dyn) -> bool"]),
    ("isSorted", Price::Scan, is_sorted, COMPARABLE_SORTED),
    (
        "sum",
        Price::Scan,
        sum,
        &["list(int).() -> int", "list(uint).() -> uint", "list(double).() -> double", "list(duration).() -> duration"],
    ),
    ("min", Price::Scan, min, COMPARABLE_ELEMENT),
    ("max", Price::Scan, max, COMPARABLE_ELEMENT),
    (
        "indexOf",
        Price::Scan,
        index_of,
        &["list(A).(A) -> int", "string.(string) -> int", "string.(string, int) -> int"],
    ),
    (
        "lastIndexOf",
        Price::Scan,
        last_index_of,
        &["list(A).(A) -> int", "string.(string) -> int", "string.(string, int) -> int"],
    ),
    ("slice", Price::Slice, slice, &["list(A).(int, int) -> list(A)"]),
    ("flatten", Price::Flatten, flatten, &["list(list(A)).() -> list(A)", "list(dyn).(int) -> list(dyn)"]),
    ("sort", Price::Sort, sort, COMPARABLE_LIST),
    ("@sortByAssociatedKeys", Price::SortBy, sort_by, COMPARABLE_KEYS),
    ("lists.range", Price::Range, range, &["(int) -> list(int)"]),
    ("reverse", Price::Reverse, reverse, &["list(A).() -> list(A)"]),
    ("distinct", Price::Distinct, distinct, &["list(A).() -> list(A)"]),
    ("sets.contains", Price::Sets(1), contains, &["(list(A), list(A)) -> bool"]),
    ("sets.equivalent", Price::Sets(2), equivalent, &["(list(A), list(A)) -> bool"]),
    ("sets.intersects", Price::Sets(1), intersects, &["(list(A), list(A)) -> bool"]),
];

/// Whether a list has an element, or anything else is equal.
fn includes<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    // What cannot be compared is not equal.
    let same = |value: &Value<'a>| equal(value, &args[1]).unwrap_or(false);
    let Some(list) = args[0].as_list() else { return Ok(Value::Bool(same(&args[0]))) };
    for (at, value) in list.values().enumerate() {
        if at as u64 >= INCLUDED {
            let message = format!("'includes' function cannot be applied to lists longer than {INCLUDED} values");
            return Err(Failure::new(message));
        }
        if same(&value?) {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn is_sorted<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut previous: Option<Value<'a>> = None;
    for value in args[0].want_list()?.values() {
        let value = value?;
        if let Some(previous) = &previous
            && compare(previous, &value)?.is_gt()
        {
            return Ok(Value::Bool(false));
        }
        previous = Some(value);
    }
    Ok(Value::Bool(true))
}

fn sum<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut total: Option<Value<'a>> = None;
    for value in args[0].want_list()?.values() {
        let value = value?;
        total = Some(match &total {
            None => operators::sum(&zero_like(&value)?, &value)?,
            Some(total) => operators::sum(total, &value)?,
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}

fn zero_like<'a>(value: &Value<'_>) -> Outcome<'a> {
    Ok(match value {
        Value::Int(_) => Value::Int(0),
        Value::Uint(_) => Value::Uint(0),
        Value::Double(_) => Value::Double(0.0),
        Value::Duration(_) => Value::Duration(0),
        _ => return Err(Failure::no_overload()),
    })
}

fn extreme<'a>(args: &[Value<'a>], name: &str, replaces: fn(std::cmp::Ordering) -> bool) -> Outcome<'a> {
    let mut best: Option<Value<'a>> = None;
    for value in args[0].want_list()?.values() {
        let value = value?;
        let better = match &best {
            None => true,
            Some(best) => replaces(compare(best, &value)?),
        };
        if better {
            best = Some(value);
        }
    }
    best.ok_or_else(|| Failure::new(format!("{name} called on empty list")))
}

fn min<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    extreme(args, "min", std::cmp::Ordering::is_gt)
}

fn max<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    extreme(args, "max", std::cmp::Ordering::is_lt)
}

fn index_of<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let Some(list) = args[0].as_list() else { return strings::position(args, false) };
    for (at, value) in list.values().enumerate() {
        if equal(&value?, &args[1])? {
            return Ok(Value::Int(at as i64));
        }
    }
    Ok(Value::Int(-1))
}

fn last_index_of<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let Some(list) = args[0].as_list() else { return strings::position(args, true) };
    let mut last = -1;
    for (at, value) in list.values().enumerate() {
        if equal(&value?, &args[1])? {
            last = at as i64;
        }
    }
    Ok(Value::Int(last))
}

fn slice<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let list = args[0].want_list()?;
    let (start, end) = (args[1].want_int()?, args[2].want_int()?);
    let refused = |reason: String| Err(Failure::new(format!("cannot slice({start}, {end}), {reason}")));
    if start < 0 || end < 0 {
        return refused("negative indexes not supported".to_owned());
    }
    if start > end {
        return refused("start index must be less than or equal to end index".to_owned());
    }
    if list.len() < end as usize {
        return refused(format!("list is length {}", list.len()));
    }
    let taken = list.values().skip(start as usize).take((end - start) as usize);
    Ok(Value::list(taken.collect::<Result<_, _>>()?))
}

fn flatten<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let depth = args.get(1).map_or(Ok(1), Value::want_int)?;
    if depth < 0 {
        return Err(Failure::new("level must be non-negative"));
    }
    args[0].want_list()?;
    // Nested lists are at most as deep as data and expressions are.
    let mut out = Vec::new();
    flatten_into(&args[0], depth, &mut out)?;
    Ok(Value::list(out))
}

fn flatten_into<'a>(value: &Value<'a>, depth: i64, out: &mut Vec<Value<'a>>) -> Result<(), Failure> {
    let list = value.want_list()?;
    for item in list.values() {
        let item = item?;
        if depth > 0 && item.as_list().is_some() {
            flatten_into(&item, depth - 1, out)?;
        } else {
            out.push(item);
        }
    }
    Ok(())
}

fn sort<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let values = args[0].want_list()?.to_vec()?;
    let keys = values.clone();
    sorted(values, &keys)
}

fn sort_by<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (values, keys) = (args[0].want_list()?.to_vec()?, args[1].want_list()?.to_vec()?);
    if values.len() != keys.len() {
        return Err(Failure::no_overload());
    }
    sorted(values, &keys)
}

fn sorted<'a>(values: Vec<Value<'a>>, keys: &[Value<'a>]) -> Outcome<'a> {
    let Some(first) = keys.first() else { return Ok(Value::list(values)) };
    let comparable = |ty: &Type| ty.is_scalar() || matches!(ty, Type::String | Type::Bytes);
    if !comparable(&first.type_of()) {
        return Err(Failure::new("list elements must be comparable"));
    }
    if keys.iter().any(|key| !key.type_of().is(&first.type_of())) {
        return Err(Failure::new("list elements must have the same type"));
    }
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| compare(&keys[*a], &keys[*b]).unwrap_or(std::cmp::Ordering::Equal));
    Ok(Value::list(order.into_iter().map(|at| values[at].clone()).collect()))
}

fn range<'a>(meter: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let end = args[0].want_int()?;
    meter.allows(u64::try_from(end).unwrap_or(0))?;
    Ok(Value::list((0..end).map(Value::Int).collect()))
}

fn reverse<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut values = args[0].want_list()?.to_vec()?;
    values.reverse();
    Ok(Value::list(values))
}

fn distinct<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut kept: Vec<Value<'a>> = Vec::new();
    for value in args[0].want_list()?.values() {
        let value = value?;
        let mut seen = false;
        for known in &kept {
            seen = seen || equal(known, &value)?;
        }
        if !seen {
            kept.push(value);
        }
    }
    Ok(Value::List(Arc::new(kept), None))
}

/// Whether the first list has every element of the second.
fn covers<'a>(all: &Value<'a>, some: &Value<'a>) -> Result<bool, Failure> {
    let all = all.want_list()?;
    for value in some.want_list()?.values() {
        if !operators::holds(all, &value?)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn contains<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    covers(&args[0], &args[1]).map(Value::Bool)
}

fn equivalent<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(covers(&args[0], &args[1])? && covers(&args[1], &args[0])?))
}

fn intersects<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let others = args[1].want_list()?;
    for value in args[0].want_list()?.values() {
        if operators::holds(others, &value?)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}
