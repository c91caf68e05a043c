//! The formats that schemas of custom resources may name, each a predicate over a text or a range of numbers.
//!
//! Invariant: a format that Kubernetes does not know for a type is no format: it is left out when a schema is read. The
//! predicates follow kube-openapi's strfmt, oddities included, because objects that were stored must stay valid.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::OnceLock;

use regex::Regex;

use super::node::Form;

/// A known format.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    name: &'static str,
    holds: Predicate,
}

type Predicate = fn(&str) -> bool;

/// Names without dashes, as they are compared.
static TEXTS: &[(&str, Predicate)] = &[
    ("bsonobjectid", |text| text.len() == 24 && text.bytes().all(|byte| byte.is_ascii_hexdigit())),
    ("uri", is_uri),
    ("email", is_email),
    ("hostname", is_hostname),
    ("ipv4", |text| text.contains('.') && address(text).is_some()),
    ("ipv6", |text| text.contains(':') && text.parse::<Ipv6Addr>().is_ok()),
    ("cidr", is_cidr),
    ("mac", is_mac),
    ("uuid", |text| is_uuid(text, None)),
    ("uuid3", |text| is_uuid(text, Some(b'3'))),
    ("uuid4", |text| is_uuid(text, Some(b'4'))),
    ("uuid5", |text| is_uuid(text, Some(b'5'))),
    ("isbn", |text| is_isbn10(text) || is_isbn13(text)),
    ("isbn10", is_isbn10),
    ("isbn13", is_isbn13),
    ("creditcard", is_credit_card),
    ("ssn", |text| matches(&SSN, r"^[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}$", text)),
    ("hexcolor", |text| matches(&HEX, "^#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$", text)),
    ("rgbcolor", |text| matches(&RGB, RGB_PATTERN, text)),
    ("byte", |text| matches(&BASE64, BASE64_PATTERN, text)),
    ("password", |_| true),
    ("date", is_date),
    ("duration", is_duration),
    ("datetime", is_date_time),
    ("k8sshortname", |text| text.len() <= 63 && is_label(text)),
    ("k8slongname", |text| text.len() <= 253 && text.split('.').all(is_label)),
];

impl Format {
    /// The format of that name, if it is one for values of that form.
    pub(crate) fn of(form: Form, name: &str) -> Option<Format> {
        let (names, holds): (&[&'static str], Predicate) = match form {
            Form::Any | Form::String => {
                let plain = name.replace('-', "");
                return TEXTS
                    .iter()
                    .find(|(known, _)| *known == plain)
                    .map(|(known, holds)| Format { name: published(known, name), holds: *holds });
            }
            Form::Integer => (&["int32", "int64"], |_| true),
            Form::Number => (&["float", "double"], |_| true),
            _ => (&[], |_| true),
        };
        names.iter().find(|known| **known == name).map(|name| Format { name, holds })
    }

    /// As it stands in the schema.
    pub(crate) fn name(self) -> &'static str {
        self.name
    }

    pub(crate) fn holds(self, text: &str) -> bool {
        (self.holds)(text)
    }
}

/// Messages repeat the name as it was written; only these few are written with dashes.
fn published(known: &'static str, written: &str) -> &'static str {
    ["date-time", "k8s-short-name", "k8s-long-name"].into_iter().find(|name| *name == written).unwrap_or(known)
}

/// Whether Kubernetes knows the format for the type.
pub(crate) fn is_known(form: &str, name: &str) -> bool {
    Format::of(Form::parse(form), name).is_some()
}

static SSN: OnceLock<Regex> = OnceLock::new();
static HEX: OnceLock<Regex> = OnceLock::new();
static RGB: OnceLock<Regex> = OnceLock::new();
static BASE64: OnceLock<Regex> = OnceLock::new();
static HOST: OnceLock<Regex> = OnceLock::new();
static CARD: OnceLock<Regex> = OnceLock::new();
static TIME: OnceLock<Regex> = OnceLock::new();
static SPAN: OnceLock<Regex> = OnceLock::new();

const RGB_PATTERN: &str = r"^rgb\(\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*,\s*(0|[1-9][0-9]?|1[0-9][0-9]?|2[0-4][0-9]|25[0-5])\s*\)$";
const BASE64_PATTERN: &str = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})$";
const HOST_PATTERN: &str = r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$";
const CARD_PATTERN: &str = "^(?:4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11})$";

