//! An OpenAPI document as the protobuf messages of gnostic, which is the only form some clients ask for.
//!
//! Invariant: made from the JSON document and nothing else, so both always say the same. What a member becomes is a table
//! per version of OpenAPI; free values (defaults, extensions) stay text, which gnostic reads as YAML. Why from text to
//! bytes: a tree of the document would be ten times as large as the document.

mod v2;
mod v3;

use super::Flavour;
use crate::protobuf::text::{Odd, Result, Text, number, unescape};
use crate::protobuf::wire;

/// Nesting beyond this is no schema.
const DEEPEST: usize = 200;

/// A message and what its JSON members become.
struct Message {
    members: &'static [(&'static str, u8, Form)],
    /// The number of the list of extensions; 0 if it has none.
    extensions: u8,
    /// What members that are not listed become: entries of a list of named values.
    others: Option<(u8, Form)>,
}

/// What one value becomes.
#[derive(Clone, Copy)]
enum Form {
    Text,
    Bool,
    Integer,
    Double,
    /// Any value, kept as text.
    Any,
    /// A message whose field 1 is a list of texts, given one or many.
    Texts,
    /// A default of version 3: only scalars have a place in it.
    Scalar,
    Message(&'static Message),
    /// A message with a list of named values for the members of an object.
    Map(&'static Form),
    /// Repeated, for each item of an array.
    Each(&'static Form),
    /// A message whose field 1 is repeated: schemas of items, given one or many.
    Items(&'static Form),
    /// One of several messages inside another one, as the object itself tells.
    Choice(fn(&Object<'_>) -> (u8, Form)),
}

impl Form {
    /// Whether a value that begins like this has this form. Schemas of custom resources are written by others; what does
    /// not fit is left out.
    fn takes(self, first: u8) -> bool {
        match self {
            Form::Text => first == b'"',
            Form::Bool => matches!(first, b't' | b'f'),
            Form::Integer | Form::Double => first == b'-' || first.is_ascii_digit(),
            Form::Texts => matches!(first, b'"' | b'['),
            Form::Message(_) | Form::Map(_) => first == b'{',
            Form::Each(_) => first == b'[',
            Form::Any | Form::Scalar | Form::Items(_) | Form::Choice(_) => true,
        }
    }
}

/// An object that is looked into before it is decided what it is.
struct Object<'j> {
    text: Text<'j>,
}

impl<'j> Object<'j> {
    /// The text of a member that is a text.
    fn text(&self, name: &str) -> Option<&'j [u8]> {
        let mut text = self.text;
        text.expect(b'{').ok()?;
        while text.look().ok()? == b'"' {
            let (key, _) = text.string().ok()?;
            text.expect(b':').ok()?;
            if key == name.as_bytes() {
                return (text.look().ok()? == b'"').then(|| text.string().map(|(value, _)| value).ok())?;
            }
            text.skip().ok()?;
            if text.next().ok()? != b',' {
                return None;
            }
        }
        None
    }

    /// Whether it is nothing but a reference; those begin with it.
    fn is_reference(&self) -> bool {
        let mut text = self.text;
        let first = text.expect(b'{').and_then(|()| text.string());
        first.is_ok_and(|(key, _)| key == b"$ref")
    }

    fn is_object(&self) -> bool {
        let mut text = self.text;
        text.look().is_ok_and(|byte| byte == b'{')
    }
}

/// The document in protobuf.
pub(super) fn document(flavour: Flavour, json: &[u8]) -> Vec<u8> {
    let message = match flavour {
        Flavour::V2 => &v2::DOCUMENT,
        Flavour::V3 => &v3::DOCUMENT,
    };
    let mut out = Vec::with_capacity(json.len());
    let mut writer = Writer { text: Text::new(json), depth: 0 };
    writer.members(message, &mut out).expect("invariant: the document was written by ourselves");
    out
}

struct Writer<'j> {
    text: Text<'j>,
    depth: usize,
}

impl Writer<'_> {
    /// Walks over the members of an object.
    fn each_member(&mut self, mut take: impl FnMut(&mut Self, &[u8]) -> Result<()>) -> Result<()> {
        self.depth += 1;
        self.text.expect(b'{')?;
        if self.text.look()? == b'}' {
            self.text.pass();
        } else {
            loop {
                self.text.space();
                let (key, escaped) = self.text.string()?;
                self.text.expect(b':')?;
                if escaped {
                    let mut plain = Vec::new();
                    unescape(key, &mut plain)?;
                    take(self, &plain)?;
                } else {
                    take(self, key)?;
                }
                match self.text.next()? {
                    b',' => {}
                    b'}' => break,
                    _ => return Err(Odd),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn each_item(&mut self, mut take: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.text.expect(b'[')?;
        if self.text.look()? == b']' {
            self.text.pass();
            return Ok(());
        }
        loop {
            take(self)?;
            match self.text.next()? {
                b',' => {}
                b']' => return Ok(()),
                _ => return Err(Odd),
            }
        }
    }

    /// The content of a message.
    fn members(&mut self, message: &Message, out: &mut Vec<u8>) -> Result<()> {
        self.each_member(|writer, key| {
            let listed = message.members.iter().find(|(name, ..)| name.as_bytes() == key);
            match (listed, message.others) {
                (Some((_, number, form)), _) => writer.field(*number, *form, out),
                (None, _) if key.starts_with(b"x-") && message.extensions > 0 => {
                    writer.named(message.extensions, key, Form::Any, out)
                }
                (None, Some((number, form))) => writer.named(number, key, form, out),
                (None, None) => writer.text.skip(),
            }
        })
    }

    /// An entry of a list of named values.
    fn named(&mut self, number: u8, key: &[u8], form: Form, out: &mut Vec<u8>) -> Result<()> {
        self.nested(number, out, |writer, out| {
            wire::bytes(out, 1, key);
            writer.field(2, form, out)
        })
    }

    fn nested(
        &mut self,
        number: u8,
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut Self, &mut Vec<u8>) -> Result<()>,
    ) -> Result<()> {
        wire::key(out, number, wire::BYTES);
        let start = wire::open(out);
        fill(self, out)?;
        wire::close(out, start);
        Ok(())
    }

    /// One value as a field.
    fn field(&mut self, field: u8, form: Form, out: &mut Vec<u8>) -> Result<()> {
        if self.depth > DEEPEST || !form.takes(self.text.look()?) {
            return self.text.skip();
        }
        match form {
            Form::Text => self.put_text(field, out),
            Form::Bool => {
                let value = self.text.value()?;
                wire::integer(out, field, i64::from(value == b"true"));
                Ok(())
            }
            Form::Integer => {
                let value = number(self.text.value()?).parse::<f64>().map_err(|_| Odd)?;
                wire::integer(out, field, value as i64);
                Ok(())
            }
            Form::Double => {
                let value = number(self.text.value()?).parse::<f64>().map_err(|_| Odd)?;
                wire::key(out, field, wire::FIXED64);
                out.extend_from_slice(&value.to_le_bytes());
                Ok(())
            }
            Form::Any => self.nested(field, out, |writer, out| {
                let text = writer.text.value()?;
                wire::nested(out, 2, |out| {
                    out.extend_from_slice(text);
                    out.push(b'\n');
                });
                Ok(())
            }),
            Form::Texts => self.nested(field, out, |writer, out| {
                if writer.text.look()? == b'[' {
                    return writer.each_item(|writer| writer.field(1, Form::Text, out));
                }
                writer.put_text(1, out)
            }),
            Form::Scalar => self.nested(field, out, |writer, out| match writer.text.look()? {
                b'"' => writer.put_text(3, out),
                b't' | b'f' => writer.field(2, Form::Bool, out),
                b'{' | b'[' | b'n' => writer.text.skip(),
                _ => writer.field(1, Form::Double, out),
            }),
            Form::Message(message) => self.nested(field, out, |writer, out| writer.members(message, out)),
            Form::Map(form) => self
                .nested(field, out, |writer, out| writer.each_member(|writer, key| writer.named(1, key, *form, out))),
            Form::Each(form) => self.each_item(|writer| writer.field(field, *form, out)),
            Form::Items(form) => self.nested(field, out, |writer, out| {
                if writer.text.look()? == b'[' {
                    return writer.each_item(|writer| writer.field(1, *form, out));
                }
                writer.field(1, *form, out)
            }),
            Form::Choice(choose) => {
                let (inner, form) = choose(&Object { text: self.text });
                self.nested(field, out, |writer, out| writer.field(inner, form, out))
            }
        }
    }

    fn put_text(&mut self, field: u8, out: &mut Vec<u8>) -> Result<()> {
        self.text.look()?;
        let (text, escaped) = self.text.string()?;
        wire::key(out, field, wire::BYTES);
        let start = wire::open(out);
        if escaped {
            unescape(text, out)?;
        } else {
            out.extend_from_slice(text);
        }
        wire::close(out, start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of a message: number and content.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let key = wire::read_varint(&mut bytes).expect("a key");
            let content = match key & 7 {
                0 => wire::read_varint(&mut bytes).expect("a number").to_string().into_bytes(),
                1 => {
                    let (head, rest) = bytes.split_at(8);
                    bytes = rest;
                    head.to_vec()
                }
                _ => {
                    let length = wire::read_varint(&mut bytes).expect("a length");
                    let (head, rest) = bytes.split_at(usize::try_from(length).expect("a length"));
                    bytes = rest;
                    head.to_vec()
                }
            };
            found.push((key >> 3, content));
        }
        found
    }

    /// The content below a path of field numbers, the first of each.
    #[track_caller]
    fn dig(bytes: &[u8], path: &[u64]) -> Vec<u8> {
        path.iter().fold(bytes.to_vec(), |bytes, number| {
            let found = fields(&bytes).into_iter().find(|(held, _)| held == number);
            found.unwrap_or_else(|| panic!("no field {number} of {path:?}")).1
        })
    }

    /// The value of an entry of a list of named values.
    #[track_caller]
    fn named(bytes: &[u8], list: u64, name: &str) -> Vec<u8> {
        let entries = fields(bytes).into_iter().filter(|(number, _)| *number == list);
        let found = entries.map(|(_, entry)| entry).find(|entry| dig(entry, &[1]) == name.as_bytes());
        dig(&found.unwrap_or_else(|| panic!("no {name}")), &[2])
    }

    #[test]
    fn version_2_has_its_definitions_and_paths() {
        let bytes = document(Flavour::V2, &super::super::v2().bytes);
        assert_eq!(dig(&bytes, &[1]), b"2.0");
        let definitions = dig(&bytes, &[9]);
        let container = named(&definitions, 1, "io.k8s.api.core.v1.Container");
        let ports = named(&dig(&container, &[25]), 1, "ports");
        assert_eq!(dig(&ports, &[22, 1]), b"array");
        assert_eq!(dig(&ports, &[23, 1, 1]), b"#/definitions/io.k8s.api.core.v1.ContainerPort");
        assert_eq!(dig(&named(&ports, 31, "x-kubernetes-patch-merge-key"), &[2]), b"\"containerPort\"\n");
        assert_eq!(fields(&container).iter().filter(|(number, _)| *number == 19).count(), 1, "required: name");
        let pod = named(&definitions, 1, "io.k8s.api.core.v1.Pod");
        let kinds = dig(&named(&pod, 31, "x-kubernetes-group-version-kind"), &[2]);
        assert_eq!(kinds, b"[{\"group\":\"\",\"kind\":\"Pod\",\"version\":\"v1\"}]\n");
        let labels =
            named(&dig(&named(&definitions, 1, "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"), &[25]), 1, "labels");
        assert_eq!(dig(&labels, &[21, 1, 22, 1]), b"string");
        let path = named(&dig(&bytes, &[8]), 2, "/api/v1/namespaces/{namespace}/configmaps");
        let post = dig(&path, &[4]);
        assert_eq!(dig(&post, &[5]), b"createCoreV1NamespacedConfigMap");
        let body = fields(&post).into_iter().filter(|(number, _)| *number == 8).map(|(_, item)| item);
        let body = body.map(|item| fields(&item)).find(|item| item[0].0 == 1).expect("a body");
        assert_eq!(dig(&body[0].1, &[1, 5, 1]), b"#/definitions/io.k8s.api.core.v1.ConfigMap");
        let ok = named(&dig(&post, &[9]), 1, "200");
        assert_eq!(dig(&ok, &[1, 2, 1, 1]), b"#/definitions/io.k8s.api.core.v1.ConfigMap");
        let patch = dig(&named(&dig(&bytes, &[8]), 2, "/api/v1/namespaces/{namespace}/configmaps/{name}"), &[8]);
        let dry_run = dig(&patch, &[8, 1, 2, 3, 4]);
        assert_eq!(dry_run, b"dryRun");
    }

    #[test]
    fn version_3_tells_references_from_schemas() {
        let json = super::super::v3("apps", "v1").expect("apps").bytes;
        let bytes = document(Flavour::V3, &json);
        assert_eq!(dig(&bytes, &[1]), b"3.0.0");
        let schemas = dig(&bytes, &[5, 1]);
        let deployment = named(&schemas, 1, "io.k8s.api.apps.v1.Deployment");
        let spec = dig(&named(&dig(&deployment, &[1, 31]), 1, "spec"), &[1]);
        assert_eq!(dig(&spec, &[26, 2, 1]), b"#/components/schemas/io.k8s.api.apps.v1.DeploymentSpec");
        let path = named(&dig(&bytes, &[4]), 1, "/apis/apps/v1/namespaces/{namespace}/deployments");
        assert_eq!(dig(&path, &[4, 5]), b"listAppsV1NamespacedDeployment");
        let body = dig(&path, &[6, 7, 1, 2]);
        let json = named(&body, 1, "application/json");
        assert_eq!(dig(&json, &[1, 2, 1]), b"#/components/schemas/io.k8s.api.apps.v1.Deployment");
        let protocol = named(&dig(&named(&schemas, 1, "io.k8s.api.core.v1.ContainerPort"), &[1, 31]), 1, "protocol");
        assert_eq!(dig(&protocol, &[1, 33, 3]), b"TCP");
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let deep = format!("{}{}", r#"{"items":"#.repeat(1000), "}".repeat(1000)).replace(":}", ":{}}");
        for schema in [
            r#"{"description":1,"required":{},"properties":[],"type":true,"maxLength":"a","items":1,"enum":null}"#,
            r#"{"additionalProperties":"x","allOf":{},"default":[1],"x-any":{"a":[null]},"$ref":2}"#,
            &deep,
        ] {
            let json = format!(r#"{{"definitions":{{"a":{schema}}},"swagger":"2.0"}}"#);
            let bytes = document(Flavour::V2, json.as_bytes());
            assert_eq!(dig(&bytes, &[1]), b"2.0");
            let json = format!(r#"{{"components":{{"schemas":{{"a":{schema}}}}},"openapi":"3.0.0"}}"#);
            assert_eq!(dig(&document(Flavour::V3, json.as_bytes()), &[1]), b"3.0.0");
        }
    }

    #[test]
    fn every_member_of_the_documents_has_a_place() {
        fn check(value: &serde_json::Value, message: &Message, place: &str) {
            let Some(members) = value.as_object() else { return };
            for (name, value) in members {
                let listed = message.members.iter().find(|(held, ..)| held == name);
                let place = format!("{place}.{name}");
                let form = match listed {
                    Some((.., form)) => *form,
                    None if name.starts_with("x-") => continue,
                    None => message.others.unwrap_or_else(|| panic!("no place for {place}")).1,
                };
                check_form(value, form, &place);
            }
        }
        fn check_form(value: &serde_json::Value, form: Form, place: &str) {
            match form {
                Form::Message(message) => check(value, message, place),
                Form::Map(form) => {
                    for (name, value) in value.as_object().into_iter().flatten() {
                        check_form(value, *form, &format!("{place}.{name}"));
                    }
                }
                Form::Each(form) | Form::Items(form) => {
                    let one = std::slice::from_ref(value);
                    for value in value.as_array().map_or(one, Vec::as_slice) {
                        check_form(value, *form, place);
                    }
                }
                Form::Choice(choose) => {
                    let text = value.to_string();
                    check_form(value, choose(&Object { text: Text::new(text.as_bytes()) }).1, place);
                }
                _ => {}
            }
        }
        let v2: serde_json::Value = serde_json::from_slice(&super::super::v2().bytes).expect("JSON");
        check(&v2, &v2::DOCUMENT, "");
        for (group, version) in [("", "v1"), ("apps", "v1"), ("apiextensions.k8s.io", "v1"), ("policy", "v1")] {
            let bytes = super::super::v3(group, version).expect("served").bytes;
            check(&serde_json::from_slice(&bytes).expect("JSON"), &v3::DOCUMENT, "");
        }
    }
}
