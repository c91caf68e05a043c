//! The paths of a row: which operations exist where, with what parameters, bodies and answers.
//!
//! Invariant: written from the row alone; an operation exists if and only if the row has its verb. Deprecated watch paths
//! are left out: a list with `watch` does the same, and they would double the document.

use super::Flavour;
use super::custom;
use super::parameters::{self, Parameter};
use super::schemas::published;
use super::write::{Array, Object};
use crate::catalog::{Kind, Subresource};
use crate::schema::{Schema, TypeId};

const META: &str = "apimachinery.pkg.apis.meta.v1";

/// What an operation does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    List,
    Get,
    Post,
    Put,
    Patch,
    Delete,
    DeleteCollection,
    Connect(&'static str),
}

impl Action {
    fn method(self) -> &'static str {
        match self {
            Action::List | Action::Get => "get",
            Action::Post => "post",
            Action::Put => "put",
            Action::Patch => "patch",
            Action::Delete | Action::DeleteCollection => "delete",
            Action::Connect(method) => method,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Action::List => "list",
            Action::Get => "get",
            Action::Post => "post",
            Action::Put => "put",
            Action::Patch => "patch",
            Action::Delete => "delete",
            Action::DeleteCollection => "deletecollection",
            Action::Connect(_) => "connect",
        }
    }

    /// The verb that begins the operation's id.
    fn id_verb(self) -> &'static str {
        match self {
            Action::List => "list",
            Action::Get => "read",
            Action::Post => "create",
            Action::Put => "replace",
            Action::Patch => "patch",
            Action::Delete | Action::DeleteCollection => "delete",
            Action::Connect(_) => "connect",
        }
    }

    fn parameters(self) -> &'static [Parameter] {
        match self {
            Action::List => parameters::LIST,
            Action::Post | Action::Put => parameters::WRITE,
            Action::Patch => parameters::PATCH,
            Action::Delete => parameters::DELETE,
            Action::DeleteCollection => parameters::DELETE,
            Action::Get | Action::Connect(_) => &[],
        }
    }
}

/// One operation of one kind.
struct Operation<'k> {
    action: Action,
    /// What follows the verb in the operation's id: `NamespacedPodStatus`.
    subject: String,
    /// The kind that the operation is about, and the type of its body.
    gvk: (&'k str, &'k str, &'k str),
    body: Option<Body>,
    extra: &'static [Parameter],
    plain_text: bool,
}

/// The type of a body.
#[derive(Clone)]
enum Body {
    Type(TypeId),
    /// A custom resource or a list of some, by the name of its model.
    Custom(String),
}

pub(super) struct Paths<'s> {
    pub(super) schema: &'s Schema,
    pub(super) flavour: Flavour,
}

