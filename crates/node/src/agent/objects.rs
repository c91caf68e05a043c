//! Config maps and secrets the pods of this node refer to, each watched while some pod needs it.
//!
//! Invariant: one watch per object, shared by all pods that use it and ended with the last of them;
//! so a node sees exactly what its pods name, and a pod whose neighbours already use an object
//! starts without asking the API.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::watch_object;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::env::{ConfigError, Objects, Reference};

type Data = BTreeMap<String, Vec<u8>>;
type Key = (String, Reference);

/// What is known of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Loaded {
    Pending,
    Absent,
    Present(Arc<Data>),
    Failed(String),
}

/// Hands out subscriptions.
#[derive(Clone)]
pub(crate) struct Hub {
    client: kube::Client,
    children: tasks::Children,
    open: Arc<Mutex<HashMap<Key, Weak<Entry>>>>,
}

struct Entry {
    state: watch::Sender<Loaded>,
    task: Mutex<Option<tasks::Task>>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut() {
            task.abort();
        }
    }
}

/// One pod's interest in one object.
pub(crate) struct Subscription {
    reference: Reference,
    state: watch::Receiver<Loaded>,
    _entry: Arc<Entry>,
}

impl Hub {
    pub(crate) fn new(client: kube::Client, children: tasks::Children) -> Self {
        Self { client, children, open: Arc::default() }
    }

    pub(crate) fn subscribe(&self, namespace: &str, reference: &Reference) -> Subscription {
        let key = (namespace.to_owned(), reference.clone());
        let mut open = self.open.lock();
        open.retain(|_, entry| entry.strong_count() > 0);
        let entry = open.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let entry = Arc::new(Entry { state: watch::Sender::new(Loaded::Pending), task: Mutex::new(None) });
            *entry.task.lock() = Some(self.watch(namespace, reference, entry.state.clone()));
            open.insert(key, Arc::downgrade(&entry));
            entry
        });
        Subscription { reference: reference.clone(), state: entry.state.subscribe(), _entry: entry }
    }

    fn watch(&self, namespace: &str, reference: &Reference, state: watch::Sender<Loaded>) -> tasks::Task {
        let client = self.client.clone();
        let task = format!("watch {} {namespace}/{}", reference.kind(), reference.name());
        match reference {
            Reference::ConfigMap(name) => {
                let events = watch_object(Api::<ConfigMap>::namespaced(client, namespace), name);
                self.children.spawn(task, follow(events.default_backoff(), state, config_map_data))
            }
            Reference::Secret(name) => {
                let events = watch_object(Api::<Secret>::namespaced(client, namespace), name);
                self.children.spawn(task, follow(events.default_backoff(), state, secret_data))
            }
        }
    }
}

async fn follow<K>(
    events: impl Stream<Item = Result<Option<K>, kube::runtime::watcher::Error>>,
    state: watch::Sender<Loaded>,
    data: fn(K) -> Data,
) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        let next = match event {
            Ok(Some(object)) => Loaded::Present(Arc::new(data(object))),
            Ok(None) => Loaded::Absent,
            // what was read before stays good while the API is away
            Err(_) if matches!(*state.borrow(), Loaded::Present(_) | Loaded::Absent) => continue,
            Err(error) => Loaded::Failed(base::error::chain(&error)),
        };
        state.send_if_modified(|now| {
            let changed = *now != next;
            *now = next;
            changed
        });
    }
}

fn config_map_data(map: ConfigMap) -> Data {
    let text = map.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into_bytes()));
    let binary = map.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0));
    text.chain(binary).collect()
}

fn secret_data(secret: Secret) -> Data {
    secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
}

impl Subscription {
    pub(crate) fn reference(&self) -> &Reference {
        &self.reference
    }

    /// The data, waiting for the first answer of the API; `None` when the object does not exist.
    pub(crate) async fn load(&mut self) -> Result<Option<Arc<Data>>, ConfigError> {
        let state = match self.state.wait_for(|state| *state != Loaded::Pending).await {
            Ok(state) => state.clone(),
            Err(_) => Loaded::Failed("the node is shutting down".into()),
        };
        match state {
            Loaded::Present(data) => Ok(Some(data)),
            Loaded::Absent => Ok(None),
            Loaded::Failed(why) => Err(ConfigError::Unreadable {
                kind: self.reference.kind(),
                name: self.reference.name().to_owned(),
                why,
            }),
            Loaded::Pending => unreachable!("invariant: waited until it was not"),
        }
    }

    /// Resolves when the object is no longer what `load` last returned.
    pub(crate) async fn changed(&mut self) {
        if self.state.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// A second view of the same object.
    pub(crate) fn again(&self) -> Self {
        Self { reference: self.reference.clone(), state: self.state.clone(), _entry: Arc::clone(&self._entry) }
    }
}

/// Loads all of them.
pub(crate) async fn load(subscriptions: &mut [Subscription]) -> Result<Objects, ConfigError> {
    let mut objects = Objects::new();
    for subscription in subscriptions {
        let data = subscription.load().await?;
        objects.insert(subscription.reference().clone(), data.map(|data| (*data).clone()));
    }
    Ok(objects)
}
