//! Reading fields of a JSON object for a cell: absent and mistyped fields read as empty.
//!
//! Invariant: no function here fails or panics; the printers stay free of error paths.

use super::duration;
use base::quantity::Quantity;
use base::selector::LabelSelector;
use base::time::{self, Timestamp};
use serde_json::{Map, Value};

pub(super) const NONE: &str = "<none>";
pub(super) const UNSET: &str = "<unset>";
pub(super) const UNKNOWN: &str = "<unknown>";

/// The value at a dotted path.
pub(super) fn at<'o>(object: &'o Value, path: &str) -> Option<&'o Value> {
    path.split('.').try_fold(object, |value, name| value.get(name)).filter(|value| !value.is_null())
}

pub(super) fn text<'o>(object: &'o Value, path: &str) -> &'o str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The text at `path`, or `fallback` if there is none.
pub(super) fn text_or<'o>(object: &'o Value, path: &str, fallback: &'o str) -> &'o str {
    Some(text(object, path)).filter(|text| !text.is_empty()).unwrap_or(fallback)
}

pub(super) fn number(object: &Value, path: &str) -> i64 {
    at(object, path).and_then(Value::as_i64).unwrap_or_default()
}

pub(super) fn flag(object: &Value, path: &str) -> bool {
    at(object, path).and_then(Value::as_bool).unwrap_or_default()
}

pub(super) fn items<'o>(object: &'o Value, path: &str) -> &'o [Value] {
    at(object, path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

pub(super) fn fields<'o>(object: &'o Value, path: &str) -> Option<&'o Map<String, Value>> {
    at(object, path).and_then(Value::as_object)
}

/// How many entries the map or list at `path` has.
pub(super) fn count(object: &Value, path: &str) -> i64 {
    let len = match at(object, path) {
        Some(Value::Object(fields)) => fields.len(),
        Some(Value::Array(items)) => items.len(),
        _ => 0,
    };
    i64::try_from(len).unwrap_or(i64::MAX)
}

pub(super) fn name(object: &Value) -> Value {
    text(object, "metadata.name").into()
}

pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    since(object, "metadata.creationTimestamp", now).into()
}

pub(super) fn timestamp(object: &Value, path: &str) -> Option<Timestamp> {
    time::parse(text(object, path)).ok()
}

/// How long ago the time at `path` was.
pub(super) fn since(object: &Value, path: &str, now: Timestamp) -> String {
    elapsed(timestamp(object, path), now)
}

pub(super) fn elapsed(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| UNKNOWN.to_owned(), |at| duration::human(now.duration_since(at)))
}

pub(super) fn is_deleted(object: &Value) -> bool {
    at(object, "metadata.deletionTimestamp").is_some()
}

/// The condition of that type among `status.conditions`.
pub(super) fn condition<'o>(object: &'o Value, kind: &str) -> Option<&'o Value> {
    items(object, "status.conditions").iter().find(|condition| text(condition, "type") == kind)
}

pub(super) fn condition_is_true(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "status") == "True")
}

/// Labels as `a=b,c=d`.
pub(super) fn labels(object: &Value, path: &str) -> String {
    let Some(labels) = fields(object, path).filter(|labels| !labels.is_empty()) else { return NONE.to_owned() };
    let mut pairs: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    pairs.join(",")
}

/// The label selector at `path` in its textual form.
pub(super) fn selector(object: &Value, path: &str) -> String {
    match at(object, path).map(LabelSelector::from_json) {
        None => NONE.to_owned(),
        Some(Err(_)) => "<error>".to_owned(),
        Some(Ok(selector)) => Some(selector.to_string()).filter(|text| !text.is_empty()).unwrap_or(NONE.to_owned()),
    }
}

/// Names and images of the containers at `path`, each joined by commas.
pub(super) fn containers(object: &Value, path: &str) -> [Value; 2] {
    let containers = items(object, path);
    ["name", "image"].map(|field| join(containers.iter().map(|container| text(container, field)), ",").into())
}

pub(super) fn join<'t>(texts: impl IntoIterator<Item = &'t str>, separator: &str) -> String {
    texts.into_iter().collect::<Vec<_>>().join(separator)
}

/// The texts of a list of strings.
pub(super) fn texts<'o>(object: &'o Value, path: &str) -> impl Iterator<Item = &'o str> {
    items(object, path).iter().filter_map(Value::as_str)
}

/// A quantity in its canonical form; an absent one is `0`, as upstream's zero value prints.
pub(super) fn quantity(value: Option<&Value>) -> String {
    let written = match value {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => return "0".to_owned(),
    };
    written.parse::<Quantity>().map_or(written, |quantity| quantity.to_string())
}

/// An int-or-string as text.
pub(super) fn int_or_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// `a,b,c + 2 more...`: the first `max` of `texts`.
pub(super) fn some_of(texts: &[String], max: usize, empty: &str) -> String {
    let shown = texts.iter().take(max).map(String::as_str);
    match texts.len() {
        0 => empty.to_owned(),
        len if len > max => format!("{} + {} more...", join(shown, ","), len - max),
        _ => join(shown, ","),
    }
}

/// The group part of an `apiVersion`.
pub(super) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
