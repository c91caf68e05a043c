//! TXT records that show an ACME server that a name is ours (RFC 8555, 8.4), read from the Challenges of
//! `acme.cert-manager.io/v1` whose solver is this server: `dns01.webhook` with groupName `knarr.dev`, solverName
//! `cluster-dns`.
//!
//! For names that the world asks this server for: delegate `_acme-challenge.NAME` (NS, or CNAME and NS) to it.

use std::borrow::Cow;
use std::time::Duration;

use informer::Informers;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::NamespaceResourceScope;
use kube::{Client, Resource};

use crate::serve::Shared;

/// Between two looks for the definition of Challenges, where there is none.
const LOOK: Duration = Duration::from_secs(10);

/// The part of a Challenge that matters here.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Challenge {
    metadata: ObjectMeta,
    spec: Spec,
    status: Status,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    dns_name: String,
    key: String,
    solver: Solver,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Solver {
    dns01: Option<Dns01>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Dns01 {
    webhook: Option<Webhook>,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Webhook {
    group_name: String,
    solver_name: String,
}

#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default)]
struct Status {
    presented: bool,
}

impl Resource for Challenge {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Challenge".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "acme.cert-manager.io".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "challenges".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Challenge {
    /// Where its text is asked for, if this server is to answer it now.
    fn name(&self) -> Option<String> {
        let hook = self.spec.solver.dns01.as_ref()?.webhook.as_ref()?;
        let ours = hook.group_name == "knarr.dev" && hook.solver_name == "cluster-dns";
        let name = self.spec.dns_name.trim_end_matches('.').to_ascii_lowercase();
        (ours && self.status.presented && !name.is_empty()).then(|| format!("_acme-challenge.{name}"))
    }
}

/// Keeps the texts of `zone` as the Challenges are, until the service ends. Where the kind is not defined it waits for that.
pub(crate) async fn follow(client: Client, zone: Shared, ctx: tasks::Context) {
    loop {
        let served = client.list_api_group_resources("acme.cert-manager.io/v1").await;
        if served.is_ok_and(|served| served.resources.iter().any(|one| one.name == "challenges")) {
            break;
        }
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
    let informers = Informers::new(client, &ctx);
    informers.of::<Challenge>().on_change(move |change| {
        let meta = &change.latest().metadata;
        let owner = (meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default());
        let (old, new) = (change.old.and_then(|old| old.name()), change.new.and_then(|new| new.name()));
        let mut zone = zone.write();
        if let Some(old) = old.filter(|old| Some(old) != new.as_ref()) {
            zone.text(owner.clone(), &old, None);
        }
        if let (Some(name), Some(new)) = (new, change.new) {
            zone.text(owner, &name, Some(new.spec.key.clone()));
        }
    });
    ctx.stop.cancelled().await;
}
