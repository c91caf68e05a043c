//! The types of the schema graph as OpenAPI schemas.
//!
//! Invariant: names, extensions and defaults are upstream's, because clients make strategic patches from them. A default
//! that follows from Go (a field without pointer that is always written, or a struct) is derived, not stored.

use super::Flavour;
use super::write::Object;
use crate::schema::{Definition, Descriptions, Field, ListType, MapType, Schema, Texts, Type, TypeId};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The published name of a type.
pub(super) fn published(definition: &Definition) -> String {
    format!("io.k8s.{}", definition.name)
}

/// The types that `roots` are made of, in order of their names.
pub(super) fn closure(schema: &Schema, roots: impl IntoIterator<Item = TypeId>) -> BTreeSet<TypeId> {
    let mut open: Vec<TypeId> = roots.into_iter().collect();
    let mut seen = BTreeSet::new();
    while let Some(mut id) = open.pop() {
        while let Type::List(inner) | Type::Map(inner) = schema.ty(id) {
            id = inner;
        }
        let Some(definition) = schema.definition(id) else { continue };
        if seen.insert(id) {
            open.extend(definition.fields.iter().map(|field| field.ty));
        }
    }
    seen
}

pub(super) struct Schemas<'s> {
    pub(super) schema: &'s Schema,
    pub(super) prose: &'s Descriptions,
    pub(super) flavour: Flavour,
}

impl Schemas<'_> {
    /// Writes the given types, each under its name.
    pub(super) fn write_all(&self, out: &mut Object<'_>, types: &BTreeSet<TypeId>) {
        for id in types {
            if let Some(definition) = self.schema.definition(*id) {
                out.object(&published(definition), |out| self.write(out, definition));
            }
        }
    }

    fn write(&self, out: &mut Object<'_>, definition: &Definition) {
        let id = definition.id;
        out.some_text("description", self.prose.definition(id));
        let v3 = self.flavour == Flavour::V3;
        match self.schema.ty(id) {
            Type::Object => self.write_struct(out, definition),
            Type::Time | Type::MicroTime => {
                out.text("format", "date-time");
                out.text("type", "string");
            }
            Type::Quantity if v3 => out.value("oneOf", &json!([{"type": "string"}, {"type": "number"}])),
            Type::IntOrString if v3 => {
                out.text("format", "int-or-string");
                out.value("oneOf", &json!([{"type": "integer"}, {"type": "string"}]));
            }
            Type::Quantity => out.text("type", "string"),
            Type::IntOrString => {
                out.text("format", "int-or-string");
                out.text("type", "string");
            }
            Type::Raw | Type::FieldsV1 => out.text("type", "object"),
            _ => {}
        }
        let kinds = definition.kinds.iter().filter(|[group, version, _]| &**group != "*" && &**version != "*");
        let kinds: Vec<_> = kinds.collect();
        if !kinds.is_empty() {
            out.array("x-kubernetes-group-version-kind", |out| {
                for [group, version, kind] in kinds {
                    out.object(|out| {
                        out.text("group", group);
                        out.text("kind", kind);
                        out.text("version", version);
                    });
                }
            });
        }
        if definition.atomic {
            out.text("x-kubernetes-map-type", "atomic");
        }
        if let Ok(unions) = serde_json::from_str::<Value>(&definition.unions) {
            out.value("x-kubernetes-unions", &unions);
        }
    }

    fn write_struct(&self, out: &mut Object<'_>, definition: &Definition) {
        if !definition.fields.is_empty() {
            out.object("properties", |out| {
                for (index, field) in definition.fields.iter().enumerate() {
                    let prose = self.prose.field(definition.id, index);
                    out.object(&field.name, |out| self.write_field(out, field, prose));
                }
            });
        }
        let required = || definition.fields.iter().filter(|field| field.required);
        if required().next().is_some() {
            out.texts("required", required().map(|field| &*field.name));
        }
        out.text("type", "object");
    }

    fn write_field(&self, out: &mut Object<'_>, field: &Field, prose: &str) {
        out.some_text("description", prose);
        if self.flavour == Flavour::V3
            && let Some(default) = default_of(self.schema, field)
        {
            out.value("default", &default);
        }
        self.write_type(out, field.ty, field.values.as_ref(), false);
        match field.list_type {
            ListType::Undeclared => {}
            ListType::Atomic => out.text("x-kubernetes-list-type", "atomic"),
            ListType::Set => out.text("x-kubernetes-list-type", "set"),
            ListType::Map => {
                let keys = field.list_keys.iter().flat_map(|keys| keys.iter()).map(|key| &**key);
                out.texts("x-kubernetes-list-map-keys", keys);
                out.text("x-kubernetes-list-type", "map");
            }
        }
        match field.map_type {
            MapType::Undeclared => {}
            MapType::Atomic => out.text("x-kubernetes-map-type", "atomic"),
            MapType::Granular => out.text("x-kubernetes-map-type", "granular"),
        }
        out.some_text("x-kubernetes-patch-merge-key", field.patch_key.as_deref().unwrap_or_default());
        out.some_text("x-kubernetes-patch-strategy", field.patch_strategy.text());
    }

    /// Writes what says the type of a value; `inner` for the elements of lists and maps, which have defaults of their own.
    fn write_type(&self, out: &mut Object<'_>, id: TypeId, values: Option<&Texts>, inner: bool) {
        let v3 = self.flavour == Flavour::V3;
        if let Some(definition) = self.schema.definition(id) {
            let reference = format!("{}{}", self.flavour.schema_prefix(), published(definition));
            if v3 && inner && self.schema.ty(id) != Type::Object {
                out.text("$ref", &reference);
            } else if v3 {
                // A reference allows no siblings in version 3, and there is a description or a default beside it.
                out.array("allOf", |out| out.object(|out| out.text("$ref", &reference)));
                if inner {
                    out.value("default", &json!({}));
                }
            } else {
                out.text("$ref", &reference);
            }
            return;
        }
        let ty = self.schema.ty(id);
        if let (true, true, Some(zero)) = (v3, inner, zero(ty)) {
            out.value("default", &zero);
        }
        match ty {
            Type::List(item) => {
                out.object("items", |out| self.write_type(out, item, values, true));
                out.text("type", "array");
            }
            Type::Map(value) => {
                out.object("additionalProperties", |out| self.write_type(out, value, values, true));
                out.text("type", "object");
            }
            scalar => {
                if let (true, Some(values)) = (v3, values) {
                    out.texts("enum", values.iter().map(|value| &**value));
                }
                let (name, format) = scalar_type(scalar);
                out.some_text("format", format);
                out.some_text("type", name);
            }
        }
    }
}

