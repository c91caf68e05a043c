//! How custom resources print: their name, and the columns their definition asks for, or else their age.

use base::time::{self, Timestamp};
use serde_json::{Value, json};

use super::{Custom, JsonPath};
use crate::json::{at, int, text};
use crate::schema;
use crate::table::human_duration;

/// One printer column beside the name.
#[derive(Debug)]
pub(crate) struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: JsonPath,
}

/// The columns of a definition; those from the first one on whose path is not understood are left out, as upstream.
pub(super) fn columns(columns: &[Value]) -> Vec<Column> {
    if columns.is_empty() {
        return column("Age", "date", ".metadata.creationTimestamp").into_iter().collect();
    }
    let read = |held: &Value| {
        let mut made = column(text(held, "name"), text(held, "type"), text(held, "jsonPath"))?;
        text(held, "format").clone_into(&mut made.format);
        if !text(held, "description").is_empty() {
            text(held, "description").clone_into(&mut made.description);
        }
        made.priority = int(held, "priority").unwrap_or(0);
        Some(made)
    };
    columns.iter().map_while(read).collect()
}

fn column(name: &str, kind: &str, path: &str) -> Option<Column> {
    Some(Column {
        name: name.to_owned(),
        kind: kind.to_owned(),
        format: String::new(),
        description: format!("Custom resource definition column (in JSONPath format): {path}"),
        priority: 0,
        path: JsonPath::parse(path)?,
    })
}

fn prose(field: &str) -> String {
    let found = schema::find("apimachinery.pkg.apis.meta.v1.ObjectMeta").and_then(|id| {
        let fields = &schema::schema().definition(id)?.fields;
        let index = fields.iter().position(|candidate| &*candidate.name == field)?;
        Some(schema::descriptions().field(id, index).to_owned())
    });
    found.unwrap_or_default()
}

impl Custom {
    /// The columns as a table shows them.
    pub(crate) fn column_definitions(&self) -> Value {
        let shown = |name: &str, kind: &str, format: &str, description: &str, priority: i64| json!({"name": name, "type": kind, "format": format, "description": description, "priority": priority});
        let own = self.columns().iter().map(|column| {
            let Column { name, kind, format, description, priority, .. } = column;
            shown(name, kind, format, description, *priority)
        });
        std::iter::once(shown("Name", "string", "name", &prose("name"), 0)).chain(own).collect()
    }

    /// One cell per column.
    pub(crate) fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let name = Value::from(text(at(object, "metadata"), "name"));
        std::iter::once(name).chain(self.columns().iter().map(|column| column.cell(object, now))).collect()
    }
}

impl Column {
    fn cell(&self, object: &Value, now: Timestamp) -> Value {
        let Some(value) = self.path.find(object).into_iter().next().filter(|value| !value.is_null()) else {
            return Value::Null;
        };
        match self.kind.as_str() {
            "string" => match value {
                Value::String(text) => text.as_str().into(),
                Value::Number(number) if number.is_f64() => {
                    crate::error::go_number(number.as_f64().unwrap_or_default()).into()
                }
                other => other.to_string().into(),
            },
            #[allow(clippy::cast_possible_truncation, reason = "a column of integers cuts floats, as Go's conversion")]
            "integer" => value.as_i64().or_else(|| value.as_f64().map(|number| number as i64)).into(),
            "number" => value.as_f64().into(),
            "boolean" => value.as_bool().into(),
            "date" => match value.as_str().map(time::parse) {
                Some(Ok(at)) => human_duration(now.duration_since(at)).into(),
                Some(Err(_)) => "<invalid>".into(),
                None => Value::Null,
            },
            _ => Value::Null,
        }
    }
}
