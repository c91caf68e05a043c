//! MutatingAdmissionWebhook and ValidatingAdmissionWebhook.
//!
//! Those that change an object are asked one after the other, in the order of their configurations' names, each about what
//! the one before made of it; those that only judge are asked at once. Who wants to hear of later changes is asked a second
//! time (`reinvocationPolicy`), and then so are our own plugins.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use kinds::Kind;
use serde_json::Value;

use super::asked::Asked;
use super::condition::{self, Programs, Said, Seen};
use super::review::{self, Verdict};
use crate::{
    admission::{Admission, Admit},
    core::{Core, text},
    error::ApiError,
};

/// What the rounds of one write know of each other.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// Whether this is the second one.
    pub(crate) again: bool,
    /// Whether there must be a second one.
    pub(crate) wanted: bool,
    webhooks: Turns,
    pub(super) policies: Turns,
}

/// Who of a plugin's callees is to be called a second time.
#[derive(Debug, Default)]
pub(super) struct Turns {
    /// Those that were called since the last change, and would hear of the next.
    heard: BTreeSet<String>,
    due: BTreeSet<String>,
    last: Option<Value>,
}

impl Turns {
    pub(super) fn changed(&mut self) {
        self.due.append(&mut self.heard);
    }

    pub(super) fn heard(&mut self, id: String) {
        self.heard.insert(id);
    }

    pub(super) fn is_due(&self, id: &str) -> bool {
        self.due.contains(id)
    }

    /// Whether the object is not what the plugin left.
    pub(super) fn is_other(&self, object: Option<&Value>) -> bool {
        self.last.as_ref() != object
    }

    pub(super) fn remember(&mut self, object: Option<&Value>) {
        self.last = object.cloned();
    }
}

/// A webhook that wants to be asked about a request, and the kind in whose version.
struct Hook {
    configuration: Arc<Value>,
    place: usize,
    kind: Arc<Kind>,
}

impl Hook {
    fn spec(&self) -> &Value {
        &self.configuration["webhooks"][self.place]
    }

    fn name(&self) -> &str {
        text(self.spec(), "/name")
    }

    fn id(&self) -> String {
        format!("{}/{}/{}", text(&self.configuration, "/metadata/name"), self.place, self.name())
    }

    fn may_fail(&self) -> bool {
        self.spec()["failurePolicy"] == "Ignore"
    }

    /// Asks; none if it could not answer and that does not matter.
    async fn ask(
        &self,
        asked: &Asked<'_>,
        new: Option<&Value>,
        old: Option<&Value>,
    ) -> Result<Option<Verdict>, ApiError> {
        let name = self.name();
        if asked.dry_run && !matches!(self.spec()["sideEffects"].as_str(), Some("None" | "NoneOnDryRun")) {
            return Err(ApiError::bad_request(format!("admission webhook {name:?} does not support dry run")));
        }
        let (new, old) = (asked.shown(new, &self.kind).await?, asked.shown(old, &self.kind).await?);
        match review::ask(asked, self.spec(), &self.kind, new, old).await {
            Ok(verdict) => {
                verdict.warnings.iter().for_each(|warning| asked.call.warn(warning.clone()));
                match &verdict.denied {
                    Some(status) => Err(review::refusal(name, status)),
                    None => Ok(Some(verdict)),
                }
            }
            Err(why) => self.failed(&why).map(|()| None),
        }
    }

    fn failed(&self, why: &str) -> Result<(), ApiError> {
        let name = self.name();
        if self.may_fail() {
            tracing::warn!(webhook = name, "failed calling webhook, failing open: {why}");
            return Ok(());
        }
        Err(ApiError::internal(format!("failed calling webhook {name:?}: {why}")))
    }
}

