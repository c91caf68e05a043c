//! Server-side printing: the columns and cells that `kubectl get` shows.
//!
//! Invariant: a kind's columns and its cell function stand in one row and always agree in number; every cell is
//! computed, wide ones too, and the client hides what it was not asked for. Cells are computed from `&Value` and the
//! time, nothing else, and a malformed object yields placeholders, never a panic.
//! Why no typed structs: a table may show an object that was stored before a field changed its type.
//! The columns follow upstream's pkg/printers/internalversion.

use crate::Kind;
use crate::schema::{self, Descriptions};
use base::time::Timestamp;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::sync::OnceLock;

mod access;
mod core;
mod duration;
mod extension;
mod network;
mod pods;
mod read;
mod storage;
mod workloads;

#[cfg(test)]
mod tests;

pub use duration::human as human_duration;

/// One column of a table, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Column {
    pub name: &'static str,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub format: &'static str,
    pub description: Cow<'static, str>,
    /// 0 is shown always, 1 only with `-o wide`.
    pub priority: i32,
}

/// A column before its description was looked up.
#[derive(Debug, Clone, Copy)]
struct Spec {
    name: &'static str,
    kind: &'static str,
    format: &'static str,
    doc: Doc,
    priority: i32,
}

/// Where a column's description comes from.
#[derive(Debug, Clone, Copy)]
enum Doc {
    Text(&'static str),
    /// The description of a field: definition and field name.
    Field(&'static str, &'static str),
}

impl Spec {
    const fn new(name: &'static str, kind: &'static str, doc: Doc) -> Self {
        Spec { name, kind, format: "", doc, priority: 0 }
    }

    /// A text column described in words.
    const fn text(name: &'static str, text: &'static str) -> Self {
        Spec::new(name, "string", Doc::Text(text))
    }

    /// A text column that shows a field.
    const fn field(name: &'static str, definition: &'static str, field: &'static str) -> Self {
        Spec::new(name, "string", Doc::Field(definition, field))
    }

    const fn of(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    const fn wide(mut self) -> Self {
        self.priority = 1;
        self
    }
}

const META: &str = "apimachinery.pkg.apis.meta.v1.ObjectMeta";
const NAME: Spec = Spec { format: "name", ..Spec::field("Name", META, "name") };
const AGE: Spec = Spec::field("Age", META, "creationTimestamp");
const CREATED_AT: Spec = Spec::field("Created At", META, "creationTimestamp").of("date");
const CONTAINERS: Spec = Spec::text("Containers", "Names of each container in the template.");
const IMAGES: Spec = Spec::text("Images", "Images referenced by each container in the template.");

/// How one kind is printed.
struct Printer {
    group: &'static str,
    kind: &'static str,
    columns: &'static [Spec],
    cells: fn(&Value, Timestamp) -> Vec<Value>,
    described: OnceLock<Vec<Column>>,
}

impl Printer {
    const fn new(
        group: &'static str,
        kind: &'static str,
        columns: &'static [Spec],
        cells: fn(&Value, Timestamp) -> Vec<Value>,
    ) -> Self {
        Printer { group, kind, columns, cells, described: OnceLock::new() }
    }

    /// The columns with their descriptions; kept, because looking one up means decoding all prose.
    fn described(&self) -> &[Column] {
        self.described.get_or_init(|| {
            let prose = schema::descriptions();
            self.columns.iter().map(|spec| describe(spec, &prose)).collect()
        })
    }
}

fn describe(spec: &Spec, prose: &Descriptions) -> Column {
    let description = match spec.doc {
        Doc::Text(text) => Cow::Borrowed(text),
        Doc::Field(definition, field) => Cow::Owned(prose_of(prose, definition, field).unwrap_or_default().to_owned()),
    };
    Column { name: spec.name, kind: spec.kind, format: spec.format, description, priority: spec.priority }
}

fn prose_of<'p>(prose: &'p Descriptions, definition: &str, field: &str) -> Option<&'p str> {
    let id = schema::find(definition)?;
    let fields = &schema::schema().definition(id)?.fields;
    let index = fields.iter().position(|candidate| &*candidate.name == field)?;
    Some(prose.field(id, index))
}

