//! Objects in CBOR, as upstream reads and writes them.
//!
//! Invariant: every object is enclosed in the tag of self-described CBOR; texts are written as byte strings and read as
//! either kind of string. Reading is bounded in depth and takes only what JSON has: no bignums, no infinities, no
//! duplicate members, no keys but texts. Why own code: what is read becomes a JSON value at once, with these rules and
//! not those of a general reader.

use serde_json::{Map, Number, Value};

/// Encloses an object and tells it from other forms.
pub const SELF_DESCRIBED: &[u8] = &[0xd9, 0xd9, 0xf7];

/// Why bytes are not an object.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("cbor: {0}")]
pub struct CborError(String);

type Result<T> = std::result::Result<T, CborError>;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const TAG: u8 = 6;
const SIMPLE: u8 = 7;

/// Appends an object with its tag.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    out.extend_from_slice(SELF_DESCRIBED);
    item(value, out);
}

/// Appends a value that stands inside another one.
pub fn item(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0xf6),
        Value::Bool(flag) => out.push(0xf4 + u8::from(*flag)),
        Value::Number(number) => put_number(number, out),
        Value::String(text) => put_text(text, out),
        Value::Array(items) => {
            array_head(items.len(), out);
            items.iter().for_each(|value| item(value, out));
        }
        Value::Object(members) => {
            map_head(members.len(), out);
            for (name, value) in members {
                put_text(name, out);
                item(value, out);
            }
        }
    }
}

/// Begins an array of so many items.
pub fn array_head(length: usize, out: &mut Vec<u8>) {
    head(ARRAY, length as u64, out);
}

/// Begins a map of so many members.
pub fn map_head(length: usize, out: &mut Vec<u8>) {
    head(MAP, length as u64, out);
}