impl Paths<'_> {
    /// The types that the paths of these kinds refer to.
    pub(super) fn roots<'k>(&self, kinds: impl IntoIterator<Item = &'k Kind>) -> Vec<TypeId> {
        let mut roots: Vec<TypeId> =
            ["DeleteOptions", "Patch", "Status", "APIResourceList"].iter().filter_map(|name| self.meta(name)).collect();
        for kind in kinds {
            if kind.custom.is_some() {
                roots.extend(["ObjectMeta", "ListMeta"].iter().filter_map(|name| self.meta(name)));
                roots.extend(self.schema.find("api.autoscaling.v1.Scale").filter(|_| kind.has_subresource("scale")));
                continue;
            }
            roots.push(kind.schema);
            roots.extend(self.list_type(kind));
            roots.extend(kind.subresources.iter().filter_map(|subresource| self.body_type(kind, subresource)));
        }
        roots
    }

    fn meta(&self, name: &str) -> Option<TypeId> {
        self.schema.find(&format!("{META}.{name}"))
    }

    fn list_type(&self, kind: &Kind) -> Option<TypeId> {
        self.schema.find(&format!("{}List", self.schema.definition(kind.schema)?.name))
    }

    fn body_type(&self, kind: &Kind, subresource: &Subresource) -> Option<TypeId> {
        let Some((group, version, name)) = &subresource.gvk else { return Some(kind.schema) };
        let is_body = |[g, v, k]: &[std::sync::Arc<str>; 3]| **g == **group && **v == **version && **k == **name;
        let definitions = self.schema.definitions().iter();
        definitions.filter(|definition| definition.kinds.iter().any(is_body)).map(|definition| definition.id).next()
    }

    /// Writes the path that lists the resources of a version.
    pub(super) fn write_resource_list(&self, out: &mut Object<'_>, group: &str, version: &str) {
        out.object(&format!("{}/", base(group, version)), |out| {
            out.object("get", |out| {
                out.text("description", "get available resources");
                out.text("operationId", &format!("get{}APIResources", id_prefix(group, version)));
                self.write_answer(out, self.meta("APIResourceList").map(Body::Type).as_ref(), false, false);
                out.texts("tags", [tag(group, version).as_str()]);
            });
        });
    }

    /// Writes all paths of a kind.
    pub(super) fn write_kind(&self, out: &mut Object<'_>, kind: &Kind) {
        let collection = match kind.namespaced {
            true => format!("{}/namespaces/{{namespace}}/{}", base(&kind.group, &kind.version), kind.plural),
            false => format!("{}/{}", base(&kind.group, &kind.version), kind.plural),
        };
        let scoped = if kind.namespaced { format!("Namespaced{}", kind.kind) } else { kind.kind.clone() };
        let own = |action, subject: String| Operation {
            action,
            subject,
            gvk: (&kind.group, &kind.version, &kind.kind),
            body: match (&kind.custom, action) {
                (Some(custom), Action::List) => Some(Body::Custom(custom::model_name(kind, &custom.list_kind))),
                (Some(_), _) => Some(Body::Custom(custom::model_name(kind, &kind.kind))),
                (None, Action::List) => self.list_type(kind).map(Body::Type),
                (None, _) => Some(Body::Type(kind.schema)),
            },
            extra: &[],
            plain_text: false,
        };
        let verb = |name: &str, action: Action| kind.allows(name).then(|| own(action, scoped.clone()));
        if kind.namespaced && kind.allows("list") {
            let everywhere = format!("{}/{}", base(&kind.group, &kind.version), kind.plural);
            let all = own(Action::List, format!("{}ForAllNamespaces", kind.kind));
            self.write_path(out, &everywhere, kind, vec![all]);
        }
        let of_collection = [
            verb("list", Action::List),
            verb("create", Action::Post),
            verb("deletecollection", Action::DeleteCollection)
                .map(|operation| Operation { subject: format!("Collection{scoped}"), ..operation }),
        ];
        self.write_path(out, &collection, kind, of_collection.into_iter().flatten().collect());
        let of_object = [
            verb("get", Action::Get),
            verb("update", Action::Put),
            verb("patch", Action::Patch),
            verb("delete", Action::Delete),
        ];
        let object = format!("{collection}/{{name}}");
        self.write_path(out, &object, kind, of_object.into_iter().flatten().collect());
        for subresource in &kind.subresources {
            self.write_subresource(out, kind, subresource, &object, &scoped);
        }
    }

    fn write_subresource(
        &self,
        out: &mut Object<'_>,
        kind: &Kind,
        subresource: &Subresource,
        object: &str,
        scoped: &str,
    ) {
        let path = format!("{object}/{}", subresource.name);
        let subject = format!("{scoped}{}", capital(&subresource.name));
        let gvk = match &subresource.gvk {
            Some((group, version, name)) => (group.as_str(), version.as_str(), name.as_str()),
            None => (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str()),
        };
        let streams = gvk.2.ends_with("Options");
        let log = subresource.name == "log";
        let operation = |verb: &String| {
            let action = match verb.as_str() {
                "get" if streams => Action::Connect("get"),
                "create" if streams => Action::Connect("post"),
                "update" if streams => Action::Connect("put"),
                "patch" if streams => Action::Connect("patch"),
                "delete" if streams => Action::Connect("delete"),
                "get" => Action::Get,
                "create" => Action::Post,
                "update" => Action::Put,
                "patch" => Action::Patch,
                _ => return None,
            };
            let subject = match action {
                Action::Connect(method) => format!("{}{subject}", capital(method)),
                _ => subject.clone(),
            };
            let body = match (&kind.custom, &subresource.gvk) {
                (Some(_), None) => Some(Body::Custom(custom::model_name(kind, &kind.kind))),
                _ if streams || log => None,
                _ => self.body_type(kind, subresource).map(Body::Type),
            };
            let extra = if log { parameters::LOG } else { &[] };
            Some(Operation { action, subject, gvk, body, extra, plain_text: streams || log })
        };
        self.write_path(out, &path, kind, subresource.verbs.iter().filter_map(operation).collect());
        if subresource.name == "proxy" {
            let rest = |verb: &String| {
                operation(verb)
                    .map(|operation| Operation { subject: format!("{}WithPath", operation.subject), ..operation })
            };
            let operations = subresource.verbs.iter().filter_map(rest).collect();
            self.write_path(out, &format!("{path}/{{path}}"), kind, operations);
        }
    }

    fn write_path(&self, out: &mut Object<'_>, path: &str, kind: &Kind, operations: Vec<Operation<'_>>) {
        if operations.is_empty() {
            return;
        }
        out.object(path, |out| {
            for operation in &operations {
                out.object(operation.action.method(), |out| self.write_operation(out, kind, operation));
            }
            out.array("parameters", |out| {
                for parameter in parameters::IN_PATHS.iter().filter(|parameter| parameter.is_in(path)) {
                    self.write_parameter_reference(out, parameter);
                }
            });
        });
    }

    fn write_operation(&self, out: &mut Object<'_>, kind: &Kind, operation: &Operation<'_>) {
        let action = operation.action;
        let prefix = id_prefix(&kind.group, &kind.version);
        out.text("description", &describe(operation));
        out.text("operationId", &format!("{}{prefix}{}", action.id_verb(), operation.subject));
        let takes = match action {
            Action::Post | Action::Put => operation.body.clone(),
            Action::Patch => self.meta("Patch").map(Body::Type),
            Action::Delete | Action::DeleteCollection => self.meta("DeleteOptions").map(Body::Type),
            _ => None,
        };
        let media: &[&str] = match action {
            Action::Patch if kind.custom.is_some() => CUSTOM_PATCHES,
            Action::Patch => PATCHES,
            _ => BODIES,
        };
        let lists = if action == Action::DeleteCollection { parameters::SELECTION } else { &[] };
        let query = || action.parameters().iter().chain(operation.extra).chain(lists);
        let v2 = self.flavour == Flavour::V2;
        if query().next().is_some() || (v2 && takes.is_some()) {
            out.array("parameters", |out| {
                for parameter in query() {
                    // kubectl looks for names among the parameters of a patch, but does not follow references.
                    match action {
                        Action::Patch => out.object(|out| self.write_parameter(out, parameter)),
                        _ => self.write_parameter_reference(out, parameter),
                    }
                }
                if let (true, Some(body)) = (v2, &takes) {
                    out.object(|out| {
                        out.text("in", "body");
                        out.text("name", "body");
                        if !matches!(action, Action::Delete | Action::DeleteCollection) {
                            out.flag("required", true);
                        }
                        out.object("schema", |out| self.write_reference(out, body));
                    });
                }
            });
        }
        match &takes {
            Some(_) if v2 => out.texts("consumes", media.iter().copied()),
            Some(body) => out.object("requestBody", |out| {
                out.object("content", |out| {
                    for media in media {
                        out.object(media, |out| out.object("schema", |out| self.write_reference(out, body)));
                    }
                });
                if !matches!(action, Action::Delete | Action::DeleteCollection) {
                    out.flag("required", true);
                }
            }),
            None => {}
        }
        let answer = match action {
            Action::Delete | Action::DeleteCollection => self.meta("Status").map(Body::Type),
            _ => operation.body.clone(),
        };
        self.write_answer(out, answer.as_ref(), action == Action::List, operation.plain_text);
        out.texts("tags", [tag(&kind.group, &kind.version).as_str()]);
        out.text("x-kubernetes-action", action.name());
        let (group, version, name) = operation.gvk;
        out.object("x-kubernetes-group-version-kind", |out| {
            out.text("group", group);
            out.text("kind", name);
            out.text("version", version);
        });
    }

    fn write_answer(&self, out: &mut Object<'_>, body: Option<&Body>, streams: bool, plain_text: bool) {
        let media: &[&str] = match (plain_text, streams) {
            (true, _) => &["*/*"],
            (false, true) => LISTS,
            (false, false) => ANSWERS,
        };
        let schema = |out: &mut Object<'_>| match body {
            Some(body) => self.write_reference(out, body),
            None => out.text("type", "string"),
        };
        let v2 = self.flavour == Flavour::V2;
        if v2 {
            out.texts("produces", media.iter().copied());
        }
        out.object("responses", |out| {
            out.object("200", |out| {
                out.text("description", "OK");
                if v2 {
                    out.object("schema", schema);
                } else {
                    out.object("content", |out| {
                        for media in media {
                            out.object(media, |out| out.object("schema", schema));
                        }
                    });
                }
            });
            out.object("401", |out| out.text("description", "Unauthorized"));
        });
    }

    fn write_reference(&self, out: &mut Object<'_>, body: &Body) {
        let name = match body {
            Body::Type(id) => self.schema.definition(*id).map(published),
            Body::Custom(name) => Some(name.clone()),
        };
        if let Some(name) = name {
            out.text("$ref", &format!("{}{name}", self.flavour.schema_prefix()));
        }
    }

    /// Writes all parameters once; operations refer to them, which keeps the documents small.
    pub(super) fn write_parameters(&self, out: &mut Object<'_>) {
        for parameter in parameters::all() {
            out.object(parameter.name, |out| self.write_parameter(out, parameter));
        }
    }

    fn write_parameter_reference(&self, out: &mut Array<'_>, parameter: &Parameter) {
        let prefix = match self.flavour {
            Flavour::V2 => "#/parameters/",
            Flavour::V3 => "#/components/parameters/",
        };
        out.object(|out| out.text("$ref", &format!("{prefix}{}", parameter.name)));
    }

    fn write_parameter(&self, out: &mut Object<'_>, parameter: &Parameter) {
        out.text("description", parameter.description);
        out.text("in", parameter.place);
        out.text("name", parameter.name);
        if parameter.place == "path" {
            out.flag("required", true);
        }
        let kind = |out: &mut Object<'_>| {
            out.text("type", parameter.kind);
            out.flag("uniqueItems", true);
        };
        match self.flavour {
            Flavour::V2 => kind(out),
            Flavour::V3 => out.object("schema", kind),
        }
    }
}

