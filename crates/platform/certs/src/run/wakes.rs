//! Which change wakes whom. A wake-up carries a key, never the change.

use std::sync::Arc;
use std::time::Duration;

use informer::{Informer, Informers, Kept, Part};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt as _};
use serde::Deserialize;
use serde_json::Value;

use super::{Shared, fronts};
use crate::api::{IssuerRef, condition, controller, kind};

kind!(
    /// A Gateway of any version of its API that we read alike.
    Gateway, Value, Value, "gateway.networking.k8s.io", "gateways", NamespaceResourceScope
);

/// Between two looks for the definition of Gateways.
const LOOK: Duration = Duration::from_secs(10);

/// A Secret, without what is in it.
pub(super) type SecretName = Part<SecretMeta>;

/// What is kept of a Secret: that it is there, and changed.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SecretMeta {
    #[serde(deserialize_with = "informer::identity")]
    metadata: ObjectMeta,
}

impl Kept for SecretMeta {
    type Kind = Secret;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

fn key_of(object: &impl Resource) -> base::Key {
    base::Key {
        namespace: object.meta().namespace.clone().unwrap_or_default(),
        name: object.meta().name.clone().unwrap_or_default(),
    }
}

/// The object that controls `object`, if it is of `kind`.
fn owner(object: &impl Resource, kind: &str) -> Option<base::Key> {
    let owner = controller(object).filter(|owner| owner.kind == kind)?;
    Some(base::Key { namespace: object.meta().namespace.clone().unwrap_or_default(), name: owner.name.clone() })
}

fn turn() -> base::Key {
    base::Key { namespace: String::new(), name: "turn".to_owned() }
}

/// Lets every change wake those it matters to.
pub(super) fn connect(shared: &Arc<Shared>, secrets: &Informer<SecretName>) {
    let queues = shared.queues.clone();
    shared.certificates.on_change(move |change| {
        let certificate = change.latest();
        queues.certificates.add(key_of(&**certificate));
        owner(&**certificate, "Ingress").into_iter().for_each(|key| queues.ingresses.add(key));
        owner(&**certificate, "Gateway").into_iter().for_each(|key| queues.gateways.add(key));
    });
    let queues = shared.queues.clone();
    shared.requests.on_change(move |change| {
        queues.requests.add(key_of(&**change.latest()));
        owner(&**change.latest(), "Certificate").into_iter().for_each(|key| queues.certificates.add(key));
    });
    let own = Arc::clone(shared);
    shared.issuers.on_change(move |change| {
        let issuer = change.latest();
        issuer_changed(&own, "Issuer", &issuer.namespace().unwrap_or_default(), &issuer.name_any());
    });
    let own = Arc::clone(shared);
    shared
        .cluster_issuers
        .on_change(move |change| issuer_changed(&own, "ClusterIssuer", "", &change.latest().name_any()));
    let queues = shared.queues.clone();
    shared.orders.on_change(move |change| {
        queues.orders.add(key_of(&**change.latest()));
        owner(&**change.latest(), "CertificateRequest").into_iter().for_each(|key| queues.requests.add(key));
    });
    let queues = shared.queues.clone();
    shared.challenges.on_change(move |change| {
        queues.challenges.add(key_of(&**change.latest()));
        queues.turns.add(turn());
        owner(&**change.latest(), "Order").into_iter().for_each(|key| queues.orders.add(key));
    });
    let queues = shared.queues.clone();
    shared.ingresses.on_change(move |change| {
        if fronts::asks(change.latest()) {
            queues.ingresses.add(key_of(&**change.latest()));
        }
    });
    let own = Arc::clone(shared);
    secrets.on_change(move |change| {
        secret_changed(&own, &change.latest().namespace().unwrap_or_default(), &change.latest().name_any())
    });
}

/// An issuer matters to itself, and to all that wait for it.
fn issuer_changed(shared: &Shared, kind: &str, namespace: &str, name: &str) {
    shared.queues.issuers.add(base::Key { namespace: namespace.to_owned(), name: name.to_owned() });
    let means = |reference: &IssuerRef| reference.is_ours() && reference.kind() == kind && reference.name == name;
    let here = |object: &dyn Fn() -> Option<String>| namespace.is_empty() || object().as_deref() == Some(namespace);
    for request in shared.requests.list() {
        let over = condition(&request.status.conditions, "Ready").is_some_and(|ready| ready.reason != "Pending");
        if !over && means(&request.spec.issuer_ref) && here(&|| request.namespace()) {
            shared.queues.requests.add(key_of(&*request));
        }
    }
    for order in shared.orders.list() {
        if !order.status.state.is_final() && means(&order.spec.issuer_ref) && here(&|| order.namespace()) {
            shared.queues.orders.add(key_of(&*order));
        }
    }
}

/// A Secret matters to the Certificates that are kept in it, and to the issuers that use it.
fn secret_changed(shared: &Shared, namespace: &str, name: &str) {
    for certificate in shared.certificates.in_namespace(namespace) {
        let next = certificate.status.next_private_key_secret_name.as_deref() == Some(name);
        if next || certificate.spec.secret_name == name {
            shared.queues.certificates.add(key_of(&*certificate));
        }
    }
    let uses = |spec: &crate::api::IssuerSpec| {
        let acme = spec.acme.as_ref().is_some_and(|acme| {
            let binding = acme.external_account_binding.as_ref().is_some_and(|one| one.key_secret_ref.name == name);
            binding || acme.private_key_secret_ref.name == name
        });
        let vault = spec.vault.as_ref().is_some_and(|vault| {
            let auth = &vault.auth;
            let role = auth.app_role.as_ref().map(|role| &role.secret_ref);
            let account = auth.kubernetes.as_ref().and_then(|account| account.secret_ref.as_ref());
            let all = [vault.ca_bundle_secret_ref.as_ref(), auth.token_secret_ref.as_ref(), role, account];
            all.into_iter().flatten().any(|one| one.name == name)
        });
        acme || vault || spec.ca.as_ref().is_some_and(|ca| ca.secret_name == name)
    };
    for issuer in shared.issuers.in_namespace(namespace) {
        if uses(&issuer.spec) {
            shared.queues.issuers.add(key_of(&*issuer));
        }
    }
    if namespace == shared.config.namespace {
        for issuer in shared.cluster_issuers.list() {
            if uses(&issuer.spec) {
                shared.queues.issuers.add(key_of(&*issuer));
            }
        }
    }
}

/// Waits until there is a kind of Gateways, then follows them.
pub(super) async fn gateways(shared: &Arc<Shared>, ctx: &tasks::Context) {
    loop {
        let served = shared.client.list_api_group_resources("gateway.networking.k8s.io/v1").await;
        if served.is_ok_and(|served| served.resources.iter().any(|one| one.name == "gateways")) {
            break;
        }
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let informers = Informers::new(shared.client.clone(), ctx);
    let all = informers.of::<Gateway>();
    *shared.gateways.lock() = Some(all.clone());
    informers.synced().await;
    let queues = shared.queues.clone();
    all.on_change(move |change| {
        if fronts::gateway_asks(change.latest()) {
            queues.gateways.add(key_of(&**change.latest()));
        }
    });
}
