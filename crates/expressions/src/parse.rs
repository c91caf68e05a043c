//! Tokens to a tree.
//!
//! Invariant: neither the parser nor any tree it returns is deeper than a constant, so that everything that walks a
//! tree may recurse. Chains of `&&` and `||` are one node with many arguments, for people write long ones. Why an own parser:
//! positions and messages are part of what users see, and expressions come from anybody who may write a CRD.

mod aggregates;

use crate::fault::{Fault, Faults};
use crate::lex::{self, Lexeme, Token};
use crate::macros;
use crate::tree::{Expr, Kind, Literal, Mode, Tree};

/// The greatest height of a tree.
const DEPTH: usize = 250;
/// The deepest nesting of brackets, each level of which is several calls deep here.
const NESTING: usize = 100;
/// The longest text, in characters.
const LENGTH: usize = 100_000;

const STARTS: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                      BYTES, IDENTIFIER}";

/// Words that are no names, for they may come to mean something.
pub(crate) const RESERVED: [&str; 17] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Binary operators: as written, as a function, how strongly they bind.
const BINARY: [(&str, &str, u8); 12] = [
    ("==", "_==_", 3),
    ("!=", "_!=_", 3),
    ("<", "_<_", 3),
    ("<=", "_<=_", 3),
    (">", "_>_", 3),
    (">=", "_>=_", 3),
    ("in", "@in", 3),
    ("+", "_+_", 4),
    ("-", "_-_", 4),
    ("*", "_*_", 5),
    ("/", "_/_", 5),
    ("%", "_%_", 5),
];

/// The tree of a text; with or without the macro `cel.bind`.
pub(crate) fn parse(source: &str, bindings: bool) -> Result<Tree, Vec<Fault>> {
    let length = source.chars().count();
    if length > LENGTH {
        let message = format!("expression code point size exceeds limit: size: {length}, limit {LENGTH}");
        return Err(vec![Fault::text(message)]);
    }
    let (tokens, unreadable) = lex::tokens(source);
    let mut faults = Faults::new(source);
    unreadable.into_iter().for_each(|wrong| faults.tell(wrong.at, wrong.message));
    let mut parser = Parser { source, bindings, tokens, next: 0, ids: 0, depth: 0, too_tall: false };
    let parsed = parser.expression().and_then(|root| match parser.peek().token {
        Token::End if parser.too_tall => Err(Box::new(Fault::text("max recursion depth exceeded"))),
        Token::End => Ok(root),
        _ => Err(parser.unexpected_rest()),
    });
    match parsed {
        Ok(root) if faults.count() == 0 => Ok(Tree { root: *root, size: parser.ids }),
        Ok(_) => Err(faults.into_list()),
        Err(fault) => {
            faults.add(*fault);
            Err(faults.into_list())
        }
    }
}

/// Behind pointers, so that the parser's own calls, which nest as brackets do, are small.
pub(crate) type Parsed<T = Box<Expr>> = Result<T, Box<Fault>>;

pub(crate) struct Parser<'s> {
    source: &'s str,
    pub(crate) bindings: bool,
    tokens: Vec<Lexeme>,
    next: usize,
    ids: u32,
    depth: usize,
    too_tall: bool,
}

