//! The schema graph as protobuf messages: fields by ascending number, with embedded structs as messages of their own.
//!
//! Invariant: made once from the graph and never changed; ids of named types are places in `messages`. Why a second form
//! of the graph: it is ordered by name for JSON, and a Go-inlined struct is flat there but a message on the wire.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use super::wire;
use crate::catalog::{Catalog, api_version, split_api_version};
use crate::schema::{self, Definition, Field, Schema, Type, TypeId};

pub(super) struct Plan {
    messages: Vec<Message>,
    /// apiVersion and kind to type.
    kinds: HashMap<(String, String), TypeId>,
}

#[derive(Default)]
pub(super) struct Message {
    /// By ascending number.
    pub(super) slots: Box<[Slot]>,
    /// What Go writes when nothing is set.
    pub(super) zero: Box<[u8]>,
    /// By name: the members of the JSON object, those of embedded messages among them. Empty for an embedded message.
    pub(super) names: Box<[Name]>,
    /// The beginnings of the names, to look through them fast.
    pub(super) prefixes: Box<[u64]>,
    /// Whether there are embedded messages.
    pub(super) nested: bool,
}

/// A member of a JSON object and where it goes.
pub(super) struct Name {
    pub(super) name: Arc<str>,
    /// Its place on the wire among all members.
    pub(super) leaf: u16,
    pub(super) number: u8,
    pub(super) shape: Shape,
}

pub(super) struct Slot {
    /// The JSON name; empty for an embedded message, whose members are those of the message around it.
    pub(super) name: Arc<str>,
    pub(super) number: u8,
    pub(super) shape: Shape,
    pub(super) pointer: bool,
    /// Go emits it as JSON even if it is zero.
    pub(super) always: bool,
    /// What stands on the wire if there is no such member.
    pub(super) absent: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One(Codec),
    List(Codec),
    Map(Codec),
    Embedded(usize),
}

/// How one value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Bool,
    Integer,
    Double,
    Text,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// JSON text in a message of its own: RawExtension, FieldsV1, JSON.
    Json,
    SchemaOrList(TypeId),
    SchemaOrBool(TypeId),
    SchemaOrTexts(TypeId),
    /// A list of texts as a message of its own.
    Texts,
    Message(usize),
}

impl Codec {
    pub(super) fn wire(self) -> u8 {
        match self {
            Codec::Bool | Codec::Integer => wire::VARINT,
            Codec::Double => wire::FIXED64,
            _ => wire::BYTES,
        }
    }
}

pub(super) fn plan() -> &'static Plan {
    static PLAN: OnceLock<Plan> = OnceLock::new();
    PLAN.get_or_init(|| Plan::new(schema::schema()))
}

const META: &str = "apimachinery.pkg.apis.meta.v1.";
const JSON_SCHEMA: &str = "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

impl Plan {
    pub(super) fn message(&self, place: usize) -> &Message {
        &self.messages[place]
    }

    pub(super) fn type_of(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        let (group, version) = split_api_version(api_version);
        if let Some(row) = Catalog::builtin().by_kind(group, version, kind) {
            return Some(row.schema);
        }
        let found = self.kinds.get(&(api_version.to_owned(), kind.to_owned())).copied();
        // these exist in every version: clients write their delete options in that of whatever they delete
        let everywhere = || schema::find(&format!("{META}{kind}"));
        found.or_else(|| if kind.ends_with("Options") { everywhere() } else { None })
    }

    fn new(schema: &Schema) -> Self {
        let definitions = schema.definitions();
        let mut maker = Maker { schema, messages: Vec::new() };
        maker.messages.resize_with(definitions.len(), Message::default);
        for (place, definition) in definitions.iter().enumerate() {
            maker.messages[place].slots = maker.slots(definition, &[]);
        }
        for place in 0..maker.messages.len() {
            maker.fill_zero(place);
        }
        (0..definitions.len()).for_each(|place| maker.fill_names(place));
        let mut kinds = HashMap::new();
        for definition in definitions {
            for [group, version, kind] in &definition.kinds {
                kinds.entry((api_version(group, version), kind.to_string())).or_insert(definition.id);
            }
        }
        Self { messages: maker.messages, kinds }
    }
}

struct Maker<'s> {
    schema: &'s Schema,
    messages: Vec<Message>,
}

