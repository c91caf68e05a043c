//! Decides how many replicas the target of a HorizontalPodAutoscaler should have (upstream `podautoscaler`).
//!
//! Invariant: a new size lies between the bounds of the autoscaler; of several metrics the one that asks for most counts,
//! and with one of them unknown nothing shrinks. What must be asked of others is data ([`question`]); the answers, the
//! past and the time are arguments.

mod metric;
mod pace;
pub mod question;
mod replicas;

use std::cmp::Ordering;
use std::sync::Arc;

use base::Key;
use base::selector::LabelSelector;
use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, HorizontalPodAutoscalerSpec,
    HorizontalPodAutoscalerStatus, MetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

pub use pace::History;
use pace::Limits;
use question::Read;
use replicas::{Context, Tolerance};
pub use replicas::{Sample, Samples};

/// How far a metric may be off where the autoscaler does not say.
const TOLERANCE: f64 = 0.1;

/// What the target's scale says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// How many are wanted at present, and how many there are.
    pub wanted: i32,
    pub actual: i32,
    pub selector: String,
}

/// What was seen.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Or why it could not be read.
    pub scale: &'a Result<Scale, String>,
    /// The pods that the scale's selector selects.
    pub pods: &'a [Arc<Pod>],
    /// Every autoscaler that controls one of these pods, this one included.
    pub rivals: &'a [Key],
    /// One for each metric; looked at only where [`needs_metrics`].
    pub readings: &'a [Read],
    pub history: &'a History,
    pub now: Timestamp,
}

/// What to say about the autoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
}

/// A new size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rescale {
    pub from: i32,
    pub to: i32,
    pub reason: String,
}

/// What to do, to write and to say. A new size is written first; what came of it belongs into the status: [`Plan::done`].
#[derive(Clone, Debug)]
pub struct Plan {
    pub rescale: Option<Rescale>,
    pub status: HorizontalPodAutoscalerStatus,
    pub notes: Vec<Note>,
    pub history: History,
}

/// How the size comes about.
enum Aim {
    /// Nobody is there to scale, which is how people switch scaling off.
    Off,
    /// A bound was passed; metrics do not matter.
    Bound(i32, &'static str),
    Metrics,
}

fn minimum(spec: &HorizontalPodAutoscalerSpec) -> i32 {
    spec.min_replicas.unwrap_or(1)
}

fn aim(spec: &HorizontalPodAutoscalerSpec, current: i32) -> Aim {
    if current == 0 {
        Aim::Off
    } else if current > spec.max_replicas {
        Aim::Bound(spec.max_replicas, "Current number of replicas above Spec.MaxReplicas")
    } else if current < minimum(spec) {
        Aim::Bound(minimum(spec), "Current number of replicas below Spec.MinReplicas")
    } else {
        Aim::Metrics
    }
}

/// Whether the metrics have to be asked for.
pub fn needs_metrics(autoscaler: &HorizontalPodAutoscaler, scale: &Scale) -> bool {
    matches!(aim(&autoscaler.spec, scale.wanted), Aim::Metrics) && LabelSelector::parse(&scale.selector).is_ok()
}

/// Decides the size, the status and what is said.
pub fn plan(autoscaler: &HorizontalPodAutoscaler, observed: &Observed<'_>) -> Plan {
    let mut work = Work {
        autoscaler,
        spec: &autoscaler.spec,
        observed,
        status: autoscaler.status.clone().unwrap_or_default(),
        notes: Vec::new(),
        history: observed.history.clone(),
    };
    let rescale = match observed.scale {
        Ok(scale) => work.size(scale),
        Err(why) => {
            work.note("FailedGetScale", why.clone());
            let message = format!("the HPA controller was unable to get the target's current scale: {why}");
            work.condition("AbleToScale", false, "FailedGetScale", message);
            None
        }
    };
    let Work { status, notes, history, .. } = work;
    Plan { rescale, status, notes, history }
}

impl Plan {
    /// Takes in what came of the new size.
    pub fn done(&mut self, autoscaler: &HorizontalPodAutoscaler, outcome: Result<(), &str>, now: Timestamp) {
        let Some(Rescale { from, to, reason }) = &self.rescale else { return };
        let (able, why, condition, note) = match outcome {
            Ok(()) => {
                self.history.changed(*from, *to, autoscaler.spec.behavior.as_ref(), now);
                self.status.desired_replicas = *to;
                self.status.last_scale_time = Some(Time(now));
                let condition = format!("the HPA controller was able to update the target scale to {to}");
                let message = format!("New size: {to}; reason: {reason}");
                let note = Note { warning: false, reason: "SuccessfulRescale", message };
                (true, "SucceededRescale", condition, note)
            }
            Err(error) => {
                let condition = format!("the HPA controller was unable to update the target scale: {error}");
                let message = format!("New size: {to}; reason: {reason}; error: {error}");
                let note = Note { warning: true, reason: "FailedRescale", message };
                (false, "FailedUpdateScale", condition, note)
            }
        };
        self.notes.push(note);
        set(&mut self.status, "AbleToScale", able, why, condition, now);
    }
}

struct Work<'a> {
    autoscaler: &'a HorizontalPodAutoscaler,
    spec: &'a HorizontalPodAutoscalerSpec,
    observed: &'a Observed<'a>,
    status: HorizontalPodAutoscalerStatus,
    notes: Vec<Note>,
    history: History,
}

