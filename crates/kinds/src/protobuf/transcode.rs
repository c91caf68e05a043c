//! The JSON text of an object straight to its message, for lists and watches of stored objects.
//!
//! Invariant: the same bytes as `write` makes of the value that the text stands for, or a refusal; then the caller takes
//! the long way. Members come sorted by name and leave sorted by number: they are written as they come and put in order
//! afterwards, level by level. Why at all: no tree of small allocations is made, which is most of the work otherwise.

use super::plan::{Codec, Message, Name, Plan, Shape, plan, prefix, zero_of};
use super::text::{Odd, Result, Text, number, unescape};
use super::{wire, write};
use crate::schema::TypeId;

const DEEPEST: usize = 128;

/// Room that is used again from object to object.
#[derive(Default)]
pub struct Transcoder {
    /// Members written at the levels that are open.
    chunks: Vec<Chunk>,
    scratch: Vec<u8>,
    text: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Chunk {
    leaf: u16,
    start: usize,
    end: usize,
}

impl Transcoder {
    /// Appends the message of an object of this type; false (and nothing appended) if the text is not understood.
    pub fn object(&mut self, ty: TypeId, json: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.chunks.clear();
        self.scratch.clear();
        let mut reader = Reader { text: Text::new(json), plan: plan(), room: self, depth: 0 };
        let done = reader.members(usize::from(ty.0), out).is_ok() && reader.text.is_over();
        if !done {
            out.truncate(start);
        }
        done
    }
}

struct Reader<'j, 't> {
    text: Text<'j>,
    plan: &'static Plan,
    room: &'t mut Transcoder,
    depth: usize,
}

/// Why nothing was written for a value.
enum Put {
    Written,
    /// Null or of another shape: as good as absent. The value was passed over.
    Nothing,
}

impl<'j> Reader<'j, '_> {
    /// The object at this place as the content of a message.
    fn members(&mut self, place: usize, out: &mut Vec<u8>) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Odd);
        }
        let message = self.plan.message(place);
        let (base, first) = (out.len(), self.room.chunks.len());
        self.text.expect(b'{')?;
        if self.text.look()? == b'}' {
            self.text.pass();
        } else {
            let mut hint = 0;
            loop {
                let (key, escaped) = self.text.string()?;
                self.text.expect(b':')?;
                match find(message, key, &mut hint) {
                    Some(name) if !escaped => self.member(name, out)?,
                    _ => self.text.skip()?,
                }
                match self.text.next()? {
                    b',' => {}
                    b'}' => break,
                    _ => return Err(Odd),
                }
                self.text.space();
            }
        }
        self.arrange(message, base, first, out);
        self.depth -= 1;
        Ok(())
    }

    fn member(&mut self, name: &Name, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        match name.shape {
            Shape::One(codec) => {
                wire::key(out, name.number, codec.wire());
                if let Put::Nothing = self.value(codec, out)? {
                    out.truncate(start);
                    return Ok(());
                }
            }
            Shape::List(codec) if self.text.look()? == b'[' => self.items(name.number, codec, out)?,
            Shape::Map(codec) if self.text.look()? == b'{' => self.entries(name.number, codec, out)?,
            _ => self.text.skip()?,
        }
        if out.len() > start {
            self.room.chunks.push(Chunk { leaf: name.leaf, start, end: out.len() });
        }
        Ok(())
    }

    fn items(&mut self, number: u8, codec: Codec, out: &mut Vec<u8>) -> Result<()> {
        self.text.pass();
        if self.text.look()? == b']' {
            self.text.pass();
            return Ok(());
        }
        loop {
            wire::key(out, number, codec.wire());
            self.element(codec, out)?;
            match self.text.next()? {
                b',' => {}
                b']' => return Ok(()),
                _ => return Err(Odd),
            }
        }
    }

    fn entries(&mut self, number: u8, codec: Codec, out: &mut Vec<u8>) -> Result<()> {
        self.text.pass();
        if self.text.look()? == b'}' {
            self.text.pass();
            return Ok(());
        }
        loop {
            wire::key(out, number, wire::BYTES);
            let start = wire::open(out);
            wire::key(out, 1, wire::BYTES);
            self.put_text(out)?;
            self.text.expect(b':')?;
            if codec != Codec::Bytes || self.text.look()? != b'n' {
                wire::key(out, 2, codec.wire());
                self.element(codec, out)?;
            } else {
                self.text.skip()?;
            }
            wire::close(out, start);
            match self.text.next()? {
                b',' => self.text.space(),
                b'}' => return Ok(()),
                _ => return Err(Odd),
            }
        }
    }

    /// A value that is there whatever it is.
    fn element(&mut self, codec: Codec, out: &mut Vec<u8>) -> Result<()> {
        let start = out.len();
        if let Put::Nothing = self.value(codec, out)? {
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
        Ok(())
    }

    /// Writes what follows a key.
    fn value(&mut self, codec: Codec, out: &mut Vec<u8>) -> Result<Put> {
        let first = self.text.look()?;
        match (codec, first) {
            (Codec::Text, b'"') => self.put_text(out)?,
            (Codec::Message(place), b'{') => {
                let start = wire::open(out);
                self.members(place, out)?;
                wire::close(out, start);
            }
            (Codec::Bool, b't' | b'f') => {
                self.text.skip()?;
                out.push(u8::from(first == b't'));
            }
            (Codec::Integer, b'-' | b'0'..=b'9') => match number(self.text.token()).parse::<i64>() {
                Ok(number) => wire::varint(out, number.cast_unsigned()),
                Err(_) => return Ok(Put::Nothing),
            },
            (Codec::Double, b'-' | b'0'..=b'9') => {
                let number: f64 = number(self.text.token()).parse().map_err(|_| Odd)?;
                out.extend_from_slice(&number.to_le_bytes());
            }
            (Codec::Bytes, b'"') => {
                let (text, escaped) = self.text.string()?;
                if text.is_empty() {
                    return Ok(Put::Nothing);
                }
                let start = wire::open(out);
                if escaped {
                    let mut plain = std::mem::take(&mut self.room.text);
                    plain.clear();
                    unescape(text, &mut plain)?;
                    crate::base64::decode_into(&plain, out);
                    self.room.text = plain;
                } else {
                    crate::base64::decode_into(text, out);
                }
                wire::close(out, start);
            }
            (Codec::Time | Codec::MicroTime | Codec::Quantity | Codec::IntOrString, b'"' | b'-' | b'0'..=b'9') => {
                let start = wire::open(out);
                let fits = self.scalar(codec, first, out)?;
                wire::close(out, start);
                if !fits {
                    return Ok(Put::Nothing);
                }
            }
            (Codec::Json, byte) if byte != b'n' => {
                let text = self.text.value()?;
                let start = wire::open(out);
                wire::bytes(out, 1, text);
                wire::close(out, start);
            }
            (Codec::Texts, b'[') => {
                let start = wire::open(out);
                self.items(1, Codec::Text, out)?;
                wire::close(out, start);
            }
            // rare, and nothing that a list of thousands holds
            (Codec::SchemaOrBool(_) | Codec::SchemaOrList(_) | Codec::SchemaOrTexts(_), _) => return Err(Odd),
            _ => {
                self.text.skip()?;
                return Ok(Put::Nothing);
            }
        }
        Ok(Put::Written)
    }

    /// The inside of the messages whose JSON is a text or a number; false for what has another shape.
    fn scalar(&mut self, codec: Codec, first: u8, out: &mut Vec<u8>) -> Result<bool> {
        let quoted = first == b'"';
        if matches!(codec, Codec::Time | Codec::MicroTime) {
            if !quoted {
                self.text.skip()?;
                return Ok(false);
            }
            let (text, escaped) = self.text.string()?;
            if escaped {
                return Err(Odd);
            }
            let micro = codec == Codec::MicroTime;
            return Ok(match whole_seconds(text) {
                Some(seconds) if seconds == write::GO_ZERO => true,
                Some(seconds) => {
                    wire::integer(out, 1, seconds);
                    wire::integer(out, 2, 0);
                    true
                }
                None => write::time(std::str::from_utf8(text).map_err(|_| Odd)?, micro, out),
            });
        }
        match (codec, quoted) {
            (Codec::Quantity, true) => {
                wire::key(out, 1, wire::BYTES);
                self.put_text(out)?;
            }
            (Codec::Quantity, false) => {
                let token = self.text.token();
                wire::bytes(out, 1, token);
            }
            (_, true) => {
                wire::integer(out, 1, 1);
                wire::integer(out, 2, 0);
                wire::key(out, 3, wire::BYTES);
                self.put_text(out)?;
            }
            (_, false) => write::int_or_string(Ok(number(self.text.token()).parse().unwrap_or(0)), out),
        }
        Ok(true)
    }

    /// A text with its length.
    fn put_text(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.text.space();
        let (text, escaped) = self.text.string()?;
        if escaped {
            let start = wire::open(out);
            unescape(text, out)?;
            wire::close(out, start);
        } else {
            wire::varint(out, text.len() as u64);
            out.extend_from_slice(text);
        }
        Ok(())
    }

    /// Puts what was written since `base` in the order of the wire, with what is always there.
    fn arrange(&mut self, message: &Message, base: usize, first: usize, out: &mut Vec<u8>) {
        let Transcoder { chunks, scratch, .. } = &mut *self.room;
        let own = &mut chunks[first..];
        let ordered = own.is_sorted_by_key(|chunk| chunk.leaf);
        if !ordered {
            own.sort_unstable_by_key(|chunk| chunk.leaf);
        }
        let complete = || {
            let mut present = own.iter().map(|chunk| usize::from(chunk.leaf)).peekable();
            message
                .slots
                .iter()
                .enumerate()
                .all(|(leaf, slot)| present.next_if(|held| *held == leaf).is_some() || slot.absent.is_empty())
        };
        if !ordered || message.nested || !complete() {
            let from = scratch.len();
            let mut walk = Walk { plan: self.plan, chunks: own, next: 0, leaf: 0, written: out };
            walk.assemble(message, scratch);
            out.truncate(base);
            out.extend_from_slice(&scratch[from..]);
            scratch.truncate(from);
        }
        chunks.truncate(first);
    }
}

