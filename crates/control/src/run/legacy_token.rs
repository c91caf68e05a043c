//! The shell that looks once a day for tokens of old clusters that nobody uses.
//!
//! Invariant: nothing is watched and nothing kept; there is little to see, and a day to see it in. What is read is read
//! whole, for the pods that the caches keep do not say which Secrets they mount.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base::Key;
use informer::{Next, Queue};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::write;
use crate::plan::account_token;
use crate::plan::legacy_token::{self as plan, Action};
use crate::time;
use crate::{Launch, Shared};

const NAME: &str = "legacy-service-account-token-cleaner";
const EVERY: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone)]
struct Shell {
    /// Reads what its own identity may not.
    reader: Client,
    client: Client,
}

pub(crate) fn start(shared: &Shared) -> Launch {
    let queue: Queue<Key> = Queue::new();
    let shell = Shell { reader: shared.client(""), client: shared.client(NAME) };
    let context = shared.context.clone();
    Box::new(move || {
        queue.add(Key::cluster("tokens"));
        informer::work(&queue, 1, &context, NAME, move |_| {
            let shell = shell.clone();
            async move {
                shell.look().await?;
                Ok(Next::After(EVERY))
            }
        });
    })
}

impl Shell {
    async fn look(&self) -> anyhow::Result<()> {
        let now = time::now();
        let (namespace, name) = plan::TRACKING;
        let tracking: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
        let read = tracking.get_opt(name).await;
        let read = read.map_err(|error| write::failed(&error, format_args!("cannot read config map {name}")))?;
        let Some(tracking) = read else { return Ok(()) }; // an API server that does not follow tokens
        let long = plan::followed_long_enough(&tracking, now);
        if !long.map_err(|why| anyhow::anyhow!("cannot use config map {namespace}/{name}: {why}"))? {
            return Ok(());
        }
        let typed = ListParams::default().fields(&format!("type={}", account_token::TYPE));
        let secrets = Api::<Secret>::all(self.reader.clone()).list(&typed).await;
        let secrets = secrets.map_err(|error| write::failed(&error, "cannot list the tokens of service accounts"))?;
        let mut mounted: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for secret in secrets.items.into_iter().filter(|secret| plan::is_unused(secret, now)) {
            let namespace = secret.namespace().unwrap_or_default();
            if !mounted.contains_key(&namespace) {
                mounted.insert(namespace.clone(), self.mounted(&namespace).await?);
            }
            let account = self.account(&secret, &namespace).await?;
            let is_mounted = mounted[&namespace].contains(&secret.name_any());
            if let Some(action) = plan::plan(&secret, account.as_ref(), is_mounted, now) {
                self.act(&secret, &namespace, action).await?;
            }
        }
        Ok(())
    }

    async fn account(&self, secret: &Secret, namespace: &str) -> anyhow::Result<Option<ServiceAccount>> {
        let Some((name, _)) = account_token::names(secret) else { return Ok(None) };
        let api: Api<ServiceAccount> = Api::namespaced(self.reader.clone(), namespace);
        let account = api.get_opt(name).await;
        account.map_err(|error| write::failed(&error, format_args!("cannot read service account {namespace}/{name}")))
    }

    /// The names of the Secrets that pods of the namespace use.
    async fn mounted(&self, namespace: &str) -> anyhow::Result<BTreeSet<String>> {
        let pods = Api::<Pod>::namespaced(self.reader.clone(), namespace).list(&ListParams::default()).await;
        let pods = pods.map_err(|error| write::failed(&error, format_args!("cannot list the pods of {namespace}")))?;
        let mut names = BTreeSet::new();
        for pod in pods.items {
            let spec = serde_json::to_value(&pod.spec)?;
            names.extend(plan::secrets_of(&spec).into_iter().map(str::to_owned));
        }
        Ok(names)
    }

    async fn act(&self, secret: &Secret, namespace: &str, action: Action) -> anyhow::Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let name = secret.name_any();
        match action {
            Action::Mark(since) => {
                let label = json!({ "metadata": { "uid": secret.uid(), "labels": { plan::INVALID_SINCE: since } } });
                match api.patch(&name, &PatchParams::default(), &Patch::Merge(label)).await {
                    Ok(_) => tracing::info!(namespace, name, "a token that nobody uses is invalid from now on"),
                    Err(error) if write::is_not_found(&error) || write::is_conflict(&error) => {}
                    Err(error) => {
                        let attempt = format_args!("cannot mark secret {namespace}/{name} as invalid");
                        return Err(write::failed(&error, attempt));
                    }
                }
            }
            Action::Delete => {
                let exactly = Preconditions { uid: None, resource_version: secret.resource_version() };
                match api.delete(&name, &DeleteParams::default().preconditions(exactly)).await {
                    Ok(_) => tracing::info!(namespace, name, "a token was deleted that was invalid for a year"),
                    Err(error) if write::is_not_found(&error) || write::is_conflict(&error) => {}
                    Err(error) => {
                        return Err(write::failed(&error, format_args!("cannot delete secret {namespace}/{name}")));
                    }
                }
            }
        }
        Ok(())
    }
}
