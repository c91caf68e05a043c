//! How many replicas a metric asks for (upstream `replica_calculator.go`).
//!
//! Invariant: what is not known never moves the number in the direction in which it would do harm. A pod without a figure
//! counts as busy when the others say that fewer would do, and as idle when they say that more are needed; if that turns
//! the answer round, nothing changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::plan::pod;

/// For so long after its start the CPU figures of a pod are doubted: starting costs more than running.
const CPU_INITIALIZATION: SignedDuration = SignedDuration::from_secs(5 * 60);
/// A pod that became unready so soon after its start has not been ready before.
const INITIAL_READINESS: SignedDuration = SignedDuration::from_secs(30);

/// How far, as a share, a metric may be off before anything is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance {
    pub(super) down: f64,
    pub(super) up: f64,
}

impl Tolerance {
    fn covers(self, ratio: f64) -> bool {
        (1.0 - self.down..=1.0 + self.up).contains(&ratio)
    }
}

/// What one pod uses: thousandths, averaged over the window that ended at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    pub at: Timestamp,
    pub window: SignedDuration,
    pub value: i64,
}

/// By the name of the pod.
pub type Samples = BTreeMap<String, Sample>;

/// Whose replicas are counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    /// What is wanted at present.
    pub(super) current: i32,
    pub(super) pods: &'a [Arc<Pod>],
    pub(super) tolerance: Tolerance,
    pub(super) now: Timestamp,
}

/// An answer with the figure it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) replicas: i32,
    /// In percent of what was requested, where that is what is asked for.
    pub(super) utilization: Option<i32>,
    /// Thousandths per pod.
    pub(super) average: i64,
}

/// How far what is used is from what should be.
struct Measured {
    ratio: f64,
    utilization: Option<i32>,
    average: i64,
}

type Values<'a> = BTreeMap<&'a str, i64>;

/// For a share of what the pods requested, in percent. With a container only that one of each pod counts.
pub(super) fn by_utilization(
    context: Context<'_>,
    samples: &Samples,
    target: i32,
    resource: &str,
    container: Option<&str>,
) -> Result<Answer, String> {
    let requests = requests(context.pods, resource, container);
    let measure = |values: &Values<'_>| {
        let requests = requests.as_ref().map_err(Clone::clone)?;
        let known: Vec<(i64, i64)> =
            values.iter().filter_map(|(name, used)| Some((*used, *requests.get(name)?))).collect();
        let used = known.iter().fold(0_i64, |sum, (used, _)| sum.saturating_add(*used));
        let requested = known.iter().fold(0_i64, |sum, (_, requested)| sum.saturating_add(*requested));
        if requested == 0 {
            return Err("no metrics returned matched known pods".to_owned());
        }
        let percent = i128::from(used) * 100 / i128::from(requested);
        let percent = i32::try_from(percent).unwrap_or(i32::MAX);
        let average = used / i64::try_from(known.len()).unwrap_or(i64::MAX);
        Ok(Measured { ratio: f64::from(percent) / f64::from(target), utilization: Some(percent), average })
    };
    let busy = i64::from(target.max(100));
    let assumed = |name: &str| {
        let requested = requests.as_ref().ok().and_then(|requests| requests.get(name)).copied().unwrap_or(0);
        requested.saturating_mul(busy) / 100
    };
    propose(context, samples, resource, measure, assumed)
}

/// For an average per pod, in thousandths. `resource` is empty for a metric that is none.
pub(super) fn by_average(
    context: Context<'_>,
    samples: &Samples,
    target: i64,
    resource: &str,
) -> Result<Answer, String> {
    let measure = |values: &Values<'_>| {
        let used = values.values().fold(0_i64, |sum, used| sum.saturating_add(*used));
        let average = used / i64::try_from(values.len()).unwrap_or(i64::MAX);
        Ok(Measured { ratio: average as f64 / target as f64, utilization: None, average })
    };
    propose(context, samples, resource, measure, |_| target)
}

fn propose<'a>(
    context: Context<'a>,
    samples: &'a Samples,
    resource: &str,
    measure: impl Fn(&Values<'a>) -> Result<Measured, String>,
    assumed: impl Fn(&str) -> i64,
) -> Result<Answer, String> {
    let Context { current, pods, tolerance, now } = context;
    if pods.is_empty() {
        return Err("no pods returned by selector while calculating replica count".into());
    }
    let groups = Groups::of(pods, samples, resource, now);
    let counts = |name: &str| !groups.ignored.contains(name) && !groups.unready.contains(name);
    let mut values: Values<'a> =
        samples.iter().filter(|(name, _)| counts(name)).map(|(name, sample)| (name.as_str(), sample.value)).collect();
    if values.is_empty() {
        return Err("did not receive metrics for targeted pods (pods might be unready)".into());
    }
    let first = measure(&values)?;
    let answer = |replicas| Answer { replicas, utilization: first.utilization, average: first.average };
    let unready_matter = !groups.unready.is_empty() && first.ratio > 1.0;
    if !unready_matter && groups.missing.is_empty() {
        let proposed = if tolerance.covers(first.ratio) { current } else { whole(first.ratio * groups.ready as f64) };
        return Ok(answer(proposed));
    }
    for name in &groups.missing {
        if first.ratio < 1.0 {
            values.insert(*name, assumed(name));
        } else if first.ratio > 1.0 {
            values.insert(*name, 0);
        }
    }
    if unready_matter {
        values.extend(groups.unready.iter().map(|name| (*name, 0)));
    }
    let ratio = measure(&values)?.ratio;
    let turned = (first.ratio < 1.0 && ratio > 1.0) || (first.ratio > 1.0 && ratio < 1.0);
    if tolerance.covers(ratio) || turned {
        return Ok(answer(current));
    }
    let proposed = whole(ratio * values.len() as f64);
    let against = (ratio < 1.0 && proposed > current) || (ratio > 1.0 && proposed < current);
    Ok(answer(if against { current } else { proposed }))
}

