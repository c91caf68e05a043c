//! Devices that a pod has by claims: nothing on this node prepares them.
//!
//! Invariant: a pod is never started without the devices it was promised. Devices are made ready by the plugin of their
//! driver, and this node has no plugins; so a pod whose claims hold devices waits, and is told for which driver (upstream
//! `kubelet/cm/dra`, whose words these are). A claim that holds none, or that the pod turned out not to need, is no obstacle.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::{Api, Client};

/// Makes the devices of the pod's claims ready.
///
/// # Errors
/// When there are any, or when that cannot be found out.
pub(crate) async fn prepare(client: &Client, pod: &Pod) -> Result<(), String> {
    let claims = claims(pod)?;
    let api: Api<ResourceClaim> =
        Api::namespaced(client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
    for (name, made) in claims {
        let claim = match api.get(&name).await {
            Ok(claim) => claim,
            Err(kube::Error::Api(answer)) => return Err(format!("fetch ResourceClaim {name}: {}", answer.message)),
            Err(error) => return Err(format!("fetch ResourceClaim {name}: {error}")),
        };
        check(pod, &name, made, &claim)?;
    }
    Ok(())
}

/// The names of the pod's claims, and whether they were made for it.
fn claims(pod: &Pod) -> Result<Vec<(String, bool)>, String> {
    let status = pod.status.as_ref();
    let made = status.and_then(|status| status.resource_claim_statuses.as_deref()).unwrap_or_default();
    let mut claims = Vec::new();
    for one in pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten()) {
        match (&one.resource_claim_name, made.iter().find(|made| made.name == one.name)) {
            (Some(name), _) => claims.push((name.clone(), false)),
            (None, Some(made)) => claims.extend(made.resource_claim_name.clone().map(|name| (name, true))),
            (None, None) => {
                let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
                let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
                return Err(format!("pod \"{namespace}/{name}\": ResourceClaim not created yet"));
            }
        }
    }
    let extended = status.and_then(|status| status.extended_resource_claim_status.as_ref());
    claims.extend(extended.map(|status| (status.resource_claim_name.clone(), false)));
    Ok(claims)
}

fn check(pod: &Pod, name: &str, made: bool, claim: &ResourceClaim) -> Result<(), String> {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let owners = claim.metadata.owner_references.as_deref().unwrap_or_default();
    if made && !owners.iter().any(|owner| owner.controller == Some(true) && owner.uid == uid) {
        return Err(format!("ResourceClaim {name} was not created for Pod {pod_name} (Pod is not owner)"));
    }
    let status = claim.status.as_ref();
    if !status.iter().flat_map(|status| status.reserved_for.iter().flatten()).any(|one| one.uid == uid) {
        let claim_uid = claim.metadata.uid.as_deref().unwrap_or_default();
        return Err(format!("pod {pod_name} ({uid}) is not allowed to use ResourceClaim {name} ({claim_uid})"));
    }
    let Some(allocation) = status.and_then(|status| status.allocation.as_ref()) else {
        return Err(format!("ResourceClaim {name}: not allocated"));
    };
    let given = allocation.devices.iter().flat_map(|devices| devices.results.iter().flatten());
    match given.into_iter().next() {
        Some(device) => Err(format!("ResourceClaim {name}: DRA driver {} is not registered", device.driver)),
        None => Ok(()),
    }
}
