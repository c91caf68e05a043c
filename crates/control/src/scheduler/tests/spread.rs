//! Spreading over domains.

use super::super::pod::Constraint;
use super::super::profile::Spreading;
use super::*;

const ZONES: &str = "node a1 zone=a\nnode a2 zone=a\nnode b1 zone=b\n";

fn check(pods: &str, expected: Expect) {
    check_in(ZONES, pods, expected);
}

fn check_in(nodes: &str, pods: &str, expected: Expect) {
    super::check_with(&format!("{nodes}{pods}"), only(Plugin::NodeResourcesFit), expected);
}

#[test]
fn the_skew_between_domains_is_bounded() {
    check("pod x node=a1\npod p spread=zone:1", expect!["b1"]);
    check("pod x node=a1\npod y node=b1\npod p spread=host:1 cpu=1", expect!["a2"]);
    check(
        "pod x node=a1 labels=app=db\npod y node=b1\npod p spread=zone:1 select=kubernetes.io/hostname=b1",
        expect!["b1"],
    );
    check(
        "pod x node=a1\npod p spread=zone:1 tolerate=x need=kubernetes.io/hostname=a1+a2+c9 priority=5",
        expect!["a2"],
    );
    check(
        "pod x node=a1\npod y node=a2\npod p spread=zone:1:anywhere need=kubernetes.io/hostname=a1+a2",
        expect![
            "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't match pod topology spread constraints. no new claims to deallocate, preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
        ],
    );
}

#[test]
fn too_few_domains_count_as_if_one_were_empty() {
    check("pod x node=a1\npod y node=b1\npod p spread=zone:1:min2 cpu=3", expect!["a2"]);
    check(
        "pod x node=a1\npod y node=b1\npod p spread=zone:1:min3",
        expect![
            "0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints. no new claims to deallocate, preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
        ],
    );
}

#[test]
fn nodes_without_the_label_are_refused_and_do_not_count() {
    check_in(
        "node a1 zone=a cordoned\nnode x\n",
        "pod y node=x\npod p spread=zone:1",
        expect![
            "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label), 1 node(s) were unschedulable. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn tainted_nodes_count_unless_taints_are_honoured() {
    let nodes = "node a1 zone=a\nnode b1 zone=b taint=t:NoSchedule\n";
    check_in(nodes, "pod x node=a1\npod p spread=zone:1:taints", expect!["a1"]);
    check_in(
        nodes,
        "pod x node=a1\npod p spread=zone:1",
        expect![
            "0/2 nodes are available: 1 node(s) didn't match pod topology spread constraints, 1 node(s) had untolerated taint(s). no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn pods_being_deleted_and_pods_of_other_revisions_do_not_count() {
    check("pod x node=a1 deleting\npod y node=b1\npod p spread=zone:1 cpu=3", expect!["a2"]);
    check(
        "pod x node=b1 labels=app=web,rev=1\npod y node=a1 labels=app=web,rev=2\npod p labels=app=web,rev=2 spread=zone:1:by-rev",
        expect!["b1"],
    );
}

#[test]
fn a_soft_constraint_only_rates() {
    scores(
        "node a1 zone=a\nnode a2 zone=a\nnode b1 zone=b\nnode x
         pod x1 node=a1\npod x2 node=a2
         pod p spread=zone:1:soft",
        Plugin::PodTopologySpread,
        expect!["a1=0 a2=0 b1=100 x=0"],
    );
    scores(
        "node a1 zone=a\nnode a2 zone=a\nnode b1 zone=b
         pod x1 node=a1\npod x2 node=a1
         pod p spread=host:1:soft",
        Plugin::PodTopologySpread,
        expect!["a1=0 a2=100 b1=100"],
    );
}

#[test]
fn pods_of_a_service_or_a_set_are_spread_though_nobody_asked() {
    scores(
        "node n1\nnode n2\nservice web port=80:80\npod x node=n1\npod y node=n1 labels=app=db\npod p",
        Plugin::PodTopologySpread,
        expect!["n1=66 n2=100"],
    );
    scores(
        "node n1 zone=a\nnode n2 zone=b\nreplicaset web\npod x node=n1 of=web\npod p of=web",
        Plugin::PodTopologySpread,
        expect!["n1=66 n2=100"],
    );
    scores("node n1\nnode n2\npod x node=n1\npod p", Plugin::PodTopologySpread, expect!["n1=0 n2=0"]);
}

#[test]
fn the_profile_can_have_constraints_for_all() {
    let constraint = Constraint {
        max_skew: 1,
        topology_key: "topology.kubernetes.io/zone".into(),
        hard: true,
        min_domains: 1,
        honors_affinity: true,
        ..Constraint::default()
    };
    let spreading = Spreading { constraints: vec![constraint], system: false };
    let profile = Profile { spreading, ..only(Plugin::NodeResourcesFit) };
    let text = format!("{ZONES}service web port=80:80\npod x node=a1\npod p");
    super::check_with(&text, profile.clone(), expect!["b1"]);
    super::check_with("node x\npod p", profile, expect!["x"]);
}
