//! Values of a wrong JSON type are refused before anything else looks at them, in the words of Go's decoder.
//!
//! Invariant: after `coerce` accepted an object, every known field has its type (or is null), so the rest of the engine
//! may trust shapes. Unknown fields are not looked at. Why an error and no conversion: Go's decoder does not convert either.

use base::Quantity;
use serde_json::Value;

use crate::catalog::Kind;
use crate::decode::DecodeError;
use crate::schema::{Schema, Type, TypeId, schema};

/// Checks the JSON types of all known fields of an object.
pub fn coerce(kind: &Kind, value: &Value) -> Result<(), DecodeError> {
    let checked = match &kind.custom {
        Some(custom) => custom.coerce(value),
        None => coerce_type(kind.schema, value),
    };
    checked.map_err(|error| {
        let (name, version) = (&kind.kind, &kind.version);
        DecodeError::Type(format!("{name} in version \"{version}\" cannot be handled as a {name}: {error}"))
    })
}

/// Checks a value against any built-in type.
pub fn coerce_type(id: TypeId, value: &Value) -> Result<(), DecodeError> {
    let walk = Walk { schema: schema(), parent: None };
    walk.check(id, value, &Place { above: None, name: "" })
}

struct Place<'a> {
    above: Option<&'a Place<'a>>,
    name: &'a str,
}

impl Place<'_> {
    /// The dotted names, without places in lists, as Go prints them.
    fn text(&self) -> String {
        match self.above.map(Place::text) {
            Some(above) if !above.is_empty() => format!("{above}.{}", self.name),
            _ => self.name.to_owned(),
        }
    }
}

struct Walk<'s> {
    schema: &'s Schema,
    /// The struct whose field is looked at.
    parent: Option<TypeId>,
}

impl Walk<'_> {
    fn check(&self, id: TypeId, value: &Value, place: &Place<'_>) -> Result<(), DecodeError> {
        let fits = match (self.schema.ty(id), value) {
            (Type::Json, Value::Object(_) | Value::Array(_)) => return self.opened(id, value, place),
            (_, Value::Null) | (Type::Json, _) => true,
            (Type::Object, Value::Object(members)) => {
                let definition = self.schema.object(id);
                let inner = Walk { schema: self.schema, parent: Some(id) };
                for (name, member) in members {
                    if let Some(field) = definition.field(name) {
                        inner.check(field.ty, member, &Place { above: Some(place), name })?;
                    }
                }
                true
            }
            (Type::List(item), Value::Array(items)) => {
                return items.iter().try_for_each(|value| self.check(item, value, place));
            }
            (Type::Map(item), Value::Object(members)) => {
                return members.values().try_for_each(|value| self.check(item, value, place));
            }
            (Type::Raw | Type::FieldsV1, Value::Object(_)) | (Type::String, Value::String(_)) => true,
            (Type::Boolean, Value::Bool(_)) | (Type::Number, Value::Number(_)) => true,
            (Type::Integer64, Value::Number(number)) => number.is_i64(),
            (Type::Integer32, Value::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Type::IntOrString, Value::String(_)) => true,
            (Type::IntOrString, Value::Number(number)) => number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
            (Type::Quantity, Value::Number(number)) => return quantity(&number.to_string()),
            (Type::Quantity, Value::String(text)) => return quantity(text.trim()),
            (Type::Time | Type::MicroTime, Value::String(text)) => return time(text),
            (Type::Bytes, Value::String(text)) => return base64(text),
            _ => false,
        };
        if fits { Ok(()) } else { Err(self.mismatch(id, value, place)) }
    }

    /// Any JSON, or a schema or a list of schemas.
    fn opened(&self, id: TypeId, value: &Value, place: &Place<'_>) -> Result<(), DecodeError> {
        match (self.schema.opened(id), value) {
            (None, _) => Ok(()),
            (Some(inner), Value::Array(items)) => {
                items.iter().filter(|item| item.is_object()).try_for_each(|item| self.check(inner, item, place))
            }
            (Some(inner), value) => self.check(inner, value, place),
        }
    }

    fn mismatch(&self, id: TypeId, value: &Value, place: &Place<'_>) -> DecodeError {
        let found = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
            Value::Number(number) => match self.schema.ty(id) {
                Type::Integer32 | Type::Integer64 | Type::IntOrString => format!("number {number}"),
                _ => "number".to_owned(),
            },
        };
        let wanted = go_type(self.schema, id);
        let into = match self.parent.and_then(|parent| self.schema.definition(parent)) {
            Some(parent) => format!("Go struct field {}.{}", short(&parent.name), place.text()),
            None => "Go value".to_owned(),
        };
        DecodeError::Type(format!("json: cannot unmarshal {found} into {into} of type {wanted}"))
    }
}

