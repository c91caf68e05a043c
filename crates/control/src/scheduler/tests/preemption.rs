//! Who is evicted for whom.

use super::*;

/// `node: victims` of the decision about the last pod, or its message.
fn check(text: &str, expected: Expect) {
    let decision = decided(text, Profile::default());
    expected.assert_eq(&match decision {
        Decision::Refused(Diagnosis { nominate: Nominate::Set(Some(node)), victims, message, .. }) => {
            assert!(!message.contains("preemption"), "{message}");
            let names: Vec<&str> = victims.iter().map(|pod| pod.key.name.as_str()).collect();
            format!("{node}: {}", names.join(" "))
        }
        Decision::Refused(diagnosis) => diagnosis.message,
        Decision::Bind { node, .. } => format!("bind {node}"),
        Decision::Failed(message) => message,
    });
}

#[test]
fn the_least_important_pods_go_and_no_more_than_needed() {
    check(
        "node n1 cpu=4
         pod a node=n1 cpu=2 priority=1
         pod b node=n1 cpu=1 priority=2
         pod c node=n1 cpu=1 priority=3
         pod p cpu=2 priority=10",
        expect!["n1: a"],
    );
    check(
        "node n1 cpu=2
         pod old node=n1 cpu=1 started=1h
         pod new node=n1 cpu=1 started=1m
         pod p cpu=1 priority=10",
        expect!["n1: new"],
    );
}

#[test]
fn pods_as_important_as_the_pod_stay() {
    check(
        "node n1 cpu=2
         node n2 cpu=1
         pod a node=n1 cpu=1 priority=10
         pod b node=n1 cpu=1 priority=1
         pod p cpu=2 priority=10",
        expect![
            "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: 0/2 nodes are available: 1 Insufficient cpu, 1 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn of_several_nodes_the_cheapest_is_taken_in_upstreams_order() {
    // The lowest most important victim,
    check(
        "node n1 cpu=1\nnode n2 cpu=1
         pod a node=n1 cpu=1 priority=5\npod b node=n2 cpu=1 priority=4
         pod p cpu=1 priority=10",
        expect!["n2: b"],
    );
    // then the smallest sum, which is also fewer victims of equal priority,
    check(
        "node n1 cpu=2\nnode n2 cpu=2
         pod a node=n1 cpu=1 priority=5\npod b node=n1 cpu=1 priority=5
         pod c node=n2 cpu=2 priority=5
         pod p cpu=2 priority=10",
        expect!["n2: c"],
    );
    // then the one whose most important victims started last.
    check(
        "node n1 cpu=1\nnode n2 cpu=1
         pod a node=n1 cpu=1 started=1h\npod b node=n2 cpu=1 started=1m
         pod p cpu=1 priority=10",
        expect!["n2: b"],
    );
}

#[test]
fn a_budget_is_broken_only_when_nothing_else_helps() {
    check(
        "node n1 cpu=1\nnode n2 cpu=1\nbudget web
         pod a node=n1 cpu=1\npod b node=n2 cpu=1 priority=4 labels=app=db
         pod p cpu=1 priority=10",
        expect!["n2: b"],
    );
    check(
        "node n1 cpu=2\nbudget web
         pod a node=n1 cpu=1\npod b node=n1 cpu=1 priority=4 labels=app=db
         pod p cpu=1 priority=10",
        expect!["n1: b"],
    );
    check("node n1 cpu=1\nbudget web\npod a node=n1 cpu=1\npod p cpu=1 priority=10", expect!["n1: a"]);
    check(
        "node n1 cpu=2\nbudget web allowed=1
         pod a node=n1 cpu=1 started=1h\npod b node=n1 cpu=1 started=1m\npod p cpu=2 priority=10",
        expect!["n1: a b"],
    );
}

#[test]
fn a_policy_can_forbid_it() {
    check(
        "node n1 cpu=1\npod a node=n1 cpu=1\npod p cpu=1 priority=10 never",
        expect![
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to preemptionPolicy=Never."
        ],
    );
}

#[test]
fn whoever_waits_for_its_victims_evicts_no_others() {
    let text = |deleting: &str| {
        format!(
            "node n1 cpu=1\nnode n2 cpu=1\npod a node=n1 cpu=1 {deleting}\npod b node=n2 cpu=1\npod p cpu=1 priority=10 nominated=n1"
        )
    };
    check(
        &text("deleting disrupted=PreemptionByScheduler"),
        expect![
            "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, preemption: not eligible due to a terminating pod on the nominated node."
        ],
    );
    assert!(matches!(decided(&text("deleting"), Profile::default()),
        Decision::Refused(diagnosis) if diagnosis.victims.len() == 1));
}

#[test]
fn room_made_for_a_pod_is_not_given_to_less_important_ones() {
    let text =
        |priority: i32| format!("node n1 cpu=1\npod p cpu=1 priority=10 nominated=n1\npod q cpu=1 priority={priority}");
    check(
        &text(5),
        expect![
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
    check(&text(11), expect!["bind n1"]);
    check("node n1 cpu=1\nnode n2 cpu=1\npod x node=n1\npod p cpu=1 priority=10 nominated=n1", expect!["bind n1"]);
}

#[test]
fn evicting_can_also_satisfy_rules_between_pods() {
    check("node n1 zone=a\npod a node=n1 labels=app=db far=zone:app=web\npod p priority=10", expect!["n1: a"]);
    check("node n1 zone=a\npod a node=n1\npod p far=zone:app=web priority=10", expect!["n1: a"]);
    check("node a1 zone=a\nnode b1 zone=b cordoned\npod a node=a1\npod p spread=zone:1 priority=10", expect!["a1: a"]);
    check(
        "node n1\npod a node=n1 hostport=80\npod b node=n1 hostport=81\npod p hostport=80 priority=10",
        expect!["n1: a"],
    );
}

#[test]
fn a_profile_without_preemption_says_nothing_of_it() {
    let profile = Profile { post_filters: Vec::new(), ..Profile::default() };
    super::check_with(
        "node n1 cpu=1\npod a node=n1 cpu=1\npod p cpu=1 priority=10",
        profile,
        expect!["0/1 nodes are available: 1 Insufficient cpu."],
    );
}
