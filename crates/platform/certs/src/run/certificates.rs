//! Certificates: reads what there is, plans, does, writes.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use informer::Next;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Shared, advice, write};
use crate::api::{Certificate, CertificateRequest, KeystoreSpec, RequestSpec, document, is_owned_by, owned_by};
use crate::plan::certificate::{self, Action, Input, REVISION};
use crate::plan::held::{AUTHORITY, CERTIFICATE, Held, KEY, entry};
use crate::plan::secret::{self, Desired, KEYSTORE, TRUSTSTORE};
use crate::plan::{Note, policy};
use crate::x509::key::{Encoding, Key};
use crate::x509::{der, keystore, read};

/// What requests take over from Certificates, but not this.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(super) async fn reconcile(shared: &Arc<Shared>, key: &base::Key) -> anyhow::Result<Next> {
    let api = Api::<Certificate>::namespaced(shared.client.clone(), &key.namespace);
    let Some(certificate) = api.get_opt(&key.name).await? else { return Ok(Next::Done) };
    let secret = shared.secret(&key.namespace, &certificate.spec.secret_name).await?;
    let key_name = certificate::next_key_name(&certificate);
    let next_key = shared.secret(&key.namespace, &key_name).await?;
    if let Some(other) = next_key.as_ref().filter(|one| !is_owned_by(*one, &certificate)) {
        bail!(
            "the Secret {} is not of this Certificate; delete it, for it has the name that the next key needs",
            other.name_any()
        );
    }
    let all = shared.requests.in_namespace(&key.namespace);
    let requests: Vec<Arc<CertificateRequest>> =
        all.into_iter().filter(|one| is_owned_by(&**one, &certificate)).collect();
    let (held, next_held) = (secret.as_ref().map(Held::read), next_key.as_ref().map(Held::read));
    let now = shared.now();
    let input = Input {
        certificate: &certificate,
        secret: held.as_ref(),
        next_key: next_held.as_ref(),
        requests: &requests,
        now,
    };
    let plan = certificate::plan(&input);
    for action in &plan.actions {
        if let Some(fault) = act(shared, &input, action).await? {
            shared.tell(&certificate, &fault).await;
            return Ok(Next::After(Duration::from_secs(60)));
        }
    }
    if let Some(status) = &plan.status {
        shared.write_status(&api, &certificate, &certificate.status, status).await?;
    }
    for note in &plan.notes {
        shared.tell(&certificate, note).await;
    }
    if !plan.actions.is_empty() {
        return Ok(Next::After(Duration::ZERO));
    }
    let mut look = plan.look_again;
    if plan.status.is_none()
        && let Some(leaf) = held.as_ref().and_then(Held::leaf)
        && let Some(at) = advice::refresh(shared, &api, &certificate, leaf).await?
    {
        look = Some(look.map_or(at, |known| known.min(at)));
    }
    Ok(look.map_or(Next::Done, |at| Next::After(until(at, now))))
}

/// How long from `now` to `at`; no more than a day, for clocks are set.
pub(super) fn until(at: Timestamp, now: Timestamp) -> Duration {
    let wait = at.duration_since(now).clamp(SignedDuration::from_millis(1), SignedDuration::from_hours(24));
    Duration::try_from(wait).unwrap_or(Duration::from_secs(1))
}

/// Takes one step; what only people can mend is told.
async fn act(shared: &Shared, input: &Input<'_>, action: &Action) -> anyhow::Result<Option<Note>> {
    let certificate = input.certificate;
    let namespace = certificate.namespace().unwrap_or_default();
    let secrets = Api::<Secret>::namespaced(shared.client.clone(), &namespace);
    let requests = Api::<CertificateRequest>::namespaced(shared.client.clone(), &namespace);
    match action {
        Action::MakeKey { name, reuse } => make_key(shared, input, name, *reuse).await?,
        Action::DropKey { name } => write::delete(&secrets, name).await?,
        Action::DropRequest { name } => write::delete(&requests, name).await?,
        Action::Request { name, revision } => request(shared, input, name, *revision).await?,
        Action::Store(desired) => return store(shared, input, desired).await,
    }
    Ok(None)
}

async fn make_key(shared: &Shared, input: &Input<'_>, name: &str, reuse: bool) -> anyhow::Result<()> {
    let certificate = input.certificate;
    let namespace = certificate.namespace().unwrap_or_default();
    let wanted = certificate::meaning(certificate).map_err(anyhow::Error::msg)?;
    let present = input.secret.and_then(Held::usable_key).filter(|_| reuse);
    let (pem, note) = match present {
        Some(key) => {
            let message =
                format!("Reusing private key stored in existing Secret resource {:?}", certificate.spec.secret_name);
            (key.to_pem(Encoding::Pkcs8), Note::normal("Reused", message))
        }
        None => {
            let made = tokio::task::spawn_blocking(move || Key::generate(wanted.key)).await??;
            let message = format!("Stored new private key in temporary Secret resource {name:?}");
            (made.to_pem(Encoding::Pkcs8), Note::normal("Generated", message))
        }
    };
    let document = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {
            "name": name, "namespace": namespace, "ownerReferences": owned_by(certificate),
            "labels": { secret::NEXT_KEY: "true", secret::LABEL: "true" },
        },
        "data": { KEY: ByteString(pem.into_bytes()) },
    });
    shared.create::<Secret>(&namespace, &document).await?;
    shared.tell(certificate, &note).await;
    Ok(())
}

