//! How many pods a controller wants: from the caches for the kinds everybody has, by its scale for all others.
//!
//! Invariant: a kind is only remembered as long as its scale answers, for definitions come and go.

use std::collections::HashMap;

use informer::{Change, Informer, Object};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{ApiResource, DynamicObject};
use kube::core::gvk::GroupVersion;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;

use super::super::write;
use crate::Shared;
use crate::plan::claim;
use crate::plan::disruption::{self as plan, Asked, Scale, Source};

/// Where to ask about controllers.
pub(super) struct Scales {
    client: Client,
    controllers: Informer<ReplicationController>,
    sets: Informer<ReplicaSet>,
    deployments: Informer<Deployment>,
    stateful_sets: Informer<StatefulSet>,
    known: Mutex<HashMap<(String, String), ApiResource>>,
}

fn watch<K: Object>(cache: &Informer<K>, replicas: fn(&K) -> Option<i32>, wake: impl Fn(&str) + Send + Sync + 'static) {
    cache.on_change(move |change: Change<'_, K>| {
        if change.old.map(|one| replicas(one)) != change.new.map(|one| replicas(one)) {
            wake(change.latest().meta().namespace.as_deref().unwrap_or(""));
        }
    });
}

impl Scales {
    pub(super) fn new(shared: &Shared, client: Client) -> Self {
        Self {
            client,
            controllers: shared.informers.of(),
            sets: shared.informers.of(),
            deployments: shared.informers.of(),
            stateful_sets: shared.informers.of(),
            known: Mutex::default(),
        }
    }

    /// Tells `wake` the namespace of each controller that changes what it wants.
    pub(super) fn on_change(&self, wake: impl Fn(&str) + Clone + Send + Sync + 'static) {
        watch(&self.controllers, |one| one.spec.as_ref()?.replicas, wake.clone());
        watch(&self.sets, |one| one.spec.as_ref()?.replicas, wake.clone());
        watch(&self.deployments, |one| one.spec.as_ref()?.replicas, wake.clone());
        watch(&self.stateful_sets, |one| one.spec.as_ref()?.replicas, wake);
    }

    /// What the controller wants.
    pub(super) async fn ask(&self, namespace: &str, controller: &OwnerReference) -> Asked {
        match self.cached(namespace, controller) {
            Some(scale) => Ok(Some(scale)),
            None => self.by_subresource(namespace, controller).await,
        }
    }

    fn cached(&self, namespace: &str, controller: &OwnerReference) -> Option<Scale> {
        let (name, uid) = (&controller.name, &controller.uid);
        let scale = |replicas: Option<i32>| Scale { uid: uid.clone(), replicas: replicas.unwrap_or(1) };
        match plan::source(controller) {
            Source::ReplicationController => {
                let one = self.controllers.get(namespace, name).filter(|one| one.metadata.uid.as_ref() == Some(uid))?;
                Some(scale(one.spec.as_ref()?.replicas))
            }
            Source::StatefulSet => {
                let one =
                    self.stateful_sets.get(namespace, name).filter(|one| one.metadata.uid.as_ref() == Some(uid))?;
                Some(scale(one.spec.as_ref()?.replicas))
            }
            Source::ReplicaSet => {
                let set = self.sets.get(namespace, name).filter(|set| set.metadata.uid.as_ref() == Some(uid))?;
                let deployment =
                    claim::controller(&*set).and_then(|owner| self.deployments.get(namespace, &owner.name));
                plan::of_replica_set(&set, deployment.as_deref())
            }
            Source::Scale => None,
        }
    }

    async fn by_subresource(&self, namespace: &str, controller: &OwnerReference) -> Asked {
        let kind = (controller.api_version.clone(), controller.kind.clone());
        let known = self.known.lock().get(&kind).cloned();
        if let Some(resource) = known
            && let Some(scale) = self.get(namespace, &resource, controller).await?
        {
            return Ok(Some(scale).filter(|scale| scale.uid == controller.uid));
        }
        self.known.lock().remove(&kind);
        let resource = self.find(controller).await?;
        let scale = self.get(namespace, &resource, controller).await?;
        if scale.is_some() {
            self.known.lock().insert(kind, resource);
        }
        Ok(scale.filter(|scale| scale.uid == controller.uid))
    }

    /// The resource of the controller's kind, if it has a scale.
    async fn find(&self, controller: &OwnerReference) -> Result<ApiResource, String> {
        let (kind, version) = (&controller.kind, &controller.api_version);
        let parsed: GroupVersion = version.parse().map_err(|_| format!("unexpected GroupVersion string: {version}"))?;
        let found = kube::discovery::pinned_kind(&self.client, &parsed.with_kind(kind)).await;
        let (resource, capabilities) = match found {
            Ok(found) => found,
            Err(error) if write::is_not_found(&error) || matches!(error, kube::Error::Discovery(_)) => {
                return Err(format!("no matches for kind \"{kind}\" in version \"{version}\""));
            }
            Err(error) => return Err(write::message(&error)),
        };
        let scales = capabilities.subresources.iter().any(|(one, _)| one.plural == "scale");
        let name = if resource.group.is_empty() {
            resource.plural.clone()
        } else {
            format!("{}.{}", resource.plural, resource.group)
        };
        if scales { Ok(resource) } else { Err(format!("{name} does not implement the scale subresource")) }
    }

    async fn get(
        &self,
        namespace: &str,
        resource: &ApiResource,
        controller: &OwnerReference,
    ) -> Result<Option<Scale>, String> {
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, resource);
        match api.get_scale(&controller.name).await {
            Ok(scale) => {
                let replicas = scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
                Ok(Some(Scale { uid: scale.uid().unwrap_or_default(), replicas }))
            }
            Err(error) if write::is_not_found(&error) => Ok(None),
            Err(error) => Err(write::message(&error)),
        }
    }
}
