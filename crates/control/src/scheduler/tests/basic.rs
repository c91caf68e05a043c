//! Nodes by their own facts: names, taints, labels, ports, images.

use super::*;

#[test]
fn a_pod_goes_where_there_is_most_room() {
    check(
        "node n1 cpu=4
         node n2 cpu=4
         pod busy node=n1 cpu=3
         pod a cpu=1",
        expect!["n2"],
    );
}

#[test]
fn taints_are_tolerated_by_key_and_preferences_only_weigh() {
    check("node n1 taint=gpu:NoSchedule\npod a tolerate=gpu:NoSchedule", expect!["n1"]);
    check("node n1 taint=gpu:NoExecute\npod a tolerate=*", expect!["n1"]);
    check("node n1 taint=old:PreferNoSchedule\nnode n2\npod x node=n2 cpu=1\npod a", expect!["n2"]);
    scores(
        "node n1 taint=a:PreferNoSchedule taint=b:PreferNoSchedule
         node n2 taint=a:PreferNoSchedule
         node n3 taint=c:PreferNoSchedule taint=a:NoExecute
         pod p tolerate=c:PreferNoSchedule",
        Plugin::TaintToleration,
        expect!["n1=0 n2=50 n3=100"],
    );
    scores("node n1 taint=a:PreferNoSchedule\npod p tolerate=a:NoSchedule", Plugin::TaintToleration, expect!["n1=0"]);
}

#[test]
fn a_cordoned_node_takes_only_who_tolerates_that() {
    check("node n1 cordoned\nnode n2\npod a", expect!["n2"]);
    check("node n1 cordoned\npod a tolerate=node.kubernetes.io/unschedulable:NoSchedule", expect!["n1"]);
}

#[test]
fn required_node_affinity_picks_and_preferred_weighs() {
    check("node n1 labels=disk=hdd\nnode n2 labels=disk=ssd\npod a need=disk=ssd", expect!["n2"]);
    scores(
        "node n1 labels=disk=ssd,size=big
         node n2 labels=disk=ssd
         node n3
         pod a want=30:disk=ssd want=10:size=big",
        Plugin::NodeAffinity,
        expect!["n1=100 n2=75 n3=0"],
    );
}

#[test]
fn the_profile_adds_affinity_to_all_pods() {
    let term =
        serde_json::json!({ "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "pool", "operator": "Exists" }] }] });
    let mut profile = Profile::default();
    profile.added.required = serde_json::from_value(term).expect("a selector");
    check_with("node n1\nnode n2 labels=pool=a\npod a", profile.clone(), expect!["n2"]);
    check_with(
        "node n1\npod a",
        profile,
        expect![
            "0/1 nodes are available: 1 node(s) didn't match scheduler-enforced node affinity. no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn terms_that_name_different_nodes_at_once_name_none() {
    let (mut world, mut waiting) = world_of("node n1\nnode n2\npod a for=n1", Profile::default());
    let field = |name: &str| serde_json::json!({ "key": "metadata.name", "operator": "In", "values": [name] });
    let term = serde_json::json!({ "nodeSelectorTerms": [{ "matchFields": [field("n1"), field("n2")] }] });
    let mut pod = (*waiting.remove(0)).clone();
    pod.shape = Arc::new(crate::scheduler::pod::Shape {
        ask: Arc::new(crate::scheduler::pod::Ask {
            required: serde_json::from_value(term).expect("a selector"),
            scheduler: NAME.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    });
    let Decision::Refused(diagnosis) = decide(&mut world, &pod, &mut Turn::new(1)) else { panic!("no node is named") };
    assert_eq!(diagnosis.message, "0/2 nodes are available: pod affinity terms conflict. not found");
    assert_eq!(diagnosis.plugins, Plugins::only(Plugin::NodeAffinity));
}

#[test]
fn a_node_must_know_what_the_pod_needs() {
    let declared = |features: &[&str]| {
        let (mut world, mut waiting) = world_of("node n1\npod a", Profile::default());
        let mut facts = (*world.cache.named("n1").expect("a node").facts.clone().expect("facts")).clone();
        facts.features = features.iter().map(|name| (*name).to_owned()).collect();
        world.cache.put_node(Arc::new(facts));
        let rule = serde_json::json!([{ "action": "RestartAllContainers" }]);
        let container = serde_json::json!({ "name": "c", "restartPolicyRules": rule });
        let pod = serde_json::json!({ "metadata": { "name": "a" }, "spec": { "containers": [container] } });
        waiting.push(world.read_pod(&pod.to_string()).expect("a pod"));
        decide(&mut world, &waiting[1], &mut Turn::new(1))
    };
    assert!(matches!(declared(&["RestartAllContainersOnContainerExits"]), Decision::Bind { .. }));
    assert!(matches!(declared(&[]), Decision::Refused(diagnosis)
        if diagnosis.message.starts_with("0/1 nodes are available: 1 node(s) didn't match Pod's required features.")));
}

#[test]
fn host_ports_clash_by_address_and_protocol() {
    check(
        "node n1
         pod b node=n1 hostport=80
         pod a hostport=80",
        expect![
            "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports. no new claims to deallocate, preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."
        ],
    );
    check("node n1\nnode n2\npod b node=n1 hostport=80\npod a hostport=80", expect!["n2"]);
    check("node n1\npod b node=n1 hostport=80\npod a hostport=81", expect!["n1"]);
}

#[test]
fn a_node_that_has_the_image_is_preferred_the_more_the_more_nodes_have_it() {
    check("node n1\nnode n2 image=big:v1\nnode n3\npod a image=big:v1", expect!["n2"]);
    scores("node n1 image=app:latest\nnode n2\npod a image=app", Plugin::ImageLocality, expect!["n1=22 n2=0"]);
    scores("node n1 image=a:v1\nnode n2 image=a:v1\npod a image=a:v1", Plugin::ImageLocality, expect!["n1=46 n2=46"]);
}

#[test]
fn a_node_that_goes_away_and_comes_back_keeps_its_pods_counted() {
    let (mut world, waiting) = world_of("node n1 cpu=1\npod b node=n1 cpu=1\npod a cpu=1", Profile::default());
    let facts = world.cache.remove_node("n1").expect("it was there");
    world.cache.put_node(facts);
    assert!(matches!(decide(&mut world, &waiting[0], &mut Turn::new(1)), Decision::Refused(_)));
    assert!(world.cache.remove_pod("pod-b").is_some());
    assert_eq!(
        decide(&mut world, &waiting[0], &mut Turn::new(1)),
        Decision::Bind { node: "n1".into(), volumes: Default::default(), devices: Default::default() }
    );
}
