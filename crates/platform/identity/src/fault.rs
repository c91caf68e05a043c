//! What is wrong with a policy: every fault at once, each with its field and the remedy.

use std::fmt;
use std::time::Duration;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where, such as `spec.oidc.session.secret`.
    pub field: String,
    /// What is wrong and what to do.
    pub why: String,
}

/// All that is wrong with one policy; never empty when it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(formatter, "{separator}{}: {}", fault.field, fault.why)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Faults {
    /// Notes a fault.
    pub(crate) fn add(&mut self, field: impl Into<String>, why: impl fmt::Display) {
        self.0.push(Fault { field: field.into(), why: why.to_string() });
    }

    /// The value of `result`, or its error as a fault of `field`.
    pub(crate) fn take<T>(&mut self, field: &str, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|why| self.add(field, why)).ok()
    }

    /// Reads a duration between `least` and `most`; an empty text is `least..most`'s `standard`.
    pub(crate) fn duration(&mut self, field: &str, text: &str, standard: Duration, most: Duration) -> Duration {
        if text.is_empty() {
            return standard;
        }
        match duration(text) {
            Some(read) if read > most => {
                self.add(field, format_args!("{text:?} is too long: at most {}s", most.as_secs()));
                standard
            }
            Some(read) => read,
            None => {
                self.add(field, format_args!("{text:?} is no duration such as 30s, 5m or 1h30m"));
                standard
            }
        }
    }

    /// `value` if there is no fault.
    pub(crate) fn or<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

/// Reads a duration of the Gateway API (GEP-2257): whole numbers with `h`, `m`, `s`, `ms`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u32 = rest[..digits].parse().ok().filter(|_| digits <= 5)?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match &rest[..letters] {
            "h" => Duration::from_secs(3600),
            "m" => Duration::from_secs(60),
            "s" => Duration::from_secs(1),
            "ms" => Duration::from_millis(1),
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(unit.checked_mul(number)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_gateway_api() {
        let read = |text| duration(text).map(|read| read.as_millis());
        assert_eq!(
            [read("1h30m"), read("5s"), read("10ms"), read("0s"), read("1m1m")].map(Option::unwrap_or_default),
            [5_400_000, 5_000, 10, 0, 120_000]
        );
        for wrong in ["", "5", "s", "1.5s", "-1s", "1d", "123456s", "1 s", "ⅷs"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn faults_are_told_together() {
        let mut faults = Faults::default();
        faults.add("spec.a", "is wrong");
        let limit = Duration::from_secs(60);
        assert_eq!(faults.duration("spec.b", "2h", limit, limit), limit);
        assert_eq!(
            faults.or::<()>(None).unwrap_err().to_string(),
            "spec.a: is wrong; spec.b: \"2h\" is too long: at most 60s"
        );
    }
}
