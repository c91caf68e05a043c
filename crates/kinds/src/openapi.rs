//! The OpenAPI documents: version 3 for each group-version with an index, version 2 for everything at once.
//!
//! Invariant: a document is a pure function of the schema, its prose and the rows. Nothing is kept: a document is written
//! anew for each request within milliseconds, and clients keep it, because the index gives each address a digest of what
//! the document is made of. Why not a cache: together the documents are megabytes that are read a few times a day.

use crate::catalog::{Catalog, Kind};
use crate::discovery::{self, Served};
use crate::schema::{self, TypeId};
use serde_json::{Map, Value};
use sha2::{Digest, Sha512};
use std::sync::OnceLock;

mod custom;
mod gnostic;
mod parameters;
mod paths;
mod schemas;
mod write;

#[cfg(test)]
mod tests;

use paths::Paths;
use schemas::Schemas;
use write::Object;

/// Counts changes of this generator: together with the sources it tells clients when to read a document again.
const GENERATOR: &str = "2";

/// The version of Kubernetes that the documents describe.
const KUBERNETES: &str = "v1.36.0";

/// Which OpenAPI is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    V2,
    V3,
}

impl Flavour {
    fn schema_prefix(self) -> &'static str {
        match self {
            Flavour::V2 => "#/definitions/",
            Flavour::V3 => "#/components/schemas/",
        }
    }
}

/// A document as it is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    flavour: Flavour,
    /// JSON.
    pub bytes: Vec<u8>,
    /// Upper-case hexadecimal; stands in the index and is the entity tag.
    pub hash: String,
}

impl Document {
    /// The same document in protobuf, as gnostic defines it.
    pub fn protobuf(&self) -> Vec<u8> {
        gnostic::document(self.flavour, &self.bytes)
    }
}

/// `/openapi/v3`: where the document of each version is that is served by default.
pub fn v3_index() -> Value {
    v3_index_of(Catalog::builtin(), &|kind| kind.served)
}

/// `/openapi/v3` of a server that serves these kinds.
pub fn v3_index_of(catalog: &Catalog, served: Served<'_>) -> Value {
    let mut paths = Map::new();
    for (group, version) in discovery::versions(catalog, served) {
        let path = document_path(group, version);
        let address = format!("/openapi/v3/{path}?hash={}", digest(&kinds_of(catalog, group, version, served)));
        paths.insert(path, serde_json::json!({"serverRelativeURL": address}));
    }
    serde_json::json!({"paths": paths})
}

/// The document of a version; none if it is not served by default.
pub fn v3(group: &str, version: &str) -> Option<Document> {
    v3_of(Catalog::builtin(), &|kind| kind.served, group, version)
}

/// The document of a version of a server that serves these kinds.
pub fn v3_of(catalog: &Catalog, served: Served<'_>, group: &str, version: &str) -> Option<Document> {
    let kinds = kinds_of(catalog, group, version, served);
    if kinds.is_empty() {
        return None;
    }
    let flavour = Flavour::V3;
    let paths = Paths { schema: schema::schema(), flavour };
    let types = schemas::closure(schema::schema(), paths.roots(kinds.iter().copied()));
    let bytes = write::object(|out| {
        out.object("components", |out| {
            out.object("parameters", |out| paths.write_parameters(out));
            out.object("schemas", |out| write_schemas(out, flavour, &types, &kinds));
            out.object("securitySchemes", write_security);
        });
        out.object("info", |out| {
            out.text("title", "Kubernetes");
            out.text("version", "unversioned");
        });
        out.text("openapi", "3.0.0");
        out.object("paths", |out| {
            paths.write_resource_list(out, group, version);
            kinds.iter().for_each(|kind| paths.write_kind(out, kind));
        });
    });
    Some(Document { flavour, bytes, hash: digest(&kinds) })
}

/// What another server adds to the document of version 2.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Addition {
    pub definitions: Map<String, Value>,
    pub paths: Map<String, Value>,
}

/// `/openapi/v2`: everything that is served by default.
pub fn v2() -> Document {
    v2_of(Catalog::builtin(), &|kind| kind.served, &[])
}

/// The hash of [`v2_of`], without making the document.
pub fn v2_hash(catalog: &Catalog, served: Served<'_>, additions: &[&Addition]) -> String {
    let versions = discovery::versions(catalog, served);
    let kinds: Vec<&Kind> = versions.flat_map(|(group, version)| kinds_of(catalog, group, version, served)).collect();
    digest_with(&kinds, additions)
}

