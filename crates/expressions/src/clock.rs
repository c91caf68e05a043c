//! Points in time and durations as expressions know them.
//!
//! Invariant: a timestamp lies between the years 1 and 9999, a duration is a 64-bit number of nanoseconds; whatever
//! would leave that is an error. Why own code: the calendar is twenty lines, and only named zones need a database.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveDateTime, Offset, TimeZone};

const SECOND: i128 = 1_000_000_000;
const DAY: i64 = 86_400;
/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;

#[derive(Clone, Copy, Debug)]
pub struct Timestamp {
    seconds: i64,
    nanos: u32,
    /// East of Greenwich, in seconds; only how it was written.
    offset: i32,
}

impl Timestamp {
    pub(crate) fn from_seconds(seconds: i64) -> Option<Self> {
        (FIRST..=LAST).contains(&seconds).then_some(Self { seconds, nanos: 0, offset: 0 })
    }

    pub(crate) fn seconds(self) -> i64 {
        self.seconds
    }

    pub(crate) fn is_zero(self) -> bool {
        self.seconds == FIRST && self.nanos == 0
    }

    fn total(self) -> i128 {
        i128::from(self.seconds) * SECOND + i128::from(self.nanos)
    }

    pub(crate) fn plus(self, nanos: i128) -> Option<Self> {
        let total = self.total().checked_add(nanos)?;
        let seconds = i64::try_from(total.div_euclid(SECOND)).ok()?;
        let nanos = total.rem_euclid(SECOND) as u32;
        Self::from_seconds(seconds).map(|at| Self { nanos, offset: self.offset, ..at })
    }

    /// The nanoseconds from `other` to here.
    pub(crate) fn since(self, other: Self) -> Option<i64> {
        i64::try_from(self.total() - other.total()).ok()
    }

    /// As clocks and calendars show it so many seconds east of Greenwich.
    pub(crate) fn civil(self, offset: i32) -> Civil {
        let local = self.seconds + i64::from(offset);
        let (year, month, day) = civil_of_days(local.div_euclid(DAY));
        let of_day = local.rem_euclid(DAY);
        Civil {
            year,
            month,
            day,
            day_of_year: local.div_euclid(DAY) - days_of_civil(year, 1, 1),
            // 1970-01-01 was a Thursday.
            weekday: (local.div_euclid(DAY) + 4).rem_euclid(7),
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            millisecond: i64::from(self.nanos / 1_000_000),
        }
    }

    /// How far a zone is from Greenwich at this time: a name of the zone database, or `+hh:mm`.
    pub(crate) fn offset_in(self, zone: &str) -> Result<i32, String> {
        let Some((hours, minutes)) = zone.split_once(':') else {
            if matches!(zone, "" | "UTC") {
                return Ok(0);
            }
            let known = chrono_tz::Tz::from_str(zone).map_err(|_| format!("unknown time zone {zone}"))?;
            let utc: NaiveDateTime = chrono::DateTime::from_timestamp(self.seconds, 0).unwrap_or_default().naive_utc();
            return Ok(known.offset_from_utc_datetime(&utc).fix().local_minus_utc());
        };
        let number =
            |text: &str| text.parse::<i32>().map_err(|_| format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let total = if zone.starts_with('-') {
            hours.saturating_mul(60).saturating_sub(minutes)
        } else {
            hours.saturating_mul(60).saturating_add(minutes)
        };
        Ok(total.saturating_mul(60).clamp(-200_000, 200_000))
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.seconds, self.nanos).cmp(&(other.seconds, other.nanos))
    }
}

pub(crate) struct Civil {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) day_of_year: i64,
    pub(crate) weekday: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) millisecond: i64,
}

