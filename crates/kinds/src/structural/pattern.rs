//! Regular expressions as Go reads them, for an engine that reads a few things differently.
//!
//! Invariant: what is accepted matches in linear time, and its program is of bounded size. Both dialects come from RE2;
//! they differ in the classes `\d`, `\s`, `\w` (ASCII in Go), in `\Q...\E`, in what a stray `{` is, in nested classes, and
//! in what may be repeated how often. Faults are told in Go's words.

use regex::{Regex, RegexBuilder};

/// Bytes that a compiled program may take.
const PROGRAM: usize = 4 << 20;
/// Go refuses to repeat anything more often.
const REPEATS: u32 = 1000;
/// Longer expressions are refused before anybody tries to compile them.
const LONGEST: usize = 64 << 10;

/// The expression, ready to match; or what is wrong with it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > LONGEST {
        return Err(fault("expression too large", pattern.get(..32).unwrap_or_default()));
    }
    let translated = Translator { rest: pattern, out: String::with_capacity(pattern.len() + 8) }.run()?;
    RegexBuilder::new(&translated).size_limit(PROGRAM).dfa_size_limit(PROGRAM).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => fault("expression nests too deeply or is too large", pattern),
        error => explain(pattern, &error.to_string()),
    })
}

fn fault(what: &str, where_: &str) -> String {
    format!("error parsing regexp: {what}: `{where_}`")
}

/// The last line of a message of the regex crate says what is wrong.
fn explain(pattern: &str, message: &str) -> String {
    let line = message.lines().last().unwrap_or_default().trim_start_matches("error: ");
    let what = match line {
        line if line.contains("unclosed group") => "missing closing )",
        line if line.contains("unopened group") => "unexpected )",
        line if line.contains("unclosed character class") => "missing closing ]",
        line if line.contains("repetition operator missing") => "missing argument to repetition operator",
        line if line.contains("invalid character class range") => "invalid character class range",
        line if line.contains("look-around") => "invalid or unsupported Perl syntax",
        line if line.contains("escape sequence") || line.contains("backreference") => "invalid escape sequence",
        line if line.contains("nest limit") => "expression nests too deeply",
        line => line,
    };
    fault(what, pattern)
}

struct Translator<'p> {
    rest: &'p str,
    out: String,
}

