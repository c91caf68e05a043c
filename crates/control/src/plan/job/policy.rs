//! What a user says about ends: which failures of pods count, and which indexes are enough.
//!
//! Invariant: of the rules of a policy the first that matches decides; a failure that no rule names counts.

use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt;

use super::indexes::Indexes;

/// What a failed pod means for its Job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It counts against the limits.
    Counts,
    /// As if it had not happened.
    Ignored,
    /// Its index is not tried again.
    FailsIndex,
    /// The Job ends; with the reason to tell.
    FailsJob(String),
}

impl Failure {
    pub(super) fn is_counted(&self) -> bool {
        *self != Self::Ignored
    }
}

/// What `pod`, which has failed, means.
pub(super) fn failure(policy: Option<&PodFailurePolicy>, pod: &Pod) -> Failure {
    for (place, rule) in policy.iter().flat_map(|policy| policy.rules.iter().enumerate()) {
        let Some(why) = matching(rule, pod) else { continue };
        match rule.action.as_str() {
            "Ignore" => return Failure::Ignored,
            "FailIndex" => return Failure::FailsIndex,
            "Count" => return Failure::Counts,
            "FailJob" => return Failure::FailsJob(format!("{why} matching FailJob rule at index {place}")),
            _ => {}
        }
    }
    Failure::Counts
}

/// Why the rule is about the pod.
fn matching(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
    let status = pod.status.as_ref()?;
    if let Some(codes) = &rule.on_exit_codes {
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let mut ended = lists.into_iter().flat_map(|list| list.iter().flatten());
        return ended.find_map(|container| {
            let code = exit_code(container).filter(|code| selects(codes, container, *code))?;
            Some(format!("Container {} for pod {namespace}/{name} failed with exit code {code}", container.name))
        });
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let met = status.conditions.iter().flatten().find(|condition| {
        let is = |wanted: &Option<String>| wanted.as_deref().unwrap_or("True") == condition.status;
        patterns.iter().any(|pattern| pattern.type_ == condition.type_ && is(&pattern.status))
    })?;
    Some(format!("Pod {namespace}/{name} has condition {}", met.type_))
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    Some(container.state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn selects(codes: &PodFailurePolicyOnExitCodesRequirement, container: &ContainerStatus, code: i32) -> bool {
    let named = codes.container_name.as_ref().is_none_or(|name| *name == container.name);
    let listed = codes.values.contains(&code);
    named
        && code != 0
        && match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
}

/// The rule that says the indexes that succeeded are enough, in words.
pub(super) fn success(policy: Option<&SuccessPolicy>, completions: i32, succeeded: &Indexes) -> Option<String> {
    let rules = &policy?.rules;
    if succeeded.is_empty() {
        return None;
    }
    let place = rules.iter().position(|rule| match &rule.succeeded_indexes {
        Some(text) => {
            let wanted = Indexes::parse(text, completions);
            let reached = wanted.shared_with(succeeded);
            let enough = rule.succeeded_count.is_some_and(|count| reached >= count);
            !wanted.is_empty() && (reached == wanted.total() || enough)
        }
        None => rule.succeeded_count.is_some_and(|count| succeeded.total() >= count),
    })?;
    Some(format!("Matched rules at index {place}"))
}
