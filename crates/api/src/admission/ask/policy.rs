//! ValidatingAdmissionPolicy: rules that are expressions, bound to requests and parameters (KEP-3488).
//!
//! Invariant: of a binding's decisions the first that denies is told; what it is told with is upstream's. A policy is
//! compiled when it is first asked, and again when it has changed.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use base::selector::LabelSelector;
use expressions::admission::Names;
use expressions::{Budget, PER_CALL, PER_OBJECT, Type, Value};
use kinds::Kind;
use parking_lot::Mutex;
use serde_json::Value as Json;

use super::asked::Asked;
use super::condition::{self, Compiled, Said, Scene, Seen};
use crate::{
    admission::{Admission, Admit},
    core::{Core, text},
    error::ApiError,
};

/// The longest message that an expression may make (upstream `MaxEvaluatedMessageExpressionSizeBytes`).
const LONGEST_MESSAGE: usize = 5 * 1024;

#[derive(Default)]
pub(in crate::admission) struct ValidatingAdmissionPolicy {
    compiled: Kept<Policy>,
}

/// A text and what was made of it.
pub(super) type Expression = (String, Compiled);

/// What policies of both kinds begin with.
pub(super) struct Preamble {
    pub(super) names: Names,
    conditions: Vec<Expression>,
    variables: Vec<(Arc<str>, Expression)>,
}

impl Preamble {
    pub(super) fn new(spec: &Json, composed: bool) -> Self {
        let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let mut names = Names::untyped(spec["paramKind"].is_object(), composed || !list("variables").is_empty());
        let compile = |names: &Names, one: &Json, variables: bool| -> Expression {
            let text = text(one, "/expression");
            (text.trim().to_owned(), condition::compile(text, &names.env(true, variables)))
        };
        let conditions = list("matchConditions").iter().map(|one| compile(&names, one, false)).collect();
        let mut variables = Vec::new();
        for one in list("variables") {
            let (name, made) = (text(one, "/name"), compile(&names, one, true));
            names.know(name, made.1.as_ref().map_or(&Type::Dyn, |program| program.result_type()));
            variables.push((Arc::from(name), made));
        }
        Self { names, conditions, variables }
    }

    /// What the expressions of the policy see; none if a condition does not hold.
    ///
    /// # Errors
    /// When a condition fails.
    pub(super) fn scene<'a>(
        &'a self,
        seen: &'a Seen,
        params: Option<&'a Json>,
        budget: &mut Budget,
    ) -> Result<Option<Scene<'a>>, String> {
        let mut scene = Scene { seen, params, variables: Vec::new() };
        match condition::all(&scene, self.conditions.iter().map(|(text, program)| (text.as_str(), program))) {
            Said::Yes => {}
            Said::No => return Ok(None),
            Said::Failed(why) => return Err(why),
        }
        for (name, (text, program)) in &self.variables {
            // one that fails is not there for who uses it, and harms nobody else
            if let Ok(value) = scene.evaluate(text, program, budget) {
                scene.variables.push((name.clone(), value));
            }
        }
        Ok(Some(scene))
    }
}

/// Compiled policies by name, with the version they were made of.
pub(super) struct Kept<P>(Mutex<HashMap<String, (String, Arc<P>)>>);

impl<P> Default for Kept<P> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<P> Kept<P> {
    pub(super) fn get(&self, policy: &Json, make: fn(&Json) -> P) -> Arc<P> {
        let (name, version) = (text(policy, "/metadata/name"), text(policy, "/metadata/resourceVersion"));
        if let Some((known, compiled)) = self.0.lock().get(name)
            && known == version
        {
            return compiled.clone();
        }
        let compiled = Arc::new(make(&policy["spec"]));
        self.0.lock().insert(name.to_owned(), (version.to_owned(), compiled.clone()));
        compiled
    }

    /// Forgets policies that are gone.
    pub(super) fn sweep(&self, policies: &[Arc<Json>]) {
        let mut compiled = self.0.lock();
        if compiled.len() > policies.len() {
            compiled.retain(|name, _| policies.iter().any(|policy| text(policy, "/metadata/name") == name));
        }
    }
}

/// The expressions of a policy.
struct Policy {
    preamble: Preamble,
    validations: Vec<Validation>,
    annotations: Vec<Expression>,
}

struct Validation {
    expression: Expression,
    explains: Option<Expression>,
    message: String,
    reason: String,
}

