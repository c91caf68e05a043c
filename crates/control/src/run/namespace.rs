//! The namespace controller's shell: empties a namespace that is being deleted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::Key;
use informer::{Change, Informer, Next as Look, Queue};
use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus, Pod};
use kube::api::{DeleteParams, DynamicObject, ListParams, ObjectList, PartialObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};

use super::discovery::{self, Resource};
use super::write;
use crate::plan::namespace::{self as plan, Found, Next};
use crate::{Launch, Shared, time};

const NAME: &str = "namespace-controller";
/// Pods wake us when they go; other kinds are asked again after this.
const RECHECK: Duration = Duration::from_secs(2);

type Metadata = PartialObjectMeta<DynamicObject>;

struct Shell {
    client: Client,
    namespaces: Informer<Namespace>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let namespaces = shared.informers.of::<Namespace>();
    let pods = shared.informers.of::<Pod>();
    let wake = queue.clone();
    namespaces.on_change(move |change: Change<'_, Namespace>| {
        if change.new.is_some_and(|namespace| plan::is_leaving(namespace)) {
            wake.add(Key::cluster(change.latest().name_any()));
        }
    });
    let (wake, known) = (queue.clone(), namespaces.clone());
    pods.on_change(move |change: Change<'_, Pod>| {
        let name = change.latest().namespace().unwrap_or_default();
        if change.new.is_none() && known.get("", &name).is_some_and(|namespace| plan::is_leaving(&namespace)) {
            wake.add(Key::cluster(name));
        }
    });
    let shell = Arc::new(Shell { client: shared.client(NAME), namespaces });
    let shared = shared.clone();
    Box::new(move || {
        informer::work(&queue, 4, &shared.context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { write::settle(shell.sync(&key.name).await) }
        });
    })
}

impl Shell {
    async fn sync(&self, name: &str) -> anyhow::Result<Look> {
        if !self.namespaces.get("", name).is_some_and(|namespace| plan::is_leaving(&namespace)) {
            return Ok(Look::Done);
        }
        // Conditions are decided on the live object: nothing else writes them, but the cache may lag behind us.
        let api: Api<Namespace> = Api::all(self.client.clone());
        let namespace = match api.get_opt(name).await {
            Ok(Some(namespace)) if plan::is_leaving(&namespace) => namespace,
            Ok(_) => return Ok(Look::Done),
            Err(error) => return Err(write::failed(&error, format_args!("cannot read namespace {name}"))),
        };
        let found = self.empty(name).await;
        match plan::conclude(&namespace, &found, time::now()) {
            Next::Nothing => Ok(Look::Done),
            Next::Wait(status) => {
                self.write_status(&api, namespace, status).await?;
                Ok(Look::After(RECHECK))
            }
            Next::Finalize(status, finalizers) => {
                let mut latest = self.write_status(&api, namespace, status).await?;
                latest.spec.get_or_insert_default().finalizers = Some(finalizers);
                let params = PostParams::default();
                match api.replace_subresource("finalize", name, &params, &latest).await {
                    Ok(_) => Ok(Look::Done),
                    Err(error) if write::is_not_found(&error) => Ok(Look::Done),
                    Err(error) => Err(write::failed(&error, format_args!("cannot finalize namespace {name}"))),
                }
            }
        }
    }

    async fn write_status(
        &self,
        api: &Api<Namespace>,
        namespace: Namespace,
        status: Option<NamespaceStatus>,
    ) -> anyhow::Result<Namespace> {
        if status.is_none() {
            return Ok(namespace);
        }
        let next = Namespace { status, ..namespace };
        let name = next.name_any();
        api.replace_status(&name, &PostParams::default(), &next)
            .await
            .map_err(|error| write::failed(&error, format_args!("cannot write the status of namespace {name}")))
    }

    /// One pass: pods, and when none is left, everything else.
    async fn empty(&self, namespace: &str) -> Found {
        let mut found = Found::default();
        let resources = match discovery::resources(&self.client).await {
            Ok(resources) => resources,
            Err(error) => {
                found.undiscovered.push(write::message(&error));
                return found;
            }
        };
        let (pods, others): (Vec<Resource>, Vec<Resource>) = resources
            .into_iter()
            .filter(|resource| resource.kind.namespaced && resource.can("list") && resource.can("delete"))
            .partition(|resource| resource.kind.group.is_empty() && resource.kind.plural == "pods");
        for resource in &pods {
            self.empty_kind(namespace, resource, &mut found).await;
        }
        if found.remaining.is_empty() && found.failed.is_empty() {
            for resource in &others {
                self.empty_kind(namespace, resource, &mut found).await;
            }
        }
        found
    }

    async fn empty_kind(&self, namespace: &str, resource: &Resource, found: &mut Found) {
        let name = format!("{}.{}", resource.kind.plural, resource.kind.group);
        match self.try_empty_kind(namespace, resource).await {
            Ok(left) if left.items.is_empty() => {}
            Ok(left) => {
                let mut holders: BTreeMap<String, usize> = BTreeMap::new();
                left.items
                    .iter()
                    .flat_map(ResourceExt::finalizers)
                    .for_each(|one| *holders.entry(one.clone()).or_insert(0) += 1);
                for (finalizer, count) in holders {
                    *found.finalizers.entry(finalizer).or_insert(0) += count;
                }
                found.remaining.insert(name, left.items.len());
            }
            Err(error) => found.failed.push(format!("{name}: {}", write::message(&error))),
        }
    }

    async fn try_empty_kind(&self, namespace: &str, resource: &Resource) -> kube::Result<ObjectList<Metadata>> {
        let kind = discovery::api_resource(&resource.kind);
        let metadata: Api<Metadata> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let before = match metadata.list(&ListParams::default()).await {
            Ok(list) if list.items.is_empty() => return Ok(list),
            Ok(list) => list,
            Err(error) if write::is_not_found(&error) => return Ok(empty_list()), // the kind went away
            Err(error) => return Err(error),
        };
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &kind);
        let params = DeleteParams::background();
        if resource.can("deletecollection") {
            objects.delete_collection(&params, &ListParams::default()).await?;
        } else {
            for object in before.items.iter().filter(|object| object.metadata.deletion_timestamp.is_none()) {
                match objects.delete(&object.name_any(), &params).await {
                    Err(error) if !write::is_not_found(&error) => return Err(error),
                    _ => {}
                }
            }
        }
        metadata.list(&ListParams::default()).await
    }
}

fn empty_list() -> ObjectList<Metadata> {
    ObjectList { types: kube::api::TypeMeta::default(), metadata: Default::default(), items: Vec::new() }
}
