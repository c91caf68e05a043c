//! Events about pods and the node, as `kubectl describe` shows them.
//!
//! Invariant: recording never waits and never fails its caller: the queue is bounded and an event
//! that finds it full is dropped. Repeats of one event are counted on the object of the first.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, Node, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::mpsc;

const QUEUE: usize = 512;
const REMEMBERED: usize = 1024;
const COMPONENT: &str = "kubelet"; // what people and dashboards filter by

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Note {
    object: Arc<Subject>,
    field_path: Option<String>,
    warning: bool,
    reason: &'static str,
    message: String,
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    kind: &'static str,
    namespace: Option<String>,
    name: String,
    uid: Option<String>,
}

impl Subject {
    pub(crate) fn pod(pod: &Pod) -> Arc<Self> {
        Arc::new(Self {
            kind: "Pod",
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            uid: pod.metadata.uid.clone(),
        })
    }

    pub(crate) fn node(node: &Node) -> Arc<Self> {
        let name = node.metadata.name.clone().unwrap_or_default();
        Arc::new(Self { kind: "Node", namespace: None, uid: Some(name.clone()), name })
    }
}

/// Where events are told.
#[derive(Clone)]
pub(crate) struct Recorder {
    queue: mpsc::Sender<(Note, Timestamp)>,
}

impl Recorder {
    /// Starts the task that writes events.
    pub(crate) fn start(client: kube::Client, host: String, children: &tasks::Children) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE);
        children.spawn("events", write(client, host, notes));
        Self { queue }
    }

    pub(crate) fn normal(&self, object: &Arc<Subject>, field: Option<String>, reason: &'static str, message: String) {
        self.record(object, field, false, reason, message);
    }

    pub(crate) fn warning(&self, object: &Arc<Subject>, field: Option<String>, reason: &'static str, message: String) {
        self.record(object, field, true, reason, message);
    }

    fn record(
        &self,
        object: &Arc<Subject>,
        field_path: Option<String>,
        warning: bool,
        reason: &'static str,
        mut message: String,
    ) {
        if message.len() > 1024 {
            let cut = (0..=1020).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
            message.push_str("...");
        }
        let note = Note { object: Arc::clone(object), field_path, warning, reason, message };
        if let Err(full) = self.queue.try_send((note, base::time::now())) {
            tracing::debug!("an event was dropped: {full}");
        }
    }
}

struct Written {
    name: String,
    count: i32,
}

async fn write(client: kube::Client, host: String, mut notes: mpsc::Receiver<(Note, Timestamp)>) {
    let mut known: HashMap<Note, Written> = HashMap::new();
    while let Some((note, at)) = notes.recv().await {
        let namespace = note.object.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(client.clone(), namespace);
        if let Some(written) = known.get_mut(&note) {
            written.count += 1;
            let body = json!({"count": written.count, "lastTimestamp": Time(at)});
            match api.patch(&written.name, &PatchParams::default(), &Patch::Merge(&body)).await {
                Ok(_) => continue,
                Err(error) => tracing::debug!("counting an event: {}", base::error::chain(&error)),
            }
        }
        let event = compose(&note, &host, at);
        let name = event.metadata.name.clone().unwrap_or_default();
        match api.create(&PostParams::default(), &event).await {
            Ok(_) => {
                if known.len() >= REMEMBERED {
                    known.clear();
                }
                known.insert(note, Written { name, count: 1 });
            }
            Err(error) => tracing::debug!("writing an event: {}", base::error::chain(&error)),
        }
    }
}

fn compose(note: &Note, host: &str, at: Timestamp) -> Event {
    let object = &note.object;
    let nanos = u64::try_from(at.as_nanosecond()).unwrap_or(0);
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{}.{nanos:x}", object.name)),
            namespace: Some(object.namespace.clone().unwrap_or_else(|| "default".into())),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".into()),
            kind: Some(object.kind.into()),
            namespace: object.namespace.clone(),
            name: Some(object.name.clone()),
            uid: object.uid.clone(),
            field_path: note.field_path.clone(),
            ..ObjectReference::default()
        },
        type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
        reason: Some(note.reason.into()),
        message: Some(note.message.clone()),
        source: Some(EventSource { component: Some(COMPONENT.into()), host: Some(host.into()) }),
        reporting_component: Some(COMPONENT.into()),
        reporting_instance: Some(host.into()),
        first_timestamp: Some(Time(at)),
        last_timestamp: Some(Time(at)),
        count: Some(1),
        ..Event::default()
    }
}
