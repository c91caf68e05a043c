//! The targets: what each reads from the bytes, and the rule that must hold.
//!
//! Inputs are lines where they have parts (kind, object, patch), so that the corpus can be read and written by hand.

use std::sync::Arc;

use base::selector::{FieldSelector, LabelSelector};
use expressions::{Budget, Declaration, Env, Format, Meaning, Property, Shape};
use http::Method;
use kinds::{Catalog, Kind, patch};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::server::{Reply, server};

/// A name for the command line and the corpus, and the function.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("json", json),
    ("object", object),
    ("protobuf", protobuf),
    ("jsonpatch", json_patch),
    ("mergepatch", merge_patch),
    ("strategic", strategic_patch),
    ("apply", apply),
    ("labels", labels),
    ("fields", fields),
    ("cel", expression),
    ("crd", definition),
    ("custom", custom),
    ("continue", continue_token),
    ("request", request),
    ("proxyprotocol", proxy_protocol),
    ("clienthello", client_hello),
    ("path", path),
];

/// Runs the target called `name`.
///
/// # Panics
/// When there is none, or when it finds something.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    target(bytes);
}

/// JSON bodies: what was read is written and read again as the same.
fn json(bytes: &[u8]) {
    let Ok((value, _)) = kinds::decode::json(bytes, kinds::decode::MAX_DEPTH) else { return };
    let text = value.to_string();
    let (again, duplicates) = kinds::decode::json(text.as_bytes(), kinds::decode::MAX_DEPTH).expect("what was read");
    assert!(duplicates.is_empty(), "{duplicates:?} in {text}");
    // a fraction may lose its last digit
    assert!(again == value || text.contains(['.', 'e']), "{text} became {again}");
}

fn parsed(bytes: &[u8]) -> Option<Value> {
    Some(kinds::decode::json(bytes, kinds::decode::MAX_DEPTH).ok()?.0)
}

/// A row by number or by `apiVersion/Kind`.
fn kind(text: &[u8]) -> Option<&'static Kind> {
    let text = std::str::from_utf8(text).ok()?;
    let (version, kind) = text.rsplit_once('/')?;
    Catalog::builtin().by_api_version(version, kind).map(|kind| &**kind)
}

/// The first line, and the rest.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, b""),
    }
}

/// The way of an object through the schema; filling in defaults twice changes nothing.
fn object(bytes: &[u8]) {
    let (row, text) = line(bytes);
    let (Some(kind), Some(mut value)) = (kind(row), parsed(text)) else { return };
    if kinds::coerce(kind, &value).is_err() || !value.is_object() {
        return;
    }
    drop(kinds::prune(kind, &mut value));
    kinds::default(kind, &mut value);
    let once = value.clone();
    kinds::default(kind, &mut value);
    assert_eq!(value, once, "defaults of defaults");
    kinds::strategy::prepare_create(kind, &mut value);
    let mut newer = value.clone();
    kinds::strategy::prepare_update(kind, &mut newer, &value);
    assert_eq!(newer, value, "an update without a change");
    if kinds::validate_create(kind, &value).is_empty() {
        drop(kinds::validate_update(kind, &newer, &value));
    }
    drop(kinds::selectable_fields(kind, &value));
}

/// Protobuf bodies: what was written is read and written again as the same; then by the way every client sends them.
fn protobuf(bytes: &[u8]) {
    const PATHS: &[&str] = &[
        "/api/v1/namespaces/default/configmaps",
        "/api/v1/namespaces/default/pods",
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    ];
    let (first, body) = match bytes.split_first() {
        Some((first, body)) => (usize::from(*first), body),
        None => return,
    };
    let path = format!("{}?dryRun=All", PATHS[first % PATHS.len()]);
    let protobuf = "application/vnd.kubernetes.protobuf";
    let body = [b"k8s\0", body].concat();
    if let Ok(object) = kinds::protobuf::decode(&body) {
        let written = kinds::protobuf::encode(&object).expect("it was read");
        // Go writes some fields that were not there; then nothing changes any more
        let again = kinds::protobuf::decode(&written).expect("it was written");
        assert_eq!(kinds::protobuf::encode(&again), Some(written), "{object} became {again}");
    }
    let headers = [("content-type", protobuf), ("accept", "application/vnd.kubernetes.protobuf, application/json")];
    answered(&Method::POST, &path, &headers, body);
}

/// A line each: object, patch. A patch of nothing changes nothing.
fn json_patch(bytes: &[u8]) {
    let (object, changes) = line(bytes);
    let (Some(object), Some(changes)) = (parsed(object), parsed(changes)) else { return };
    drop(patch::json(&object, &changes));
    assert_eq!(patch::json(&object, &Value::Array(vec![])).as_ref(), Ok(&object));
}

/// A line each: object, patch. Patching twice is patching once.
fn merge_patch(bytes: &[u8]) {
    let (object, changes) = line(bytes);
    let (Some(object), Some(changes)) = (parsed(object), parsed(changes)) else { return };
    let once = patch::merge(&object, &changes);
    assert_eq!(patch::merge(&once, &changes), once);
}

