//! What is wrong with the text of an expression, and where.
//!
//! Invariant: the printed form is the one CEL users know: `ERROR: <input>:line:column: message`, the line, and a marker
//! under the column. Positions are byte offsets until they are shown, so that nothing is counted for good expressions.

use std::fmt;

/// The longest line that is repeated in a message.
const SNIPPET: usize = 16_384;
/// How many faults are told; of the others only how many there are.
const TOLD: usize = 100;

/// One mistake, at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    place: Place,
    message: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// The text as a whole.
    Text,
    /// Where something is missing in a text without any characters.
    Empty,
    At {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The line, unless it is too long.
        snippet: Option<String>,
    },
    /// It stands for others.
    Others,
}

impl Place {
    /// What places are sorted by.
    fn order(&self) -> (usize, usize) {
        match self {
            Self::Text | Self::Empty => (0, 0),
            Self::At { line, column, .. } => (*line, *column),
            Self::Others => (usize::MAX, 0),
        }
    }
}

impl Fault {
    pub(crate) fn new(source: &str, at: usize, message: impl Into<String>) -> Self {
        if source.is_empty() {
            return Self { place: Place::Empty, message: message.into() };
        }
        let at = floor_boundary(source, at.min(source.len()));
        let before = &source[..at];
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let snippet = source[start..].split('\n').next().unwrap_or_default();
        let snippet = (snippet.chars().count() <= SNIPPET).then(|| snippet.to_owned());
        let column = source[start..at].chars().count() + 1;
        Self { place: Place::At { line, column, snippet }, message: message.into() }
    }

    /// Of a text that is too much.
    pub(crate) fn text(message: impl Into<String>) -> Self {
        Self { place: Place::Text, message: message.into() }
    }
}

/// The faults of one text, as they are found: no text has so many that they take much memory.
pub(crate) struct Faults<'s> {
    source: &'s str,
    list: Vec<Fault>,
    others: usize,
}

impl<'s> Faults<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        Self { source, list: Vec::new(), others: 0 }
    }

    pub(crate) fn tell(&mut self, at: usize, message: impl Into<String>) {
        if self.list.len() < TOLD {
            self.list.push(Fault::new(self.source, at, message));
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    pub(crate) fn add(&mut self, fault: Fault) {
        if self.list.len() < TOLD {
            self.list.push(fault);
        } else {
            self.others = self.others.saturating_add(1);
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.list.len().saturating_add(self.others)
    }

    /// Tells once more of all that were found after the first `before`.
    pub(crate) fn repeat(&mut self, before: usize) {
        let again = self.count().saturating_sub(before);
        let kept = (TOLD - self.list.len()).min(again);
        self.list.extend_from_within(before.min(self.list.len())..(before + kept).min(self.list.len()));
        self.others = self.others.saturating_add(again - kept);
    }

    pub(crate) fn into_list(mut self) -> Vec<Fault> {
        if self.others > 0 {
            let message = format!("{} more errors were truncated", self.others);
            self.list.push(Fault { place: Place::Others, message });
        }
        self.list
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
        let message = &self.message;
        let (line, column, snippet) = match &self.place {
            Place::Others => return f.write_str(message),
            Place::Text => return write!(f, "ERROR: <input>:-1:0: {message}"),
            Place::Empty => return write!(f, "ERROR: <input>:1:0: {message}"),
            Place::At { line, column, snippet } => (line, *column, snippet),
        };
        write!(f, "ERROR: <input>:{line}:{column}: {message}")?;
        let Some(snippet) = snippet else { return Ok(()) };
        let snippet = snippet.replace('\t', " ");
        write!(f, "\n | {snippet}\n | ")?;
        let mut chars = snippet.chars();
        for _ in 1..column {
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
    sorted.sort_by_key(|fault| fault.place.order());
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
    fn a_text_without_characters_has_no_column() {
        assert_eq!(Fault::new("", 0, "m").to_string(), "ERROR: <input>:1:0: m");
        assert_eq!(Fault::text("m").to_string(), "ERROR: <input>:-1:0: m");
    }

    #[test]
    fn many_faults_are_counted() {
        let mut faults = Faults::new("a");
        (0..TOLD - 1).for_each(|_| faults.tell(0, "m"));
        let before = faults.count();
        faults.tell(0, "n");
        faults.repeat(before);
        faults.repeat(0);
        let list = faults.into_list();
        assert_eq!((list.len(), list[TOLD].to_string()), (TOLD + 1, "102 more errors were truncated".to_owned()));
    }

    #[test]
    fn later_lines_and_wide_characters_are_counted() {
        let fault = Fault::new("'a' +\n '\u{4e16}' + x", 15, "m");
        assert_eq!(fault.to_string(), "ERROR: <input>:2:8: m\n |  '\u{4e16}' + x\n | ..\u{ff0e}....^");
    }
}
