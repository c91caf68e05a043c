//! Writes JSON straight into a buffer.
//!
//! Invariant: what is opened is closed, because nesting is by closure. Why not build a `Value`: a document of a megabyte
//! would take ten as a tree of small allocations, and the process would never give them back to the system.

use serde_json::Value;

/// A JSON object being written.
pub(super) struct Object<'b> {
    out: &'b mut Vec<u8>,
    empty: bool,
}

/// A JSON array being written.
pub(super) struct Array<'b> {
    out: &'b mut Vec<u8>,
    empty: bool,
}

/// Writes one object.
pub(super) fn object(fill: impl FnOnce(&mut Object<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    put_object(&mut out, fill);
    out
}

fn put_object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, empty: true });
    out.push(b'}');
}

fn put_array(out: &mut Vec<u8>, fill: impl FnOnce(&mut Array<'_>)) {
    out.push(b'[');
    fill(&mut Array { out, empty: true });
    out.push(b']');
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("invariant: text always serialises into memory");
}

impl Object<'_> {
    fn name(&mut self, name: &str) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        put_text(self.out, name);
        self.out.push(b':');
        self.out
    }

    pub(super) fn text(&mut self, name: &str, text: &str) {
        let out = self.name(name);
        put_text(out, text);
    }

    /// Writes the text unless it is empty.
    pub(super) fn some_text(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.text(name, text);
        }
    }

    pub(super) fn value(&mut self, name: &str, value: &Value) {
        let out = self.name(name);
        serde_json::to_writer(out, value).expect("invariant: a JSON value always serialises into memory");
    }

    pub(super) fn flag(&mut self, name: &str, flag: bool) {
        self.name(name).extend_from_slice(if flag { b"true" } else { b"false" });
    }

    pub(super) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        put_object(self.name(name), fill);
    }

    pub(super) fn array(&mut self, name: &str, fill: impl FnOnce(&mut Array<'_>)) {
        put_array(self.name(name), fill);
    }

    pub(super) fn texts<'t>(&mut self, name: &str, texts: impl IntoIterator<Item = &'t str>) {
        self.array(name, |array| texts.into_iter().for_each(|text| array.text(text)));
    }
}

impl Array<'_> {
    fn next(&mut self) -> &mut Vec<u8> {
        if !std::mem::replace(&mut self.empty, false) {
            self.out.push(b',');
        }
        self.out
    }

    pub(super) fn text(&mut self, text: &str) {
        let out = self.next();
        put_text(out, text);
    }

    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Object<'_>)) {
        put_object(self.next(), fill);
    }
}