/// RFC 3339 with as many digits as needed.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Civil { year, month, day, hour, minute, second, .. } = self.civil(self.offset);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if self.nanos != 0 {
            let digits = format!("{:09}", self.nanos);
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        match self.offset {
            0 => f.write_str("Z"),
            offset => {
                let sign = if offset < 0 { '-' } else { '+' };
                let minutes = offset.unsigned_abs() / 60;
                write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
            }
        }
    }
}

/// Days since 1970-01-01, counted in years that begin in March, so that a leap day is a year's last.
fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let month = (month + 9) % 12;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leaps + (month * 153 + 2) / 5 + day - 1 - 719_468
}

fn civil_of_days(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let days = days + 719_468;
    let of_era = days.rem_euclid(ERA);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let calendar = if month < 10 { month + 3 } else { month - 9 };
    (year + days.div_euclid(ERA) * 400 + i64::from(calendar <= 2), calendar, day)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Takes so many digits from the front.
fn digits(text: &mut &str, length: usize) -> Option<i64> {
    let (head, rest) = text.split_at_checked(length)?;
    *text = rest;
    head.bytes().all(|b| b.is_ascii_digit()).then(|| head.parse().ok())?
}

fn sign(text: &mut &str, expected: char) -> Option<()> {
    *text = text.strip_prefix(expected)?;
    Some(())
}

fn date(text: &mut &str) -> Option<i64> {
    let year = digits(text, 4)?;
    sign(text, '-')?;
    let month = digits(text, 2)?;
    sign(text, '-')?;
    let day = digits(text, 2)?;
    let valid = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    valid.then(|| days_of_civil(year, month, day) * DAY)
}

/// `2006-01-02`
pub(crate) fn parse_date(mut text: &str) -> Option<Timestamp> {
    let seconds = date(&mut text)?;
    if text.is_empty() { Timestamp::from_seconds(seconds) } else { None }
}

/// RFC 3339, as Go reads it; the range is checked by the caller, for it is an error of its own.
pub(crate) fn parse_rfc3339(mut text: &str) -> Option<Option<Timestamp>> {
    let text = &mut text;
    let days = date(text)?;
    sign(text, 'T')?;
    let hour = digits(text, 2)?;
    sign(text, ':')?;
    let minute = digits(text, 2)?;
    sign(text, ':')?;
    let second = digits(text, 2)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut nanos = 0;
    if let Some(rest) = text.strip_prefix(['.', ',']) {
        let length = rest.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return None;
        }
        let fraction = format!("{:0<9}", &rest[..length.min(9)]);
        nanos = fraction.parse().ok()?;
        *text = &rest[length..];
    }
    let offset = offset(text)?;
    let seconds = days + hour * 3600 + minute * 60 + second - offset;
    let offset = i32::try_from(offset).ok()?;
    text.is_empty().then(|| Timestamp::from_seconds(seconds).map(|at| Timestamp { nanos, offset, ..at }))
}

fn offset(text: &mut &str) -> Option<i64> {
    if sign(text, 'Z').is_some() {
        return Some(0);
    }
    let direction = if sign(text, '+').is_some() {
        1
    } else {
        sign(text, '-')?;
        -1
    };
    let hours = digits(text, 2)?;
    sign(text, ':')?;
    let minutes = digits(text, 2)?;
    (hours <= 24 && minutes < 60).then_some(direction * (hours * 3600 + minutes * 60))
}

/// What the `date-time` format of schemas accepts besides: small letters, a blank for the `T`.
pub(crate) fn parse_date_time(text: &str) -> Option<Timestamp> {
    let mut upper = text.to_ascii_uppercase();
    if upper.as_bytes().get(10) == Some(&b' ') {
        upper.replace_range(10..11, "T");
    }
    parse_rfc3339(&upper).flatten()
}

/// How many nanoseconds a unit has.
fn unit(name: &str) -> Option<i128> {
    Some(match name {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 3600 * SECOND,
        _ => return None,
    })
}

