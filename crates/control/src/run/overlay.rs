//! A cache that shows our own writes at once.
//!
//! Invariant: what was written is seen by the very next look, until the watch has delivered it or something newer; so a
//! controller never repeats an action because a cache lags. This takes the place of upstream's expectations: those count
//! and block, this remembers the objects and goes on.
//! Why an entry expires: a write whose event was lost in a gap of the watch must not haunt us.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use informer::{Change, Informer, Object};
use kube::ResourceExt;
use parking_lot::Mutex;
use tokio::time::Instant;

const LIFETIME: Duration = Duration::from_secs(60);

/// An informer with our own writes laid over it.
pub(crate) struct Overlay<K> {
    informer: Informer<K>,
    state: Arc<Mutex<State<K>>>,
}

struct State<K> {
    written: HashMap<String, Written<K>>,
    /// Objects the watch reported gone: a response that arrives later than that must not revive them.
    gone: HashMap<String, Instant>,
}

struct Written<K> {
    object: Arc<K>,
    deleted: bool,
    at: Instant,
}

impl<K> Clone for Overlay<K> {
    fn clone(&self) -> Self {
        Self { informer: self.informer.clone(), state: Arc::clone(&self.state) }
    }
}

impl<K: Object> Overlay<K> {
    pub(crate) fn new(informer: Informer<K>) -> Self {
        let state = Arc::new(Mutex::new(State { written: HashMap::new(), gone: HashMap::new() }));
        let noted = Arc::clone(&state);
        informer.on_change(move |change: Change<'_, K>| {
            let Some(uid) = change.latest().uid() else { return };
            let mut state = noted.lock();
            match change.new {
                None => {
                    state.written.remove(&uid);
                    state.note_gone(uid);
                }
                Some(new) => {
                    let caught_up = state
                        .written
                        .get(&uid)
                        .is_some_and(|one| !one.deleted && version(&**new) >= version(&*one.object));
                    if caught_up {
                        state.written.remove(&uid);
                    }
                }
            }
        });
        Self { informer, state }
    }

    /// Remembers an object as the server returned it.
    pub(crate) fn wrote(&self, object: K) -> Arc<K> {
        let object = Arc::new(object);
        self.note(&object, false);
        object
    }

    /// Remembers that an object is gone for good, not just terminating.
    pub(crate) fn deleted(&self, object: &Arc<K>) {
        self.note(object, true);
    }

    fn note(&self, object: &Arc<K>, deleted: bool) {
        let Some(uid) = object.uid() else { return };
        let mut state = self.state.lock();
        let cached = self.cached(&**object).is_some_and(|cached| !deleted && version(&*cached) >= version(&**object));
        if !cached && !state.gone.contains_key(&uid) {
            state.written.insert(uid, Written { object: Arc::clone(object), deleted, at: Instant::now() });
        }
    }

    fn cached(&self, object: &K) -> Option<Arc<K>> {
        let cached = self.informer.get(object.namespace().as_deref().unwrap_or(""), &object.name_any());
        cached.filter(|cached| cached.uid() == object.uid())
    }

    /// The object of that name.
    pub(crate) fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let cached = self.informer.get(namespace, name);
        let mut state = self.state.lock();
        if state.written.is_empty() {
            return cached;
        }
        state.expire();
        let is_it = |one: &&Written<K>| {
            one.object.name_any() == name && one.object.namespace().as_deref().unwrap_or("") == namespace
        };
        match (state.written.values().filter(is_it).max_by_key(|one| version(&*one.object)), cached) {
            (Some(one), cached) if one.deleted => cached.filter(|cached| cached.uid() != one.object.uid()),
            (Some(one), Some(cached)) if version(&*cached) >= version(&*one.object) => Some(cached),
            (Some(one), _) => Some(Arc::clone(&one.object)),
            (None, cached) => cached,
        }
    }

    /// All objects of the namespace.
    pub(crate) fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let mut objects = self.informer.in_namespace(namespace);
        let mut state = self.state.lock();
        if state.written.is_empty() {
            return objects;
        }
        state.expire();
        let mut own: HashMap<&str, &Written<K>> = state
            .written
            .iter()
            .filter(|(_, one)| one.object.namespace().as_deref().unwrap_or("") == namespace)
            .map(|(uid, one)| (uid.as_str(), one))
            .collect();
        objects.retain_mut(|cached| {
            let Some(one) = cached.meta().uid.as_deref().and_then(|uid| own.remove(uid)) else { return true };
            if !one.deleted && version(&**cached) < version(&*one.object) {
                *cached = Arc::clone(&one.object);
            }
            !one.deleted
        });
        objects.extend(own.into_values().filter(|one| !one.deleted).map(|one| Arc::clone(&one.object)));
        objects
    }
}

