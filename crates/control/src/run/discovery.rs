//! Which kinds the cluster has, for the controllers that work on all of them.
//!
//! Invariant: one row per kind, at its preferred version; subresources are not kinds.

use std::sync::Arc;

use kube::api::ApiResource;
use kube::discovery::{Discovery, Scope};
use kube::{Client, api::GroupVersionKind};

use crate::plan::garbage::Kind;

/// A kind and what may be done with it.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    pub(crate) kind: Arc<Kind>,
    pub(crate) verbs: Vec<String>,
}

impl Resource {
    pub(crate) fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|one| one == verb)
    }
}

/// How `kube` names the kind.
pub(crate) fn api_resource(kind: &Kind) -> ApiResource {
    let gvk = GroupVersionKind::gvk(&kind.group, &kind.version, &kind.kind);
    ApiResource::from_gvk_with_plural(&gvk, &kind.plural)
}

/// All kinds of the cluster.
pub(crate) async fn resources(client: &Client) -> kube::Result<Vec<Resource>> {
    let found = match Discovery::new(client.clone()).run_aggregated().await {
        Ok(found) => found,
        Err(_) => Discovery::new(client.clone()).run().await?, // an API without aggregated discovery
    };
    let mut resources = Vec::new();
    for group in found.groups() {
        for (resource, capabilities) in group.resources_by_stability() {
            resources.push(Resource {
                kind: Arc::new(Kind {
                    group: resource.group,
                    version: resource.version,
                    kind: resource.kind,
                    plural: resource.plural,
                    namespaced: capabilities.scope == Scope::Namespaced,
                }),
                verbs: capabilities.operations,
            });
        }
    }
    Ok(resources)
}
