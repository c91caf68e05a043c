//! MutatingAdmissionPolicy: changes that are expressions (KEP-3962): a configuration that is applied, or a JSON patch.

use std::sync::Arc;

use async_trait::async_trait;
use expressions::{Budget, PER_CALL, PER_OBJECT};
use kinds::Kind;
use serde_json::{Value as Json, json};

use super::asked::Asked;
use super::condition::{self, Seen};
use super::policy::{Expression, Kept, Preamble, parameters, wants};
use super::webhook::back;
use crate::{
    admission::{Admission, Admit},
    core::{Core, text},
    error::ApiError,
};

#[derive(Default)]
pub(in crate::admission) struct MutatingAdmissionPolicy {
    compiled: Kept<Policy>,
}

/// The expressions of a policy.
struct Policy {
    preamble: Preamble,
    /// Whether it makes a patch, and of what.
    mutations: Vec<(bool, Expression)>,
}

impl Policy {
    fn new(spec: &Json) -> Self {
        let preamble = Preamble::new(spec, true);
        let env = preamble.names.env(true, true).with_patches();
        let mutations = spec["mutations"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(|one| {
            let is_patch = one["patchType"] == "JSONPatch";
            let text = text(one, if is_patch { "/jsonPatch/expression" } else { "/applyConfiguration/expression" });
            (is_patch, (text.trim().to_owned(), condition::compile(text, &env)))
        });
        let mutations = mutations.collect();
        Self { preamble, mutations }
    }

    /// What the policy makes of the object, one change after the other; none if a condition does not hold. What goes
    /// wrong is told beside what went well.
    async fn change(
        &self,
        asked: &Asked<'_>,
        kind: &Kind,
        object: &Json,
        old: Option<&Json>,
        params: Option<&Json>,
    ) -> Result<(Json, Vec<String>), ApiError> {
        let (mut object, mut faults) = (object.clone(), Vec::new());
        for (is_patch, (text, program)) in &self.mutations {
            let seen = Seen::new(asked, kind, Some(&object), old).await?;
            let made = {
                let mut budget = Budget::new(PER_CALL, PER_OBJECT);
                match self.preamble.scene(&seen, params, &mut budget) {
                    Ok(None) => break,
                    Ok(Some(scene)) => scene
                        .evaluate(text, program, &mut budget)
                        .and_then(|made| made.to_json().map_err(|failure| failure.to_string())),
                    Err(why) => Err(why),
                }
            };
            let changed = match made {
                Ok(made) => changed(asked, kind, &object, *is_patch, made).await,
                Err(why) => Err(why),
            };
            match changed {
                Ok(new) => object = new,
                Err(why) => faults.push(why),
            }
        }
        Ok((object, faults))
    }
}

/// The object with what an expression made for it.
async fn changed(asked: &Asked<'_>, kind: &Kind, object: &Json, is_patch: bool, made: Json) -> Result<Json, String> {
    let shown = asked.shown(Some(object), kind).await.map_err(|error| error.message)?;
    let new = if is_patch {
        match kinds::patch::json(&shown, &made) {
            Ok(new) => new,
            // a test that fails says that there is nothing to do
            Err(error) if error.is_failed_test() => return Ok(object.clone()),
            Err(error) => return Err(format!("JSON Patch: {error}")),
        }
    } else {
        let (mut new, mut config) = (shown, made);
        config["apiVersion"] = json!(kind.api_version());
        config["kind"] = json!(kind.kind);
        kinds::managed::overlay(kind, &mut new, &config).map_err(|why| format!("error applying patch: {why}"))?;
        new
    };
    back(asked, kind, object, new).await
}

#[async_trait]
impl Admission for MutatingAdmissionPolicy {
    fn asks_others(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "MutatingAdmissionPolicy"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        let Some(asked) = Asked::of(core, admit) else { return Ok(()) };
        let policies = asked.deciders("mutatingadmissionpolicies");
        if policies.is_empty() || admit.object.is_none() || admit.subresource == "scale" {
            return Ok(());
        }
        self.compiled.sweep(&policies);
        if admit.rounds.again && admit.rounds.policies.is_other(admit.object.as_deref()) {
            admit.rounds.policies.changed();
        }
        let bindings = asked.deciders("mutatingadmissionpolicybindings");
        let mut refused = None;
        for policy in &policies {
            let name = text(policy, "/metadata/name");
            let Some(kind) =
                wants(&asked, &policy["spec"]["matchConstraints"], false, admit.object.as_deref(), admit.old)?
            else {
                continue;
            };
            let compiled = self.compiled.get(policy, Policy::new);
            for binding in bindings.iter().map(|one| &**one).filter(|one| text(one, "/spec/policyName") == name) {
                let resources = &binding["spec"]["matchResources"];
                if wants(&asked, resources, true, admit.object.as_deref(), admit.old)?.is_none() {
                    continue;
                }
                let faults = match parameters(&asked, policy, binding) {
                    Ok(params) => invoke(&asked, admit, &compiled, (policy, binding, &kind), &params).await?,
                    Err(why) => vec![format!("failed to configure binding: {why}")],
                };
                let open = policy["spec"]["failurePolicy"] == "Ignore";
                for fault in faults.into_iter().filter(|_| !open) {
                    let bound = text(binding, "/metadata/name");
                    let why = format!("policy '{name}' with binding '{bound}' denied request: {fault}");
                    let error = refused.unwrap_or_else(|| {
                        let mut error = ApiError::denied(asked.kind, asked.name, "");
                        (error.message, error.reason) = (why.clone(), "Invalid".into());
                        error
                    });
                    refused = Some(error.with_cause("", why, ""));
                }
            }
        }
        admit.rounds.policies.remember(admit.object.as_deref());
        refused.map_or(Ok(()), Err)
    }
}

/// Changes the object once for each of the parameters; what went wrong.
async fn invoke(
    asked: &Asked<'_>,
    admit: &mut Admit<'_>,
    compiled: &Policy,
    (policy, binding, kind): (&Json, &Json, &Kind),
    params: &[Option<Arc<Json>>],
) -> Result<Vec<String>, ApiError> {
    let mut faults = Vec::new();
    for params in params {
        let Admit { object: Some(object), old, rounds, .. } = &mut *admit else { break };
        let of = |object: &Json, pointer: &str| text(object, pointer).to_owned();
        let id = [
            of(policy, "/metadata/name"),
            of(binding, "/metadata/name"),
            params
                .as_ref()
                .map(|one| of(one, "/metadata/namespace") + "/" + text(one, "/metadata/name"))
                .unwrap_or_default(),
        ];
        let id = id.join("/");
        if rounds.again && !rounds.policies.is_due(&id) {
            continue;
        }
        let (new, told) = compiled.change(asked, kind, object, *old, params.as_deref()).await?;
        faults.extend(told);
        if new != **object {
            **object = new;
            rounds.policies.changed();
            rounds.wanted = true;
        }
        if policy["spec"]["reinvocationPolicy"] == "IfNeeded" {
            rounds.policies.heard(id);
        }
    }
    Ok(faults)
}
