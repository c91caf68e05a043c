//! eviction: a delete of a pod that asks its disruption budgets first.
//!
//! Invariant: a budget is spent in the same write that names the pod as disrupted, so two evictions never share one
//! disruption. A pod that its budget does not guard (ended, not started, leaving, unhealthy where the policy says so) is
//! deleted only in the version that was judged.

use std::sync::Arc;

use base::selector::LabelSelector;
use kinds::Kind;
use serde_json::{Map, Value, json};

use super::{
    delete, update,
    write::{self, Rules, Target, Written},
};
use crate::{
    admission,
    call::{Answer, Call},
    core::{Core, text},
    decode,
    error::ApiError,
    options::DeleteOptions,
};

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// Evictions a budget's controller has not confirmed yet; more is a sign that it does not work.
const UNCONFIRMED: usize = 2000;
/// Tries when the pod changes between judgement and delete.
const TRIES: usize = 20;

/// The object of a write is already what it should be.
const STATUS_AS_IS: Rules = Rules { prepare: kinds::strategy::prepare_status_update, validate: |_, _, _| Vec::new() };

pub(crate) async fn evict(core: &Core, call: &Call, pods: &Arc<Kind>) -> Result<Answer, ApiError> {
    let mut eviction = decode::typed(call, "policy/v1", "Eviction")?;
    if text(&eviction, "/metadata/name") != call.info.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    admission::sent(core, call, &mut eviction).await?;
    let mut options = match eviction.get("deleteOptions") {
        Some(body) if body.is_object() => DeleteOptions::from_body(body)?,
        _ => DeleteOptions::default(),
    };
    options.dry_run |= call.options.dry_run;
    for _ in 0..TRIES {
        if let Some(answer) = attempt(core, call, pods, &options).await? {
            return Ok(answer);
        }
    }
    Err(ApiError::modified(pods, &call.info.name))
}

/// One try; none if a pod that no budget guards changed meanwhile.
async fn attempt(
    core: &Core,
    call: &Call,
    pods: &Arc<Kind>,
    given: &DeleteOptions,
) -> Result<Option<Answer>, ApiError> {
    let (namespace, name) = (&call.info.namespace, &call.info.name);
    let pod = core.get(pods, namespace, name).ok_or_else(|| ApiError::not_found(pods, name))?;
    let mut options = given.clone();
    let version = || Some(text(&pod, "/metadata/resourceVersion").to_owned());
    let ended = matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed");
    let leaving = !text(&pod, "/metadata/deletionTimestamp").is_empty();
    if ended || leaving || text(&pod, "/status/phase") == "Pending" {
        if !ended && !leaving && options.resource_version.is_none() {
            options.resource_version = version();
        }
        return match condemn(core, call, pods, options).await {
            // the client did not name the version, so a lost race is ours to run again
            Err(error) if error.is("Conflict") && given.resource_version.is_none() => Ok(None),
            other => other.map(Some),
        };
    }
    let mut covering = budgets(core, namespace, &pod);
    let Some(budget) = covering.next() else { return condemn(core, call, pods, options).await.map(Some) };
    if covering.next().is_some() {
        // a failure in a body that is answered as created: upstream's slip, which clients know
        let message =
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        let mut status = ApiError::new(500, "", message).status();
        status["reason"] = Value::Null;
        return Ok(Some(Answer::Object { code: 201, value: status }));
    }
    drop(covering);
    let guarded = is_ready(&pod) || !may_lose_unhealthy(&budget);
    if guarded {
        spend(core, call, &budget, options.dry_run).await?;
        return condemn(core, call, pods, options).await.map(Some);
    }
    let named = options.resource_version.is_some();
    options.resource_version = version();
    match condemn(core, call, pods, options).await {
        Err(error) if error.is("Conflict") && !named => Err(busy(text(&budget, "/metadata/name"))),
        other => other.map(Some),
    }
}

