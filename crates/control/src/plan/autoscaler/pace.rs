//! How fast the number of replicas may follow what the metrics ask for: stabilization windows, policies, bounds.
//!
//! Invariant: whatever is asked for, the answer lies between the bounds. The past is an argument and so is its next state;
//! of the past only as much is kept as the longest window or period can see.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// Without a behavior: how long the highest recommendation is kept to.
const DOWNSCALE_STABILIZATION: SignedDuration = SignedDuration::from_secs(5 * 60);

/// What was recommended and done lately; the controller's memory, which a restart empties.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    recommended: VecDeque<(Timestamp, i32)>,
    added: VecDeque<(Timestamp, i32)>,
    removed: VecDeque<(Timestamp, i32)>,
}

impl History {
    /// The size that was found counts as the first recommendation, so that a controller that starts does not shrink
    /// what it knows nothing of.
    pub(super) fn begin(&mut self, replicas: i32, now: Timestamp) {
        if self.recommended.is_empty() {
            self.recommended.push_back((now, replicas));
        }
    }

    fn recommend(&mut self, replicas: i32, kept: SignedDuration, now: Timestamp) {
        forget(&mut self.recommended, kept, now);
        self.recommended.push_back((now, replicas));
    }

    /// Remembers a change of size; only policies look at it.
    pub(super) fn changed(
        &mut self,
        from: i32,
        to: i32,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        now: Timestamp,
    ) {
        let Some(behavior) = behavior else { return };
        let longest = |rules: Option<&HPAScalingRules>| {
            let policies = rules.and_then(|rules| rules.policies.as_ref()).into_iter().flatten();
            let longest = policies.map(|policy| policy.period_seconds).max().unwrap_or(0);
            SignedDuration::from_secs(i64::from(longest))
        };
        // periods of both directions look at both
        let kept = longest(behavior.scale_up.as_ref()).max(longest(behavior.scale_down.as_ref()));
        forget(&mut self.added, kept, now);
        forget(&mut self.removed, kept, now);
        if to > from {
            self.added.push_back((now, to.saturating_sub(from)));
        } else {
            self.removed.push_back((now, from.saturating_sub(to)));
        }
    }

    /// How many there were when the period began.
    fn before(&self, current: i32, period_seconds: i32, now: Timestamp) -> i32 {
        let period = SignedDuration::from_secs(i64::from(period_seconds));
        let sum = |changes: &VecDeque<(Timestamp, i32)>| {
            let recent = changes.iter().filter(|(at, _)| now.duration_since(*at) < period);
            recent.fold(0_i32, |sum, (_, change)| sum.saturating_add(*change))
        };
        current.saturating_sub(sum(&self.added)).saturating_add(sum(&self.removed))
    }
}

fn forget(past: &mut VecDeque<(Timestamp, i32)>, kept: SignedDuration, now: Timestamp) {
    past.retain(|(at, _)| now.duration_since(*at) <= kept);
}

/// Between what the number of replicas must be, and how fast it may get there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits<'a> {
    pub(super) minimum: i32,
    pub(super) maximum: i32,
    pub(super) behavior: Option<&'a HorizontalPodAutoscalerBehavior>,
}

/// A number of replicas with what was done to it on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paced {
    pub(super) replicas: i32,
    /// Reason and message of AbleToScale.
    pub(super) able: (&'static str, &'static str),
    /// Whether it is less or more than wanted, with reason and message of ScalingLimited.
    pub(super) limited: (bool, &'static str, &'static str),
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const LOWER_BEFORE: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const HIGHER_BEFORE: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const TOO_MANY: (&str, &str) = ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: (&str, &str) = ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const TOO_FAST_UP: (&str, &str) =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const TOO_FAST_DOWN: (&str, &str) =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");
const WITHIN: (&str, &str) = ("DesiredWithinRange", "the desired count is within the acceptable range");

