//! The cached objects of one kind, and who wants to hear of their changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use kube::ResourceExt as _;
use kube::runtime::watcher::Event;
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::Object;

type Name = (String, String);
type Handler<K> = Box<dyn Fn(Change<'_, K>) + Send + Sync>;

/// One object changed: it appeared (`old` is none), was replaced, or went away (`new` is none).
#[derive(Debug)]
pub struct Change<'a, K> {
    /// What the cache held before.
    pub old: Option<&'a Arc<K>>,
    /// What it holds now.
    pub new: Option<&'a Arc<K>>,
}

impl<'a, K> Change<'a, K> {
    /// The object as last known.
    ///
    /// # Panics
    /// Never: a change has at least one side.
    #[must_use]
    pub fn latest(&self) -> &'a Arc<K> {
        self.new.or(self.old).expect("invariant: a change has at least one side")
    }
}

impl<K> Clone for Change<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Change<'_, K> {}

/// A read-only view of all objects of one kind, kept current by a watch. Cheap to clone.
pub struct Informer<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    objects: RwLock<BTreeMap<Name, Arc<K>>>,
    handlers: Mutex<Vec<Handler<K>>>,
    /// Takes away what nobody here reads.
    slim: Option<fn(&mut K)>,
    synced: watch::Sender<bool>,
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K> fmt::Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informer").field("objects", &self.inner.objects.read().len()).finish()
    }
}

impl<K: Object> Informer<K> {
    pub(crate) fn new(slim: Option<fn(&mut K)>) -> Self {
        let (objects, handlers, synced) = (RwLock::default(), Mutex::default(), watch::Sender::new(false));
        let inner = Inner { objects, handlers, slim, synced };
        Self { inner: Arc::new(inner) }
    }

    /// The object `name` in `namespace` (empty for cluster-scoped kinds).
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.inner.objects.read().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// All objects, ordered by namespace and name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        self.inner.objects.read().values().cloned().collect()
    }

    /// The objects of one namespace, ordered by name.
    #[must_use]
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let first = (namespace.to_owned(), String::new());
        let objects = self.inner.objects.read();
        objects
            .range(first..)
            .take_while(|((ns, _), _)| ns == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.objects.read().len()
    }

    /// True when there are no objects.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `handler` for every object there is and then for every change, in order. Handlers run
    /// on the task that reads the watch: they put keys on queues and return; they may read the
    /// cache, but must not register handlers.
    pub fn on_change(&self, handler: impl Fn(Change<'_, K>) + Send + Sync + 'static) {
        let mut handlers = self.inner.handlers.lock();
        for object in &self.list() {
            handler(Change { old: None, new: Some(object) });
        }
        handlers.push(Box::new(handler));
    }

    /// Waits until the first complete list has arrived.
    pub async fn synced(&self) {
        let reached = self.inner.synced.subscribe().wait_for(|synced| *synced).await.map(drop);
        reached.expect("invariant: the sender lives in self");
    }

    /// True once the first complete list has arrived.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.inner.synced.borrow()
    }

    /// Applies one watch event. `listed` collects the keys of a list in progress, so that objects
    /// missing from a later list are known to be gone.
    pub(crate) fn apply(&self, event: Event<K>, listed: &mut BTreeSet<Name>) {
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.insert(name_of(&object));
                self.put(object);
            }
            Event::InitDone => {
                let gone: Vec<Name> =
                    self.inner.objects.read().keys().filter(|name| !listed.contains(*name)).cloned().collect();
                listed.clear();
                gone.iter().for_each(|name| self.remove(name, None));
                self.inner.synced.send_replace(true);
            }
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => self.remove(&name_of(&object), Some(object)),
        }
    }

    fn put(&self, mut object: K) {
        object.managed_fields_mut().clear();
        if let Some(slim) = self.inner.slim {
            slim(&mut object);
        }
        let handlers = self.inner.handlers.lock();
        let (name, new) = (name_of(&object), Arc::new(object));
        let old = self.inner.objects.write().insert(name, Arc::clone(&new));
        if old.as_ref().is_some_and(|old| same_version(&**old, &*new)) {
            return; // a relist tells again what is known
        }
        handlers.iter().for_each(|handler| handler(Change { old: old.as_ref(), new: Some(&new) }));
    }

    fn remove(&self, name: &Name, last: Option<K>) {
        let handlers = self.inner.handlers.lock();
        let Some(known) = self.inner.objects.write().remove(name) else { return };
        let old = last.map_or(known, Arc::new);
        handlers.iter().for_each(|handler| handler(Change { old: Some(&old), new: None }));
    }
}

fn name_of(object: &impl Object) -> Name {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn same_version(a: &impl Object, b: &impl Object) -> bool {
    a.meta().resource_version.is_some() && a.meta().resource_version == b.meta().resource_version
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn config_map(name: &str, version: u32) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.name = Some(name.to_owned());
        object.metadata.namespace = Some("default".to_owned());
        object.metadata.resource_version = Some(version.to_string());
        object
    }

    fn check(events: Vec<Event<ConfigMap>>, expected: &[&str]) {
        let informer = Informer::new(None);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        informer.on_change(move |change: Change<'_, ConfigMap>| {
            let version = |object: Option<&Arc<ConfigMap>>| {
                object.map_or("-".to_owned(), |o| o.resource_version().unwrap_or_default())
            };
            told.lock().push(format!(
                "{} {}->{}",
                change.latest().name_any(),
                version(change.old),
                version(change.new)
            ));
        });
        let mut listed = BTreeSet::new();
        events.into_iter().for_each(|event| informer.apply(event, &mut listed));
        assert_eq!(*heard.lock(), expected);
    }

    #[test]
    fn a_second_list_tells_only_what_differs() {
        check(
            vec![
                Event::Init,
                Event::InitApply(config_map("a", 1)),
                Event::InitApply(config_map("b", 2)),
                Event::InitDone,
                Event::Apply(config_map("c", 3)),
                Event::Init,
                Event::InitApply(config_map("a", 1)),
                Event::InitApply(config_map("c", 4)),
                Event::InitDone,
                Event::Delete(config_map("a", 5)),
            ],
            &["a -->1", "b -->2", "c -->3", "c 3->4", "b 2->-", "a 5->-"],
        );
    }

    #[test]
    fn only_what_is_wanted_is_kept_and_told() {
        let informer = Informer::new(Some(|map: &mut ConfigMap| map.data = None));
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        informer.on_change(move |change: Change<'_, ConfigMap>| heard.lock().push(change.latest().data.clone()));
        let mut large = config_map("a", 1);
        large.data = Some([("key".to_owned(), "value".to_owned())].into());
        informer.apply(Event::Apply(large), &mut BTreeSet::new());
        assert_eq!(*told.lock(), [None]);
        assert_eq!(informer.get("default", "a").and_then(|map| map.data.clone()), None);
    }

    #[test]
    fn a_late_handler_hears_what_is_there() {
        let informer = Informer::new(None);
        informer.apply(Event::Apply(config_map("a", 1)), &mut BTreeSet::new());
        let heard = Arc::new(Mutex::new(0));
        let told = Arc::clone(&heard);
        informer.on_change(move |_| *told.lock() += 1);
        assert_eq!(*heard.lock(), 1);
        assert_eq!(informer.in_namespace("default").len(), 1);
        assert!(informer.in_namespace("other").is_empty());
    }
}
