//! What is wrong with the text of an expression, and where.
//!
//! Invariant: the printed form is the one CEL users know: `ERROR: <input>:line:column: message`, the line, and a marker
//! under the column. Positions are byte offsets until they are shown, so that nothing is counted for good expressions.

use std::fmt;

/// The longest line that is repeated in a message.
const SNIPPET: usize = 16_384;

/// One mistake, at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1; 0 if the fault was found in putting the program together.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    snippet: String,
}

impl Fault {
    pub(crate) fn new(source: &str, at: usize, message: impl Into<String>) -> Self {
        let at = floor_boundary(source, at.min(source.len()));
        let before = &source[..at];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let snippet = source[start..].split('\n').next().unwrap_or_default().to_owned();
        Self { line, column: source[start..at].chars().count() + 1, message: message.into(), snippet }
    }
}

impl Fault {
    /// Of a program that cannot be put together, though its text is good.
    pub(crate) fn late(message: impl Into<String>) -> Self {
        Self { line: 0, column: 0, message: message.into(), snippet: String::new() }
    }

    pub fn is_late(&self) -> bool {
        self.line == 0
    }
}

fn floor_boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_late() {
            return f.write_str(&self.message);
        }
        write!(f, "ERROR: <input>:{}:{}: {}", self.line, self.column, self.message)?;
        if self.snippet.chars().count() > SNIPPET {
            return Ok(());
        }
        let snippet = self.snippet.replace('\t', " ");
        write!(f, "\n | {snippet}\n | ")?;
        let mut chars = snippet.chars();
        for _ in 1..self.column {
            match chars.next() {
                Some(wide) if wide.len_utf8() > 1 => f.write_str("\u{ff0e}")?,
                Some(_) => f.write_str(".")?,
                None => break,
            }
        }
        f.write_str(if chars.next().is_some_and(|c| c.len_utf8() > 1) { "\u{ff3e}" } else { "^" })
    }
}

/// All faults of one text, in the order of their places, as they are shown together.
pub fn listing(faults: &[Fault]) -> String {
    let mut sorted: Vec<&Fault> = faults.iter().collect();
    sorted.sort_by_key(|fault| (fault.line, fault.column));
    sorted.iter().map(|fault| fault.to_string()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_points_at_its_column() {
        let fault = Fault::new("self.foo", 4, "undefined field 'foo'");
        assert_eq!(fault.to_string(), "ERROR: <input>:1:5: undefined field 'foo'\n | self.foo\n | ....^");
    }

    #[test]
    fn later_lines_and_wide_characters_are_counted() {
        let fault = Fault::new("'a' +\n '\u{4e16}' + x", 15, "m");
        assert_eq!((fault.line, fault.column), (2, 8));
        assert_eq!(fault.to_string(), "ERROR: <input>:2:8: m\n |  '\u{4e16}' + x\n | ..\u{ff0e}....^");
    }
}
