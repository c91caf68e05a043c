//! The stored form of an object, and how its resourceVersion gets into it.
//!
//! On disk an object is JSON without `metadata.resourceVersion`, behind a four-byte header that says where that field
//! belongs. The store calls [`stamp`] once per version with the revision of the commit; the result is plain JSON that is
//! sent to every reader and watcher as it is. Why not store the number: it is known only inside the commit, after the
//! bytes were handed over; why not parse and print again: that would cost more than the commit's own work.

use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Map, Value};

const HEADER: usize = 4;
const FIELD: &str = "resourceVersion";

/// The bytes to hand to `store.commit`. Any resourceVersion in `object` is left out.
pub(crate) fn stored(object: &Value) -> Bytes {
    framed(object, true)
}

/// As [`stored`], for a custom resource, whose managedFields have no order but that of their texts.
pub(crate) fn stored_custom(object: &Value) -> Bytes {
    framed(object, false)
}

fn framed(object: &Value, by_size: bool) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    out.put_u32_le(0);
    let mut splice = 0;
    match object {
        Value::Object(fields) => splice = write_object(&mut out, fields, by_size),
        other => write(&mut out, other),
    }
    let splice = u32::try_from(splice).expect("invariant: objects stay far below 4 GiB by the body limit");
    out[..HEADER].copy_from_slice(&splice.to_le_bytes());
    Bytes::from(out)
}

/// Writes the top level; returns the offset behind the header where resourceVersion belongs, 0 if there is no metadata.
fn write_object(out: &mut Vec<u8>, fields: &Map<String, Value>, by_size: bool) -> usize {
    let mut splice = 0;
    out.push(b'{');
    for (index, (name, value)) in fields.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_key(out, name);
        match value {
            Value::Object(metadata) if name == "metadata" => splice = write_metadata(out, metadata, by_size),
            other => write(out, other),
        }
    }
    out.push(b'}');
    splice
}

fn write_metadata(out: &mut Vec<u8>, metadata: &Map<String, Value>, by_size: bool) -> usize {
    out.push(b'{');
    let start = out.len() - HEADER;
    let mut splice = start;
    let mut first = true;
    for (name, value) in metadata.iter().filter(|(name, _)| *name != FIELD) {
        if !first {
            out.push(b',');
        }
        first = false;
        // keys come sorted: the field goes in front of the first key that follows it, so that nothing needs a comma
        if splice == start && name.as_str() > FIELD {
            splice = out.len() - HEADER;
        }
        write_key(out, name);
        if by_size && name == "managedFields" {
            kinds::managed::print(value, out);
        } else {
            write(out, value);
        }
    }
    out.push(b'}');
    splice
}

fn write_key(out: &mut Vec<u8>, name: &str) {
    serde_json::to_writer(&mut *out, name).expect("invariant: a string encodes into memory");
    out.push(b':');
}

fn write(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("invariant: a JSON value encodes into memory");
}

/// The readable form of stored bytes at `revision`; given to `store::open`.
pub fn stamp(raw: &Bytes, revision: u64) -> Bytes {
    let Some((header, json)) = raw.split_first_chunk::<HEADER>() else { return raw.clone() };
    let splice = u32::from_le_bytes(*header) as usize;
    if splice == 0 || splice > json.len() {
        return raw.slice(HEADER..);
    }
    let mut digits = [0_u8; 20];
    let digits = decimal(revision, &mut digits);
    let comma = usize::from(json.get(splice) != Some(&b'}'));
    let mut out = BytesMut::with_capacity(json.len() + FIELD.len() + digits.len() + 5 + comma);
    out.put_slice(&json[..splice]);
    out.put_slice(b"\"resourceVersion\":\"");
    out.put_slice(digits);
    out.put_slice(if comma == 1 { b"\"," } else { b"\"" });
    out.put_slice(&json[splice..]);
    out.freeze()
}

fn decimal(mut number: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + u8::try_from(number % 10).expect("invariant: a digit");
        number /= 10;
        if number == 0 {
            return &buffer[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(object: &Value, revision: u64) {
        let mut expected = object.clone();
        expected["metadata"][FIELD] = Value::String(revision.to_string());
        let read: Value = serde_json::from_slice(&stamp(&stored(object), revision)).expect("stamped bytes are JSON");
        assert_eq!(read, expected);
    }

    #[test]
    fn the_revision_lands_in_the_metadata_and_replaces_an_older_one() {
        check(&json!({"kind": "Pod", "metadata": {"name": "a", "uid": "1", "resourceVersion": "3"}, "spec": {}}), 42);
        check(&json!({"kind": "Pod", "metadata": {"name": "a"}}), u64::MAX);
        check(&json!({"kind": "Pod", "metadata": {}}), 0);
        check(&json!({"metadata": {"uid": "1"}, "spec": {"metadata": {"name": "inner"}}}), 7);
    }

    proptest! {
        #[test]
        fn any_metadata_stays_json(keys in proptest::collection::btree_map("[a-zA-Z]{0,20}", ".*", 0..6), revision: u64) {
            check(&json!({"a": 1, "metadata": keys, "z": [1]}), revision);
        }
    }
}
