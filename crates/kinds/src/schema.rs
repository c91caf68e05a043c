//! The schema graph: every API type with its fields, list keys, patch rules and protobuf numbers.
//!
//! Invariant: the graph is immutable and built once from facts that are embedded in the binary; the same structures will
//! hold the schemas of custom resources. All engine functions (prune, default, patch, apply, OpenAPI) walk this graph and
//! nothing else. Why interned strings and small ids: the whole graph stays far below 2 MB.

mod decode;
mod describe;

use std::sync::{Arc, OnceLock};

use serde_json::Value;

pub use describe::{Descriptions, descriptions};

/// A type in a [`Schema`]; small and copyable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub(crate) u16);

/// The shape of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A struct; its fields are in [`Schema::definition`].
    Object,
    List(TypeId),
    /// A map from strings.
    Map(TypeId),
    String,
    Integer32,
    Integer64,
    Number,
    Boolean,
    /// Base64 text.
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    /// Any JSON object (`RawExtension`).
    Raw,
    /// The field set of a managedFields entry: any JSON object.
    FieldsV1,
    /// Any JSON value.
    Json,
}

/// How two versions of a list are merged by server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Not declared; treated as atomic.
    #[default]
    Undeclared,
    Atomic,
    Set,
    /// Items are told apart by [`Field::list_keys`].
    Map,
}

/// Whether a struct or map is replaced as a whole by server-side apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MapType {
    #[default]
    Undeclared,
    Atomic,
    Granular,
}

/// `x-kubernetes-patch-strategy`, for strategic merge patch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    pub merge: bool,
    pub retain_keys: bool,
    pub replace: bool,
}

impl PatchStrategy {
    pub fn is_declared(self) -> bool {
        self.merge || self.retain_keys || self.replace
    }

    /// The text of the OpenAPI extension, such as `merge,retainKeys`.
    pub fn text(self) -> &'static str {
        match self {
            Self { merge: true, retain_keys: true, .. } => "merge,retainKeys",
            Self { merge: true, .. } => "merge",
            Self { retain_keys: true, .. } => "retainKeys",
            Self { replace: true, .. } => "replace",
            _ => "",
        }
    }
}

/// A list of texts shared by many fields.
pub type Texts = Arc<[Arc<str>]>;

/// One member of a struct.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: Arc<str>,
    pub ty: TypeId,
    pub required: bool,
    /// A Go pointer: presence is significant, zero is kept.
    pub pointer: bool,
    /// No omitempty: Go always emits it.
    pub always: bool,
    /// An explicit default of the type (`+default`).
    pub default: Option<Box<Value>>,
    /// The values of a Go enum type; for lists and maps those of the elements.
    pub values: Option<Texts>,
    pub list_type: ListType,
    pub list_keys: Option<Texts>,
    pub map_type: MapType,
    pub patch_strategy: PatchStrategy,
    pub patch_key: Option<Arc<str>>,
    /// Path of protobuf field numbers through embedded messages; unused places are zero.
    pub numbers: [u8; 3],
    /// A declarative format such as `k8s-short-name`.
    pub format: Option<Arc<str>>,
}

/// A named type.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Without the `io.k8s.` prefix: `api.core.v1.Pod`.
    pub name: Arc<str>,
    pub id: TypeId,
    /// Sorted by name; empty unless the type is [`Type::Object`].
    pub fields: Box<[Field]>,
    /// Group, version and kind of the API kinds that this type is the body of.
    pub kinds: Box<[[Arc<str>; 3]]>,
    /// Server-side apply replaces it as a whole.
    pub atomic: bool,
    /// `x-kubernetes-unions` as JSON text; empty without.
    pub unions: Arc<str>,
    /// Go-inlined structs, which are messages of their own in protobuf.
    pub embedded: Box<[(Arc<str>, u8)]>,
}

impl Definition {
    /// The field with this JSON name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        let index = self.fields.binary_search_by(|field| (*field.name).cmp(name)).ok()?;
        self.fields.get(index)
    }
}

/// A graph of types.
#[derive(Debug)]
pub struct Schema {
    types: Box<[Type]>,
    /// Sorted by name; the ids of the definitions are their places.
    definitions: Box<[Definition]>,
}

impl Schema {
    pub fn ty(&self, id: TypeId) -> Type {
        self.types[usize::from(id.0)]
    }

    /// The named type behind an id; none for inline lists, maps and scalars.
    pub fn definition(&self, id: TypeId) -> Option<&Definition> {
        self.definitions.get(usize::from(id.0))
    }