/// The budgets whose selector picks the pod.
fn budgets(core: &Core, namespace: &str, pod: &Value) -> impl Iterator<Item = Arc<Value>> {
    let kind = core.kind("policy", "poddisruptionbudgets").cloned();
    let all = kind.map(|kind| core.list(&kind, namespace)).unwrap_or_default();
    let covering = all.into_iter().filter(|budget| {
        let selector = budget.pointer("/spec/selector").unwrap_or(&Value::Null);
        LabelSelector::from_json(selector).is_ok_and(|selector| selector.matches_object(pod))
    });
    covering.collect::<Vec<_>>().into_iter()
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Whether a pod that is not ready may go without being counted.
fn may_lose_unhealthy(budget: &Value) -> bool {
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    text(budget, "/spec/unhealthyPodEvictionPolicy") == "AlwaysAllow"
        || (count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0)
}

/// Marks the pod as disrupted and deletes it.
async fn condemn(core: &Core, call: &Call, pods: &Arc<Kind>, mut options: DeleteOptions) -> Result<Answer, ApiError> {
    let mut target = update::target(call, pods);
    target.call = None;
    target.manager = None;
    target.dry_run = options.dry_run;
    if !options.dry_run {
        target.subresource = "status";
        let marked = write::change(core, target, STATUS_AS_IS, |pod| {
            delete::check_preconditions(target, &options, pod)?;
            let mut pod = pod.clone();
            set_condition(&mut pod, "DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting");
            Ok(pod)
        })
        .await?;
        if let (Some(_), Written::Record(record)) = (&options.resource_version, &marked) {
            options.resource_version = Some(record.revision.to_string());
        }
    }
    target.subresource = "";
    delete::remove(core, target, &options).await?;
    Ok(Answer::Object {
        code: 201,
        value: json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }),
    })
}

/// Sets a condition of a pod; the time of its last transition stays while its status does.
pub(crate) fn set_condition(pod: &mut Value, kind: &str, status: &str, reason: &str, message: &str) {
    if !pod["status"].is_object() {
        pod["status"] = Value::Object(Map::new());
    }
    let all = &mut pod["status"]["conditions"];
    if !all.is_array() {
        *all = json!([]);
    }
    let Some(all) = all.as_array_mut() else { return };
    let now = base::time::rfc3339(base::time::now());
    let mut condition = json!({ "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": now });
    for (field, value) in [("reason", reason), ("message", message)] {
        if !value.is_empty() {
            condition[field] = json!(value);
        }
    }
    match all.iter_mut().find(|held| held["type"] == kind) {
        Some(held) => {
            if held["status"] == status && held["lastTransitionTime"].is_string() {
                condition["lastTransitionTime"] = held["lastTransitionTime"].clone();
            }
            *held = condition;
        }
        None => all.push(condition),
    }
}

/// Takes one disruption from the budget, or refuses.
async fn spend(core: &Core, call: &Call, budget: &Value, dry_run: bool) -> Result<(), ApiError> {
    let kind = core.kind("policy", "poddisruptionbudgets").cloned().ok_or_else(ApiError::no_such_path)?;
    let target = Target {
        kind: &kind,
        subresource: "status",
        name: text(budget, "/metadata/name"),
        dry_run,
        manager: None,
        call: None,
        ..update::target(call, &kind)
    };
    write::change(core, target, STATUS_AS_IS, |budget| spent(budget, &call.info.name)).await.map(|_| ())
}

/// The budget with one disruption less.
fn spent(budget: &Value, pod: &str) -> Result<Value, ApiError> {
    let name = text(budget, "/metadata/name");
    let count = |pointer: &str| budget.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let denied = |why: &str| {
        let message = format!("poddisruptionbudget.policy \"{name}\" is forbidden: {why}");
        let mut error = ApiError::new(403, "Forbidden", message);
        error.details.name = name.to_owned();
        error.details.group = "policy".to_owned();
        error.details.kind = "poddisruptionbudget".to_owned();
        Err(error)
    };
    if count("/status/observedGeneration") < count("/metadata/generation") {
        return Err(busy(name));
    }
    let allowed = count("/status/disruptionsAllowed");
    if allowed < 0 {
        return denied("pdb disruptions allowed is negative");
    }
    if budget["status"]["disruptedPods"].as_object().is_some_and(|pods| pods.len() > UNCONFIRMED) {
        return denied("DisruptedPods map too big - too many evictions not confirmed by PDB controller");
    }
    if allowed == 0 {
        return Err(exhausted(budget));
    }
    let mut budget = budget.clone();
    budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
    if allowed == 1 {
        close(&mut budget);
    }
    budget["status"]["disruptedPods"][pod] = json!(base::time::rfc3339(base::time::now()));
    Ok(budget)
}

/// The budget allows no more: its condition says so at once.
fn close(budget: &mut Value) {
    let generation = budget["status"]["observedGeneration"].clone();
    let now = base::time::rfc3339(base::time::now());
    let condition = json!({
        "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods", "message": "",
        "observedGeneration": generation, "lastTransitionTime": now,
    });
    let all = &mut budget["status"]["conditions"];
    if !all.is_array() {
        *all = json!([]);
    }
    let Some(all) = all.as_array_mut() else { return };
    match all.iter_mut().find(|held| held["type"] == "DisruptionAllowed") {
        Some(held) if held["status"] == "False" => {
            let since = held["lastTransitionTime"].clone();
            *held = condition;
            held["lastTransitionTime"] = since;
        }
        Some(held) => *held = condition,
        None => all.push(condition),
    }
}

