//! What is wrong with expressions of a policy, when it is known what the objects look like that it is about.
//!
//! Invariant: faults found here are advice. A policy is admitted by what [`crate::validate_create`] says, which knows
//! nothing of objects, for a policy may be about kinds that are not there yet.
//! Upstream: `apiserver/pkg/admission/plugin/policy/validating/typechecking.go`. Not as upstream: `authorizer.requestResource`
//! is known here, as it is when the expression is evaluated.

use std::sync::Arc;

use expressions::{Declaration, Shape, Type, listing};

use crate::validate::admission::expression::{Expressions, Place};

/// What a variable looks like; nothing is known without a shape.
pub type Known = Option<Arc<Shape>>;

/// The names that expressions of one policy may use, with their types.
#[derive(Debug)]
pub struct Checker {
    expressions: Expressions,
}

fn declaration(known: Known) -> Declaration {
    known.map_or(Declaration::Plain(Type::Dyn), Declaration::Data)
}

impl Checker {
    /// For objects of this shape; with parameters if there are any. Variables come by name and expression, in their order.
    pub fn new<'v>(object: Known, params: Option<Known>, variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> Self {
        let mut expressions = Expressions::typed(declaration(object), params.map(declaration));
        variables.into_iter().for_each(|(name, text)| expressions.assume(name, text));
        Self { expressions }
    }

    /// What is wrong with an expression, as it is shown; none if nothing is.
    pub fn faults(&self, text: &str) -> Option<String> {
        let compiled = expressions::compile(text, &self.expressions.env(Place::Variable));
        compiled.err().map(|faults| listing(&faults))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expressions::Property;

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