    /// The fields of an object type.
    pub(crate) fn object(&self, id: TypeId) -> &Definition {
        &self.definitions[usize::from(id.0)]
    }

    /// What an object or the objects of a list are where a schema of a custom resource has one or the other (or a flag):
    /// schemas again. None for all other types.
    pub(crate) fn opened(&self, id: TypeId) -> Option<TypeId> {
        const PROPS: &str = "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";
        if self.ty(id) != Type::Json {
            return None;
        }
        let rest = self.definition(id)?.name.strip_prefix(PROPS)?;
        rest.starts_with("Or").then(|| self.find(PROPS)).flatten()
    }

    /// All named types, by name.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// A named type: `find("api.core.v1.Pod")`.
    pub fn find(&self, name: &str) -> Option<TypeId> {
        let index = self.definitions.binary_search_by(|definition| (*definition.name).cmp(name)).ok()?;
        self.definitions.get(index).map(|definition| definition.id)
    }

    /// Follows member names, and `[]` or `*` for elements of lists and maps.
    pub fn walk(&self, from: TypeId, path: &[&str]) -> Option<TypeId> {
        path.iter().try_fold(from, |id, part| match (self.ty(id), *part) {
            (Type::Object, name) => self.object(id).field(name).map(|field| field.ty),
            (Type::List(item), "[]") | (Type::Map(item), "*") => Some(item),
            _ => None,
        })
    }
}

/// The built-in types; decoded on first use.
pub fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(decode::embedded)
}

/// A built-in type by name: `find("api.core.v1.Pod")`.
pub fn find(name: &str) -> Option<TypeId> {
    schema().find(name)
}

/// What the built-in schema and its prose are made of, for whoever must notice that they changed.
pub(crate) fn sources() -> [&'static [u8]; 2] {
    [decode::GRAPH, describe::PROSE]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(definition: &str, name: &str) -> &'static Field {
        let schema = schema();
        schema.object(schema.find(definition).unwrap()).field(name).unwrap()
    }

    #[test]
    fn the_graph_holds_the_facts() {
        let containers = field("api.core.v1.PodSpec", "containers");
        assert_eq!(containers.list_type, ListType::Map);
        assert_eq!(containers.list_keys.as_deref().map(|keys| keys[0].to_string()), Some("name".to_owned()));
        assert_eq!(containers.patch_key.as_deref(), Some("name"));
        assert!(containers.patch_strategy.merge && containers.required);
        assert_eq!(containers.numbers, [2, 0, 0]);
        let Type::List(item) = schema().ty(containers.ty) else { panic!("containers is a list") };
        assert_eq!(schema().definition(item).map(|d| d.name.to_string()), Some("api.core.v1.Container".to_owned()));
        let protocol = field("api.core.v1.ContainerPort", "protocol");
        assert_eq!(protocol.default.as_deref(), Some(&Value::from("TCP")));
        assert_eq!(protocol.values.as_deref().map(<[_]>::len), Some(3));
        assert_eq!(schema().ty(field("api.core.v1.ServicePort", "targetPort").ty), Type::IntOrString);
        assert_eq!(field("api.core.v1.PodSpec", "nodeSelector").map_type, MapType::Atomic);
    }

    #[test]
    fn every_reference_leads_to_a_type() {
        let schema = schema();
        for definition in schema.definitions() {
            for field in &definition.fields {
                let mut id = field.ty;
                while let Type::List(inner) | Type::Map(inner) = schema.ty(id) {
                    id = inner;
                }
                assert!(schema.ty(id) != Type::Object || schema.definition(id).is_some(), "{}", field.name);
            }
        }
    }

    #[test]
    fn paths_lead_through_lists_and_maps() {
        let pod = find("api.core.v1.Pod").unwrap();
        let limits = ["spec", "containers", "[]", "resources", "limits", "*"];
        assert_eq!(schema().walk(pod, &limits).map(|id| schema().ty(id)), Some(Type::Quantity));
        assert_eq!(schema().walk(pod, &["spec", "nope"]), None);
    }

    #[test]
    fn prose_is_joined_to_definitions_and_fields() {
        let prose = descriptions();
        let pod = find("api.core.v1.Pod").unwrap();
        assert!(prose.definition(pod).starts_with("Pod is a collection of containers"));
        let index = schema().object(pod).fields.iter().position(|f| &*f.name == "spec").unwrap();
        assert!(prose.field(pod, index).starts_with("Specification of the desired behavior of the pod."));
        assert_eq!(prose.definition(find("api.core.v1.PodList").unwrap()), "PodList is a list of Pod objects.");
    }
}