fn matches(held: &OnceLock<Regex>, pattern: &str, text: &str) -> bool {
    held.get_or_init(|| Regex::new(pattern).expect("invariant: the expressions of formats are constants"))
        .is_match(text)
}

/// An absolute address or a rooted path, with a scheme for all but paths.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return false;
    }
    let path = text.split_once('#').map_or(text, |(before, _)| before);
    let escapes_are_whole = path.split('%').skip(1).all(|rest| {
        let digits = rest.as_bytes();
        digits.len() >= 2 && digits[..2].iter().all(u8::is_ascii_hexdigit)
    });
    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return text.starts_with('/') && escapes_are_whole || text == "*";
    };
    let hosted = rest.strip_prefix("//");
    let host = hosted.map_or("", |rest| rest.split(['/', '?']).next().unwrap_or_default());
    !scheme.is_empty() && !rest.is_empty() && !host.contains(' ') && escapes_are_whole
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// `a@b`, or `Name <a@b>`, as Go's net/mail reads an address.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>').and_then(|text| text.split_once('<')) {
        Some((_, address)) => address,
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    let dotted =
        |text: &str| !text.is_empty() && text.split('.').all(|part| !part.is_empty() && part.chars().all(atom));
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    (quoted || dotted(local)) && (dotted(domain) || (domain.starts_with('[') && domain.ends_with(']')))
}

fn is_hostname(text: &str) -> bool {
    text.len() <= 255 && text.split('.').all(|part| part.len() <= 63) && matches(&HOST, HOST_PATTERN, text)
}

/// An address whose parts may have leading zeros.
fn address(text: &str) -> Option<IpAddr> {
    let Some(tail) = text.rsplit(':').next().filter(|tail| tail.contains('.')) else { return text.parse().ok() };
    let parts: Vec<String> = tail
        .split('.')
        .map(|part| {
            let bare = part.trim_start_matches('0');
            if bare.is_empty() && !part.is_empty() { "0".to_owned() } else { bare.to_owned() }
        })
        .collect();
    format!("{}{}", &text[..text.len() - tail.len()], parts.join(".")).parse().ok()
}

fn is_cidr(text: &str) -> bool {
    let Some((base, bits)) = text.split_once('/') else { return false };
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let most = match address(base) {
        Some(IpAddr::V4(_)) => 32,
        Some(IpAddr::V6(_)) => 128,
        None => return false,
    };
    digits && bits.parse::<u32>().is_ok_and(|bits| bits <= most)
}

/// Six, eight or twenty octets, by colons or dashes, or in pairs by dots.
fn is_mac(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    [':', '-'].into_iter().any(|separator| {
        let parts: Vec<&str> = text.split(separator).collect();
        matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|part| hex(part, 2))
    }) || {
        let parts: Vec<&str> = text.split('.').collect();
        matches!(parts.len(), 3 | 4 | 10) && parts.iter().all(|part| hex(part, 4))
    }
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let mut rest = text;
    let mut parts = Vec::new();
    for length in [8, 4, 4, 4, 12] {
        if length != 8 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(part) = rest.get(..length).filter(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit())) else {
            return false;
        };
        parts.push(part);
        rest = &rest[length..];
    }
    let variant = matches!(parts[3].as_bytes()[0].to_ascii_lowercase(), b'8' | b'9' | b'a' | b'b');
    let right = match version {
        None => true,
        Some(b'3') => parts[2].as_bytes()[0] == b'3',
        Some(version) => parts[2].as_bytes()[0] == version && variant,
    };
    rest.is_empty() && right
}

