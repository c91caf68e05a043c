//! What expressions of policies and match conditions may say.
//!
//! Invariant: a variable of a policy is known to what is compiled after it, by the type that its expression has; of objects
//! and of what is no plain data nothing is known. One that is refused is known, too, so that it is told once.

use std::sync::{Arc, LazyLock};

use expressions::{Declaration, Env, Format, Meaning, Opaque, Shape, Type};

use super::super::expression::{Refusal, compile};
use super::Faults;
use crate::path::Path;

/// Where an expression stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Condition,
    Variable,
    Validation,
    Message,
    Annotation,
    ApplyConfiguration,
    Patch,
}

impl Place {
    /// The types it may have there; any, if none is named.
    fn types(self) -> Vec<Type> {
        match self {
            Self::Variable => Vec::new(),
            Self::Condition | Self::Validation => vec![Type::Bool],
            Self::Message => vec![Type::String],
            Self::Annotation => vec![Type::String, Type::Null],
            Self::ApplyConfiguration => vec![Type::Made(Type::OBJECT.into())],
            Self::Patch => vec![Type::list(Type::Made(Type::PATCH.into()))],
        }
    }

    fn judge(self, found: &Type) -> Result<(), String> {
        let types = self.types();
        if types.is_empty() || types.iter().any(|ty| ty.is(found)) {
            return Ok(());
        }
        let names: Vec<String> = types.iter().map(Type::full_name).collect();
        let wanted = if names.len() == 1 { names.concat() } else { format!("one of [{}]", names.join(" ")) };
        Err(format!("must evaluate to {wanted} but got {}", found.full_name()))
    }
}

/// What the expressions of one object may use.
#[derive(Debug)]
pub(crate) struct Expressions {
    /// What the object is, and the one before.
    object: Declaration,
    /// What the parameters are, if there are any.
    params: Option<Declaration>,
    /// Names and types; none where there can be no variables.
    variables: Option<Vec<(String, Type)>>,
}

impl Expressions {
    /// Of objects and parameters nothing is known.
    pub(crate) fn new(params: bool, composed: bool) -> Self {
        let dynamic = || Declaration::Plain(Type::Dyn);
        Self { object: dynamic(), params: params.then(dynamic), variables: composed.then(Vec::new) }
    }

    /// The types are known; there may be variables.
    pub(crate) fn typed(object: Declaration, params: Option<Declaration>) -> Self {
        Self { object, params, variables: Some(Vec::new()) }
    }

    pub(crate) fn env(&self, place: Place) -> Env {
        let mut env = Env::new()
            .with("object", self.object.clone())
            .with("oldObject", self.object.clone())
            .with("namespaceObject", Declaration::Data(NAMESPACE.clone()))
            .with("request", Declaration::Data(REQUEST.clone()));
        if let Some(params) = &self.params {
            env = env.with("params", params.clone());
        }
        if place != Place::Message {
            let opaque = |opaque| Declaration::Plain(Type::Opaque(opaque));
            env = env.with("authorizer", opaque(Opaque::Authorizer));
            env = env.with("authorizer.requestResource", opaque(Opaque::ResourceCheck));
        }
        if let Some(variables) = self.variables.as_ref().filter(|_| place != Place::Condition) {
            let field = |(name, ty): &'_ (String, Type)| (name.clone(), Arc::new(Shape::typed(ty.clone())));
            let fields: Vec<(String, Arc<Shape>)> = variables.iter().map(field).collect();
            let fields = fields.iter().map(|(name, shape)| (&**name, shape.clone()));
            env = env.with("variables", Declaration::Data(Arc::new(Shape::declared("kubernetes.variables", fields))));
        }
        if matches!(place, Place::ApplyConfiguration | Place::Patch) { env.with_patches() } else { env }
    }

    /// The type of an expression.
    pub(crate) fn ty(&self, text: &str, place: Place) -> Result<Type, Refusal> {
        let program = compile(text, &self.env(place), |ty| place.judge(ty))?;
        Ok(program.result_type().clone())
    }

    /// Tells why an expression cannot stand where it does. What is shown may have blanks around it.
    pub(crate) fn check(&self, text: &str, shown: &str, place: Place, path: &Path<'_>, faults: &mut Faults) {
        if let Err(refusal) = self.ty(text, place) {
            refusal.tell(shown, path, faults);
        }
    }

