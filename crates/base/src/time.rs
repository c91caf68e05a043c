//! Timestamps in the two textual forms of the API: whole seconds (`Time`) and microseconds (`MicroTime`); durations in
//! Go's form.
//!
//! Invariant: output is always UTC with a `Z`. Why not `Timestamp`'s own Display: it prints as many digits as there are.

pub use jiff::{SignedDuration, Timestamp};

use crate::error::quote;

/// The present moment. Pure code takes it as a parameter; only shells call this.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// `2026-01-02T03:04:05Z`
pub fn rfc3339(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// `2026-01-02T03:04:05.000006Z`
pub fn rfc3339_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// `2026-01-02T03:04:05.000000007Z`, the form of log lines.
pub fn rfc3339_nano(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%9fZ").to_string()
}

/// A text that is no RFC 3339 date and time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is not an RFC 3339 time such as 2026-01-02T03:04:05Z")]
pub struct ParseTimeError {
    text: String,
}

/// Reads RFC 3339: date, `T`, time with optional fraction, `Z` or an offset.
pub fn parse(text: &str) -> Result<Timestamp, ParseTimeError> {
    let refuse = || ParseTimeError { text: text.to_owned() };
    if !has_rfc3339_shape(text.as_bytes()) {
        return Err(refuse());
    }
    text.parse().map_err(|_| refuse())
}

// jiff also reads other Temporal forms (basic format, zone annotations), which Go's RFC 3339 parser refuses.
fn has_rfc3339_shape(text: &[u8]) -> bool {
    const HEAD: &[u8] = b"0000-00-00T00:00:00";
    let digits_match = |shape: &[u8], text: &[u8]| {
        shape.iter().zip(text).all(|(s, t)| if *s == b'0' { t.is_ascii_digit() } else { s == t })
    };
    if text.len() <= HEAD.len() || !digits_match(HEAD, text) {
        return false;
    }
    let mut rest = &text[HEAD.len()..];
    if rest[0] == b'.' || rest[0] == b',' {
        let digits = rest[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return false;
        }
        rest = &rest[1 + digits..];
    }
    match rest {
        b"Z" => true,
        [b'+' | b'-', offset @ ..] => offset.len() == 5 && digits_match(b"00:00", offset),
        _ => false,
    }
}

/// Nanoseconds in each unit of a duration.
const UNITS: &[(&str, u128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// Reads a duration as Go writes it, such as `1h30m` or `-1.5s`; the error is Go's.
pub fn duration(text: &str) -> Result<SignedDuration, String> {
    let invalid = || format!("time: invalid duration {}", quote(text));
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (whole, after) = rest.split_at(digits(rest));
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let known = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, nanos)| *nanos);
        let Some(nanos) = known else {
            let what =
                if unit.is_empty() { "missing unit".to_owned() } else { format!("unknown unit {}", quote(unit)) };
            return Err(format!("time: {what} in duration {}", quote(text)));
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        // further digits are less than a nanosecond
        let fraction = &fraction[..fraction.len().min(18)];
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
        let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| invalid())? };
        total += u128::from(whole) * nanos + fraction * nanos / scale;
        rest = after;
    }
    let total = i128::try_from(total).map_err(|_| invalid())?;
    let nanos = if text.starts_with('-') { -total } else { total };
    i64::try_from(nanos).map(SignedDuration::from_nanos).map_err(|_| invalid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read_back() {
        let at = Timestamp::new(1_767_323_045, 6_000).expect("invariant: in range");
        assert_eq!(rfc3339(at), "2026-01-02T03:04:05Z");
        assert_eq!(rfc3339_micro(at), "2026-01-02T03:04:05.000006Z");
        assert_eq!(parse(&rfc3339_micro(at)), Ok(at));
        assert_eq!(parse("2026-01-02T04:04:05.000006+01:00"), Ok(at));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in ["", "2026-01-02", "20260102T030405Z", "2026-01-02T03:04:05", "2026-01-02T03:04:05Z[UTC]", "now"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let nanos = |text: &str| duration(text).map(|one| one.as_nanos());
        for (text, wanted) in [
            ("0", 0),
            ("5s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-1.5s", -1_500_000_000),
            ("+.5ms", 500_000),
            ("1.h", 3_600_000_000_000),
            ("1µs1us1μs", 3_000),
            ("0.3333333333333333333h", 1_199_999_999_999), // Go counts in floating point here: a nanosecond more
            ("9223372036854775807ns", i128::from(i64::MAX)),
            ("-9223372036854775808ns", i128::from(i64::MIN)),
        ] {
            assert_eq!(nanos(text), Ok(wanted), "{text}");
        }
        for (text, fault) in [
            ("", r#"time: invalid duration """#),
            ("-", r#"time: invalid duration "-""#),
            (".s", r#"time: invalid duration ".s""#),
            ("x", r#"time: invalid duration "x""#),
            ("9223372036854775808ns", r#"time: invalid duration "9223372036854775808ns""#),
            ("3000000h", r#"time: invalid duration "3000000h""#),
            ("5", r#"time: missing unit in duration "5""#),
            ("1.2.3s", r#"time: missing unit in duration "1.2.3s""#),
            ("5s3", r#"time: missing unit in duration "5s3""#),
            ("1d", r#"time: unknown unit "d" in duration "1d""#),
        ] {
            assert_eq!(nanos(text), Err(fault.to_owned()), "{text}");
        }
    }
}
