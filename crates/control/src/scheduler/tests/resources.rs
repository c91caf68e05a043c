//! Room on nodes and how it is rated.

use super::super::profile::{Fit, Ratio, Strategy};
use super::*;

fn strategy(strategy: Strategy) -> Profile {
    let mut profile = only(Plugin::NodeResourcesFit);
    profile.fit.strategy = strategy;
    profile
}

#[test]
fn pods_and_extended_resources_are_limits_too() {
    check(
        "node n1 pods=1
         pod b node=n1
         pod a",
        expect![
            "0/1 nodes are available: 1 Too many pods. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
    check("node n1\nnode n2 gpu=1\npod a gpu=1", expect!["n2"]);
    check(
        "node n1 gpu=1\npod b node=n1 gpu=1\npod a gpu=1",
        expect![
            "0/1 nodes are available: 1 Insufficient example.com/gpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
}

#[test]
fn resources_the_profile_ignores_are_no_limit() {
    let by_name = Fit { ignored: vec!["example.com/gpu".into()], ..Fit::default() };
    let by_group = Fit { ignored_groups: vec!["example.com".into()], ..Fit::default() };
    for fit in [by_name, by_group] {
        check_with("node n1\npod a gpu=1", Profile { fit, ..Profile::default() }, expect!["n1"]);
    }
}

#[test]
fn finished_pods_are_not_told_to_the_cache() {
    let (world, _) = world_of("node n1 cpu=1\npod a", Profile::default());
    assert!(world.cache.is_sound());
}

#[test]
fn free_room_is_rated_by_strategy() {
    let text = "node n1 cpu=4 memory=4Gi
                node n2 cpu=4 memory=8Gi
                pod b node=n1 cpu=2 memory=1Gi
                pod a cpu=1 memory=1Gi";
    expect!["n1=37 n2=81"].assert_eq(&rated(text, &strategy(Strategy::Least)));
    expect!["n1=62 n2=18"].assert_eq(&rated(text, &strategy(Strategy::Most)));
    let ratio = Ratio { points: vec![(0, 0), (50, 100), (100, 20)] };
    expect!["n1=80 n2=37"].assert_eq(&rated(text, &strategy(Strategy::Ratio(ratio))));
}

#[test]
fn pods_that_ask_for_nothing_count_with_the_usual() {
    let text = "node n1 cpu=1 memory=1Gi\nnode n2 cpu=1 memory=1Gi\npod b node=n1\npod a";
    expect!["n1=70 n2=85"].assert_eq(&rated(text, &strategy(Strategy::Least)));
}

#[test]
fn the_use_of_resources_is_to_become_more_even() {
    scores(
        "node n1 cpu=4 memory=4Gi
         node n2 cpu=4 memory=4Gi
         pod b node=n1 memory=2Gi
         pod a cpu=2",
        Plugin::NodeResourcesBalancedAllocation,
        expect!["n1=87 n2=62"],
    );
    scores("node n1\npod a", Plugin::NodeResourcesBalancedAllocation, expect!["n1=0"]);
}