/// What becomes of the wish for `wanted` replicas where there are `current`.
pub(super) fn pace(limits: Limits<'_>, current: i32, wanted: i32, history: &mut History, now: Timestamp) -> Paced {
    let (steady, (bounded, why)) = match limits.behavior {
        None => {
            let steady = highest(history, wanted, DOWNSCALE_STABILIZATION, now);
            history.recommend(wanted, DOWNSCALE_STABILIZATION, now);
            (steady, by_default(limits, current, steady))
        }
        Some(behavior) => {
            let (up, down) = (window(behavior.scale_up.as_ref(), SignedDuration::ZERO), down_window(behavior));
            let floor = lowest(history, wanted, up, now);
            let ceiling = highest(history, wanted, down, now);
            history.recommend(wanted, up.max(down), now);
            let steady = current.max(floor).min(ceiling);
            (steady, by_behavior(limits, behavior, current, steady, history, now))
        }
    };
    let able = match (steady == wanted, limits.behavior.is_some() && wanted >= current) {
        (true, _) => READY,
        (false, true) => LOWER_BEFORE,
        (false, false) => HIGHER_BEFORE,
    };
    Paced { replicas: bounded, able, limited: (bounded != steady, why.0, why.1) }
}

fn window(rules: Option<&HPAScalingRules>, otherwise: SignedDuration) -> SignedDuration {
    let seconds = rules.and_then(|rules| rules.stabilization_window_seconds);
    seconds.map_or(otherwise, |seconds| SignedDuration::from_secs(i64::from(seconds)))
}

fn down_window(behavior: &HorizontalPodAutoscalerBehavior) -> SignedDuration {
    window(behavior.scale_down.as_ref(), DOWNSCALE_STABILIZATION)
}

fn recent(history: &History, window: SignedDuration, now: Timestamp) -> impl Iterator<Item = i32> {
    history.recommended.iter().filter(move |(at, _)| now.duration_since(*at) < window).map(|(_, replicas)| *replicas)
}

fn highest(history: &History, wanted: i32, window: SignedDuration, now: Timestamp) -> i32 {
    recent(history, window, now).fold(wanted, i32::max)
}

fn lowest(history: &History, wanted: i32, window: SignedDuration, now: Timestamp) -> i32 {
    recent(history, window, now).fold(wanted, i32::min)
}

/// Without a behavior: at most twice as many, or four.
fn by_default(limits: Limits<'_>, current: i32, wanted: i32) -> (i32, (&'static str, &'static str)) {
    let fast = current.saturating_mul(2).max(4);
    let (most, why) = if limits.maximum > fast { (fast, TOO_FAST_UP) } else { (limits.maximum, TOO_MANY) };
    if wanted < limits.minimum {
        (limits.minimum, TOO_FEW)
    } else if wanted > most {
        (most, why)
    } else {
        (wanted, WITHIN)
    }
}

fn by_behavior(
    limits: Limits<'_>,
    behavior: &HorizontalPodAutoscalerBehavior,
    current: i32,
    wanted: i32,
    history: &History,
    now: Timestamp,
) -> (i32, (&'static str, &'static str)) {
    if wanted > current {
        let fast = furthest(behavior.scale_up.as_ref(), Direction::Up, current, history, now).max(current);
        let (most, why) = if limits.maximum > fast { (fast, TOO_FAST_UP) } else { (limits.maximum, TOO_MANY) };
        if wanted > most {
            return (most, why);
        }
    } else if wanted < current {
        let fast = furthest(behavior.scale_down.as_ref(), Direction::Down, current, history, now).min(current);
        let (least, why) = if limits.minimum < fast { (fast, TOO_FAST_DOWN) } else { (limits.minimum, TOO_FEW) };
        if wanted < least {
            return (least, why);
        }
    }
    (wanted, WITHIN)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

/// As far as the policies allow in one direction. No policy at all is no limit, as for rules nobody wrote.
fn furthest(
    rules: Option<&HPAScalingRules>,
    direction: Direction,
    current: i32,
    history: &History,
    now: Timestamp,
) -> i32 {
    let open = if direction == Direction::Up { i32::MAX } else { 0 };
    let Some(rules) = rules else { return open };
    let select = rules.select_policy.as_deref().unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    let reached = rules.policies.iter().flatten().map(|policy| {
        let before = history.before(current, policy.period_seconds, now);
        let share = f64::from(before) * f64::from(policy.value) / 100.0;
        match (direction, policy.type_.as_str()) {
            (Direction::Up, "Percent") => (f64::from(before) + share).ceil() as i32,
            (Direction::Up, _) => before.saturating_add(policy.value),
            (Direction::Down, "Percent") => (f64::from(before) - share) as i32,
            (Direction::Down, _) => before.saturating_sub(policy.value),
        }
    });
    // the policy that changes most is the highest number on the way up, the lowest on the way down
    let highest = (direction == Direction::Up) == (select != "Min");
    if highest { reached.max() } else { reached.min() }.unwrap_or(open)
}

#[cfg(test)]
mod tests;
