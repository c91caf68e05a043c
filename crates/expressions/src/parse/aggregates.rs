//! What is written in brackets and braces: lists, maps, structs.
//!
//! Invariant: a comma may end any of them.

use super::{Parsed, Parser};
use crate::fault::Fault;
use crate::lex::Token;
use crate::tree::{Entry, Init, Item, Kind};

impl Parser<'_> {
    /// `a.b.C` if a brace follows it; takes it then.
    pub(super) fn struct_name(&mut self, first: &str) -> Option<String> {
        let mut full = first.to_owned();
        let mut ahead = self.next;
        let token = |at: usize| self.tokens.get(at).map(|lexeme| (&lexeme.token, lexeme.start, lexeme.end));
        while let (Some((Token::Sign("."), ..)), Some((Token::Name, start, end))) = (token(ahead), token(ahead + 1)) {
            full.push('.');
            full.push_str(&self.source[start..end]);
            ahead += 2;
        }
        let follows = matches!(token(ahead), Some((Token::Sign("{"), ..)));
        follows.then(|| {
            self.next = ahead;
            full
        })
    }

    pub(super) fn structure(&mut self, name: String) -> Parsed {
        let at = self.expects("{")?;
        let mut fields = Vec::new();
        let mut ended = false;
        while !ended && (self.sees("?") || self.peek().token == Token::Name) {
            fields.push(self.init()?);
            ended = self.takes(",").is_none();
        }
        if ended {
            self.expects_end("}")?;
        } else if !fields.is_empty() || self.takes(",").is_some() {
            self.takes("}").ok_or_else(|| self.not_only("}"))?;
        } else {
            self.takes("}").ok_or_else(|| self.unexpected("{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}"))?;
        }
        Ok(self.node(at, Kind::Struct { name: name.into(), fields }))
    }

    /// `field: value` or `?field: value`.
    fn init(&mut self) -> Parsed<Init> {
        let optional = self.takes("?").is_some();
        if self.peek().token != Token::Name {
            return Err(self.unexpected("{IDENTIFIER, ESC_IDENTIFIER}"));
        }
        let field = self.name()?.into();
        let at = self.takes(":").ok_or_else(|| self.not_only(":"))?;
        Ok(Init { at: u32::try_from(at).unwrap_or(u32::MAX), field, value: *self.expression()?, optional })
    }

    /// Behind a comma, the end of the text is that of a list that was not closed.
    fn not_the_end(&self, sign: &str) -> Parsed<()> {
        if self.peek().token == Token::End { Err(self.not_only(sign)) } else { Ok(()) }
    }

    /// Something where only one sign can stand: left over, if the sign follows it.
    fn not_only(&self, sign: &str) -> Box<Fault> {
        let found = self.peek();
        let after = self.tokens.get(self.next + 1).map(|after| &after.token);
        let message = match (&found.token, after) {
            (Token::End, _) if sign != ":" => format!("missing '{sign}' at '<EOF>'"),
            (_, Some(Token::Sign(next))) if *next == sign => {
                format!("extraneous input '{}' expecting '{sign}'", self.shown(found))
            }
            (Token::Name | Token::Literal(_), _) if sign == ":" => format!("missing ':' at '{}'", self.shown(found)),
            _ => format!("mismatched input '{}' expecting '{sign}'", self.shown(found)),
        };
        self.fault(found.start as u32, format!("Syntax error: {message}"))
    }

    pub(super) fn list(&mut self) -> Parsed {
        let at = self.expects("[")?;
        let mut items = Vec::new();
        while self.takes("]").is_none() {
            let optional = self.takes("?").is_some();
            items.push(Item { value: *self.expression()?, optional });
            if self.takes(",").is_none() {
                self.expects_end("]")?;
                break;
            }
            self.not_the_end("]")?;
        }
        Ok(self.node(at, Kind::List(items)))
    }

    pub(super) fn map(&mut self) -> Parsed {
        let at = self.expects("{")?;
        let mut entries = Vec::new();
        while self.takes("}").is_none() {
            let optional = self.takes("?").is_some();
            let key = *self.expression()?;
            self.expects(":")?;
            entries.push(Entry { key, value: *self.expression()?, optional });
            if self.takes(",").is_none() {
                self.expects_end("}")?;
                break;
            }
            self.not_the_end("}")?;
        }
        Ok(self.node(at, Kind::Map(entries)))
    }
}
