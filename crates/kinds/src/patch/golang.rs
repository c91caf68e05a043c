//! Prints JSON values the way upstream's error messages do, so that users can search for the text they know.
//!
//! Invariant: only error paths come here; nothing is parsed back from this form.

use serde_json::{Map, Value};

/// `%v` of a decoded JSON value: `map[image:nginx name:web]`, `[a b]`, `<nil>`.
pub(crate) fn value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(b) => b.to_string(),
        Value::Number(n) => n.to_string(),
        Value::String(s) => s.clone(),
        Value::Array(items) => list(items),
        Value::Object(fields) => map(fields),
    }
}

/// `%v` of a list.
pub(crate) fn list(items: &[Value]) -> String {
    let parts: Vec<String> = items.iter().map(value).collect();
    format!("[{}]", parts.join(" "))
}

/// `%v` of a map: keys in order.
pub(crate) fn map(fields: &Map<String, Value>) -> String {
    let mut keys: Vec<&String> = fields.keys().collect();
    keys.sort();
    let parts: Vec<String> = keys.iter().map(|key| format!("{key}:{}", value(&fields[key.as_str()]))).collect();
    format!("map[{}]", parts.join(" "))
}

/// The name of the type a JSON value decodes to.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(n) if n.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// `%#v` of a decoded JSON value: `map[string]interface {}{"a":1}`.
pub(crate) fn syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        Value::String(text) => crate::error::quote(text),
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(syntax).collect();
            format!("[]interface {{}}{{{}}}", parts.join(", "))
        }
        Value::Object(fields) => {
            let parts: Vec<String> =
                fields.iter().map(|(name, value)| format!("{}:{}", crate::error::quote(name), syntax(value))).collect();
            format!("map[string]interface {{}}{{{}}}", parts.join(", "))
        }
    }
}
