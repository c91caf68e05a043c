//! The JSON text of an object straight to its message, for lists and watches of stored objects.
//!
//! Invariant: the same bytes as `write` makes of the value that the text stands for, or a refusal; then the caller takes
//! the long way. Members come sorted by name and leave sorted by number: they are written as they come and put in order
//! afterwards, level by level. Why at all: no tree of small allocations is made, which is most of the work otherwise.

use super::plan::{Codec, Message, Name, Plan, Shape, plan, prefix, zero_of};
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

/// Text that is not what a stored object looks like.
struct Odd;

type Result<T> = std::result::Result<T, Odd>;

impl Transcoder {
    /// Appends the message of an object of this type; false (and nothing appended) if the text is not understood.
    pub fn object(&mut self, ty: TypeId, json: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        self.chunks.clear();
        self.scratch.clear();
        let mut reader = Reader { json, at: 0, plan: plan(), room: self, depth: 0 };
        let done = reader.members(usize::from(ty.0), out).is_ok() && {
            reader.space();
            reader.at == json.len()
        };
        if !done {
            out.truncate(start);
        }
        done
    }
}

struct Reader<'j, 't> {
    json: &'j [u8],
    at: usize,
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
    fn peek(&self) -> Result<u8> {
        self.json.get(self.at).copied().ok_or(Odd)
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.json.get(self.at) {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Result<u8> {
        self.space();
        let byte = self.peek()?;
        self.at += 1;
        Ok(byte)
    }

    fn look(&mut self) -> Result<u8> {
        self.space();
        self.peek()
    }

    fn expect(&mut self, byte: u8) -> Result<()> {
        if self.next()? == byte { Ok(()) } else { Err(Odd) }
    }

    /// The raw text between quotes, and whether something in it is escaped.
    fn string(&mut self) -> Result<(&'j [u8], bool)> {
        self.expect(b'"')?;
        let (start, mut escaped) = (self.at, false);
        loop {
            let rest = &self.json[self.at..];
            let Some(offset) = end_of_plain(rest) else { return Err(Odd) };
            self.at += offset + 1;
            if rest[offset] == b'"' {
                return Ok((&self.json[start..self.at - 1], escaped));
            }
            escaped = true;
            self.at += 1; // whatever is escaped
            if self.at > self.json.len() {
                return Err(Odd);
            }
        }
    }

    /// The object at this place as the content of a message.
    fn members(&mut self, place: usize, out: &mut Vec<u8>) -> Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Odd);
        }
        let message = self.plan.message(place);
        let (base, first) = (out.len(), self.room.chunks.len());
        self.expect(b'{')?;
        if self.look()? == b'}' {
            self.at += 1;
        } else {
            let mut hint = 0;
            loop {
                let (key, escaped) = self.string()?;
                self.expect(b':')?;
                match find(message, key, &mut hint) {
                    Some(name) if !escaped => self.member(name, out)?,
                    _ => self.skip()?,
                }
                match self.next()? {
                    b',' => {}
                    b'}' => break,
                    _ => return Err(Odd),
                }
                self.space();
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
            Shape::List(codec) if self.look()? == b'[' => self.items(name.number, codec, out)?,
            Shape::Map(codec) if self.look()? == b'{' => self.entries(name.number, codec, out)?,
            _ => self.skip()?,
        }
        if out.len() > start {
            self.room.chunks.push(Chunk { leaf: name.leaf, start, end: out.len() });
        }
        Ok(())
    }

    fn items(&mut self, number: u8, codec: Codec, out: &mut Vec<u8>) -> Result<()> {
        self.at += 1;
        if self.look()? == b']' {
            self.at += 1;
            return Ok(());
        }
        loop {
            wire::key(out, number, codec.wire());
            self.element(codec, out)?;
            match self.next()? {
                b',' => {}
                b']' => return Ok(()),
                _ => return Err(Odd),
            }
        }
    }

