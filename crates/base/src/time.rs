//! Timestamps in the two textual forms of the API: whole seconds (`Time`) and microseconds (`MicroTime`).
//!
//! Invariant: output is always UTC with a `Z`. Why not `Timestamp`'s own Display: it prints as many digits as there are.

pub use jiff::{SignedDuration, Timestamp};

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
}
