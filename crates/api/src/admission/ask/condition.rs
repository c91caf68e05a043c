//! Expressions about a request: what they may see of it, and match conditions.
//!
//! Invariant: an expression is compiled once and kept; what it sees is made once for all expressions about one request.

use std::collections::HashMap;
use std::sync::Arc;

use expressions::admission::Names;
use expressions::{Budget, Env, Failure, PER_CALL, Program, Question, Value, listing};
use kinds::Kind;
use parking_lot::Mutex;
use serde_json::Value as Json;

use super::asked::Asked;
use crate::{
    attributes::Attributes,
    authz::{self, Decision},
    core::text,
    error::ApiError,
    identity::User,
};

/// What the match conditions of one decision may cost together (upstream `RuntimeCELCostBudgetMatchConditions`).
const OF_CONDITIONS: u64 = 2_500_000;
/// Compiled expressions that are kept.
const KEPT: usize = 1024;

pub(super) type Compiled = Result<Program, String>;

/// An expression that may name what there is of a request.
pub(super) fn compile(text: &str, env: &Env) -> Compiled {
    expressions::compile(text, env).map_err(|faults| listing(&faults))
}

/// Match conditions of webhooks, by their text.
#[derive(Default)]
pub(super) struct Programs(Mutex<HashMap<String, Arc<Compiled>>>);

impl Programs {
    fn get(&self, text: &str) -> Arc<Compiled> {
        if let Some(known) = self.0.lock().get(text) {
            return known.clone();
        }
        let compiled = Arc::new(compile(text, &Names::untyped(false, false).env(true, false)));
        let mut known = self.0.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        known.insert(text.to_owned(), compiled.clone());
        compiled
    }
}

/// What expressions see of a request.
pub(super) struct Seen {
    object: Json,
    old: Json,
    request: Json,
    namespace: Option<Arc<Json>>,
    judge: Arc<Judge>,
    question: Question,
}

impl Seen {
    /// The objects as `kind` has them.
    pub(super) async fn new(
        asked: &Asked<'_>,
        kind: &Kind,
        new: Option<&Json>,
        old: Option<&Json>,
    ) -> Result<Self, ApiError> {
        let judge = Judge { authorizer: asked.core.access.authorizer.clone(), user: Arc::new(asked.user.clone()) };
        let space = !asked.namespace.is_empty() && !asked.kind.is("", "Namespace");
        Ok(Self {
            object: asked.shown(new, kind).await?,
            old: asked.shown(old, kind).await?,
            request: asked.request(kind),
            namespace: if space { Some(asked.space()?) } else { None },
            judge: Arc::new(judge),
            question: Question {
                group: kind.group.clone(),
                resource: kind.plural.clone(),
                subresource: asked.subresource.to_owned(),
                namespace: asked.namespace.to_owned(),
                name: asked.name.to_owned(),
                ..Question::default()
            },
        })
    }

    fn value(&self, name: &str) -> Option<Value<'_>> {
        Some(match name {
            "object" => Value::untyped(&self.object),
            "oldObject" => Value::untyped(&self.old),
            "request" => Value::untyped(&self.request),
            "namespaceObject" => self.namespace.as_deref().map_or(Value::Null, Value::untyped),
            "authorizer" => Value::authorizer(self.judge.clone()),
            "authorizer.requestResource" => Value::request_resource(self.judge.clone(), self.question.clone()),
            _ => return None,
        })
    }
}

/// What the expressions of one decision see: the request, parameters, and variables.
pub(super) struct Scene<'a> {
    pub(super) seen: &'a Seen,
    pub(super) params: Option<&'a Json>,
    pub(super) variables: Vec<(Arc<str>, Value<'a>)>,
}

impl<'a> expressions::Vars<'a> for Scene<'a> {
    fn value(&self, name: &str) -> Option<Value<'a>> {
        match name {
            "params" => self.params.map(Value::untyped).or(Some(Value::Null)),
            "variables" => Some(Value::named(self.variables.iter().cloned())),
            other => self.seen.value(other),
        }
    }
}

impl<'a> Scene<'a> {
    /// The value of an expression, or why there is none.
    pub(super) fn evaluate(&self, text: &str, program: &'a Compiled, budget: &mut Budget) -> Result<Value<'a>, String> {
        let program = program.as_ref().map_err(|why| format!("compilation error: {why}"))?;
        program.evaluate(self, budget).map_err(|failure| match failure {
            Failure::Exhausted => {
                "validation failed due to running out of cost budget, no further validation rules will be run"
                    .to_owned()
            }
            failure => format!("expression '{text}' resulted in error: {failure}"),
        })
    }
}

/// What match conditions say of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Yes,
    No,
    Failed(String),
}

/// Whether all hold. One that does not counts more than one that fails.
pub(super) fn all<'a>(scene: &Scene<'a>, conditions: impl IntoIterator<Item = (&'a str, &'a Compiled)>) -> Said {
    let mut budget = Budget::new(PER_CALL, OF_CONDITIONS);
    let mut failed: Vec<String> = Vec::new();
    for (text, program) in conditions {
        match scene.evaluate(text, program, &mut budget) {
            Ok(Value::Bool(true)) => {}
            Ok(_) => return Said::No,
            Err(why) => failed.push(why),
        }
    }
    match failed.as_slice() {
        [] => Said::Yes,
        [one] => Said::Failed(one.clone()),
        several => Said::Failed(format!("[{}]", several.join(", "))),
    }
}

/// Whether the match conditions of a webhook all hold.
pub(super) fn hold(programs: &Programs, seen: &Seen, conditions: &Json) -> Said {
    let texts = conditions.as_array().into_iter().flatten().map(|one| text(one, "/expression"));
    let compiled: Vec<(&str, Arc<Compiled>)> = texts.map(|text| (text, programs.get(text))).collect();
    let scene = Scene { seen, params: None, variables: Vec::new() };
    all(&scene, compiled.iter().map(|(text, program)| (*text, &**program)))
}

/// Answers what the user of the request, or an account, may do.
struct Judge {
    authorizer: Arc<dyn authz::Authorizer>,
    user: Arc<User>,
}

impl expressions::Authorizer for Judge {
    fn authorize(&self, question: &Question) -> expressions::Decision {
        let user = match &question.service_account {
            Some((namespace, name)) => Arc::new(User::service_account(namespace, name)),
            None => self.user.clone(),
        };
        let Question { verb, group, resource, namespace, name, .. } = question;
        let mut attributes = Attributes::resource(&user, verb, group, resource, namespace, name);
        attributes.subresource.clone_from(&question.subresource);
        attributes.field_selector.clone_from(&question.field_selector);
        if let Some(path) = &question.path {
            attributes.is_resource = false;
            attributes.path.clone_from(path);
        }
        match self.authorizer.authorize(&attributes) {
            Decision::Allow => expressions::Decision { allowed: true, ..expressions::Decision::default() },
            Decision::NoOpinion(reason) => expressions::Decision { reason, ..expressions::Decision::default() },
        }
    }
}
