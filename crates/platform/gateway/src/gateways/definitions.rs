//! The CustomResourceDefinitions of the Gateway API, and how a cluster gets them.
//!
//! What is missing is created. What an older release of ours created is brought up to date; definitions that somebody else
//! brought are theirs, whatever their version is.

use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Request;
use kube::{Client, Error};
use serde_json::{Value, json};

static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/definitions.zst"));
/// More than the definitions are once unpacked, bytes.
const LARGEST: usize = 16 << 20;

/// Where definitions are.
pub(crate) const PATH: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// The version of the bundle a definition is of.
const BUNDLE: &str = "gateway.networking.k8s.io/bundle-version";
/// Who brought a definition.
const MANAGER: (&str, &str) = ("app.kubernetes.io/managed-by", "knarr");

/// Why a cluster did not get what it needs.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The definitions in this binary are not what they should be.
    #[error("the definitions of the Gateway API in this program cannot be read: {0}")]
    Packed(String),
    /// The API said no.
    #[error(
        "cannot create {name}; apply the definitions of Gateway API v1.6 to the cluster yourself, or let this user create customresourcedefinitions and gatewayclasses"
    )]
    Refused {
        /// The definition or class.
        name: String,
        /// What it said.
        #[source]
        source: Box<Error>,
    },
}

impl InstallError {
    /// The status of a refusal.
    pub(crate) fn code(&self) -> Option<u16> {
        match self {
            Self::Refused { source, .. } => match &**source {
                Error::Api(status) => Some(status.code),
                _ => None,
            },
            Self::Packed(_) => None,
        }
    }
}

/// All definitions, sorted by name.
///
/// # Errors
/// When they are not what they should be, which a test rules out.
pub fn all() -> Result<Vec<Value>, InstallError> {
    let packed = |error: &dyn std::fmt::Display| InstallError::Packed(error.to_string());
    let text = zstd::bulk::decompress(PACKED, LARGEST).map_err(|error| packed(&error))?;
    let text = std::str::from_utf8(&text).map_err(|error| packed(&error))?;
    let read = |text: &str| {
        let mut definition: Value = serde_saphyr::from_str(text).map_err(|error| packed(&error))?;
        definition["metadata"]["labels"][MANAGER.0] = json!(MANAGER.1);
        if let Some(object) = definition.as_object_mut() {
            object.remove("status"); // the API server's to write
        }
        Ok(definition)
    };
    text.split("\n---\n").map(read).collect()
}

/// Brings the definitions and the class `class` to a cluster, where they are missing.
///
/// # Errors
/// When the API refuses; what was brought until then stays.
pub async fn install(client: &Client, class: &str) -> Result<(), InstallError> {
    for definition in all()? {
        let name = definition["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        ensure(client, &name, &definition)
            .await
            .map_err(|source| InstallError::Refused { name, source: Box::new(source) })?;
    }
    // The kind is served a moment after its definition is there: whoever calls tries again.
    let path = "/apis/gateway.networking.k8s.io/v1/gatewayclasses";
    let wanted = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": { "name": class, "labels": { MANAGER.0: MANAGER.1 } },
        "spec": { "controllerName": super::CONTROLLER, "description": "Knarr's gateway" },
    });
    match create(client, path, &wanted).await {
        Err(Error::Api(refusal)) if refusal.code == 409 => Ok(()), // there already, and its owner's
        made => made.map_err(|source| InstallError::Refused {
            name: format!("GatewayClass {class}"),
            source: Box::new(source),
        }),
    }
}

async fn ensure(client: &Client, name: &str, definition: &Value) -> Result<(), Error> {
    let request = Request::new(PATH).get(name, &kube::api::GetParams::default()).map_err(Error::BuildRequest)?;
    let held: Value = match client.request(request).await {
        Ok(held) => held,
        Err(Error::Api(refusal)) if refusal.code == 404 => {
            return match create(client, PATH, definition).await {
                Err(Error::Api(refusal)) if refusal.code == 409 => Ok(()), // somebody was faster
                made => made,
            };
        }
        Err(error) => return Err(error),
    };
    if !is_outdated(&held, definition) {
        return Ok(());
    }
    let patch = json!({
        "metadata": {
            "resourceVersion": held["metadata"]["resourceVersion"], "annotations": definition["metadata"]["annotations"],
        },
        "spec": definition["spec"],
    });
    let request = Request::new(PATH).patch(name, &PatchParams::default(), &Patch::Merge(&patch));
    client.request::<Value>(request.map_err(Error::BuildRequest)?).await.map(drop)
}

/// True when `held` was brought by us, from an older bundle than `ours`.
fn is_outdated(held: &Value, ours: &Value) -> bool {
    let bundle = |definition: &Value| {
        let text = definition["metadata"]["annotations"][BUNDLE].as_str().unwrap_or_default();
        let numbers = text.trim_start_matches('v').split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        numbers.collect::<Vec<u32>>()
    };
    held["metadata"]["labels"][MANAGER.0] == MANAGER.1 && bundle(held) < bundle(ours)
}

async fn create(client: &Client, path: &str, object: &Value) -> Result<(), Error> {
    let body = serde_json::to_vec(object).map_err(Error::SerdeError)?;
    let request = Request::new(path).create(&PostParams::default(), body).map_err(Error::BuildRequest)?;
    client.request::<Value>(request).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_definition_of_every_kind_that_is_watched() {
        let definitions = all().unwrap();
        let names: Vec<&str> = definitions.iter().filter_map(|one| one["spec"]["names"]["plural"].as_str()).collect();
        assert_eq!(names, super::super::run::PLURALS);
        for definition in &definitions {
            assert_eq!(definition["metadata"]["annotations"][BUNDLE], "v1.6.3");
        }
    }

    #[test]
    fn only_older_definitions_of_ours_are_replaced() {
        let of = |manager: &str, bundle: &str| json!({ "metadata": { "labels": { MANAGER.0: manager }, "annotations": { BUNDLE: bundle } } });
        let ours = of("knarr", "v1.6.3");
        assert!(is_outdated(&of("knarr", "v1.5.1"), &ours));
        assert!(!is_outdated(&of("knarr", "v1.6.3"), &ours) && !is_outdated(&of("knarr", "v1.10.0"), &ours));
        assert!(!is_outdated(&of("helm", "v1.5.1"), &ours));
    }
}
