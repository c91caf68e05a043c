//! Reading values with the path to them, so that a fault can say where it is.

use std::fmt;

use serde_json::Value;

/// Something that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path of the field.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

impl Fault {
    pub(super) fn at(field: &str, problem: String) -> Self {
        Self { field: field.to_owned(), problem }
    }

    pub(super) fn invalid(field: &str, value: impl Into<Value>, why: &str) -> Self {
        Self::at(field, format!("Invalid value: {}: {why}", value.into()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.problem)
    }
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Place<'a> {
    pub(super) value: &'a Value,
    path: String,
}

impl<'a> Place<'a> {
    pub(super) fn top(value: &'a Value) -> Self {
        Self { value, path: String::new() }
    }

    /// The path of a member.
    pub(super) fn path(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) }
    }

    /// The path of the value itself.
    pub(super) fn own_path(&self) -> &str {
        &self.path
    }

    /// Refuses members that nobody reads.
    pub(super) fn only(&self, fields: &[&str], faults: &mut Vec<Fault>) {
        let Some(members) = self.value.as_object() else {
            faults.push(Fault::at(&self.path, "must be an object".to_owned()));
            return;
        };
        for name in members.keys().filter(|name| !fields.contains(&name.as_str())) {
            let problem = format!("unknown field; there are {}", fields.join(", "));
            faults.push(Fault::at(&self.path(name), problem));
        }
    }

    pub(super) fn at(&self, field: &str) -> Option<Self> {
        let value = self.value.get(field).filter(|value| !value.is_null())?;
        Some(Self { value, path: self.path(field) })
    }

    fn typed<T>(
        &self,
        field: &str,
        what: &str,
        read: impl Fn(&'a Value) -> Option<T>,
        faults: &mut Vec<Fault>,
    ) -> Option<T> {
        let place = self.at(field)?;
        let value = read(place.value);
        if value.is_none() {
            faults.push(Fault::invalid(&place.path, place.value.clone(), &format!("must be {what}")));
        }
        value
    }

    pub(super) fn text(&self, field: &str, faults: &mut Vec<Fault>) -> Option<String> {
        self.typed(field, "a text", |value| value.as_str().map(str::to_owned), faults)
    }

    pub(super) fn int(&self, field: &str, faults: &mut Vec<Fault>) -> Option<i64> {
        self.typed(field, "a whole number", Value::as_i64, faults)
    }

    pub(super) fn bool(&self, field: &str, faults: &mut Vec<Fault>) -> Option<bool> {
        self.typed(field, "true or false", Value::as_bool, faults)
    }

    /// The items of a list; none when it is absent.
    pub(super) fn list(&self, field: &str, faults: &mut Vec<Fault>) -> impl Iterator<Item = Self> + use<'a> {
        let items = self.typed(field, "a list", Value::as_array, faults);
        let path = self.path(field);
        let item = move |(index, value)| Self { value, path: format!("{path}[{index}]") };
        items.into_iter().flatten().enumerate().map(item)
    }

    /// A value of a type that the API knows.
    pub(super) fn decoded<T: serde::de::DeserializeOwned>(&self, faults: &mut Vec<Fault>) -> Option<T> {
        match serde_json::from_value(self.value.clone()) {
            Ok(value) => Some(value),
            Err(error) => {
                faults.push(Fault::at(&self.path, format!("cannot be read: {error}")));
                None
            }
        }
    }
}