const ANSWERS: &[&str] = &["application/json", "application/vnd.kubernetes.protobuf", "application/yaml"];
const LISTS: &[&str] = &[
    "application/json",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf",
    "application/vnd.kubernetes.protobuf;stream=watch",
    "application/yaml",
];
const BODIES: &[&str] = &["application/json", "application/yaml"];
const PATCHES: &[&str] = &[
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
const CUSTOM_PATCHES: &[&str] =
    &["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];

fn describe(operation: &Operation<'_>) -> String {
    let kind = operation.gvk.2;
    match operation.action {
        Action::List => format!("list or watch objects of kind {kind}"),
        Action::Get => format!("read the specified {kind}"),
        Action::Post => format!("create a {kind}"),
        Action::Put => format!("replace the specified {kind}"),
        Action::Patch => format!("partially update the specified {kind}"),
        Action::Delete => format!("delete a {kind}"),
        Action::DeleteCollection => format!("delete collection of {kind}"),
        Action::Connect(method) => format!("connect {} requests to {kind}", method.to_uppercase()),
    }
}

/// The path below which a version's resources are: `/api/v1` or `/apis/apps/v1`.
fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// `RbacAuthorization` for `rbac.authorization.k8s.io`.
fn group_name(group: &str) -> String {
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    if group.is_empty() { "Core".to_owned() } else { group.split('.').map(capital).collect() }
}

fn id_prefix(group: &str, version: &str) -> String {
    format!("{}{}", group_name(group), capital(version))
}

/// `rbacAuthorization_v1`
fn tag(group: &str, version: &str) -> String {
    let name = group_name(group);
    let mut letters = name.chars();
    let name: String = letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect());
    format!("{name}_{version}")
}
