//! The controllers and the scheduler behind a server that is reached through a storm: calls fail, answers get lost, watches
//! are cut and tell late. The world must get where it should be all the same, and never go elsewhere on the way.
//!
//! Time is virtual: waiting costs nothing, and the wall's clock goes with it.

mod batch;
mod placing;
mod sets;

use std::collections::BTreeMap;
use std::time::Duration;

use base::time::SignedDuration;

use super::*;
use crate::fake::clock;
use crate::fake::storm::Storm;

/// How many storms each test goes through, unless `STORMS` says how many.
const STORMS: u64 = 4;
/// Longer than a full pass of any controller: who has done nothing for so long will not do anything more.
pub(super) const REST: Duration = Duration::from_secs(11 * 60);

/// `2026-03-02T10:00:30Z`
pub(super) fn morning() -> base::time::Timestamp {
    base::time::parse("2026-03-02T10:00:30Z").expect("a time")
}

/// Runs what is to be run in virtual time.
pub(super) fn in_virtual_time(run: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        clock::show(morning());
        run.await;
    });
}

/// Runs a test in one storm after the other, each time with a new world of `nodes` nodes.
fn in_storms<F: Future<Output = ()>>(nodes: usize, test: impl Fn(Fake) -> F) {
    in_weathers(nodes, Storm::new, test);
}

fn in_weathers<F: Future<Output = ()>>(nodes: usize, weather: fn(u64) -> Storm, test: impl Fn(Fake) -> F) {
    let storms = std::env::var("STORMS").ok().and_then(|text| text.parse().ok()).unwrap_or(STORMS);
    for seed in 1..=storms {
        eprintln!("storm {seed}");
        in_virtual_time(async {
            let fake = Fake::new();
            let (ctx, _) = tasks::context_for_tests();
            populate(&fake, &ctx, nodes);
            let (storm, clients) = (weather(seed), fake.clone());
            start(&ctx, Arc::new(move |_: &str| clients.through(&storm)));
            test(fake).await;
        });
    }
}

/// A world of nodes, reached in good weather; the context must be kept.
pub(super) fn calm(nodes: usize) -> (Fake, tasks::Context) {
    let fake = Fake::new();
    let (ctx, _) = tasks::context_for_tests();
    populate(&fake, &ctx, nodes);
    let clients = fake.clone();
    start(&ctx, Arc::new(move |_: &str| clients.client()));
    (fake, ctx)
}

/// Starts the controllers and the scheduler.
fn start(ctx: &tasks::Context, clients: Arc<dyn Fn(&str) -> Client + Send + Sync>) {
    let client = clients("");
    let config = config_for(clients);
    ctx.children.try_spawn("controllers", run(config, ctx.clone()));
    ctx.children.try_spawn("scheduler", scheduler::run(client, scheduler::Config::default(), ctx.clone()));
}

/// A namespace, and nodes that live; the task is that of their agents.
pub(super) fn populate(fake: &Fake, ctx: &tasks::Context, nodes: usize) -> tasks::Task {
    fake.edit(|objects| {
        objects.create_object("namespaces", json!({ "metadata": { "name": "shop" } }));
        for node in 1..=nodes {
            let allocatable = json!({ "cpu": "4", "memory": "8Gi", "pods": "110" });
            let ready = json!([{ "type": "Ready", "status": "True" }]);
            let status = json!({ "allocatable": allocatable, "conditions": ready });
            let metadata =
                json!({ "name": format!("n{node}"), "labels": { "kubernetes.io/hostname": format!("n{node}") } });
            objects.create_object("nodes", json!({ "metadata": metadata, "status": status }));
            let metadata = json!({ "name": format!("n{node}"), "namespace": "kube-node-lease" });
            objects.create_object("leases", json!({ "metadata": metadata }));
        }
    });
    ctx.children.spawn("heartbeats", heartbeats(fake.clone()));
    ctx.children.spawn("nodes", node_agents(fake.clone()))
}

