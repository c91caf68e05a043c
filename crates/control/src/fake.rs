//! A small API server in memory, for testing the shells without a cluster.
//!
//! Invariant: it keeps the promises the shells rely on: one revision for all kinds, conflicts on stale versions, uid
//! preconditions, graceful deletion of bound pods, finalizers, watches that miss nothing. It validates nothing.

pub(crate) mod clock;
mod objects;
pub(crate) mod storm;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{Layer as _, Service};

use objects::{Failure, Objects};
use storm::Storm;

/// Kinds the fake knows: group, version, kind, plural, namespaced.
pub(crate) const KINDS: &[(&str, &str, &str, &str, bool)] = &[
    ("", "v1", "Namespace", "namespaces", false),
    ("", "v1", "Node", "nodes", false),
    ("", "v1", "Pod", "pods", true),
    ("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", true),
    ("", "v1", "PersistentVolume", "persistentvolumes", false),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", false),
    ("", "v1", "ResourceQuota", "resourcequotas", true),
    ("", "v1", "Secret", "secrets", true),
    ("", "v1", "ReplicationController", "replicationcontrollers", true),
    ("", "v1", "Service", "services", true),
    ("", "v1", "Endpoints", "endpoints", true),
    ("", "v1", "ConfigMap", "configmaps", true),
    ("", "v1", "ServiceAccount", "serviceaccounts", true),
    ("", "v1", "Event", "events", true),
    ("apps", "v1", "Deployment", "deployments", true),
    ("apps", "v1", "ReplicaSet", "replicasets", true),
    ("apps", "v1", "StatefulSet", "statefulsets", true),
    ("apps", "v1", "DaemonSet", "daemonsets", true),
    ("apps", "v1", "ControllerRevision", "controllerrevisions", true),
    ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", true),
    ("coordination.k8s.io", "v1", "Lease", "leases", true),
    ("networking.k8s.io", "v1", "ServiceCIDR", "servicecidrs", false),
    ("networking.k8s.io", "v1", "IPAddress", "ipaddresses", false),
    ("batch", "v1", "Job", "jobs", true),
    ("batch", "v1", "CronJob", "cronjobs", true),
    ("", "v1", "PersistentVolume", "persistentvolumes", false),
    ("storage.k8s.io", "v1", "StorageClass", "storageclasses", false),
    ("storage.k8s.io", "v1", "CSINode", "csinodes", false),
    ("storage.k8s.io", "v1", "CSIDriver", "csidrivers", false),
    ("storage.k8s.io", "v1", "CSIStorageCapacity", "csistoragecapacities", true),
    ("storage.k8s.io", "v1", "VolumeAttachment", "volumeattachments", false),
    ("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", true),
    ("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", true),
    // what the resource metrics API calls pods is another kind here
    ("metrics.k8s.io", "v1beta1", "PodMetrics", "podmetrics", true),
    ("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
    ("resource.k8s.io", "v1", "ResourceClaim", "resourceclaims", true),
    ("resource.k8s.io", "v1", "ResourceClaimTemplate", "resourceclaimtemplates", true),
    ("resource.k8s.io", "v1", "ResourceSlice", "resourceslices", false),
    ("resource.k8s.io", "v1", "DeviceClass", "deviceclasses", false),
    ("example.com", "v1", "Gadget", "gadgets", true),
];

/// How long a test waits for something. Virtual time costs nothing, and the longest wait before something is tried again
/// is a quarter of an hour.
const PATIENCE: Duration = Duration::from_secs(20);
const VIRTUAL_PATIENCE: Duration = Duration::from_secs(3 * 3600);

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The server. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fake {
    objects: Arc<Mutex<Objects>>,
    revision: watch::Sender<u64>,
}

/// How many writes a client makes before its owner is killed: the last one happens, its answer is never seen, and nothing
/// is answered after it. Telling events does not count, nor does what changes nothing.
#[derive(Clone)]
pub(crate) struct Life(watch::Sender<usize>);

impl Life {
    pub(crate) fn new(writes: usize) -> Self {
        Self(watch::Sender::new(writes))
    }

    /// Waits for the end.
    pub(crate) async fn over(&self) {
        self.0.subscribe().wait_for(|left| *left == 0).await.expect("the sender lives");
    }

    fn is_over(&self) -> bool {
        *self.0.borrow() == 0
    }

    fn spend(&self) {
        self.0.send_modify(|left| *left = left.saturating_sub(1));
    }
}

/// What a request addresses.
pub(crate) struct Target {
    pub(crate) plural: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    pub(crate) query: HashMap<String, String>,
}

impl Target {
    fn parse(path: &str, query: &str) -> Option<Self> {
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let rest = match parts.as_slice() {
            ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
            _ => return None,
        };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, plural, rest @ ..] if !["status", "finalize"].contains(plural) => {
                (*namespace, [&[*plural], rest].concat())
            }
            _ => ("", rest.to_vec()),
        };
        let part = |index: usize| rest.get(index).map_or(String::new(), |part| (*part).to_owned());
        let pair = |pair: &str| {
            pair.split_once('=').map(|(key, value)| (key.to_owned(), value.replace("%3D", "=").replace("%2F", "/")))
        };
        Some(Self {
            plural: part(0),
            namespace: namespace.to_owned(),
            name: part(1),
            subresource: part(2),
            query: query.split('&').filter_map(pair).collect(),
        })
    }
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self { objects: Arc::new(Mutex::new(Objects::default())), revision: watch::Sender::new(0) }
    }

    pub(crate) fn client(&self) -> Client {
        self.mortal(&Life::new(usize::MAX))
    }

    /// A client of somebody who is killed when `life` is over.
    pub(crate) fn mortal(&self, life: &Life) -> Client {
        Client::new(self.service(life), "default")
    }

    /// A client that reaches the server through a storm.
    pub(crate) fn through(&self, storm: &Storm) -> Client {
        Client::new(storm.layer(self.service(&Life::new(usize::MAX))), "default")
    }

    fn service(
        &self,
        life: &Life,
    ) -> impl Service<Request<Body>, Response = Answer, Error = Infallible, Future: Send> + Clone + Send + 'static {
        let (fake, life) = (self.clone(), life.clone());
        tower::service_fn(move |request: Request<Body>| {
            let (fake, life) = (fake.clone(), life.clone());
            async move {
                let answer = fake.answer(request, &life).await;
                if life.is_over() { std::future::pending().await } else { Ok::<_, Infallible>(answer) }
            }
        })
    }

    /// All objects of a kind.
    pub(crate) fn list(&self, plural: &str) -> Vec<Value> {
        self.objects.lock().list(plural, "")
    }

    /// Changes the server as a test wants, then tells the watches.
    pub(crate) fn edit<T>(&self, edit: impl FnOnce(&mut Objects) -> T) -> T {
        let (result, revision) = {
            let mut objects = self.objects.lock();
            (edit(&mut objects), objects.revision())
        };
        self.revision.send_replace(revision);
        result
    }

    /// Waits until `reached` says so.
    pub(crate) async fn until(&self, what: &str, reached: impl Fn(&Self) -> bool) {
        let mut revision = self.revision.subscribe();
        let waiting = async {
            while !reached(self) {
                revision.changed().await.expect("the server lives");
            }
        };
        let patience = if clock::is_virtual() { VIRTUAL_PATIENCE } else { PATIENCE };
        if tokio::time::timeout(patience, waiting).await.is_err() {
            panic!("never reached: {what}\n{}", self.objects.lock().summary());
        }
    }

    /// Waits until nothing has been written for `long`, but leases and events.
    pub(crate) async fn rests(&self, long: Duration) {
        let mut revision = self.revision.subscribe();
        let mut since = (self.objects.lock().writes(), Instant::now());
        while since.1.elapsed() < long {
            if tokio::time::timeout_at(since.1 + long, revision.changed()).await.is_ok() {
                let writes = self.objects.lock().writes();
                if writes != since.0 {
                    since = (writes, Instant::now());
                }
            }
        }
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    async fn answer(&self, request: Request<Body>, life: &Life) -> Answer {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        if let "/api" | "/apis" = parts.uri.path() {
            return respond(StatusCode::OK, &discovery(parts.uri.path() == "/api"));
        }
        if let ["", "apis", group, version] = parts.uri.path().split('/').collect::<Vec<_>>().as_slice() {
            return respond(StatusCode::OK, &resources(group, version));
        }
        let Some(mut target) = Target::parse(parts.uri.path(), parts.uri.query().unwrap_or("")) else {
            return respond(StatusCode::NOT_FOUND, &json!({ "status": "Failure", "code": 404, "reason": "NotFound" }));
        };
        if parts.uri.path().starts_with("/apis/metrics.k8s.io/") && target.plural == "pods" {
            "podmetrics".clone_into(&mut target.plural);
        }
        if target.query.get("watch").is_some_and(|value| value == "true") {
            return self.watch(target);
        }
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let strategic =
            parts.headers.get("content-type").is_some_and(|kind| kind == "application/strategic-merge-patch+json");
        let is_write = parts.method != Method::GET && target.plural != "events";
        // asked, done and counted at once: whoever is killed by one write makes no other beside it
        let result = self.edit(|objects| {
            if is_write && life.is_over() {
                return None;
            }
            let before = objects.revision();
            let result = match parts.method {
                Method::GET if target.subresource == "scale" => objects.scale(&target),
                Method::GET if target.name.is_empty() => Ok(objects.list_answer(&target)),
                Method::GET => objects.get(&target),
                Method::POST if target.subresource == "binding" => objects.bind(&target, &body),
                Method::POST => objects.create(&target, body),
                Method::PUT => objects.put(&target, body),
                Method::PATCH => objects.patch(&target, &body, strategic),
                Method::DELETE if target.name.is_empty() => Ok(objects.delete_all(&target)),
                _ => objects.delete(&target, &body),
            };
            if is_write && objects.revision() != before {
                life.spend();
            }
            Some(result)
        });
        let Some(result) = result else { return std::future::pending().await };
        match result {
            Ok(value) => respond(StatusCode::OK, &value),
            Err(Failure { code, reason, message }) => {
                let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
                    "code": code, "reason": if reason == objects::LEAVING { "Forbidden" } else { reason },
                    "message": message, "details": { "causes": [{ "reason": reason }] } });
                respond(StatusCode::from_u16(code).expect("a status code"), &status)
            }
        }
    }

    fn watch(&self, target: Target) -> Answer {
        let from = target.query.get("resourceVersion").and_then(|text| text.parse().ok()).unwrap_or(0);
        let (fake, revision) = (self.clone(), self.revision.subscribe());
        let events =
            futures::stream::unfold((fake, revision, target, from), |(fake, mut revision, target, from)| async move {
                loop {
                    let (events, newest) = fake.objects.lock().events(&target, from);
                    if !events.is_empty() {
                        let lines: String = events.iter().map(|event| format!("{event}\n")).collect();
                        let frame = http_body::Frame::data(Bytes::from(lines));
                        return Some((Ok::<_, Infallible>(frame), (fake, revision, target, newest)));
                    }
                    revision.changed().await.ok()?;
                }
            });
        let mut response = Response::new(BodyExt::boxed_unsync(StreamBody::new(events)));
        *response.status_mut() = StatusCode::OK;
        response
    }
}