/// A line each: kind, object, patch. A patch of nothing changes nothing.
fn strategic_patch(bytes: &[u8]) {
    let (row, rest) = line(bytes);
    let (object, changes) = line(rest);
    let (Some(kind), Some(object), Some(changes)) = (kind(row), parsed(object), parsed(changes)) else { return };
    drop(patch::strategic(kind.schema, &object, &changes));
    if object.is_object() && kinds::coerce(kind, &object).is_ok() {
        let same = patch::strategic(kind.schema, &object, &Value::Object(serde_json::Map::new()));
        assert_eq!(same.as_ref(), Ok(&object));
    }
}

/// Server-side apply onto an object that is there and onto one that is not.
fn apply(bytes: &[u8]) {
    let (row, body) = line(bytes);
    for name in ["web", "absent"] {
        let path = match row {
            b"pods" | b"services" | b"configmaps" | b"secrets" => {
                format!("/api/v1/namespaces/default/{}/{name}", String::from_utf8_lossy(row))
            }
            _ => format!("/apis/apps/v1/namespaces/default/deployments/{name}"),
        };
        let path = format!("{path}?dryRun=All&fieldManager=fuzz&force=true");
        answered(&Method::PATCH, &path, &[("content-type", "application/apply-patch+yaml")], body.to_vec());
    }
}

/// Label selectors: what is printed reads back as the same.
fn labels(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(selector) = LabelSelector::parse(text) else { return };
    let printed = selector.to_string();
    let again = LabelSelector::parse(&printed).unwrap_or_else(|error| panic!("{printed:?} of {text:?}: {error}"));
    assert_eq!(again.to_string(), printed);
    assert_eq!(again.matches(|key| (key == "a").then_some("b")), selector.matches(|key| (key == "a").then_some("b")));
    if let Some(structured) = parsed(bytes) {
        drop(LabelSelector::from_json(&structured));
    }
}

/// Field selectors: what is printed reads back as the same.
fn fields(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(selector) = FieldSelector::parse(text) else { return };
    let again = FieldSelector::parse(&selector.to_string());
    assert_eq!(again.as_ref(), Ok(&selector), "{text:?}");
    let picks = |selector: &FieldSelector| selector.matches(|field| (field == "a").then_some("b"));
    assert_eq!(again.as_ref().map(picks), Ok(picks(&selector)));
}

/// A line each: expression, data. What compiles with types also compiles without, and neither costs more than it may.
fn expression(bytes: &[u8]) {
    let (text, data) = line(bytes);
    let Ok(text) = std::str::from_utf8(text) else { return };
    let data = parsed(data).unwrap_or(Value::Null);
    let typed = typed();
    for shape in [typed, Arc::new(Shape::dynamic())] {
        let env = Env::new()
            .with("self", Declaration::Data(Arc::clone(&shape)))
            .with("oldSelf", Declaration::Optional(Arc::clone(&shape)));
        let program = match expressions::compile(text, &env) {
            Ok(program) => program,
            Err(faults) => {
                assert!(!expressions::listing(&faults).is_empty());
                continue;
            }
        };
        let Ok(value) = expressions::Value::of(&data, &shape) else { continue };
        let mut budget = Budget::default();
        let before = budget.remaining();
        drop(program.evaluate(&[("self", value.clone()), ("oldSelf", expressions::Value::some(value))], &mut budget));
        assert!(before - budget.remaining() <= 2 * expressions::PER_CALL, "{text:?} costs too much");
    }
}

/// Data of every kind.
fn typed() -> Arc<Shape> {
    let property = |name, shape| Property { name, shape: Arc::new(shape), required: false };
    let texts = || Arc::new(Shape::string(Some(40), None));
    Arc::new(Shape::object(
        "object".to_owned(),
        [
            property("i", Shape::integer()),
            property("n", Shape::number()),
            property("b", Shape::boolean()),
            property("s", Shape::string(Some(40), None)),
            property("x", Shape::int_or_string(None)),
            property("t", Shape::formatted(Format::DateTime, None)),
            property("d", Shape::formatted(Format::Duration, None)),
            property("l", Shape::list(texts(), Some(10), Meaning::Set)),
            property("m", Shape::map(texts(), Some(10))),
            property("o", Shape::list(Arc::new(Shape::dynamic()), None, Meaning::Map(vec!["name".to_owned()]))),
        ],
    ))
}

/// A line each: a definition that no rule was asked about, and an object. Its rows do all that rows do.
fn custom(bytes: &[u8]) {
    let (definition, object) = line(bytes);
    let (Some(mut definition), Some(object)) = (parsed(definition), parsed(object)) else { return };
    let Some(names) = definition.pointer("/spec/names").cloned() else { return };
    definition["status"] = serde_json::json!({ "acceptedNames": names });
    let text = bytes::Bytes::from(definition.to_string());
    let Ok(read) = kinds::structural::Definition::read(&text) else { return };
    for kind in kinds::structural::rows(&read, &text, &[]) {
        let mut value = object.clone();
        if kinds::coerce(&kind, &value).is_err() || !value.is_object() {
            continue;
        }
        drop(kinds::prune(&kind, &mut value));
        kinds::default(&kind, &mut value);
        drop(kinds::prune(&kind, &mut value));
        let once = value.clone();
        kinds::default(&kind, &mut value);
        drop(kinds::prune(&kind, &mut value));
        assert_eq!(value, once, "defaults of defaults");
        kinds::strategy::prepare_create(&kind, &mut value);
        drop(kinds::validate_create(&kind, &value));
        drop(kinds::validate_update(&kind, &value, &object));
        drop(kinds::selectable_fields(&kind, &value));
        drop(kinds::table::cells(&kind, &value, base::time::Timestamp::UNIX_EPOCH));
    }
}