async fn request(shared: &Shared, input: &Input<'_>, name: &str, revision: i64) -> anyhow::Result<()> {
    let certificate = input.certificate;
    let namespace = certificate.namespace().unwrap_or_default();
    let wanted = certificate::meaning(certificate).map_err(anyhow::Error::msg)?;
    let key = input.next_key.and_then(Held::usable_key).context("invariant: a request follows a key")?;
    let mut annotations = certificate.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(LAST_APPLIED);
    annotations.insert(policy::CERTIFICATE_NAME.to_owned(), certificate.name_any());
    annotations.insert(REVISION.to_owned(), revision.to_string());
    annotations.insert(super::requests::KEY_SECRET.to_owned(), certificate::next_key_name(certificate));
    let metadata = json!({
        "name": name, "namespace": namespace, "annotations": annotations, "labels": certificate.metadata.labels,
        "ownerReferences": owned_by(certificate),
    });
    let spec = RequestSpec {
        duration: certificate.spec.duration.clone(),
        issuer_ref: certificate.spec.issuer_ref.clone(),
        request: der::pem("CERTIFICATE REQUEST", &wanted.request(key)?).into_bytes(),
        is_ca: certificate.spec.is_ca,
        usages: certificate.spec.usages.clone(),
    };
    shared.create::<CertificateRequest>(&namespace, &document::<CertificateRequest>(metadata, &spec)).await?;
    let message = format!("Created new CertificateRequest resource {name:?}");
    shared.tell(certificate, &Note::normal("Requested", message)).await;
    Ok(())
}

/// Writes the Secret, with its keystores. Applied, so that what a template no longer says goes, and others' entries stay.
async fn store(shared: &Shared, input: &Input<'_>, desired: &Desired) -> anyhow::Result<Option<Note>> {
    let certificate = input.certificate;
    let namespace = certificate.namespace().unwrap_or_default();
    let mut data = desired.data.clone();
    if desired.keystores {
        match keystores(shared, input, desired).await? {
            Ok(stores) => data.extend(stores),
            Err(fault) => return Ok(Some(Note::warning("KeystoreError", fault))),
        }
    }
    let kind =
        input.secret.and_then(|held| held.secret.type_.clone()).unwrap_or_else(|| "kubernetes.io/tls".to_owned());
    let data: std::collections::BTreeMap<String, ByteString> =
        data.into_iter().map(|(name, value)| (name, ByteString(value))).collect();
    let document = json!({
        "apiVersion": "v1", "kind": "Secret", "type": kind, "data": data,
        "metadata": { "name": desired.name, "namespace": namespace, "labels": desired.labels, "annotations": desired.annotations },
    });
    let secrets = Api::<Secret>::namespaced(shared.client.clone(), &namespace);
    secrets.patch(&desired.name, &PatchParams::apply(secret::MANAGER).force(), &Patch::Apply(&document)).await?;
    tracing::info!(certificate = %certificate.name_any(), %namespace, secret = desired.name, "certificate stored");
    Ok(None)
}

/// The keystores of what is to be stored; those that are there are kept while the certificate is the same.
async fn keystores(
    shared: &Shared,
    input: &Input<'_>,
    desired: &Desired,
) -> anyhow::Result<Result<Vec<(String, Vec<u8>)>, String>> {
    let certificate = input.certificate;
    let of = |name: &str| desired.data.get(name).cloned().unwrap_or_default();
    let same = input
        .secret
        .is_some_and(|held| entry(held.secret, CERTIFICATE) == desired.data.get(CERTIFICATE).map(Vec::as_slice));
    let there =
        |name: &str| input.secret.and_then(|held| entry(held.secret, name)).filter(|_| same).map(<[u8]>::to_vec);
    let settings = certificate.spec.keystores.clone().and_then(|all| all.pkcs12).unwrap_or_default();
    let password = match password(shared, &certificate.namespace().unwrap_or_default(), &settings).await? {
        Ok(password) => password,
        Err(fault) => return Ok(Err(fault)),
    };
    let key = Key::from_pem(&of(KEY))?;
    let chain = read::certificates_pem(&of(CERTIFICATE)).unwrap_or_default();
    let authority = read::certificates_pem(&of(AUTHORITY)).and_then(|all| all.into_iter().next());
    let (kept, kept_trust) = (there(KEYSTORE), there(TRUSTSTORE));
    let made = tokio::task::spawn_blocking(move || -> Result<Vec<(String, Vec<u8>)>, String> {
        let mut stores = Vec::new();
        let whole: Vec<read::Facts> = chain.into_iter().chain(authority.clone()).collect();
        let store = kept.map_or_else(|| keystore::keystore(&key, &whole, &settings.profile, &password), Ok)?;
        stores.push((KEYSTORE.to_owned(), store));
        if let Some(authority) = authority {
            let trust =
                kept_trust.map_or_else(|| keystore::truststore(&authority, &settings.profile, &password), Ok)?;
            stores.push((TRUSTSTORE.to_owned(), trust));
        }
        Ok(stores)
    });
    Ok(made.await?)
}

async fn password(shared: &Shared, namespace: &str, settings: &KeystoreSpec) -> anyhow::Result<Result<String, String>> {
    let bytes = match (&settings.password_secret_ref, &settings.password) {
        (Some(of), None) => match shared.value(namespace, of, "password").await? {
            Ok(bytes) => bytes,
            Err(fault) => return Ok(Err(format!("spec.keystores.pkcs12.passwordSecretRef: {fault}"))),
        },
        (None, Some(password)) => password.clone().into_bytes(),
        _ => {
            return Ok(Err(
                "spec.keystores.pkcs12: exactly one of passwordSecretRef and password must be set".to_owned()
            ));
        }
    };
    Ok(String::from_utf8(bytes).map_err(|_| "the password of the keystore is not UTF-8".to_owned()))
}
