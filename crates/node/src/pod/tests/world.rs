//! A scripted API server and a machine without containers.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use informer::Informers;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::super::engine::Machine;
use super::super::node::{Node, Pulls};
use super::super::security::Defaults;
use super::super::{Found, Worker};
use crate::Network;
use crate::agent::events::Recorder;
use crate::agent::objects::Hub;
use crate::cgroup::Limits;
use crate::env::fields::Facts;
use crate::image::{self, Image, PullError, PullOptions};
use crate::runtime::{
    Container, ContainerSpec, Error, ExecError, ExecSpec, Exit, PodRef, Sandbox, SandboxSpec, Session, StartError,
    State,
};
use crate::volume::{claim, local};

type Answer = Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>>;

pub(super) struct World {
    api: Arc<Api>,
    machine: Arc<FakeMachine>,
    dir: tempfile::TempDir,
    worker: tasks::Task,
    _ctx: (tasks::Context, tasks::Status),
}

struct Api {
    pod: watch::Sender<Option<Arc<Pod>>>,
    events: watch::Sender<Vec<String>>,
    config_maps: watch::Sender<HashMap<String, Value>>,
    version: Mutex<u64>,
}

impl World {
    pub(super) async fn new(spec: Value) -> Self {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "u-1", "resourceVersion": "1"}, "spec": spec,
        }))
        .unwrap();
        let pod = Arc::new(pod);
        let api = Arc::new(Api {
            pod: watch::Sender::new(Some(Arc::clone(&pod))),
            events: watch::Sender::default(),
            config_maps: watch::Sender::default(),
            version: Mutex::new(1),
        });
        let answering = Arc::clone(&api);
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = Arc::clone(&answering);
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        let client = kube::Client::new(service, "default");
        let ctx = tasks::context_for_tests();
        let dir = tempfile::tempdir().unwrap();
        let machine = Arc::new(FakeMachine { dir: dir.path().join("sandbox"), ..FakeMachine::default() });
        let path = |name: &str| dir.path().join(name);
        let node = Arc::new(Node {
            name: "n1".into(),
            client: client.clone(),
            engine: machine.clone(),
            network: Arc::new(Loopback),
            hub: Hub::new(client.clone(), ctx.0.children.clone()),
            events: Recorder::start(client.clone(), "n1".into(), &ctx.0.children),
            services: Informers::new(client.clone(), &ctx.0).of::<Service>(),
            pods: Informers::new(client, &ctx.0).of::<Pod>(),
            host_ips: vec!["127.0.0.1".parse().unwrap()],
            cluster_dns: vec!["10.43.0.10".parse().unwrap()],
            cluster_domain: "cluster.local".into(),
            data_dir: path("data"),
            run_dir: path("run"),
            log_dir: path("logs"),
            security: Defaults { seccomp: true, seccomp_dir: path("seccomp") },
            insecure_registries: Vec::new(),
            memory_capacity: 1 << 30,
            facts: Facts::default(),
            pulls: Pulls::default(),
            me: claim::Me {
                hostname: "n1".into(),
                provisioner: "knarr.dev/local".into(),
                place: local::Place::new(path("local")),
            },
        });
        let worker = Worker::new(node, pod, api.pod.subscribe(), &Found::default(), base::time::now());
        let worker = ctx.0.children.spawn("pod", worker.run());
        Self { api, machine, dir, worker, _ctx: ctx }
    }

    /// The pod once `reached` holds.
    pub(super) async fn until(&self, what: &str, reached: impl Fn(&Pod) -> bool) -> Arc<Pod> {
        let mut seen = self.api.pod.subscribe();
        let wait = seen.wait_for(|pod| pod.as_ref().is_some_and(|pod| reached(pod)));
        match tokio::time::timeout(Duration::from_secs(20), wait).await {
            Ok(pod) => pod.unwrap().clone().unwrap(),
            Err(_) => panic!("the pod is never {what}: {:#?}", self.api.pod.borrow().as_ref().map(|pod| &pod.status)),
        }
    }

    pub(super) async fn until_gone(&self) {
        let mut seen = self.api.pod.subscribe();
        let gone = async {
            seen.wait_for(Option::is_none).await.map(drop).unwrap();
            while !self.worker.is_finished() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("the pod is never gone");
    }

    pub(super) async fn delete(&self, grace: i64) {
        self.api.edit(|pod| {
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-02T03:04:05Z");
            pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
        });
    }

    /// Changes the pod's spec, as a subresource of the API would.
    pub(super) fn respec(&self, change: impl FnOnce(&mut Value)) {
        self.api.edit(|pod| change(&mut pod["spec"]));
    }

    /// Memory limits given to running containers, in order.
    pub(super) fn memory_limits(&self) -> Vec<Option<u64>> {
        self.machine.limits.lock().iter().map(|limits| limits.memory).collect()
    }

    pub(super) fn forget(&self) {
        self.api.pod.send_replace(None);
    }

    /// Ends the container's present run, waiting for it to start.
    pub(super) async fn exit(&self, name: &str, code: i32) {
        let mut runs = self.machine.runs.subscribe();
        let alive = |runs: &HashMap<String, Fake>| {
            runs.values().find(|run| run.spec.name == name && run.exit.is_none()).map(|run| run.spec.id.clone())
        };
        let started = runs.wait_for(|runs| alive(runs).is_some());
        let id = alive(&tokio::time::timeout(Duration::from_secs(20), started).await.unwrap().unwrap()).unwrap();
        self.machine.end(&id, code);
    }

    pub(super) fn spec(&self, name: &str) -> ContainerSpec {
        let runs = self.machine.runs.borrow();
        runs.values().find(|run| run.spec.name == name).unwrap().spec.as_ref().clone()
    }

    /// The reasons of the events so far, once the pod's last words have been written.
    pub(super) async fn events(&self) -> Vec<String> {
        let mut seen = self.api.events.subscribe();
        let quiet = seen.wait_for(|events| events.iter().any(|reason| reason == "Killing"));
        tokio::time::timeout(Duration::from_secs(20), quiet).await.unwrap().unwrap().clone()
    }

    /// Waits for an event that begins with this; what it says.
    pub(super) async fn told(&self, start: &str) -> String {
        let mut seen = self.api.events.subscribe();
        let find = |events: &Vec<String>| events.iter().find(|one| one.starts_with(start)).cloned();
        let told = seen.wait_for(|events| find(events).is_some());
        let events = tokio::time::timeout(Duration::from_secs(20), told).await.unwrap().unwrap().clone();
        find(&events).unwrap()
    }

    pub(super) async fn config_map(&self, name: &str, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": name, "namespace": "shop", "resourceVersion": "5"}});
        self.api.config_maps.send_modify(|maps| drop(maps.insert(name.to_owned(), object)));
    }

    pub(super) fn has_directories(&self) -> bool {
        let below = |name: &str| self.dir.path().join(name).join("volumes/u-1").exists();
        below("data") || below("run") || self.dir.path().join("logs/shop_web_u-1").exists()
    }
}

