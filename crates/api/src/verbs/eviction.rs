//! eviction: a delete of a pod that asks its disruption budgets first.

use std::sync::Arc;

use base::selector::LabelSelector;
use kinds::Kind;
use serde_json::{Value, json};

use super::{
    delete, update,
    write::{self, Rules, Target},
};
use crate::{
    call::{Answer, Call},
    core::{Core, text},
    decode,
    error::ApiError,
    options::DeleteOptions,
};

pub(crate) async fn evict(core: &Core, call: &Call, pods: &Arc<Kind>) -> Result<Answer, ApiError> {
    let eviction = decode::typed(call, "policy/v1", "Eviction")?;
    let given = text(&eviction, "/metadata/name");
    if !given.is_empty() && given != call.info.name {
        return Err(ApiError::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut options = match eviction.get("deleteOptions") {
        Some(body) if body.is_object() => DeleteOptions::from_body(body)?,
        _ => DeleteOptions::default(),
    };
    options.dry_run |= call.options.dry_run;
    let pod = core
        .get(pods, &call.info.namespace, &call.info.name)
        .ok_or_else(|| ApiError::not_found(pods, &call.info.name))?;
    let ended = matches!(text(&pod, "/status/phase"), "Succeeded" | "Failed" | "Pending");
    let leaving = !text(&pod, "/metadata/deletionTimestamp").is_empty();
    if !ended && !leaving {
        spend(core, call, &pod, options.dry_run).await?;
    }
    let mut target = update::target(call, pods);
    target.subresource = "";
    target.dry_run = options.dry_run;
    delete::remove(core, target, &options).await?;
    Ok(Answer::Object {
        code: 201,
        value: json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 }),
    })
}

/// Takes one disruption from the budget that covers the pod, or refuses.
async fn spend(core: &Core, call: &Call, pod: &Value, dry_run: bool) -> Result<(), ApiError> {
    let Some(budgets) = core.kind("policy", "poddisruptionbudgets").cloned() else { return Ok(()) };
    let mut covering = core.list(&budgets, &call.info.namespace).into_iter().filter(|budget| {
        let selector = budget.pointer("/spec/selector").unwrap_or(&Value::Null);
        LabelSelector::from_json(selector).is_ok_and(|selector| selector.matches_object(pod))
    });
    let Some(budget) = covering.next() else { return Ok(()) };
    if covering.next().is_some() {
        let message =
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
        return Err(ApiError::internal(message));
    }
    let name = text(&budget, "/metadata/name");
    let rules = Rules { prepare: kinds::strategy::prepare_status_update, validate: |_, _, _| Vec::new() };
    let target = Target {
        user: &call.user,
        kind: &budgets,
        subresource: "status",
        namespace: &call.info.namespace,
        name,
        dry_run,
    };
    write::change(core, target, rules, |budget| {
        let allowed = budget.pointer("/status/disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0);
        if allowed < 1 {
            return Err(violates(budget));
        }
        let mut budget = budget.clone();
        budget["status"]["disruptionsAllowed"] = json!(allowed - 1);
        budget["status"]["disruptedPods"][&call.info.name] = json!(base::time::rfc3339(base::time::now()));
        Ok(budget)
    })
    .await
    .map(|_| ())
}

fn violates(budget: &Value) -> ApiError {
    let name = text(budget, "/metadata/name");
    let count = |pointer: &str| budget.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let (desired, healthy) = (count("/status/desiredHealthy"), count("/status/currentHealthy"));
    let cause = format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
    ApiError::too_many_requests("Cannot evict pod as it would violate the pod's disruption budget.", 10).with_cause(
        "DisruptionBudget",
        cause,
        "",
    )
}
