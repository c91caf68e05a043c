//! Semantic versions.
//!
//! Invariant: versions compare by precedence, build metadata left out.

use semver::Version;

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::value::{Failure, Outcome, Special, Value};

pub(super) const ROWS: &[Row] = &[
    ("semver", Price::Traverse { keeps: false }, parse, &["(string) -> semver", "(string, bool) -> semver"]),
    ("isSemver", Price::Traverse { keeps: false }, is_semver, &["(string) -> bool", "(string, bool) -> bool"]),
    ("major", Price::One, major, &["semver.() -> int"]),
    ("minor", Price::One, minor, &["semver.() -> int"]),
    ("patch", Price::One, patch, &["semver.() -> int"]),
];

/// The version a text is; the second argument asks to overlook a leading `v`, missing parts and leading zeros.
fn read(args: &[Value<'_>]) -> Result<Result<Version, String>, Failure> {
    let text = args[0].want_str()?;
    Ok(match args.get(1).map(Value::want_bool).transpose()? {
        Some(true) => normalized(text).and_then(|text| strict(&text)),
        _ => strict(text),
    })
}

fn strict(text: &str) -> Result<Version, String> {
    let parts: Vec<&str> = text.splitn(3, '.').collect();
    let [major, minor, _] = parts[..] else {
        return Err(
            if text.is_empty() { "Version string empty" } else { "No Major.Minor.Patch elements found" }.to_owned()
        );
    };
    for (name, part) in [("major", major), ("minor", minor)] {
        if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("Invalid character(s) found in {name} number {part:?}"));
        }
        if part.len() > 1 && part.starts_with('0') {
            let name = if name == "major" { "Major" } else { "Minor" };
            return Err(format!("{name} number must not contain leading zeroes {part:?}"));
        }
    }
    Version::parse(text).map_err(|error| error.to_string())
}

fn normalized(text: &str) -> Result<String, String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<String> = text.splitn(3, '.').map(without_zeros).collect();
    if parts.len() < 3 && parts.last().is_some_and(|part| part.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3, "0".to_owned());
    Ok(parts.join("."))
}

fn without_zeros(part: &str) -> String {
    if part.len() < 2 {
        return part.to_owned();
    }
    let rest = part.trim_start_matches('0');
    if rest.starts_with(|c: char| c.is_ascii_digit()) { rest.to_owned() } else { format!("0{rest}") }
}

fn parse<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let version = read(args)?.map_err(Failure::new)?;
    Ok(Value::special(Special::Semver(version)))
}

fn is_semver<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(read(args)?.is_ok()))
}

fn part<'a>(args: &[Value<'a>], of: fn(&Version) -> u64) -> Outcome<'a> {
    match &args[0] {
        Value::Opaque(special) => match special.as_ref() {
            Special::Semver(version) => Ok(Value::Int(of(version) as i64)),
            _ => Err(Failure::no_overload()),
        },
        _ => Err(Failure::no_overload()),
    }
}

fn major<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |version| version.major)
}

fn minor<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |version| version.minor)
}

fn patch<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    part(args, |version| version.patch)
}
