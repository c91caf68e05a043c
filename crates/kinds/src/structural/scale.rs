//! The `scale` subresource of a custom resource: three paths into it.

use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::json::text;
use crate::validate::Faults;

/// Where the numbers of a Scale stand in the object; the paths as they were written.
#[derive(Debug)]
pub(crate) struct Scale {
    spec: String,
    status: String,
    selector: Option<String>,
}

/// What is at a path.
enum Found<T> {
    Nothing,
    Value(T),
    /// In the words of apimachinery's `unstructured`.
    Wrong(String),
}

impl Scale {
    pub(crate) fn read(scale: &Value) -> Option<Scale> {
        let path = |name: &str| text(scale, name).to_owned();
        scale.is_object().then(|| Scale {
            spec: path("specReplicasPath"),
            status: path("statusReplicasPath"),
            selector: Some(path("labelSelectorPath")).filter(|path| !path.is_empty()),
        })
    }

    pub(crate) fn spec_path(&self) -> &str {
        &self.spec
    }

    /// The members that lead to the wanted number.
    pub(crate) fn spec_names(&self) -> impl Iterator<Item = &str> {
        names(&self.spec)
    }

    /// How many are wanted.
    pub(crate) fn wanted(&self, object: &Value) -> Option<i64> {
        match number(object, &self.spec) {
            Found::Value(count) => Some(count),
            _ => None,
        }
    }

    /// How many there are.
    pub(crate) fn present(&self, object: &Value) -> i64 {
        match number(object, &self.status) {
            Found::Value(count) => count,
            _ => 0,
        }
    }

    /// The selector in text form.
    pub(crate) fn selector(&self, object: &Value) -> String {
        match self.selector.as_deref().map(|path| label(object, path)) {
            Some(Found::Value(text)) => text,
            _ => String::new(),
        }
    }

    pub(crate) fn set(&self, object: &mut Value, replicas: i64) {
        let mut place = object;
        for name in names(&self.spec) {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            let Value::Object(members) = place else { return };
            place = members.entry(name).or_insert(Value::Null);
        }
        *place = replicas.into();
    }

    /// Whether the numbers are some. `whole` is false where only the status was written.
    pub(crate) fn check(&self, object: &Value, whole: bool, faults: &mut Faults) {
        for path in [Some(&self.spec).filter(|_| whole), Some(&self.status)].into_iter().flatten() {
            let (count, detail) = match number(object, path) {
                Found::Wrong(why) => (0, why),
                Found::Value(count) if count < 0 => (count, "should be a non-negative integer".to_owned()),
                Found::Value(count) if count > i64::from(i32::MAX) => {
                    (count, format!("should be less than or equal to {}", i32::MAX))
                }
                _ => continue,
            };
            faults.push(FieldError::invalid(path, count, detail));
        }
        if let Some(path) = &self.selector
            && let Found::Wrong(why) = label(object, path)
        {
            faults.push(FieldError::invalid(path, "", why));
        }
    }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('.').unwrap_or(path).split('.')
}

fn find<'v>(object: &'v Value, path: &str) -> Found<&'v Value> {
    let mut value = object;
    for (depth, name) in names(path).enumerate() {
        match value {
            Value::Object(members) => match members.get(name) {
                Some(next) => value = next,
                None => return Found::Nothing,
            },
            Value::Null => return Found::Nothing,
            other => {
                let above: Vec<&str> = names(path).take(depth).collect();
                let text = above.join(".");
                let why = format!(
                    "{path} accessor error: {other} is of the type {}, expected map[string]interface{{}}",
                    go_type(other)
                );
                return Found::Wrong(if text.is_empty() { why } else { why.replace(path, &format!(".{text}")) });
            }
        }
    }
    Found::Value(value)
}

fn number(object: &Value, path: &str) -> Found<i64> {
    match find(object, path) {
        Found::Value(value) => match value.as_i64() {
            Some(count) => Found::Value(count),
            None => wrong(path, value, "int64"),
        },
        Found::Nothing => Found::Nothing,
        Found::Wrong(why) => Found::Wrong(why),
    }
}

fn label(object: &Value, path: &str) -> Found<String> {
    match find(object, path) {
        Found::Value(Value::String(text)) => Found::Value(text.clone()),
        Found::Value(value) => wrong(path, value, "string"),
        Found::Nothing => Found::Nothing,
        Found::Wrong(why) => Found::Wrong(why),
    }
}

fn wrong<T>(path: &str, value: &Value, wanted: &str) -> Found<T> {
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Found::Wrong(format!("{path} accessor error: {shown} is of the type {}, expected {wanted}", go_type(value)))
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::String(_) => "string",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}