/// The webhooks that want to be asked, in order.
fn hooks(asked: &Asked<'_>, plural: &str) -> Vec<Hook> {
    let mut found = Vec::new();
    for configuration in asked.deciders(plural) {
        let hooks = configuration["webhooks"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (place, hook) in hooks.iter().enumerate() {
            if let Some(kind) = asked.wanted(&hook["rules"], &hook["matchPolicy"]) {
                found.push(Hook { configuration: configuration.clone(), place, kind });
            }
        }
    }
    found
}

/// Whether the webhook's selectors and conditions pick the request.
async fn is_picked(
    asked: &Asked<'_>,
    programs: &Programs,
    hook: &Hook,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<bool, ApiError> {
    let spec = hook.spec();
    if !asked.is_selected(&spec["namespaceSelector"], &spec["objectSelector"], new, old)? {
        return Ok(false);
    }
    if spec["matchConditions"].as_array().is_none_or(Vec::is_empty) {
        return Ok(true);
    }
    let seen = Seen::new(asked, &hook.kind, new, old).await?;
    match condition::hold(programs, &seen, &spec["matchConditions"]) {
        Said::Yes => Ok(true),
        Said::No => Ok(false),
        Said::Failed(_) if hook.may_fail() => Ok(false),
        Said::Failed(why) => Err(ApiError::denied(asked.kind, asked.name, &why)),
    }
}

#[derive(Default)]
pub(in crate::admission) struct MutatingAdmissionWebhook {
    conditions: Programs,
}

#[async_trait]
impl Admission for MutatingAdmissionWebhook {
    fn asks_others(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "MutatingAdmissionWebhook"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        let Some(asked) = Asked::of(core, admit) else { return Ok(()) };
        let hooks = hooks(&asked, "mutatingwebhookconfigurations");
        if hooks.is_empty() {
            return Ok(());
        }
        if admit.rounds.again && admit.rounds.webhooks.is_other(admit.object.as_deref()) {
            admit.rounds.webhooks.changed(); // others changed it meanwhile
        }
        for hook in hooks {
            let Admit { object, old, rounds, .. } = &mut *admit;
            if !is_picked(&asked, &self.conditions, &hook, object.as_deref(), *old).await? {
                continue;
            }
            let id = hook.id();
            if rounds.again && !rounds.webhooks.is_due(&id) {
                continue;
            }
            let verdict = hook.ask(&asked, object.as_deref(), *old).await?;
            let patch = verdict.and_then(|verdict| verdict.patch);
            if let (Some(patch), Some(object)) = (patch, object.as_deref_mut()) {
                match patched(&asked, &hook.kind, object, &patch).await {
                    Ok(new) if new != *object => {
                        *object = new;
                        rounds.webhooks.changed();
                        rounds.wanted = true;
                    }
                    Ok(_) => {}
                    Err(why) => hook.failed(&why)?,
                }
            }
            if hook.spec()["reinvocationPolicy"] == "IfNeeded" {
                rounds.webhooks.heard(id);
            }
        }
        admit.rounds.webhooks.remember(admit.object.as_deref());
        Ok(())
    }
}

/// The object with a patch that was made for it as `kind` has it.
async fn patched(asked: &Asked<'_>, kind: &Kind, object: &Value, patch: &Value) -> Result<Value, String> {
    let shown = asked.shown(Some(object), kind).await.map_err(|error| error.message)?;
    let new = kinds::patch::json(&shown, patch).map_err(|error| error.to_string())?;
    back(asked, kind, object, new).await
}

/// What was made of `object` as `kind` has it, as the request's own kind has it.
pub(super) async fn back(asked: &Asked<'_>, kind: &Kind, object: &Value, new: Value) -> Result<Value, String> {
    if asked.is_sent() {
        return Ok(new);
    }
    if asked.subresource == "scale" {
        let replicas = new["spec"]["replicas"].as_i64().unwrap_or(0);
        let mut whole = object.clone();
        kinds::strategy::scale_set(asked.kind, &mut whole, replicas);
        return Ok(whole);
    }
    kinds::coerce(kind, &new).map_err(|error| error.to_string())?;
    let mut new = asked.core.in_version(kind, asked.kind, new).await.map_err(|error| error.message)?;
    kinds::prune(asked.kind, &mut new);
    kinds::default(asked.kind, &mut new);
    Ok(new)
}

#[derive(Default)]
pub(in crate::admission) struct ValidatingAdmissionWebhook {
    conditions: Programs,
}

#[async_trait]
impl Admission for ValidatingAdmissionWebhook {
    fn asks_others(&self) -> bool {
        true
    }

    fn name(&self) -> &'static str {
        "ValidatingAdmissionWebhook"
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        let Some(asked) = Asked::of(core, admit) else { return Ok(()) };
        let (new, old) = (admit.object.as_deref(), admit.old);
        let mut picked = Vec::new();
        for hook in hooks(&asked, "validatingwebhookconfigurations") {
            if is_picked(&asked, &self.conditions, &hook, new, old).await? {
                picked.push(hook);
            }
        }
        let answers = futures::future::join_all(picked.iter().map(|hook| hook.ask(&asked, new, old))).await;
        answers.into_iter().try_for_each(|answer| answer.map(drop))
    }
}