/// What all metrics together ask for.
struct Wish {
    replicas: i32,
    /// The metric that asks for most.
    name: String,
    statuses: Vec<MetricStatus>,
}

impl Work<'_> {
    fn note(&mut self, reason: &'static str, message: String) {
        self.notes.push(Note { warning: true, reason, message });
    }

    fn condition(&mut self, kind: &str, state: bool, reason: &str, message: impl Into<String>) {
        set(&mut self.status, kind, state, reason, message.into(), self.observed.now);
    }

    fn size(&mut self, scale: &Scale) -> Option<Rescale> {
        let current = scale.wanted;
        let message = "the HPA controller was able to get the target's current scale";
        self.condition("AbleToScale", true, "SucceededGetScale", message);
        self.history.begin(current, self.observed.now);
        let (to, reason, statuses) = match aim(self.spec, current) {
            Aim::Off => {
                let message = "scaling is disabled since the replica count of the target is zero";
                self.condition("ScalingActive", false, "ScalingDisabled", message);
                (current, String::new(), None)
            }
            Aim::Bound(to, reason) => (to, reason.to_owned(), None),
            Aim::Metrics => match self.wish(scale) {
                Ok(wish) => {
                    let to = self.pace(current, wish.replicas);
                    let reason = match wish.replicas.cmp(&current) {
                        Ordering::Greater => format!("{} above target", wish.name),
                        Ordering::Less => "All metrics below target".to_owned(),
                        Ordering::Equal => String::new(),
                    };
                    (to, reason, Some(wish.statuses))
                }
                Err((why, statuses)) => {
                    self.counted(current, self.status.desired_replicas, statuses);
                    self.note("FailedComputeMetricsReplicas", why);
                    return None;
                }
            },
        };
        let rescale = (to != current).then_some(Rescale { from: current, to, reason });
        // of a size that is still to be written the status knows nothing yet
        let desired = if rescale.is_some() { self.status.desired_replicas } else { current };
        self.counted(current, desired, statuses);
        rescale
    }

    fn counted(&mut self, current: i32, desired: i32, metrics: Option<Vec<MetricStatus>>) {
        self.status.current_replicas = Some(current);
        self.status.desired_replicas = desired;
        self.status.current_metrics = metrics;
        self.status.observed_generation = None; // upstream does not tell it
    }

    fn wish(&mut self, scale: &Scale) -> Result<Wish, (String, Option<Vec<MetricStatus>>)> {
        self.selector(scale).map_err(|why| (why, None))?;
        let specs = self.spec.metrics.as_deref().unwrap_or_default();
        let namespace = self.autoscaler.namespace().unwrap_or_default();
        let context = Context {
            current: scale.wanted,
            pods: self.observed.pods,
            tolerance: tolerance(self.spec),
            now: self.observed.now,
        };
        let subject = metric::Subject { context, actual: scale.actual, namespace: &namespace };
        let mut wish = Wish { replicas: 0, name: String::new(), statuses: Vec::new() };
        let (mut first, mut failed) = (None, 0);
        let unread = Err("it was not asked for".to_owned());
        for (index, spec) in specs.iter().enumerate() {
            match metric::judge(spec, self.observed.readings.get(index).unwrap_or(&unread), subject) {
                Ok(proposal) => {
                    if wish.replicas == 0 || proposal.replicas > wish.replicas {
                        wish.replicas = proposal.replicas;
                        wish.name = proposal.name;
                    }
                    wish.statuses.push(proposal.status);
                }
                Err(fault) => {
                    self.note(fault.reason, fault.cause.clone());
                    wish.statuses.push(MetricStatus::default());
                    failed += 1;
                    first.get_or_insert(fault);
                }
            }
        }
        // what is not known might ask for more than what is
        let stuck = failed >= specs.len() || (failed > 0 && wish.replicas < scale.wanted);
        match first {
            Some(fault) if stuck => {
                let message = format!("the HPA was unable to compute the replica count: {}", fault.cause);
                self.condition("ScalingActive", false, fault.reason, message);
                let why = format!(
                    "invalid metrics ({failed} invalid out of {}), first error is: {}",
                    specs.len(),
                    fault.whole
                );
                Err((why, Some(wish.statuses)))
            }
            _ => {
                let message = format!("the HPA was able to successfully calculate a replica count from {}", wish.name);
                self.condition("ScalingActive", true, "ValidMetricFound", message);
                Ok(wish)
            }
        }
    }

    /// Whether the scale says whose metrics count, and no other autoscaler claims the same pods.
    fn selector(&mut self, scale: &Scale) -> Result<(), String> {
        let (event, reason, cause, condition) = if scale.selector.is_empty() {
            let condition = "the HPA target's scale is missing a selector";
            ("SelectorRequired", "InvalidSelector", "selector is required".to_owned(), condition.to_owned())
        } else if let Err(why) = LabelSelector::parse(&scale.selector) {
            let cause = format!("couldn't convert selector into a corresponding internal selector object: {why}");
            ("InvalidSelector", "InvalidSelector", cause.clone(), cause)
        } else if self.observed.rivals.len() > 1 {
            let rivals: Vec<String> =
                self.observed.rivals.iter().map(|key| format!("{{{} {}}}", key.name, key.namespace)).collect();
            let cause =
                format!("pods by selector {} are controlled by multiple HPAs: [{}]", scale.selector, rivals.join(" "));
            ("AmbiguousSelector", "AmbiguousSelector", cause.clone(), cause)
        } else {
            return Ok(());
        };
        self.note(event, cause.clone());
        self.condition("ScalingActive", false, reason, condition);
        Err(cause)
    }

    fn pace(&mut self, current: i32, wanted: i32) -> i32 {
        let limits = Limits {
            minimum: minimum(self.spec),
            maximum: self.spec.max_replicas,
            behavior: self.spec.behavior.as_ref(),
        };
        let paced = pace::pace(limits, current, wanted, &mut self.history, self.observed.now);
        self.condition("AbleToScale", true, paced.able.0, paced.able.1);
        self.condition("ScalingLimited", paced.limited.0, paced.limited.1, paced.limited.2);
        paced.replicas
    }
}

