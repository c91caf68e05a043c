//! Turns facts/types.json and the descriptions of k8s-openapi into the two blobs that the crate embeds.
//!
//! Invariant: facts/types.json is the single source of structure; k8s-openapi only lends prose, joined by definition and
//! field name. Why a binary form: the graph must be ready within milliseconds of the start, which parsing JSON is not in
//! a debug build, and the prose must not be decoded before somebody asks for OpenAPI.

#[path = "build/roots.rs"]
mod roots;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::{Value, json};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=facts/types.json");
    let facts: Value =
        serde_json::from_slice(&std::fs::read("facts/types.json").expect("facts/types.json is readable"))
            .expect("facts/types.json is JSON");
    let types = facts["types"].as_object().expect("types is an object");
    let messages = messages(&facts["pbonly"]);
    let mut definitions: BTreeMap<&str, &Value> = types.iter().map(|(name, facts)| (name.as_str(), facts)).collect();
    for (name, facts) in &messages {
        definitions.entry(name).or_insert(facts);
    }

    let out = std::env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    write(&out, "graph.zst", &Graph::encode(&definitions));
    write(&out, "descriptions.zst", &descriptions(&definitions));
}

fn write(directory: &str, name: &str, content: &[u8]) {
    let packed = zstd::encode_all(content, 19).expect("compressing memory cannot fail");
    std::fs::write(Path::new(directory).join(name), packed).expect("OUT_DIR is writable");
}

/// Encoder of the graph; `src/schema/decode.rs` is its reader and says what each number means.
#[derive(Default)]
struct Graph {
    texts: Vec<String>,
    text_index: HashMap<String, usize>,
    types: Vec<(u8, usize)>,
    type_index: HashMap<(u8, usize), usize>,
}

const OBJECT: u8 = 0;
const LIST: u8 = 1;
const MAP: u8 = 2;
const STRING: u8 = 3;
const INT32: u8 = 4;
const INT64: u8 = 5;
const NUMBER: u8 = 6;
const BOOLEAN: u8 = 7;
const BYTES: u8 = 8;
const TIME: u8 = 9;
const MICRO_TIME: u8 = 10;
const QUANTITY: u8 = 11;
const INT_OR_STRING: u8 = 12;
const RAW: u8 = 13;
const FIELDS_V1: u8 = 14;
const JSON: u8 = 15;

