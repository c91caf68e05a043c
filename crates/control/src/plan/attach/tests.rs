use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::CSIDriver;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// A cluster of a few words. Volume `v` is bound to claim `v`; attachments are named by volume and node.
#[derive(Clone, Debug, Default)]
struct Cluster {
    pods: Vec<Arc<Pod>>,
    nodes: Vec<Arc<Node>>,
    attachments: Vec<Arc<VolumeAttachment>>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
    volumes: Vec<Arc<PersistentVolume>>,
    drivers: Vec<Arc<CSIDriver>>,
    memory: Memory,
}

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).expect("an object"))
}

fn unique(volume: &str) -> String {
    format!("kubernetes.io/csi/d^{volume}")
}

fn attachment(volume: &str, node: &str) -> String {
    let volume = Volume { name: String::new(), driver: "d".into(), handle: volume.into(), exclusive: true };
    volume.attachment(node)
}

impl Cluster {
    /// Volumes named `s...` are shared.
    fn new(nodes: &[&str], volumes: &[&str]) -> Self {
        let mut cluster = Self::default();
        for node in nodes {
            cluster.nodes.push(typed(json!({
                "metadata": { "name": node, "annotations": { "volumes.kubernetes.io/controller-managed-attach-detach": "true" } },
                "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
            })));
        }
        for name in volumes {
            let mode = if name.starts_with('s') { "ReadWriteMany" } else { "ReadWriteOnce" };
            cluster.claims.push(typed(json!({
                "metadata": { "name": name, "namespace": "default", "uid": format!("c-{name}") },
                "spec": { "volumeName": name }, "status": { "phase": "Bound" },
            })));
            cluster.volumes.push(typed(json!({
                "metadata": { "name": name },
                "spec": {
                    "accessModes": [mode], "claimRef": { "uid": format!("c-{name}") },
                    "csi": { "driver": "d", "volumeHandle": name },
                },
            })));
        }
        cluster
    }

    fn pod(mut self, name: &str, node: &str, claim: &str) -> Self {
        self.pods.push(typed(json!({
            "metadata": { "name": name, "namespace": "default" },
            "spec": {
                "nodeName": node, "containers": [],
                "volumes": [{ "name": "data", "persistentVolumeClaim": { "claimName": claim } }],
            },
            "status": { "phase": "Running" },
        })));
        self
    }

    /// An attachment with a status and, by words, more.
    fn attached(mut self, volume: &str, node: &str, status: Value, words: &[&str]) -> Self {
        let leaving = words.contains(&"leaving").then_some(Time(NOW));
        let age = if words.contains(&"old") { 120 } else { 0 };
        let born = Time(NOW - jiff::SignedDuration::from_secs(age));
        self.attachments.push(typed(json!({
            "metadata": { "name": attachment(volume, node), "deletionTimestamp": leaving, "creationTimestamp": born },
            "spec": { "attacher": "d", "nodeName": node, "source": { "persistentVolumeName": volume } },
            "status": status,
        })));
        self
    }

    fn node(mut self, name: &str, change: impl FnOnce(&mut Node)) -> Self {
        let node = self.nodes.iter_mut().find(|node| node.name_any() == name).expect("a node");
        change(Arc::make_mut(node));
        self
    }

    /// The node says that it uses, and was told that it has, these volumes.
    fn says(self, node: &str, used: &[&str], told: &[&str]) -> Self {
        self.node(node, |node| {
            let status = node.status.get_or_insert_default();
            status.volumes_in_use = Some(used.iter().map(|name| unique(name)).collect());
            let told = told.iter().map(|name| AttachedVolume { name: unique(name), device_path: String::new() });
            status.volumes_attached = Some(told.collect());
        })
    }

    fn unready(self, name: &str) -> Self {
        self.node(name, |node| node.status.get_or_insert_default().conditions = None)
    }

    fn plan(&self, now: Timestamp) -> Plan {
        fn find<K: kube::Resource<DynamicType = ()>>(list: &[Arc<K>], name: &str) -> Option<Arc<K>> {
            list.iter().find(|one| one.name_any() == name).cloned()
        }
        let world = World {
            pods: &self.pods,
            nodes: &self.nodes,
            attachments: &self.attachments,
            claims: &|_, name| find(&self.claims, name),
            volumes: &|name| find(&self.volumes, name),
            drivers: &|name| find(&self.drivers, name),
        };
        plan(&wants(&world), &world, &self.memory, now)
    }

