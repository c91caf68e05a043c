//! The wire format: keys, varints, lengths.
//!
//! Invariant: reading takes only what is there and says so if it is too little; nothing is reserved by an announced
//! length. Why own code: there are no generated types, and the format is three rules.

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;

pub(crate) fn varint_size(number: u64) -> usize {
    let bits = 64 - (number | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

#[inline]
pub(crate) fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[inline]
pub(crate) fn key(out: &mut Vec<u8>, number: u8, wire: u8) {
    varint(out, u64::from(number) << 3 | u64::from(wire));
}

pub(crate) fn bytes(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    key(out, number, BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn text(out: &mut Vec<u8>, number: u8, text: &str) {
    bytes(out, number, text.as_bytes());
}

pub(crate) fn integer(out: &mut Vec<u8>, number: u8, value: i64) {
    key(out, number, VARINT);
    varint(out, value.cast_unsigned());
}

/// A length-delimited field of what `fill` writes.
pub(crate) fn nested(out: &mut Vec<u8>, number: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    key(out, number, BYTES);
    let start = open(out);
    fill(out);
    close(out, start);
}

/// Leaves room for the length of what follows, which is nearly always one byte.
pub(crate) fn open(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len()
}

/// Fills in the length of what was written since [`open`].
pub(crate) fn close(out: &mut Vec<u8>, start: usize) {
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return;
    }
    let more = varint_size(length as u64) - 1;
    if more > 0 {
        out.resize(out.len() + more, 0);
        out.copy_within(start..start + length, start + more);
    }
    let mut rest = length as u64;
    for place in &mut out[start - 1..start + more] {
        *place = (rest & 0x7f) as u8 | 0x80;
        rest >>= 7;
    }
    out[start + more - 1] &= 0x7f;
}

pub(crate) type Result<T> = std::result::Result<T, String>;

/// A field as it stands on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order of the wire.
pub(super) fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let part = part(&mut bytes);
        if part.is_err() {
            bytes = &[];
        }
        Some(part)
    })
}

fn part<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Wire<'a>)> {
    let key = read_varint(bytes)?;
    let wire = match key & 7 {
        0 => Wire::Varint(read_varint(bytes)?),
        1 => Wire::Fixed64(u64::from_le_bytes(array(bytes)?)),
        2 => {
            let length = usize::try_from(read_varint(bytes)?).map_err(|_| cut())?;
            Wire::Bytes(take(bytes, length)?)
        }
        5 => Wire::Fixed32(u32::from_le_bytes(array(bytes)?)),
        other => return Err(format!("proto: illegal wireType {other}")),
    };
    match key >> 3 {
        0 => Err(format!("proto: illegal tag 0 (wire type {key})")),
        number => Ok((number, wire)),
    }
}

pub(crate) fn read_varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = array(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("proto: integer overflow".to_owned())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
    *bytes = rest;
    Ok(head)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    take(bytes, N)?.try_into().map_err(|_| cut())
}

fn cut() -> String {
    "unexpected EOF".to_owned()
}

pub(super) fn utf8(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "proto: a string is not UTF-8".to_owned())
}

/// The bytes of the last field `number` of a message.
pub(super) fn inner(bytes: &[u8], number: u64) -> Result<&[u8]> {
    let mut found = &[][..];
    for part in parts(bytes) {
        if let (held, Wire::Bytes(inner)) = part?
            && held == number
        {
            found = inner;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_152] {
            let mut out = vec![9];
            nested(&mut out, 1, |out| out.resize(out.len() + length, 7));
            assert_eq!(out.len(), 2 + varint_size(length as u64) + length);
            let (number, wire) = part(&mut &out[1..]).expect("a field");
            let Wire::Bytes(inner) = wire else { panic!("{wire:?}") };
            assert_eq!((number, inner.len()), (1, length));
            assert!(inner.iter().all(|byte| *byte == 7));
        }
    }

    #[test]
    fn integers_read_back() {
        for value in [0, 1, -1, 300, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            integer(&mut out, 15, value);
            let read = part(&mut &out[..]).expect("a field");
            assert!(matches!(read, (15, Wire::Varint(number)) if number.cast_signed() == value));
        }
    }
}