/// Kinds without an own printer: as upstream's default, which prints the time of creation, not the age.
static DEFAULT: Printer = Printer::new("", "", &[NAME, CREATED_AT], |object, _| {
    vec![read::name(object), read::text(object, "metadata.creationTimestamp").into()]
});

/// Kinds defined by users: name and age.
static CUSTOM: Printer =
    Printer::new("", "", &[NAME, AGE.of("date")], |object, now| vec![read::name(object), read::age(object, now)]);

static PRINTERS: [&[Printer]; 7] = [
    &pods::PRINTERS,
    &workloads::PRINTERS,
    &core::PRINTERS,
    &network::PRINTERS,
    &storage::PRINTERS,
    &access::PRINTERS,
    &extension::PRINTERS,
];

/// Whether the kind is one of Kubernetes itself.
fn is_builtin(kind: &Kind) -> bool {
    crate::Catalog::builtin().by_kind(&kind.group, &kind.version, &kind.kind).is_some()
}

fn printer(kind: &Kind) -> &'static Printer {
    let own = PRINTERS.iter().copied().flatten().find(|p| p.kind == kind.kind && p.group == kind.group);
    own.unwrap_or(if is_builtin(kind) { &DEFAULT } else { &CUSTOM })
}

/// The printer of an object that was read through `kind`: the `scale` subresource has its own.
fn printer_of(kind: &Kind, object: &Value) -> &'static Printer {
    match read::text(object, "kind") {
        "Scale" if kind.kind != "Scale" && kind.has_subresource("scale") => &workloads::SCALE,
        _ => printer(kind),
    }
}

/// The columns of a kind.
pub fn columns(kind: &Kind) -> &'static [Column] {
    printer(kind).described()
}

/// The cells of one object, one per column.
pub fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    if let Some(custom) = kind.custom.as_ref().filter(|_| read::text(object, "kind") == kind.kind) {
        return custom.cells(object, now);
    }
    (printer_of(kind, object).cells)(object, now)
}

/// How much of the object each row carries (`includeObject`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    /// Reads the query parameter; `None` if it is none of the allowed values.
    pub fn parse(text: &str) -> Option<Include> {
        match text {
            "None" => Some(Include::None),
            "" | "Metadata" => Some(Include::Metadata),
            "Object" => Some(Include::Object),
            _ => None,
        }
    }
}

/// One row of a table.
pub fn row(kind: &Kind, object: &Value, now: Timestamp, include: Include) -> Value {
    let mut row = Map::new();
    row.insert("cells".to_owned(), cells(kind, object, now).into());
    if let Some(conditions) = pods::row_conditions(kind, object) {
        row.insert("conditions".to_owned(), conditions);
    }
    let shown = match include {
        Include::None => Value::Null,
        Include::Object => object.clone(),
        Include::Metadata => partial(object),
    };
    row.insert("object".to_owned(), shown);
    Value::Object(row)
}

/// The object reduced to its metadata.
pub fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// A whole table. `metadata` is the list's (resource version, continue token) or, for a single object, its own
/// resource version. A watch that already showed the columns asks for none.
pub fn table<'o>(
    kind: &Kind,
    objects: impl IntoIterator<Item = &'o Value>,
    now: Timestamp,
    include: Include,
    metadata: Value,
    with_columns: bool,
) -> Value {
    let mut objects = objects.into_iter().peekable();
    let own = |object: &&Value| read::text(object, "kind") == kind.kind;
    let custom = kind.custom.as_ref().filter(|_| objects.peek().is_none_or(own));
    let columns = match custom {
        _ if !with_columns => json!([]),
        Some(custom) => custom.column_definitions(),
        None => json!(objects.peek().map_or_else(|| printer(kind), |object| printer_of(kind, object)).described()),
    };
    let rows: Vec<Value> = objects.map(|object| row(kind, object, now, include)).collect();
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    })
}
