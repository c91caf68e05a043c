//! Ingresses and Gateways that ask for certificates by annotation.

use std::collections::BTreeMap;
use std::sync::Arc;

use informer::Next;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt as _};

use super::Shared;
use super::wakes::Gateway;
use super::write;
use crate::api::Certificate;
use crate::plan::shim::{self, Action, Defaults, Front};

pub(super) async fn ingress(shared: &Arc<Shared>, key: &base::Key) -> anyhow::Result<Next> {
    let Some(ingress) = shared.ingresses.get(&key.namespace, &key.name) else { return Ok(Next::Done) };
    let mut front = front(&*ingress);
    let entries = ingress.spec.as_ref().and_then(|spec| spec.tls.as_ref()).into_iter().flatten();
    let tls: Vec<(String, Vec<String>)> = entries
        .map(|entry| (entry.secret_name.clone().unwrap_or_default(), entry.hosts.clone().unwrap_or_default()))
        .collect();
    shim::ingress_wants(&mut front, &tls);
    carry_out(shared, &*ingress, &front).await
}

pub(super) async fn gateway(shared: &Arc<Shared>, key: &base::Key) -> anyhow::Result<Next> {
    let known = shared.gateways.lock().clone();
    let Some(gateway) = known.and_then(|all| all.get(&key.namespace, &key.name)) else { return Ok(Next::Done) };
    let mut front = front(&*gateway);
    shim::gateway_wants(&mut front, &gateway.spec);
    carry_out(shared, &*gateway, &front).await
}

fn front<K: Resource<DynamicType = ()>>(object: &K) -> Front {
    let annotations: BTreeMap<String, String> = object.meta().annotations.clone().unwrap_or_default();
    Front {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: object.name_any(),
        namespace: object.namespace().unwrap_or_default(),
        uid: object.uid().unwrap_or_default(),
        annotations,
        labels: object.meta().labels.clone().unwrap_or_default(),
        deleted: object.meta().deletion_timestamp.is_some(),
        ..Front::default()
    }
}

async fn carry_out<K: Resource<DynamicType = ()>>(shared: &Shared, object: &K, front: &Front) -> anyhow::Result<Next> {
    let defaults = Defaults { own_issuer: shared.config.own_issuer.clone() };
    let (actions, notes) = shim::plan(front, &shared.certificates.in_namespace(&front.namespace), &defaults);
    let api = Api::<Certificate>::namespaced(shared.client.clone(), &front.namespace);
    for action in actions {
        match action {
            Action::Create(document) => shared.create::<Certificate>(&front.namespace, &document).await?,
            Action::Update(name, patch) => {
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            }
            Action::Delete(name) => write::delete(&api, &name).await?,
        }
    }
    for note in &notes {
        shared.tell(object, note).await;
    }
    Ok(Next::Done)
}

/// Whether an Ingress is of interest at all.
pub(super) fn asks(ingress: &Ingress) -> bool {
    ingress
        .metadata
        .annotations
        .iter()
        .flatten()
        .any(|(name, _)| name.starts_with("cert-manager.io/") || name == "kubernetes.io/tls-acme")
}

/// The same of a Gateway.
pub(super) fn gateway_asks(gateway: &Gateway) -> bool {
    gateway
        .metadata
        .annotations
        .iter()
        .flatten()
        .any(|(name, _)| name.starts_with("cert-manager.io/") || name == "kubernetes.io/tls-acme")
}