impl Parser<'_> {
    /// A node. One that would be too tall is left empty, so that dropping it is no deep recursion either.
    pub(crate) fn node(&mut self, at: usize, kind: Kind) -> Box<Expr> {
        let id = self.ids;
        self.ids += 1;
        let mut expr = Box::new(Expr { id, at: u32::try_from(at).unwrap_or(u32::MAX), height: 1, kind });
        expr.height += match &expr.kind {
            // The value may be worked out in the midst of the body.
            Kind::Bind(bind) => bind.value.height + bind.body.height,
            _ => expr.children().iter().map(|child| child.height).max().unwrap_or(0),
        };
        if usize::from(expr.height) > DEPTH {
            self.too_tall = true;
            expr.kind = Kind::Literal(Literal::Null);
            expr.height = 1;
        }
        expr
    }

    pub(crate) fn fault(&self, at: u32, message: impl Into<String>) -> Box<Fault> {
        Box::new(Fault::new(self.source, at as usize, message))
    }

    fn too_deep(&self) -> Box<Fault> {
        Box::new(Fault::text(format!("expression recursion limit exceeded: {DEPTH}")))
    }

    fn peek(&self) -> &Lexeme {
        &self.tokens[self.next]
    }

    fn advance(&mut self) -> Lexeme {
        let lexeme = self.tokens[self.next].clone();
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        lexeme
    }

    fn sees(&self, sign: &str) -> bool {
        matches!(self.peek().token, Token::Sign(found) if found == sign)
    }

    /// Takes the sign if it is next; its place.
    fn takes(&mut self, sign: &str) -> Option<usize> {
        self.sees(sign).then(|| self.advance().start)
    }

    fn expects(&mut self, sign: &str) -> Parsed<usize> {
        self.takes(sign).ok_or_else(|| {
            let found = self.peek();
            if found.token != Token::End {
                return self.unexpected(&format!("'{sign}'"));
            }
            self.fault(found.start as u32, format!("Syntax error: missing '{sign}' at '<EOF>'"))
        })
    }

    /// The end of a list, or a comma.
    fn expects_end(&mut self, sign: &str) -> Parsed<usize> {
        self.takes(sign).ok_or_else(|| self.unexpected(&format!("{{'{sign}', ','}}")))
    }

    fn shown(&self, lexeme: &Lexeme) -> String {
        if lexeme.token == Token::End { "<EOF>".to_owned() } else { self.source[lexeme.start..lexeme.end].to_owned() }
    }

    fn unexpected(&self, expecting: &str) -> Box<Fault> {
        let found = self.peek();
        let message = format!("Syntax error: mismatched input '{}' expecting {expecting}", self.shown(found));
        self.fault(found.start as u32, message)
    }

    /// Nothing that can stand behind a sign.
    fn no_member(&self, dot: usize) -> Box<Fault> {
        let found = self.peek();
        let text = &self.source[dot..found.end];
        self.fault(found.start as u32, format!("Syntax error: no viable alternative at input '{text}'"))
    }

    /// Something no expression starts with; it is left over if an expression follows.
    fn no_start(&self) -> Box<Fault> {
        let found = self.peek();
        let follows = self.tokens.get(self.next + 1).is_some_and(|after| match after.token {
            Token::Name | Token::Literal(_) => true,
            Token::Sign(sign) => matches!(sign, "[" | "{" | "(" | "." | "-" | "!"),
            Token::End => false,
        });
        let kind = if follows { "extraneous" } else { "mismatched" };
        let message = format!("Syntax error: {kind} input '{}' expecting {STARTS}", self.shown(found));
        self.fault(found.start as u32, message)
    }

    /// A whole expression has been read and more follows.
    fn unexpected_rest(&self) -> Box<Fault> {
        let found = self.peek();
        let last = self.tokens.get(self.next + 1).is_some_and(|after| after.token == Token::End);
        let kind = if last { "extraneous" } else { "mismatched" };
        let message = format!("Syntax error: {kind} input '{}' expecting <EOF>", self.shown(found));
        self.fault(found.start as u32, message)
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > NESTING {
            return Err(self.too_deep());
        }
        let condition = self.logic("||")?;
        let result = if self.sees("?") { self.choice(*condition) } else { Ok(condition) };
        self.depth -= 1;
        result
    }

    fn choice(&mut self, condition: Expr) -> Parsed {
        let at = self.advance().start;
        let yes = self.logic("||")?;
        self.takes(":").ok_or_else(|| self.unexpected("':'"))?;
        let no = self.expression()?;
        Ok(self.call(at, "_?_:_", None, vec![condition, *yes, *no]))
    }

    pub(crate) fn call(&mut self, at: usize, function: &str, target: Option<Box<Expr>>, args: Vec<Expr>) -> Box<Expr> {
        self.node(at, Kind::Call { target, function: function.into(), args })
    }

    /// A chain of `||`, or below it of `&&`.
    fn logic(&mut self, sign: &'static str) -> Parsed {
        let either = sign == "||";
        let first = if either { self.logic("&&")? } else { self.binary(3)? };
        if self.sees(sign) { self.chain(sign, either, *first) } else { Ok(first) }
    }

    fn chain(&mut self, sign: &'static str, either: bool, first: Expr) -> Parsed {
        let at = self.peek().start;
        let mut terms = vec![first];
        while self.takes(sign).is_some() {
            terms.push(if either { *self.logic("&&")? } else { *self.binary(3)? });
        }
        Ok(self.call(at, if either { "_||_" } else { "_&&_" }, None, terms))
    }

    fn binary(&mut self, least: u8) -> Parsed {
        let left = self.unary()?;
        self.operators(left, least)
    }

    fn operators(&mut self, mut left: Box<Expr>, least: u8) -> Parsed {
        loop {
            let Token::Sign(sign) = self.peek().token else { return Ok(left) };
            let Some((_, function, binding)) = BINARY.iter().find(|(written, _, _)| *written == sign) else {
                return Ok(left);
            };
            if *binding < least {
                return Ok(left);
            }
            let at = self.advance().start;
            let right = self.binary(binding + 1)?;
            left = self.call(at, function, None, vec![*left, *right]);
        }
    }

    fn unary(&mut self) -> Parsed {
        if self.sees("!") {
            return self.prefixed("!", "!_");
        }
        if self.sees("-") && !self.sees_negative() { self.prefixed("-", "-_") } else { self.member() }
    }

    /// Two of the same prefix cancel each other.
    fn prefixed(&mut self, sign: &str, function: &str) -> Parsed {
        let at = self.peek().start;
        let mut odd = false;
        let mut last = at;
        while let Some(found) = self.takes(sign) {
            last = found;
            odd = !odd;
        }
        if sign == "-" && self.sees("!") {
            return Err(self.no_member(last));
        }
        let operand = self.member()?;
        Ok(if odd { self.call(at, function, None, vec![*operand]) } else { operand })
    }

    /// A minus that belongs to a number.
    fn sees_negative(&self) -> bool {
        let after = self.tokens.get(self.next + 1).map(|lexeme| &lexeme.token);
        self.sees("-") && matches!(after, Some(Token::Literal(Literal::Int(_) | Literal::Double(_))))
    }

    /// A number with its minus.
    fn negative(&mut self) -> Parsed {
        let at = self.advance().start;
        match self.advance().token {
            Token::Literal(Literal::Int(value)) => Ok(self.node(at, Kind::Literal(Literal::Int(value.wrapping_neg())))),
            Token::Literal(Literal::Double(value)) => Ok(self.node(at, Kind::Literal(Literal::Double(-value)))),
            _ => Err(self.no_start()),
        }
    }

    fn member(&mut self) -> Parsed {
        let primary = self.primary()?;
        self.members(primary)
    }

    fn members(&mut self, mut operand: Box<Expr>) -> Parsed {
        loop {
            operand = match self.peek().token {
                Token::Sign(".") => self.dotted(operand)?,
                Token::Sign("[") => self.indexed(*operand)?,
                _ => return Ok(operand),
            };
        }
    }

    fn dotted(&mut self, operand: Box<Expr>) -> Parsed {
        let dot = self.expects(".")?;
        let optional = self.takes("?").is_some();
        if self.peek().token != Token::Name {
            return Err(self.no_member(dot));
        }
        let name = self.name()?;
        if let (false, true) = (optional, self.sees("(")) {
            let at = self.advance().start;
            let args = self.arguments()?;
            return macros::member(self, at, operand, &name, args);
        }
        let mode = if optional { Mode::Optional } else { Mode::Plain };
        Ok(self.node(dot, Kind::Select { operand, field: name.into(), mode }))
    }

    fn indexed(&mut self, operand: Expr) -> Parsed {
        let at = self.expects("[")?;
        let function = if self.takes("?").is_some() { "_[?_]" } else { "_[_]" };
        let index = self.expression()?;
        self.expects("]")?;
        Ok(self.call(at, function, None, vec![operand, *index]))
    }

    fn name(&mut self) -> Parsed<String> {
        if self.peek().token != Token::Name {
            return Err(self.unexpected("IDENTIFIER"));
        }
        let lexeme = self.advance();
        Ok(self.source[lexeme.start..lexeme.end].to_owned())
    }

    /// Behind the opening parenthesis, up to and with the closing one.
    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        let mut args = Vec::new();
        if self.takes(")").is_some() {
            return Ok(args);
        }
        loop {
            args.push(*self.expression()?);
            if self.takes(",").is_none() {
                self.expects(")")?;
                return Ok(args);
            }
        }
    }

    fn primary(&mut self) -> Parsed {
        match self.peek().token {
            Token::Literal(_) => self.literal(),
            Token::Name | Token::Sign(".") => self.named(),
            Token::Sign("(") => self.nested(),
            Token::Sign("-") if self.sees_negative() => self.negative(),
            Token::Sign("-") => {
                let at = self.advance().start;
                Err(self.no_member(at))
            }
            Token::Sign("[") => self.list(),
            Token::Sign("{") => self.map(),
            _ => Err(self.no_start()),
        }
    }

    fn literal(&mut self) -> Parsed {
        let lexeme = self.advance();
        match lexeme.token {
            Token::Literal(Literal::Int(i64::MIN)) => Err(self.fault(lexeme.start as u32, "invalid int literal")),
            Token::Literal(literal) => Ok(self.node(lexeme.start, Kind::Literal(literal))),
            _ => Err(self.no_start()),
        }
    }

    fn nested(&mut self) -> Parsed {
        self.advance();
        let inner = self.expression()?;
        self.expects(")")?;
        Ok(inner)
    }

    /// An identifier, a call of a function, or a struct.
    fn named(&mut self) -> Parsed {
        let start = self.peek().start;
        self.takes(".");
        let name = self.name()?;
        if RESERVED.contains(&name.as_str()) {
            return Err(self.fault(start as u32, format!("reserved identifier: {name}")));
        }
        if let Some(at) = self.takes("(") {
            let args = self.arguments()?;
            return macros::global(self, at, &name, args);
        }
        match self.struct_name(&name) {
            Some(full) => self.structure(full),
            None => Ok(self.node(start, Kind::Ident(name.into()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(source: &str) -> String {
        let told = parse(source, false).unwrap_err().remove(0).to_string();
        told.lines().next().unwrap().trim_start_matches("ERROR: <input>:").to_owned()
    }

    #[test]
    fn syntax_errors_are_told_as_upstream_tells_them() {
        assert_eq!(wrong(""), format!("1:0: Syntax error: mismatched input '<EOF>' expecting {STARTS}"));
        assert_eq!(wrong("1 +"), format!("1:4: Syntax error: mismatched input '<EOF>' expecting {STARTS}"));
        assert_eq!(wrong("a b"), "1:3: Syntax error: extraneous input 'b' expecting <EOF>");
        assert_eq!(wrong("namespace == 'a'"), "1:1: reserved identifier: namespace");
        assert_eq!(wrong("9223372036854775808"), "1:1: invalid int literal");
        assert_eq!(wrong("A{a}"), "1:4: Syntax error: mismatched input '}' expecting ':'");
        assert_eq!(wrong("A{a: 1, 2}"), "1:9: Syntax error: extraneous input '2' expecting '}'");
        assert_eq!(wrong("A{a: 1,"), "1:8: Syntax error: missing '}' at '<EOF>'");
    }

    #[test]
    fn the_least_integer_can_be_written() {
        assert!(matches!(
            parse("-9223372036854775808", false).unwrap().root.kind,
            Kind::Literal(Literal::Int(i64::MIN))
        ));
    }

    #[test]
    fn nesting_is_bounded_in_every_form() {
        let deep = 100_000 / 2 - 10;
        for source in [
            format!("{}1{}", "(".repeat(deep), ")".repeat(deep)),
            "[".repeat(deep),
            format!("1{}", "+1".repeat(deep)),
            format!("a{}", ".b".repeat(deep)),
            format!("a{}", "[0]".repeat(deep / 2)),
            format!("{}a", "a?b:".repeat(deep / 2 - 10)),
            "A{b:".repeat(deep / 3),
            "cel.bind(a,1,".repeat(deep / 8),
        ] {
            assert!(parse(&source, true).is_err());
        }
        assert!(parse(&format!("a{}", "||a".repeat(5000)), false).is_ok(), "long alternatives are not deep");
        assert!(parse(&format!("{}a", "!-".repeat(deep)), false).is_err());
        assert!(parse(&format!("{}a", "!".repeat(deep)), false).is_ok());
    }
}
