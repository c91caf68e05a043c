//! The node's lease: renewed every ten seconds, so that the control plane knows it lives.
//!
//! Invariant: a failed renewal is repeated within the lease's duration; the node's status is not
//! written for a heartbeat.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

const PERIOD: Duration = Duration::from_secs(10);
const SECONDS: i32 = 40;
const NAMESPACE: &str = "kube-node-lease";

/// Where leases of nodes are.
pub(crate) fn api(client: kube::Client) -> Api<Lease> {
    Api::namespaced(client, NAMESPACE)
}

/// Renews for ever.
pub(super) async fn keep(client: kube::Client, name: String, uid: String) {
    let api = api(client);
    let mut beat = tokio::time::interval(PERIOD);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut exists = false;
    loop {
        beat.tick().await;
        match renew(&api, &name, &uid, exists).await {
            Ok(()) => exists = true,
            Err(error) => {
                exists = false;
                tracing::warn!("cannot renew the node's lease: {}", base::error::chain(&error));
                beat.reset_after(Duration::from_secs(2));
            }
        }
    }
}

/// Renews once, or makes the lease if it is not known to exist.
pub(crate) async fn renew(api: &Api<Lease>, name: &str, uid: &str, exists: bool) -> Result<(), kube::Error> {
    let now = MicroTime(base::time::now());
    if exists {
        let body = json!({"spec": {"renewTime": now}});
        return api.patch(name, &PatchParams::default(), &Patch::Merge(&body)).await.map(drop);
    }
    let spec = LeaseSpec {
        holder_identity: Some(name.to_owned()),
        lease_duration_seconds: Some(SECONDS),
        renew_time: Some(now),
        ..LeaseSpec::default()
    };
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "Node".into(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        ..OwnerReference::default()
    };
    let meta = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(NAMESPACE.into()),
        owner_references: (!uid.is_empty()).then(|| vec![owner]),
        ..ObjectMeta::default()
    };
    let lease = Lease { metadata: meta, spec: Some(spec.clone()) };
    match api.create(&PostParams::default(), &lease).await {
        Err(kube::Error::Api(answer)) if answer.code == 409 => {
            let body = json!({"spec": spec});
            api.patch(name, &PatchParams::default(), &Patch::Merge(&body)).await.map(drop)
        }
        other => other.map(drop),
    }
}
