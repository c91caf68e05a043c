//! Claims, volumes and what a pod with such can do.

use super::*;

const NODES: &str = "node a1 zone=a\nnode b1 zone=b\n";

/// What is decided, and what has to be written for it.
fn check(text: &str, expected: Expect) {
    let decision = decided(&format!("{NODES}{text}"), only(Plugin::NodeResourcesFit));
    expected.assert_eq(&match decision {
        Decision::Bind { node, volumes, .. } => {
            let bind = volumes.bind.iter().map(|(disk, claim)| format!(" {}={}", claim.name, disk.name));
            let provision = volumes.provision.iter().map(|claim| format!(" {}=new", claim.name));
            format!("{node}{}", bind.chain(provision).collect::<String>())
        }
        Decision::Refused(diagnosis) => {
            diagnosis.message.split_once(" nodes are available: ").expect("reasons").1.to_owned()
        }
        Decision::Failed(message) => message,
    });
}

#[test]
fn a_pod_goes_where_its_volumes_are() {
    check("pv v zone=b\npvc c volume=v\npod p mount=x:c", expect!["b1"]);
    check("pv v host=a1\npvc c volume=v\npod p mount=x:c", expect!["a1"]);
    check("pv v labelled=b\npvc c volume=v\npod p mount=x:c", expect!["b1"]);
    check("pv v labelled=a__b\npvc c volume=v\npod p mount=x:c cpu=1 select=kubernetes.io/hostname=a1", expect!["a1"]);
    check(
        "pv v zone=c\npvc c volume=v\npod p mount=x:c",
        expect![
            "2 node(s) didn't match PersistentVolume's node affinity. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
    check(
        "pv v labelled=c\npvc c volume=v\npod p mount=x:c",
        expect![
            "2 node(s) had no available volume zone. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn claims_that_are_not_ready_refuse_before_any_node() {
    check("pod p mount=x:c", expect![[r#"persistentvolumeclaim "c" not found. not found"#]]);
    check(
        "pvc c lost volume=v\npod p mount=x:c",
        expect![[r#"persistentvolumeclaim "c" bound to non-existent persistentvolume "v". not found"#]],
    );
    check("pvc c deleting\npod p mount=x:c", expect![[r#"persistentvolumeclaim "c" is being deleted. not found"#]]);
    check("pvc c\npod p mount=x:c", expect!["pod has unbound immediate PersistentVolumeClaims. not found"]);
    check(
        "class s\npvc c class=s\npod p mount=x:c",
        expect!["pod has unbound immediate PersistentVolumeClaims. not found"],
    );
    check("pvc c volume=v\npod p mount=x:c", expect![[r#"persistentvolume "v" not found. not found"#]]);
    check(
        "pod p ephemeral=x",
        expect![[r#"waiting for ephemeral volume controller to create the persistentvolumeclaim "p-x". not found"#]],
    );
    check(
        "class s waits\npvc p-x class=s\npod p ephemeral=x",
        expect!["PVC default/p-x was not created for pod default/p (pod is not owner). not found"],
    );
    check("pv v zone=b\npvc p-x ofpod=p volume=v\npod p ephemeral=x", expect!["b1"]);
}

#[test]
fn a_claim_that_waits_gets_the_smallest_volume_that_suits() {
    check(
        "class s waits provisioner=kubernetes.io/no-provisioner
         pv big size=9Gi class=s zone=a\npv fits size=2Gi class=s zone=a\npv small size=1Gi class=s\npv other size=2Gi
         pvc c size=2Gi class=s\npod p mount=x:c",
        expect!["a1 c=fits"],
    );
    check(
        "class s waits provisioner=kubernetes.io/no-provisioner
         pv one size=2Gi class=s zone=b\npv two size=3Gi class=s zone=b
         pvc large size=3Gi class=s\npvc little class=s\npod p mount=x:large mount=y:little",
        expect!["b1 little=one large=two"],
    );
    check(
        "class s waits provisioner=kubernetes.io/no-provisioner
         pv held size=9Gi class=s held=c zone=b\npv free class=s zone=a
         pvc c class=s\npod p mount=x:c",
        expect!["b1 c=held"],
    );
    check(
        "class s waits provisioner=kubernetes.io/no-provisioner\npv v class=s taken\npvc c class=s\npod p mount=x:c",
        expect![
            "2 node(s) didn't find available persistent volumes to bind. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn or_one_is_made_where_the_class_allows_it() {
    check("class s waits in=b\npvc c class=s\npod p mount=x:c", expect!["b1 c=new"]);
    check("class s waits\npvc c class=s selected=b1\npod p mount=x:c", expect!["b1 c=new"]);
    check(
        "class s waits\ncsidriver d tells\nroom r class=s size=5Gi zone=b\npvc c class=s size=4Gi\npod p mount=x:c",
        expect!["b1 c=new"],
    );
    check(
        "class s waits\ncsidriver d tells\nroom r class=s size=5Gi zone=b\npvc c class=s size=6Gi\npod p mount=x:c",
        expect![
            "2 node(s) did not have enough free storage. no new claims to deallocate, preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
        ],
    );
}

#[test]
fn what_one_decision_took_the_next_does_not_take() {
    let text = format!(
        "{NODES}class s waits provisioner=kubernetes.io/no-provisioner\npv v class=s zone=a
         pvc c class=s\npvc d class=s\npod p mount=x:c\npod q mount=x:d"
    );
    let (mut world, waiting) = world_of(&text, Profile::default());
    let Decision::Bind { node, volumes, .. } = decide(&mut world, &waiting[0], &mut Turn::new(1)) else {
        panic!("a volume")
    };
    world.storage.assume(&volumes, &node);
    assert!(matches!(decide(&mut world, &waiting[1], &mut Turn::new(1)), Decision::Refused(_)));
    world.storage.revert(&volumes);
    assert!(matches!(decide(&mut world, &waiting[1], &mut Turn::new(1)), Decision::Bind { .. }));
    // A claim that was given a node is seen with it until the API shows something newer.
    let plan = super::super::storage::Plan {
        bind: Vec::new(),
        provision: vec![world.storage.claim("default", "c").expect("a claim").clone()],
    };
    world.storage.assume(&plan, &"b1".into());
    let stale = (*plan.provision[0]).clone();
    world.storage.put_claim(stale.clone());
    assert_eq!(world.storage.claim("default", "c").expect("a claim").selected.as_deref(), Some("b1"));
    world.storage.put_claim(super::super::storage::Claim { version: "2".into(), ..stale });
    assert_eq!(world.storage.claim("default", "c").expect("a claim").selected, None);
}

#[test]
fn one_pod_at_a_time_uses_an_exclusive_claim() {
    let text = |priority: i32| {
        format!(
            "pv v\npvc c volume=v mode=ReadWriteOncePod\npod x node=a1 mount=x:c\npod p mount=x:c priority={priority}"
        )
    };
    check(
        &text(0),
        expect![
            "2 node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod. no new claims to deallocate, preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod."
        ],
    );
    assert!(matches!(decided(&format!("{NODES}{}", text(5)), Profile::default()),
        Decision::Refused(diagnosis) if diagnosis.victims.len() == 1 && diagnosis.nominate == Nominate::Set(Some("a1".into()))));
}

#[test]
fn some_disks_are_on_one_node_for_one_pod() {
    check("pod x node=a1 disk=d\npod p disk=d", expect!["b1"]);
}

#[test]
fn a_node_has_so_many_volumes_attached_and_no_more() {
    let text = "csinode a1 driver=d:1\npv v handle=h1\npv w handle=h2\npvc c volume=v\npvc e volume=w\npod x node=a1 mount=x:c\n";
    check(&format!("{text}pod p mount=x:e"), expect!["b1"]);
    check(&format!("{text}pod p mount=x:c select=kubernetes.io/hostname=a1"), expect!["a1"]);
    check(
        &format!("{text}pod p mount=x:e select=kubernetes.io/hostname=a1"),
        expect![
            "1 node(s) didn't match Pod's node affinity/selector, 1 node(s) exceed max volume count. no new claims to deallocate, preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."
        ],
    );
}
