//! Parts of timestamps and durations.
//!
//! Invariant: without a zone the parts are those of UTC, however the timestamp was written.

use crate::clock::Civil;
use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::value::{Failure, Outcome, Value};

const OF_TIMESTAMP: &[&str] = &["timestamp.() -> int", "timestamp.(string) -> int"];
const OF_BOTH: &[&str] = &["timestamp.() -> int", "timestamp.(string) -> int", "duration.() -> int"];

pub(super) const ROWS: &[Row] = &[
    ("getFullYear", Price::One, year, OF_TIMESTAMP),
    ("getMonth", Price::One, month, OF_TIMESTAMP),
    ("getDayOfYear", Price::One, day_of_year, OF_TIMESTAMP),
    ("getDayOfMonth", Price::One, day_of_month, OF_TIMESTAMP),
    ("getDate", Price::One, date, OF_TIMESTAMP),
    ("getDayOfWeek", Price::One, weekday, OF_TIMESTAMP),
    ("getHours", Price::One, hours, OF_BOTH),
    ("getMinutes", Price::One, minutes, OF_BOTH),
    ("getSeconds", Price::One, seconds, OF_BOTH),
    ("getMilliseconds", Price::One, milliseconds, OF_BOTH),
];

fn civil(args: &[Value<'_>]) -> Result<Civil, Failure> {
    let Value::Timestamp(at) = &args[0] else { return Err(Failure::no_overload()) };
    let offset = match args.get(1) {
        Some(zone) => at.offset_in(zone.want_str()?).map_err(Failure::new)?,
        None => 0,
    };
    Ok(at.civil(offset))
}

/// A part of a timestamp; of a duration how often the unit fits into it.
fn part<'a>(args: &[Value<'a>], unit: i64, of: fn(Civil) -> i64) -> Outcome<'a> {
    if let (Value::Duration(nanos), None) = (&args[0], args.get(1)) {
        return Ok(Value::Int(nanos / unit));
    }
    Ok(Value::Int(of(civil(args)?)))
}

fn year<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(civil(args)?.year))
}

fn month<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(civil(args)?.month - 1))
}

fn day_of_year<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(civil(args)?.day_of_year))
}

fn day_of_month<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(civil(args)?.day - 1))
}

fn date<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(civil(args)?.day))
}

fn weekday<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Int(civil(args)?.weekday))
}

fn hours<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, 3_600_000_000_000, |civil| civil.hour)
}

fn minutes<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, 60_000_000_000, |civil| civil.minute)
}

fn seconds<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, 1_000_000_000, |civil| civil.second)
}

fn milliseconds<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, 1_000_000, |civil| civil.millisecond)
}