/// Renews the lease of each node that is not marked as dead.
async fn heartbeats(fake: Fake) {
    loop {
        for node in fake.list("nodes") {
            let name = text(&node["metadata"]["name"]);
            if node["metadata"]["annotations"]["dead"].is_null() {
                let now = json!(base::time::rfc3339_micro(clock::now()));
                fake.edit(|objects| {
                    objects.change("leases", "kube-node-lease", &name, |lease| lease["spec"]["renewTime"] = now);
                });
            }
        }
        tokio::time::sleep(Duration::from_secs(15)).await;
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("").to_owned()
}

fn is_none(list: &Value) -> bool {
    list.as_array().is_none_or(Vec::is_empty)
}

/// Says of bound pods that they run, ends those of Jobs, and lets those go that are being deleted.
async fn node_agents(fake: Fake) {
    let mut changes = fake.changes();
    loop {
        for pod in fake.list("pods") {
            let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
            let ended = is_ended(&pod);
            let status = if is_leaving(&pod) {
                if !ended && pod["spec"]["nodeName"].is_string() {
                    Some(ended_with(137))
                } else {
                    if is_none(&pod["metadata"]["finalizers"]) {
                        fake.edit(|objects| objects.remove("pods", &namespace, &name));
                    }
                    None
                }
            } else if !pod["spec"]["nodeName"].is_string() || ended {
                None
            } else if pod["status"]["phase"] == "Pending" {
                Some(running(&pod))
            } else {
                exit_code(&pod).map(ended_with)
            };
            if let Some(status) = status {
                fake.edit(|objects| objects.change("pods", &namespace, &name, |pod| pod["status"] = status));
            }
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn is_ended(pod: &Value) -> bool {
    ["Succeeded", "Failed"].map(Value::from).contains(&pod["status"]["phase"])
}

fn is_leaving(object: &Value) -> bool {
    object["metadata"]["deletionTimestamp"].is_string()
}

fn running(pod: &Value) -> Value {
    let number: u64 = text(&pod["metadata"]["uid"]).trim_start_matches("uid-").parse().expect("a serial");
    let ip = format!("10.42.{}.{}", number / 200, number % 200 + 2);
    let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": base::time::rfc3339(clock::now()) });
    json!({ "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [ready] })
}

fn ended_with(code: i64) -> Value {
    let state = json!({ "terminated": { "exitCode": code, "finishedAt": base::time::rfc3339(clock::now()) } });
    let container =
        json!({ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state });
    json!({ "phase": if code == 0 { "Succeeded" } else { "Failed" }, "containerStatuses": [container] })
}

/// Of pods of Jobs only; their annotation `fails` names the indexes whose first try fails.
fn exit_code(pod: &Value) -> Option<i64> {
    (pod["metadata"]["ownerReferences"][0]["kind"] == "Job").then_some(())?;
    let annotations = &pod["metadata"]["annotations"];
    let index = text(&annotations["batch.kubernetes.io/job-completion-index"]);
    let fails = text(&annotations["fails"]).split(',').any(|one| one == index);
    Some(i64::from(fails && annotations["batch.kubernetes.io/job-index-failure-count"] == "0"))
}

/// Goes through all that happened to objects of a kind; `look` sees those that were there after each step, by name.
fn replay(fake: &Fake, plural: &str, mut look: impl FnMut(&BTreeMap<String, Value>)) {
    let mut there = BTreeMap::new();
    for (kind, object) in fake.edit(|objects| objects.history(plural)) {
        let name = text(&object["metadata"]["name"]);
        match kind {
            "DELETED" => drop(there.remove(&name)),
            _ => drop(there.insert(name, object)),
        }
        look(&there);
    }
}

/// The most objects of a kind that were there, and not on their way out, at one time.
fn most(fake: &Fake, plural: &str) -> usize {
    let mut most = 0;
    replay(fake, plural, |there| most = most.max(there.values().filter(|one| !is_leaving(one)).count()));
    most
}

fn made(fake: &Fake, plural: &str) -> usize {
    fake.edit(|objects| objects.created(plural))
}

fn template(image: &str) -> Value {
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": image }] } })
}

fn the(fake: &Fake, plural: &str, name: &str) -> Value {
    fake.list(plural).into_iter().find(|one| one["metadata"]["name"] == name).unwrap_or_default()
}

fn change(fake: &Fake, plural: &str, name: &str, change: impl FnOnce(&mut Value)) {
    fake.edit(|objects| objects.change(plural, "shop", name, change));
}

fn set_image(fake: &Fake, plural: &str, image: &str) {
    change(fake, plural, "web", |set| set["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image));
}

/// Whether there are `count` pods, all running `image` and ready.
fn all_run(fake: &Fake, count: usize, image: &str) -> bool {
    let pods = fake.list("pods");
    pods.len() == count
        && pods.iter().all(|pod| {
            pod["spec"]["containers"][0]["image"] == image && pod["status"]["phase"] == "Running" && !is_leaving(pod)
        })
}

/// Whether the status tells of the newest spec, and each of these numbers.
fn tells(object: &Value, numbers: &[(&str, u64)]) -> bool {
    object["status"]["observedGeneration"] == object["metadata"]["generation"]
        && numbers.iter().all(|(name, number)| object["status"][*name].as_u64().unwrap_or(0) == *number)
}
