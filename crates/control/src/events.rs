//! Events: what controllers tell people about objects.
//!
//! Invariant: telling never blocks and never fails the teller; when the queue is full an event is dropped and counted.
//! The same words about the same object become one Event with a count, many different words of one kind become one
//! summary (upstream `client-go/tools/record`), so a failing object cannot flood the store.
//! Written as core/v1, which is what `kubectl describe` reads and what events.k8s.io/v1 shows as well.

mod correlate;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;
use tokio::sync::mpsc;

use crate::time;
use correlate::{Correlator, Entry, Outcome};

/// So many events may wait to be written.
const QUEUE: usize = 1024;

/// An object that events can be about.
pub trait Subject {
    /// How the event refers to it.
    fn subject(&self) -> ObjectReference;
}

impl<K: Resource<DynamicType = ()>> Subject for K {
    fn subject(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some(K::api_version(&()).into_owned()),
            kind: Some(K::kind(&()).into_owned()),
            namespace: self.namespace(),
            name: self.meta().name.clone(),
            uid: self.uid(),
            resource_version: self.resource_version(),
            field_path: None,
        }
    }
}

/// One thing said.
#[derive(Debug)]
pub(crate) struct Note {
    about: ObjectReference,
    warning: bool,
    reason: Cow<'static, str>,
    message: String,
}

/// Makes recorders, one per component.
#[derive(Clone)]
pub struct Events {
    clients: Arc<dyn Fn(&str) -> Client + Send + Sync>,
    children: tasks::Children,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

/// Tells events in the name of one component. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    notes: mpsc::Sender<Note>,
    dropped: Arc<AtomicU64>,
}

impl Events {
    /// `clients` gives the identity each component writes with.
    pub fn new(clients: Arc<dyn Fn(&str) -> Client + Send + Sync>, context: &tasks::Context) -> Self {
        Self { clients, children: context.children.clone() }
    }

    /// A recorder whose events come "from" `component`.
    pub fn recorder(&self, component: &'static str) -> Recorder {
        self.recorder_as(component, component)
    }

    /// A recorder that writes with the identity `client` but is called `component`.
    pub fn recorder_as(&self, client: &str, component: &'static str) -> Recorder {
        let (sender, notes) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer { client: (self.clients)(client), component, known: Correlator::default() };
        self.children.spawn(format!("events of {component}"), writer.run(notes, Arc::clone(&dropped)));
        Recorder { notes: sender, dropped }
    }
}

impl Recorder {
    /// Something went as it should.
    pub fn normal(&self, about: &impl Subject, reason: impl Into<Cow<'static, str>>, message: String) {
        self.tell(about.subject(), false, reason.into(), message);
    }

    /// Something needs attention.
    pub fn warning(&self, about: &impl Subject, reason: impl Into<Cow<'static, str>>, message: String) {
        self.tell(about.subject(), true, reason.into(), message);
    }

    fn tell(&self, about: ObjectReference, warning: bool, reason: Cow<'static, str>, message: String) {
        if self.notes.try_send(Note { about, warning, reason, message }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Writer {
    client: Client,
    component: &'static str,
    known: Correlator,
}

impl Writer {
    async fn run(mut self, mut notes: mpsc::Receiver<Note>, dropped: Arc<AtomicU64>) {
        let mut reported = 0;
        while let Some(note) = notes.recv().await {
            let lost = dropped.load(Ordering::Relaxed);
            if lost > reported {
                tracing::warn!(
                    component = self.component,
                    lost = lost - reported,
                    "events dropped, the queue was full"
                );
                reported = lost;
            }
            self.write(note).await;
        }
    }

    async fn write(&mut self, note: Note) {
        let now = time::now();
        let namespace = note.about.namespace.clone().unwrap_or_else(|| "default".into());
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let (entry, known) = match self.known.observe(&note, now) {
            Outcome::Drop => return,
            Outcome::New(entry) => (entry, false),
            Outcome::Again(entry) => (entry, true),
        };
        if known {
            let patch = json!({ "count": entry.count, "lastTimestamp": Time(now), "message": entry.message });
            match api.patch(&entry.name, &PatchParams::default(), &Patch::Merge(patch)).await {
                Ok(_) => return,
                Err(error) if crate::run::write::is_not_found(&error) => {} // expired: tell it anew
                Err(error) => return self.complain(&note, &error),
            }
        }
        match api.create(&PostParams::default(), &self.event(&note, &entry, &namespace, now)).await {
            Ok(_) => {}
            Err(error) if crate::run::write::namespace_is_leaving(&error) => {}
            Err(error) => self.complain(&note, &error),
        }
    }

    fn complain(&self, note: &Note, error: &kube::Error) {
        let about = note.about.name.as_deref().unwrap_or("");
        let text = crate::run::write::message(error);
        tracing::debug!(component = self.component, about, reason = %note.reason, "event not written: {text}");
    }

    fn event(&self, note: &Note, entry: &Entry, namespace: &str, now: jiff::Timestamp) -> Event {
        Event {
            metadata: ObjectMeta {
                name: Some(entry.name.clone()),
                namespace: Some(namespace.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: note.about.clone(),
            type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
            reason: Some(note.reason.clone().into_owned()),
            message: Some(entry.message.clone()),
            count: Some(entry.count),
            first_timestamp: Some(Time(entry.first)),
            last_timestamp: Some(Time(now)),
            source: Some(EventSource { component: Some(self.component.into()), host: None }),
            reporting_component: Some(self.component.into()),
            reporting_instance: Some(String::new()),
            ..Event::default()
        }
    }
}
