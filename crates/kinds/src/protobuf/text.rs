//! JSON text read piece by piece, without values.
//!
//! Invariant: never beyond the end, whatever the text is; nesting costs a counter and no stack. It is for text that we
//! wrote ourselves, so what is wrong is not told in detail.

/// Text that is not what we write.
#[derive(Debug)]
pub(crate) struct Odd;

pub(crate) type Result<T> = std::result::Result<T, Odd>;

#[derive(Clone, Copy)]
pub(crate) struct Text<'j> {
    json: &'j [u8],
    at: usize,
}

impl<'j> Text<'j> {
    pub(crate) fn new(json: &'j [u8]) -> Self {
        Self { json, at: 0 }
    }

    /// Whether nothing more comes.
    pub(crate) fn is_over(&mut self) -> bool {
        self.space();
        self.at == self.json.len()
    }

    /// Steps over one byte that was looked at.
    pub(crate) fn pass(&mut self) {
        self.at += 1;
    }

    /// The text of one value.
    pub(crate) fn value(&mut self) -> Result<&'j [u8]> {
        self.space();
        let start = self.at;
        self.skip()?;
        Ok(&self.json[start..self.at])
    }

    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.json.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> Result<u8> {
        let byte = self.look()?;
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    pub(crate) fn look(&mut self) -> Result<u8> {
        match self.json.get(self.at) {
            Some(byte) if *byte > b' ' => Ok(*byte), // nearly always: we write no spaces
            _ => {
                self.space();
                self.json.get(self.at).copied().ok_or(Odd)
            }
        }
    }

    #[inline]
    pub(crate) fn expect(&mut self, byte: u8) -> Result<()> {
        if self.next()? == byte { Ok(()) } else { Err(Odd) }
    }

    /// The raw text between quotes, and whether something in it is escaped.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<(&'j [u8], bool)> {
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

    /// The characters of a number or a word.
    pub(crate) fn token(&mut self) -> &'j [u8] {
        let start = self.at;
        while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') = self.json.get(self.at) {
            self.at += 1;
        }
        &self.json[start..self.at]
    }

    /// Passes over one value. Inside lists and objects only texts and brackets are looked at.
    pub(crate) fn skip(&mut self) -> Result<()> {
        match self.look()? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => {
                let mut open = 0_usize;
                loop {
                    match self.json.get(self.at).ok_or(Odd)? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => open += 1,
                        b'}' | b']' => open -= 1,
                        _ => {}
                    }
                    self.at += 1;
                    if open == 0 {
                        return Ok(());
                    }
                }
            }
            _ if self.token().is_empty() => Err(Odd),
            _ => Ok(()),
        }
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

pub(crate) fn number(token: &[u8]) -> &str {
    std::str::from_utf8(token).unwrap_or_default()
}

pub(crate) fn unescape(text: &[u8], out: &mut Vec<u8>) -> Result<()> {
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
