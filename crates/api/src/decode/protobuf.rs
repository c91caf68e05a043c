//! Protobuf bodies to the JSON they mean, by the field numbers of the schema.
//!
//! kubectl's typed commands (`create configmap`, `auth can-i`, `drain`) and most Go clients write protobuf and read
//! whatever we answer; so bodies are decoded and answers stay JSON. Two facts decide what a zero means: a field that is a
//! Go pointer keeps it, another one drops it unless Go always emits it. Why here and not per type: one walk over the
//! schema serves every kind.

use base64::{Engine, engine::general_purpose::STANDARD};
use kinds::schema::{self, Definition, Field, Schema, Type, TypeId};
use serde_json::{Map, Number, Value};

const MAGIC: &[u8] = b"k8s\0";
const DELETE_OPTIONS: &str = "apimachinery.pkg.apis.meta.v1.DeleteOptions";
const DEEPEST: usize = 128;

type Result<T> = std::result::Result<T, String>;

/// The object in an envelope, with its apiVersion and kind.
pub(crate) fn decode(bytes: &[u8]) -> Result<Value> {
    let Some(envelope) = bytes.strip_prefix(MAGIC) else {
        return Err("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned());
    };
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in parts(envelope) {
        match part? {
            (1, Wire::Bytes(meta)) => {
                for part in parts(meta) {
                    match part? {
                        (1, Wire::Bytes(text)) => api_version = utf8(text)?,
                        (2, Wire::Bytes(text)) => kind = utf8(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let ty = type_of(&api_version, &kind)
        .ok_or_else(|| format!("no kind {kind:?} is registered for version {api_version:?}"))?;
    let mut value = Reader { schema: schema::schema() }.value(ty, &Wire::Bytes(raw), 0)?;
    if let Some(fields) = value.as_object_mut() {
        fields.insert("apiVersion".to_owned(), Value::String(api_version));
        fields.insert("kind".to_owned(), Value::String(kind));
    }
    Ok(value)
}

fn type_of(api_version: &str, kind: &str) -> Option<TypeId> {
    let (group, version) = kinds::catalog::split_api_version(api_version);
    if let Some(row) = kinds::Catalog::builtin().by_kind(group, version, kind) {
        return Some(row.schema);
    }
    let speaks = |definition: &&Definition| {
        definition.kinds.iter().any(|[g, v, k]| **g == *group && **v == *version && **k == *kind)
    };
    let found = schema::schema().definitions().iter().find(speaks).map(|definition| definition.id);
    // clients write their delete options in the version of whatever they delete
    found.or_else(|| if kind == "DeleteOptions" { schema::find(DELETE_OPTIONS) } else { None })
}

#[derive(Clone, Copy, Debug)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// The fields of a message, in the order of the wire.
fn parts(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u64, Wire<'_>)>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let part = part(&mut bytes);
        if part.is_err() {
            bytes = &[];
        }
        Some(part)
    })
}

fn part<'a>(bytes: &mut &'a [u8]) -> Result<(u64, Wire<'a>)> {
    let key = varint(bytes)?;
    let wire = match key & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => Wire::Fixed64(u64::from_le_bytes(array(bytes)?)),
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| cut())?;
            Wire::Bytes(take(bytes, length)?)
        }
        5 => Wire::Fixed32(u32::from_le_bytes(array(bytes)?)),
        other => return Err(format!("proto: illegal wireType {other}")),
    };
    Ok((key >> 3, wire))
}

fn varint(bytes: &mut &[u8]) -> Result<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let [byte] = array(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("proto: integer overflow".to_owned())
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(length).ok_or_else(cut)?;
    *bytes = rest;
    Ok(head)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    take(bytes, N)?.try_into().map_err(|_| cut())
}

fn cut() -> String {
    "unexpected EOF".to_owned()
}

fn utf8(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "proto: a string is not UTF-8".to_owned())
}

struct Reader {
    schema: &'static Schema,
}