fn tolerance(spec: &HorizontalPodAutoscalerSpec) -> Tolerance {
    let behavior = spec.behavior.as_ref();
    let of = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>| {
        let written = rules.and_then(|rules| rules.tolerance.as_ref());
        let parsed = written.and_then(|written| written.0.parse::<base::Quantity>().ok());
        parsed.map_or(TOLERANCE, |quantity| quantity.approximate())
    };
    Tolerance {
        down: of(behavior.and_then(|behavior| behavior.scale_down.as_ref())),
        up: of(behavior.and_then(|behavior| behavior.scale_up.as_ref())),
    }
}

/// The time of a condition is that of its last change of state.
fn set(
    status: &mut HorizontalPodAutoscalerStatus,
    kind: &str,
    state: bool,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let state = if state { "True" } else { "False" };
    let conditions = status.conditions.get_or_insert_default();
    let at = conditions.iter().position(|one| one.type_ == kind).unwrap_or_else(|| {
        conditions.push(HorizontalPodAutoscalerCondition { type_: kind.to_owned(), ..Default::default() });
        conditions.len() - 1
    });
    let condition = &mut conditions[at];
    if condition.status != state {
        condition.last_transition_time = Some(Time(now));
        condition.status = state.to_owned();
    }
    condition.reason = Some(reason.to_owned());
    condition.message = Some(message);
}

#[cfg(test)]
mod tests;
