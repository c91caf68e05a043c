//! How functions are priced.
//!
//! Invariant: the price of a call depends on its arguments alone, so that it is known before the call is made.

use super::{PATTERN, TEXT};
use crate::value::{Special, Value};

/// A way to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Price {
    /// Its arguments only; of a chain maybe only the first.
    Free,
    /// The condition and one of two.
    Choice,
    One,
    /// One, whatever is known of the argument is known of the result.
    Dyn,
    Index,
    /// Once through a string; whether the result is about as long.
    Traverse {
        keeps: bool,
    },
    Twice,
    /// The part sought.
    Affix,
    Contains,
    Matches,
    Find,
    Replace,
    Split,
    Join,
    Quote,
    Format,
    ToBytes,
    ToText,
    Equal,
    Unequal,
    Order,
    Add,
    In,
    /// Once through a list that has not many elements.
    Includes,
    /// Once through a list and all it holds.
    Scan,
    Slice,
    Flatten,
    Sort,
    SortBy,
    Range,
    Reverse,
    Distinct,
    /// Every element of one list with every element of another, so often.
    Sets(u8),
    Ip,
    ContainsIp,
    ContainsCidr,
    Validate,
    /// Asking an authorizer; two in one expression are affordable.
    Check,
    Selector,
}

/// A question to an authorizer.
pub(super) const CHECK: u64 = 350_000;
/// What each requirement of a selector takes, of which there is one for every other character at most.
pub(super) const REQUIREMENT: f64 = 50.0;

fn ceil(value: f64) -> u64 {
    value.ceil() as u64
}

fn text(size: u64) -> u64 {
    ceil(size as f64 * TEXT)
}

fn pattern(text: u64, pattern: u64) -> u64 {
    ceil((1.0 + text as f64) * TEXT).saturating_mul(ceil(pattern as f64 * PATTERN))
}

/// Of an operation that makes a list.
fn listed(factor: f64, size: u64) -> u64 {
    ((size as f64 * factor) as u64).saturating_add(11)
}

/// Of comparing every element with every other.
fn squared(list: &Value<'_>) -> u64 {
    let size = list.size();
    let first = list.as_list().and_then(|list| list.get(0));
    let texts = matches!(first, Some(Ok(Value::Str(_) | Value::Text(_) | Value::Bytes(_))));
    listed(if texts { 2.0 + TEXT } else { 2.0 }, size.saturating_mul(size))
}

/// Of looking at all of a value.
fn traversal(value: &Value<'_>) -> u64 {
    match value {
        Value::Str(text) => (text.len() as f64 * TEXT) as u64,
        Value::Text(text) => (text.len() as f64 * TEXT) as u64,
        Value::Bytes(bytes) => (bytes.len() as f64 * TEXT) as u64,
        Value::Data(data) => json_traversal(data.json),
        Value::List(items, _) => items.iter().map(traversal).fold(0, u64::saturating_add),
        Value::Map(entries) | Value::Domains(entries) => {
            let parts = entries.values().flat_map(|(key, value)| [traversal(key), traversal(value)]);
            parts.fold(0, u64::saturating_add)
        }
        _ => 1,
    }
}

fn json_traversal(json: &serde_json::Value) -> u64 {
    match json {
        serde_json::Value::String(text) => (text.len() as f64 * TEXT) as u64,
        serde_json::Value::Array(items) => items.iter().map(json_traversal).sum(),
        serde_json::Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.len() as f64 * TEXT) as u64 + json_traversal(value)).sum()
        }
        _ => 1,
    }
}

fn is_text(value: &Value<'_>) -> bool {
    matches!(value, Value::Str(_) | Value::Text(_) | Value::Bytes(_))
}

impl Price {
    /// What a call with these arguments costs.
    pub(crate) fn actual(self, args: &[Value<'_>]) -> u64 {
        let size = |at: usize| args.get(at).map_or(1, Value::size);
        let whole = |at: usize| match args.get(at) {
            Some(Value::Int(value)) => u64::try_from(*value).unwrap_or(0),
            _ => 0,
        };
        let both_text = args.iter().take(2).all(is_text);
        match self {
            Self::Free | Self::Choice => 0,
            Self::One | Self::Dyn | Self::Index | Self::Includes => 1,
            Self::Ip if matches!(args.first(), Some(Value::Opaque(_))) => 1,
            Self::Traverse { .. } | Self::Affix | Self::Quote | Self::Format | Self::Ip => text(size(0)),
            Self::ToBytes => match args.first() {
                Some(Value::Bytes(_)) => 1,
                _ => text(size(0)),
            },
            Self::ToText => match args.first() {
                Some(Value::Bytes(_)) => text(size(0)),
                _ => 1,
            },
            Self::Twice | Self::Replace | Self::Split => ceil(size(0) as f64 * 2.0 * TEXT),
            Self::Join => ceil(joined(args) as f64 * 2.0 * TEXT),
            Self::Contains => text(size(0)).saturating_mul(text(size(1))),
            Self::Matches | Self::Find => pattern(size(0), size(1)),
            Self::Equal if matches!(args.first(), Some(Value::Opaque(_))) => 1,
            Self::Equal | Self::Unequal => text(size(0).min(size(1))),
            Self::Order if both_text => text(size(0).min(size(1))),
            Self::Add if both_text => text(size(0).saturating_add(size(1))),
            Self::Order | Self::Add => 1,
            Self::In => match args.get(1) {
                Some(list) if list.as_list().is_some() => size(1),
                _ => 1,
            },
            Self::Scan => args.first().map_or(0, traversal),
            Self::Slice => listed(1.0, whole(2).saturating_sub(whole(1)).min(size(0))),
            Self::Flatten => listed(if args.len() == 2 { whole(1) as f64 } else { 1.0 }, size(0)),
            Self::Sort | Self::Distinct => args.first().map_or(0, squared),
            Self::SortBy => args.get(1).map_or(0, squared),
            Self::Range => listed(1.0, whole(0)),
            Self::Reverse => listed(1.0, size(0)),
            Self::Sets(times) => size(0).saturating_mul(size(1)).saturating_mul(u64::from(times)).saturating_add(1),
            Self::ContainsIp | Self::ContainsCidr => {
                let compared = text(2 * size(0));
                let parsed = if args.get(1).is_some_and(is_text) { text(size(1)) } else { 0 };
                let masked = if self == Self::ContainsCidr { text(size(0)) + 1 } else { 0 };
                compared + parsed + masked
            }
            Self::Check => CHECK,
            Self::Selector => 10 + text(size(1)) + ceil(ceil(size(1) as f64 * 0.5) as f64 * REQUIREMENT),
            Self::Validate => match args.first() {
                Some(Value::Opaque(special)) => match special.as_ref() {
                    Special::Format(format) => pattern(size(1), format.pattern),
                    _ => 1,
                },
                _ => 1,
            },
        }
    }
}

/// How long a list of strings gets, joined.
fn joined(args: &[Value<'_>]) -> u64 {
    let Some(list) = args.first().and_then(Value::as_list) else { return 1 };
    let separator = args.get(1).map_or(0, Value::size);
    let texts = list.values().map(|value| value.map_or(0, |value| value.size()));
    let total = texts.fold(0u64, u64::saturating_add);
    total.saturating_add(separator.saturating_mul((list.len() as u64).saturating_sub(1)))
}
