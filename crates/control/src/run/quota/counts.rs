//! How many objects of a kind each namespace has, for the kinds that some quota counts.
//!
//! Invariant: a kind is watched from the first quota that asks for it, by metadata alone, and its number is told only when
//! it has been listed completely. Why not all kinds from the start as upstream: most are never asked for.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::StreamExt;
use kube::api::{DynamicObject, PartialObjectMeta};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::super::{discovery, write};
use crate::Shared;
use crate::plan::garbage;
use crate::plan::quota::Kind;

type Metadata = PartialObjectMeta<DynamicObject>;
type Names = HashMap<String, HashSet<String>>;
type Gone = Arc<dyn Fn(&Kind, &str) + Send + Sync>;

/// The numbers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Counts {
    client: Client,
    children: tasks::Children,
    watches: Arc<Mutex<HashMap<Kind, Watch>>>,
    gone: Gone,
}

struct Watch {
    names: Arc<Mutex<Names>>,
    listed: watch::Sender<bool>,
}

impl Counts {
    /// `gone` hears of every namespace that has less of a kind than before.
    pub(super) fn new(shared: &Shared, gone: impl Fn(&Kind, &str) + Send + Sync + 'static) -> Self {
        Self {
            client: shared.client(""),
            children: shared.context.children.clone(),
            watches: Arc::default(),
            gone: Arc::new(gone),
        }
    }

    /// Watches these kinds, except those that quotas see anyway, from now on. Returns when all of them are listed; a kind
    /// that does not exist is no failure.
    pub(super) async fn follow(&self, kinds: &BTreeSet<Kind>) -> anyhow::Result<()> {
        let other = |kind: &&Kind| {
            let seen = matches!(
                (kind.0.as_str(), kind.1.as_str()),
                ("", "pods" | "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims")
            );
            !seen
        };
        let wanted: Vec<&Kind> = kinds.iter().filter(other).collect();
        if wanted.iter().any(|kind| !self.watches.lock().contains_key(kind)) {
            let resources = discovery::resources(&self.client).await;
            let resources =
                resources.map_err(|error| write::failed(&error, "cannot discover the kinds a quota counts"))?;
            let found = |kind: &Kind| {
                let is = |one: &&discovery::Resource| one.kind.group == kind.0 && one.kind.plural == kind.1;
                let one = resources.iter().find(is)?;
                (one.kind.namespaced && one.can("list") && one.can("watch")).then(|| Arc::clone(&one.kind))
            };
            for kind in &wanted {
                if let Some(resource) = found(kind) {
                    self.watch(kind, resource);
                }
            }
        }
        for kind in wanted {
            let listed = self.watches.lock().get(kind).map(|watch| watch.listed.subscribe());
            if let Some(mut listed) = listed {
                listed.wait_for(|listed| *listed).await.map(drop)?;
            }
        }
        Ok(())
    }

    /// How many there are; none if nobody knows.
    pub(super) fn number(&self, kind: &Kind, namespace: &str) -> Option<usize> {
        let watches = self.watches.lock();
        let watch = watches.get(kind).filter(|watch| *watch.listed.borrow())?;
        let number = watch.names.lock().get(namespace).map_or(0, HashSet::len);
        Some(number)
    }

    fn watch(&self, kind: &Kind, resource: Arc<garbage::Kind>) {
        let mut watches = self.watches.lock();
        if watches.contains_key(kind) {
            return;
        }
        let watch = Watch { names: Arc::default(), listed: watch::Sender::new(false) };
        let (names, listed) = (Arc::clone(&watch.names), watch.listed.clone());
        watches.insert(kind.clone(), watch);
        let (client, gone, kind) = (self.client.clone(), Arc::clone(&self.gone), kind.clone());
        self.children.spawn(format!("count {}.{}", kind.1, kind.0), async move {
            let api: Api<Metadata> = Api::all_with(client, &discovery::api_resource(&resource));
            let mut events = std::pin::pin!(kube::runtime::watcher(api, watcher::Config::default()).default_backoff());
            let mut relist = Names::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Init) => relist.clear(),
                    Ok(Event::InitApply(object)) => note(&mut relist, &object),
                    Ok(Event::InitDone) => {
                        let before = std::mem::replace(&mut *names.lock(), std::mem::take(&mut relist));
                        listed.send_replace(true);
                        before.keys().for_each(|namespace| gone(&kind, namespace));
                    }
                    Ok(Event::Apply(object)) => note(&mut names.lock(), &object),
                    Ok(Event::Delete(object)) => {
                        let namespace = object.namespace().unwrap_or_default();
                        if let Some(known) = names.lock().get_mut(&namespace) {
                            known.remove(&object.name_any());
                        }
                        gone(&kind, &namespace);
                    }
                    Err(error) => tracing::debug!(kind = kind.1, "watch interrupted: {error}"),
                }
            }
        });
    }
}

fn note(names: &mut Names, object: &Metadata) {
    names.entry(object.namespace().unwrap_or_default()).or_default().insert(object.name_any());
}
