//! What is decided of an object, and how it becomes conditions.
//!
//! A verdict has no time: when it was reached is the business of who writes it. Invariants of GEP-1364 and of the API's notes
//! for implementors: conditions of others stay; the time changes only with the status; a status that was reached with a newer
//! generation than ours is left alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// As many characters of a message as the API takes.
const LONGEST_MESSAGE: usize = 32_768;

/// One condition without its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Its type.
    pub condition: &'static str,
    /// True or False.
    pub status: bool,
    /// One word for machines.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

impl Verdict {
    /// `condition` holds.
    pub(crate) fn yes(condition: &'static str, reason: &'static str) -> Self {
        Self { condition, status: true, reason, message: String::new() }
    }

    /// `condition` does not hold, because of `message`.
    pub(crate) fn no(condition: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition, status: false, reason, message: message.into() }
    }

    /// True when something that was asked for is not so.
    pub(crate) fn fails(&self) -> bool {
        match self.condition {
            "Conflicted" | "OverlappingTLSConfig" | "PartiallyInvalid" => self.status,
            "InsecureFrontendValidationMode" => false, // it was asked for
            _ => !self.status,
        }
    }

    /// `condition` holds, and `message` is to be told of it.
    pub(crate) fn told(condition: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { condition, status: true, reason, message: message.into() }
    }
}

/// The types that verdicts are reached on; an old condition of such a type goes away when there is no verdict.
const OURS: [&str; 9] = [
    "Accepted",
    "Programmed",
    "ResolvedRefs",
    "Conflicted",
    "OverlappingTLSConfig",
    "PartiallyInvalid",
    "SupportedVersion",
    "InsecureFrontendValidationMode",
    "Ready",
];

/// The conditions after `verdicts` on generation `generation` at `now`, in place of `old`.
pub(crate) fn conditions(
    old: &[Condition],
    verdicts: &[Verdict],
    generation: Option<i64>,
    now: Timestamp,
) -> Vec<Condition> {
    let made = verdicts.iter().map(|verdict| {
        let known = old.iter().find(|condition| condition.type_ == verdict.condition);
        let status = if verdict.status { "True" } else { "False" };
        let since = known.filter(|known| known.status == status).map(|known| known.last_transition_time.clone());
        Condition {
            type_: verdict.condition.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.to_owned(),
            message: verdict.message.chars().take(LONGEST_MESSAGE).collect(),
            observed_generation: generation,
            last_transition_time: since.unwrap_or(Time(now)),
        }
    });
    let others = old.iter().filter(|condition| !OURS.contains(&condition.type_.as_str())).cloned();
    made.chain(others).collect()
}

/// True when somebody who saw a newer generation than `generation` wrote `old`.
pub(crate) fn is_newer(old: &[Condition], generation: Option<i64>) -> bool {
    old.iter().any(|condition| condition.observed_generation > generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_of_a_condition_is_that_of_its_status() {
        let first = conditions(&[], &[Verdict::yes("Accepted", "Accepted")], Some(1), at(10));
        let same = conditions(&first, &[Verdict::told("Accepted", "ListenersNotValid", "why")], Some(2), at(20));
        assert_eq!(same[0].last_transition_time.0, at(10));
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("ListenersNotValid", Some(2)));
        let other = conditions(&same, &[Verdict::no("Accepted", "Invalid", "why")], Some(2), at(30));
        assert_eq!((other[0].last_transition_time.0, other[0].status.as_str()), (at(30), "False"));
    }

    #[test]
    fn conditions_of_others_stay_and_ours_go_when_they_no_longer_hold() {
        let mut old = conditions(&[], &[Verdict::yes("PartiallyInvalid", "UnsupportedValue")], Some(1), at(1));
        old.push(Condition { type_: "example.com/Cost".to_owned(), ..old[0].clone() });
        let new = conditions(&old, &[Verdict::yes("Accepted", "Accepted")], Some(2), at(2));
        let types: Vec<&str> = new.iter().map(|condition| condition.type_.as_str()).collect();
        assert_eq!(types, ["Accepted", "example.com/Cost"]);
        assert!(is_newer(&new, Some(1)) && !is_newer(&new, Some(2)));
    }
}
