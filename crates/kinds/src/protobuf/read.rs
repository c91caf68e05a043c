//! Messages to JSON values.
//!
//! Invariant: bounded whatever the bytes say: in depth, and in values made, which count no more than the bytes that came
//! (Go's writers spend two bytes or more on each field). Of a field that comes twice the last one counts.

use serde_json::{Map, Number, Value};

use super::MAGIC;
use super::plan::{Codec, Message, Plan, Shape, Slot, plan};
use super::wire::{Result, Wire, inner, parts, read_varint, utf8};
use super::write::GO_ZERO;

/// As deep as the JSON that an object becomes may be, for it is stored as such.
const DEEPEST: usize = crate::decode::MAX_DEPTH;
/// What may be made beyond the number of bytes.
const SLACK: usize = 4000;
/// What an object counts: it takes the room of many values even if it came as two bytes.
const OBJECT: usize = 4;

/// What is written on an object, and its message.
pub(super) struct Envelope<'a> {
    pub(super) api_version: String,
    pub(super) kind: String,
    raw: &'a [u8],
}

pub(super) fn envelope(bytes: &[u8]) -> Result<Envelope<'_>> {
    if bytes.is_empty() {
        return Err("empty data".to_owned());
    }
    let Some(envelope) = bytes.strip_prefix(MAGIC) else {
        return Err("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned());
    };
    if envelope.is_empty() {
        return Err("empty body".to_owned());
    }
    let mut found = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    for part in parts(envelope) {
        match part? {
            (1, Wire::Bytes(meta)) => {
                for part in parts(meta) {
                    match part? {
                        (1, Wire::Bytes(text)) => found.api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => found.kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => found.raw = bytes,
            _ => {}
        }
    }
    Ok(found)
}

/// The object of an envelope that came as `size` bytes.
pub(super) fn object(envelope: Envelope<'_>, size: usize) -> Result<Value> {
    let Envelope { api_version, kind, raw } = envelope;
    let plan = plan();
    let ty = plan
        .type_of(&api_version, &kind)
        .ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
    let mut reader = Reader { plan, left: size + SLACK };
    let mut fields = Map::new();
    fields.insert("apiVersion".to_owned(), Value::String(api_version));
    fields.insert("kind".to_owned(), Value::String(kind));
    reader.fill(plan.message(usize::from(ty.0)), raw, &mut fields, 0)?;
    Ok(Value::Object(fields))
}

struct Reader {
    plan: &'static Plan,
    /// How many values may still be made.
    left: usize,
}

impl Reader {
    fn count(&mut self, weight: usize) -> Result<()> {
        self.left = self.left.checked_sub(weight).ok_or("proto: too many values for so few bytes")?;
        Ok(())
    }

    fn fill(&mut self, message: &Message, bytes: &[u8], fields: &mut Map<String, Value>, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err("proto: nested too deep".to_owned());
        }
        // what Go always emits is there even if the wire left it out
        for slot in message.slots.iter().filter(|slot| slot.always && !slot.pointer) {
            if let Some(zero) = zero(slot.shape) {
                self.count(1)?;
                fields.entry(&*slot.name).or_insert(zero);
            }
        }
        for part in parts(bytes) {
            let (number, wire) = part?;
            let Ok(number) = u8::try_from(number) else { continue };
            let Ok(place) = message.slots.binary_search_by_key(&number, |slot| slot.number) else { continue };
            self.set(&message.slots[place], wire, fields, depth)?;
        }
        Ok(())
    }

    fn set(&mut self, slot: &Slot, wire: Wire<'_>, fields: &mut Map<String, Value>, depth: usize) -> Result<()> {
        match slot.shape {
            Shape::Embedded(place) => match wire {
                Wire::Bytes(bytes) => self.fill(self.plan.message(place), bytes, fields, depth),
                other => Err(mismatch(slot, other)),
            },
            Shape::List(codec) => {
                let entry = fields.entry(&*slot.name).or_insert(Value::Null);
                if !entry.is_array() {
                    *entry = Value::Array(Vec::new());
                }
                let Value::Array(items) = entry else { return Ok(()) };
                self.add(slot, codec, wire, items, depth + 1)
            }
            Shape::Map(codec) => {
                let Wire::Bytes(bytes) = wire else { return Err(mismatch(slot, wire)) };
                let (key, value) = self.entry(slot, codec, bytes, depth + 1)?;
                let entry = fields.entry(&*slot.name).or_insert(Value::Null);
                if !entry.is_object() {
                    *entry = Value::Object(Map::new());
                }
                entry[key] = value;
                Ok(())
            }
            Shape::One(codec) => {
                let value = self.value(slot, codec, wire, depth)?;
                // an IntOrString that is an empty text says that it is a text
                let says_nothing = is_zero(&value) && !(codec == Codec::IntOrString && value.is_string());
                if value.is_null() || (says_nothing && !slot.pointer && !slot.always) {
                    fields.remove(&*slot.name);
                } else {
                    fields.insert(slot.name.to_string(), value);
                }
                Ok(())
            }
        }
    }

    /// One item, or several packed into one field.
    fn add(&mut self, slot: &Slot, codec: Codec, wire: Wire<'_>, items: &mut Vec<Value>, depth: usize) -> Result<()> {
        if let (Codec::Bool | Codec::Integer, Wire::Bytes(mut packed)) = (codec, wire) {
            while !packed.is_empty() {
                let number = read_varint(&mut packed)?;
                items.push(self.value(slot, codec, Wire::Varint(number), depth)?);
            }
            return Ok(());
        }
        let value = self.value(slot, codec, wire, depth)?;
        items.push(value);
        Ok(())
    }

    fn entry(&mut self, slot: &Slot, codec: Codec, bytes: &[u8], depth: usize) -> Result<(String, Value)> {
        let (mut key, mut value) = (String::new(), None);
        for part in parts(bytes) {
            match part? {
                (1, Wire::Bytes(text)) => key = utf8(text)?,
                (2, wire) => value = Some(self.value(slot, codec, wire, depth)?),
                _ => {}
            }
        }
        let value = match (value, codec) {
            (Some(value), _) => value,
            (None, Codec::Message(_)) => self.value(slot, codec, Wire::Bytes(&[]), depth)?,
            (None, codec) => zero(Shape::One(codec)).unwrap_or(Value::Null),
        };
        Ok((key, value))
    }

    fn value(&mut self, slot: &Slot, codec: Codec, wire: Wire<'_>, depth: usize) -> Result<Value> {
        self.count(1)?;
        Ok(match (codec, wire) {
            (Codec::Bool, Wire::Varint(number)) => Value::Bool(number != 0),
            (Codec::Integer, Wire::Varint(number)) => Value::from(number.cast_signed()),
            (Codec::Double, Wire::Fixed64(bits)) => float(f64::from_bits(bits)),
            (Codec::Double, Wire::Fixed32(bits)) => float(f64::from(f32::from_bits(bits))),
            (Codec::Text, Wire::Bytes(bytes)) => Value::String(utf8(bytes)?),
            (Codec::Bytes, Wire::Bytes(bytes)) => Value::String(crate::base64::encode(bytes)),
            (Codec::Time, Wire::Bytes(bytes)) => time(bytes, false)?,
            (Codec::MicroTime, Wire::Bytes(bytes)) => time(bytes, true)?,
            (Codec::Quantity, Wire::Bytes(bytes)) => match inner(bytes, 1)? {
                [] => Value::String("0".to_owned()),
                text => Value::String(utf8(text)?),
            },
            (Codec::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
            (Codec::Json, Wire::Bytes(bytes)) => raw(bytes, depth)?,
            (Codec::Texts, Wire::Bytes(bytes)) => self.texts(bytes, 1)?,
            (Codec::Message(place), Wire::Bytes(bytes)) => self.object(place, bytes, depth)?,
            (
                Codec::SchemaOrBool(props) | Codec::SchemaOrList(props) | Codec::SchemaOrTexts(props),
                Wire::Bytes(bytes),
            ) => self.either(codec, usize::from(props.0), bytes, depth)?,
            (_, wire) => return Err(mismatch(slot, wire)),
        })
    }

    fn object(&mut self, place: usize, bytes: &[u8], depth: usize) -> Result<Value> {
        self.count(OBJECT)?;
        let mut fields = Map::new();
        self.fill(self.plan.message(place), bytes, &mut fields, depth + 1)?;
        Ok(Value::Object(fields))
    }

    fn texts(&mut self, bytes: &[u8], number: u64) -> Result<Value> {
        let mut items = Vec::new();
        for part in parts(bytes) {
            if let (held, Wire::Bytes(text)) = part?
                && held == number
            {
                self.count(1)?;
                items.push(Value::String(utf8(text)?));
            }
        }
        Ok(Value::Array(items))
    }

    /// A schema, or what may stand in its place.
    fn either(&mut self, codec: Codec, props: usize, bytes: &[u8], depth: usize) -> Result<Value> {
        let (mut schema, mut list, mut flag) = (None, Vec::new(), false);
        let boolean = matches!(codec, Codec::SchemaOrBool(_));
        for part in parts(bytes) {
            match (part?, codec) {
                ((1, Wire::Varint(number)), Codec::SchemaOrBool(_)) => flag = number != 0,
                ((2, Wire::Bytes(bytes)), Codec::SchemaOrBool(_)) => schema = Some(self.object(props, bytes, depth)?),
                ((1, Wire::Bytes(bytes)), _) if !boolean => schema = Some(self.object(props, bytes, depth)?),
                ((2, Wire::Bytes(bytes)), Codec::SchemaOrList(_)) => {
                    self.count(1)?;
                    list.push(self.object(props, bytes, depth + 1)?);
                }
                ((2, Wire::Bytes(text)), Codec::SchemaOrTexts(_)) => {
                    self.count(1)?;
                    list.push(Value::String(utf8(text)?));
                }
                _ => {}
            }
        }
        Ok(match (schema, boolean) {
            (Some(schema), _) if list.is_empty() => schema,
            (_, true) => Value::Bool(flag),
            (_, false) if list.is_empty() => Value::Null,
            (_, false) => Value::Array(list),
        })
    }
}

/// The JSON text inside a message, at a depth of the object around it.
fn raw(bytes: &[u8], depth: usize) -> Result<Value> {
    let json = inner(bytes, 1)?;
    if json.is_empty() {
        return Ok(Value::Null);
    }
    let read = crate::decode::json(json, DEEPEST.saturating_sub(depth + 1));
    read.map(|(value, _)| value).map_err(|error| format!("proto: an embedded object is not JSON: {error}"))
}

fn mismatch(slot: &Slot, wire: Wire<'_>) -> String {
    let wire = match wire {
        Wire::Varint(_) => 0,
        Wire::Fixed64(_) => 1,
        Wire::Bytes(_) => 2,
        Wire::Fixed32(_) => 5,
    };
    let mut name = slot.name.to_string();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("proto: wrong wireType = {wire} for field {name}")
}

/// The zero value of what Go emits even if nothing set it; none for what it emits as null.
fn zero(shape: Shape) -> Option<Value> {
    match shape {
        Shape::One(Codec::Text) => Some(Value::String(String::new())),
        Shape::One(Codec::Integer | Codec::IntOrString) => Some(Value::from(0)),
        Shape::One(Codec::Bool) => Some(Value::Bool(false)),
        Shape::One(Codec::Quantity) => Some(Value::String("0".to_owned())),
        _ => None,
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn time(bytes: &[u8], micro: bool) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for part in parts(bytes) {
        match part? {
            (1, Wire::Varint(number)) => seconds = number.cast_signed(),
            (2, Wire::Varint(number)) => nanos = i32::try_from(number.cast_signed()).unwrap_or(0),
            _ => {}
        }
    }
    if seconds == GO_ZERO {
        return Ok(Value::Null);
    }
    let at = base::time::Timestamp::new(seconds, if micro { nanos } else { 0 })
        .map_err(|_| "proto: a time is out of range".to_owned())?;
    Ok(Value::String(if micro { base::time::rfc3339_micro(at) } else { base::time::rfc3339(at) }))
}

fn int_or_string(bytes: &[u8]) -> Result<Value> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for part in parts(bytes) {
        match part? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = utf8(value)?,
            _ => {}
        }
    }
    Ok(if is_text { Value::String(text) } else { Value::from(number) })
}
