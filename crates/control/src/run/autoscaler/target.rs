//! What autoscalers scale: anything with a scale subresource, found by group and kind.
//!
//! Invariant: a kind is only remembered as long as its scale answers, for definitions come and go. The version that an
//! autoscaler names is tried first and is no more than a hint, as upstream: an old one must not stop a workload's scaling.

use std::collections::HashMap;

use k8s_openapi::api::autoscaling::v1;
use k8s_openapi::api::autoscaling::v2::CrossVersionObjectReference;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::core::gvk::GroupVersion;
use kube::{Api, Client};
use parking_lot::Mutex;

use crate::plan::autoscaler::Scale;
use crate::run::write;

/// A size that somebody else changed at the same time is read and set again so many times.
const TRIES: usize = 5;

/// Finds and changes sizes.
pub(super) struct Targets {
    client: Client,
    known: Mutex<HashMap<(String, String), ApiResource>>,
}

/// One thing that can be scaled.
pub(super) struct Target {
    api: Api<DynamicObject>,
    name: String,
    scale: v1::Scale,
}

impl Target {
    pub(super) fn scale(&self) -> Scale {
        let status = self.scale.status.as_ref();
        Scale {
            wanted: self.scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0),
            actual: status.map_or(0, |status| status.replicas),
            selector: status.and_then(|status| status.selector.clone()).unwrap_or_default(),
        }
    }
}

impl Targets {
    pub(super) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default() }
    }

    /// The target and its present size.
    pub(super) async fn find(
        &self,
        namespace: &str,
        reference: &CrossVersionObjectReference,
    ) -> Result<Target, String> {
        let resource = self.resource(reference).await?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        match api.get_scale(&reference.name).await {
            Ok(scale) => Ok(Target { api, name: reference.name.clone(), scale }),
            Err(error) => {
                if write::is_not_found(&error) {
                    self.known.lock().remove(&kind(reference));
                }
                Err(write::message(&error))
            }
        }
    }

    /// Sets the size.
    pub(super) async fn set(&self, target: Target, replicas: i32) -> Result<(), String> {
        let Target { api, name, mut scale } = target;
        for left in (0..TRIES).rev() {
            scale.spec.get_or_insert_default().replicas = Some(replicas);
            match api.replace_scale(&name, &PostParams::default(), &scale).await {
                Ok(_) => return Ok(()),
                Err(error) if write::is_conflict(&error) && left > 0 => {
                    scale = api.get_scale(&name).await.map_err(|error| write::message(&error))?;
                }
                Err(error) => return Err(write::message(&error)),
            }
        }
        Ok(())
    }

    /// What the reference's resource is called in the paths of custom metrics: `ingresses.networking.k8s.io`.
    pub(super) async fn resource_name(&self, reference: &CrossVersionObjectReference) -> Result<String, String> {
        let resource = self.resource(reference).await?;
        let dot = if resource.group.is_empty() { "" } else { "." };
        Ok(format!("{}{dot}{}", resource.plural, resource.group))
    }

    async fn resource(&self, reference: &CrossVersionObjectReference) -> Result<ApiResource, String> {
        let known = self.known.lock().get(&kind(reference)).cloned();
        if let Some(resource) = known {
            return Ok(resource);
        }
        let resource = self.discover(reference).await?;
        self.known.lock().insert(kind(reference), resource.clone());
        Ok(resource)
    }

    async fn discover(&self, reference: &CrossVersionObjectReference) -> Result<ApiResource, String> {
        let (version, kind) = (reference.api_version.as_deref().unwrap_or(""), &reference.kind);
        let parsed: GroupVersion = version.parse().map_err(|_| format!("unexpected GroupVersion string: {version}"))?;
        if !parsed.version.is_empty() {
            match kube::discovery::pinned_kind(&self.client, &parsed.clone().with_kind(kind)).await {
                Ok((resource, _)) => return Ok(resource),
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(write::message(&error)),
            }
        }
        let missing = || {
            let group = if parsed.group.is_empty() { String::new() } else { format!(" in group \"{}\"", parsed.group) };
            format!("no matches for kind \"{kind}\"{group}")
        };
        match kube::discovery::group(&self.client, &parsed.group).await {
            Ok(group) => group.recommended_kind(kind).map(|(resource, _)| resource).ok_or_else(missing),
            Err(error) if is_absent(&error) => Err(missing()),
            Err(error) => Err(write::message(&error)),
        }
    }
}

fn kind(reference: &CrossVersionObjectReference) -> (String, String) {
    (reference.api_version.clone().unwrap_or_default(), reference.kind.clone())
}

fn is_absent(error: &kube::Error) -> bool {
    write::is_not_found(error) || matches!(error, kube::Error::Discovery(_))
}