/// The digits without dashes and spaces.
fn compact(text: &str) -> Vec<u8> {
    text.bytes().filter(|byte| !matches!(byte, b'-' | b' ' | b'\t' | b'\n' | b'\r' | 0x0c)).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = compact(text);
    let shaped = digits.len() == 10
        && digits[..9].iter().all(u8::is_ascii_digit)
        && (digits[9].is_ascii_digit() || digits[9] == b'X');
    let value = |byte: u8| if byte == b'X' { 10 } else { u32::from(byte - b'0') };
    shaped && digits.iter().zip(1..).map(|(byte, place)| value(*byte) * place).sum::<u32>() % 11 == 0
}

fn is_isbn13(text: &str) -> bool {
    let digits = compact(text);
    let shaped = digits.len() == 13 && digits.iter().all(u8::is_ascii_digit);
    let weights = [1, 3].into_iter().cycle();
    shaped && digits.iter().zip(weights).map(|(byte, weight)| u32::from(byte - b'0') * weight).sum::<u32>() % 10 == 0
}

/// A number of a known issuer whose check digit is right.
fn is_credit_card(text: &str) -> bool {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    let doubled = |(place, digit): (usize, u8)| {
        let value = u32::from(digit - b'0');
        match (place % 2, value * 2) {
            (0, _) => value,
            (_, twice) if twice > 9 => twice - 9,
            (_, twice) => twice,
        }
    };
    matches(&CARD, CARD_PATTERN, &digits) && digits.bytes().rev().enumerate().map(doubled).sum::<u32>() % 10 == 0
}

fn is_date(text: &str) -> bool {
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        text.get(range).filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
    };
    let bytes = text.as_bytes();
    if bytes.len() != 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return false;
    }
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else { return false };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let last = match month {
        2 => 28 + u32::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    (1..=12).contains(&month) && (1..=last).contains(&day)
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_lowercase();
    let mut parts = lower.split('t');
    let (Some(date), Some(time)) = (parts.next(), parts.next()) else { return false };
    let pattern = "^([0-9]{2}):([0-9]{2}):([0-9]{2})(.[0-9]+)?(z|([+-][0-9]{2}:[0-9]{2}))$";
    is_date(date) && matches(&TIME, pattern, time) && &time[0..2] <= "23" && &time[3..5] <= "59" && &time[6..8] <= "59"
}

/// Go's durations, or a number with one of Scala's words for a unit.
fn is_duration(text: &str) -> bool {
    if is_go_duration(text) {
        return true;
    }
    const UNITS: [&[&str]; 8] = [
        &["ns", "nano"],
        &["us", "µs", "micro"],
        &["ms", "milli"],
        &["s", "sec"],
        &["m", "min"],
        &["h", "hr", "hour"],
        &["d", "day"],
        &["w", "wk", "week"],
    ];
    let held = SPAN.get_or_init(|| Regex::new(r"([0-9]+)\s*([A-Za-zµ]+)").expect("invariant: a constant"));
    let mut found = false;
    for part in held.captures_iter(text) {
        if part[1].parse::<i64>().is_err() {
            return false;
        }
        let unit = part[2].to_lowercase();
        found |= UNITS.iter().any(|names| {
            let long = names.last().is_some_and(|long| unit.starts_with(long));
            long || names.iter().any(|name| *name == unit)
        });
    }
    found
}