impl Translator<'_> {
    fn run(mut self) -> Result<String, String> {
        while let Some(next) = self.take() {
            match next {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '{' => self.repeat()?,
                '(' if ["?=", "?!", "?<=", "?<!"].iter().any(|look| self.rest.starts_with(look)) => {
                    let end = self.rest.find(|c: char| !"?<=!".contains(c)).unwrap_or(self.rest.len());
                    return Err(fault("invalid or unsupported Perl syntax", &format!("({}", &self.rest[..end])));
                }
                // no other flag of Go has another meaning; this one is unknown to it
                '(' if self.rest.starts_with("?x") => {
                    return Err(fault("invalid or unsupported Perl syntax", "(?x"));
                }
                other => self.out.push(other),
            }
        }
        Ok(self.out)
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    /// What follows a backslash.
    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let Some(next) = self.take() else { return Err(fault("trailing backslash at end of expression", "")) };
        match next {
            'd' => self.set("0-9", in_class),
            'D' => self.out.push_str("[^0-9]"),
            's' => self.set("\\t\\n\\x0C\\r ", in_class),
            'S' => self.out.push_str("[^\\t\\n\\x0C\\r ]"),
            'w' => self.set("0-9A-Za-z_", in_class),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            'b' if !in_class => self.out.push_str("(?-u:\\b)"),
            'B' if !in_class => self.out.push_str("\\B"),
            'A' | 'z' if !in_class => self.push_escape(next),
            'Q' if !in_class => {
                let end = self.rest.find("\\E");
                let (quoted, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
                self.out.push_str(&regex::escape(quoted));
                self.rest = rest.strip_prefix("\\E").unwrap_or(rest);
            }
            'a' | 'f' | 't' | 'n' | 'r' | 'v' | 'p' | 'P' | 'x' => self.push_escape(next),
            '0'..='7' => return self.octal(next),
            other if other.is_ascii() && !other.is_ascii_alphanumeric() => {
                self.out.push_str(&regex::escape(other.encode_utf8(&mut [0; 4])));
            }
            other => return Err(fault("invalid escape sequence", &format!("\\{other}"))),
        }
        Ok(())
    }

    fn push_escape(&mut self, letter: char) {
        self.out.push('\\');
        self.out.push(letter);
    }

    fn set(&mut self, members: &str, in_class: bool) {
        if in_class {
            self.out.push_str(members);
        } else {
            self.out.push('[');
            self.out.push_str(members);
            self.out.push(']');
        }
    }

    /// `\0`, or three octal digits; a single digit would be a reference to a group, which Go does not have.
    fn octal(&mut self, first: char) -> Result<(), String> {
        let more: String = self.rest.chars().take_while(|c| ('0'..='7').contains(c)).take(2).collect();
        if first != '0' && more.is_empty() {
            return Err(fault("invalid escape sequence", &format!("\\{first}")));
        }
        let code = u32::from_str_radix(&format!("{first}{more}"), 8).unwrap_or_default();
        self.out.push_str(&format!("\\x{{{code:x}}}"));
        self.rest = &self.rest[more.len()..];
        Ok(())
    }

    /// A class: only backslashes and `[:name:]` are special in it.
    fn class(&mut self) -> Result<(), String> {
        let whole = self.rest;
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.rest = &self.rest[1..];
            self.out.push('^');
        }
        let mut first = true;
        loop {
            let named = self.rest.strip_prefix("[:").and_then(|rest| rest.find(":]")).map(|end| end + 4);
            if let Some(end) = named {
                let (name, rest) = self.rest.split_at(end);
                self.out.push_str(name);
                self.rest = rest;
                first = false;
                continue;
            }
            match self.take() {
                None => return Err(fault("missing closing ]", &format!("[{whole}"))),
                Some(']') if !first => break,
                Some('\\') => self.escape(true)?,
                Some('-') => self.out.push_str(if first || self.rest.starts_with(']') { "\\-" } else { "-" }),
                Some(special @ ('[' | ']' | '&' | '~')) => self.push_escape(special),
                Some(other) => self.out.push(other),
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    /// `{2}`, `{2,}`, `{2,5}`; any other brace is itself.
    fn repeat(&mut self) -> Result<(), String> {
        let Some((inside, rest)) = self.rest.split_once('}').filter(|(inside, _)| counts(inside).is_some()) else {
            self.out.push_str("\\{");
            return Ok(());
        };
        let (least, most) = counts(inside).expect("invariant: just looked at");
        if least > REPEATS || most.is_some_and(|most| most > REPEATS || most < least) {
            return Err(fault("invalid repeat count", &format!("{{{inside}}}")));
        }
        self.out.push('{');
        self.out.push_str(inside);
        self.out.push('}');
        self.rest = rest;
        Ok(())
    }
}

/// The numbers of a repetition.
fn counts(inside: &str) -> Option<(u32, Option<u32>)> {
    let number = |text: &str| -> Option<u32> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u32::MAX))
    };
    match inside.split_once(',') {
        None => number(inside).map(|count| (count, Some(count))),
        Some((least, "")) => number(least).map(|least| (least, None)),
        Some((least, most)) => Some((number(least)?, Some(number(most)?))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let regex = compile(pattern).unwrap();
        for text in matching {
            assert!(regex.is_match(text), "{pattern} should match {text:?}");
        }
        for text in others {
            assert!(!regex.is_match(text), "{pattern} should not match {text:?}");
        }
    }

    #[test]
    fn expressions_mean_what_they_mean_in_go() {
        check(r"^\d+$", &["12"], &["", "١٢"]);
        check(r"^[\w.-]+$", &["a_b-c.1"], &["ä", "a b"]);
        check(r"^[\D]$", &["a"], &["1"]);
        check(r"^\Qa.b\E+$", &["a.bb"], &["axb"]);
        check(r"^a{,2}$", &["a{,2}"], &["aa"]);
        check(r"^x{2,3}$", &["xx", "xxx"], &["x", "xxxx"]);
        check(r"^[[a]$", &["[", "a"], &["]"]);
        check(r"^[a&&b~~-]+$", &["a&b~-"], &["c"]);
        check(r"^[]a]$", &["]", "a"], &["b"]);
        check(r"^[[:alpha:]_]+$", &["ab_"], &["1"]);
        check(r"^\<a\>\_\/$", &["<a>_/"], &["a"]);
        check(r"^\101$", &["A"], &["101"]);
        check(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", &["a-b"], &["-a", "a-"]);
        check(r"^(?i)abc$", &["ABC"], &["abd"]);
    }

    #[test]
    fn faults_are_told_in_the_words_of_go() {
        for (pattern, message) in [
            ("(abc", "error parsing regexp: missing closing ): `(abc`"),
            ("a)", "error parsing regexp: unexpected ): `a)`"),
            ("[a", "error parsing regexp: missing closing ]: `[a`"),
            ("(?=a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`"),
            ("(?<!a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?<!`"),
            (r"a\1", r"error parsing regexp: invalid escape sequence: `\1`"),
            ("*a", "error parsing regexp: missing argument to repetition operator: `*a`"),
            ("a{1001}", "error parsing regexp: invalid repeat count: `{1001}`"),
            ("a\\", "error parsing regexp: trailing backslash at end of expression: ``"),
        ] {
            assert_eq!(compile(pattern).unwrap_err(), message, "{pattern}");
        }
    }

    #[test]
    fn bombs_are_refused_and_not_built() {
        assert!(compile("((a{1000}){1000}){1000}").is_err());
        assert!(compile(&"(".repeat(100_000)).is_err());
        assert!(compile(&format!("{}a{}", "(".repeat(5000), ")".repeat(5000))).is_err());
        let slow = compile("^(a+)+$").unwrap();
        assert!(!slow.is_match(&format!("{}b", "a".repeat(100_000))));
    }

    proptest! {
        #[test]
        fn no_expression_panics(pattern in "[\\\\\\[\\](){}^$.*+?|a-c0-9,:QEdwsb&~<>!=-]{0,20}") {
            drop(compile(&pattern));
        }
    }
}
