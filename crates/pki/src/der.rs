//! DER, as far as keys and signatures need it: one value after the other.
//!
//! Invariant: no bytes make it panic; only lengths in their shortest form are read.

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const BITS: u8 = 0x03;
pub(crate) const OCTETS: u8 = 0x04;
pub(crate) const OID: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;

/// The content of the value that `input` begins with, and what follows it; none if it has another tag.
pub(crate) fn take(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    if found != tag {
        return None;
    }
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let shortest = bytes[0] != 0 && length > 0x7f;
            (shortest.then_some(length)?, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
