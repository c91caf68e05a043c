//! Text to tokens.
//!
//! Invariant: every byte is looked at once; a token knows where it starts and ends. Words with a meaning (`in`, `true`,
//! `null`) are told apart here, names that are merely reserved are not: those are refused where a name is used.

use crate::tree::Literal;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Name,
    Literal(Literal),
    /// Operators, brackets and the word `in`.
    Sign(&'static str),
    End,
}

#[derive(Clone, Debug)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// What cannot be read, and where.
#[derive(Debug)]
pub(crate) struct Unreadable {
    pub(crate) at: usize,
    pub(crate) message: String,
}

const SIGNS: [&str; 24] = [
    "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
    "/", "%",
];

/// All tokens, ending with [`Token::End`], and what lies between them.
pub(crate) fn tokens(source: &str) -> (Vec<Lexeme>, Vec<Unreadable>) {
    let mut lexer = Lexer { source, at: 0 };
    let mut found = Vec::with_capacity(source.len() / 3 + 2);
    let mut unreadable = Vec::new();
    loop {
        lexer.skip_blank();
        let start = lexer.at;
        match lexer.next() {
            Ok(token) => {
                let ends = token == Token::End;
                found.push(Lexeme { token, start, end: lexer.at });
                if ends {
                    return (found, unreadable);
                }
            }
            Err(wrong) => unreadable.push(wrong),
        }
    }
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s str {
        &self.source[self.at..]
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.source.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn skip_blank(&mut self) {
        loop {
            let rest = self.rest();
            let blank = rest.len() - rest.trim_start_matches(['\t', ' ', '\r', '\n', '\u{c}']).len();
            self.at += blank;
            if self.rest().starts_with("//") {
                self.at += self.rest().find('\n').unwrap_or(self.rest().len());
            } else if blank == 0 {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<Token, Unreadable> {
        let Some(first) = self.rest().chars().next() else { return Ok(Token::End) };
        if let Some((prefix, raw, bytes)) = self.string_prefix() {
            return self.string(prefix, raw, bytes);
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let length =
                self.rest().find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest().len());
            let word = &self.rest()[..length];
            self.at += length;
            return Ok(match word {
                "in" => Token::Sign("in"),
                "true" => Token::Literal(Literal::Bool(true)),
                "false" => Token::Literal(Literal::Bool(false)),
                "null" => Token::Literal(Literal::Null),
                _ => Token::Name,
            });
        }
        if first.is_ascii_digit() || (first == '.' && self.byte(1).is_ascii_digit()) {
            return self.number();
        }
        match SIGNS.iter().find(|sign| self.rest().starts_with(**sign)) {
            Some(sign) => {
                self.at += sign.len();
                Ok(Token::Sign(sign))
            }
            None => {
                // The half of an operator takes what follows with it.
                let second = self.rest().chars().nth(1).filter(|_| matches!(first, '=' | '&' | '|'));
                Err(self.unrecognized(self.at, self.at + first.len_utf8() + second.map_or(0, char::len_utf8)))
            }
        }
    }

    fn unrecognized(&mut self, start: usize, end: usize) -> Unreadable {
        self.at = end;
        let text = &self.source[start..end];
        Unreadable { at: start, message: format!("Syntax error: token recognition error at: '{text}'") }
    }

    /// The length of the prefix letters, whether it is raw, whether it makes bytes; none if no string starts here.
    fn string_prefix(&self) -> Option<(usize, bool, bool)> {
        let quote = |ahead| matches!(self.byte(ahead), b'"' | b'\'');
        let raw = |ahead| matches!(self.byte(ahead), b'r' | b'R');
        let bytes = matches!(self.byte(0), b'b' | b'B');
        match () {
            () if quote(0) => Some((0, false, false)),
            () if raw(0) && quote(1) => Some((1, true, false)),
            () if bytes && quote(1) => Some((1, false, true)),
            () if bytes && raw(1) && quote(2) => Some((2, true, true)),
            () => None,
        }
    }

    fn string(&mut self, prefix: usize, raw: bool, bytes: bool) -> Result<Token, Unreadable> {
        let start = self.at;
        let body = start + prefix;
        let quote = &self.source[body..=body];
        let triple = quote.repeat(3);
        let delimiter = if self.source[body..].starts_with(&triple) { triple.as_str() } else { quote };
        let single = delimiter.len() == 1;
        let inside = body + delimiter.len();
        let mut at = inside;
        loop {
            let rest = &self.source[at..];
            let Some(next) = rest.chars().next() else { return Err(self.unrecognized(start, self.source.len())) };
            if rest.starts_with(delimiter) {
                break;
            }
            if single && matches!(next, '\n' | '\r') {
                return Err(self.unrecognized(start, at + 1));
            }
            at += next.len_utf8();
            if next == '\\' && !raw {
                at += self.source[at..].chars().next().map_or(0, char::len_utf8);
            }
        }
        self.at = at + delimiter.len();
        let text = &self.source[inside..at];
        let literal = match (raw, bytes) {
            (true, false) => Some(Literal::String(text.into())),
            (true, true) => Some(Literal::Bytes(text.as_bytes().into())),
            (false, false) => unescaped_text(text).map(|text| Literal::String(text.into())),
            (false, true) => unescaped_bytes(text).map(|bytes| Literal::Bytes(bytes.into())),
        };
        literal.map(Token::Literal).ok_or_else(|| self.unrecognized(start, self.at))
    }

    fn number(&mut self) -> Result<Token, Unreadable> {
        let start = self.at;
        let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        if self.rest().starts_with("0x") {
            let hex =
                self.rest()[2..].len() - self.rest()[2..].trim_start_matches(|c: char| c.is_ascii_hexdigit()).len();
            if hex > 0 {
                self.at += 2 + hex;
                return self.integer(start + 2, 16);
            }
        }
        self.at += digits(self.rest());
        let mut fractional = false;
        if self.byte(0) == b'.' && self.byte(1).is_ascii_digit() {
            self.at += 1;
            self.at += digits(self.rest());
            fractional = true;
        }
        if matches!(self.byte(0), b'e' | b'E') {
            let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
            if self.byte(1 + sign).is_ascii_digit() {
                self.at += 1 + sign;
                self.at += digits(self.rest());
                fractional = true;
            }
        }
        if !fractional {
            return self.integer(start, 10);
        }
        match self.source[start..self.at].parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Token::Literal(Literal::Double(value))),
            _ => Err(Unreadable { at: start, message: "invalid double literal".to_owned() }),
        }
    }

    /// The digits from `start` to here; a `u` may follow. A number that only fits with a minus before it is kept as the
    /// least integer's unsigned form and settled by the parser.
    fn integer(&mut self, start: usize, radix: u32) -> Result<Token, Unreadable> {
        let digits = &self.source[start..self.at];
        let value = u64::from_str_radix(digits, radix);
        if matches!(self.byte(0), b'u' | b'U') {
            self.at += 1;
            let value = value.map_err(|_| Unreadable { at: start, message: "invalid uint literal".to_owned() })?;
            return Ok(Token::Literal(Literal::Uint(value)));
        }
        match value {
            Ok(value) if i64::try_from(value).is_ok() => Ok(Token::Literal(Literal::Int(value as i64))),
            Ok(value) if value == i64::MIN.unsigned_abs() => Ok(Token::Literal(Literal::Int(i64::MIN))),
            _ => Err(Unreadable { at: start, message: "invalid int literal".to_owned() }),
        }
    }
}

enum Unescaped {
    Char(char),
    Byte(u8),
}

/// What stands behind a backslash, and the rest.
fn escape(text: &str) -> Option<(Unescaped, &str)> {
    let first = text.chars().next()?;
    let simple = match first {
        'a' => Some('\u{7}'),
        'b' => Some('\u{8}'),
        'f' => Some('\u{c}'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\u{b}'),
        '"' | '\'' | '\\' | '?' | '`' => Some(first),
        _ => None,
    };
    if let Some(simple) = simple {
        return Some((Unescaped::Char(simple), &text[1..]));
    }
    let number = |from: usize, length: usize, radix: u32| {
        let digits = text.get(from..from + length)?;
        let clean = digits.chars().all(|c| c.is_digit(radix));
        Some((u32::from_str_radix(digits, radix).ok().filter(|_| clean)?, &text[from + length..]))
    };
    match first {
        'x' | 'X' => number(1, 2, 16).map(|(value, rest)| (Unescaped::Byte(value as u8), rest)),
        '0'..='3' => number(0, 3, 8).map(|(value, rest)| (Unescaped::Byte(value as u8), rest)),
        'u' => number(1, 4, 16).and_then(|(value, rest)| Some((Unescaped::Char(char::from_u32(value)?), rest))),
        'U' => number(1, 8, 16).and_then(|(value, rest)| Some((Unescaped::Char(char::from_u32(value)?), rest))),
        _ => None,
    }
}

/// In a string an escaped byte is the code point of that number.
fn unescaped_text(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let (value, after) = escape(&rest[at + 1..])?;
        out.push(match value {
            Unescaped::Char(value) => value,
            Unescaped::Byte(value) => char::from(value),
        });
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

fn unescaped_bytes(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        if matches!(rest.as_bytes().get(at + 1), Some(b'u' | b'U')) {
            return None;
        }
        let (value, after) = escape(&rest[at + 1..])?;
        match value {
            Unescaped::Char(value) => out.extend_from_slice(value.encode_utf8(&mut [0; 4]).as_bytes()),
            Unescaped::Byte(value) => out.push(value),
        }
        rest = after;
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn literals(source: &str) -> Vec<Literal> {
        let (tokens, unreadable) = tokens(source);
        assert!(unreadable.is_empty());
        tokens
            .into_iter()
            .filter_map(|lexeme| if let Token::Literal(l) = lexeme.token { Some(l) } else { None })
            .collect()
    }

    #[test]
    fn numbers_are_read_in_every_form() {
        assert_eq!(
            literals("1 0x1F 3u 0xffu 1.5 .5 1e3 2.5E-1"),
            [
                Literal::Int(1),
                Literal::Int(31),
                Literal::Uint(3),
                Literal::Uint(255),
                Literal::Double(1.5),
                Literal::Double(0.5),
                Literal::Double(1000.0),
                Literal::Double(0.25)
            ]
        );
    }

    #[test]
    fn strings_are_read_in_every_form() {
        let text = |s: &str| Literal::String(s.into());
        assert_eq!(
            literals(r#"'a\n\x41\u00e9\101' "it's" r'\d+' '''two "quotes"''' R"x" "#),
            [text("a\nA\u{e9}A"), text("it's"), text("\\d+"), text("two \"quotes\""), text("x")]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let wrong = |source: &str| tokens(source).1.remove(0).message;
        assert_eq!(wrong("a # b"), "Syntax error: token recognition error at: '#'");
        assert_eq!(wrong("'open"), "Syntax error: token recognition error at: ''open'");
        assert_eq!(wrong("99999999999999999999"), "invalid int literal");
        assert_eq!(wrong("0x1ffffffffffffffffu"), "invalid uint literal");
    }
}
