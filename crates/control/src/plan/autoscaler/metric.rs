//! One metric of an autoscaler: how many replicas it asks for, and what the status says of it.
//!
//! Invariant: a metric that cannot be judged says why three times, each time in upstream's words: in an event, in the
//! condition, and in the sentence about all metrics.

use base::Quantity;
use base::quantity::Format;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricSource, ExternalMetricStatus, MetricIdentifier, MetricSpec,
    MetricStatus, MetricTarget, MetricValueStatus, ObjectMetricSource, ObjectMetricStatus, PodsMetricSource,
    PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource;

use super::question::{Read, Reading};
use super::replicas::{self, Context, Samples, milli};
use crate::plan::labels;

/// What a metric asks for.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) replicas: i32,
    /// As a reason for a new size names it.
    pub(super) name: String,
    pub(super) status: MetricStatus,
}

/// Why a metric asks for nothing.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) reason: &'static str,
    /// What went wrong.
    pub(super) cause: String,
    /// What was attempted when it did.
    pub(super) whole: String,
}

impl Fault {
    fn new(reason: &'static str, attempt: &str, cause: String) -> Self {
        Self { reason, whole: format!("{attempt}: {cause}"), cause }
    }
}

/// Whose metric it is: how many pods the target has made, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) context: Context<'a>,
    pub(super) actual: i32,
    pub(super) namespace: &'a str,
}

/// Judges a metric by its reading.
pub(super) fn judge(spec: &MetricSpec, read: &Read, subject: Subject<'_>) -> Result<Proposal, Fault> {
    let status = MetricStatus { type_: spec.type_.clone(), ..MetricStatus::default() };
    match (spec.type_.as_str(), spec) {
        ("Resource", MetricSpec { resource: Some(source), .. }) => {
            let asked = Asked { resource: &source.name, container: None, target: &source.target };
            let (replicas, current, name) = asked.judge(read, subject).map_err(|cause| {
                let attempt = format!("failed to get {} resource metric value", source.name);
                Fault::new("FailedGetResourceMetric", &attempt, cause)
            })?;
            let known = ResourceMetricStatus { name: source.name.clone(), current };
            Ok(Proposal { replicas, name, status: MetricStatus { resource: Some(known), ..status } })
        }
        ("ContainerResource", MetricSpec { container_resource: Some(source), .. }) => {
            let container = Some(source.container.as_str());
            let asked = Asked { resource: &source.name, container, target: &source.target };
            let (replicas, current, name) = asked.judge(read, subject).map_err(|cause| {
                let attempt = format!("failed to get {} container metric value", source.container);
                Fault::new("FailedGetContainerResourceMetric", &attempt, cause)
            })?;
            let (name_of, container) = (source.name.clone(), source.container.clone());
            let known = ContainerResourceMetricStatus { name: name_of, container, current };
            Ok(Proposal { replicas, name, status: MetricStatus { container_resource: Some(known), ..status } })
        }
        ("Pods", MetricSpec { pods: Some(source), .. }) => pods(source, read, subject, status),
        ("Object", MetricSpec { object: Some(source), .. }) => object(source, read, subject, status),
        ("External", MetricSpec { external: Some(source), .. }) => external(source, read, subject, status),
        (other, _) => {
            let cause = format!("unknown metric source type {}", base::error::quote(other));
            Err(Fault { reason: "InvalidMetricSourceType", whole: cause.clone(), cause })
        }
    }
}

fn samples(read: &Read) -> Result<&Samples, String> {
    match read {
        Ok(Reading::Pods(samples)) => Ok(samples),
        Ok(_) => Err("the answer is not about pods".into()),
        Err(why) => Err(why.clone()),
    }
}

/// A resource that the pods, or one container of each, use.
struct Asked<'a> {
    resource: &'a str,
    container: Option<&'a str>,
    target: &'a MetricTarget,
}

impl Asked<'_> {
    fn judge(&self, read: &Read, subject: Subject<'_>) -> Result<(i32, MetricValueStatus, String), String> {
        let Self { resource, container, target } = *self;
        let samples = || samples(read).map_err(|why| format!("unable to get metrics for resource {resource}: {why}"));
        let amount = |value: i64| Some(amount(resource, value));
        if let Some(wanted) = &target.average_value {
            let judged =
                samples().and_then(|all| replicas::by_average(subject.context, all, milli(&wanted.0), resource));
            let answer = judged.map_err(|why| format!("failed to get {resource} usage: {why}"))?;
            let current = MetricValueStatus { average_value: amount(answer.average), ..Default::default() };
            return Ok((answer.replicas, current, format!("{resource} resource")));
        }
        let Some(percent) = target.average_utilization else {
            return Err("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".into());
        };
        let judged =
            samples().and_then(|all| replicas::by_utilization(subject.context, all, percent, resource, container));
        let answer = judged.map_err(|why| format!("failed to get {resource} utilization: {why}"))?;
        let current = MetricValueStatus {
            average_utilization: answer.utilization,
            average_value: amount(answer.average),
            value: None,
        };
        let of = if container.is_some() { "container resource" } else { "resource" };
        Ok((answer.replicas, current, format!("{resource} {of} utilization (percentage of request)")))
    }
}