impl Reader {
    fn value(&self, ty: TypeId, wire: &Wire<'_>, depth: usize) -> Result<Value> {
        if depth > DEEPEST {
            return Err("proto: nested too deep".to_owned());
        }
        Ok(match (self.schema.ty(ty), *wire) {
            (Type::Boolean, Wire::Varint(number)) => Value::Bool(number != 0),
            (Type::Integer32 | Type::Integer64, Wire::Varint(number)) => Value::from(number.cast_signed()),
            (Type::Number, Wire::Fixed64(bits)) => float(f64::from_bits(bits)),
            (Type::Number, Wire::Fixed32(bits)) => float(f64::from(f32::from_bits(bits))),
            (Type::String, Wire::Bytes(bytes)) => Value::String(utf8(bytes)?),
            (Type::Bytes, Wire::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
            (Type::Time, Wire::Bytes(bytes)) => time(bytes, base::time::rfc3339)?,
            (Type::MicroTime, Wire::Bytes(bytes)) => time(bytes, base::time::rfc3339_micro)?,
            (Type::Quantity, Wire::Bytes(bytes)) => Value::String(utf8(inner(bytes, 1)?)?),
            (Type::IntOrString, Wire::Bytes(bytes)) => int_or_string(bytes)?,
            (Type::Raw | Type::FieldsV1 | Type::Json, Wire::Bytes(bytes)) => raw(bytes)?,
            (Type::Object, Wire::Bytes(bytes)) => match self.schema.definition(ty) {
                Some(definition) => self.message(definition, bytes, depth)?,
                None => Value::Null,
            },
            // a list inside a map or a list is a message of its own, as is a map
            (Type::List(_), Wire::Bytes(bytes)) => {
                let mut items = Value::Null;
                for part in parts(bytes) {
                    if let (1, wire) = part? {
                        self.add(&mut items, ty, &wire, depth + 1)?;
                    }
                }
                if items.is_null() { Value::Array(Vec::new()) } else { items }
            }
            (kind, wire) => return Err(format!("proto: wrong wireType for {kind:?}: {wire:?}")),
        })
    }

    fn message(&self, definition: &Definition, bytes: &[u8], depth: usize) -> Result<Value> {
        let mut fields = Map::new();
        for field in &definition.fields {
            // what Go always emits is there even if the wire left it out
            if field.always
                && !field.pointer
                && field.numbers[1] == 0
                && field.numbers[0] != 0
                && let Some(zero) = self.zero(field.ty)
            {
                fields.insert(field.name.to_string(), zero);
            }
        }
        self.fill(definition, bytes, &[], &mut fields, depth)?;
        Ok(Value::Object(fields))
    }

    /// Reads the fields whose numbers begin with `path`; a Go-inlined struct is a message inside the message.
    fn fill(
        &self,
        definition: &Definition,
        bytes: &[u8],
        path: &[u8],
        fields: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<()> {
        for part in parts(bytes) {
            let (number, wire) = part?;
            let Ok(number) = u8::try_from(number) else { continue };
            let mut here = path.to_vec();
            here.push(number);
            let exact = |field: &&Field| {
                field.numbers.starts_with(&here) && field.numbers.get(here.len()).is_none_or(|next| *next == 0)
            };
            if let Some(field) = definition.fields.iter().find(exact) {
                self.set(field, &wire, fields, depth)?;
            } else if let Wire::Bytes(inner) = wire
                && here.len() < 3
                && definition.fields.iter().any(|field| field.numbers.starts_with(&here))
            {
                self.fill(definition, inner, &here, fields, depth)?;
            }
        }
        Ok(())
    }

    fn set(&self, field: &Field, wire: &Wire<'_>, fields: &mut Map<String, Value>, depth: usize) -> Result<()> {
        let name = field.name.as_ref();
        if matches!(self.schema.ty(field.ty), Type::List(_) | Type::Map(_)) {
            let entry = fields.entry(name).or_insert(Value::Null);
            return self.add(entry, field.ty, wire, depth + 1);
        }
        let value = self.value(field.ty, wire, depth + 1)?;
        let zero = match &value {
            Value::Null => true,
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(_) | Value::Object(_) => false,
        };
        if zero && !field.pointer && !field.always {
            fields.remove(name);
        } else {
            fields.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// Adds one element of a repeated field.
    fn add(&self, entry: &mut Value, ty: TypeId, wire: &Wire<'_>, depth: usize) -> Result<()> {
        match self.schema.ty(ty) {
            Type::List(item) => {
                if !entry.is_array() {
                    *entry = Value::Array(Vec::new());
                }
                let Value::Array(items) = entry else { return Ok(()) };
                match (self.schema.ty(item), wire) {
                    (Type::Integer32 | Type::Integer64 | Type::Boolean, &Wire::Bytes(mut packed)) => {
                        while !packed.is_empty() {
                            let number = varint(&mut packed)?;
                            items.push(self.value(item, &Wire::Varint(number), depth)?);
                        }
                    }
                    _ => items.push(self.value(item, wire, depth)?),
                }
            }
            Type::Map(item) => {
                let Wire::Bytes(bytes) = wire else { return Err("proto: wrong wireType for a map".to_owned()) };
                let (mut key, mut value) = (String::new(), None);
                for part in parts(bytes) {
                    match part? {
                        (1, Wire::Bytes(text)) => key = utf8(text)?,
                        (2, wire) => value = Some(self.value(item, &wire, depth)?),
                        _ => {}
                    }
                }
                if !entry.is_object() {
                    *entry = Value::Object(Map::new());
                }
                let absent = || self.zero(item).unwrap_or(Value::Null);
                entry[key] = value.unwrap_or_else(absent);
            }
            _ => {}
        }
        Ok(())
    }

    fn zero(&self, ty: TypeId) -> Option<Value> {
        match self.schema.ty(ty) {
            Type::String | Type::Bytes => Some(Value::String(String::new())),
            Type::Integer32 | Type::Integer64 => Some(Value::from(0)),
            Type::Boolean => Some(Value::Bool(false)),
            _ => None,
        }
    }
}

fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// The bytes of field `number` of a message.
fn inner(bytes: &[u8], number: u64) -> Result<&[u8]> {
    let mut found = &[][..];
    for part in parts(bytes) {
        if let (held, Wire::Bytes(inner)) = part?
            && held == number
        {
            found = inner;
        }
    }
    Ok(found)
}

fn time(bytes: &[u8], print: fn(base::time::Timestamp) -> String) -> Result<Value> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanos) = (0, 0);
    for part in parts(bytes) {
        match part? {
            (1, Wire::Varint(number)) => seconds = number.cast_signed(),
            (2, Wire::Varint(number)) => nanos = i32::try_from(number.cast_signed()).unwrap_or(0),
            _ => {}
        }
    }
    let at = base::time::Timestamp::new(seconds, nanos).map_err(|_| "proto: a time is out of range".to_owned())?;
    Ok(Value::String(print(at)))
}

fn int_or_string(bytes: &[u8]) -> Result<Value> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for part in parts(bytes) {
        match part? {
            (1, Wire::Varint(kind)) => is_text = kind == 1,
            (2, Wire::Varint(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = utf8(value)?,
            _ => {}
        }
    }
    Ok(if is_text { Value::String(text) } else { Value::from(number) })
}

fn raw(bytes: &[u8]) -> Result<Value> {
    let json = inner(bytes, 1)?;
    if json.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(json).map_err(|error| format!("proto: an embedded object is not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2, u8::try_from(bytes.len()).expect("a short field")];
        out.extend_from_slice(bytes);
        out
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let meta = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_config_map_is_read_by_the_numbers_of_the_schema() {
        let metadata = field(1, &field(1, b"a"));
        let entry = field(2, &[field(1, b"k"), field(2, b"v")].concat());
        let read = decode(&envelope("v1", "ConfigMap", &[metadata, entry].concat())).expect("a config map");
        let expected = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}});
        assert_eq!(read, expected);
    }

    #[test]
    fn a_pointer_keeps_its_zero_and_an_inlined_struct_is_flat() {
        // Deployment.spec.replicas = 0; template.spec.volumes[0].hostPath through VolumeSource
        let volume = [field(1, b"v"), field(2, &field(1, &field(1, b"/x")))].concat();
        let template = field(2, &field(1, &volume));
        let spec = [vec![1 << 3, 0], field(3, &template)].concat();
        let read = decode(&envelope("apps/v1", "Deployment", &field(2, &spec))).expect("a deployment");
        assert_eq!(read.pointer("/spec/replicas"), Some(&json!(0)));
        let path = read.pointer("/spec/template/spec/volumes/0");
        assert_eq!(path, Some(&json!({"name": "v", "hostPath": {"path": "/x"}})), "{read}");
    }

    #[test]
    fn bodies_that_are_no_rows_have_a_type_too() {
        for (version, kind) in [
            ("v1", "DeleteOptions"),
            ("apps/v1", "DeleteOptions"),
            ("meta.k8s.io/v1", "DeleteOptions"),
            ("policy/v1", "Eviction"),
            ("autoscaling/v1", "Scale"),
            ("authentication.k8s.io/v1", "TokenRequest"),
            ("v1", "Binding"),
        ] {
            assert!(type_of(version, kind).is_some(), "{version} {kind}");
        }
    }

    #[test]
    fn what_is_no_protobuf_is_refused() {
        assert!(decode(b"{}").is_err());
        assert!(decode(b"k8s\0\x0a\xff").is_err());
        assert!(decode(&envelope("v1", "Nope", b"")).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(raw in proptest::collection::vec(any::<u8>(), 0..100)) {
            let kinds = [("v1", "Pod"), ("v1", "DeleteOptions"), ("apiextensions.k8s.io/v1", "CustomResourceDefinition")];
            for (version, kind) in kinds {
                drop(decode(&envelope(version, kind, &raw)));
            }
        }
    }
}
