//! JSON values to messages.
//!
//! Invariant: never fails and never panics; a value of the wrong shape, which `coerce` refuses before anything is stored,
//! is written as if it were absent.

use serde_json::{Map, Value};

use super::plan::{Codec, Message, Plan, Shape, plan, zero_of};
use super::wire;
use crate::schema::TypeId;

pub(super) fn object(ty: TypeId, object: &Value, out: &mut Vec<u8>) {
    Writer { plan: plan() }.object(usize::from(ty.0), object, out);
}

struct Writer {
    plan: &'static Plan,
}

impl Writer {
    fn object(&self, place: usize, object: &Value, out: &mut Vec<u8>) {
        let message = self.plan.message(place);
        match object {
            Value::Object(members) => self.message(message, members, out),
            _ => out.extend_from_slice(&message.zero),
        }
    }

    fn message(&self, message: &Message, members: &Map<String, Value>, out: &mut Vec<u8>) {
        for slot in &message.slots {
            if let Shape::Embedded(inner) = slot.shape {
                wire::nested(out, slot.number, |out| self.message(self.plan.message(inner), members, out));
                continue;
            }
            match (slot.shape, members.get(&*slot.name)) {
                (_, None | Some(Value::Null)) => out.extend_from_slice(&slot.absent),
                (Shape::List(codec), Some(Value::Array(items))) => {
                    for item in items {
                        wire::key(out, slot.number, codec.wire());
                        self.element(codec, item, out);
                    }
                }
                (Shape::Map(codec), Some(Value::Object(entries))) => {
                    for (key, value) in entries {
                        wire::nested(out, slot.number, |out| {
                            wire::text(out, 1, key);
                            // no bytes at all are told from no bytes
                            if codec != Codec::Bytes || !value.is_null() {
                                wire::key(out, 2, codec.wire());
                                self.element(codec, value, out);
                            }
                        });
                    }
                }
                (Shape::One(codec), Some(value)) => {
                    let start = out.len();
                    wire::key(out, slot.number, codec.wire());
                    if !self.value(codec, value, out) {
                        out.truncate(start);
                        out.extend_from_slice(&slot.absent);
                    }
                }
                _ => {}
            }
        }
    }

    /// A value that is there whatever it is: an item or the value of a map entry.
    fn element(&self, codec: Codec, value: &Value, out: &mut Vec<u8>) {
        let start = out.len();
        if !self.value(codec, value, out) {
            out.truncate(start);
            match codec {
                Codec::Message(place) => {
                    let start = wire::open(out);
                    out.extend_from_slice(&self.plan.message(place).zero);
                    wire::close(out, start);
                }
                codec => out.extend_from_slice(zero_of(codec).unwrap_or(b"\0")),
            }
        }
    }

    /// Writes what follows a key; false if the value has another shape (then what was written is no good).
    fn value(&self, codec: Codec, value: &Value, out: &mut Vec<u8>) -> bool {
        match (codec, value) {
            (Codec::Bool, Value::Bool(flag)) => out.push(u8::from(*flag)),
            (Codec::Integer, Value::Number(number)) => match number.as_i64() {
                Some(number) => wire::varint(out, number.cast_unsigned()),
                None => return false,
            },
            (Codec::Double, Value::Number(number)) => {
                out.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
            }
            (Codec::Text, Value::String(text)) => {
                wire::varint(out, text.len() as u64);
                out.extend_from_slice(text.as_bytes());
            }
            (Codec::Bytes, Value::String(text)) if !text.is_empty() => {
                let start = wire::open(out);
                crate::base64::decode_into(text.as_bytes(), out);
                wire::close(out, start);
            }
            (Codec::Message(place), Value::Object(members)) => {
                let start = wire::open(out);
                self.message(self.plan.message(place), members, out);
                wire::close(out, start);
            }
            (Codec::Bool | Codec::Integer | Codec::Double | Codec::Text | Codec::Bytes | Codec::Message(_), _) => {
                return false;
            }
            (codec, value) => {
                let start = wire::open(out);
                let fits = self.special(codec, value, out);
                wire::close(out, start);
                return fits;
            }
        }
        true
    }

    /// The inside of the messages whose JSON is no object of their fields.
    fn special(&self, codec: Codec, value: &Value, out: &mut Vec<u8>) -> bool {
        match (codec, value) {
            (Codec::Time, Value::String(text)) => return time(text, false, out),
            (Codec::MicroTime, Value::String(text)) => return time(text, true, out),
            (Codec::Quantity, Value::String(text)) => wire::text(out, 1, text),
            (Codec::Quantity, Value::Number(number)) => wire::text(out, 1, &number.to_string()),
            (Codec::IntOrString, Value::String(text)) => int_or_string(Err(text), out),
            (Codec::IntOrString, Value::Number(number)) => int_or_string(Ok(number.as_i64().unwrap_or(0)), out),
            (Codec::Json, value) => wire::bytes(out, 1, value.to_string().as_bytes()),
            (Codec::SchemaOrList(props), Value::Array(items)) => {
                for item in items {
                    wire::nested(out, 2, |out| self.object(usize::from(props.0), item, out));
                }
            }
            (Codec::SchemaOrTexts(_) | Codec::Texts, Value::Array(items)) => {
                let number = if codec == Codec::Texts { 1 } else { 2 };
                items.iter().for_each(|item| wire::text(out, number, item.as_str().unwrap_or_default()));
            }
            (Codec::SchemaOrBool(_), Value::Bool(flag)) => wire::integer(out, 1, i64::from(*flag)),
            (Codec::SchemaOrBool(props), Value::Object(_)) => {
                wire::integer(out, 1, 1);
                wire::nested(out, 2, |out| self.object(usize::from(props.0), value, out));
            }
            (Codec::SchemaOrList(props) | Codec::SchemaOrTexts(props), Value::Object(_)) => {
                wire::nested(out, 1, |out| self.object(usize::from(props.0), value, out));
            }
            _ => return false,
        }
        true
    }
}

/// Number or text, always with all three fields.
pub(super) fn int_or_string(value: Result<i64, &str>, out: &mut Vec<u8>) {
    wire::integer(out, 1, i64::from(value.is_err()));
    wire::integer(out, 2, value.unwrap_or(0));
    wire::text(out, 3, value.err().unwrap_or_default());
}

/// Seconds and nanoseconds, the latter zero unless `micro`. The zero time of Go is nothing at all.
pub(super) fn time(text: &str, micro: bool, out: &mut Vec<u8>) -> bool {
    let Ok(at) = base::time::parse(text) else { return false };
    let (mut seconds, mut nanos) = (at.as_second(), at.subsec_nanosecond());
    if nanos < 0 {
        (seconds, nanos) = (seconds - 1, nanos + 1_000_000_000);
    }
    if (seconds, nanos) != (GO_ZERO, 0) {
        wire::integer(out, 1, seconds);
        wire::integer(out, 2, if micro { i64::from(nanos / 1000 * 1000) } else { 0 });
    }
    true
}

/// The first second of the year 1.
pub(super) const GO_ZERO: i64 = -62_135_596_800;