    fn entries(&mut self, number: u8, codec: Codec, out: &mut Vec<u8>) -> Result<()> {
        self.at += 1;
        if self.look()? == b'}' {
            self.at += 1;
            return Ok(());
        }
        loop {
            wire::key(out, number, wire::BYTES);
            let start = wire::open(out);
            wire::key(out, 1, wire::BYTES);
            self.text(out)?;
            self.expect(b':')?;
            if codec != Codec::Bytes || self.look()? != b'n' {
                wire::key(out, 2, codec.wire());
                self.element(codec, out)?;
            } else {
                self.skip()?;
            }
            wire::close(out, start);
            match self.next()? {
                b',' => self.space(),
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
        let first = self.look()?;
        match (codec, first) {
            (Codec::Text, b'"') => self.text(out)?,
            (Codec::Message(place), b'{') => {
                let start = wire::open(out);
                self.members(place, out)?;
                wire::close(out, start);
            }
            (Codec::Bool, b't' | b'f') => {
                self.skip()?;
                out.push(u8::from(first == b't'));
            }
            (Codec::Integer, b'-' | b'0'..=b'9') => match number(self.token()).parse::<i64>() {
                Ok(number) => wire::varint(out, number.cast_unsigned()),
                Err(_) => return Ok(Put::Nothing),
            },
            (Codec::Double, b'-' | b'0'..=b'9') => {
                let number: f64 = number(self.token()).parse().map_err(|_| Odd)?;
                out.extend_from_slice(&number.to_le_bytes());
            }
            (Codec::Bytes, b'"') => {
                let (text, escaped) = self.string()?;
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
                let from = self.at;
                self.skip()?;
                let start = wire::open(out);
                wire::bytes(out, 1, &self.json[from..self.at]);
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
                self.skip()?;
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
                self.skip()?;
                return Ok(false);
            }
            let (text, escaped) = self.string()?;
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
                self.text(out)?;
            }
            (Codec::Quantity, false) => {
                let token = self.token();
                wire::bytes(out, 1, token);
            }
            (_, true) => {
                wire::integer(out, 1, 1);
                wire::integer(out, 2, 0);
                wire::key(out, 3, wire::BYTES);
                self.text(out)?;
            }
            (_, false) => write::int_or_string(Ok(number(self.token()).parse().unwrap_or(0)), out),
        }
        Ok(true)
    }

    /// A text with its length.
    fn text(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.space();
        let (text, escaped) = self.string()?;
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

    /// The characters of a number or a word.
    fn token(&mut self) -> &'j [u8] {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') = self.json.get(self.at) {
            self.at += 1;
        }
        &self.json[start..self.at]
    }

    /// Passes over one value.
    fn skip(&mut self) -> Result<()> {
        let mut open = 0_usize;
        loop {
            match self.look()? {
                b'"' => drop(self.string()?),
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    open = open.checked_sub(1).ok_or(Odd)?;
                    self.at += 1;
                }
                b',' | b':' if open > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => {
                    if self.token().is_empty() {
                        return Err(Odd);
                    }
                }
            }
            if open == 0 {
                return Ok(());
            }
        }
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
            if *held == wanted && name.name.as_bytes() == key {
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

/// The place of the first quote or backslash, looked for in eight bytes at a time.
fn end_of_plain(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    const QUOTES: u64 = ONES * b'"' as u64;
    const SLASHES: u64 = ONES * b'\\' as u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        // the lowest byte that becomes zero is found exactly
        let zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        let found = zero(word ^ QUOTES) | zero(word ^ SLASHES);
        if found != 0 {
            return Some(place * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let start = bytes.len() - rest.len();
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|place| start + place)
}

fn number(token: &[u8]) -> &str {
    std::str::from_utf8(token).unwrap_or_default()
}

fn unescape(text: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut rest = text;
    while let Some(offset) = rest.iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&rest[..offset]);
        let kind = *rest.get(offset + 1).ok_or(Odd)?;
        rest = &rest[offset + 2..];
        out.push(match kind {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'"' | b'\\' | b'/' => kind,
            b'u' => {
                let mut code = hex4(&mut rest)?;
                if (0xd800..0xdc00).contains(&code) {
                    rest = rest.strip_prefix(b"\\u").ok_or(Odd)?;
                    let low = hex4(&mut rest)?;
                    code = 0x10000 + ((code - 0xd800) << 10) + low.checked_sub(0xdc00).ok_or(Odd)?;
                }
                let character = char::from_u32(code).ok_or(Odd)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return Err(Odd),
        });
    }
    out.extend_from_slice(rest);
    Ok(())
}

fn hex4(rest: &mut &[u8]) -> Result<u32> {
    let (digits, tail) = rest.split_at_checked(4).ok_or(Odd)?;
    *rest = tail;
    u32::from_str_radix(number(digits), 16).map_err(|_| Odd)
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