    /// Does what was planned; drivers keep what is deleted until they let go.
    fn apply(&mut self, plan: Plan) {
        self.apply_at(plan, NOW);
    }

    fn apply_at(&mut self, plan: Plan, now: Timestamp) {
        self.memory = plan.memory;
        for action in plan.actions {
            match action {
                Action::Report { node, volumes } => {
                    let node = self.nodes.iter_mut().find(|one| one.name_any() == node).expect("a node");
                    Arc::make_mut(node).status.get_or_insert_default().volumes_attached = Some(volumes);
                }
                Action::Detach { attachment, .. } => {
                    let one = self.attachments.iter_mut().find(|one| one.name_any() == attachment);
                    Arc::make_mut(one.expect("an attachment")).metadata.deletion_timestamp = Some(Time(NOW));
                }
                Action::Attach(mut attachment) => {
                    attachment.metadata.creation_timestamp = Some(Time(now));
                    self.attachments.push(Arc::new(*attachment));
                }
                Action::Tell { .. } => {}
            }
        }
    }
}

/// The actions as lines.
fn lines(plan: &Plan) -> Vec<String> {
    let one = |action: &Action| match action {
        Action::Report { node, volumes } => {
            let names: Vec<&str> = volumes.iter().map(|volume| volume.name.as_str()).collect();
            format!("{node} has [{}]", names.join(" ").replace("kubernetes.io/csi/d^", ""))
        }
        Action::Tell { pods, warning, message, .. } => {
            let names: Vec<String> = pods.iter().map(|pod| pod.name_any()).collect();
            format!("{} {}: {message}", if *warning { "warn" } else { "tell" }, names.join(" "))
        }
        Action::Detach { node, volume, safely, .. } => {
            let volume = volume.as_deref().unwrap_or("?").replace("kubernetes.io/csi/d^", "");
            format!("detach {volume} from {node}{}", if *safely { "" } else { " by force" })
        }
        Action::Attach(attachment) => {
            let volume = attachment.spec.source.persistent_volume_name.as_deref().unwrap_or("?");
            format!("attach {volume} to {}", attachment.spec.node_name)
        }
    };
    plan.actions.iter().map(one).collect()
}

fn check(cluster: &Cluster, expected: &[&str]) {
    assert_eq!(lines(&cluster.plan(NOW)), expected);
}

fn yes() -> Value {
    json!({ "attached": true })
}

fn no() -> Value {
    json!({ "attached": false })
}

#[test]
fn the_name_of_an_attachment_is_the_one_kubelets_compute() {
    let volume =
        Volume { name: "pv".into(), driver: "ebs.csi.aws.com".into(), handle: "vol-1".into(), exclusive: true };
    let expected = "csi-ddbfb4470da740e26d0871a8e7cbfaaea0fe241c682170c176b52f44abb4a3be";
    assert_eq!(volume.attachment("n1"), expected, "SHA-256 of vol-1ebs.csi.aws.comn1");
    assert_eq!(volume.unique_name(), "kubernetes.io/csi/ebs.csi.aws.com^vol-1");
}

#[test]
fn a_volume_is_attached_where_a_pod_is_and_the_node_told_when_it_is_there() {
    let cluster = Cluster::new(&["n1"], &["a"]).pod("p", "n1", "a");
    check(&cluster, &["attach a to n1"]);
    check(&cluster.clone().attached("a", "n1", no(), &[]), &[]);
    let there = cluster.attached("a", "n1", yes(), &[]);
    check(&there, &["n1 has [a]", "tell p: AttachVolume.Attach succeeded for volume \"a\" "]);
    check(&there.says("n1", &[], &["a"]), &[]);
}

