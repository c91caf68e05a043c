//! When something is due again and again: plans in the form of cron, and the times that follow from them.
//!
//! Invariant: what is read, refused and answered is what `robfig/cron` v3 does, which upstream uses for CronJobs: five
//! fields or a word after `@`, both days must match only if one of them is a star, and what a clock skips or repeats when
//! it is changed is found by walking it: days by the calendar, hours and minutes by elapsed time.
//! Why walk: each step of a field is one rule, and the answers around a change of the clock follow from the order of steps.

use std::fmt;

use jiff::civil::{DateTime, Time, date, time};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::error::quote;
use crate::zone::{UnknownZone, Zone};

/// When something is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    times: Times,
    /// None is where the asker is.
    zone: Option<Zone>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Times {
    Fields(Fields),
    Every(SignedDuration),
}

/// Which values of each field are meant, as bits.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
}

/// A text that is no schedule.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadSchedule(String);

/// Set in a field that was written as a star.
const STAR: u64 = 1 << 63;
const HOUR: i64 = 3600;
const MINUTE: i64 = 60;
/// A schedule that is not due for so many years is never due.
const YEARS: i16 = 5;

/// What a field may hold.
struct Bounds {
    low: u64,
    high: u64,
    names: &'static [&'static str],
}

const MINUTES: Bounds = Bounds { low: 0, high: 59, names: &[] };
const HOURS: Bounds = Bounds { low: 0, high: 23, names: &[] };
const DAYS: Bounds = Bounds { low: 1, high: 31, names: &[] };
const MONTHS: Bounds = Bounds {
    low: 1,
    high: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAYS: Bounds = Bounds { low: 0, high: 6, names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"] };

/// What the words after `@` stand for.
const WORDS: &[(&[&str], &str)] = &[
    (&["@yearly", "@annually"], "0 0 1 1 *"),
    (&["@monthly"], "0 0 1 * *"),
    (&["@weekly"], "0 0 * * 0"),
    (&["@daily", "@midnight"], "0 0 * * *"),
    (&["@hourly"], "0 * * * *"),
];

impl Schedule {
    /// Reads `[TZ=zone ]minute hour day month weekday`, or a word such as `@hourly` or `@every 90m` instead of the fields.
    pub fn parse(text: &str) -> Result<Self, BadSchedule> {
        if text.is_empty() {
            return refuse("empty spec string");
        }
        let (mut rest, mut zone) = (text, None);
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            let Some((place, fields)) = text.split_once(' ') else {
                return refuse(format!("invalid schedule format: {text}"));
            };
            let name = place.split_once('=').map_or("", |(_, name)| name);
            zone = named(name).map_err(|fault| BadSchedule(format!("provided bad location {name}: {fault}")))?;
            rest = fields.trim();
        }
        let times = if rest.starts_with('@') { word(rest)? } else { Times::Fields(Fields::parse(rest)?) };
        Ok(Self { times, zone })
    }

    /// The first time after `after` at which this is due; `here` is the zone of a schedule that names none. None if it is
    /// never due.
    pub fn next(&self, after: Timestamp, here: Zone) -> Option<Timestamp> {
        let second = after.as_second() - i64::from(after.subsec_nanosecond() < 0);
        match &self.times {
            Times::Every(delay) => Timestamp::from_second(second).ok()?.checked_add(*delay).ok(),
            Times::Fields(fields) => {
                let clock = Clock::at(second + 1, self.zone.unwrap_or(here))?;
                fields.next(clock).and_then(|at| Timestamp::from_second(at).ok())
            }
        }
    }
}

/// The zone of that name; none for `Local`.
fn named(name: &str) -> Result<Option<Zone>, UnknownZone> {
    if name == "Local" { Ok(None) } else { Zone::named(name).map(Some) }
}

fn refuse<T>(why: impl fmt::Display) -> Result<T, BadSchedule> {
    Err(BadSchedule(why.to_string()))
}

fn word(text: &str) -> Result<Times, BadSchedule> {
    if let Some((_, fields)) = WORDS.iter().find(|(words, _)| words.contains(&text)) {
        return Fields::parse(fields).map(Times::Fields);
    }
    let Some(duration) = text.strip_prefix("@every ") else {
        return refuse(format!("unrecognized descriptor: {text}"));
    };
    match crate::time::duration(duration) {
        Ok(delay) => Ok(Times::Every(SignedDuration::from_secs(delay.as_secs().max(1)))),
        Err(fault) => refuse(format!("failed to parse duration {text}: {fault}")),
    }
}

impl Fields {
    fn parse(text: &str) -> Result<Self, BadSchedule> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            let shown = fields.join(" ");
            return refuse(format!("expected exactly 5 fields, found {}: [{shown}]", fields.len()));
        };
        Ok(Self {
            minutes: MINUTES.field(minutes)?,
            hours: HOURS.field(hours)?,
            days: DAYS.field(days)?,
            months: MONTHS.field(months)?,
            weekdays: WEEKDAYS.field(weekdays)?,
        })
    }

    /// Walks the clock from `clock` to the first time that matches.
    fn next(&self, mut clock: Clock) -> Option<i64> {
        let last = clock.shown.year() + YEARS;
        // Whether the clock already stands at the start of the field that is looked at.
        let mut at_start = false;
        'fields: while clock.shown.year() <= last {
            while !has(self.months, clock.shown.month()) {
                if !at_start {
                    at_start = true;
                    clock = clock.set(clock.shown.month(), 1, Time::midnight())?;
                }
                clock = clock.set(clock.shown.month() + 1, clock.shown.day(), clock.shown.time())?;
                if clock.shown.month() == 1 {
                    continue 'fields;
                }
            }
            while !self.is_day(&clock) {
                if !at_start {
                    at_start = true;
                    clock = clock.set(clock.shown.month(), clock.shown.day(), Time::midnight())?;
                }
                clock = clock.set(clock.shown.month(), clock.shown.day() + 1, clock.shown.time())?.to_midnight()?;
                if clock.shown.day() == 1 {
                    continue 'fields;
                }
            }
            while !has(self.hours, clock.shown.hour()) {
                if !at_start {
                    at_start = true;
                    clock = clock.set(clock.shown.month(), clock.shown.day(), time(clock.shown.hour(), 0, 0, 0))?;
                }
                clock = clock.plus(HOUR)?;
                if clock.shown.hour() == 0 {
                    continue 'fields;
                }
            }
            while !has(self.minutes, clock.shown.minute()) {
                at_start = true;
                clock = clock.plus(MINUTE - clock.unix.rem_euclid(MINUTE))?;
                if clock.shown.minute() == 0 {
                    continue 'fields;
                }
            }
            if clock.shown.second() == 0 {
                return Some(clock.unix);
            }
            at_start = true;
            clock = clock.plus(MINUTE - i64::from(clock.shown.second()))?;
        }
        None
    }

    /// Both days count if one of them may be any; otherwise one is enough.
    fn is_day(&self, clock: &Clock) -> bool {
        let weekday = clock.shown.weekday().to_sunday_zero_offset();
        let (day, weekday) = (has(self.days, clock.shown.day()), has(self.weekdays, weekday));
        if (self.days | self.weekdays) & STAR != 0 { day && weekday } else { day || weekday }
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

impl Bounds {
    fn field(&self, text: &str) -> Result<u64, BadSchedule> {
        text.split(',').filter(|part| !part.is_empty()).try_fold(0, |bits, part| Ok(bits | self.range(part)?))
    }

    /// `number | number-number | *`, each with `/step`.
    fn range(&self, part: &str) -> Result<u64, BadSchedule> {
        let steps: Vec<&str> = part.split('/').collect();
        let limits: Vec<&str> = steps[0].split('-').collect();
        let star = matches!(limits[0], "*" | "?");
        let (start, mut end) = if star {
            (self.low, self.high)
        } else {
            let start = self.number(limits[0])?;
            match limits.as_slice() {
                [_] => (start, start),
                [_, end] => (start, self.number(end)?),
                _ => return refuse(format!("too many hyphens: {part}")),
            }
        };
        let step = match steps.as_slice() {
            [_] => 1,
            [_, text] => {
                if limits.len() == 1 {
                    end = self.high;
                }
                integer(text)?
            }
            _ => return refuse(format!("too many slashes: {part}")),
        };
        let (low, high) = (self.low, self.high);
        if start < low {
            return refuse(format!("beginning of range ({start}) below minimum ({low}): {part}"));
        }
        if end > high {
            return refuse(format!("end of range ({end}) above maximum ({high}): {part}"));
        }
        if start > end {
            return refuse(format!("beginning of range ({start}) beyond end of range ({end}): {part}"));
        }
        if step == 0 {
            return refuse(format!("step of range should be a positive number: {part}"));
        }
        let values = (start..=end).filter(|value| (value - start) % step == 0);
        let bits = values.fold(0, |bits, value| bits | 1 << value);
        Ok(if star && step == 1 { bits | STAR } else { bits })
    }

    fn number(&self, text: &str) -> Result<u64, BadSchedule> {
        let named = (self.low..).zip(self.names).find(|(_, name)| name.eq_ignore_ascii_case(text));
        named.map_or_else(|| integer(text), |(number, _)| Ok(number))
    }
}

fn integer(text: &str) -> Result<u64, BadSchedule> {
    match text.parse::<i64>() {
        Ok(number) => match u64::try_from(number) {
            Ok(number) => Ok(number),
            Err(_) => refuse(format!("negative number ({number}) not allowed: {text}")),
        },
        Err(fault) => {
            use std::num::IntErrorKind::{NegOverflow, PosOverflow};
            let far = matches!(fault.kind(), NegOverflow | PosOverflow);
            let why = if far { "value out of range" } else { "invalid syntax" };
            refuse(format!("failed to parse int from {text}: strconv.Atoi: parsing {}: {why}", quote(text)))
        }
    }
}

/// What clocks and calendars of a zone show at a time.
#[derive(Clone, Copy)]
struct Clock {
    unix: i64,
    shown: DateTime,
    zone: Zone,
}

impl Clock {
    /// None where the calendar ends.
    fn at(unix: i64, zone: Zone) -> Option<Self> {
        let local = Timestamp::from_second(unix + zone.offset_at(unix)).ok()?;
        Some(Self { unix, shown: Offset::UTC.to_datetime(local), zone })
    }

    fn plus(self, seconds: i64) -> Option<Self> {
        Self::at(self.unix + seconds, self.zone)
    }

    /// A day and time, with the month and the day counted on beyond their ends. Of a time that the clock skips or shows
    /// twice, the one that Go takes.
    fn set(self, month: i8, day: i8, time: Time) -> Option<Self> {
        let first = if month > 12 { date(self.shown.year() + 1, 1, 1) } else { date(self.shown.year(), month, 1) };
        let date = first.checked_add(SignedDuration::from_hours(24 * i64::from(day - 1))).ok()?;
        let local = Offset::UTC.to_timestamp(date.to_datetime(time)).ok()?.as_second();
        let near = self.zone.offset_at(local);
        Self::at(local - self.zone.offset_at(local - near), self.zone)
    }

    /// Where midnight does not exist or is off, the hour nearest to it.
    fn to_midnight(self) -> Option<Self> {
        match i64::from(self.shown.hour()) {
            0 => Some(self),
            hour if hour > 12 => self.plus((24 - hour) * HOUR),
            hour => self.plus(-hour * HOUR),
        }
    }
}

#[cfg(test)]
mod tests;
