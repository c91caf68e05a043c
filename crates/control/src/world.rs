//! Test worlds written as text: one object per line, `kind name word key=value ...`.
//!
//! Invariant: only tests use this. Defaults are chosen so that a line says what its test is about and nothing else:
//! pods are labelled `app=<owner>` (or `app=web`), sets select `app=<name>`, everything lives in `default`.

mod batch;
mod place;
mod sets;
mod storage;
mod volumes;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::plan::{claim, replicaset};

/// The moment every test happens.
pub(crate) const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// The objects of a test.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) deployments: Vec<Arc<Deployment>>,
    pub(crate) replica_sets: Vec<Arc<ReplicaSet>>,
    pub(crate) stateful_sets: Vec<Arc<StatefulSet>>,
    pub(crate) daemon_sets: Vec<Arc<DaemonSet>>,
    pub(crate) revisions: Vec<Arc<ControllerRevision>>,
    pub(crate) claims: Vec<Arc<PersistentVolumeClaim>>,
    pub(crate) pods: Vec<Arc<Pod>>,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) nodes: Vec<Arc<Node>>,
    pub(crate) jobs: Vec<Arc<Job>>,
    pub(crate) cron_jobs: Vec<Arc<CronJob>>,
    pub(crate) budgets: Vec<Arc<PodDisruptionBudget>>,
    pub(crate) namespaces: Vec<Arc<Namespace>>,
    /// Plural and object of everything about volumes.
    pub(crate) storage: Vec<(&'static str, Value)>,
    pub(crate) volumes: Vec<Arc<PersistentVolume>>,
    pub(crate) classes: Vec<Arc<StorageClass>>,
    serial: usize,
}

/// One parsed line.
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    words: Vec<(&'a str, &'a str)>,
}

impl<'a> Line<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<&'a str> {
        self.words.iter().find(|(word, _)| *word == key).map(|(_, value)| *value)
    }

    pub(crate) fn all(&self, key: &str) -> Vec<&'a str> {
        self.words.iter().filter(|(word, _)| *word == key).map(|(_, value)| *value).collect()
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.get(word).is_some()
    }

    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        self.get(key).map(|text| text.parse().expect("a number"))
    }
}

/// How long ago: `90s`, `5m`, `2h`; an empty text means ten minutes.
pub(crate) fn ago(text: &str) -> Timestamp {
    let (digits, unit) = text.split_at(text.len().saturating_sub(1));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return NOW - SignedDuration::from_secs(600),
    };
    NOW - SignedDuration::from_secs(digits.parse::<i64>().expect("a duration") * seconds)
}

fn at(text: &str) -> Value {
    json!(Time(ago(text)))
}

fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |part: &str| part.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    text.split(',').filter_map(pair).collect()
}

fn object<K: DeserializeOwned>(value: Value) -> Arc<K> {
    Arc::new(serde_json::from_value(value).expect("a valid object"))
}

fn metadata(kind: &str, line: &Line<'_>) -> Value {
    let mut metadata = json!({
        "name": line.name,
        "namespace": "default",
        "uid": format!("{kind}-{}", line.name),
        "generation": line.number("generation").unwrap_or(1),
        "creationTimestamp": at(line.get("age").unwrap_or("")),
    });
    if line.has("deleting") {
        metadata["deletionTimestamp"] = at(line.get("deleting").filter(|text| !text.is_empty()).unwrap_or("1s"));
    }
    metadata
}

