//! Timeouts, retries and sessions of rules.

use std::time::Duration;

use super::http::unsupported;
use crate::gateways::kinds::{self, Persistence as AskedPersistence};
use crate::gateways::references::Refusal;
use crate::model::{PersistBy, Persistence, Retry, Timeouts};

/// Tries after the first when nothing is said.
const ATTEMPTS: u32 = 1;
const COOKIE: &str = "knarr-session";
const HEADER: &str = "x-knarr-session";

/// Reads a duration of GEP-2257: up to four pairs of digits and `h`, `m`, `s` or `ms`.
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    let bad = || unsupported(format!("{text:?} is no duration such as 10s or 1h30m"));
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits =
            rest.find(|c: char| !c.is_ascii_digit()).filter(|digits| (1..=5).contains(digits)).ok_or_else(bad)?;
        let number: u64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let (unit, millis) = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1000)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .ok_or_else(bad)?;
        rest = &rest[unit.len()..];
        total += Duration::from_millis(number * millis);
    }
    if text.is_empty() { Err(bad()) } else { Ok(total) }
}

pub(super) fn timeouts(asked: Option<&kinds::Timeouts>) -> Result<Timeouts, Refusal> {
    let read = |text: Option<&String>| text.map(|text| duration(text)).transpose();
    let request = read(asked.and_then(|asked| asked.request.as_ref()))?;
    let backend = read(asked.and_then(|asked| asked.backend_request.as_ref()))?;
    Ok(Timeouts { request, backend, ..Timeouts::default() })
}

pub(super) fn retry(asked: &kinds::Retry) -> Result<Retry, Refusal> {
    let attempts =
        asked.attempts.map(u32::try_from).transpose().map_err(|_| unsupported("retry.attempts is negative"))?;
    Ok(Retry {
        codes: asked.codes.clone(),
        attempts: attempts.unwrap_or(ATTEMPTS),
        backoff: asked.backoff.as_deref().map(duration).transpose()?.unwrap_or_default(),
        any_method: false,
    })
}

pub(super) fn persistence(asked: &AskedPersistence) -> Result<Persistence, Refusal> {
    let name = asked.session_name.clone().filter(|name| !name.is_empty());
    let by = match asked.type_.as_deref().unwrap_or("Cookie") {
        "Cookie" => PersistBy::Cookie(name.unwrap_or_else(|| COOKIE.to_owned())),
        "Header" => {
            let name = name.unwrap_or_else(|| HEADER.to_owned());
            PersistBy::Header(name.parse().map_err(|_| unsupported(format!("{name:?} is no name of a header")))?)
        }
        other => return Err(unsupported(format!("sessions of type {other} are not supported"))),
    };
    let lifetime = asked.cookie_config.as_ref().and_then(|config| config.lifetime_type.as_deref());
    Ok(Persistence {
        by,
        absolute: asked.absolute_timeout.as_deref().map(duration).transpose()?,
        idle: asked.idle_timeout.as_deref().map(duration).transpose()?,
        permanent: lifetime == Some("Permanent"),
        path: "/".to_owned(),
        same_site: None,
        secure: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, millis) in [
            ("10s", Some(10_000)),
            ("1h30m", Some(5_400_000)),
            ("500ms", Some(500)),
            ("0s", Some(0)),
            ("1m1ms", Some(60_001)),
            ("", None),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("-1s", None),
            ("1000000s", None),
        ] {
            assert_eq!(duration(text).ok(), millis.map(Duration::from_millis), "{text:?}");
        }
    }
}