/// For the value of one thing that all pods share, in thousandths.
pub(super) fn by_value(context: Context<'_>, value: i64, target: i64) -> Result<i32, String> {
    let ratio = value as f64 / target as f64;
    if context.current == 0 {
        return Ok(whole(ratio));
    }
    if context.tolerance.covers(ratio) {
        return Ok(context.current);
    }
    if context.pods.is_empty() {
        let why = "no pods returned by selector while calculating replica count";
        return Err(format!("unable to calculate ready pods: {why}"));
    }
    let ready = context.pods.iter().filter(|one| pod::phase(one) == "Running" && pod::is_ready(one)).count();
    Ok(whole(ratio * ready as f64))
}

/// For the share of one value that each of the `actual` pods has; with that share, in thousandths.
pub(super) fn by_share(tolerance: Tolerance, actual: i32, value: i64, target: i64) -> (i32, i64) {
    let ratio = value as f64 / (target as f64 * f64::from(actual));
    let replicas = if tolerance.covers(ratio) { actual } else { whole(value as f64 / target as f64) };
    let share = (value as f64 / f64::from(actual)).ceil();
    (replicas, share as i64)
}

/// Rounded up; what is too much for a number of replicas is the largest one.
fn whole(replicas: f64) -> i32 {
    replicas.ceil() as i32
}

/// What the pods have to do with the metric.
#[derive(Default)]
struct Groups<'a> {
    /// How many are ready and have a figure.
    ready: usize,
    /// They start, so their figures say nothing yet.
    unready: BTreeSet<&'a str>,
    missing: BTreeSet<&'a str>,
    /// They are leaving or have failed.
    ignored: BTreeSet<&'a str>,
}

impl<'a> Groups<'a> {
    fn of(pods: &'a [Arc<Pod>], samples: &Samples, resource: &str, now: Timestamp) -> Self {
        let mut groups = Self::default();
        for one in pods {
            let name = one.metadata.name.as_deref().unwrap_or("");
            if one.metadata.deletion_timestamp.is_some() || pod::phase(one) == "Failed" {
                groups.ignored.insert(name);
            } else if pod::phase(one) == "Pending" {
                groups.unready.insert(name);
            } else if let Some(sample) = samples.get(name) {
                if resource == "cpu" && is_starting(one, sample, now) {
                    groups.unready.insert(name);
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.insert(name);
            }
        }
        groups
    }
}

/// Whether the CPU of the pod is that of its start.
fn is_starting(one: &Pod, sample: &Sample, now: Timestamp) -> bool {
    let started = one.status.as_ref().and_then(|status| status.start_time.as_ref());
    let (Some(ready), Some(started)) = (pod::condition(one, "Ready"), started) else { return true };
    let (is_unready, turned) =
        (ready.status == "False", ready.last_transition_time.as_ref().map_or(Timestamp::MIN, |time| time.0));
    if now.duration_since(started.0) < CPU_INITIALIZATION {
        // a figure must be of a time in which the pod was ready all along
        is_unready || sample.at.duration_since(turned) < sample.window
    } else {
        is_unready && turned.duration_since(started.0) < INITIAL_READINESS
    }
}

/// What each pod requested, in thousandths.
fn requests<'a>(
    pods: &'a [Arc<Pod>],
    resource: &str,
    container: Option<&str>,
) -> Result<BTreeMap<&'a str, i64>, String> {
    let request =
        |one: &'a Arc<Pod>| Ok((one.metadata.name.as_deref().unwrap_or(""), of_pod(one, resource, container)?));
    pods.iter().map(request).collect()
}

fn of_pod(one: &Pod, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let Some(spec) = &one.spec else { return Ok(0) };
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    if container.is_none()
        && let Some(whole) = whole.filter(|whole| !whole.is_empty())
    {
        let asked = whole.get(resource).map(|quantity| milli(&quantity.0));
        // what the pod as a whole does not request is the sum of what its containers do
        let parts = || by_containers(one, resource, None).ok().filter(|sum| *sum > 0);
        let missing = || format!("missing pod-level request for {resource} in Pod {}", one.name_any());
        return asked.or_else(parts).ok_or_else(missing);
    }
    by_containers(one, resource, container)
}

fn by_containers(one: &Pod, resource: &str, container: Option<&str>) -> Result<i64, String> {
    let Some(spec) = &one.spec else { return Ok(0) };
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|init| init.restart_policy.as_deref() == Some("Always"));
    let mut sum = 0_i64;
    for part in spec.containers.iter().chain(sidecars).filter(|part| container.is_none_or(|name| part.name == name)) {
        let requests = part.resources.as_ref().and_then(|resources| resources.requests.as_ref());
        let Some(quantity) = requests.and_then(|requests| requests.get(resource)) else {
            return Err(format!("missing request for {resource} in container {} of Pod {}", part.name, one.name_any()));
        };
        sum = sum.saturating_add(milli(&quantity.0));
        if container.is_some() {
            return Ok(sum);
        }
    }
    match container {
        Some(name) => Err(format!("container {name} not found in Pod {}", one.name_any())),
        None => Ok(sum),
    }
}

/// A quantity in thousandths; one that cannot be read counts as nothing.
pub(super) fn milli(quantity: &str) -> i64 {
    let parsed = quantity.parse::<base::Quantity>().unwrap_or(base::Quantity::ZERO);
    i64::try_from(parsed.milli()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
