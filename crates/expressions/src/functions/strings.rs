//! Strings, by characters.
//!
//! Invariant: indexes count characters, never bytes.

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::functions::formatting;
use crate::library::Row;
use crate::value::{Failure, Outcome, Value, characters};

pub(super) const ROWS: &[Row] = &[
    ("contains", Price::Contains, contains, &["string.(string) -> bool"]),
    ("startsWith", Price::Affix, starts_with, &["string.(string) -> bool"]),
    ("endsWith", Price::Affix, ends_with, &["string.(string) -> bool"]),
    ("charAt", Price::One, char_at, &["string.(int) -> string"]),
    ("lowerAscii", Price::Traverse { keeps: true }, lower_ascii, &["string.() -> string"]),
    ("upperAscii", Price::Traverse { keeps: true }, upper_ascii, &["string.() -> string"]),
    ("trim", Price::Traverse { keeps: true }, trim, &["string.() -> string"]),
    (
        "substring",
        Price::Traverse { keeps: true },
        substring,
        &["string.(int) -> string", "string.(int, int) -> string"],
    ),
    (
        "replace",
        Price::Replace,
        replace,
        &["string.(string, string) -> string", "string.(string, string, int) -> string"],
    ),
    ("split", Price::Split, split, &["string.(string) -> list(string)", "string.(string, int) -> list(string)"]),
    ("join", Price::Join, join, &["list(string).() -> string", "list(string).(string) -> string"]),
    ("strings.quote", Price::Quote, quote, &["(string) -> string"]),
    ("format", Price::Format, format, &["string.(list(dyn)) -> string"]),
    ("jsonpatch.escapeKey", Price::Traverse { keeps: true }, escape_key, &["(string) -> string"]),
];

fn contains<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(args[0].want_str()?.contains(args[1].want_str()?)))
}

fn starts_with<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(args[0].want_str()?.starts_with(args[1].want_str()?)))
}

fn ends_with<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(args[0].want_str()?.ends_with(args[1].want_str()?)))
}

fn out_of_range(at: i64) -> Failure {
    Failure::new(format!("index out of range: {at}"))
}

/// The byte where a character starts; the end for the one behind the last.
fn byte_of(text: &str, character: i64) -> Result<usize, Failure> {
    let wanted = usize::try_from(character).map_err(|_| out_of_range(character))?;
    let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.into_iter().nth(wanted).ok_or_else(|| out_of_range(character))
}

fn char_at<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = args[0].want_str()?;
    let start = byte_of(text, args[1].want_int()?)?;
    let found = text[start..].chars().next();
    Ok(Value::text(found.map(String::from).unwrap_or_default()))
}

fn lower_ascii<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(args[0].want_str()?.to_ascii_lowercase()))
}

fn upper_ascii<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(args[0].want_str()?.to_ascii_uppercase()))
}

fn trim<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(args[0].want_str()?.trim()))
}

fn substring<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let text = args[0].want_str()?;
    let start = args[1].want_int()?;
    let Some(end) = args.get(2) else { return Ok(Value::text(&text[byte_of(text, start)?..])) };
    let end = end.want_int()?;
    if start > end {
        return Err(Failure::new(format!("invalid substring range. start: {start}, end: {end}")));
    }
    Ok(Value::text(&text[byte_of(text, start)?..byte_of(text, end)?]))
}

fn replace<'a>(meter: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, old, new) = (args[0].want_str()?, args[1].want_str()?, args[2].want_str()?);
    let limit = match args.get(3) {
        Some(limit) => usize::try_from(limit.want_int()?).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let places = text.matches(old).take(limit).count() as u64;
    meter.allows((text.len() as u64).saturating_add(places.saturating_mul(new.len() as u64)))?;
    Ok(Value::text(text.replacen(old, new, limit)))
}

/// Go's split: an empty separator parts into characters; a limit of 0 gives nothing.
fn split<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (text, separator) = (args[0].want_str()?, args[1].want_str()?);
    let limit = match args.get(2) {
        Some(limit) => usize::try_from(limit.want_int()?).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    if limit == 0 {
        return Ok(Value::list(Vec::new()));
    }
    if !separator.is_empty() {
        return Ok(Value::list(text.splitn(limit, separator).map(Value::text).collect()));
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if parts.len() + 1 == limit {
            parts.push(Value::text(rest));
            break;
        }
        let (head, tail) = rest.split_at(first.len_utf8());
        parts.push(Value::text(head));
        rest = tail;
    }
    Ok(Value::list(parts))
}

fn join<'a>(meter: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let list = args[0].want_list()?;
    let separator = args.get(1).map_or(Ok(""), Value::want_str)?;
    let mut out = String::new();
    for (at, value) in list.values().enumerate() {
        let value = value?;
        let text = value.as_str().ok_or_else(|| Failure::new(format!("join: invalid input: {value}")))?;
        if at > 0 {
            out.push_str(separator);
        }
        out.push_str(text);
        meter.allows(out.len() as u64)?;
    }
    Ok(Value::text(out))
}

fn quote<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(quoted(args[0].want_str()?)))
}

/// The string as an expression would write it.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn format<'a>(meter: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let values = args[1].want_list()?.to_vec()?;
    formatting::format(meter, args[0].want_str()?, &values).map(Value::text)
}

fn escape_key<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(args[0].want_str()?.replace('~', "~0").replace('/', "~1")))
}

/// Where a string occurs in another, in characters; the first time or the last.
pub(super) fn position<'a>(args: &[Value<'a>], last: bool) -> Outcome<'a> {
    let (text, sought) = (args[0].want_str()?, args[1].want_str()?);
    let offset = args.get(2).map(Value::want_int).transpose()?;
    let length = characters(text) as i64;
    if sought.is_empty() {
        return Ok(Value::Int(offset.unwrap_or(if last { length } else { 0 })));
    }
    if offset.is_some_and(|offset| offset < 0) {
        return Err(out_of_range(offset.unwrap_or_default()));
    }
    let missing = Ok(Value::Int(-1));
    if offset.is_some_and(|offset| offset >= length) {
        return missing;
    }
    let found = if last {
        // It may start at the offset at the latest.
        let latest = byte_of(text, offset.unwrap_or(length))?;
        let mut end = latest.saturating_add(sought.len()).min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].rfind(sought)
    } else {
        let start = byte_of(text, offset.unwrap_or(0))?;
        text[start..].find(sought).map(|at| at + start)
    };
    found.map_or(missing, |at| Ok(Value::Int(characters(&text[..at]) as i64)))
}