impl World {
    pub(crate) fn parse(text: &str) -> Self {
        let mut world = Self::default();
        for row in text.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let mut words = row.split_whitespace();
            let (kind, name) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
            let line = Line { name, words: words.map(|word| word.split_once('=').unwrap_or((word, ""))).collect() };
            match kind {
                "deployment" => world.deployments.push(deployment(&line)),
                "replicaset" => world.replica_sets.push(replica_set(&line)),
                "statefulset" => world.stateful_sets.push(sets::stateful_set(&line)),
                "daemonset" => world.daemon_sets.push(sets::daemon_set(&line)),
                "revision" => world.revisions.push(sets::revision(&line)),
                "claim" => world.claims.push(sets::claim(&line)),
                "pod" => world.pods.push(pod(&line)),
                "service" => world.services.push(service(&line)),
                "node" => world.nodes.push(node(&line)),
                "job" => world.jobs.push(batch::job(&line)),
                "cronjob" => world.cron_jobs.push(batch::cron_job(&line)),
                "budget" => world.budgets.push(batch::budget(&line)),
                "namespace" => world.namespaces.push(namespace(&line)),
                "volume" => world.volumes.push(storage::volume(&line)),
                other => {
                    // the scheduler reads parts of the same lines
                    let part = volumes::object(other, &line);
                    match other {
                        "pvc" => world.claims.push(storage::claim(&line)),
                        "class" => world.classes.push(storage::class(&line)),
                        _ => assert!(part.is_some(), "unknown kind {other}"),
                    }
                    world.storage.extend(part);
                }
            }
        }
        world
    }

    pub(crate) fn replica_set(&self, name: &str) -> Arc<ReplicaSet> {
        let found = self.replica_sets.iter().find(|set| set.metadata.name.as_deref() == Some(name));
        found.expect("a replicaset of that name").clone()
    }

    pub(crate) fn nodes_by_name(&self) -> HashMap<String, Arc<Node>> {
        self.nodes.iter().map(|node| (node.metadata.name.clone().unwrap_or_default(), node.clone())).collect()
    }

    /// Does what the ReplicaSet controller would do.
    pub(crate) fn apply_pods(&mut self, set: &ReplicaSet, actions: &[replicaset::Action]) {
        for action in actions {
            match action {
                replicaset::Action::Create(count) => {
                    for _ in 0..*count {
                        self.serial += 1;
                        let mut pod = replicaset::new_pod(set, claim::reference(set));
                        let name = format!("{}{}", pod.metadata.generate_name.as_deref().unwrap_or(""), self.serial);
                        pod.metadata.uid = Some(format!("pod-{name}"));
                        pod.metadata.name = Some(name);
                        pod.metadata.creation_timestamp = Some(Time(NOW));
                        self.pods.push(Arc::new(pod));
                    }
                }
                replicaset::Action::Delete(gone) => self.pods.retain(|pod| pod.metadata.uid != gone.metadata.uid),
                replicaset::Action::Adopt(orphan) => {
                    self.edit_pod(orphan, |pod| pod.metadata.owner_references = Some(vec![claim::reference(set)]));
                }
                replicaset::Action::Release(stray) => self.edit_pod(stray, |pod| pod.metadata.owner_references = None),
            }
        }
    }

    pub(crate) fn edit_pod(&mut self, which: &Pod, edit: impl FnOnce(&mut Pod)) {
        let found = self.pods.iter_mut().find(|pod| pod.metadata.uid == which.metadata.uid);
        edit(Arc::make_mut(found.expect("a known pod")));
    }
}

fn owner(kind: &str, api_version: &str, name: &str) -> Value {
    let uid = format!("{}-{name}", kind.to_lowercase());
    json!([{ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true }])
}

fn deployment(line: &Line<'_>) -> Arc<Deployment> {
    let mut metadata = metadata("deployment", line);
    metadata["annotations"] = json!(line.get("annotations").map(pairs));
    let bound = |text: &str| text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number));
    let rolling = json!({
        "maxSurge": bound(line.get("surge").unwrap_or("25%")),
        "maxUnavailable": bound(line.get("unavailable").unwrap_or("25%")),
    });
    let strategy = if line.has("recreate") {
        json!({ "type": "Recreate" })
    } else {
        json!({ "type": "RollingUpdate", "rollingUpdate": rolling })
    };
    object(json!({
        "metadata": metadata,
        "spec": {
            "replicas": line.number("replicas").unwrap_or(1),
            "selector": { "matchLabels": { "app": line.name } },
            "strategy": strategy,
            "paused": line.has("paused").then_some(true),
            "minReadySeconds": line.number("minready"),
            "revisionHistoryLimit": line.number("limit").unwrap_or(10),
            "progressDeadlineSeconds": line.number("deadline").unwrap_or(600),
            "template": template(line.name, line.get("image").unwrap_or("v1")),
        },
    }))
}

fn template(app: &str, image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": app } }, "spec": { "containers": [{ "name": "c", "image": image }] } })
}

