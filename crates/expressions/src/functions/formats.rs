//! Named formats of strings.
//!
//! Invariant: a format is one row: its names, its rule, and the length of pattern its cost is counted by.

use base::name::{self, Verdict};
use base64::Engine;

use crate::clock;
use crate::cost::price::Price;
use crate::eval::Meter;
use crate::functions::urls;
use crate::library::Row;
use crate::value::{Failure, Outcome, Special, Value};

pub(super) const ROWS: &[Row] = &[
    ("format.named", Price::One, named, &["(string) -> optional(format)"]),
    ("validate", Price::Validate, validate, &["format.(string) -> optional(list(string))"]),
    ("format.dns1123Label", Price::One, dns1123_label, FORMAT),
    ("format.dns1123Subdomain", Price::One, dns1123_subdomain, FORMAT),
    ("format.dns1035Label", Price::One, dns1035_label, FORMAT),
    ("format.qualifiedName", Price::One, qualified_name, FORMAT),
    ("format.dns1123LabelPrefix", Price::One, dns1123_label_prefix, FORMAT),
    ("format.dns1123SubdomainPrefix", Price::One, dns1123_subdomain_prefix, FORMAT),
    ("format.dns1035LabelPrefix", Price::One, dns1035_label_prefix, FORMAT),
    ("format.labelValue", Price::One, label_value, FORMAT),
    ("format.uri", Price::One, uri, FORMAT),
    ("format.uuid", Price::One, uuid, FORMAT),
    ("format.byte", Price::One, byte, FORMAT),
    ("format.date", Price::One, date, FORMAT),
    ("format.datetime", Price::One, datetime, FORMAT),
];

const FORMAT: &[&str] = &["() -> format"];

/// A rule for strings.
#[derive(Debug)]
pub struct NamedFormat {
    pub(crate) name: &'static str,
    pub(crate) pattern: u64,
    rule: fn(&str) -> Verdict,
}

/// How upstream estimates a date-time's and a UUID's pattern.
const DATE_TIME: u64 = 70;
const UUID: u64 = 70;

static FORMATS: [(&str, NamedFormat); 13] = [
    ("dns1123Label", NamedFormat { name: "DNS1123Label", pattern: 30, rule: name::dns_label }),
    ("dns1123Subdomain", NamedFormat { name: "DNS1123Subdomain", pattern: 60, rule: name::dns_subdomain }),
    ("dns1035Label", NamedFormat { name: "DNS1035Label", pattern: 30, rule: name::dns1035_label }),
    ("qualifiedName", NamedFormat { name: "QualifiedName", pattern: 60, rule: name::qualified_name }),
    (
        "dns1123LabelPrefix",
        NamedFormat { name: "DNS1123LabelPrefix", pattern: 30, rule: |text| name::dns_label(&completed(text)) },
    ),
    (
        "dns1123SubdomainPrefix",
        NamedFormat { name: "DNS1123SubdomainPrefix", pattern: 60, rule: |text| name::dns_subdomain(&completed(text)) },
    ),
    (
        "dns1035LabelPrefix",
        NamedFormat { name: "DNS1035LabelPrefix", pattern: 30, rule: |text| name::dns1035_label(&completed(text)) },
    ),
    ("labelValue", NamedFormat { name: "LabelValue", pattern: 40, rule: name::label_value }),
    ("uri", NamedFormat { name: "URI", pattern: 1103, rule: |text| urls::check(text).map_err(Into::into) }),
    (
        "uuid",
        NamedFormat { name: "uuid", pattern: UUID, rule: |text| rule(is_uuid(text), "does not match the UUID format") },
    ),
    ("byte", NamedFormat { name: "byte", pattern: 84, rule: |text| rule(is_base64(text), "invalid base64") }),
    (
        "date",
        NamedFormat {
            name: "date",
            pattern: DATE_TIME,
            rule: |text| rule(clock::parse_date(text).is_some(), "invalid date"),
        },
    ),
    (
        "datetime",
        NamedFormat {
            name: "datetime",
            pattern: DATE_TIME,
            rule: |text| rule(clock::parse_date_time(text).is_some(), "invalid datetime"),
        },
    ),
];

fn rule(holds: bool, reason: &str) -> Verdict {
    if holds { Ok(()) } else { Err(reason.into()) }
}

/// What a prefix becomes when a suffix follows: a dash may be its last character.
fn completed(prefix: &str) -> String {
    match prefix.strip_suffix('-') {
        Some(rest) if !rest.is_empty() => format!("{rest}a"),
        _ => prefix.to_owned(),
    }
}

/// 32 hexadecimal digits; dashes may stand between the groups.
fn is_uuid(text: &str) -> bool {
    let mut digits = 0;
    let mut previous = ' ';
    for c in text.chars() {
        match c {
            '-' if previous != '-' && matches!(digits, 8 | 12 | 16 | 20) => {}
            c if c.is_ascii_hexdigit() => digits += 1,
            _ => return false,
        }
        previous = c;
    }
    digits == 32
}

fn is_base64(text: &str) -> bool {
    !text.is_empty() && base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

fn made<'a>(name: &str) -> Outcome<'a> {
    let found = FORMATS.iter().find(|(known, _)| *known == name);
    Ok(found.map_or(Value::NONE, |(_, format)| Value::special(Special::Format(format))))
}

fn named<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(match made(args[0].want_str()?)? {
        Value::Optional(None) => Value::NONE,
        found => Value::some(found),
    })
}

fn validate<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let Value::Opaque(special) = &args[0] else { return Err(Failure::no_overload()) };
    let Special::Format(format) = special.as_ref() else { return Err(Failure::no_overload()) };
    Ok(match (format.rule)(args[1].want_str()?) {
        Ok(()) => Value::NONE,
        Err(reasons) => Value::some(Value::list(reasons.into_iter().map(Value::text).collect())),
    })
}

macro_rules! constants {
    ($($function:ident = $name:literal;)*) => {
        $(fn $function<'a>(_: &mut Meter<'a>, _: &[Value<'a>]) -> Outcome<'a> {
            made($name)
        })*
    };
}

constants! {
    dns1123_label = "dns1123Label";
    dns1123_subdomain = "dns1123Subdomain";
    dns1035_label = "dns1035Label";
    qualified_name = "qualifiedName";
    dns1123_label_prefix = "dns1123LabelPrefix";
    dns1123_subdomain_prefix = "dns1123SubdomainPrefix";
    dns1035_label_prefix = "dns1035LabelPrefix";
    label_value = "labelValue";
    uri = "uri";
    uuid = "uuid";
    byte = "byte";
    date = "date";
    datetime = "datetime";
}