#[test]
fn who_needs_no_attachment_gets_none() {
    let cluster = Cluster::new(&["n1"], &["a"]);
    let mut ended = cluster.clone().pod("p", "n1", "a");
    Arc::make_mut(&mut ended.pods[0]).status.get_or_insert_default().phase = Some("Succeeded".into());
    check(&ended, &[]);
    check(&cluster.clone().pod("p", "", "a"), &[]);
    let unmanaged = cluster.clone().pod("p", "n1", "a").node("n1", |node| node.metadata.annotations = None);
    check(&unmanaged, &[]);
    let mut unneeded = cluster.clone().pod("p", "n1", "a");
    unneeded.drivers.push(typed(json!({ "metadata": { "name": "d" }, "spec": { "attachRequired": false } })));
    check(&unneeded, &[]);
    let mut stolen = cluster.clone().pod("p", "n1", "a");
    Arc::make_mut(&mut stolen.claims[0]).metadata.uid = Some("another".into());
    check(&stolen, &[]);
    let mut pending = cluster.pod("p", "n1", "a");
    Arc::make_mut(&mut pending.claims[0]).status.get_or_insert_default().phase = Some("Pending".into());
    check(&pending, &[]);
}

#[test]
fn a_pod_that_is_going_keeps_its_volume_while_a_container_runs() {
    let going = |state: Value| {
        let mut cluster = Cluster::new(&["n1"], &["a"]).pod("p", "n1", "a");
        let pod = Arc::make_mut(&mut cluster.pods[0]);
        pod.metadata.deletion_timestamp = Some(Time(NOW));
        let status =
            json!({ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
        pod.status.get_or_insert_default().container_statuses =
            serde_json::from_value(json!([status])).expect("statuses");
        cluster
    };
    check(&going(json!({ "running": {} })), &["attach a to n1"]);
    check(&going(json!({ "terminated": { "exitCode": 0 } })), &[]);
}

#[test]
fn a_node_is_told_before_a_volume_it_does_not_use_is_detached() {
    let left = Cluster::new(&["n1"], &["a"]).attached("a", "n1", yes(), &[]).says("n1", &[], &["a"]);
    check(&left, &["n1 has []", "detach a from n1"]);
    check(&Cluster::new(&["n1"], &["a"]).attached("a", "n1", no(), &[]), &["detach a from n1"]);
    let going = Cluster::new(&["n1"], &["a"]).attached("a", "n1", yes(), &["leaving"]);
    check(&going, &[]);
}

#[test]
fn a_mounted_volume_stays_until_its_node_is_unhealthy_for_six_minutes_or_given_up() {
    let mounted = Cluster::new(&["n1"], &["a"]).attached("a", "n1", yes(), &[]).says("n1", &["a"], &["a"]);
    let first = mounted.plan(NOW);
    assert_eq!((lines(&first), first.again), (Vec::new(), Some(Duration::from_secs(361))));
    let mut later = mounted.clone();
    later.apply(first);
    let at = |seconds| NOW + jiff::SignedDuration::from_secs(seconds);
    let forced = ["n1 has []", "detach a from n1 by force"];
    assert_eq!(lines(&later.plan(at(361))), Vec::<String>::new(), "the node is healthy");
    let unready = later.unready("n1");
    assert_eq!(lines(&unready.plan(at(360))), Vec::<String>::new());
    assert_eq!(lines(&unready.plan(at(361))), forced);
    let given_up = mounted.node("n1", |node| {
        let taint = json!([{ "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute" }]);
        node.spec.get_or_insert_default().taints = serde_json::from_value(taint).expect("taints");
    });
    check(&given_up, &forced);
}

#[test]
fn a_pod_that_comes_back_stops_the_clock() {
    let mut cluster =
        Cluster::new(&["n1"], &["a"]).unready("n1").attached("a", "n1", yes(), &[]).says("n1", &["a"], &["a"]);
    let at = |seconds| NOW + jiff::SignedDuration::from_secs(seconds);
    cluster.apply(cluster.plan(NOW));
    let mut back = cluster.clone().pod("p", "n1", "a");
    back.apply(back.plan(at(100)));
    back.pods.clear();
    assert_eq!(lines(&back.plan(at(400))), Vec::<String>::new());
    assert_eq!(lines(&cluster.plan(at(400))), ["n1 has []", "detach a from n1 by force"]);
}

#[test]
fn a_node_that_is_gone_keeps_volumes_for_six_minutes() {
    let mut cluster = Cluster::new(&[], &["a"]).attached("a", "n1", yes(), &[]);
    check(&cluster, &[]);
    cluster.apply(cluster.plan(NOW));
    let late = NOW + jiff::SignedDuration::from_secs(361);
    assert_eq!(lines(&cluster.plan(late)), ["detach a from n1 by force"]);
}

#[test]
fn a_volume_for_one_node_waits_for_the_other_and_its_pod_is_told_once() {
    let held = Cluster::new(&["n1", "n2"], &["a"]).attached("a", "n1", yes(), &[]).says("n1", &["a"], &["a"]);
    let mut both = held.clone().pod("p", "n1", "a").pod("q", "n2", "a");
    check(&both, &["warn q: Multi-Attach error for volume \"a\" Volume is already used by pod(s) p"]);
    both.apply(both.plan(NOW));
    check(&both, &[]);
    let moved = held.pod("q", "n2", "a");
    let message = "warn q: Multi-Attach error for volume \"a\" Volume is already exclusively attached to one node and can't \
                   be attached to another";
    check(&moved, &[message]);
    let free = Cluster::new(&["n1", "n2"], &["a"]).attached("a", "n1", yes(), &[]).says("n1", &[], &["a"]);
    let mut free = free.pod("q", "n2", "a");
    check(&free, &["n1 has []", "detach a from n1"]);
    free.apply(free.plan(NOW));
    check(&free, &[]);
    free.attachments.clear();
    check(&free, &["attach a to n2"]);
}

#[test]
fn pods_of_other_namespaces_are_counted_and_not_named() {
    let mut cluster = Cluster::new(&["n1", "n2"], &["a"]).attached("a", "n1", yes(), &[]).says("n1", &[], &["a"]);
    cluster = cluster.pod("p", "n1", "a").pod("other", "n1", "a").pod("q", "n2", "a");
    Arc::make_mut(&mut cluster.pods[1]).metadata.namespace = Some("elsewhere".into());
    let message = "warn q: Multi-Attach error for volume \"a\" Volume is already used by pod(s) p and 1 pod(s) in different \
                   namespaces";
    check(&cluster, &[message]);
}

#[test]
fn a_cluster_without_drivers_asks_for_nothing() {
    let asked = |cluster: &Cluster| is_asked_for(&cluster.volumes, &cluster.nodes, &cluster.attachments);
    let none = Cluster::new(&["n1"], &[]);
    assert!(!asked(&none));
    assert!(asked(&Cluster::new(&["n1"], &["a"])));
    assert!(asked(&none.clone().attached("a", "n1", yes(), &[])));
    assert!(asked(&none.says("n1", &[], &["a"])), "a node that was told of a volume that is gone");
}

#[test]
fn a_new_volume_for_one_node_goes_to_one_and_a_shared_one_to_all() {
    let cluster = |volume: &str| Cluster::new(&["n1", "n2"], &[volume]).pod("p", "n1", volume).pod("q", "n2", volume);
    assert_eq!(lines(&cluster("a").plan(NOW)).len(), 1);
    let mut shared = lines(&cluster("s").plan(NOW));
    shared.sort();
    assert_eq!(shared, ["attach s to n1", "attach s to n2"]);
}

#[test]
fn people_are_told_of_each_failure_of_a_driver_once_and_of_one_that_says_nothing() {
    let failed =
        json!({ "attached": false, "attachError": { "message": "no such disk", "time": "2027-01-15T00:00:00Z" } });
    let mut cluster = Cluster::new(&["n1"], &["a"]).pod("p", "n1", "a").attached("a", "n1", failed, &[]);
    check(&cluster, &["warn p: AttachVolume.Attach failed for volume \"a\" : no such disk"]);
    cluster.apply(cluster.plan(NOW));
    check(&cluster, &[]);
    let silent = Cluster::new(&["n1"], &["a"]).pod("p", "n1", "a").attached("a", "n1", no(), &["old"]);
    let message = "warn p: AttachVolume.Attach failed for volume \"a\" : timed out waiting for external-attacher of d CSI \
                   driver to attach volume a";
    check(&silent, &[message]);
}

#[test]
fn what_others_made_or_attached_is_left_alone() {
    let mut cluster = Cluster::new(&["n1"], &["a"]).attached("a", "n1", yes(), &[]);
    Arc::make_mut(&mut cluster.attachments[0]).metadata.name = Some("mine".into());
    check(&cluster, &[]);
    let other = AttachedVolume { name: "kubernetes.io/iscsi/x".into(), device_path: "/dev/x".into() };
    let cluster = Cluster::new(&["n1"], &["a"]).says("n1", &[], &["a"]).node("n1", |node| {
        node.status.get_or_insert_default().volumes_attached.get_or_insert_default().push(other);
    });
    check(&cluster, &["n1 has [kubernetes.io/iscsi/x]"]);
}

#[test]
fn an_attachment_outlives_its_volume_only_until_nobody_uses_the_driver() {
    let mut cluster = Cluster::new(&["n1"], &["a"]).attached("a", "n1", yes(), &[]).says("n1", &["a"], &[]);
    cluster.volumes.clear();
    check(&cluster, &[]);
    check(&cluster.says("n1", &[], &[]), &["detach ? from n1"]);
}

fn clusters() -> impl Strategy<Value = Cluster> {
    let place = || (prop::sample::select(vec!["a", "b", "s"]), prop::sample::select(vec!["n1", "n2", "n3"]));
    let attachments = prop::collection::btree_map(place(), (any::<bool>(), 0_u8..4), 0..5);
    let pods = prop::collection::vec(place(), 0..5);
    let said = prop::collection::vec((place(), any::<bool>()), 0..4);
    let unready = prop::sample::subsequence(vec!["n1", "n2"], 0..=2);
    (pods, attachments, said, unready).prop_map(|(pods, attachments, said, unready)| {
        let mut cluster = Cluster::new(&["n1", "n2"], &["a", "b", "s"]);
        for (index, (volume, node)) in pods.into_iter().enumerate() {
            cluster = cluster.pod(&format!("p{index}"), node, volume);
        }
        for ((volume, node), (attached, state)) in attachments {
            let words: &[&str] = [&[][..], &["leaving"], &["old"], &[]][usize::from(state)];
            cluster = cluster.attached(volume, node, json!({ "attached": attached }), words);
        }
        for ((volume, node), used) in said {
            if node != "n3" {
                let told = [volume];
                cluster = cluster.says(node, &told[..usize::from(used)], &told);
            }
        }
        unready.into_iter().fold(cluster, Cluster::unready)
    })
}

proptest! {
    #[test]
    fn planning_after_applying_yields_nothing(mut cluster in clusters(), late in any::<bool>()) {
        let now = NOW + jiff::SignedDuration::from_secs(if late { 1000 } else { 0 });
        if late {
            cluster.memory = cluster.plan(NOW).memory;
        }
        let plan = cluster.plan(now);
        cluster.apply_at(plan, now);
        let again = cluster.plan(now);
        prop_assert!(again.actions.is_empty(), "{:?}", lines(&again));
    }

    #[test]
    fn a_volume_for_one_node_never_gets_a_second_attachment(mut cluster in clusters()) {
        let before: BTreeSet<String> = cluster.attachments.iter().map(|one| one.name_any()).collect();
        for _ in 0..3 {
            let plan = cluster.plan(NOW);
            cluster.apply(plan);
        }
        for volume in ["a", "b"] {
            let of: Vec<_> = cluster
                .attachments
                .iter()
                .filter(|one| one.spec.source.persistent_volume_name.as_deref() == Some(volume))
                .collect();
            let made = of.iter().filter(|one| !before.contains(&one.name_any())).count();
            prop_assert!(made == 0 || of.len() == 1, "{made} made of {}", of.len());
        }
    }

    #[test]
    fn nothing_is_detached_that_a_node_was_not_told_of_first(cluster in clusters()) {
        let plan = cluster.plan(NOW);
        let mut told = BTreeMap::new();
        for action in &plan.actions {
            match action {
                Action::Report { node, volumes } => {
                    told.insert(node.clone(), volumes.iter().map(|volume| volume.name.clone()).collect::<Vec<_>>());
                }
                Action::Detach { node, volume: Some(volume), .. } => {
                    let said: Vec<String> = cluster.nodes.iter().filter(|one| one.name_any() == *node)
                        .flat_map(|node| reported(node).map(|volume| volume.name.clone()).collect::<Vec<_>>()).collect();
                    let knows = told.get(node).unwrap_or(&said);
                    prop_assert!(!knows.contains(volume));
                }
                _ => {}
            }
        }
    }
}