fn digest_with(kinds: &[&Kind], additions: &[&Addition]) -> String {
    let ours = digest(kinds);
    if additions.is_empty() {
        return ours;
    }
    let mut hasher = Sha512::new();
    hasher.update(ours);
    for Addition { definitions, paths } in additions {
        for (name, value) in definitions.iter().chain(paths) {
            hasher.update(format!("\n{name} {value}"));
        }
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

/// The hash of [`v3_of`], without making the document.
pub fn v3_hash(catalog: &Catalog, served: Served<'_>, group: &str, version: &str) -> String {
    digest(&kinds_of(catalog, group, version, served))
}

/// `/openapi/v2` of a server that serves these kinds, with what others add: of a name that we have, ours counts.
pub fn v2_of(catalog: &Catalog, served: Served<'_>, additions: &[&Addition]) -> Document {
    let versions = || discovery::versions(catalog, served);
    let kinds: Vec<&Kind> = versions().flat_map(|(group, version)| kinds_of(catalog, group, version, served)).collect();
    let flavour = Flavour::V2;
    let paths = Paths { schema: schema::schema(), flavour };
    let types = schemas::closure(schema::schema(), paths.roots(kinds.iter().copied()));
    let bytes = write::object(|out| {
        out.object("definitions", |out| {
            write_schemas(out, flavour, &types, &kinds);
            write_foreign(out, &types, additions);
        });
        out.object("info", |out| {
            out.text("title", "Kubernetes");
            out.text("version", KUBERNETES);
        });
        out.object("parameters", |out| paths.write_parameters(out));
        out.object("paths", |out| {
            versions().for_each(|(group, version)| paths.write_resource_list(out, group, version));
            kinds.iter().for_each(|kind| paths.write_kind(out, kind));
            additions.iter().flat_map(|addition| &addition.paths).for_each(|(path, item)| out.value(path, item));
        });
        out.array("security", |out| out.object(|out| out.texts("BearerToken", [])));
        out.object("securityDefinitions", write_security);
        out.text("swagger", "2.0");
    });
    Document { flavour, bytes, hash: digest_with(&kinds, additions) }
}

/// The definitions that only others have, each once.
fn write_foreign(out: &mut Object<'_>, types: &std::collections::BTreeSet<TypeId>, additions: &[&Addition]) {
    let definitions = types.iter().filter_map(|id| schema::schema().definition(*id));
    let mut known: std::collections::BTreeSet<String> = definitions.map(schemas::published).collect();
    for (name, definition) in additions.iter().flat_map(|addition| &addition.definitions) {
        if known.insert(name.clone()) {
            out.value(name, definition);
        }
    }
}

fn write_schemas(out: &mut Object<'_>, flavour: Flavour, types: &std::collections::BTreeSet<TypeId>, kinds: &[&Kind]) {
    for (name, model) in kinds.iter().flat_map(|kind| custom::models(kind, flavour)) {
        out.value(&name, &model);
    }
    let prose = schema::descriptions();
    Schemas { schema: schema::schema(), prose: &prose, flavour }.write_all(out, types);
}

fn write_security(out: &mut Object<'_>) {
    out.object("BearerToken", |out| {
        out.text("description", "Bearer Token authentication");
        out.text("in", "header");
        out.text("name", "authorization");
        out.text("type", "apiKey");
    });
}

/// `api/v1` or `apis/apps/v1`: the name of a version's document in the index.
pub fn document_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

fn kinds_of<'c>(catalog: &'c Catalog, group: &str, version: &str, served: Served<'_>) -> Vec<&'c Kind> {
    let versions = catalog.group(group).into_iter().flat_map(|group| &group.versions);
    let kinds = versions.filter(|candidate| candidate.name == version).flat_map(|version| &version.kinds);
    kinds.map(AsRef::as_ref).filter(|kind| served(kind)).collect()
}

/// A digest of what the document of these kinds is made of.
fn digest(kinds: &[&Kind]) -> String {
    static SOURCES: OnceLock<[u8; 64]> = OnceLock::new();
    let sources = SOURCES.get_or_init(|| {
        let mut hasher = Sha512::new();
        schema::sources().iter().for_each(|source| hasher.update(source));
        hasher.finalize().into()
    });
    let mut hasher = Sha512::new();
    hasher.update(sources);
    hasher.update(concat!(env!("CARGO_PKG_VERSION"), "\n"));
    hasher.update(GENERATOR);
    for kind in kinds {
        hasher.update(format!("\n{kind:?} {:?} {} {:?}", kind.plural, kind.namespaced, kind.verbs));
        hasher.update(format!("{:?}", kind.subresources));
        hasher.update(kind.custom.as_ref().map_or(0, |custom| custom.id).to_le_bytes());
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}
