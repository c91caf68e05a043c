//! Reads the embedded graph, written by build.rs.
//!
//! Invariant: the blob is part of the same build, so a malformed one is a bug and not an input. The form: texts, types,
//! definitions; every number is LEB128, every text a place in the text table, every flag word as listed in `field`.

use std::sync::Arc;

use super::{Definition, Field, ListType, MapType, PatchStrategy, Schema, Texts, Type, TypeId};

pub(super) static GRAPH: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/graph.zst"));

pub(super) fn embedded() -> Schema {
    let bytes = zstd::decode_all(GRAPH).expect("invariant: the embedded schema is a zstd frame");
    let mut reader = Reader { bytes: &bytes, next: 0, texts: Vec::new() };
    let count = reader.number();
    reader.texts = (0..count).map(|_| reader.raw_text()).collect();
    let count = reader.number();
    let types = (0..count).map(|_| reader.ty()).collect();
    let count = reader.number();
    let definitions = (0..count).map(|index| reader.definition(index)).collect();
    Schema { types, definitions }
}

struct Reader<'a> {
    bytes: &'a [u8],
    next: usize,
    texts: Vec<Arc<str>>,
}

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        self.next += 1;
        self.bytes[self.next - 1]
    }

    fn number(&mut self) -> usize {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            value |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return value;
            }
            shift += 7;
        }
    }

    fn small(&mut self) -> u8 {
        u8::try_from(self.number()).expect("invariant: protobuf numbers fit a byte")
    }

    fn raw_text(&mut self) -> Arc<str> {
        let length = self.number();
        let bytes = &self.bytes[self.next..self.next + length];
        self.next += length;
        std::str::from_utf8(bytes).expect("invariant: embedded texts are UTF-8").into()
    }

    fn text(&mut self) -> Arc<str> {
        let index = self.number();
        self.texts[index].clone()
    }

    fn texts(&mut self) -> Texts {
        let count = self.number();
        (0..count).map(|_| self.text()).collect()
    }

    fn id(&mut self) -> TypeId {
        TypeId(u16::try_from(self.number()).expect("invariant: fewer types than a u16 counts"))
    }

    fn ty(&mut self) -> Type {
        match self.byte() {
            0 => Type::Object,
            1 => Type::List(self.id()),
            2 => Type::Map(self.id()),
            3 => Type::String,
            4 => Type::Integer32,
            5 => Type::Integer64,
            6 => Type::Number,
            7 => Type::Boolean,
            8 => Type::Bytes,
            9 => Type::Time,
            10 => Type::MicroTime,
            11 => Type::Quantity,
            12 => Type::IntOrString,
            13 => Type::Raw,
            14 => Type::FieldsV1,
            _ => Type::Json,
        }
    }

    fn definition(&mut self, index: usize) -> Definition {
        let id = TypeId(u16::try_from(index).expect("invariant: fewer types than a u16 counts"));
        let name = self.text();
        let count = self.number();
        let kinds = (0..count).map(|_| [self.text(), self.text(), self.text()]).collect();
        let atomic = self.number() == 1;
        let unions = self.text();
        let count = self.number();
        let embedded = (0..count).map(|_| (self.text(), self.small())).collect();
        let count = self.number();
        let fields = (0..count).map(|_| self.field()).collect();
        Definition { name, id, fields, kinds, atomic, unions, embedded }
    }

    fn field(&mut self) -> Field {
        let (name, ty, flags) = (self.text(), self.id(), self.number());
        let has = |bit: u32| flags >> bit & 1 == 1;
        Field {
            name,
            ty,
            required: has(0),
            pointer: has(1),
            always: has(2),
            default: has(3).then(|| {
                let text = self.text();
                Box::new(serde_json::from_str(&text).expect("invariant: embedded defaults are JSON"))
            }),
            values: has(4).then(|| self.texts()),
            list_type: match (has(5), has(6), has(7)) {
                (true, _, _) => ListType::Atomic,
                (_, true, _) => ListType::Set,
                (_, _, true) => ListType::Map,
                _ => ListType::Undeclared,
            },
            list_keys: has(7).then(|| self.texts()),
            map_type: match (has(12), has(13)) {
                (true, _) => MapType::Atomic,
                (_, true) => MapType::Granular,
                _ => MapType::Undeclared,
            },
            patch_strategy: PatchStrategy { merge: has(8), retain_keys: has(9), replace: has(10) },
            patch_key: has(11).then(|| self.text()),
            numbers: if has(14) { self.numbers() } else { [0; 3] },
            format: has(15).then(|| self.text()),
        }
    }

    fn numbers(&mut self) -> [u8; 3] {
        let mut path = [0; 3];
        let count = self.number();
        path.iter_mut().take(count).for_each(|place| *place = self.small());
        path
    }
}
