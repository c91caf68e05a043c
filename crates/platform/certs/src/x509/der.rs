//! DER: one value after the other, written and read.
//!
//! Invariant: no bytes make reading panic; only lengths in their shortest form are read, up to 16 MiB.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use jiff::Timestamp;

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BITS: u8 = 0x03;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const NULL: u8 = 0x05;
pub(crate) const OID: u8 = 0x06;
pub(crate) const UTF8: u8 = 0x0C;
pub(crate) const PRINTABLE: u8 = 0x13;
pub(crate) const IA5: u8 = 0x16;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// A value with its tag.
pub(crate) fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let length = content.len();
    if length < 0x80 {
        out.push(u8::try_from(length).unwrap_or(0));
    } else {
        let bytes = length.to_be_bytes();
        let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len() - 1);
        out.push(0x80 | u8::try_from(bytes.len() - start).unwrap_or(0));
        out.extend(&bytes[start..]);
    }
    out.extend(content);
    out
}

pub(crate) fn sequence(items: &[Vec<u8>]) -> Vec<u8> {
    tagged(SEQUENCE, &items.concat())
}

/// A SET OF: the values in the order of their bytes.
pub(crate) fn set(mut items: Vec<Vec<u8>>) -> Vec<u8> {
    items.sort();
    tagged(SET, &items.concat())
}

/// A number that is not negative, big-endian.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    let start = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len().saturating_sub(1));
    let mut content = bytes.get(start..).unwrap_or_default().to_vec();
    if content.first().is_none_or(|first| first & 0x80 != 0) {
        content.insert(0, 0);
    }
    tagged(INTEGER, &content)
}

pub(crate) fn bits(bytes: &[u8], unused: u8) -> Vec<u8> {
    tagged(BITS, &[&[unused], bytes].concat())
}

/// Years up to 2049 have two digits, others four (RFC 5280, 4.1.2.5).
pub(crate) fn time(at: Timestamp) -> Vec<u8> {
    let year = at.strftime("%Y").to_string().parse().unwrap_or(0);
    if (1950..2050).contains(&year) {
        tagged(0x17, at.strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
    } else {
        tagged(0x18, at.strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
    }
}

/// A value: tag, content, and all of it.
type Element<'a> = (u8, &'a [u8], &'a [u8]);

/// The value that `input` begins with, and what follows it.
pub(crate) fn any(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            (bytes.first().is_some_and(|byte| *byte != 0 && length > 0x7f).then_some(length)?, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = input.get(..input.len() - rest.len())?;
    Some(((tag, content, whole), rest))
}

/// The content of the value that `input` begins with, and what follows it; none if it has another tag.
pub(crate) fn take(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let ((found, content, _), rest) = any(input)?;
    (found == tag).then_some((content, rest))
}

/// A PEM block.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in body.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for length in [0, 1, 127, 128, 255, 256, 65535, 65536] {
            let content = vec![7; length];
            let written = tagged(OCTETS, &content);
            assert_eq!(take(&written, OCTETS), Some((content.as_slice(), [].as_slice())));
        }
        assert_eq!(integer(&[0, 0, 0x80]), [2, 2, 0, 0x80]);
        assert_eq!(integer(&[0]), [2, 1, 0]);
        assert_eq!(integer(&[]), [2, 1, 0]);
    }

    #[test]
    fn what_is_cut_off_or_too_long_is_nothing() {
        for bytes in [&[][..], &[4], &[4, 2, 1], &[4, 0x81, 5], &[4, 0x80, 0], &[4, 0x84, 0, 0, 0, 1, 1]] {
            assert_eq!(take(bytes, OCTETS), None, "{bytes:?}");
        }
    }

    #[test]
    fn a_time_after_2049_has_four_digits_of_a_year() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(time(at("2049-12-31T23:59:59Z")), tagged(0x17, b"491231235959Z"));
        assert_eq!(time(at("2050-01-01T00:00:00Z")), tagged(0x18, b"20500101000000Z"));
    }
}