/// `1h2m3.5s`, with a sign; `0` needs no unit.
pub(crate) fn is_go_duration(text: &str) -> bool {
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number = &rest[..digits];
        if number.matches('.').count() > 1 || !number.bytes().any(|byte| byte.is_ascii_digit()) {
            return false;
        }
        rest = &rest[digits..];
        let Some(unit) = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"]
            .into_iter()
            .find(|unit| rest.strip_prefix(unit).is_some_and(|after| !after.starts_with(|c: char| c.is_alphabetic())))
        else {
            return false;
        };
        rest = &rest[unit.len()..];
    }
    true
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(inner) && text.bytes().last().is_some_and(inner);
    ends && text.bytes().all(|byte| inner(byte) || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(format: &str, good: &[&str], bad: &[&str]) {
        let format = Format::of(Form::String, format).unwrap();
        for text in good {
            assert!(format.holds(text), "{text:?} is a {}", format.name());
        }
        for text in bad {
            assert!(!format.holds(text), "{text:?} is no {}", format.name());
        }
    }

    #[test]
    fn formats_hold_as_upstream_has_them() {
        check(
            "uri",
            &["http://a.b/c?d#e", "/a/b", "urn:x", "http://[::1]:80/"],
            &["", "a b", "a/b", "http://a b/", "/%zz"],
        );
        check("email", &["a@b.c", "A B <a.b+c@d>"], &["a", "a@", "@b", "a b@c"]);
        check("hostname", &["a", "a-b.example", "a.b.example.com", "münchen.de"], &["", "-a", "a_b", "a.b.c1"]);
        check("ipv4", &["1.2.3.4", "010.0.0.1"], &["1.2.3", "::1", "256.1.1.1"]);
        check("ipv6", &["::1", "fe80::1:2", "::ffff:1.2.3.4"], &["1.2.3.4", "1::2::3"]);
        check("cidr", &["10.0.0.0/8", "fd00::/64", "010.0.0.0/08"], &["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/+8"]);
        check("mac", &["01:23:45:67:89:ab", "01-23-45-67-89-ab", "0123.4567.89ab"], &["01:23:45", "0123456789ab"]);
        check("uuid", &["A987FBC9-4BED-3078-CF07-9141BA07C9F3", "a987fbc94bed3078cf079141ba07c9f3"], &["a987", "ä"]);
        check("uuid3", &["A987FBC9-4BED-3078-CF07-9141BA07C9F3"], &["A987FBC9-4BED-4078-8F07-9141BA07C9F3"]);
        check("uuid4", &["57B73598-8764-4AD0-A76A-679BB6640EB1"], &["57B73598-8764-4AD0-C76A-679BB6640EB1"]);
        check("uuid5", &["987FBC97-4BED-5078-BF07-9141BA07C9F3"], &["987FBC97-4BED-3078-BF07-9141BA07C9F3"]);
        check("isbn10", &["0321751043", "3-8362-2119-5"], &["0321751044", "x"]);
        check("isbn13", &["978-0321751041"], &["978-0321751042"]);
        check("isbn", &["0321751043", "978 0321751041"], &["1"]);
        check("creditcard", &["4111-1111-1111-1111", "375556917985515"], &["4111111111111112", "foo"]);
        check("ssn", &["111-22-3333", "111 22 3333"], &["1112-23333"]);
        check("hexcolor", &["#FFFFFF", "fff"], &["#ff", "#12345G"]);
        check("rgbcolor", &["rgb(255,255,255)", "rgb( 1 , 2 , 3 )"], &["rgb(300,0,0)", "rgb(1,2)"]);
        check("byte", &["aGVsbG8=", "QUJD"], &["", "a", "QUJD=", "a-b_"]);
        check("password", &["", "anything"], &[]);
        check("date", &["2024-02-29", "1999-12-31"], &["2023-02-29", "2024-1-1", "2024-13-01", "20240101"]);
        check(
            "date-time",
            &["2014-12-15T19:30:20.000Z", "2014-12-15t19:30:20+01:00"],
            &["2014-12-15", "2014-12-15T24:00:00Z"],
        );
        check("duration", &["1h", "1h2m3.5s", "22 ns", "3 days", "2 weeks", "0"], &["", "x", "5 parsecs", "1"]);
        check("bsonobjectid", &["507f1f77bcf86cd799439011"], &["507f"]);
        check("k8s-short-name", &["a-1"], &["A", "-a", "a.b"]);
        check("k8s-long-name", &["a.b-c"], &["a..b", "A"]);
    }

    #[test]
    fn a_format_belongs_to_a_type() {
        assert!(is_known("integer", "int32") && is_known("number", "double") && is_known("", "uuid"));
        assert!(!is_known("integer", "date") && !is_known("string", "int32") && !is_known("object", "uri"));
        assert!(!is_known("string", "phone"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            TEXTS.iter().for_each(|(_, holds)| { holds(&text); });
        }
    }
}
