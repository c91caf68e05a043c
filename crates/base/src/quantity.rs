//! Resource quantities: `500m`, `1.5Gi`, `2e3`.
//!
//! Invariant: a value is held exactly in units of 10^-9 and rounded up (away from zero) beyond that; values are capped at
//! 2^63-1 as upstream. Display is upstream's canonical form, so storing a printed quantity and reading it back is stable.
//! Why not f64: 0.1 must stay 0.1, and comparisons decide whether a pod fits.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const NANO: i128 = 1_000_000_000;
const MAX: i128 = i64::MAX as i128 * NANO;

/// How a quantity was written, which decides how it prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `k`, `M`, `m`, ...
    #[default]
    DecimalSi,
    /// `Ki`, `Mi`, ...
    BinarySi,
    /// `e3`, `E6`, ...
    DecimalExponent,
}

/// An exact amount; equality and order ignore how it was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quantity {
    nano: i128,
    format: Format,
}

/// A text that is no quantity.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse quantity's suffix")]
    Suffix,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
}

impl Quantity {
    pub const ZERO: Self = Self { nano: 0, format: Format::DecimalSi };

    /// A whole number.
    pub fn from_value(value: i64, format: Format) -> Self {
        Self { nano: i128::from(value) * NANO, format }
    }

    /// Thousandths, as CPU is counted.
    pub fn from_milli(milli: i64) -> Self {
        Self { nano: i128::from(milli) * (NANO / 1000), format: Format::DecimalSi }
    }

    /// The value in whole units, rounded up.
    pub fn value(&self) -> i64 {
        i64::try_from(divide_up(self.nano, NANO)).unwrap_or(i64::MAX)
    }

    /// The value in thousandths, rounded up.
    pub fn milli(&self) -> i128 {
        divide_up(self.nano, NANO / 1000)
    }

    /// The value as a floating-point number, which may be a little off.
    pub fn approximate(&self) -> f64 {
        self.nano as f64 / NANO as f64
    }

    pub fn is_zero(&self) -> bool {
        self.nano == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        match self.nano.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    pub fn format(&self) -> Format {
        self.format
    }

    /// The same amount without parts below a thousandth (rounded up), as resource lists are kept.
    #[must_use]
    pub fn rounded_to_milli(&self) -> Self {
        Self { nano: self.milli() * (NANO / 1000), format: self.format }
    }

    /// The sum, in the format of `self` unless `self` is zero; none if it leaves the range.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        let format = if self.is_zero() { other.format } else { self.format };
        self.nano.checked_add(other.nano).filter(|nano| nano.abs() <= MAX).map(|nano| Self { nano, format })
    }

    /// The difference, in the format of `self` unless `self` is zero; none if it leaves the range.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        self.checked_add(&Self { nano: -other.nano, format: other.format })
    }

    fn decimal_text(&self, format: Format, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut mantissa, mut exponent) = (self.nano, -9);
        while exponent < 18 && mantissa % 1000 == 0 {
            mantissa /= 1000;
            exponent += 3;
        }
        match (format, exponent) {
            (_, 0) => write!(f, "{mantissa}"),
            (Format::DecimalExponent, _) => write!(f, "{mantissa}e{exponent}"),
            _ => {
                let suffix = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"][((exponent + 9) / 3) as usize];
                write!(f, "{mantissa}{suffix}")
            }
        }
    }
}

fn divide_up(value: i128, by: i128) -> i128 {
    let quotient = value / by;
    match value % by {
        0 => quotient,
        rest => quotient + rest.signum(),
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nano == 0 {
            return f.write_str("0");
        }
        let whole = self.nano % NANO == 0;
        if self.format != Format::BinarySi || !whole || self.nano.abs() < 1024 * NANO {
            // A fraction, or less than one binary step, prints as a decimal so that nothing is lost.
            let format = if self.format == Format::BinarySi { Format::DecimalSi } else { self.format };
            return self.decimal_text(format, f);
        }
        let (mut mantissa, mut step) = (self.nano / NANO, 0);
        while step < 6 && mantissa % 1024 == 0 {
            mantissa /= 1024;
            step += 1;
        }
        write!(f, "{mantissa}{}", ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][step])
    }
}

enum Scale {
    Ten(i32),
    Two(u32),
}

fn scale_of(suffix: &str) -> Option<(Scale, Format)> {
    let ten = |exponent| Some((Scale::Ten(exponent), Format::DecimalSi));
    let two = |exponent| Some((Scale::Two(exponent), Format::BinarySi));
    match suffix {
        "" => ten(0),
        "n" => ten(-9),
        "u" => ten(-6),
        "m" => ten(-3),
        "k" => ten(3),
        "M" => ten(6),
        "G" => ten(9),
        "T" => ten(12),
        "P" => ten(15),
        "E" => ten(18),
        "Ki" => two(10),
        "Mi" => two(20),
        "Gi" => two(30),
        "Ti" => two(40),
        "Pi" => two(50),
        "Ei" => two(60),
        _ => {
            let digits = suffix.strip_prefix(['e', 'E'])?;
            Some((Scale::Ten(digits.parse().ok()?), Format::DecimalExponent))
        }
    }
}