/// A text as a byte string, which needs no check that it is UTF-8.
pub fn put_text(text: &str, out: &mut Vec<u8>) {
    head(BYTES, text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

fn put_number(number: &Number, out: &mut Vec<u8>) {
    if let Some(number) = number.as_u64() {
        head(UNSIGNED, number, out);
    } else if let Some(number) = number.as_i64() {
        head(NEGATIVE, !number.cast_unsigned(), out);
    } else {
        let number = number.as_f64().unwrap_or_default();
        let single = number as f32;
        if f64::from(single).to_bits() == number.to_bits() {
            out.push(0xfa);
            out.extend_from_slice(&single.to_be_bytes());
        } else {
            out.push(0xfb);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

fn head(major: u8, number: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match number {
        0..=23 => out.push(major | number as u8),
        24..=0xff => out.extend_from_slice(&[major | 24, number as u8]),
        0x100..=0xffff => {
            out.push(major | 25);
            out.extend_from_slice(&(number as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(major | 26);
            out.extend_from_slice(&(number as u32).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend_from_slice(&number.to_be_bytes());
        }
    }
}

/// The object that the bytes are, all of them.
pub fn decode(bytes: &[u8]) -> Result<Value> {
    let mut reader = Reader { bytes };
    let value = reader.value(crate::decode::MAX_DEPTH)?;
    if reader.bytes.is_empty() { Ok(value) } else { refuse(format!("{} bytes of extraneous data", reader.bytes.len())) }
}

fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(CborError(why.into()))
}

struct Reader<'a> {
    bytes: &'a [u8],
}

/// The start of an item.
struct Head {
    major: u8,
    /// The low bits: what kind of simple value, or how the number is written.
    info: u8,
    /// Absent for a length that is not told in advance.
    number: Option<u64>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        match self.bytes.split_at_checked(count) {
            Some((head, rest)) => {
                self.bytes = rest;
                Ok(head)
            }
            None => refuse("unexpected EOF"),
        }
    }

    fn head(&mut self) -> Result<Head> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        let number = match info {
            0..=23 => Some(u64::from(info)),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                Some(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
            }
            31 if matches!(major, BYTES | TEXT | ARRAY | MAP | SIMPLE) => None,
            _ => return refuse(format!("invalid additional information {info} for major type {major}")),
        };
        Ok(Head { major, info, number })
    }

    fn value(&mut self, left: usize) -> Result<Value> {
        let head = self.head()?;
        self.rest(&head, left)
    }

    fn rest(&mut self, head: &Head, left: usize) -> Result<Value> {
        let deeper = || left.checked_sub(1).ok_or_else(|| CborError("exceeded max nested level".to_owned()));
        match (head.major, head.number) {
            (UNSIGNED, Some(number)) => match i64::try_from(number) {
                Ok(number) => Ok(Value::from(number)),
                Err(_) => refuse(format!("{number} overflows int64")),
            },
            (NEGATIVE, Some(number)) => match i64::try_from(number) {
                Ok(number) => Ok(Value::from(!number)),
                Err(_) => refuse(format!("-1-{number} overflows int64")),
            },
            (BYTES | TEXT, _) => self.text(head).map(Value::String),
            (ARRAY, length) => {
                let left = deeper()?;
                let mut items = Vec::new();
                while self.goes_on(length, items.len())? {
                    items.push(self.value(left)?);
                }
                Ok(Value::Array(items))
            }
            (MAP, length) => {
                let left = deeper()?;
                let (mut members, mut count) = (Map::new(), 0);
                while self.goes_on(length, count)? {
                    count += 1;
                    let key = self.head()?;
                    if !matches!(key.major, BYTES | TEXT) {
                        return refuse("cannot unmarshal a map key that is no string");
                    }
                    let name = self.text(&key)?;
                    let value = self.value(left)?;
                    if members.contains_key(&name) {
                        return refuse(format!("found duplicate map key {name:?} at map element index {}", count - 1));
                    }
                    members.insert(name, value);
                }
                Ok(Value::Object(members))
            }
            (TAG, Some(tag)) => self.tagged(tag, deeper()?),
            (SIMPLE, Some(number)) => simple(head.info, number),
            _ => refuse("unexpected \"break\" code"),
        }
    }

    /// Whether another item of an array or a map follows.
    fn goes_on(&mut self, length: Option<u64>, have: usize) -> Result<bool> {
        if let Some(length) = length {
            return Ok((have as u64) < length);
        }
        match self.bytes.first() {
            Some(0xff) => {
                self.bytes = &self.bytes[1..];
                Ok(false)
            }
            Some(_) => Ok(true),
            None => refuse("unexpected EOF"),
        }
    }

    fn raw(&mut self, head: &Head) -> Result<Vec<u8>> {
        if let Some(length) = head.number {
            let length = usize::try_from(length).map_err(|_| CborError("unexpected EOF".to_owned()))?;
            return Ok(self.take(length)?.to_vec());
        }
        let mut whole = Vec::new();
        while self.goes_on(None, 0)? {
            let chunk = self.head()?;
            match chunk.number {
                Some(length) if chunk.major == head.major => {
                    let length = usize::try_from(length).map_err(|_| CborError("unexpected EOF".to_owned()))?;
                    whole.extend_from_slice(self.take(length)?);
                }
                _ => return refuse("wrong element type for indefinite-length string"),
            }
        }
        Ok(whole)
    }

    fn text(&mut self, head: &Head) -> Result<String> {
        String::from_utf8(self.raw(head)?).map_err(|_| CborError("invalid UTF-8 string".to_owned()))
    }

    fn tagged(&mut self, tag: u64, left: usize) -> Result<Value> {
        let head = self.head()?;
        match tag {
            // bytes that stand for their text in base64url, base64 or base16
            21..=23 if head.major == BYTES => {
                let bytes = self.raw(&head)?;
                let text = match tag {
                    23 => bytes.iter().map(|byte| format!("{byte:02X}")).collect(),
                    22 => crate::base64::encode(&bytes),
                    _ => {
                        let text = crate::base64::encode(&bytes).replace('+', "-").replace('/', "_");
                        text.trim_end_matches('=').to_owned()
                    }
                };
                Ok(Value::String(text))
            }
            1 => {
                let seconds = self.rest(&head, left)?.as_f64().ok_or_else(|| CborError("invalid time".to_owned()))?;
                let millis = (seconds * 1000.0) as i64;
                match base::time::Timestamp::from_millisecond(millis) {
                    Ok(at) => Ok(Value::String(base::time::rfc3339(at))),
                    Err(_) => refuse("invalid time"),
                }
            }
            2 | 3 => refuse("bignum has no place in JSON"),
            _ => self.rest(&head, left),
        }
    }
}

fn simple(info: u8, number: u64) -> Result<Value> {
    let float = |number: f64| match Number::from_f64(number) {
        Some(number) => Ok(Value::Number(number)),
        None => refuse("floating-point NaN or infinity has no place in JSON"),
    };
    match info {
        20 => Ok(Value::Bool(false)),
        21 => Ok(Value::Bool(true)),
        22 => Ok(Value::Null),
        25 => float(half(number as u16)),
        26 => float(f64::from(f32::from_bits(number as u32))),
        27 => float(f64::from_bits(number)),
        _ => refuse(format!("simple value {number} is not recognized")),
    }
}

/// A float of 16 bits: a sign, five bits of exponent, ten of fraction.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (fraction + 1024.0) * 2_f64.powi(exponent - 25),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::catalog::Catalog;
    use crate::testing::{Dice, sample};

    #[track_caller]
    fn check(bytes: &[u8], expected: &Value) {
        assert_eq!(decode(bytes).as_ref(), Ok(expected), "{bytes:x?}");
    }

    #[test]
    fn forms_of_other_writers_are_read() {
        check(b"\xd9\xd9\xf7\xa1\x41a\x01", &json!({"a": 1}));
        check(b"\xa1\x61a\x61b", &json!({"a": "b"})); // text strings
        check(b"\xbf\x41a\x9f\x01\x20\xff\xff", &json!({"a": [1, -1]})); // lengths not told
        check(b"\x5f\x41a\x42bc\xff", &json!("abc"));
        check(b"\xd6\x45hello", &json!("aGVsbG8=")); // bytes that expect base64
        check(b"\xc0\x74\x32026-01-02T03:04:05Z", &json!("2026-01-02T03:04:05Z"));
        check(b"\xc1\x1a\x69\x57\x35\xa5", &json!("2026-01-02T03:04:05Z"));
        check(b"\xf9\x3e\x00", &json!(1.5));
        check(b"\xfa\x3f\xc0\x00\x00", &json!(1.5));
    }

    #[test]
    fn what_json_does_not_have_is_refused() {
        for (bytes, why) in [
            (&b"\xa2\x41a\x01\x41a\x02"[..], "cbor: found duplicate map key \"a\" at map element index 1"),
            (b"\xa1\x01\x02", "cbor: cannot unmarshal a map key that is no string"),
            (b"\xf9\x7e\x00", "cbor: floating-point NaN or infinity has no place in JSON"),
            (b"\xc2\x41\x01", "cbor: bignum has no place in JSON"),
            (b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "cbor: 18446744073709551615 overflows int64"),
            (b"\x41\xff", "cbor: invalid UTF-8 string"),
            (b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff", "cbor: unexpected EOF"),
            (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "cbor: unexpected EOF"),
            (b"\x01\x01", "cbor: 1 bytes of extraneous data"),
            (b"\xff", "cbor: unexpected \"break\" code"),
            (b"", "cbor: unexpected EOF"),
        ] {
            assert_eq!(decode(bytes).map_err(|error| error.to_string()), Err(why.to_owned()), "{bytes:x?}");
        }
        for byte in [0x81, 0xc0, 0x9f] {
            assert_eq!(decode(&vec![byte; 100_000]), Err(CborError("exceeded max nested level".to_owned())));
        }
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(index in 0..Catalog::builtin().kinds().len(), seed: u64, numbers: (i64, f64)) {
            let mut object = sample(Catalog::builtin().kinds()[index].schema, &mut Dice(seed), 10);
            if object.is_object() {
                object["numbers"] = json!([numbers.0, numbers.1]);
            }
            let mut out = Vec::new();
            encode(&object, &mut out);
            prop_assert!(out.starts_with(SELF_DESCRIBED));
            prop_assert_eq!(decode(&out), Ok(object));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            drop(decode(&bytes));
        }
    }
}