impl Api {
    fn edit(&self, change: impl FnOnce(&mut Value)) -> Option<Value> {
        let mut version = self.version.lock();
        *version += 1;
        let mut pod = serde_json::to_value(self.pod.borrow().as_deref()?).unwrap();
        change(&mut pod);
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        self.pod.send_replace(Some(Arc::new(serde_json::from_value(pod.clone()).unwrap())));
        Some(pod)
    }

    async fn answer(&self, request: Request<Body>) -> Answer {
        let (parts, body) = request.into_parts();
        let body: Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap_or_default();
        let query = parts.uri.query().unwrap_or_default();
        match (&parts.method, parts.uri.path()) {
            (&Method::PATCH, "/api/v1/namespaces/shop/pods/web/status") => {
                let changed = self.edit(|pod| {
                    for (key, value) in body["status"].as_object().unwrap() {
                        let mut value = value.clone();
                        if let Some(list) = value.as_array_mut() {
                            list.retain(|item| item.get("$patch").is_none());
                        }
                        pod["status"][key] = value;
                    }
                });
                changed.map_or_else(missing, |pod| reply(&pod))
            }
            (&Method::DELETE, "/api/v1/namespaces/shop/pods/web") => {
                assert_eq!(body["preconditions"]["uid"], "u-1");
                assert_eq!(body["gracePeriodSeconds"], 0);
                self.pod.send_replace(None);
                reply(&json!({"kind": "Status", "apiVersion": "v1", "status": "Success", "metadata": {}}))
            }
            (&Method::POST, "/api/v1/namespaces/shop/events") => {
                let reason = body["reason"].as_str().unwrap_or_default().to_owned();
                let told = if reason == "FailedPrepareDynamicResources" {
                    format!("{reason}: {}", body["message"].as_str().unwrap_or_default())
                } else {
                    reason
                };
                self.events.send_modify(|events| events.push(told));
                reply(&body)
            }
            (&Method::PATCH, _) => reply(&json!({"metadata": {}, "involvedObject": {}})),
            (&Method::GET, "/apis/resource.k8s.io/v1/namespaces/shop/resourceclaims/gpu") => {
                let result = json!({"request": "r", "driver": "gpu.example.com", "pool": "p", "device": "one"});
                reply(&json!({"metadata": {"name": "gpu", "namespace": "shop", "uid": "c-1"}, "spec": {}, "status": {
                    "allocation": {"devices": {"results": [result]}},
                    "reservedFor": [{"resource": "pods", "name": "web", "uid": "u-1"}]}}))
            }
            (&Method::GET, "/api/v1/namespaces/shop/configmaps") if query.contains("watch=true") => {
                self.watch_config_maps()
            }
            (&Method::GET, "/api/v1/namespaces/shop/configmaps") => {
                let items: Vec<Value> = self.config_maps.borrow().values().cloned().collect();
                reply(
                    &json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": "2"}, "items": items}),
                )
            }
            (&Method::GET, _) if query.contains("watch=true") => stream(futures::stream::pending().boxed()),
            (&Method::GET, _) => {
                reply(&json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "2"}, "items": []}))
            }
            _ => missing(),
        }
    }

    fn watch_config_maps(&self) -> Answer {
        let changes = self.config_maps.subscribe();
        let events = futures::stream::unfold(changes, |mut changes| async move {
            changes.changed().await.ok()?;
            let maps = changes.borrow_and_update().clone();
            let lines: String =
                maps.values().map(|object| format!("{}\n", json!({"type": "ADDED", "object": object}))).collect();
            Some((Ok(Frame::data(Bytes::from(lines))), changes))
        });
        stream(events.boxed())
    }
}

