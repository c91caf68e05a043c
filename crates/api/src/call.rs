//! One request on its way through the pipeline: who, what, how it wants its answer, and what to warn about.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, header};
use kinds::Kind;
use parking_lot::Mutex;
use store::Record;

use crate::{
    body::Body,
    identity::User,
    negotiate::{self, Accepts},
    options::{LONGEST_MANAGER, Options},
    request::Info,
};

pub(crate) struct Call {
    pub(crate) user: Arc<User>,
    pub(crate) info: Info,
    pub(crate) options: Options,
    pub(crate) accepts: Accepts,
    /// A large answer may be compressed.
    pub(crate) takes_gzip: bool,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    /// Who is recorded as the owner of the fields that this request changes.
    pub(crate) manager: String,
    warnings: Mutex<Vec<String>>,
}

impl Call {
    pub(crate) fn new(
        user: Arc<User>,
        info: Info,
        options: Options,
        accepts: Accepts,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Self {
        let takes_gzip = negotiate::takes_gzip(headers);
        let content_type = negotiate::content_type(headers).to_owned();
        let manager = match options.field_manager.as_str() {
            "" => agent(headers),
            named => named.to_owned(),
        };
        Self { user, info, options, accepts, takes_gzip, content_type, body, manager, warnings: Mutex::default() }
    }

    /// Shown to the person at the keyboard, as a `Warning` header of the answer.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub(crate) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.warnings.lock())
    }
}

/// The program's name out of its user agent, as upstream cuts it: `kubectl` of `kubectl/v1.36.0 (linux/amd64)`.
fn agent(headers: &HeaderMap) -> String {
    let agent = headers.get(header::USER_AGENT).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let mut name = String::new();
    for character in agent.iter().flat_map(|agent| agent.split('/').next()).flat_map(str::chars) {
        if character.is_control() {
            continue;
        }
        if name.len() + character.len_utf8() > LONGEST_MANAGER {
            break;
        }
        name.push(character);
    }
    name
}

/// What a verb answers; put into bytes by `respond`, in the form and shape the client asked for.
pub(crate) enum Answer {
    /// A stored object; its bytes go out as they are when the client speaks the storage version.
    Record {
        code: u16,
        kind: Arc<Kind>,
        record: Arc<Record>,
    },
    /// A Status, which has one shape.
    Object {
        code: u16,
        value: serde_json::Value,
    },
    /// An object that is not stored in this form, read through `kind`: a dry run, a Scale, a review.
    Unstored {
        code: u16,
        kind: Arc<Kind>,
        value: serde_json::Value,
    },
    List(List),
    /// A watch, a log, an upgraded connection: already a response.
    Response(http::Response<Body>),
}

pub(crate) struct List {
    pub(crate) kind: Arc<Kind>,
    pub(crate) records: Vec<Arc<Record>>,
    pub(crate) revision: u64,
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<usize>,
}
