//! Watches Ingresses and TLS Secrets, plans, issues, writes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use informer::{Informer, Informers, Next, Queue};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;

use crate::plan::{self, Action, Held};

/// What the service needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the issuer, as written in the annotation of an Ingress.
    pub issuer_name: String,
    /// Namespace and name of the Secret with the authority's certificate and key.
    pub ca_secret: (String, String),
}

struct Issuer {
    client: Client,
    config: Config,
    ingresses: Informer<Ingress>,
    secrets: Informer<Secret>,
    recorder: Recorder,
}

/// Issues certificates until the service is stopped.
///
/// # Errors
/// When a watch cannot go on.
pub async fn run(client: Client, config: Config, ctx: tasks::Context) -> anyhow::Result<()> {
    let informers = Informers::new(client.clone(), &ctx);
    let ingresses = informers.of::<Ingress>();
    let tls_only = watcher::Config::default().fields("type=kubernetes.io/tls");
    let secrets = informers.with(Api::<Secret>::all(client.clone()), tls_only);
    informers.synced().await;

    let queue = Queue::<base::Key>::new();
    let changed = queue.clone();
    ingresses.on_change(move |change| changed.add(key(change.latest())));
    // A Secret matters to every Ingress of its namespace that names it; the authority to all.
    let (changed, all, authority) = (queue.clone(), ingresses.clone(), config.ca_secret.clone());
    secrets.on_change(move |change| {
        let secret = change.latest();
        let namespace = secret.namespace().unwrap_or_default();
        let concerned = if (namespace.as_str(), secret.name_any().as_str()) == (&authority.0, &authority.1) {
            all.list()
        } else {
            all.in_namespace(&namespace)
        };
        concerned.iter().for_each(|ingress| changed.add(key(ingress)));
    });

    let recorder = Recorder::new(client.clone(), Reporter::from("knarr-certs"));
    let issuer = Arc::new(Issuer { client, config, ingresses, secrets, recorder });
    informer::work(&queue, 2, &ctx, "issue certificates", move |item| {
        let issuer = Arc::clone(&issuer);
        async move { issuer.reconcile(&item).await }
    });
    ctx.ready.set();
    ctx.stop.cancelled().await;
    Ok(())
}

fn key(ingress: &Ingress) -> base::Key {
    base::Key { namespace: ingress.namespace().unwrap_or_default(), name: ingress.name_any() }
}

impl Issuer {
    async fn reconcile(&self, item: &base::Key) -> anyhow::Result<Next> {
        let Some(ingress) = self.ingresses.get(&item.namespace, &item.name) else { return Ok(Next::Done) };
        let Some((ca_pem, ca_key)) = self.authority() else {
            let (namespace, name) = &self.config.ca_secret;
            tracing::debug!("the authority's Secret {namespace}/{name} is not there yet");
            return Ok(Next::Done); // its arrival wakes every Ingress
        };
        let held = |name: &str| self.secrets.get(&item.namespace, name).map(|secret| Held::read(&secret, &ca_pem));
        let now = Timestamp::now();
        let plan = plan::plan(&ingress, &self.config.issuer_name, held, now);
        for action in &plan.actions {
            match action {
                Action::Issue { secret, hosts, replace } => {
                    self.issue(&ingress, secret, hosts, *replace, &ca_pem, &ca_key).await?
                }
                Action::Refuse { why, .. } => self.tell(&ingress, EventType::Warning, "BadConfig", why).await,
            }
        }
        let wait = plan.look_again.map(|at| Duration::try_from(at.duration_since(now)).unwrap_or_default());
        Ok(wait.map_or(Next::Done, Next::After))
    }

    fn authority(&self) -> Option<(String, String)> {
        let (namespace, name) = &self.config.ca_secret;
        let secret = self.secrets.get(namespace, name)?;
        let text =
            |field: &str| secret.data.as_ref()?.get(field).and_then(|bytes| String::from_utf8(bytes.0.clone()).ok());
        Some((text("tls.crt")?, text("tls.key")?))
    }

    async fn issue(
        &self,
        ingress: &Ingress,
        secret: &str,
        hosts: &[String],
        replace: bool,
        ca_pem: &str,
        ca_key: &str,
    ) -> anyhow::Result<()> {
        let namespace = ingress.namespace().unwrap_or_default();
        let authority = pki::Authority::from_pem(ca_pem, ca_key)?;
        let pair = authority
            .issue(&pki::Request {
                common_name: hosts.first().cloned().unwrap_or_default(),
                organization: None,
                names: hosts.to_vec(),
                usage: pki::Usage::Server,
                lifetime: plan::LIFETIME,
            })
            .with_context(|| format!("cannot issue a certificate for Ingress {namespace}/{}", ingress.name_any()))?;
        let object = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
            "metadata": { "name": secret, "namespace": namespace, "annotations": {
                plan::ISSUED_BY: self.config.issuer_name, plan::NAMES: hosts.join(","),
                "cert-manager.io/issuer-kind": "ClusterIssuer", "cert-manager.io/issuer-group": "cert-manager.io",
            } },
            "stringData": { "tls.crt": pair.cert_pem, "tls.key": pair.key_pem, "ca.crt": ca_pem },
        });
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        if replace {
            secrets.patch(secret, &PatchParams::default(), &Patch::Merge(&object)).await?;
        } else {
            secrets.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
        }
        tracing::info!(ingress = %key(ingress), secret, "certificate issued for {}", hosts.join(", "));
        self.tell(
            ingress,
            EventType::Normal,
            "Issued",
            &format!("certificate for {} stored in Secret {secret}", hosts.join(", ")),
        )
        .await;
        Ok(())
    }

    async fn tell(&self, ingress: &Ingress, kind: EventType, reason: &str, note: &str) {
        let event = Event {
            type_: kind,
            reason: reason.to_owned(),
            note: Some(note.to_owned()),
            action: "Issuing".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &ingress.object_ref(&())).await {
            tracing::debug!("cannot record an event: {error}");
        }
    }
}
