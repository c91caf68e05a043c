//! ServiceAccount: every pod runs as an account that exists, and sees that account's token unless it asks not to.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::{Admission, Admit, MIRROR_POD, Operation};
use crate::{
    core::{self, Core, text},
    error::ApiError,
    tokens,
};

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const VOLUME: &str = "kube-api-access-";
/// How long a pod waits for the `default` account that a controller is making in a new namespace.
const PATIENCE: Duration = Duration::from_millis(1500);

pub(super) struct ServiceAccount;

#[async_trait]
impl Admission for ServiceAccount {
    fn name(&self) -> &'static str {
        "ServiceAccount"
    }

    async fn mutate(&self, core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        if !super::is_pod(admit) || admit.operation != Operation::Create {
            return Ok(());
        }
        let (kind, name, namespace) = (admit.kind, admit.name, admit.namespace);
        let Some(pod) = admit.object.as_deref_mut() else { return Ok(()) };
        if pod.pointer(MIRROR_POD).is_some() {
            return mirror(pod).map_err(|why| ApiError::denied(kind, name, why));
        }
        let mut account = text(pod, "/spec/serviceAccountName").to_owned();
        if account.is_empty() {
            "default".clone_into(&mut account);
            pod["spec"]["serviceAccountName"] = json!(account);
        }
        pod["spec"]["serviceAccount"] = json!(account); // the deprecated twin, which clients still read
        let Some(object) = find(core, namespace, &account).await else {
            let why = format!(
                "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
            );
            return Err(ApiError::denied(kind, name, &why));
        };
        let wish = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_bool);
        let mount = wish(pod, "/spec/automountServiceAccountToken")
            .or_else(|| wish(&object, "/automountServiceAccountToken"))
            .unwrap_or(true);
        if mount {
            mount_token(pod);
        }
        let secrets = object["imagePullSecrets"].as_array().filter(|secrets| !secrets.is_empty());
        let own = pod["spec"]["imagePullSecrets"].as_array().is_some_and(|own| !own.is_empty());
        if let (Some(secrets), false) = (secrets, own) {
            pod["spec"]["imagePullSecrets"] = json!(secrets);
        }
        Ok(())
    }
}

/// The account, waiting a moment for a `default` one that is about to be made.
async fn find(core: &Core, namespace: &str, name: &str) -> Option<std::sync::Arc<Value>> {
    let kind = core.kind("", "serviceaccounts")?;
    let from = core.store.revision();
    let found = core.kept(kind, namespace, name);
    if found.is_some() || name != "default" {
        return found;
    }
    let key = core::key(kind, namespace, name);
    let appear = async {
        let mut watch = core.store.watch(&core::prefix(kind, ""), from).ok()?;
        loop {
            let events = watch.next().await.ok()?;
            if events.iter().any(|event| event.key() == key)
                && let Some(found) = core.get(kind, namespace, name)
            {
                return Some(found);
            }
        }
    };
    tokio::time::timeout(PATIENCE, appear).await.ok().flatten()
}

/// A kubelet's picture of its static pod must not be given what the static pod does not have.
fn mirror(pod: &Value) -> Result<(), &'static str> {
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return Err("a mirror pod may not reference service accounts");
    }
    for volume in pod["spec"]["volumes"].as_array().into_iter().flatten() {
        let sources = volume["projected"]["sources"].as_array().into_iter().flatten();
        for source in sources {
            if source["serviceAccountToken"].is_object() {
                return Err("a mirror pod may not use ServiceAccountToken volume projections");
            }
        }
        if volume["secret"].is_object() {
            return Err("a mirror pod may not reference secrets");
        }
    }
    Ok(())
}

fn mount_token(pod: &mut Value) {
    let volumes = pod["spec"]["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let existing = volumes.iter().filter_map(|volume| volume["name"].as_str()).find(|name| name.starts_with(VOLUME));
    let (name, new) = match existing {
        Some(name) => (name.to_owned(), false),
        None => (format!("{VOLUME}{}", base::names::suffix(5)), true),
    };
    let mut needed = false;
    for list in ["/spec/initContainers", "/spec/containers"] {
        for container in pod.pointer_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().map(Vec::as_slice).unwrap_or_default();
            if mounts.iter().any(|mount| mount["mountPath"] == MOUNT) {
                continue;
            }
            let mount = json!({"name": name, "readOnly": true, "mountPath": MOUNT});
            super::push(&mut container["volumeMounts"], mount);
            needed = true;
        }
    }
    if new && needed {
        super::push(&mut pod["spec"]["volumes"], json!({"name": name, "projected": token_volume()}));
    }
}

fn token_volume() -> Value {
    json!({
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": tokens::POD_SECONDS, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
            ]}},
        ],
    })
}
