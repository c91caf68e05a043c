//! The shell that tells of each ValidatingAdmissionPolicy what its expressions have wrong.
//!
//! Invariant: nothing is read of other kinds before a policy names them, and nothing of that is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Key;
use expressions::Shape;
use informer::{Change, Informer, Next, Queue};
use k8s_openapi::api::admissionregistration::v1::ValidatingAdmissionPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource as _, ResourceExt};
use serde_json::{Value, json};

use super::write;
use crate::plan::policy_status::{self as plan, Kind, Resource, Version};
use crate::{Launch, Shared};

const NAME: &str = "validatingadmissionpolicy-status-controller";
/// Under which name the status is owned, as upstream.
const MANAGER: &str = "validatingadmissionpolicy-status";

struct Shell {
    client: Client,
    policies: Informer<ValidatingAdmissionPolicy>,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let policies = shared.informers.of::<ValidatingAdmissionPolicy>();
    let wake = queue.clone();
    policies.on_change(move |change: Change<'_, ValidatingAdmissionPolicy>| {
        if let Some(policy) = change.new {
            wake.add(Key::cluster(policy.name_any()));
        }
    });
    let shell = Arc::new(Shell { client: shared.client(NAME), policies });
    let context = shared.context.clone();
    Box::new(move || {
        informer::work(&queue, 1, &context, NAME, move |key: Key| {
            let shell = Arc::clone(&shell);
            async move { shell.sync(&key.name).await }
        });
    })
}

/// The documents of versions that were asked for; none where there is no such version.
type Documents = BTreeMap<Version, Option<Value>>;

impl Shell {
    async fn sync(&self, name: &str) -> anyhow::Result<Next> {
        let Some(policy) = self.policies.get("", name) else { return Ok(Next::Done) };
        if plan::is_told(&policy) {
            return Ok(Next::Done);
        }
        let resources = self.resources(&policy).await?;
        let mut documents = Documents::new();
        let mut objects = BTreeMap::new();
        for kind in plan::kinds(&policy, |resource| resources.get(resource).cloned()) {
            if let Some(shape) = self.shape(&kind, &mut documents).await? {
                objects.insert(kind, shape);
            }
        }
        let params = match plan::parameters(&policy) {
            None => None,
            Some(kind) => Some(self.shape(&kind, &mut documents).await?),
        };
        let mut checking = json!({});
        let warnings = plan::warnings(&policy, &objects, params);
        if !warnings.is_empty() {
            checking["expressionWarnings"] = json!(warnings);
        }
        let status = json!({
            "apiVersion": ValidatingAdmissionPolicy::api_version(&()), "kind": ValidatingAdmissionPolicy::kind(&()),
            "metadata": { "name": name },
            "status": { "observedGeneration": policy.metadata.generation, "typeChecking": checking },
        });
        let api: Api<ValidatingAdmissionPolicy> = Api::all(self.client.clone());
        match api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(status)).await {
            Ok(_) => Ok(Next::Done),
            Err(error) if write::is_not_found(&error) => Ok(Next::Done),
            Err(error) => Err(write::failed(&error, format_args!("cannot write the status of policy {name}"))),
        }
    }

    /// The kinds of the resources there are in versions that the policy names.
    async fn resources(&self, policy: &ValidatingAdmissionPolicy) -> anyhow::Result<BTreeMap<Resource, String>> {
        let mut found = BTreeMap::new();
        for version in plan::versions(policy) {
            let listed: Option<APIResourceList> = self.get(&format!("/{}", version.path())).await?;
            for resource in listed.into_iter().flat_map(|list| list.resources) {
                if !resource.name.contains('/') {
                    found.insert((version.clone(), resource.name), resource.kind);
                }
            }
        }
        Ok(found)
    }

    async fn shape(&self, kind: &Kind, documents: &mut Documents) -> anyhow::Result<Option<Arc<Shape>>> {
        if !documents.contains_key(&kind.version) {
            let document = self.get(&format!("/openapi/v3/{}", kind.version.path())).await?;
            documents.insert(kind.version.clone(), document);
        }
        let document = documents.get(&kind.version).and_then(Option::as_ref);
        Ok(document.and_then(|document| plan::shape(document, kind)))
    }

    /// What the API says at a path, if there is anything.
    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<Option<T>> {
        let request = http::Request::get(path).header(http::header::ACCEPT, "application/json").body(Vec::new())?;
        match self.client.request::<T>(request).await {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if write::is_not_found(&error) => Ok(None),
            Err(error) => Err(write::failed(&error, format_args!("cannot read {path}"))),
        }
    }
}
