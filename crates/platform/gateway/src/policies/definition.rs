//! The CustomResourceDefinition of TrafficPolicy, and how a cluster gets it.

use kube::api::{Patch, PatchParams};
use kube::core::Request;
use kube::{Client, CustomResourceExt as _};
use serde_json::{Value, json};

use crate::policy::TrafficPolicy;

/// Who brought it; what somebody else brought is theirs.
const MANAGER: (&str, &str) = ("app.kubernetes.io/managed-by", "knarr");

/// The definition, as it is sent to a cluster.
///
/// # Errors
/// When it is no JSON, which a test rules out.
pub fn definition() -> Result<Value, kube::Error> {
    let mut definition = serde_json::to_value(TrafficPolicy::crd()).map_err(kube::Error::SerdeError)?;
    definition["metadata"]["labels"] = json!({ MANAGER.0: MANAGER.1 });
    if let Some(object) = definition.as_object_mut() {
        object.remove("status"); // the API server's to write
    }
    Ok(definition)
}

/// Brings the definition to a cluster, or up to date: it is of our group, so it is ours alone.
///
/// # Errors
/// When the API refuses.
pub(crate) async fn install(client: &Client) -> Result<(), kube::Error> {
    let definition = definition()?;
    let name = definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let patch = PatchParams::apply("knarr-gateway").force();
    let request = Request::new(crate::gateways::definitions::PATH).patch(&name, &patch, &Patch::Apply(&definition));
    client.request::<Value>(request.map_err(kube::Error::BuildRequest)?).await.map(drop)
}