/// Definitions of custom resources, as JSON.
fn definition(bytes: &[u8]) {
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions?dryRun=All&fieldValidation=Strict";
    answered(&Method::POST, path, &[("content-type", "application/json")], bytes.to_vec());
}

/// Tokens of the next page: whatever they say, nothing of another namespace is shown.
fn continue_token(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let token = utf8_percent_encode(&text, NON_ALPHANUMERIC);
    let path = format!("/api/v1/namespaces/default/configmaps?limit=2&continue={token}");
    let Some(reply) = answered(&Method::GET, &path, &[], vec![]) else { return };
    assert!([200, 400, 410, 504].contains(&reply.code), "{} {}", reply.code, reply.text);
    if reply.code == 200 {
        let items = reply.body["items"].as_array().expect("a list");
        assert!(items.iter().all(|item| item["metadata"]["namespace"] == "default"), "shows nothing else: {items:?}");
    }
}

/// A whole request. Lines: `METHOD path`, content type, accepted types, then the body.
fn request(bytes: &[u8]) {
    let (head, rest) = line(bytes);
    let (content_type, rest) = line(rest);
    let (accept, body) = line(rest);
    let (Ok(head), Ok(content_type), Ok(accept)) =
        (std::str::from_utf8(head), std::str::from_utf8(content_type), std::str::from_utf8(accept))
    else {
        return;
    };
    let Some((method, path)) = head.split_once(' ') else { return };
    let Ok(method) = method.parse::<Method>() else { return };
    // what reaches for a kubelet is not about reading requests, and there is none
    if ["proxy", "exec", "attach", "log", "portforward"].iter().any(|word| path.contains(word)) {
        return;
    }
    let sign = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{sign}dryRun=All");
    answered(&method, &path, &[("content-type", content_type), ("accept", accept)], body.to_vec());
}

/// Sends it. A failure is told as a Status with the same code; none of them is the server's.
fn answered(method: &Method, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Option<Reply> {
    let reply = server().ask(method, path, headers, body)?;
    // A future resourceVersion is a timeout. Where upstream answers 500 without a reason (a watch from a version that is
    // no number, a patch that does not fit the schema), so do we; faults of the server itself have one.
    let known = reply.code == 504 || reply.body["reason"].is_null() && reply.body["code"] == 500;
    assert!(reply.code < 500 || known, "{method} {path}: {} {}", reply.code, reply.text);
    if reply.code >= 400 && reply.body["kind"] == "Status" {
        assert_eq!(reply.body["code"], reply.code, "{}", reply.text);
        assert!(reply.body["message"].as_str().is_some_and(|message| !message.is_empty()), "{}", reply.text);
    }
    Some(reply)
}

/// PROXY headers: what is read has a length within the bytes, and what is said is written and read as the same.
fn proxy_protocol(bytes: &[u8]) {
    use gateway::proxy_protocol::{Said, parse, write_v1, write_v2};
    let Ok(Some((said, length))) = parse(bytes) else { return };
    assert!(length <= bytes.len(), "{length} of {}", bytes.len());
    assert_eq!(parse(&bytes[..length]), Ok(Some((said, length))));
    if let Said::Proxied { source, destination } = said {
        let of_v1 = write_v1(source, destination);
        let again = parse(&of_v1).map(|read| read.map(|(said, _)| said));
        assert_eq!(again, parse(&write_v2(source, destination, false)).map(|read| read.map(|(said, _)| said)));
        assert!(matches!(again, Ok(Some(Said::Proxied { .. }))), "{source} {destination}");
    }
}

/// The first message of a TLS client: a name is a name, and more bytes do not change what was read.
fn client_hello(bytes: &[u8]) {
    use gateway::stream::hello::parse;
    let Ok(Some(hello)) = parse(bytes) else { return };
    if let Some(name) = &hello.name {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        assert!(!name.is_empty() && name.len() <= 253 && name.bytes().all(plain), "{name:?}");
    }
    assert_eq!(parse(&[bytes, b"more"].concat()), Ok(Some(hello)));
}

/// Paths: what was normalised is normal, and no reading of it has dot segments.
fn path(bytes: &[u8]) {
    use gateway::rules::path::{normalise, strict};
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if !text.starts_with('/') {
        return;
    }
    let Ok(once) = normalise(text) else { return };
    assert_eq!(normalise(&once).as_deref(), Ok(&*once), "{text:?}");
    for reading in [&*once, &*strict(&once)] {
        assert!(reading.split('/').all(|segment| segment != "." && segment != ".."), "{text:?} became {reading:?}");
    }
}
