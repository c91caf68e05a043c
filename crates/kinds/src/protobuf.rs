//! Objects in protobuf: read and written by the field numbers of the schema.
//!
//! Invariant: what is written equals byte for byte what Go writes for the same object (numbers ascending, maps sorted,
//! fields that are no pointers always there), and reading it back gives the object again. A zero is told from an absent
//! field by the rules of Go: a pointer keeps its zero, another field keeps it only if Go always emits it as JSON.
//! Why not generated code: one walk over the graph serves every kind, and a message is two facts per field.
//!
//! Reading order: `plan` is the graph as messages, `read` and `write` are the two directions over JSON values,
//! `transcode` goes from the JSON text of a stored object to the same bytes without a value in between.

mod plan;
mod read;
pub(crate) mod text;
mod transcode;
pub(crate) mod wire;
mod write;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::schema::TypeId;

pub use transcode::Transcoder;

/// In front of every object.
pub const MAGIC: &[u8] = b"k8s\0";

/// Why bytes are not an object.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text}")]
pub struct ProtobufError {
    pub text: String,
    /// Version and kind of what it was said to be, if it got as far as saying so.
    pub object: Option<(String, String)>,
}

/// The object in an envelope, with its apiVersion and kind.
pub fn decode(bytes: &[u8]) -> Result<Value, ProtobufError> {
    decode_as(bytes, "", "")
}

/// As [`decode`], of the given apiVersion and kind if the envelope does not name them.
pub fn decode_as(bytes: &[u8], api_version: &str, kind: &str) -> Result<Value, ProtobufError> {
    let mut envelope = read::envelope(bytes).map_err(|text| ProtobufError { text, object: None })?;
    if envelope.api_version.is_empty() {
        api_version.clone_into(&mut envelope.api_version);
    }
    if envelope.kind.is_empty() {
        kind.clone_into(&mut envelope.kind);
    }
    let (_, version) = crate::catalog::split_api_version(&envelope.api_version);
    let object = Some((version.to_owned(), envelope.kind.clone()));
    read::object(envelope, bytes.len()).map_err(|text| ProtobufError { text, object })
}

/// The type of a message, by the apiVersion and kind of its envelope; none if it has no protobuf.
pub fn type_of(api_version: &str, kind: &str) -> Option<TypeId> {
    plan::plan().type_of(api_version, kind)
}

/// An object in its envelope; none if its apiVersion and kind have no protobuf.
pub fn encode(object: &Value) -> Option<Vec<u8>> {
    let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let ty = type_of(api_version, kind)?;
    let mut out = Vec::with_capacity(1024);
    envelope(&mut out, api_version, kind, |out| write::object(ty, object, out));
    Some(out)
}

/// An object of a type, without envelope.
pub fn message(ty: TypeId, object: &Value, out: &mut Vec<u8>) {
    write::object(ty, object, out);
}

/// Writes an envelope around what `raw` writes.
pub fn envelope(out: &mut Vec<u8>, api_version: &str, kind: &str, raw: impl FnOnce(&mut Vec<u8>)) {
    envelope_head(out, api_version, kind);
    wire::nested(out, 2, raw);
    out.extend_from_slice(ENVELOPE_TAIL);
}

/// What follows the object: no content encoding, no content type.
pub const ENVELOPE_TAIL: &[u8] = b"\x1a\0\x22\0";

fn envelope_head(out: &mut Vec<u8>, api_version: &str, kind: &str) {
    out.extend_from_slice(MAGIC);
    wire::nested(out, 1, |out| {
        wire::text(out, 1, api_version);
        wire::text(out, 2, kind);
    });
}

/// The start of a list of `items` messages that are `total` bytes together, each with [`item_head`]; then come the items
/// and [`ENVELOPE_TAIL`]. So a list can be sent while it is made.
pub fn list_head(api_version: &str, kind: &str, metadata: &Value, total: usize) -> Vec<u8> {
    let mut meta = Vec::new();
    wire::nested(&mut meta, 1, |out| {
        if let Some(ty) = crate::schema::find("apimachinery.pkg.apis.meta.v1.ListMeta") {
            write::object(ty, metadata, out);
        }
    });
    let mut out = Vec::with_capacity(meta.len() + 64);
    envelope_head(&mut out, api_version, kind);
    wire::key(&mut out, 2, wire::BYTES);
    wire::varint(&mut out, (meta.len() + total) as u64);
    out.extend(meta);
    out
}

/// What stands in front of an item of a list that is `length` bytes long.
pub fn item_head(out: &mut Vec<u8>, length: usize) {
    wire::key(out, 2, wire::BYTES);
    wire::varint(out, length as u64);
}

/// How many bytes an item of a list takes with its head.
pub fn item_size(length: usize) -> usize {
    1 + wire::varint_size(length as u64) + length
}

/// A watch event around the object that `fill` writes, which is all of a frame but its length.
pub fn watch_event(out: &mut Vec<u8>, change: &str, fill: impl FnOnce(&mut Vec<u8>)) {
    wire::text(out, 1, change);
    wire::nested(out, 2, |out| wire::nested(out, 1, fill));
}
