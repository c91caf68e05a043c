//! Admission: the one place where a write may be changed or refused for reasons that are not about its shape.
//!
//! Order matters and is written once, in [`chain`]: every plugin's `mutate` runs in that order, then the object is
//! validated, then every plugin's `validate` runs. Whatever happened, [`Admission::settle`] is called once for each plugin
//! whose `mutate` ran, so that something taken in `mutate` (an address, a port) is either kept or given back.

mod account;
mod ask;
mod certificates;
mod defaults;
mod lifecycle;
pub(crate) mod node;
mod priority;
mod quota;
mod rbac;
mod resize;
pub(crate) mod service;
mod storage;
mod taints;
mod topology;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use kinds::Kind;
use serde_json::Value;

pub(crate) use ask::Rounds;

use crate::{
    allocate::Number, call::Call, core::Core, error::ApiError, identity::User, negotiate::Accepts, options::Options,
    request::Info,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// One write on its way to the store.
pub struct Admit<'a> {
    pub user: &'a User,
    pub operation: Operation,
    pub kind: &'a Kind,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty while a create still waits for its generated name.
    pub name: &'a str,
    /// The new object, in the version the client spoke; none for a delete.
    pub object: Option<&'a mut Value>,
    /// The stored object; none for a create.
    pub old: Option<&'a Value>,
    pub dry_run: bool,
    /// Addresses and ports taken for this write; settled with it.
    pub taken: &'a mut Vec<Number>,
    /// The request; none if the server itself writes.
    pub(crate) call: Option<&'a Call>,
    pub(crate) rounds: &'a mut Rounds,
}

#[async_trait]
pub trait Admission: Send + Sync {
    fn name(&self) -> &'static str;

    async fn mutate(&self, _core: &Core, _admit: &mut Admit<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    async fn validate(&self, _core: &Core, _admit: &Admit<'_>) -> Result<(), ApiError> {
        Ok(())
    }

    /// Whether `mutate` is to see what a webhook made of the object.
    fn looks_again(&self) -> bool {
        true
    }

    /// Whether it asks somebody else, and so acts on requests too that store nothing of their own.
    fn asks_others(&self) -> bool {
        false
    }

    /// The write is over. `committed` is false for dry runs, refusals and lost races (a retry admits anew).
    fn settle(&self, _core: &Core, _admit: &Admit<'_>, _committed: bool) {}
}

/// The plugins, in the order they act: upstream's, then what upstream does in its registries.
pub(crate) fn chain() -> Vec<Arc<dyn Admission>> {
    vec![
        Arc::new(lifecycle::NamespaceLifecycle),
        Arc::new(account::ServiceAccount),
        Arc::new(node::NodeRestriction),
        Arc::new(taints::TaintNodesByCondition),
        Arc::new(priority::Priority),
        Arc::new(taints::DefaultTolerationSeconds),
        Arc::new(storage::StorageObjectInUseProtection),
        Arc::new(certificates::Certificates),
        Arc::new(topology::PodTopologyLabels),
        Arc::new(resize::PodResizeValidator),
        Arc::new(resize::NodeDeclaredFeatureValidator),
        Arc::new(defaults::DefaultStorageClass),
        Arc::new(storage::PersistentVolumeClaimResize),
        Arc::new(defaults::DefaultIngressClass),
        Arc::new(ask::MutatingAdmissionPolicy::default()),
        Arc::new(ask::MutatingAdmissionWebhook::default()),
        Arc::new(ask::ValidatingAdmissionPolicy::default()),
        Arc::new(ask::ValidatingAdmissionWebhook::default()),
        Arc::new(rbac::RbacEscalation),
        Arc::new(service::ServiceNumbers),
        Arc::new(quota::ResourceQuota::default()),
    ]
}

/// Asks others about a connection (exec, attach, port-forward, proxies). `options` is what upstream calls the object of such
/// a request; what somebody makes of it is not looked at.
pub(crate) async fn connection(
    core: &Core,
    user: &Arc<User>,
    info: &Info,
    headers: &HeaderMap,
    mut options: Value,
) -> Result<(), ApiError> {
    let (asked, accepts) = (Options::default(), Accepts::default());
    let call = Call::new(user.clone(), info.clone(), asked, accepts, headers, Bytes::new());
    question(core, &call, Operation::Connect, &mut options).await
}

/// Asks others about an object that is sent to an object, and not stored itself: a Binding, an Eviction, a TokenRequest.
pub(crate) async fn sent(core: &Core, call: &Call, object: &mut Value) -> Result<(), ApiError> {
    question(core, call, Operation::Create, object).await
}

async fn question(core: &Core, call: &Call, operation: Operation, object: &mut Value) -> Result<(), ApiError> {
    let info = &call.info;
    let catalog = core.catalog();
    let kind = catalog.resource(&info.group, &info.version, &info.resource).ok_or_else(ApiError::no_such_path)?;
    let (mut taken, mut rounds) = (Vec::new(), Rounds::default());
    let mut admit = Admit {
        user: &call.user,
        operation,
        kind,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &info.name,
        object: Some(object),
        old: None,
        dry_run: call.options.dry_run,
        taken: &mut taken,
        call: Some(call),
        rounds: &mut rounds,
    };
    for plugin in core.admission.iter().filter(|plugin| plugin.asks_others()) {
        plugin.mutate(core, &mut admit).await?;
    }
    for plugin in core.admission.iter().filter(|plugin| plugin.asks_others()) {
        plugin.validate(core, &admit).await?;
    }
    Ok(())
}

/// Present on a kubelet's picture of a static pod.
const MIRROR_POD: &str = "/metadata/annotations/kubernetes.io~1config.mirror";

/// A pod itself, not one of its subresources.
fn is_pod(admit: &Admit<'_>) -> bool {
    admit.kind.group.is_empty() && admit.kind.plural == "pods" && admit.subresource.is_empty()
}

/// Appends to a list that may not be there yet.
fn push(list: &mut Value, item: Value) {
    match list.as_array_mut() {
        Some(items) => items.push(item),
        None => *list = Value::Array(vec![item]),
    }
}

#[cfg(test)]
mod tests;