fn reply(value: &Value) -> Answer {
    Response::new(Full::new(Bytes::from(value.to_string())).boxed_unsync())
}

fn stream(frames: futures::stream::BoxStream<'static, Result<Frame<Bytes>, Infallible>>) -> Answer {
    Response::new(StreamBody::new(frames).boxed_unsync())
}

fn missing() -> Answer {
    let mut answer = reply(&json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "code": 404, "reason": "NotFound", "message": "not found"}));
    *answer.status_mut() = StatusCode::NOT_FOUND;
    answer
}

struct Loopback;

#[async_trait]
impl Network for Loopback {
    async fn attach(&self, _: &PodRef, _: &Path) -> anyhow::Result<Vec<IpAddr>> {
        Ok(vec!["127.0.0.1".parse()?])
    }

    async fn detach(&self, _: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

#[derive(Clone)]
struct Fake {
    spec: Arc<ContainerSpec>,
    exit: Option<Exit>,
}

#[derive(Default)]
struct FakeMachine {
    limits: Mutex<Vec<Limits>>,
    dir: std::path::PathBuf,
    runs: watch::Sender<HashMap<String, Fake>>,
}

impl FakeMachine {
    fn container(&self, id: &str) -> Option<Container> {
        let run = self.runs.borrow().get(id).cloned()?;
        Some(Container {
            spec: run.spec,
            pid: 1,
            started: base::time::now(),
            state: run.exit.map_or(State::Running, State::Exited),
            uid: 0,
            termination_log: std::path::PathBuf::new(),
        })
    }

    fn end(&self, id: &str, code: i32) {
        self.runs.send_modify(|runs| {
            if let Some(run) = runs.get_mut(id) {
                let finished = base::time::now();
                run.exit.get_or_insert(Exit { code, signal: None, oom: false, finished, lost: false });
            }
        });
    }
}

#[async_trait]
impl Machine for FakeMachine {
    async fn create_sandbox(&self, spec: SandboxSpec) -> Result<Sandbox, Error> {
        std::fs::create_dir_all(&self.dir).unwrap();
        Ok(Sandbox { spec, dir: self.dir.clone() })
    }

    async fn remove_sandbox(&self, _: &str) -> Result<(), Error> {
        let alive = self.runs.borrow().values().filter(|run| run.exit.is_none()).count();
        assert_eq!(alive, 0, "a sandbox is removed after its containers have ended");
        Ok(())
    }

    async fn start(&self, spec: ContainerSpec) -> Result<Container, StartError> {
        let spec = Arc::new(spec);
        self.runs.send_modify(|runs| drop(runs.insert(spec.id.clone(), Fake { spec: Arc::clone(&spec), exit: None })));
        Ok(self.container(&spec.id).unwrap())
    }

    async fn wait(&self, id: &str) -> Result<Exit, Error> {
        let mut runs = self.runs.subscribe();
        let ended = runs.wait_for(|runs| runs.get(id).is_none_or(|run| run.exit.is_some())).await.unwrap();
        ended.get(id).and_then(|run| run.exit.clone()).ok_or_else(|| Error::NoContainer(id.to_owned()))
    }

    async fn stop(&self, id: &str, signal: i32, _: Duration) -> Result<Exit, Error> {
        self.end(id, 128 + signal);
        self.wait(id).await
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        self.runs.send_modify(|runs| drop(runs.remove(id)));
        Ok(())
    }

    async fn limit(&self, id: &str, limits: Limits) -> Result<(), Error> {
        match limits.memory {
            Some(limit) if limit < 1 << 20 => {
                Err(Error::TooSmall { what: format!("container {id:?}"), limit, used: 1 << 20 })
            }
            _ => {
                self.limits.lock().push(limits);
                Ok(())
            }
        }
    }

    async fn limit_pod(&self, _: &str, _: Limits) -> Result<(), Error> {
        Ok(())
    }

    async fn exec(&self, id: &str, _: ExecSpec) -> Result<Session, ExecError> {
        Err(ExecError::NotRunning(id.to_owned()))
    }

    fn termination_message(&self, _: &str) -> String {
        String::new()
    }

    fn resolve(&self, reference: &str) -> Result<Option<Image>, image::Error> {
        Ok((reference == "here").then(|| Image { id: "sha256:1".into(), ..Image::default() }))
    }

    async fn pull(&self, reference: &str, _: &PullOptions) -> Result<Image, PullError> {
        Err(PullError::NotFound { reference: reference.to_owned() })
    }
}
