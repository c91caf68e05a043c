//! Asking what somebody may do: `authorizer.group('apps').resource('deployments').check('get').allowed()`.
//!
//! Invariant: a question is built up without asking; only `check` asks, and what it asks is the embedding's to answer.

use std::fmt;
use std::sync::Arc;

use base::name;

use crate::cost::price::Price;
use crate::eval::Meter;
use crate::library::Row;
use crate::types::Opaque;
use crate::value::{Failure, Outcome, Special, Value};

pub(super) const ROWS: &[Row] = &[
    ("path", Price::One, path, &["authorizer.(string) -> path"]),
    ("group", Price::One, group, &["authorizer.(string) -> group"]),
    ("serviceAccount", Price::One, service_account, &["authorizer.(string, string) -> authorizer"]),
    ("resource", Price::One, resource, &["group.(string) -> resource"]),
    ("subresource", Price::One, subresource, &["resource.(string) -> resource"]),
    ("namespace", Price::One, namespace, &["resource.(string) -> resource"]),
    ("name", Price::One, named, &["resource.(string) -> resource"]),
    ("fieldSelector", Price::Selector, field_selector, &["resource.(string) -> resource"]),
    ("labelSelector", Price::Selector, label_selector, &["resource.(string) -> resource"]),
    ("check", Price::Check, check, &["path.(string) -> decision", "resource.(string) -> decision"]),
    ("errored", Price::One, errored, &["decision.() -> bool"]),
    ("error", Price::One, error, &["decision.() -> string"]),
    ("allowed", Price::One, allowed, &["decision.() -> bool"]),
    ("reason", Price::One, reason, &["decision.() -> string"]),
];

/// Who answers. Made by the embedding for the user of a request.
pub trait Authorizer: Send + Sync {
    fn authorize(&self, question: &Question) -> Decision;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Namespace and name of the service account asked about instead of the user.
    pub service_account: Option<(String, String)>,
    pub verb: String,
    /// Of a question that is about no resource.
    pub path: Option<String>,
    pub group: String,
    pub resource: String,
    pub subresource: String,
    pub namespace: String,
    pub name: String,
    pub field_selector: String,
    pub label_selector: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub allowed: bool,
    pub reason: String,
    pub error: Option<String>,
}

/// A question being built; which part of it the type tells.
pub struct Asking {
    stage: Opaque,
    authorizer: Arc<dyn Authorizer>,
    question: Question,
    decision: Decision,
}

impl fmt::Debug for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("stage", &self.stage).field("question", &self.question).finish_non_exhaustive()
    }
}

impl Asking {
    pub(crate) fn stage(&self) -> Opaque {
        self.stage
    }

    fn next(&self, stage: Opaque, change: impl FnOnce(&mut Question)) -> Value<'static> {
        let mut question = self.question.clone();
        change(&mut question);
        let asking = Self { stage, authorizer: self.authorizer.clone(), question, decision: self.decision.clone() };
        Value::special(Special::Asking(asking))
    }
}

impl Value<'static> {
    /// The `authorizer` variable.
    pub fn authorizer(authorizer: Arc<dyn Authorizer>) -> Self {
        let (question, decision) = (Question::default(), Decision::default());
        Self::special(Special::Asking(Asking { stage: Opaque::Authorizer, authorizer, question, decision }))
    }

    /// The `authorizer.requestResource` variable: a question about a resource that lacks only its verb.
    pub fn request_resource(authorizer: Arc<dyn Authorizer>, question: Question) -> Self {
        let decision = Decision::default();
        Self::special(Special::Asking(Asking { stage: Opaque::ResourceCheck, authorizer, question, decision }))
    }
}

fn asking<'v>(args: &'v [Value<'_>], stages: &[Opaque]) -> Result<&'v Asking, Failure> {
    let Value::Opaque(special) = &args[0] else { return Err(Failure::no_overload()) };
    match special.as_ref() {
        Special::Asking(asking) if stages.contains(&asking.stage) => Ok(asking),
        _ => Err(Failure::no_overload()),
    }
}

fn path<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (asking, path) = (asking(args, &[Opaque::Authorizer])?, args[1].want_str()?);
    if path.trim().is_empty() {
        return Err(Failure::new("path must not be empty"));
    }
    Ok(asking.next(Opaque::PathCheck, |question| question.path = Some(path.to_owned())))
}