fn pods(source: &PodsMetricSource, read: &Read, subject: Subject<'_>, status: MetricStatus) -> Result<Proposal, Fault> {
    let name = &source.metric.name;
    let target = source.target.average_value.as_ref().map_or(0, |wanted| milli(&wanted.0));
    let judged = samples(read).map_err(|why| format!("unable to get metric {name}: {why}"));
    let judged = judged.and_then(|all| replicas::by_average(subject.context, all, target, ""));
    let answer = judged.map_err(|cause| Fault::new("FailedGetPodsMetric", "failed to get pods metric value", cause))?;
    let current = MetricValueStatus { average_value: Some(plain(answer.average)), ..Default::default() };
    let known = PodsMetricStatus { metric: source.metric.clone(), current };
    let name = format!("pods metric {name}");
    Ok(Proposal { replicas: answer.replicas, name, status: MetricStatus { pods: Some(known), ..status } })
}

fn object(
    source: &ObjectMetricSource,
    read: &Read,
    subject: Subject<'_>,
    status: MetricStatus,
) -> Result<Proposal, Fault> {
    let (name, of, context) = (&source.metric.name, &source.described_object, subject.context);
    let attempt = "failed to get object metric value";
    let fault = |attempt: &str, cause| Fault::new("FailedGetObjectMetric", attempt, cause);
    let value = || match read {
        Ok(Reading::Value(value)) => Ok(*value),
        Ok(_) => Err("the answer is not one value".to_owned()),
        Err(why) => Err(why.clone()),
    };
    let value = || {
        let place = || format!("{} {}/{}", of.kind, subject.namespace, of.name);
        value().map_err(|why| format!("unable to get metric {name}: {why} on {}", place()))
    };
    let (replicas, current, called) = match (source.target.type_.as_str(), &source.target) {
        ("Value", MetricTarget { value: Some(wanted), .. }) => {
            let judged = value().and_then(|value| Ok((replicas::by_value(context, value, milli(&wanted.0))?, value)));
            let (replicas, value) = judged.map_err(|cause| fault(attempt, cause))?;
            let current = MetricValueStatus { value: Some(plain(value)), ..Default::default() };
            (replicas, current, format!("{} metric {name}", of.kind))
        }
        ("AverageValue", MetricTarget { average_value: Some(wanted), .. }) => {
            let value =
                value().map_err(|cause| fault(&format!("{attempt}: failed to get {name} object metric"), cause))?;
            let (replicas, share) = replicas::by_share(context.tolerance, subject.actual, value, milli(&wanted.0));
            let current = MetricValueStatus { average_value: Some(plain(share)), ..Default::default() };
            (replicas, current, external_name(&source.metric))
        }
        _ => {
            let cause = "invalid object metric source: neither a value target nor an average value target was set";
            return Err(fault(attempt, cause.into()));
        }
    };
    let known = ObjectMetricStatus { described_object: of.clone(), metric: source.metric.clone(), current };
    Ok(Proposal { replicas, name: called, status: MetricStatus { object: Some(known), ..status } })
}

fn external(
    source: &ExternalMetricSource,
    read: &Read,
    subject: Subject<'_>,
    status: MetricStatus,
) -> Result<Proposal, Fault> {
    let (name, context) = (&source.metric.name, subject.context);
    let attempt = format!("failed to get {name} external metric value");
    let fault = |attempt: &str, cause| Fault::new("FailedGetExternalMetric", attempt, cause);
    let value = || match read {
        Ok(Reading::Values(all)) => Ok(all.iter().fold(0_i64, |sum, one| sum.saturating_add(*one))),
        Ok(_) => Err("the answer is not a list of values".to_owned()),
        Err(why) => Err(why.clone()),
    };
    let value = || {
        let place = || format!("{}/{name}/{}", subject.namespace, labels::print(source.metric.selector.as_ref()));
        value().map_err(|why| format!("unable to get external metric {}: {why}", place()))
    };
    let (replicas, current) = if let Some(wanted) = &source.target.average_value {
        let failed = |cause| fault(&format!("{attempt}: failed to get {name} external metric"), cause);
        let (replicas, share) =
            replicas::by_share(context.tolerance, subject.actual, value().map_err(failed)?, milli(&wanted.0));
        (replicas, MetricValueStatus { average_value: Some(plain(share)), ..Default::default() })
    } else if let Some(wanted) = &source.target.value {
        let failed = |cause| fault(&format!("{attempt}: failed to get external metric {name}"), cause);
        let judged = value().and_then(|value| Ok((replicas::by_value(context, value, milli(&wanted.0))?, value)));
        let (replicas, value) = judged.map_err(failed)?;
        (replicas, MetricValueStatus { value: Some(plain(value)), ..Default::default() })
    } else {
        let cause = "invalid external metric source: neither a value target nor an average value target was set";
        return Err(fault(&attempt, cause.into()));
    };
    let known = ExternalMetricStatus { metric: source.metric.clone(), current };
    let name = external_name(&source.metric);
    Ok(Proposal { replicas, name, status: MetricStatus { external: Some(known), ..status } })
}

/// Upstream calls a share of an object's value external too.
fn external_name(metric: &MetricIdentifier) -> String {
    format!("external metric {}({})", metric.name, labels::print(metric.selector.as_ref()))
}

fn plain(value: i64) -> resource::Quantity {
    resource::Quantity(Quantity::from_milli(value).to_string())
}

/// Memory is told in powers of two, as long as it is a whole number of bytes.
fn amount(resource: &str, value: i64) -> resource::Quantity {
    if resource == "memory" && value % 1000 == 0 {
        resource::Quantity(Quantity::from_value(value / 1000, Format::BinarySi).to_string())
    } else {
        plain(value)
    }
}