/// Walks a message in the order of the wire and takes the chunks as they come up.
struct Walk<'a> {
    plan: &'static Plan,
    chunks: &'a [Chunk],
    next: usize,
    leaf: u16,
    written: &'a [u8],
}

impl Walk<'_> {
    fn assemble(&mut self, message: &Message, out: &mut Vec<u8>) {
        for slot in &message.slots {
            if let Shape::Embedded(inner) = slot.shape {
                wire::key(out, slot.number, wire::BYTES);
                let start = wire::open(out);
                self.assemble(self.plan.message(inner), out);
                wire::close(out, start);
                continue;
            }
            let mut found = false;
            while let Some(chunk) = self.chunks.get(self.next).filter(|chunk| chunk.leaf == self.leaf) {
                out.extend_from_slice(&self.written[chunk.start..chunk.end]);
                self.next += 1;
                found = true;
            }
            if !found {
                out.extend_from_slice(&slot.absent);
            }
            self.leaf += 1;
        }
    }
}

/// The member with this name; `hint` is where the search goes on, for members come sorted.
fn find<'m>(message: &'m Message, key: &[u8], hint: &mut usize) -> Option<&'m Name> {
    let wanted = prefix(key);
    let mut from = *hint;
    loop {
        for (place, held) in message.prefixes.iter().enumerate().skip(from) {
            if *held < wanted {
                continue;
            }
            let name = &message.names[place];
            if *held == wanted && name.name.len() == key.len() && (key.len() <= 8 || name.name.as_bytes() == key) {
                *hint = place + 1;
                return Some(name);
            }
            if *held > wanted {
                break;
            }
        }
        if from == 0 {
            return None;
        }
        from = 0; // not sorted, or not known
    }
}

/// Seconds since 1970 of `2026-01-02T03:04:05Z`; none for any other form.
fn whole_seconds(text: &[u8]) -> Option<i64> {
    let [y3, y2, y1, y0, b'-', m1, m0, b'-', d1, d0, b'T', h1, h0, b':', i1, i0, b':', s1, s0, b'Z'] = text else {
        return None;
    };
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| i64::from(byte - b'0'));
    let two = |high: &u8, low: &u8| Some(digit(high)? * 10 + digit(low)?);
    let year = two(y3, y2)? * 100 + two(y1, y0)?;
    let (month, day) = (two(m1, m0)?, two(d1, d0)?);
    let (hour, minute, second) = (two(h1, h0)?, two(i1, i0)?, two(s1, s0)?);
    if !(1..=12).contains(&month) || !(1..=28).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None; // the last days of a month are left to the long way, which knows calendars
    }
    // days since 0000-03-01, so that the leap day is the last of its year
    let (year, shifted) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let days = days + (shifted * 153 + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}