fn group<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (asking, group) = (asking(args, &[Opaque::Authorizer])?, args[1].want_str()?);
    Ok(asking.next(Opaque::GroupCheck, |question| question.group = group.to_owned()))
}

fn service_account<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let asking = asking(args, &[Opaque::Authorizer])?;
    let (namespace, account) = (args[1].want_str()?, args[2].want_str()?);
    name::dns_subdomain(account).map_err(|_| Failure::new("Invalid service account name"))?;
    name::dns_label(namespace).map_err(|_| Failure::new("Invalid service account namespace"))?;
    let account = (namespace.to_owned(), account.to_owned());
    Ok(asking.next(Opaque::Authorizer, |question| question.service_account = Some(account)))
}

fn resource<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (asking, resource) = (asking(args, &[Opaque::GroupCheck])?, args[1].want_str()?);
    if resource.trim().is_empty() {
        return Err(Failure::new("resource must not be empty"));
    }
    Ok(asking.next(Opaque::ResourceCheck, |question| question.resource = resource.to_owned()))
}

/// One more detail of a question about a resource.
fn detail<'a>(args: &[Value<'a>], part: fn(&mut Question) -> &mut String) -> Outcome<'a> {
    let (asking, text) = (asking(args, &[Opaque::ResourceCheck])?, args[1].want_str()?);
    Ok(asking.next(Opaque::ResourceCheck, |question| text.clone_into(part(question))))
}

fn subresource<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    detail(args, |question| &mut question.subresource)
}

fn namespace<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    detail(args, |question| &mut question.namespace)
}

fn named<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    detail(args, |question| &mut question.name)
}

fn field_selector<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    detail(args, |question| &mut question.field_selector)
}

fn label_selector<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    detail(args, |question| &mut question.label_selector)
}

fn check<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    let (asking, verb) = (asking(args, &[Opaque::PathCheck, Opaque::ResourceCheck])?, args[1].want_str()?);
    let question = Question { verb: verb.to_owned(), ..asking.question.clone() };
    let decision = asking.authorizer.authorize(&question);
    let asked = Asking { stage: Opaque::Decision, authorizer: asking.authorizer.clone(), question, decision };
    Ok(Value::special(Special::Asking(asked)))
}

fn decision<'v>(args: &'v [Value<'_>]) -> Result<&'v Decision, Failure> {
    Ok(&asking(args, &[Opaque::Decision])?.decision)
}

fn errored<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(decision(args)?.error.is_some()))
}

fn error<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(decision(args)?.error.clone().unwrap_or_default()))
}

fn allowed<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::Bool(decision(args)?.allowed))
}

fn reason<'a>(_: &mut Meter<'a>, args: &[Value<'a>]) -> Outcome<'a> {
    Ok(Value::text(&*decision(args)?.reason))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Budget, Declaration, Env, Type, compile};

    struct OnlyPods;

    impl Authorizer for OnlyPods {
        fn authorize(&self, question: &Question) -> Decision {
            let allowed = question.resource == "pods" && question.verb == "get" && question.namespace == "default";
            Decision { allowed, reason: question.name.clone(), error: question.path.clone() }
        }
    }

    #[test]
    fn questions_reach_the_authorizer_and_cost_what_upstream_charges() {
        let env = Env::new().with("authorizer", Declaration::Plain(Type::Opaque(Opaque::Authorizer)));
        let vars = [("authorizer", Value::authorizer(Arc::new(OnlyPods)))];
        for (text, expected) in [
            ("authorizer.group('').resource('pods').namespace('default').name('a').check('get').allowed()", "true"),
            ("authorizer.group('').resource('pods').namespace('other').check('get').allowed()", "false"),
            ("authorizer.group('').resource('pods').name('a').check('get').reason()", "\"a\""),
            ("authorizer.path('/healthz').check('get').error()", "\"/healthz\""),
            (
                "authorizer.serviceAccount('a', 'b').group('x').resource('y').labelSelector('a=b').check('z').errored()",
                "false",
            ),
        ] {
            let program = compile(text, &env).unwrap();
            let mut budget = Budget::default();
            assert_eq!(program.evaluate(&vars, &mut budget).unwrap().shown().unwrap(), expected, "{text}");
            assert!(program.cost().max >= 350_000);
        }
        let thrice = "authorizer.path('/a').check('get').allowed() || ".repeat(3) + "false";
        let program = compile(&thrice, &env).unwrap();
        assert_eq!(program.evaluate(&vars, &mut Budget::default()).unwrap_err(), Failure::TooCostly);
    }
}