impl Policy {
    fn new(spec: &Json) -> Self {
        let list = |field: &str| spec[field].as_array().map(Vec::as_slice).unwrap_or_default();
        let preamble = Preamble::new(spec, false);
        let compile = |text: &str, authorizer: bool| -> Expression {
            (text.trim().to_owned(), condition::compile(text, &preamble.names.env(authorizer, true)))
        };
        let validation = |one: &Json| Validation {
            expression: compile(text(one, "/expression"), true),
            explains: one["messageExpression"].as_str().map(|text| compile(text, false)),
            message: text(one, "/message").trim().to_owned(),
            reason: text(one, "/reason").to_owned(),
        };
        let validations = list("validations").iter().map(validation).collect();
        let annotations = list("auditAnnotations").iter().map(|one| compile(text(one, "/valueExpression"), true));
        let annotations = annotations.collect();
        Self { preamble, validations, annotations }
    }
}

/// Why not, and as what it is told.
#[derive(Debug, PartialEq, Eq)]
struct Denial {
    message: String,
    reason: String,
    /// The policy could not decide, so its failure policy did.
    failed: bool,
}

impl Denial {
    fn failed(message: String) -> Self {
        Self { message, reason: String::new(), failed: true }
    }
}

impl Policy {
    /// What the policy has against a request with these parameters.
    fn judge(&self, seen: &Seen, params: Option<&Json>) -> Vec<Denial> {
        let mut budget = Budget::new(PER_CALL, PER_OBJECT);
        let scene = match self.preamble.scene(seen, params, &mut budget) {
            Ok(Some(scene)) => scene,
            Ok(None) => return Vec::new(),
            Err(why) => return vec![Denial::failed(why)],
        };
        let mut denials = Vec::new();
        for validation in &self.validations {
            let (text, program) = &validation.expression;
            match scene.evaluate(text, program, &mut budget) {
                Ok(Value::Bool(true)) => {}
                Ok(_) => denials.push(Denial {
                    message: validation.explain(&scene, &mut budget),
                    reason: validation.reason.clone(),
                    failed: false,
                }),
                Err(why) => denials.push(Denial::failed(why)),
            }
        }
        for (text, program) in &self.annotations {
            if let Err(why) = scene.evaluate(text, program, &mut budget) {
                denials.push(Denial::failed(why));
            }
        }
        denials
    }
}

impl Validation {
    fn explain<'a>(&'a self, scene: &Scene<'a>, budget: &mut Budget) -> String {
        let made = self.explains.as_ref().and_then(|(text, program)| scene.evaluate(text, program, budget).ok());
        let made = made.as_ref().and_then(Value::as_str).map(str::trim);
        match made.filter(|made| !made.is_empty() && made.len() <= LONGEST_MESSAGE && !made.contains('\n')) {
            Some(made) => made.to_owned(),
            None if self.message.is_empty() => format!("failed expression: {}", self.expression.0),
            None => self.message.clone(),
        }
    }
}

/// The kind in whose version a policy or a binding wants to see the request, if it is about it. A binding without rules
/// is about all that its policy is about.
pub(super) fn wants(
    asked: &Asked<'_>,
    resources: &Json,
    is_binding: bool,
    new: Option<&Json>,
    old: Option<&Json>,
) -> Result<Option<Arc<Kind>>, ApiError> {
    let own = || asked.core.catalog().resource(&asked.kind.group, &asked.kind.version, &asked.kind.plural).cloned();
    if resources.is_null() {
        return Ok(if is_binding { own() } else { None });
    }
    if !asked.is_selected(&resources["namespaceSelector"], &resources["objectSelector"], new, old)? {
        return Ok(None);
    }
    let policy = &resources["matchPolicy"];
    if asked.wanted(&resources["excludeResourceRules"], policy).is_some() {
        return Ok(None);
    }
    let rules = &resources["resourceRules"];
    if is_binding && rules.as_array().is_none_or(Vec::is_empty) {
        return Ok(own());
    }
    Ok(asked.wanted(rules, policy))
}