/// The budget's numbers are not those of its newest spec, or of the newest pods.
fn busy(budget: &str) -> ApiError {
    let cause = format!("The disruption budget {budget} is still being processed by the server.");
    ApiError::too_many_requests(REFUSED, 10).with_cause("DisruptionBudget", cause, "")
}

/// Without a time to come back: clients that are told one wait by themselves and hide the refusal.
fn exhausted(budget: &Value) -> ApiError {
    let name = text(budget, "/metadata/name");
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let conditions = budget["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let closed = conditions.iter().find(|one| one["type"] == "DisruptionAllowed" && one["status"] == "False");
    let told = closed.map(|one| (text(one, "/reason"), text(one, "/message"))).filter(|(_, told)| !told.is_empty());
    let (desired, healthy) = (count("desiredHealthy"), count("currentHealthy"));
    let cause = match told {
        Some(("SyncFailed", told)) => {
            format!(
                "The disruption budget {name} does not allow evicting pods currently because it failed sync: {told}"
            )
        }
        _ if healthy <= desired => {
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently")
        }
        Some((reason, told)) => {
            format!("The disruption budget {name} does not allow evicting pods currently ({reason}): {told}")
        }
        None => format!("The disruption budget {name} does not allow evicting pods currently"),
    };
    ApiError::new(429, "TooManyRequests", REFUSED).with_cause("DisruptionBudget", cause, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(status: Value) -> Value {
        json!({ "metadata": { "name": "b", "generation": 2 }, "status": status })
    }

    fn told(status: Value) -> (u16, Option<u32>, String) {
        let error = spent(&budget(status), "p").unwrap_err();
        let cause = error.details.causes.first().map(|cause| cause.message.clone());
        (error.code, error.details.retry_after_seconds, cause.unwrap_or(error.message))
    }

    #[test]
    fn a_budget_says_why_it_refuses() {
        let (code, after, cause) = told(json!({ "observedGeneration": 1, "disruptionsAllowed": 5 }));
        assert_eq!((code, after), (429, Some(10)));
        assert_eq!(cause, "The disruption budget b is still being processed by the server.");
        let (code, after, cause) = told(json!({ "observedGeneration": 2, "desiredHealthy": 2, "currentHealthy": 1 }));
        assert_eq!((code, after), (429, None));
        assert_eq!(cause, "The disruption budget b needs 2 healthy pods and has 1 currently");
        let failed =
            json!([{ "type": "DisruptionAllowed", "status": "False", "reason": "SyncFailed", "message": "x" }]);
        let (_, _, cause) = told(json!({ "observedGeneration": 2, "conditions": failed }));
        assert!(cause.ends_with("because it failed sync: x"), "{cause}");
        let (_, _, cause) = told(json!({ "observedGeneration": 2, "currentHealthy": 3, "desiredHealthy": 2 }));
        assert_eq!(cause, "The disruption budget b does not allow evicting pods currently");
        assert_eq!(told(json!({ "observedGeneration": 2, "disruptionsAllowed": -1 })).0, 403);
    }

    #[test]
    fn the_last_disruption_closes_the_budget() {
        let open = json!({ "observedGeneration": 2, "disruptionsAllowed": 2 });
        let once = spent(&budget(open), "p").unwrap();
        assert_eq!(once["status"]["disruptionsAllowed"], 1);
        assert!(once["status"]["disruptedPods"]["p"].is_string() && once["status"].get("conditions").is_none());
        let twice = spent(&once, "q").unwrap();
        assert_eq!(twice["status"]["conditions"][0]["reason"], "InsufficientPods");
        assert_eq!(spent(&twice, "r").unwrap_err().code, 429);
    }

    #[test]
    fn unhealthy_pods_go_where_the_policy_or_the_numbers_allow_it() {
        assert!(!may_lose_unhealthy(&budget(json!({}))));
        assert!(may_lose_unhealthy(&budget(json!({ "currentHealthy": 2, "desiredHealthy": 2 }))));
        assert!(!may_lose_unhealthy(&budget(json!({ "currentHealthy": 1, "desiredHealthy": 2 }))));
        let always = json!({ "spec": { "unhealthyPodEvictionPolicy": "AlwaysAllow" } });
        assert!(may_lose_unhealthy(&always));
    }
}