fn respond(status: StatusCode, value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

fn discovery(core: bool) -> Value {
    let mut groups: Vec<(&str, &str, Vec<Value>)> = Vec::new();
    for (group, version, kind, plural, namespaced) in KINDS.iter().filter(|row| row.0.is_empty() == core) {
        let resource = json!({
            "resource": plural,
            "responseKind": { "group": group, "version": version, "kind": kind },
            "scope": if *namespaced { "Namespaced" } else { "Cluster" },
            "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        });
        match groups.iter_mut().find(|(name, ..)| name == group) {
            Some((_, _, resources)) => resources.push(resource),
            None => groups.push((group, version, vec![resource])),
        }
    }
    let items: Vec<Value> = groups
        .into_iter()
        .map(|(name, version, resources)| json!({ "metadata": { "name": name }, "versions": [{ "version": version, "resources": resources }] }))
        .collect();
    json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": items })
}

/// The kinds of one group, each with a scale.
fn resources(group: &str, version: &str) -> Value {
    let verbs = ["create", "delete", "get", "list", "patch", "update", "watch"];
    let rows = KINDS.iter().filter(|row| row.0 == group && row.1 == version);
    let resources = rows.flat_map(|(_, _, kind, plural, namespaced)| {
        let row = |name: String, kind: &str| {
            json!({ "name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": verbs })
        };
        [row((*plural).to_owned(), kind), row(format!("{plural}/scale"), "Scale")]
    });
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"),
        "resources": resources.collect::<Vec<Value>>() })
}