impl Graph {
    fn encode(definitions: &BTreeMap<&str, &Value>) -> Vec<u8> {
        let mut graph = Graph::default();
        let names: HashMap<&str, usize> = definitions.keys().enumerate().map(|(index, name)| (*name, index)).collect();
        for (name, facts) in definitions {
            graph.types.push((special(name, facts), 0));
        }
        let mut body = Vec::new();
        for (name, facts) in definitions {
            graph.definition(name, facts, &names, &mut body);
        }
        let mut out = Vec::new();
        number(&mut out, graph.texts.len());
        for text in &graph.texts {
            number(&mut out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        number(&mut out, graph.types.len());
        for (tag, inner) in &graph.types {
            out.push(*tag);
            if matches!(*tag, LIST | MAP) {
                number(&mut out, *inner);
            }
        }
        number(&mut out, definitions.len());
        out.extend(body);
        out
    }

    fn text(&mut self, text: &str) -> usize {
        if let Some(index) = self.text_index.get(text) {
            return *index;
        }
        self.texts.push(text.to_owned());
        self.text_index.insert(text.to_owned(), self.texts.len() - 1);
        self.texts.len() - 1
    }

    fn texts_of(&mut self, list: &Value, out: &mut Vec<u8>) {
        let list = list.as_array().expect("a list of texts");
        number(out, list.len());
        for text in list {
            let index = self.text(text.as_str().expect("a text"));
            number(out, index);
        }
    }

    fn inline(&mut self, tag: u8, inner: usize) -> usize {
        if let Some(index) = self.type_index.get(&(tag, inner)) {
            return *index;
        }
        self.types.push((tag, inner));
        self.type_index.insert((tag, inner), self.types.len() - 1);
        self.types.len() - 1
    }

    fn type_of(&mut self, facts: &Value, names: &HashMap<&str, usize>) -> usize {
        if let Some(reference) = facts["ref"].as_str() {
            return names[reference];
        }
        let tag = match (facts["t"].as_str(), facts["fmt"].as_str()) {
            (Some("array"), _) => {
                let inner = self.type_of(&facts["items"], names);
                return self.inline(LIST, inner);
            }
            (Some("object"), _) if facts.get("add").is_some() => {
                let inner = self.type_of(&facts["add"], names);
                return self.inline(MAP, inner);
            }
            (Some("string"), Some("byte")) => BYTES,
            (Some("string"), _) => STRING,
            (Some("integer"), Some("int32")) => INT32,
            (Some("integer"), _) => INT64,
            (Some("number"), _) => NUMBER,
            (Some("boolean"), _) => BOOLEAN,
            other => panic!("no type for {other:?}"),
        };
        self.inline(tag, 0)
    }

    fn definition(&mut self, name: &str, facts: &Value, names: &HashMap<&str, usize>, out: &mut Vec<u8>) {
        let index = self.text(name);
        number(out, index);
        let kinds = facts["gvk"].as_array().map_or(&[][..], Vec::as_slice);
        number(out, kinds.len());
        for kind in kinds {
            for part in kind.as_array().expect("group, version, kind") {
                let index = self.text(part.as_str().expect("a text"));
                number(out, index);
            }
        }
        number(out, usize::from(facts["mt"] == "atomic"));
        let unions = facts.get("un").map_or(String::new(), Value::to_string);
        let index = self.text(&unions);
        number(out, index);
        let embedded = facts["emb"].as_array().map_or(&[][..], Vec::as_slice);
        number(out, embedded.len());
        for message in embedded {
            let index = self.text(message[0].as_str().expect("a message name"));
            number(out, index);
            number(out, message[1].as_u64().expect("a field number") as usize);
        }
        let required: Vec<&str> = facts["req"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let fields: BTreeMap<&String, &Value> = facts["f"].as_object().into_iter().flatten().collect();
        number(out, fields.len());
        for (field, facts) in fields {
            self.field(field, facts, required.contains(&field.as_str()), names, out);
        }
    }

    fn field(&mut self, name: &str, facts: &Value, required: bool, names: &HashMap<&str, usize>, out: &mut Vec<u8>) {
        let index = self.text(name);
        number(out, index);
        let ty = self.type_of(facts, names);
        number(out, ty);
        let strategy = facts["ps"].as_str().unwrap_or("");
        let flags = [
            required,
            facts.get("ptr").is_some(),
            facts.get("noe").is_some(),
            facts.get("def").is_some(),
            facts.get("enum").is_some(),
            facts["lt"] == "atomic",
            facts["lt"] == "set",
            facts["lt"] == "map",
            strategy.contains("merge"),
            strategy.contains("retainKeys"),
            strategy.contains("replace"),
            facts.get("pk").is_some(),
            facts["mt"] == "atomic",
            facts["mt"] == "granular",
            facts.get("pb").is_some(),
            facts.get("kf").is_some(),
        ];
        number(out, flags.iter().enumerate().map(|(bit, set)| usize::from(*set) << bit).sum());
        if let Some(value) = facts.get("def") {
            let index = self.text(&value.to_string());
            number(out, index);
        }
        if let Some(values) = facts.get("enum") {
            self.texts_of(values, out);
        }
        if let Some(keys) = facts.get("lk") {
            assert!(facts["lt"] == "map", "{name}: keys need a map list");
            self.texts_of(keys, out);
        }
        if let Some(key) = facts["pk"].as_str() {
            let index = self.text(key);
            number(out, index);
        }
        if let Some(path) = facts["pb"].as_array() {
            number(out, path.len());
            path.iter().for_each(|n| number(out, n.as_u64().expect("a field number") as usize));
        }
        if let Some(format) = facts["kf"].as_str() {
            let index = self.text(format);
            number(out, index);
        }
    }
}

/// Messages that clients may send or read although no OpenAPI document has them.
const MESSAGES: &[&str] =
    &["api.apidiscovery.", "apimachinery.pkg.apis.meta.v1.", "apimachinery.pkg.apis.meta.v1beta1."];
/// Of those, the ones that are objects of their own.
const OBJECTS: &[&str] = &["APIGroupDiscoveryList", "PartialObjectMetadata", "PartialObjectMetadataList"];
/// Fields that are Go pointers in these messages.
const POINTERS: &[&str] = &["responseKind", "force", "timeoutSeconds", "sendInitialEvents"];

/// The facts of those messages in the form of the other types.
fn messages(only: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    for (name, fields) in only.as_object().expect("pbonly is an object") {
        if !MESSAGES.iter().any(|package| name.starts_with(package)) {
            continue;
        }
        let (package, kind) = name.rsplit_once('.').expect("a package and a name");
        let type_of = |wire: &str, message: &Value| {
            let target = message.as_str().map(|target| match target.strip_prefix(".k8s.io.") {
                Some(absolute) => absolute.to_owned(),
                None => format!("{package}.{target}"),
            });
            match (wire, target) {
                ("message", Some(target)) => json!({ "ref": target }),
                ("bool", _) => json!({"t": "boolean"}),
                ("int32" | "int64", _) => json!({"t": "integer", "fmt": wire}),
                _ => json!({"t": "string"}),
            }
        };
        let mut facts = serde_json::Map::new();
        for (field, shape) in fields.as_object().expect("fields by name") {
            let wire = shape[1].as_str().expect("a wire type");
            let mut fact = match wire.strip_prefix("rep ") {
                Some(item) => json!({"t": "array", "items": type_of(item, &shape[2])}),
                None => type_of(wire, &shape[2]),
            };
            fact["pb"] = json!([shape[0]]);
            if POINTERS.contains(&field.as_str()) {
                fact["ptr"] = json!(1);
            }
            facts.insert(field.clone(), fact);
        }
        let mut definition = json!({ "f": facts });
        if OBJECTS.contains(&kind) || kind.ends_with("Options") {
            for field in ["apiVersion", "kind"] {
                definition["f"][field] = json!({"t": "string"});
            }
            let (_, version) = package.rsplit_once('.').expect("a version");
            let group = if package.starts_with("api.apidiscovery") { "apidiscovery.k8s.io" } else { "meta.k8s.io" };
            definition["gvk"] = json!([[group, version, kind]]);
        }
        found.insert(name.clone(), definition);
    }
    found
}

fn special(name: &str, facts: &Value) -> u8 {
    match (facts["sp"].as_str(), name.rsplit('.').next()) {
        (Some("quantity"), _) => QUANTITY,
        (Some("time"), _) => TIME,
        (Some("microtime"), _) => MICRO_TIME,
        (Some("intorstring"), _) => INT_OR_STRING,
        (Some("rawextension"), _) => RAW,
        (Some("fieldsv1"), _) => FIELDS_V1,
        (None, Some("Patch")) => JSON,
        (None, _) if facts.as_object().is_some_and(serde_json::Map::is_empty) => JSON,
        (None, _) => OBJECT,
        other => panic!("no type for {other:?}"),
    }
}

fn number(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Texts in the order of definitions and their fields, each ended by a zero byte.
fn descriptions(definitions: &BTreeMap<&str, &Value>) -> Vec<u8> {
    let prose = generated();
    let read = |name: &str, path: &[&str]| -> Option<&str> {
        path.iter().try_fold(prose.get(name)?, |value, part| value.get(part))?.as_str()
    };
    let mut out = Vec::new();
    let mut put = |text: &str| {
        out.extend(text.bytes().filter(|b| *b != 0));
        out.push(0);
    };
    for (name, facts) in definitions {
        let kind = name.rsplit('.').next().unwrap_or(name);
        let item = kind.strip_suffix("List").filter(|_| facts["f"].get("items").is_some());
        match (read(name, &["description"]), item) {
            (Some(text), _) => put(text),
            (None, Some(item)) => put(&format!("{kind} is a list of {item} objects.")),
            (None, None) => put(""),
        }
        let fields: BTreeMap<&String, &Value> = facts["f"].as_object().into_iter().flatten().collect();
        for field in fields.keys() {
            let own = read(name, &["properties", field, "description"]);
            let common = || read("apimachinery.pkg.apis.meta.v1.Status", &["properties", field, "description"]);
            match (own, item) {
                (Some(text), _) => put(text),
                (None, Some(item)) if *field == "items" => put(&format!("items is the list of {item} objects.")),
                (None, Some(_)) => put(common().unwrap_or("")),
                (None, None) => put(""),
            }
        }
    }
    out
}

/// All definitions that k8s-openapi describes, by name without its `io.k8s.` prefix.
fn generated() -> BTreeMap<String, Value> {
    let mut generator = schemars::SchemaGenerator::default();
    macro_rules! add {
        ($($module:ident)::+ , $($rest:tt)*) => {
            generator.subschema_for::<k8s_openapi::$($module)::+>();
            add! { $($rest)* }
        };
        () => {};
    }
    roots::roots!(add);
    let definitions = generator.take_definitions(false);
    definitions.into_iter().map(|(name, schema)| (name.trim_start_matches("io.k8s.").to_owned(), schema)).collect()
}