fn short(definition: &str) -> &str {
    definition.rsplit('.').next().unwrap_or(definition)
}

/// The name of the Go type in messages.
fn go_type(schema: &Schema, id: TypeId) -> String {
    match schema.ty(id) {
        Type::List(item) => format!("[]{}", go_type(schema, item)),
        Type::Map(item) => format!("map[string]{}", go_type(schema, item)),
        Type::String => "string".to_owned(),
        Type::Integer32 | Type::IntOrString => "int32".to_owned(),
        Type::Integer64 => "int64".to_owned(),
        Type::Number => "float64".to_owned(),
        Type::Boolean => "bool".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Time | Type::MicroTime => "string".to_owned(),
        Type::Object | Type::Quantity | Type::Raw | Type::FieldsV1 | Type::Json => {
            let name = schema.definition(id).map_or("", |definition| &*definition.name);
            let mut parts = name.rsplit('.');
            let (kind, package) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            format!("{package}.{kind}")
        }
    }
}

fn quantity(text: &str) -> Result<(), DecodeError> {
    match text.parse::<Quantity>() {
        Ok(_) => Ok(()),
        Err(error) => Err(DecodeError::Type(error.to_string())),
    }
}

fn time(text: &str) -> Result<(), DecodeError> {
    if base::time::parse(text).is_ok() {
        return Ok(());
    }
    Err(DecodeError::Type(format!(
        "parsing time {} as \"2006-01-02T15:04:05Z07:00\": cannot parse {} as \"2006\"",
        crate::error::quote(text),
        crate::error::quote(text)
    )))
}

/// Go's decoder takes padded base64 and ignores line ends.
fn base64(text: &str) -> Result<(), DecodeError> {
    match crate::base64::fault(text) {
        None => Ok(()),
        Some(place) => Err(DecodeError::Type(format!("illegal base64 data at input byte {place}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;
    use serde_json::json;

    #[track_caller]
    fn check(plural: &str, group: &str, value: &Value, expected: &str) {
        let kind = Catalog::builtin().resource(group, "v1", plural).unwrap();
        assert_eq!(coerce(kind, value).err().map(|error| error.to_string()).unwrap_or_default(), expected);
    }

    #[test]
    fn wrong_types_are_told_in_the_words_of_go() {
        for (value, expected) in [
            (
                json!({"spec": {"replicas": "3"}}),
                "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": {"name": "a"}}}}}),
                "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"env": [{"name": "a", "value": 1}]}]}}}}),
                "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal number into Go struct field EnvVar.spec.template.spec.containers.env.value of type string",
            ),
            (
                json!({"spec": {"replicas": 3_000_000_000_u64}}),
                "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal number 3000000000 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "x"}}}]}}}}),
                "Deployment in version \"v1\" cannot be handled as a Deployment: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            ),
            (
                json!([]),
                "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal array into Go value of type v1.Deployment",
            ),
            (json!({"spec": {"replicas": null, "strategy": {"rollingUpdate": {"maxSurge": "25%"}}}}), ""),
        ] {
            check("deployments", "apps", &value, expected);
        }
    }

    #[test]
    fn secrets_hold_base64() {
        check("secrets", "", &json!({"data": {"a": "aGVsbG8=", "b": "", "c": "aGVs\nbG8="}}), "");
        for wrong in ["a", "aGVsbG8", "a=GV", "aGV*", "====", "aGVsbG8=x"] {
            let kind = Catalog::builtin().resource("", "v1", "secrets").unwrap();
            assert!(coerce(kind, &json!({"data": {"a": wrong}})).is_err(), "{wrong}");
        }
    }
}