/// The default of a field: declared, or what Go writes when nobody set it.
fn default_of(schema: &Schema, field: &Field) -> Option<Value> {
    if let Some(declared) = &field.default {
        return Some((**declared).clone());
    }
    if field.pointer {
        return None;
    }
    match schema.ty(field.ty) {
        Type::Object => Some(json!({})),
        scalar if field.always => zero(scalar),
        _ => None,
    }
}

fn zero(scalar: Type) -> Option<Value> {
    match scalar {
        Type::String => Some("".into()),
        Type::Integer32 | Type::Integer64 | Type::Number => Some(0.into()),
        Type::Boolean => Some(false.into()),
        _ => None,
    }
}

/// Type and format of a scalar.
fn scalar_type(scalar: Type) -> (&'static str, &'static str) {
    match scalar {
        Type::String => ("string", ""),
        Type::Integer32 => ("integer", "int32"),
        Type::Integer64 => ("integer", "int64"),
        Type::Number => ("number", "double"),
        Type::Boolean => ("boolean", ""),
        Type::Bytes => ("string", "byte"),
        Type::Time | Type::MicroTime => ("string", "date-time"),
        Type::Quantity => ("string", ""),
        Type::IntOrString => ("string", "int-or-string"),
        Type::Raw | Type::FieldsV1 | Type::Object | Type::Map(_) => ("object", ""),
        Type::List(_) => ("array", ""),
        Type::Json => ("", ""),
    }
}
