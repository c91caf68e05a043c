//! Absolute URLs.
//!
//! Invariant: parts are given as they were written. Why an own parser: the usual one is a browser's, which rewrites
//! hosts, ports and paths; users of the library see what Go's does.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::value::{Entries, Failure, Key, Outcome, Special, Value};

pub(super) const ROWS: &[Row] = &[
    ("url", Price::Traverse { keeps: true }, url, &["(string) -> url"]),
    ("isURL", Price::One, is_url, &["(string) -> bool"]),
    ("getScheme", Price::One, scheme, &["url.() -> string"]),
    ("getHost", Price::One, host, &["url.() -> string"]),
    ("getHostname", Price::One, hostname, &["url.() -> string"]),
    ("getPort", Price::One, port, &["url.() -> string"]),
    ("getEscapedPath", Price::One, path, &["url.() -> string"]),
    ("getQuery", Price::One, query, &["url.() -> map(string, list(string))"]),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    scheme: String,
    user: Option<String>,
    host: String,
    path: String,
    query: Option<String>,
    fragment: Option<String>,
}

/// A URL of a request line: absolute, or a path from the root. A fragment would be a part of the path there.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse_parts(text).map(drop).map_err(|reason| format!("parse {text:?}: {reason}"))
}

fn parse(text: &str) -> Result<Url, String> {
    check(text)?;
    let (rest, fragment) = match text.split_once('#') {
        Some((rest, fragment)) => (rest, Some(fragment.to_owned())),
        None => (text, None),
    };
    let url = parse_parts(rest).map_err(|reason| format!("parse {text:?}: {reason}"))?;
    Ok(Url { fragment, ..url })
}

fn parse_parts(text: &str) -> Result<Url, String> {
    if text.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    if text.is_empty() {
        return Err("empty url".to_owned());
    }
    let (scheme, rest) = split_scheme(text)?;
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, Some(query.to_owned())),
        None => (rest, None),
    };
    let mut url = Url { scheme, user: None, host: String::new(), path: String::new(), query, fragment: None };
    if !rest.starts_with('/') {
        // `mailto:somebody` has neither a host nor a path.
        return if url.scheme.is_empty() && rest != "*" { Err("invalid URI for request".to_owned()) } else { Ok(url) };
    }
    let mut path = rest;
    if let Some(authority) = rest.strip_prefix("//").filter(|_| !url.scheme.is_empty()) {
        let end = authority.find('/').unwrap_or(authority.len());
        path = &authority[end..];
        let (user, host) = match authority[..end].rsplit_once('@') {
            Some((user, host)) => (Some(user.to_owned()), host),
            None => (None, &authority[..end]),
        };
        url.user = user;
        url.host = checked_host(host)?;
    }
    unescaped(path, false)?;
    path.clone_into(&mut url.path);
    Ok(url)
}

fn split_scheme(text: &str) -> Result<(String, &str), String> {
    for (at, c) in text.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at > 0 => return Ok((text[..at].to_ascii_lowercase(), &text[at + 1..])),
            ':' => return Err("missing protocol scheme".to_owned()),
            _ => break,
        }
    }
    Ok((String::new(), text))
}

fn checked_host(host: &str) -> Result<String, String> {
    let after = match host.strip_prefix('[') {
        Some(rest) => {
            let end = rest.rfind(']').ok_or_else(|| "missing ']' in host".to_owned())?;
            &rest[end + 1..]
        }
        None => host.rfind(':').map_or("", |at| &host[at..]),
    };
    let port = after.strip_prefix(':');
    let valid = after.is_empty() || port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()));
    if !valid {
        return Err(format!("invalid port {after:?} after host"));
    }
    if let Some(bad) = host.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        return Err(format!("invalid character {:?} in host name", bad.to_string()));
    }
    unescaped(host, false)
}

/// Percent escapes replaced; of a query, pluses too.
fn unescaped(text: &str, query: bool) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'%' => {
                let digits = text.get(at + 1..at + 3).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
                let value = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                let shown: String = text[at..].chars().take(3).collect();
                out.push(value.ok_or_else(|| format!("invalid URL escape {shown:?}"))?);
                at += 3;
            }
            b'+' if query => {
                out.push(b' ');
                at += 1;
            }
            other => {
                out.push(*other);
                at += 1;
            }
        }
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:@[]/%".contains(&byte)
}

impl Url {
    fn hostname(&self) -> &str {
        match self.host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((inside, _)) => inside,
            None => self.host.split_once(':').map_or(&*self.host, |(name, _)| name),
        }
    }

    fn port(&self) -> &str {
        let after = self.host.rfind(']').map_or(&*self.host, |at| &self.host[at + 1..]);
        after.rsplit_once(':').map_or("", |(_, port)| port)
    }

    fn escaped_path(&self) -> String {
        let mut out = String::with_capacity(self.path.len());
        for byte in self.path.bytes() {
            if is_path_byte(byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    }

    fn query(&self) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for pair in self.query.as_deref().unwrap_or_default().split('&') {
            if pair.is_empty() || pair.contains(';') {
                continue;
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let (Ok(key), Ok(value)) = (unescaped(key, true), unescaped(value, true)) {
                found.entry(key).or_default().push(value);
            }
        }
        found
    }
}

fn want_url<'v>(value: &'v Value<'_>) -> Result<&'v Url, Failure> {
    match value {
        Value::Opaque(special) => match special.as_ref() {
            Special::Url(url) => Ok(url),
            _ => Err(Failure::no_overload()),
        },
        _ => Err(Failure::no_overload()),
    }
}

fn url<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let url = parse(args[0].want_str()?);
    let url = url.map_err(|reason| Failure::new(format!("URL parse error during conversion from string: {reason}")))?;
    Ok(Value::special(Special::Url(url)))
}

fn is_url<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(check(args[0].want_str()?).is_ok()))
}

fn scheme<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(&*want_url(&args[0])?.scheme))
}

fn host<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(&*want_url(&args[0])?.host))
}

fn hostname<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(want_url(&args[0])?.hostname()))
}

fn port<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(want_url(&args[0])?.port()))
}

fn path<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(want_url(&args[0])?.escaped_path()))
}

fn query<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let mut entries = Entries::new();
    for (key, values) in want_url(&args[0])?.query() {
        let key: Arc<str> = key.into();
        let values = Value::list(values.into_iter().map(Value::text).collect());
        entries.insert(Key::Text(key.clone()), (Value::Text(key), values));
    }
    Ok(Value::Map(Arc::new(entries)))
}
