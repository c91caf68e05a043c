use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::world::NOW;

fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn behavior(value: Value) -> HorizontalPodAutoscalerBehavior {
    serde_json::from_value(value).expect("a behavior")
}

fn policies(policies: Value) -> Value {
    json!({ "stabilizationWindowSeconds": 0, "selectPolicy": "Max", "policies": policies })
}

/// Follows wishes, each at its second, from `current` on; what was done, with the reason for a limit.
fn follow(
    (minimum, maximum): (i32, i32),
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    mut current: i32,
    wishes: &[(i64, i32)],
) -> Vec<String> {
    let (mut history, mut told) = (History::default(), Vec::new());
    history.begin(current, at(0));
    for (second, wanted) in wishes {
        let limits = Limits { minimum, maximum, behavior };
        let paced = pace(limits, current, *wanted, &mut history, at(*second));
        if paced.replicas != current {
            history.changed(current, paced.replicas, behavior, at(*second));
        }
        current = paced.replicas;
        let why = if paced.limited.0 { paced.limited.1 } else { paced.able.0 };
        told.push(format!("{current} {why}"));
    }
    told
}

#[test]
fn without_a_behavior_growth_doubles_and_shrinking_waits_five_minutes() {
    assert_eq!(
        follow((1, 100), None, 3, &[(0, 50), (15, 50), (30, 50)]),
        ["6 ScaleUpLimit", "12 ScaleUpLimit", "24 ScaleUpLimit"]
    );
    assert_eq!(follow((1, 100), None, 1, &[(0, 50)]), ["4 ScaleUpLimit"]);
    assert_eq!(
        follow((2, 8), None, 6, &[(0, 9), (15, 1), (290, 3), (310, 3), (500, 1), (700, 1)]),
        [
            "8 TooManyReplicas",
            "8 TooManyReplicas",
            "8 TooManyReplicas",
            "3 ReadyForNewScale",
            "3 ScaleDownStabilized",
            "2 TooFewReplicas",
        ]
    );
}

#[test]
fn the_policy_that_changes_most_counts_unless_the_least_is_asked_for() {
    let rules = json!([{ "type": "Pods", "value": 4, "periodSeconds": 60 }, { "type": "Percent", "value": 100, "periodSeconds": 60 }]);
    let mut both = json!({ "scaleUp": policies(rules.clone()), "scaleDown": policies(rules) });
    assert_eq!(
        follow((0, 100), Some(&behavior(both.clone())), 3, &[(0, 50), (15, 50), (61, 50)]),
        ["7 ScaleUpLimit", "7 ScaleUpLimit", "14 ScaleUpLimit"]
    );
    both["scaleUp"]["selectPolicy"] = json!("Min");
    assert_eq!(
        follow((0, 100), Some(&behavior(both.clone())), 3, &[(0, 50), (61, 50)]),
        ["6 ScaleUpLimit", "10 ScaleUpLimit"]
    );
    both["scaleUp"]["selectPolicy"] = json!("Disabled");
    assert_eq!(follow((0, 100), Some(&behavior(both)), 3, &[(0, 50)]), ["3 ScaleUpLimit"]);
}

#[test]
fn shrinking_has_its_own_policies() {
    let slow = behavior(json!({
        "scaleUp": policies(json!([{ "type": "Pods", "value": 100, "periodSeconds": 15 }])),
        "scaleDown": policies(json!([{ "type": "Percent", "value": 10, "periodSeconds": 60 }])),
    }));
    assert_eq!(
        follow((1, 100), Some(&slow), 80, &[(0, 10), (30, 10), (61, 10)]),
        ["72 ScaleDownLimit", "72 ScaleDownLimit", "64 ScaleDownLimit"]
    );
    let never = behavior(json!({
        "scaleUp": policies(json!([{ "type": "Pods", "value": 100, "periodSeconds": 15 }])),
        "scaleDown": { "stabilizationWindowSeconds": 0, "selectPolicy": "Disabled", "policies": [] },
    }));
    assert_eq!(follow((1, 100), Some(&never), 8, &[(0, 2)]), ["8 ScaleDownLimit"]);
}

#[test]
fn a_period_begins_at_the_size_there_was_whatever_happened_since() {
    // ten were added within the period: of what may be added, that is spent; what was removed may be added again
    let rules = json!([{ "type": "Pods", "value": 10, "periodSeconds": 60 }]);
    let both = behavior(json!({ "scaleUp": policies(rules.clone()), "scaleDown": policies(rules) }));
    assert_eq!(
        follow((1, 100), Some(&both), 5, &[(0, 100), (10, 100), (20, 5), (30, 100)]),
        ["15 ScaleUpLimit", "15 ScaleUpLimit", "5 ReadyForNewScale", "15 ScaleUpLimit"]
    );
}

#[test]
fn a_window_keeps_to_the_lowest_on_the_way_up_and_to_the_highest_on_the_way_down() {
    let open = json!([{ "type": "Pods", "value": 1000, "periodSeconds": 15 }]);
    let mut both = json!({ "scaleUp": policies(open.clone()), "scaleDown": policies(open) });
    both["scaleUp"]["stabilizationWindowSeconds"] = json!(60);
    both["scaleDown"]["stabilizationWindowSeconds"] = json!(30);
    let both = behavior(both);
    assert_eq!(
        follow((1, 100), Some(&both), 4, &[(0, 8), (15, 9), (61, 9), (70, 2), (101, 3)]),
        [
            "4 ScaleUpStabilized",
            "4 ScaleUpStabilized",
            "9 ReadyForNewScale",
            "9 ScaleDownStabilized",
            "3 ReadyForNewScale"
        ]
    );
}

fn rules() -> impl Strategy<Value = Value> {
    let policy = (prop::bool::ANY, 1_i32..200, 1_i32..180).prop_map(|(pods, value, period)| {
        json!({ "type": if pods { "Pods" } else { "Percent" }, "value": value, "periodSeconds": period })
    });
    let select = prop::sample::select(vec!["Max", "Min", "Disabled"]);
    (prop::collection::vec(policy, 1..4), select, 0_i32..400).prop_map(|(policies, select, window)| {
        json!({ "policies": policies, "selectPolicy": select, "stabilizationWindowSeconds": window })
    })
}

proptest! {
    #[test]
    fn whatever_is_wanted_the_size_stays_within_the_bounds(
        up in rules(), down in rules(), given_behavior in prop::bool::ANY,
        bounds in (1_i32..20, 0_i32..50), steps in prop::collection::vec((1_i64..200, 0_i32..2000), 1..20),
    ) {
        let limits_of = given_behavior.then(|| behavior(json!({ "scaleUp": up, "scaleDown": down })));
        let (minimum, maximum) = (bounds.0, bounds.0 + bounds.1);
        let limits = Limits { minimum, maximum, behavior: limits_of.as_ref() };
        let (mut history, mut current, mut now) = (History::default(), minimum, NOW);
        history.begin(current, now);
        for (passed, wanted) in steps {
            now += SignedDuration::from_secs(passed);
            let paced = pace(limits, current, wanted, &mut history, now);
            prop_assert!((minimum..=maximum).contains(&paced.replicas), "{paced:?}");
            if paced.replicas != current {
                history.changed(current, paced.replicas, limits.behavior, now);
            }
            current = paced.replicas;
        }
    }
}
