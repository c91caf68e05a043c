//! Probes: when the next one is due, and what a result means.
//!
//! Invariant: the tracker is pure; running a probe (`run`) is somebody else's job. Thresholds count
//! as upstream's prober worker does. One deliberate difference: while a container has not been seen
//! ready (or started) yet, a failed probe is repeated sooner than the period, and those extra
//! attempts never count towards a threshold. So a program that needs 80 ms to listen is not made
//! to wait ten seconds.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Probe;

pub(crate) mod http;
pub(crate) mod run;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Startup,
    Readiness,
    Liveness,
}

impl Kind {
    /// As it stands in event messages.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Readiness => "Readiness",
            Self::Liveness => "Liveness",
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Readiness => "readiness",
            Self::Liveness => "liveness",
        }
    }
}

/// What one probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure(String),
    /// The probe itself could not be made: that says nothing about the program.
    Errored(String),
}

/// What a result changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judgement {
    Nothing,
    Passed,
    Failed,
}

/// A small server listens within this; the wait doubles, so a slow one costs few attempts more.
const QUICKEST: Duration = Duration::from_millis(10);

/// One probe of one run of a container.
#[derive(Debug, Clone)]
pub(crate) struct Tracker {
    period: Duration,
    success_threshold: u32,
    failure_threshold: u32,
    impatient: bool,
    state: Option<bool>,
    last: Option<bool>,
    streak: u32,
    quick: Duration,
    counted: Option<Timestamp>,
    due: Timestamp,
}

impl Tracker {
    /// The first probe is due as soon as the initial delay is over.
    pub(crate) fn new(kind: Kind, probe: &Probe, started: Timestamp) -> Self {
        let seconds = |value: Option<i32>, default: u64| {
            value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
        };
        let count = |value: Option<i32>, default| value.and_then(|value| u32::try_from(value).ok()).unwrap_or(default);
        let delay = Duration::from_secs(seconds(probe.initial_delay_seconds, 0));
        Self {
            period: Duration::from_secs(seconds(probe.period_seconds, 10)),
            success_threshold: count(probe.success_threshold, 1).max(1),
            failure_threshold: count(probe.failure_threshold, 3).max(1),
            impatient: kind != Kind::Liveness,
            state: None,
            last: None,
            streak: 0,
            quick: QUICKEST,
            counted: None,
            due: started.checked_add(delay).unwrap_or(started),
        }
    }

    pub(crate) fn due(&self) -> Timestamp {
        self.due
    }

    /// Allows the probe to run at once (the startup probe has passed).
    pub(crate) fn hasten(&mut self, now: Timestamp) {
        if self.counted.is_none() && self.due < now {
            self.due = now;
        }
    }

    /// Takes in a result. True in the second place when it was a regular probe, worth an event.
    pub(crate) fn take(&mut self, outcome: &Outcome, now: Timestamp) -> (Judgement, bool) {
        if let Outcome::Errored(_) = outcome {
            self.due = now.checked_add(self.period).unwrap_or(Timestamp::MAX);
            return (Judgement::Nothing, true);
        }
        let success = *outcome == Outcome::Success;
        let hurrying = self.impatient && self.state != Some(true);
        let elapsed = self.counted.map(|at| now.duration_since(at).unsigned_abs());
        let regular = success || !hurrying || elapsed.is_none_or(|elapsed| elapsed >= self.period);
        let wait = if hurrying && !success && self.quick < self.period {
            let wait = self.quick;
            self.quick = wait * 2;
            wait
        } else {
            self.period
        };
        self.due = now.checked_add(wait).unwrap_or(Timestamp::MAX);
        if !regular {
            return (Judgement::Nothing, false);
        }
        self.counted = Some(now);
        self.streak = if self.last == Some(success) { self.streak + 1 } else { 1 };
        self.last = Some(success);
        let enough = if success { self.success_threshold } else { self.failure_threshold };
        let changes = self.streak >= enough && (self.state != Some(success) || !success);
        if !changes {
            return (Judgement::Nothing, true);
        }
        self.state = Some(success);
        (if success { Judgement::Passed } else { Judgement::Failed }, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn tracker(kind: Kind, period: i32, success: i32, failure: i32) -> Tracker {
        let probe = Probe {
            period_seconds: Some(period),
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Probe::default()
        };
        Tracker::new(kind, &probe, at(0))
    }

    fn failure() -> Outcome {
        Outcome::Failure("no".into())
    }

    #[test]
    fn the_first_probe_runs_at_once_and_success_makes_ready() {
        let mut tracker = tracker(Kind::Readiness, 10, 1, 3);
        assert_eq!(tracker.due(), at(0));
        assert_eq!(tracker.take(&Outcome::Success, at(0)), (Judgement::Passed, true));
        assert_eq!(tracker.due(), at(10_000));
    }

    #[test]
    fn early_failures_are_repeated_quickly_without_counting() {
        let mut tracker = tracker(Kind::Startup, 10, 1, 2);
        assert_eq!(tracker.take(&failure(), at(0)), (Judgement::Nothing, true));
        assert_eq!(tracker.due(), at(10));
        for _ in 0..5 {
            let now = tracker.due();
            assert_eq!(tracker.take(&failure(), now), (Judgement::Nothing, false));
        }
        assert_eq!(tracker.take(&failure(), at(10_000)).0, Judgement::Failed);
    }

    #[test]
    fn readiness_is_lost_only_after_the_failure_threshold() {
        let mut tracker = tracker(Kind::Readiness, 1, 1, 3);
        tracker.take(&Outcome::Success, at(0));
        assert_eq!(tracker.take(&failure(), at(1000)).0, Judgement::Nothing);
        assert_eq!(tracker.take(&failure(), at(2000)).0, Judgement::Nothing);
        assert_eq!(tracker.take(&failure(), at(3000)).0, Judgement::Failed);
        assert_eq!(tracker.take(&Outcome::Success, at(4000)).0, Judgement::Passed);
    }

    #[test]
    fn liveness_never_hurries_and_fails_at_its_threshold() {
        let mut tracker = tracker(Kind::Liveness, 5, 1, 2);
        assert_eq!(tracker.take(&failure(), at(0)), (Judgement::Nothing, true));
        assert_eq!(tracker.due(), at(5000));
        assert_eq!(tracker.take(&failure(), at(5000)).0, Judgement::Failed);
    }

    #[test]
    fn a_probe_that_could_not_be_made_changes_nothing() {
        let mut tracker = tracker(Kind::Liveness, 5, 1, 1);
        assert_eq!(tracker.take(&Outcome::Errored("no such program".into()), at(0)), (Judgement::Nothing, true));
        assert_eq!(tracker.due(), at(5000));
        assert_eq!(tracker.take(&failure(), at(5000)).0, Judgement::Failed);
    }

    proptest! {
        #[test]
        fn a_probe_never_fails_before_threshold_periods_have_passed(
            results in proptest::collection::vec(any::<bool>(), 1..200), threshold in 1..5_i32, startup in any::<bool>(),
        ) {
            let kind = if startup { Kind::Startup } else { Kind::Readiness };
            let mut tracker = tracker(kind, 10, 1, threshold);
            let mut failing_since = None;
            for success in results {
                let now = tracker.due();
                let outcome = if success { Outcome::Success } else { failure() };
                if success { failing_since = None } else { failing_since = failing_since.or(Some(now)) }
                if let (Judgement::Failed, _) = tracker.take(&outcome, now) {
                    let failing = now.duration_since(failing_since.unwrap()).as_secs();
                    prop_assert!(failing >= i64::from(threshold - 1) * 10);
                }
            }
        }
    }
}