impl<K> State<K> {
    fn expire(&mut self) {
        self.written.retain(|_, one| one.at.elapsed() < LIFETIME);
    }

    fn note_gone(&mut self, uid: String) {
        if self.gone.len() >= 1024 {
            self.gone.retain(|_, at| at.elapsed() < LIFETIME);
        }
        self.gone.insert(uid, Instant::now());
    }
}

/// Resource versions of one kind are comparable numbers.
fn version(object: &impl kube::Resource) -> u64 {
    object.meta().resource_version.as_deref().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use informer::Informers;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    use super::*;
    use crate::fake::Fake;

    fn map(name: &str, uid: &str, version: u32) -> ConfigMap {
        let metadata = json!({ "name": name, "namespace": "shop", "uid": uid, "resourceVersion": version.to_string() });
        serde_json::from_value(json!({ "metadata": metadata })).expect("a config map")
    }

    fn shown(overlay: &Overlay<ConfigMap>) -> Vec<String> {
        let version =
            |map: &Arc<ConfigMap>| format!("{}@{}", map.name_any(), map.resource_version().unwrap_or_default());
        let mut shown: Vec<String> = overlay.in_namespace("shop").iter().map(version).collect();
        shown.sort();
        shown
    }

    async fn overlay(fake: &Fake, ctx: &tasks::Context) -> Overlay<ConfigMap> {
        let informers = Informers::new(fake.client(), ctx);
        let overlay = Overlay::new(informers.of::<ConfigMap>());
        informers.synced().await;
        overlay
    }

    /// Waits until the cache behind the overlay has what `reached` asks for.
    async fn until(overlay: &Overlay<ConfigMap>, reached: impl Fn(&Informer<ConfigMap>) -> bool) {
        let notify = Arc::new(tokio::sync::Notify::new());
        let told = Arc::clone(&notify);
        overlay.informer.on_change(move |_| told.notify_one());
        while !reached(&overlay.informer) {
            notify.notified().await;
        }
    }

    #[tokio::test]
    async fn own_writes_show_at_once_and_a_newer_event_wins() {
        let (fake, (ctx, _)) = (Fake::new(), tasks::context_for_tests());
        let overlay = overlay(&fake, &ctx).await;
        overlay.wrote(map("a", "uid-1", 1));
        overlay.wrote(map("b", "uid-99", 70));
        assert_eq!(shown(&overlay), ["a@1", "b@70"]);
        assert!(overlay.get("shop", "b").is_some());
        fake.edit(|objects| {
            objects.create_object("configmaps", json!({ "metadata": { "name": "a", "namespace": "shop" } }));
            objects.change("configmaps", "shop", "a", |map| map["data"] = json!({ "k": "v" }));
        });
        until(&overlay, |cache| cache.get("shop", "a").is_some_and(|map| map.data.is_some())).await;
        assert_eq!(shown(&overlay), ["a@2", "b@70"]);
    }

    #[tokio::test]
    async fn a_late_answer_does_not_revive_what_the_watch_saw_go() {
        let (fake, (ctx, _)) = (Fake::new(), tasks::context_for_tests());
        let overlay = overlay(&fake, &ctx).await;
        fake.edit(|objects| {
            objects.create_object("configmaps", json!({ "metadata": { "name": "a", "namespace": "shop" } }))
        });
        until(&overlay, |cache| cache.len() == 1).await;
        overlay.deleted(&overlay.get("shop", "a").expect("an object"));
        assert_eq!(shown(&overlay), Vec::<String>::new());
        fake.edit(|objects| objects.remove("configmaps", "shop", "a"));
        until(&overlay, Informer::is_empty).await;
        overlay.wrote(map("a", "uid-1", 1));
        assert_eq!(shown(&overlay), Vec::<String>::new());
    }
}