/// The parameters a binding chose: none at all where a policy has no parameters, or its binding names none.
pub(super) fn parameters(asked: &Asked<'_>, policy: &Json, binding: &Json) -> Result<Vec<Option<Arc<Json>>>, String> {
    let (wanted, chosen) = (&policy["spec"]["paramKind"], &binding["spec"]["paramRef"]);
    if !wanted.is_object() || !chosen.is_object() {
        return Ok(vec![None]);
    }
    let core = asked.core;
    let (version, name) = (text(wanted, "/apiVersion"), text(wanted, "/kind"));
    let catalog = core.catalog();
    let kind = catalog.by_api_version(version, name).filter(|kind| core.serves(kind));
    let kind =
        kind.ok_or_else(|| format!("failed to find resource referenced by paramKind: '{version}, Kind={name}'"))?;
    let given = text(chosen, "/namespace");
    let namespace = match (kind.namespaced, given, asked.namespace) {
        (false, "", _) => "",
        (false, ..) => {
            return Err("paramRef.namespace must not be provided for a cluster-scoped `paramKind`".to_owned());
        }
        (true, "", "") => {
            let why = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources";
            return Err(why.to_owned());
        }
        (true, "", own) => own,
        (true, given, _) => given,
    };
    let found: Vec<Arc<Json>> = match text(chosen, "/name") {
        "" => {
            let selector = LabelSelector::from_json(&chosen["selector"]).map_err(|error| error.to_string())?;
            core.list(kind, namespace).into_iter().filter(|one| selector.matches_object(one)).collect()
        }
        name => core.get(kind, namespace, name).into_iter().collect(),
    };
    if found.is_empty() && chosen["parameterNotFoundAction"] == "Deny" {
        return Err("no params found for policy binding with `Deny` parameterNotFoundAction".to_owned());
    }
    Ok(found.into_iter().map(Some).collect())
}

#[async_trait]
impl Admission for ValidatingAdmissionPolicy {
    fn asks_others(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "ValidatingAdmissionPolicy"
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        let Some(asked) = Asked::of(core, admit) else { return Ok(()) };
        let policies = asked.deciders("validatingadmissionpolicies");
        if policies.is_empty() {
            return Ok(());
        }
        self.compiled.sweep(&policies);
        let (new, old) = (admit.object.as_deref(), admit.old);
        let bindings = asked.deciders("validatingadmissionpolicybindings");
        let mut denied = None;
        for policy in &policies {
            let name = text(policy, "/metadata/name");
            let bindings: Vec<&Json> =
                bindings.iter().map(|one| &**one).filter(|one| text(one, "/spec/policyName") == name).collect();
            if bindings.is_empty() {
                continue;
            }
            let Some(kind) = wants(&asked, &policy["spec"]["matchConstraints"], false, new, old)? else { continue };
            let compiled = self.compiled.get(policy, Policy::new);
            let seen = Seen::new(&asked, &kind, new, old).await?;
            for binding in bindings {
                if wants(&asked, &binding["spec"]["matchResources"], true, new, old)?.is_none() {
                    continue;
                }
                let denials = match parameters(&asked, policy, binding) {
                    Ok(params) => params.iter().flat_map(|params| compiled.judge(&seen, params.as_deref())).collect(),
                    Err(why) => vec![Denial::failed(format!("failed to configure binding: {why}"))],
                };
                let told = act(&asked, policy, binding, denials);
                denied = denied.or(told);
            }
        }
        denied.map_or(Ok(()), Err)
    }
}

/// Does what a binding says about denials; the first that refuses the request.
fn act(asked: &Asked<'_>, policy: &Json, binding: &Json, denials: Vec<Denial>) -> Option<ApiError> {
    let mut denied = None;
    let open = policy["spec"]["failurePolicy"] == "Ignore";
    let (name, bound) = (text(policy, "/metadata/name"), text(binding, "/metadata/name"));
    let actions: Vec<&str> =
        binding["spec"]["validationActions"].as_array().into_iter().flatten().filter_map(Json::as_str).collect();
    for Denial { message, reason, .. } in denials.into_iter().filter(|denial| !(open && denial.failed)) {
        if actions.contains(&"Warn") {
            asked.call.warn(format!(
                "Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{bound}': {message}"
            ));
        }
        if actions.contains(&"Audit") {
            tracing::info!(policy = name, binding = bound, object = asked.name, "validation failed: {message}");
        }
        if actions.contains(&"Deny") && denied.is_none() {
            let why = format!("ValidatingAdmissionPolicy '{name}' with binding '{bound}' denied request: {message}");
            let mut error = ApiError::denied(asked.kind, asked.name, &why).with_cause("", &*why, "");
            let (code, reason) = match reason.as_str() {
                "Unauthorized" => (401, "Unauthorized"),
                "Forbidden" => (403, "Forbidden"),
                "RequestEntityTooLarge" => (413, "RequestEntityTooLarge"),
                _ => (422, "Invalid"),
            };
            (error.code, error.reason) = (code, reason.into());
            denied = Some(error);
        }
    }
    denied
}
