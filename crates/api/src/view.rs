//! One version of an object in the form and shape that a client asked for: what answers, lists and watches are made of.
//!
//! Invariant: stored bytes go out as they are, or are transcoded without a value in between, whenever the client speaks
//! the version that is stored; everything else takes the way over a value. Why one place: a list item, an answer and a
//! watch event must never differ in how an object looks.

use std::sync::Arc;

use kinds::{Kind, TypeId, protobuf, protobuf::Transcoder};
use serde_json::{Value, json};
use store::Record;

use crate::{
    core::Core,
    error::ApiError,
    negotiate::{Accepts, Format, Shape},
    shape,
};

pub(crate) struct View {
    pub(crate) core: Arc<Core>,
    pub(crate) kind: Arc<Kind>,
    pub(crate) accepts: Accepts,
    pub(crate) include_object: String,
    /// Objects are stored in the version of `kind`.
    native: bool,
    /// What a record becomes in protobuf.
    target: Option<Arc<Target>>,
    transcoder: Transcoder,
}

/// A message and how its envelope names it.
struct Target {
    ty: TypeId,
    api_version: String,
    kind: String,
}

impl View {
    pub(crate) fn new(core: &Arc<Core>, kind: &Arc<Kind>, accepts: Accepts, include_object: &str) -> Self {
        // records of custom resources were made current before anybody views them
        let native = core.foreign_storage(kind).is_none();
        let target = match accepts.shape {
            _ if accepts.format != Format::Protobuf => None,
            Shape::Object => Some((kind.api_version(), kind.kind.clone())),
            Shape::Metadata | Shape::MetadataList => {
                Some((meta_version(accepts.meta_version), "PartialObjectMetadata".to_owned()))
            }
            Shape::Table => None,
        };
        let target = target.and_then(|(api_version, kind)| {
            let ty = match kind.as_str() {
                "PartialObjectMetadata" => protobuf::type_of("meta.k8s.io/v1", &kind)?,
                _ => protobuf::type_of(&api_version, &kind)?,
            };
            Some(Arc::new(Target { ty, api_version, kind }))
        });
        let (core, kind) = (core.clone(), kind.clone());
        let include_object = include_object.to_owned();
        Self { core, kind, accepts, include_object, native, target, transcoder: Transcoder::default() }
    }

    /// Whether the stored bytes are what the client wants.
    pub(crate) fn is_verbatim(&self) -> bool {
        self.native && self.accepts.is_plain() && self.accepts.format == Format::Json
    }

    /// Whether objects are stored in the version of the view.
    pub(crate) fn is_native(&self) -> bool {
        self.native
    }

    /// The object of a record in the shape that was asked for.
    pub(crate) fn value(&self, record: &Record) -> Value {
        self.shaped(self.core.decode(&self.kind, record))
    }

    pub(crate) fn shaped(&self, value: Value) -> Value {
        match self.accepts.shape {
            Shape::Object => value,
            Shape::Metadata | Shape::MetadataList => self.partial(&value),
            Shape::Table => {
                let version = value["metadata"]["resourceVersion"].clone();
                let metadata = if version.is_string() { json!({ "resourceVersion": version }) } else { json!({}) };
                self.table(&[value], metadata, true)
            }
        }
    }

    pub(crate) fn partial(&self, value: &Value) -> Value {
        let mut partial = shape::metadata(value);
        if self.accepts.meta_version == "v1beta1" {
            partial["apiVersion"] = json!(meta_version("v1beta1"));
        }
        partial
    }

    pub(crate) fn table(&self, objects: &[Value], metadata: Value, columns: bool) -> Value {
        let mut table =
            shape::table(&self.kind, objects, &self.include_object, self.accepts.meta_version, metadata, columns);
        if self.accepts.meta_version == "v1beta1" {
            for row in table["rows"].as_array_mut().into_iter().flatten() {
                if row["object"]["kind"] == "PartialObjectMetadata" {
                    row["object"]["apiVersion"] = json!(meta_version("v1beta1"));
                }
            }
        }
        table
    }

    /// Appends the object of a record, complete.
    pub(crate) fn object(&mut self, record: &Record, out: &mut Vec<u8>) {
        if self.is_verbatim() {
            out.extend_from_slice(&record.value);
            return;
        }
        match self.target.clone() {
            Some(target) => {
                protobuf::envelope(out, &target.api_version, &target.kind, |out| self.message(record, out));
            }
            None => self.write(&self.value(record), out),
        }
    }

    /// Appends the message of a record, which in a list stands without an envelope.
    pub(crate) fn message(&mut self, record: &Record, out: &mut Vec<u8>) {
        let Some(ty) = self.target.as_ref().map(|target| target.ty) else { return };
        let direct = self.native || self.accepts.shape != Shape::Object;
        if !direct || !self.transcoder.object(ty, &record.value, out) {
            protobuf::message(ty, &self.value(record), out);
        }
    }

    /// Appends a value that may be of another kind than the view's: a bookmark, a Status.
    pub(crate) fn write(&self, value: &Value, out: &mut Vec<u8>) {
        if let Err(error) = write(self.accepts, value, out) {
            tracing::error!(kind = %self.kind.kind, error = %error.message, "an object cannot be written");
        }
    }
}

pub(crate) fn meta_version(version: &str) -> String {
    format!("meta.k8s.io/{version}")
}

/// Appends a value in a form; fails only if the form has no place for it.
pub(crate) fn write(accepts: Accepts, value: &Value, out: &mut Vec<u8>) -> Result<(), ApiError> {
    match accepts.format {
        Format::Json if accepts.pretty => {
            serde_json::to_writer_pretty(out, value).expect("invariant: a JSON value encodes into memory");
        }
        Format::Json => serde_json::to_writer(out, value).expect("invariant: a JSON value encodes into memory"),
        Format::Yaml => match serde_saphyr::to_string(value) {
            Ok(text) => out.extend_from_slice(text.as_bytes()),
            Err(error) => {
                tracing::error!(%error, "an object cannot be written as YAML");
                return Err(ApiError::internal("the answer cannot be written as YAML"));
            }
        },
        Format::Cbor => kinds::cbor::encode(value, out),
        Format::Protobuf => {
            let Some(bytes) = protobuf::encode(value) else {
                let kind = value["kind"].as_str().unwrap_or_default();
                return Err(ApiError::new(
                    406,
                    "NotAcceptable",
                    format!(
                        "object {kind} does not implement the protobuf marshalling interface and cannot be encoded to \
                         a protobuf message"
                    ),
                ));
            };
            out.extend(bytes);
        }
    }
    Ok(())
}
