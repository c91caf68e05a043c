//! What expressions of admission policies may name: the object, the one before, its namespace, the request, parameters,
//! variables, and who decides what its user may do.
//!
//! Invariant: a variable is known to what is compiled after it, by the type that its expression has; of what is no plain data
//! nothing is known. What objects look like is known only to whoever asks for advice ([`Checker`]): a policy is admitted
//! without, for it may be about kinds that are not there yet.

use std::sync::{Arc, LazyLock};

use crate::fault::listing;
use crate::program::compile;
use crate::shape::{Format, Meaning, Shape};
use crate::types::{Declaration, Env, Opaque, Type};

/// What a variable looks like; without a shape, nobody knows.
pub type Known = Option<Arc<Shape>>;

/// The names that expressions of one policy may use.
#[derive(Debug)]
pub struct Names {
    /// What the object is, and the one before.
    object: Declaration,
    /// What the parameters are, if there are any.
    params: Option<Declaration>,
    /// Names and types; none where there can be no variables.
    variables: Option<Vec<(String, Type)>>,
}

fn declaration(known: Known) -> Declaration {
    known.map_or(Declaration::Plain(Type::Dyn), Declaration::Data)
}

impl Names {
    /// Of objects and parameters nothing is known.
    pub fn untyped(params: bool, composed: bool) -> Self {
        Self {
            object: declaration(None),
            params: params.then(|| declaration(None)),
            variables: composed.then(Vec::new),
        }
    }

    /// For objects and parameters, if there are any, of these shapes. There may be variables.
    pub fn typed(object: Known, params: Option<Known>) -> Self {
        Self { object: declaration(object), params: params.map(declaration), variables: Some(Vec::new()) }
    }

    /// For an expression that may ask the authorizer, or use variables.
    pub fn env(&self, authorizer: bool, variables: bool) -> Env {
        let mut env = Env::new()
            .with("object", self.object.clone())
            .with("oldObject", self.object.clone())
            .with("namespaceObject", Declaration::Data(NAMESPACE.clone()))
            .with("request", Declaration::Data(REQUEST.clone()));
        if let Some(params) = &self.params {
            env = env.with("params", params.clone());
        }
        if authorizer {
            let opaque = |opaque| Declaration::Plain(Type::Opaque(opaque));
            env = env.with("authorizer", opaque(Opaque::Authorizer));
            env = env.with("authorizer.requestResource", opaque(Opaque::ResourceCheck));
        }
        if let Some(known) = self.variables.as_ref().filter(|_| variables) {
            let field = |(name, ty): &'_ (String, Type)| (name.clone(), Arc::new(Shape::typed(ty.clone())));
            let fields: Vec<(String, Arc<Shape>)> = known.iter().map(field).collect();
            let fields = fields.iter().map(|(name, shape)| (&**name, shape.clone()));
            env = env.with("variables", Declaration::Data(Arc::new(Shape::declared("kubernetes.variables", fields))));
        }
        env
    }

    /// A variable, by the type of its expression.
    pub fn know(&mut self, name: &str, ty: &Type) {
        if let Some(variables) = &mut self.variables {
            variables.retain(|(known, _)| known != name);
            variables.push((name.to_owned(), composed(ty)));
        }
    }
}

/// Says what is wrong with expressions of a policy, when it is known what the objects look like that it is about.
///
/// Upstream: `apiserver/pkg/admission/plugin/policy/validating/typechecking.go`. Not as upstream: `authorizer.requestResource`
/// is known here, as it is when the expression is evaluated.
#[derive(Debug)]
pub struct Checker {
    names: Names,
}

impl Checker {
    /// Variables come by name and expression, in their order.
    pub fn new<'v>(
        object: Known,
        params: Option<Known>,
        variables: impl IntoIterator<Item = (&'v str, &'v str)>,
    ) -> Self {
        let mut names = Names::typed(object, params);
        for (name, text) in variables {
            let program = compile(text, &names.env(true, true));
            names.know(name, program.as_ref().map_or(&Type::Dyn, |program| program.result_type()));
        }
        Self { names }
    }

    /// What is wrong with an expression, as it is shown; none if nothing is.
    pub fn faults(&self, text: &str) -> Option<String> {
        compile(text, &self.names.env(true, true)).err().map(|faults| listing(&faults))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::Property;

    fn object() -> Known {
        let integer = Property { name: "replicas", shape: Arc::new(Shape::integer()), required: false };
        let spec = Arc::new(Shape::object("Object.spec".into(), [integer]));
        Some(Arc::new(Shape::object("Object".into(), [Property { name: "spec", shape: spec, required: true }])))
    }

    fn check(params: Option<Known>, variables: &[(&str, &str)], text: &str, expected: Option<&str>) {
        let checker = Checker::new(object(), params, variables.iter().copied());
        assert_eq!(checker.faults(text).as_deref(), expected, "{text}");
    }

    #[test]
    fn fields_and_operators_are_checked_against_the_type_of_the_object() {
        check(None, &[], "object.spec.replicas <= 5", None);
        check(None, &[], "oldObject == null || oldObject.spec.replicas <= object.spec.replicas", None);
        let message = "ERROR: <input>:1:12: undefined field 'foo'\n | object.spec.foo\n | ...........^";
        check(None, &[], "object.spec.foo", Some(message));
        assert!(Checker::new(object(), None, []).faults("object.spec.replicas == 'a'").is_some());
        assert_eq!(Checker::new(None, None, []).faults("object.spec.foo"), None, "of what nobody knows");
    }

    #[test]
    fn parameters_variables_and_the_authorizer_are_known() {
        check(Some(None), &[], "object.spec.replicas <= params.max", None);
        assert!(Checker::new(object(), None, []).faults("params.max > 1").is_some(), "there are none");
        let variables = [("some", "object.spec.replicas"), ("wrong", "object.nothing")];
        check(None, &variables, "variables.some > 1 && variables.wrong.anything == 1", None);
        assert!(Checker::new(object(), None, variables).faults("variables.some == 'a'").is_some());
        check(None, &[], "authorizer.requestResource.check('get').allowed()", None);
    }
}
