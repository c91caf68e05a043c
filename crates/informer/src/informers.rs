//! One informer per kind, started on first use.

use std::any::{Any, TypeId, type_name};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::{Follow, Informer};

/// What an informer can hold: any typed Kubernetes object.
pub trait Object: Resource + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {}
impl<K> Object for K where K: Resource + DeserializeOwned + Clone + fmt::Debug + Send + Sync + 'static {}

/// The informers of one component: one client identity, one watch per kind.
#[derive(Clone)]
pub struct Informers {
    client: Client,
    children: tasks::Children,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    by_kind: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    /// By kind, a `fn(&mut K)`.
    slims: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    waits: Vec<Wait>,
}

/// Waits for the first list of one informer.
type Wait = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

impl fmt::Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informers").field("kinds", &self.shared.lock().waits.len()).finish()
    }
}

impl Informers {
    /// Informers that read with `client` and whose watches end with the service of `context`.
    #[must_use]
    pub fn new(client: Client, context: &tasks::Context) -> Self {
        Self { client, children: context.children.clone(), shared: Arc::default() }
    }

    /// Of objects of kind `K` only what `slim` leaves is kept, by informers that are asked for from now on; as client-go's
    /// `SetTransform`. Handlers hear the slim object too, so nobody may write one back as a whole.
    #[must_use]
    pub fn keeping<K: Object>(self, slim: fn(&mut K)) -> Self {
        self.shared.lock().slims.insert(TypeId::of::<K>(), Box::new(slim));
        self
    }

    /// The informer of all objects of kind `K`, in every namespace.
    #[must_use]
    pub fn of<K: Object>(&self) -> Informer<K>
    where
        K::DynamicType: Default + Eq + std::hash::Hash + Clone + fmt::Debug + Send + Sync + Unpin,
    {
        if let Some(known) = self.shared.lock().by_kind.get(&TypeId::of::<K>()) {
            return known.downcast_ref::<Informer<K>>().expect("invariant: keyed by type").clone();
        }
        let informer = self.with(Api::<K>::all(self.client.clone()), watcher::Config::default());
        self.shared.lock().by_kind.insert(TypeId::of::<K>(), Box::new(informer.clone()));
        informer
    }

    /// A separate informer over `api` with selectors of its own.
    #[must_use]
    pub fn with<K: Object>(&self, api: Api<K>, config: watcher::Config) -> Informer<K>
    where
        K::DynamicType: Default + Eq + std::hash::Hash + Clone + fmt::Debug + Send + Sync + Unpin,
    {
        let slim = self
            .shared
            .lock()
            .slims
            .get(&TypeId::of::<K>())
            .and_then(|slim| slim.downcast_ref::<fn(&mut K)>().copied());
        let informer = Informer::new(slim);
        let (filled, waited) = (informer.clone(), informer.clone());
        self.children.spawn(format!("watch {}", short_name::<K>()), async move {
            let mut listed = BTreeSet::new();
            let mut events = Follow::of(api, config);
            loop {
                filled.apply(events.next().await, &mut listed);
            }
        });
        let wait = move || -> BoxFuture<'static, ()> {
            let informer = waited.clone();
            Box::pin(async move { informer.synced().await })
        };
        self.shared.lock().waits.push(Box::new(wait));
        informer
    }

    /// Waits until every informer asked for so far has its first complete list.
    pub async fn synced(&self) {
        let waits: Vec<_> = self.shared.lock().waits.iter().map(|wait| wait()).collect();
        futures::future::join_all(waits).await;
    }
}

fn short_name<K>() -> &'static str {
    type_name::<K>().rsplit("::").next().unwrap_or("object")
}
