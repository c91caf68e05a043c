//! Pods near and far from each other.

use super::*;

const ZONES: &str = "node a1 zone=a\nnode a2 zone=a\nnode b1 zone=b\n";

fn check(pods: &str, expected: Expect) {
    super::check_with(&format!("{ZONES}{pods}"), only(Plugin::NodeResourcesFit), expected);
}

#[test]
fn a_pod_goes_near_those_it_wants_to_be_near() {
    check("pod db node=b1 labels=app=db\npod p near=zone:app=db", expect!["b1"]);
    check("pod db node=a1 labels=app=db cpu=3\npod p near=zone:app=db", expect!["a2"]);
    check(
        "pod db node=a1 labels=app=db ns=other\npod p near=zone:app=db",
        expect![
            "0/3 nodes are available: 3 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn all_terms_must_mean_the_same_pods() {
    check(
        "pod db node=b1 labels=app=db\npod q node=a1 labels=tier=x\npod p near=zone:app=db near=host:tier=x",
        expect![
            "0/3 nodes are available: 3 node(s) didn't match pod affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
        ],
    );
    check("pod db node=b1 labels=app=db,tier=x\npod p near=zone:app=db near=host:tier=x", expect!["b1"]);
}

#[test]
fn the_first_of_its_kind_may_go_anywhere_the_label_is() {
    check("pod x node=a1 cpu=3\npod y node=b1 cpu=3\npod p near=zone:app=web labels=app=web ns=own", expect!["a2"]);
}

#[test]
fn namespaces_are_named_or_selected() {
    check("pod db node=b1 labels=app=db ns=other\npod p near=zone:app=db@other", expect!["b1"]);
    check(
        "namespace other labels=team=x\npod db node=b1 labels=app=db ns=other\npod p near=zone:app=db@team=x",
        expect!["b1"],
    );
    check("pod db node=b1 labels=app=db ns=other\npod p near=zone:app=db@*", expect!["b1"]);
}

#[test]
fn a_pod_stays_away_from_those_it_does_not_like() {
    check("pod x node=a1\npod p far=zone:app=web", expect!["b1"]);
    check(
        "pod x node=a1\npod y node=b1\npod p far=zone:app=web",
        expect![
            "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
        ],
    );
}

#[test]
fn and_from_those_that_do_not_like_it() {
    check("pod x node=a1 labels=app=db far=zone:app=web\npod p", expect!["b1"]);
    check(
        "pod x node=a1 labels=app=db far=zone:app=web\npod y node=b1 labels=app=db far=zone:app=web\npod p",
        expect![
            "0/3 nodes are available: 3 node(s) didn't satisfy existing pods anti-affinity rules. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
        ],
    );
    check("pod x node=a1 labels=app=db far=zone:app=web\npod p ns=other need=kubernetes.io/hostname=a1", expect!["a1"]);
}

#[test]
fn preferences_rate_in_both_directions() {
    let nodes = "node a1 zone=a\nnode b1 zone=b\nnode c1 zone=c\n";
    let check = |pods: &str, expected: Expect| scores(&format!("{nodes}{pods}"), Plugin::InterPodAffinity, expected);
    check("pod db node=a1 labels=app=db\npod p prefernear=10:zone:app=db", expect!["a1=100 b1=0 c1=0"]);
    check("pod db node=a1 labels=app=db\npod p preferfar=10:zone:app=db", expect!["a1=0 b1=100 c1=100"]);
    check(
        "pod x node=a1 labels=app=db prefernear=5:zone:app=web\npod y node=b1 labels=app=db preferfar=5:zone:app=web\npod p",
        expect!["a1=100 b1=0 c1=50"],
    );
    check("pod x node=a1 labels=app=db near=zone:app=web\npod y node=b1\npod p", expect!["a1=100 b1=0 c1=0"]);
    check("pod x node=a1\npod p", expect!["a1=0 b1=0 c1=0"]);
}

#[test]
fn preferences_of_others_can_be_ignored() {
    let mut profile = only(Plugin::InterPodAffinity);
    profile.mutual.ignore_existing = true;
    let text = "node a1 zone=a\nnode b1 zone=b\npod x node=a1 labels=app=db prefernear=5:zone:app=web\npod p";
    expect!["a1=0 b1=0"].assert_eq(&rated(text, &profile));
}
