//! The pods of a Job: what marks them, which of them count, which of too many goes first, what a new one is made of.
//!
//! Invariant: a pod that carries the tracking finalizer has not been counted for good; one without it has been, or never
//! will be. Nothing but the finalizer and the status' list of uncounted pods says whether a pod was counted.

use std::cmp::{Ordering, Reverse};

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;

use super::policy::{self, Failure};
use crate::plan::{claim, pod};

/// Keeps a pod until it is counted.
pub const FINALIZER: &str = "batch.kubernetes.io/job-tracking";
const INDEX: &str = "batch.kubernetes.io/job-completion-index";
const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";
/// What the server lets a generated name start with.
const LONGEST_PREFIX: usize = 58;

/// Whether the pods of the Job are told apart by index.
pub(super) fn is_indexed(spec: &JobSpec) -> bool {
    spec.completion_mode.as_deref() == Some("Indexed")
}

/// Whether a pod is replaced only when it has ended, not already while it terminates.
pub(super) fn replaces_only_failed(spec: &JobSpec) -> bool {
    spec.pod_replacement_policy.as_deref() == Some("Failed") || spec.pod_failure_policy.is_some()
}

pub(super) fn is_tracked(pod: &Pod) -> bool {
    pod.finalizers().iter().any(|one| one == FINALIZER)
}

pub(super) fn index(pod: &Pod) -> Option<i32> {
    pod.annotations().get(INDEX)?.parse().ok().filter(|index| *index >= 0)
}

/// Whether the pod can count at all: where indexes matter, it must have one of the Job's.
pub(super) fn is_valid(job: &Job, pod: &Pod) -> bool {
    let Some(spec) = &job.spec else { return false };
    !is_indexed(spec) || index(pod).is_some_and(|index| index < spec.completions.unwrap_or(0))
}

/// Whether the pod is one that must be replaced.
pub(super) fn is_failed(job: &Job, one: &Pod) -> bool {
    let gone = || one.metadata.deletion_timestamp.is_some() && pod::phase(one) != "Succeeded";
    pod::phase(one) == "Failed" || (!job.spec.as_ref().is_some_and(replaces_only_failed) && gone())
}

/// On its way out, but its containers may still run.
pub(super) fn is_terminating(one: &Pod) -> bool {
    !pod::is_terminal(one) && one.metadata.deletion_timestamp.is_some()
}

/// How often pods of the index failed before this one, those included that were ignored.
pub(super) fn all_failures_before(pod: &Pod) -> i32 {
    failures_before(pod).saturating_add(number(pod, IGNORED_FAILURES))
}

/// The same without the ignored ones.
pub(super) fn failures_before(pod: &Pod) -> i32 {
    number(pod, FAILURES)
}

fn number(pod: &Pod, annotation: &str) -> i32 {
    pod.annotations().get(annotation).and_then(|text| text.parse().ok()).filter(|number| *number >= 0).unwrap_or(0)
}

/// `Less` means the first pod is removed before the second: the less it has done, the sooner (upstream `ActivePods`).
pub(super) fn order(a: &Pod, b: &Pod) -> Ordering {
    let progress = |one: &Pod| match pod::phase(one) {
        "Running" => 2,
        "Unknown" => 1,
        _ => 0,
    };
    // a time that is not known counts as the latest
    let latest_first = |time: Option<Timestamp>| Reverse(time.unwrap_or(Timestamp::MAX));
    let created = |one: &Pod| one.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let rank = |one: &Pod| {
        (
            !pod::node_name(one).is_empty(),
            progress(one),
            pod::is_ready(one),
            pod::is_ready(one).then(|| latest_first(pod::ready_since(one))),
            Reverse(restarts(one)),
            latest_first(created(one)),
        )
    };
    rank(a).cmp(&rank(b)).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
}

/// The most restarts of a container, then of an init container.
fn restarts(pod: &Pod) -> (i32, i32) {
    let most = |list: &Option<Vec<ContainerStatus>>| {
        list.iter().flatten().map(|container| container.restart_count).max().unwrap_or(0)
    };
    let status = pod.status.as_ref();
    status.map_or((0, 0), |status| (most(&status.container_statuses), most(&status.init_container_statuses)))
}

/// A pod made from the Job's template, for an index where there are such. `replaced` is the failed pod of that index, if
/// failures are counted by index.
pub fn new_pod(job: &Job, index: Option<i32>, replaced: Option<&Pod>) -> Pod {
    let spec = job.spec.clone().unwrap_or_default();
    let metadata = spec.template.metadata.clone().unwrap_or_default();
    let mut pod = Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-", job.name_any())),
            namespace: job.metadata.namespace.clone(),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![claim::reference(job)]),
            ..ObjectMeta::default()
        },
        spec: spec.template.spec.clone(),
        status: None,
    };
    if !is_tracked(&pod) {
        pod.finalizers_mut().push(FINALIZER.into());
    }
    if let Some(index) = index {
        number_pod(job, &mut pod, index);
        if spec.backoff_limit_per_index.is_some() {
            count_failures(&spec, &mut pod, replaced);
        }
    }
    pod
}

fn number_pod(job: &Job, pod: &mut Pod, index: i32) {
    let (name, suffix) = (job.name_any(), format!("-{index}-"));
    let kept = name.len().min(LONGEST_PREFIX.saturating_sub(suffix.len()));
    pod.metadata.generate_name = Some(format!("{}{suffix}", name.get(..kept).unwrap_or(&name)));
    pod.annotations_mut().insert(INDEX.into(), index.to_string());
    pod.labels_mut().insert(INDEX.into(), index.to_string());
    let Some(spec) = &mut pod.spec else { return };
    spec.hostname = Some(format!("{name}-{index}"));
    let init = spec.init_containers.iter_mut().flatten();
    init.chain(&mut spec.containers).for_each(tell_index);
}

fn tell_index(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let field = ObjectFieldSelector { api_version: None, field_path: format!("metadata.labels['{INDEX}']") };
    variables.push(EnvVar {
        name: INDEX_VARIABLE.into(),
        value: None,
        value_from: Some(EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() }),
    });
}

/// A pod carries how often its index failed before it, for nothing else remembers that.
fn count_failures(spec: &JobSpec, pod: &mut Pod, replaced: Option<&Pod>) {
    let (mut failures, mut ignored) = (0, 0);
    if let Some(replaced) = replaced {
        (failures, ignored) = (failures_before(replaced), number(replaced, IGNORED_FAILURES));
        if policy::failure(spec.pod_failure_policy.as_ref(), replaced) == Failure::Ignored {
            ignored += 1;
        } else {
            failures += 1;
        }
    }
    pod.annotations_mut().insert(FAILURES.into(), failures.to_string());
    if ignored > 0 {
        pod.annotations_mut().insert(IGNORED_FAILURES.into(), ignored.to_string());
    }
}
