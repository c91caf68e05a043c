//! The same words in either language: objects go out and come back as JSON or as protobuf.

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

use crate::support::{Reply, Server, build};

pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Protobuf,
}

/// A server that is spoken to in one form.
pub(crate) struct Speaker<'a> {
    pub(crate) server: &'a Server,
    pub(crate) form: Form,
}

impl Speaker<'_> {
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "", Bytes::new()).await
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Reply {
        self.object("POST", path, object).await
    }

    pub(crate) async fn put(&self, path: &str, object: &Value) -> Reply {
        self.object("PUT", path, object).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Reply {
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0});
        self.object("DELETE", path, &options).await
    }

    /// Patches have forms of their own; only the answer is in this one.
    pub(crate) async fn patch(&self, path: &str, dialect: &str, patch: &Value) -> Reply {
        self.ask("PATCH", path, &format!("application/{dialect}"), patch.to_string()).await
    }

    async fn object(&self, method: &str, path: &str, object: &Value) -> Reply {
        match self.form {
            Form::Json => self.ask(method, path, "application/json", object.to_string()).await,
            Form::Protobuf => {
                let bytes = kinds::protobuf::encode(object).unwrap_or_else(|| panic!("no protobuf for {object}"));
                self.ask(method, path, PROTOBUF, bytes).await
            }
        }
    }

    async fn ask(&self, method: &str, path: &str, content_type: &str, body: impl Into<Bytes>) -> Reply {
        let mut headers = vec![("accept", self.accept())];
        if !content_type.is_empty() {
            headers.push(("content-type", content_type));
        }
        let (server, body) = (self.server, body.into());
        let response = server.client.clone().send(build(&format!("{method} {path}"), &headers, body)).await;
        let (parts, body) = response.expect("an answer").into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let (body, text) = match self.form {
            Form::Json => {
                (serde_json::from_slice(&bytes).unwrap_or(Value::Null), String::from_utf8_lossy(&bytes).into_owned())
            }
            Form::Protobuf => {
                let told = parts.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
                assert_eq!(told, PROTOBUF, "{method} {path}: {}", String::from_utf8_lossy(&bytes));
                let body = exact(&bytes);
                let text = body.to_string();
                (body, text)
            }
        };
        Reply { code: parts.status.as_u16(), headers: parts.headers, body, text, bytes }
    }

    fn accept(&self) -> &'static str {
        match self.form {
            Form::Json => "application/json",
            Form::Protobuf => PROTOBUF,
        }
    }

    /// A watch, from now on.
    pub(crate) async fn watch(&self, path: &str) -> Frames {
        let accept = match self.form {
            Form::Json => "application/json",
            Form::Protobuf => "application/vnd.kubernetes.protobuf;stream=watch",
        };
        let request = build(&format!("GET {path}"), &[("accept", accept)], Bytes::new());
        let response = self.server.client.clone().send(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        Frames { form: self.form, body: response.into_body(), held: Vec::new() }
    }
}

/// The object in protobuf, which written again gives the same bytes.
fn exact(bytes: &[u8]) -> Value {
    let object = kinds::protobuf::decode(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:?}"));
    let again = kinds::protobuf::encode(&object).expect("it came in protobuf");
    assert!(again == bytes, "{object} is written as other bytes");
    object
}

/// The events of a watch.
pub(crate) struct Frames {
    form: Form,
    body: Body,
    held: Vec<u8>,
}

impl Frames {
    /// The type and the object of the next event; none when the server ended the watch.
    pub(crate) async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some(event) = self.held() {
                return Some(event);
            }
            let frame = tokio::time::timeout(std::time::Duration::from_secs(10), self.body.frame());
            let frame = frame.await.expect("an event within ten seconds")?;
            if let Ok(data) = frame.expect("an unbroken stream").into_data() {
                self.held.extend_from_slice(&data);
            }
        }
    }

    fn held(&mut self) -> Option<(String, Value)> {
        match self.form {
            Form::Json => {
                let end = self.held.iter().position(|byte| *byte == b'\n')?;
                let line: Vec<u8> = self.held.drain(..=end).collect();
                let mut event: Value = serde_json::from_slice(&line).expect("an event is a line of JSON");
                Some((event["type"].as_str().unwrap_or_default().to_owned(), event["object"].take()))
            }
            Form::Protobuf => {
                let mut head = self.held.get(..4)?;
                let length = usize::try_from(head.get_u32()).expect("a length");
                let frame = self.held.get(4..4 + length)?.to_vec();
                self.held.drain(..4 + length);
                Some(event(&frame))
            }
        }
    }
}

/// A WatchEvent: a type, and a RawExtension that holds an object in its envelope.
fn event(frame: &[u8]) -> (String, Value) {
    let name = String::from_utf8(field(frame, 1).to_vec()).expect("a type");
    (name, exact(field(field(frame, 2), 1)))
}

/// The bytes of a field of a message that has fields of bytes only.
fn field(mut message: &[u8], wanted: u8) -> &[u8] {
    while !message.is_empty() {
        let key = message.get_u8();
        assert_eq!(key & 7, 2, "a field of bytes");
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            let byte = message.get_u8();
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                break;
            }
        }
        let (held, rest) = message.split_at(length);
        if key >> 3 == wanted {
            return held;
        }
        message = rest;
    }
    panic!("no field {wanted}")
}
