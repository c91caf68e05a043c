//! Time zones by their names in the IANA database.
//!
//! Invariant: the database is in the binary; nothing is read from the machine, so a zone works the same everywhere, also
//! where there is no tzdata. Only offsets leave: who wants a calendar counts days from them.

use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use jiff::{SignedDuration, Timestamp};

/// A time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Zone(Option<Tz>);

/// A text that names no time zone.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum UnknownZone {
    #[error("time: invalid location name")]
    Invalid,
    #[error("unknown time zone {0}")]
    Unknown(String),
}

impl Zone {
    pub const UTC: Self = Self(None);

    /// The zone of that name; upper and lower case differ, as in Go. Nothing and `UTC` are UTC.
    pub fn named(name: &str) -> Result<Self, UnknownZone> {
        // a zone of the database that says nothing has been set yet; its clock is that of UTC
        if matches!(name, "" | "UTC" | "Factory") {
            return Ok(Self::UTC);
        }
        if name.contains("..") || name.starts_with('/') || name.contains('\\') {
            return Err(UnknownZone::Invalid);
        }
        name.parse().map(|zone| Self(Some(zone))).map_err(|_| UnknownZone::Unknown(name.to_owned()))
    }

    /// How many seconds east of Greenwich its clocks are, so many seconds after the start of 1970 in UTC.
    pub fn offset_at(self, seconds: i64) -> i64 {
        let at = DateTime::from_timestamp(seconds, 0).unwrap_or_default().naive_utc();
        self.0.map_or(0, |zone| i64::from(zone.offset_from_utc_datetime(&at).fix().local_minus_utc()))
    }

    /// `2026-01-02T04:04:05+01:00`, with a `Z` where its clocks show UTC.
    pub fn rfc3339(self, at: Timestamp) -> String {
        let offset = self.offset_at(at.as_second());
        if offset == 0 {
            return crate::time::rfc3339(at);
        }
        let local = at.checked_add(SignedDuration::from_secs(offset)).unwrap_or(at);
        let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
        format!("{}{sign}{:02}:{:02}", local.strftime("%Y-%m-%dT%H:%M:%S"), minutes / 60, minutes % 60)
    }
}

impl std::fmt::Display for Zone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.map_or("UTC", Tz::name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_has_the_offset_of_its_law_at_the_time() {
        let at = |name: &str, seconds: i64| Zone::named(name).map(|zone| zone.offset_at(seconds));
        // 2027-01-15 and 2027-07-15
        let (winter, summer) = (1_800_000_000, 1_815_609_600);
        assert_eq!((at("Europe/Berlin", winter), at("Europe/Berlin", summer)), (Ok(3600), Ok(7200)));
        assert_eq!((at("Asia/Kolkata", winter), at("Etc/GMT+5", summer)), (Ok(19_800), Ok(-18_000)));
        assert_eq!((at("", winter), at("UTC", winter), at("Factory", winter)), (Ok(0), Ok(0), Ok(0)));
        assert_eq!(at("Europe/Berlin", i64::MAX), at("Europe/Berlin", 0));
    }

    #[test]
    fn a_time_is_written_as_its_clocks_show_it() {
        let at = crate::time::parse("2026-01-02T03:04:05Z").expect("a time");
        let written = |name: &str| Zone::named(name).expect("a zone").rfc3339(at);
        assert_eq!(written("Europe/Berlin"), "2026-01-02T04:04:05+01:00");
        assert_eq!(written("America/St_Johns"), "2026-01-01T23:34:05-03:30");
        assert_eq!((written("UTC"), written("Europe/London")), (crate::time::rfc3339(at), crate::time::rfc3339(at)));
    }

    #[test]
    fn what_names_no_zone_is_told_in_gos_words() {
        let refused = |name: &str| Zone::named(name).map_err(|error| error.to_string());
        assert_eq!(refused("Mars/Base"), Err("unknown time zone Mars/Base".to_owned()));
        assert_eq!(refused("europe/berlin"), Err("unknown time zone europe/berlin".to_owned()));
        for name in ["../etc/passwd", "/etc/localtime", "a\\b"] {
            assert_eq!(refused(name), Err("time: invalid location name".to_owned()), "{name}");
        }
    }
}