/// `1h2.5s` and the like.
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (digits, after) = rest.split_at(number);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let scale = unit(&after[..end])?;
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        let amount = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()? };
        total += i128::from(amount) * scale;
        let kept = &fraction[..fraction.len().min(15)];
        if !kept.is_empty() {
            total += kept.parse::<i128>().ok()? * scale / 10i128.pow(kept.len() as u32);
        }
        if total > i128::from(i64::MAX) + i128::from(negative) {
            return None;
        }
        rest = &after[end..];
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// What the `duration` format of schemas accepts besides: `3 days`, `2w`.
pub(crate) fn parse_lenient_duration(text: &str) -> Option<i64> {
    if let Some(nanos) = parse_duration(text) {
        return Some(nanos);
    }
    let number = text.find(|c: char| !c.is_ascii_digit()).filter(|at| *at > 0)?;
    let amount: i64 = text[..number].parse().ok()?;
    let scale = match text[number..].trim() {
        "ns" | "nano" => 1,
        "us" | "\u{b5}s" | "micro" => 1_000,
        "ms" | "milli" => 1_000_000,
        "s" | "sec" | "second" | "seconds" => SECOND,
        "m" | "min" | "minute" | "minutes" => 60 * SECOND,
        "h" | "hr" | "hour" | "hours" => 3600 * SECOND,
        "d" | "day" | "days" => 24 * 3600 * SECOND,
        "w" | "wk" | "week" | "weeks" => 7 * 24 * 3600 * SECOND,
        _ => return None,
    };
    i64::try_from(i128::from(amount) * scale).ok()
}

/// Seconds, with as many digits as needed: `90.5s`.
pub(crate) fn duration_text(nanos: i64) -> String {
    format!("{}s", nanos as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_printed_with_their_offset() {
        for text in ["2023-01-02T03:04:05Z", "1969-12-31T23:59:59.25+02:30", "0001-01-01T00:00:00Z"] {
            assert_eq!(parse_rfc3339(text).unwrap().unwrap().to_string(), text);
        }
        for text in ["2023-02-29T00:00:00Z", "2023-01-01T24:00:00Z", "2023-01-01", "2023-01-01T00:00:00", "x"] {
            assert!(parse_rfc3339(text).is_none(), "{text}");
        }
        assert!(parse_rfc3339("0000-12-31T23:59:59Z").unwrap().is_none(), "before the first year");
    }

    #[test]
    fn every_day_of_four_centuries_is_told_from_its_number() {
        let mut expected = (1900, 1, 1);
        for days in days_of_civil(1900, 1, 1)..days_of_civil(2300, 1, 1) {
            assert_eq!(civil_of_days(days), expected);
            assert_eq!(days_of_civil(expected.0, expected.1, expected.2), days);
            expected.2 += 1;
            if expected.2 > days_in(expected.0, expected.1) {
                expected = (expected.0 + i64::from(expected.1 == 12), expected.1 % 12 + 1, 1);
            }
        }
    }

    #[test]
    fn durations_are_read_as_go_does() {
        for (text, nanos) in [
            ("1h", Some(3_600_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("-2m3s", Some(-123_000_000_000)),
            (".5ms", Some(500_000)),
            ("0", Some(0)),
            ("", None),
            ("1", None),
            ("1d", None),
            ("1h x", None),
            ("9999999999h", None),
        ] {
            assert_eq!(parse_duration(text), nanos, "{text}");
        }
        assert_eq!(parse_lenient_duration("2 days"), Some(172_800_000_000_000));
        assert_eq!(duration_text(90_500_000_000), "90.5s");
    }

    #[test]
    fn zones_are_names_or_offsets() {
        let at = parse_rfc3339("2023-07-01T12:00:00Z").unwrap().unwrap();
        assert_eq!(at.offset_in("Europe/Berlin"), Ok(7200));
        assert_eq!(at.offset_in("-07:30"), Ok(-27_000));
        assert!(at.offset_in("Nowhere").is_err());
    }
}