fn replica_set(line: &Line<'_>) -> Arc<ReplicaSet> {
    let mut metadata = metadata("replicaset", line);
    if let Some(name) = line.get("of") {
        metadata["ownerReferences"] = owner("Deployment", "apps/v1", name);
    }
    metadata["labels"] = json!({ "app": line.get("app").or(line.get("of")).unwrap_or("web") });
    let mut annotations = BTreeMap::new();
    for (key, name) in [("rev", "revision"), ("desired", "desired-replicas"), ("max", "max-replicas")] {
        if let Some(value) = line.get(key) {
            annotations.insert(format!("deployment.kubernetes.io/{name}"), value.to_owned());
        }
    }
    metadata["annotations"] = json!(annotations);
    let available = line.number("available").unwrap_or(0);
    let replicas = line.number("replicas").unwrap_or(1);
    object(json!({
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "minReadySeconds": line.number("minready"),
            "selector": { "matchLabels": { "app": line.name } },
            "template": template(line.get("app").or(line.get("of")).unwrap_or(line.name), line.get("image").unwrap_or("v1")),
        },
        "status": {
            "replicas": line.number("pods").unwrap_or(available),
            "readyReplicas": line.number("ready").unwrap_or(available),
            "availableReplicas": available,
            "observedGeneration": 1,
        },
    }))
}

fn pod(line: &Line<'_>) -> Arc<Pod> {
    let mut metadata = metadata("pod", line);
    let owners = [("of", "ReplicaSet"), ("sts", "StatefulSet"), ("ds", "DaemonSet")];
    let set = owners.into_iter().find_map(|(word, kind)| Some((kind, line.get(word)?)));
    if let Some((kind, name)) = set {
        metadata["ownerReferences"] = owner(kind, "apps/v1", name);
    }
    let app = BTreeMap::from([("app".to_owned(), set.map_or("web", |(_, name)| name).to_owned())]);
    let mut labels = line.get("labels").map_or(app, pairs);
    if line.has("sts") && !line.has("nameless") {
        labels.insert("statefulset.kubernetes.io/pod-name".into(), line.name.to_owned());
    }
    if let Some(revision) = line.get("rev") {
        labels.insert("controller-revision-hash".into(), revision.to_owned());
    }
    metadata["labels"] = json!(labels);
    if let Some(cost) = line.get("cost") {
        metadata["annotations"] = json!({ "controller.kubernetes.io/pod-deletion-cost": cost });
    }
    let mut ports: Vec<Value> = Vec::new();
    for text in line.all("port") {
        let (name, number) = text.split_once(':').expect("name:number");
        ports.push(json!({ "name": name, "containerPort": number.parse::<u16>().expect("a port") }));
    }
    for text in line.all("hostport") {
        let number: u16 = text.parse().expect("a port");
        ports.push(json!({ "containerPort": number, "hostPort": number }));
    }
    let tolerations: Vec<Value> = line.all("tolerate").into_iter().map(toleration).collect();
    let mut volumes: Vec<Value> = Vec::new();
    for text in line.all("mount") {
        let (name, claim) = text.split_once(':').expect("volume:claim");
        volumes.push(json!({ "name": name, "persistentVolumeClaim": { "claimName": claim } }));
    }
    let mut requests = BTreeMap::new();
    for key in ["cpu", "memory", "gpu"] {
        if let Some(amount) = line.get(key) {
            requests.insert(if key == "gpu" { "example.com/gpu" } else { key }, amount);
        }
    }
    let ready =
        line.get("ready").map(|since| json!([{ "type": "Ready", "status": "True", "lastTransitionTime": at(since) }]));
    let mut pod = json!({
        "metadata": metadata,
        "spec": {
            "nodeName": line.get("node"),
            "hostname": line.get("hostname"),
            "subdomain": line.get("subdomain"),
            "priority": line.number("priority"),
            "nodeSelector": line.get("select").map(pairs),
            "tolerations": tolerations,
            "affinity": line.get("for").map(affinity),
            "volumes": volumes,
            "schedulingGates": line.all("gate").iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "containers": [{
                "name": "c",
                "image": line.get("image").unwrap_or("v1"),
                "ports": ports,
                "resources": { "requests": requests },
            }],
        },
        "status": {
            "phase": line.get("phase").unwrap_or(if line.has("ready") { "Running" } else { "Pending" }),
            "podIP": line.get("ip"),
            "podIPs": line.get("ip").map(|ip| json!([{ "ip": ip }])),
            "conditions": ready,
        },
    });
    batch::dress(&mut pod, line);
    place::dress(&mut pod, line);
    object(pod)
}