    /// As `check`; what is compiled later knows the variable.
    pub(crate) fn declare(&mut self, name: &str, text: &str, path: &Path<'_>, faults: &mut Faults) {
        let ty = match self.ty(text, Place::Variable) {
            Ok(ty) => composed(&ty),
            Err(refusal) => {
                refusal.tell(text, path, faults);
                Type::Dyn
            }
        };
        self.know(name, ty);
    }

    /// As `declare`, of an expression whose faults are told elsewhere.
    pub(crate) fn assume(&mut self, name: &str, text: &str) {
        let ty = self.ty(text, Place::Variable).map_or(Type::Dyn, |ty| composed(&ty));
        self.know(name, ty);
    }

    fn know(&mut self, name: &str, ty: Type) {
        if let Some(variables) = &mut self.variables {
            variables.retain(|(known, _)| known != name);
            variables.push((name.to_owned(), ty));
        }
    }
}

/// What is known of a variable's type.
fn composed(ty: &Type) -> Type {
    match ty {
        Type::Any
        | Type::Bool
        | Type::Bytes
        | Type::Double
        | Type::Duration
        | Type::Int
        | Type::Null
        | Type::String
        | Type::Timestamp
        | Type::Uint => ty.clone(),
        Type::List(element) => Type::list(composed(element)),
        Type::Map(both) => Type::map(composed(&both.0), composed(&both.1)),
        _ => Type::Dyn,
    }
}

fn text() -> Arc<Shape> {
    Arc::new(Shape::string(None, None))
}

fn list_of(items: Arc<Shape>) -> Arc<Shape> {
    Arc::new(Shape::list(items, None, Meaning::Atomic))
}

fn map_of(values: Arc<Shape>) -> Arc<Shape> {
    Arc::new(Shape::map(values, None))
}

fn texts<const N: usize>(name: &str, fields: [&str; N]) -> Arc<Shape> {
    Arc::new(Shape::declared(name, fields.map(|field| (field, text()))))
}

/// The request, without the objects, which are variables of their own.
static REQUEST: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    let kind = texts("kubernetes.GroupVersionKind", ["group", "version", "kind"]);
    let resource = texts("kubernetes.GroupVersionResource", ["group", "version", "resource"]);
    let user = Shape::declared(
        "kubernetes.UserInfo",
        [("username", text()), ("uid", text()), ("groups", list_of(text())), ("extra", map_of(list_of(text())))],
    );
    let fields = [
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("subResource", text()),
        ("requestKind", kind),
        ("requestResource", resource),
        ("requestSubResource", text()),
        ("name", text()),
        ("namespace", text()),
        ("operation", text()),
        ("userInfo", Arc::new(user)),
        ("dryRun", Arc::new(Shape::boolean())),
        ("options", Arc::new(Shape::dynamic())),
    ];
    Arc::new(Shape::declared("kubernetes.AdmissionRequest", fields))
});

/// The namespace of the object; less than there is of a namespace.
static NAMESPACE: LazyLock<Arc<Shape>> = LazyLock::new(|| {
    let time = || Arc::new(Shape::formatted(Format::DateTime, None));
    let number = || Arc::new(Shape::integer());
    let condition = Shape::declared(
        "kubernetes.NamespaceCondition",
        [("status", text()), ("type", text()), ("lastTransitionTime", time()), ("message", text()), ("reason", text())],
    );
    let metadata = Shape::declared(
        "kubernetes.NamespaceMetadata",
        [
            ("name", text()),
            ("generateName", text()),
            ("namespace", text()),
            ("labels", map_of(text())),
            ("annotations", map_of(text())),
            ("UID", text()),
            ("creationTimestamp", time()),
            ("deletionGracePeriodSeconds", number()),
            ("deletionTimestamp", time()),
            ("generation", number()),
            ("resourceVersion", text()),
            ("finalizers", list_of(text())),
        ],
    );
    let spec = Shape::declared("kubernetes.NamespaceSpec", [("finalizers", list_of(text()))]);
    let conditions = list_of(Arc::new(condition));
    let status = Shape::declared("kubernetes.NamespaceStatus", [("conditions", conditions), ("phase", text())]);
    let fields = [("metadata", Arc::new(metadata)), ("spec", Arc::new(spec)), ("status", Arc::new(status))];
    Arc::new(Shape::declared("kubernetes.Namespace", fields))
});
