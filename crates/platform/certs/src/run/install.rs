//! The definitions of our kinds: made where they are missing and we may, waited for where not. And the cluster's own issuer.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::PostParams;
use kube::{Api, Client};
use serde_json::json;

use super::Shared;
use crate::api::ClusterIssuer;
use crate::{api, definitions};

/// Between two looks: at first, and at most.
const LOOK: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(320));
/// At the look of this number they are made, where nobody else has made them; and told about again after so many more.
const MAKE: (u32, u32) = (5, 200);

/// Returns once the API serves all our kinds.
pub(super) async fn definitions(client: &Client) {
    let (mut looks, mut wait) = (0_u32, LOOK.0);
    while let Err(missing) = are_served(client).await {
        if looks % MAKE.1 == MAKE.0
            && let Err(error) = create(client).await
        {
            tracing::warn!(
                "waiting for {missing}; cannot make the definitions: {}. Let an administrator run `knarr run certs` once, or apply cert-manager's definitions",
                base::error::chain(&error)
            );
        }
        looks += 1;
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LOOK.1);
    }
}

async fn create(client: &Client) -> Result<(), kube::Error> {
    let all = Api::<CustomResourceDefinition>::all(client.clone());
    for definition in definitions::all() {
        let definition = serde_json::from_value(definition).map_err(kube::Error::SerdeError)?;
        match all.create(&PostParams::default(), &definition).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => drop(made?),
        }
    }
    Ok(())
}

/// Makes the ClusterIssuer of the cluster's own authority, where the Secret with that is there and the issuer is not.
pub(super) async fn own_issuer(shared: &Shared) {
    let (namespace, name) = (&shared.config.namespace, &shared.config.own_issuer);
    let made = async {
        if shared.secret(namespace, name).await?.is_none() {
            return Ok(());
        }
        let document = json!({
            "apiVersion": "cert-manager.io/v1", "kind": "ClusterIssuer", "metadata": { "name": name },
            "spec": { "ca": { "secretName": name } },
        });
        shared.create_for_all::<ClusterIssuer>(&document).await
    };
    match made.await {
        Ok(()) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        Err(error) => tracing::warn!("cannot make the ClusterIssuer {name}: {}", base::error::chain(&error)),
    }
}

/// What the API does not serve yet.
async fn are_served(client: &Client) -> Result<(), String> {
    for group in [api::GROUP, api::ACME_GROUP] {
        let served = client.list_api_group_resources(&format!("{group}/v1")).await;
        let served = served.map_err(|error| format!("{group}/v1 ({})", base::error::chain(&error)))?;
        for name in definitions::names().iter().filter_map(|name| name.strip_suffix(&format!(".{group}"))) {
            if name.contains('.') {
                continue; // of the longer group
            }
            if !served.resources.iter().any(|resource| resource.name == name) {
                return Err(format!("{name} of {group}/v1"));
            }
        }
    }
    Ok(())
}