/// What binds a pod to the node it was made for.
fn affinity(node: &str) -> Value {
    let named = json!([{ "key": "metadata.name", "operator": "In", "values": [node] }]);
    let terms = json!({ "nodeSelectorTerms": [{ "matchFields": named }] });
    json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": terms } })
}

/// `key[:effect[:seconds]]`
fn toleration(text: &str) -> Value {
    let mut parts = text.split(':');
    let key = parts.next().filter(|key| *key != "*");
    let effect = parts.next();
    let seconds: Option<i64> = parts.next().map(|seconds| seconds.parse().expect("seconds"));
    json!({ "key": key, "operator": "Exists", "effect": effect, "tolerationSeconds": seconds })
}

fn service(line: &Line<'_>) -> Arc<Service> {
    let ports: Vec<Value> = line.all("port").into_iter().map(service_port).collect();
    let selector = (!line.has("noselector")).then(|| json!({ "app": "web" }));
    object(json!({
        "metadata": metadata("service", line),
        "spec": {
            "clusterIP": if line.has("headless") { "None" } else { "10.43.0.9" },
            "ipFamilies": ["IPv4"],
            "selector": selector,
            "ports": ports,
            "publishNotReadyAddresses": line.has("publish").then_some(true),
            "trafficDistribution": line.get("close"),
        },
    }))
}

/// `[name=]port:target`
fn service_port(text: &str) -> Value {
    let (name, ports) = text.split_once('=').map_or((None, text), |(name, ports)| (Some(name), ports));
    let (port, target) = ports.split_once(':').expect("port:target");
    let target = target.parse::<u16>().map_or_else(|_| json!(target), |number| json!(number));
    json!({ "name": name, "port": port.parse::<u16>().expect("a port"), "protocol": "TCP", "targetPort": target })
}

fn namespace(line: &Line<'_>) -> Arc<Namespace> {
    object(json!({ "metadata": { "name": line.name, "labels": line.get("labels").map(pairs) } }))
}

fn node(line: &Line<'_>) -> Arc<Node> {
    let mut metadata = metadata("node", line);
    let mut labels = line.get("labels").map_or_else(BTreeMap::new, pairs);
    labels.insert("kubernetes.io/hostname".into(), line.name.to_owned());
    if let Some(zone) = line.get("zone") {
        labels.insert("topology.kubernetes.io/zone".into(), zone.to_owned());
    }
    metadata["labels"] = json!(labels);
    let taints: Vec<Value> = line.all("taint").into_iter().map(taint).collect();
    let mut allocatable = BTreeMap::from([("pods", "110"), ("cpu", "4"), ("memory", "8Gi")]);
    for key in ["cpu", "memory", "pods", "gpu"] {
        if let Some(amount) = line.get(key) {
            allocatable.insert(if key == "gpu" { "example.com/gpu" } else { key }, amount);
        }
    }
    let images: Vec<Value> =
        line.all("image").iter().map(|name| json!({ "names": [name], "sizeBytes": 500_000_000 })).collect();
    let mut conditions = Vec::new();
    for kind in ["Ready", "MemoryPressure", "DiskPressure"] {
        if let Some(status) = line.get(kind) {
            conditions.push(json!({ "type": kind, "status": status, "lastHeartbeatTime": at("1m") }));
        }
    }
    object(json!({
        "metadata": metadata,
        "spec": { "taints": taints, "unschedulable": line.has("cordoned").then_some(true) },
        "status": { "allocatable": allocatable, "images": images, "conditions": conditions },
    }))
}

/// `key:effect[:age]`
fn taint(text: &str) -> Value {
    let mut parts = text.split(':');
    let (key, effect) = (parts.next(), parts.next());
    json!({ "key": key, "effect": effect, "timeAdded": parts.next().map(at) })
}
