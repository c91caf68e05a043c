//! Matching with regular expressions, in time linear in the text.
//!
//! Invariant: a pattern's automaton is bounded; one that would be larger is refused like one that cannot be read.

use regex::{Regex, RegexBuilder};

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::value::{Outcome, Value};

/// The most memory a compiled pattern may take.
const AUTOMATON: usize = 1 << 20;

pub(super) const ROWS: &[Row] = &[
    ("matches", Price::Matches, matches, &["(string, string) -> bool", "string.(string) -> bool"]),
    ("find", Price::Find, find, &["string.(string) -> string"]),
    ("findAll", Price::Find, find_all, &["string.(string) -> list(string)", "string.(string, int) -> list(string)"]),
];

/// What is wrong with a pattern, in the words of our engine and in those users know.
const REASONS: [(&str, &str); 6] = [
    ("unclosed group", "missing closing )"),
    ("unopened group", "unexpected )"),
    ("unclosed character class", "missing closing ]"),
    ("repetition operator missing expression", "missing argument to repetition operator"),
    ("invalid character class range", "invalid character class range"),
    ("unrecognized escape sequence", "invalid escape sequence"),
];

/// The automaton of a pattern, or what is wrong with it.
pub(crate) fn compile(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(AUTOMATON).dfa_size_limit(AUTOMATON).nest_limit(100).build().map_err(
        |error| {
            let text = error.to_string();
            let reason = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let reason = REASONS.iter().find(|(ours, _)| reason.starts_with(ours)).map_or(reason, |(_, theirs)| theirs);
            format!("error parsing regexp: {reason}: `{pattern}`")
        },
    )
}

fn matches<'a>(meter: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, pattern) = (args[0].want_str()?, args[1].want_str()?);
    Ok(Value::Bool(meter.regex(pattern)?.is_match(text)))
}

fn find<'a>(meter: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, pattern) = (args[0].want_str()?, args[1].want_str()?);
    let found = meter.regex(pattern)?.find(text).map_or("", |found| found.as_str()).to_owned();
    Ok(Value::text(found))
}

fn find_all<'a>(meter: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, pattern) = (args[0].want_str()?, args[1].want_str()?);
    let limit = match args.get(2) {
        Some(limit) => usize::try_from(limit.want_int()?).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let regex = meter.regex(pattern)?;
    Ok(Value::list(regex.find_iter(text).take(limit).map(|found| Value::text(found.as_str())).collect()))
}