/// The amount of `whole.fraction` times `scale` in units of 10^-9, rounded up, capped.
fn scaled(whole: &str, fraction: &str, scale: &Scale) -> i128 {
    match *scale {
        Scale::Ten(exponent) => {
            // Move the decimal point: everything left of it counts, the rest only rounds up.
            let point =
                i64::try_from(whole.len()).unwrap_or(i64::MAX).saturating_add(i64::from(exponent)).saturating_add(9);
            let mut amount: i128 = 0;
            let mut written: i64 = 0;
            let mut digits = whole.bytes().chain(fraction.bytes());
            for digit in digits.by_ref() {
                if written >= point {
                    return if digit != b'0' || digits.any(|d| d != b'0') { (amount + 1).min(MAX) } else { amount };
                }
                written += 1;
                amount = (amount.saturating_mul(10).saturating_add(i128::from(digit - b'0'))).min(MAX);
            }
            while written < point && amount != 0 && amount < MAX {
                amount = amount.saturating_mul(10).min(MAX);
                written += 1;
            }
            amount
        }
        Scale::Two(bits) => {
            let unit = NANO << bits;
            let whole = whole.trim_start_matches('0');
            let parsed = if whole.is_empty() { Some(0) } else { whole.parse::<i128>().ok() };
            let Some(amount) = parsed.and_then(|whole| whole.checked_mul(unit)) else { return MAX };
            let kept = &fraction[..fraction.len().min(11)];
            let lost = fraction[kept.len()..].bytes().any(|d| d != b'0');
            let divisor = 10i128.pow(u32::try_from(kept.len()).unwrap_or(11));
            let part = divide_up(kept.parse::<i128>().unwrap_or(0) * unit, divisor) + i128::from(lost);
            amount.saturating_add(part).min(MAX)
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let end = unsigned.bytes().position(|b| !b.is_ascii_digit() && b != b'.').unwrap_or(unsigned.len());
        let (number, suffix) = unsigned.split_at(end);
        if number.is_empty() || !suffix.bytes().all(|b| b.is_ascii_digit() || b"eEinumkKMGTP+-".contains(&b)) {
            return Err(ParseError::Format);
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') {
            return Err(ParseError::Format);
        }
        if whole.is_empty() && fraction.is_empty() {
            return Err(ParseError::Numeric);
        }
        let (scale, format) = scale_of(suffix).ok_or(ParseError::Suffix)?;
        let nano = scaled(whole, fraction, &scale);
        Ok(Self { nano: if negative { -nano } else { nano }, format })
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.nano == other.nano
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        self.nano.cmp(&other.nano)
    }
}

impl Hash for Quantity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.nano.hash(state);
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Quantity;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as 500m or 1Gi")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Quantity, E> {
                text.trim().parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Quantity, E> {
                Ok(Quantity::from_value(value, Format::DecimalSi))
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Quantity, E> {
                self.visit_str(&value.to_string())
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn canonical(text: &str, expected: &str) {
        assert_eq!(text.parse::<Quantity>().map(|q| q.to_string()), Ok(expected.to_owned()), "{text}");
    }

    #[test]
    fn quantities_print_in_upstreams_canonical_form() {
        for (text, expected) in [
            ("0", "0"),
            ("0Gi", "0"),
            ("1000m", "1"),
            ("500m", "500m"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1000Ki", "1000Ki"),
            ("512", "512"),
            ("0.1Gi", "107374182400m"),
            ("0.5Ki", "512"),
            ("1000k", "1M"),
            ("2e3", "2e3"),
            ("2000e0", "2e3"),
            ("1E", "1E"),
            ("1E3", "1e3"),
            ("12e1", "120"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("-0.1n", "-1n"),
            ("-1.5", "-1500m"),
            ("+3", "3"),
            (".5", "500m"),
            ("5.", "5"),
            ("100E", "9223372036854775807"),
            ("16Ei", "9223372036854775807"),
            ("1e-12", "1e-9"),
        ] {
            canonical(text, expected);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "-", ".", "m", "1.2.3", "1 Gi", "1gi", "1kk", "1e", "0x1", "1Ki5", "ten", "1i", "--1"] {
            assert!(text.parse::<Quantity>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn values_round_up() {
        let read = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(read("1500m").value(), 2);
        assert_eq!(read("1").milli(), 1000);
        assert_eq!(read("1u").milli(), 1);
        assert_eq!(read("100m").checked_add(&read("0.9")), Some(read("1")));
        assert_eq!(read("1").checked_sub(&read("250m")), Some(read("750m")));
        assert_eq!(read("16Ei").checked_add(&read("1")), None);
        assert!(read("1Gi") > read("1G"));
    }

    #[test]
    fn numbers_deserialise_too() {
        let read = |text: &str| serde_json::from_str::<Quantity>(text).map(|q| q.to_string());
        assert_eq!(read("2").unwrap(), "2");
        assert_eq!(read("0.5").unwrap(), "500m");
        assert_eq!(read("\"1Gi\"").unwrap(), "1Gi");
        assert!(read("true").is_err());
    }

    proptest! {
        #[test]
        fn printing_and_reading_changes_nothing(text in "[-+]?[0-9]{0,22}(\\.[0-9]{0,15})?([numkMGTPE]|[KMGTPE]i|[eE][-+]?[0-9]{1,2})?") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                let printed = quantity.to_string();
                let again: Quantity = printed.parse().unwrap();
                prop_assert_eq!(again, quantity);
                prop_assert_eq!(again.to_string(), printed);
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,30}") {
            drop(text.parse::<Quantity>());
        }
    }
}