impl Maker<'_> {
    /// The fields whose numbers begin with `path`.
    fn slots(&mut self, definition: &Definition, path: &[u8]) -> Box<[Slot]> {
        let mut slots: Vec<Slot> = Vec::new();
        let depth = path.len();
        for field in definition.fields.iter().filter(|field| field.numbers.starts_with(path)) {
            let Some(number) = field.numbers.get(depth).copied().filter(|number| *number > 0) else { continue };
            if field.numbers.get(depth + 1).is_some_and(|next| *next > 0) {
                if slots.iter().any(|slot| slot.number == number) {
                    continue;
                }
                let mut inner = path.to_vec();
                inner.push(number);
                let slots_of_embedded = self.slots(definition, &inner);
                self.messages.push(Message { slots: slots_of_embedded, ..Message::default() });
                slots.push(Slot {
                    name: "".into(),
                    number,
                    shape: Shape::Embedded(self.messages.len() - 1),
                    pointer: false,
                    always: false,
                    absent: Box::default(),
                });
            } else {
                slots.push(Slot {
                    name: field.name.clone(),
                    number,
                    shape: self.shape(definition, field),
                    pointer: field.pointer,
                    always: field.always,
                    absent: Box::default(),
                });
            }
        }
        slots.sort_by_key(|slot| slot.number);
        slots.into()
    }

    fn shape(&self, definition: &Definition, field: &Field) -> Shape {
        // `Verbs` is the one named list type that is a field: a message with items, as in a map
        if &*field.name == "verbs" && definition.name.ends_with("meta.v1.APIResource") {
            return Shape::One(Codec::Texts);
        }
        match self.schema.ty(field.ty) {
            Type::List(item) => Shape::List(self.codec(item)),
            Type::Map(value) => Shape::Map(self.codec(value)),
            _ => Shape::One(self.codec(field.ty)),
        }
    }

    fn codec(&self, ty: TypeId) -> Codec {
        match self.schema.ty(ty) {
            Type::Boolean => Codec::Bool,
            Type::Integer32 | Type::Integer64 => Codec::Integer,
            Type::Number => Codec::Double,
            Type::String => Codec::Text,
            Type::Bytes => Codec::Bytes,
            Type::Time => Codec::Time,
            Type::MicroTime => Codec::MicroTime,
            Type::Quantity => Codec::Quantity,
            Type::IntOrString => Codec::IntOrString,
            Type::Raw | Type::FieldsV1 => Codec::Json,
            Type::Json => self.json_codec(ty),
            Type::Object => Codec::Message(usize::from(ty.0)),
            Type::List(_) | Type::Map(_) => Codec::Texts,
        }
    }

    fn json_codec(&self, ty: TypeId) -> Codec {
        let name = self.schema.definition(ty).map_or("", |definition| &*definition.name);
        let props = || self.schema.find(JSON_SCHEMA).expect("invariant: the type of CRD schemas is in the graph");
        match name.rsplit('.').next() {
            Some("JSONSchemaPropsOrArray") => Codec::SchemaOrList(props()),
            Some("JSONSchemaPropsOrBool") => Codec::SchemaOrBool(props()),
            Some("JSONSchemaPropsOrStringArray") => Codec::SchemaOrTexts(props()),
            _ => Codec::Json,
        }
    }

    /// Works out what stands on the wire when nothing is set. Structs that are no pointers cannot contain themselves.
    fn fill_zero(&mut self, place: usize) {
        if !self.messages[place].zero.is_empty() {
            return;
        }
        let mut slots = std::mem::take(&mut self.messages[place].slots);
        let mut zero = Vec::new();
        for slot in &mut slots {
            let mut absent = Vec::new();
            match slot.shape {
                Shape::Embedded(inner) | Shape::One(Codec::Message(inner)) if !slot.pointer => {
                    self.fill_zero(inner);
                    wire::bytes(&mut absent, slot.number, &self.messages[inner].zero);
                }
                Shape::One(codec) if !slot.pointer => {
                    if let Some(value) = zero_of(codec) {
                        wire::key(&mut absent, slot.number, codec.wire());
                        absent.extend_from_slice(value);
                    }
                }
                _ => {}
            }
            zero.extend_from_slice(&absent);
            slot.absent = absent.into();
        }
        let message = &mut self.messages[place];
        (message.slots, message.zero) = (slots, zero.into());
    }

    fn fill_names(&mut self, place: usize) {
        let (mut names, mut leaf) = (Vec::new(), 0);
        self.collect_names(place, &mut leaf, &mut names);
        names.sort_by(|a: &Name, b| a.name.cmp(&b.name));
        let message = &mut self.messages[place];
        message.prefixes = names.iter().map(|name| prefix(name.name.as_bytes())).collect();
        message.names = names.into();
        message.nested = message.slots.iter().any(|slot| matches!(slot.shape, Shape::Embedded(_)));
    }

    fn collect_names(&self, place: usize, leaf: &mut u16, names: &mut Vec<Name>) {
        for slot in &self.messages[place].slots {
            match slot.shape {
                Shape::Embedded(inner) => self.collect_names(inner, leaf, names),
                shape => {
                    names.push(Name { name: slot.name.clone(), leaf: *leaf, number: slot.number, shape });
                    *leaf += 1;
                }
            }
        }
    }
}

/// The first eight bytes as a number that sorts as they do.
pub(super) fn prefix(name: &[u8]) -> u64 {
    match name.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..name.len()].copy_from_slice(name);
            u64::from_be_bytes(bytes)
        }
    }
}

/// What follows the key of a zero value; none if Go leaves it out.
pub(super) fn zero_of(codec: Codec) -> Option<&'static [u8]> {
    match codec {
        Codec::Bytes | Codec::Texts => None,
        Codec::Double => Some(&[0; 8]),
        Codec::Quantity => Some(b"\x03\x0a\x010"),
        Codec::IntOrString => Some(b"\x06\x08\0\x10\0\x1a\0"),
        Codec::SchemaOrBool(_) => Some(b"\x02\x08\0"),
        _ => Some(b"\0"),
    }
}
