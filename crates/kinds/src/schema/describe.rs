//! The prose of the API reference, by definition and field.
//!
//! Invariant: it is decoded anew for each caller and dropped with it, because only the builder of the OpenAPI documents
//! reads it and keeping about a megabyte of prose for the life of the process would be waste.

use super::{Schema, TypeId};

pub(super) static PROSE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.zst"));

/// Descriptions of the built-in types.
#[derive(Debug)]
pub struct Descriptions {
    text: String,
    /// Ends of the texts, in the order of definitions and their fields.
    ends: Vec<u32>,
    /// Place of each definition's own text in `ends`.
    places: Vec<u32>,
}

/// Decodes the embedded prose; keep the result only as long as a document is built.
pub fn descriptions() -> Descriptions {
    Descriptions::decode(super::schema())
}

impl Descriptions {
    fn decode(schema: &Schema) -> Self {
        let bytes = zstd::decode_all(PROSE).expect("invariant: the embedded prose is a zstd frame");
        let text = String::from_utf8(bytes).expect("invariant: the embedded prose is UTF-8");
        let place = |number: usize| u32::try_from(number).expect("invariant: the prose is smaller than 4 GB");
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == 0).map(|(index, _)| place(index)).collect();
        let mut places = Vec::with_capacity(schema.definitions().len());
        let mut next = 0;
        for definition in schema.definitions() {
            places.push(place(next));
            next += 1 + definition.fields.len();
        }
        Self { text, ends, places }
    }

    /// The description of a named type; empty if there is none.
    pub fn definition(&self, id: TypeId) -> &str {
        self.at(id, 0)
    }

    /// The description of the field at `index` of [`super::Definition::fields`]; empty if there is none.
    pub fn field(&self, id: TypeId, index: usize) -> &str {
        self.at(id, index + 1)
    }

    fn at(&self, id: TypeId, offset: usize) -> &str {
        let Some(place) = self.places.get(usize::from(id.0)) else { return "" };
        let place = *place as usize + offset;
        let end = |place: usize| self.ends.get(place).map(|end| *end as usize);
        let start = if place == 0 { Some(0) } else { end(place - 1).map(|end| end + 1) };
        start.zip(end(place)).and_then(|(start, end)| self.text.get(start..end)).unwrap_or("")
    }
}
