//! Issuers: whether they can sign, and how they are reached.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
use informer::Next;
use k8s_openapi::ByteString;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::PostParams;
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;

use super::Shared;
use crate::acme::{Account, External, Server, Trust};
use crate::api::{
    AcmeIssuer, AcmeStatus, CaIssuer, ClusterIssuer, Issuer, IssuerRef, IssuerSpec, IssuerStatus, VaultIssuer,
};
use crate::plan::held::{Held, KEY, entry};
use crate::plan::issuer::{self, Checked};
use crate::plan::secret;
use crate::vault::{self, Identity, Vault};
use crate::x509::key::{Encoding, Key, Kind};
use crate::x509::sign;

/// Until an issuer that is not ready is looked at again, at the latest.
const AGAIN: Duration = Duration::from_secs(60);
/// A token for Vault lives so long; it is used at once.
const TOKEN_SECONDS: i64 = 600;

pub(super) async fn reconcile(shared: &Arc<Shared>, key: &base::Key) -> anyhow::Result<Next> {
    if key.namespace.is_empty() {
        let api = Api::<ClusterIssuer>::all(shared.client.clone());
        let Some(found) = api.get_opt(&key.name).await? else { return Ok(Next::Done) };
        look(shared, &api, &found, &found.spec, &found.status).await
    } else {
        let api = Api::<Issuer>::namespaced(shared.client.clone(), &key.namespace);
        let Some(found) = api.get_opt(&key.name).await? else { return Ok(Next::Done) };
        look(shared, &api, &found, &found.spec, &found.status).await
    }
}

async fn look<K>(
    shared: &Shared,
    api: &Api<K>,
    object: &K,
    spec: &IssuerSpec,
    status: &IssuerStatus,
) -> anyhow::Result<Next>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    if object.meta().deletion_timestamp.is_some() {
        return Ok(Next::Done);
    }
    let kind = K::kind(&()).into_owned();
    let reference = IssuerRef { name: object.name_any(), kind, group: String::new() };
    let namespace = object.namespace().unwrap_or_default();
    let secrets = shared.secrets_of(&reference, &namespace).to_owned();
    let (checked, next) = match issuer::refused(spec) {
        Some(refused) => (refused, Next::Done),
        None if spec.self_signed.is_some() => (Checked::ready("IsReady", ""), Next::Done),
        None => match (&spec.ca, &spec.acme, &spec.vault) {
            (Some(ca), _, _) => (authority(shared, &secrets, ca).await?, Next::Done),
            (_, Some(acme), _) => register(shared, &secrets, acme, status).await?,
            (_, _, Some(settings)) => check_vault(shared, &reference, &namespace, settings).await?,
            _ => return Ok(Next::Done),
        },
    };
    let ready = checked.ready;
    let (new, note) = issuer::said(status, object.meta().generation, checked, shared.now());
    if let Some(new) = new {
        shared.write_status(api, object, status, &new).await?;
    }
    if let Some(note) = note {
        shared.tell(object, &note).await;
    }
    Ok(if ready || next != Next::Done { next } else { Next::After(AGAIN) })
}

async fn authority(shared: &Shared, namespace: &str, ca: &CaIssuer) -> anyhow::Result<Checked> {
    let name = &ca.secret_name;
    let Some(secret) = shared.secret(namespace, name).await? else {
        return Ok(Checked::not(
            "ErrGetKeyPair",
            format!("Error getting keypair for CA issuer: secret \"{namespace}/{name}\" not found"),
        ));
    };
    let held = Held::read(&secret);
    let invalid = |why: &dyn std::fmt::Display| {
        Checked::not("ErrInvalidKeyPair", format!("Error getting keypair for CA issuer: {why}"))
    };
    let key = match &held.key {
        Some(Ok(key)) => key,
        Some(Err(fault)) => return Ok(invalid(fault)),
        None => return Ok(invalid(&format!("no data for {KEY:?} in secret '{namespace}/{name}'"))),
    };
    let Some(leaf) = held.leaf() else {
        return Ok(invalid(&format!("no certificate in tls.crt of secret '{namespace}/{name}'")));
    };
    Ok(match sign::check(leaf, key) {
        Ok(()) => Checked::ready("KeyPairVerified", "Signing CA verified"),
        Err(fault) => invalid(&fault),
    })
}

/// The server of an issuer, one for all who use it.
pub(super) fn server(shared: &Shared, acme: &AcmeIssuer) -> Result<Arc<Server>, crate::acme::Error> {
    let trust = Trust { bundle: acme.ca_bundle.clone(), anybody: acme.skip_tls_verify };
    let mut servers = shared.servers.lock();
    let key = (acme.server.clone(), trust);
    if let Some(known) = servers.get(&key) {
        return Ok(Arc::clone(known));
    }
    let made = Arc::new(Server::new(&key.0, &key.1, &shared.config.resolve, shared.config.clock.clone())?);
    servers.insert(key, Arc::clone(&made));
    Ok(made)
}

/// The account's key; made, where that is allowed and it is missing.
async fn account_key(shared: &Shared, namespace: &str, acme: &AcmeIssuer) -> anyhow::Result<Result<Key, Checked>> {
    let of = &acme.private_key_secret_ref;
    let entry_name = if of.key.is_empty() { KEY } else { &of.key };
    if let Some(found) = shared.secret(namespace, &of.name).await? {
        let key = entry(&found, entry_name).map(Key::from_pem);
        return Ok(match key {
            Some(Ok(key)) => Ok(key),
            Some(Err(fault)) => Err(fault.to_string()),
            None => Err(format!("no data for {entry_name:?}")),
        }
        .map_err(|fault| {
            Checked::not(
                "ErrVerifyACMEAccount",
                format!(
                    "Failed to verify ACME account: secret \"{namespace}/{}\": {fault}; delete it for a new account",
                    of.name
                ),
            )
        }));
    }
    if acme.disable_account_key_generation {
        let message = format!(
            "Failed to verify ACME account: secret \"{namespace}/{}\" not found and disableAccountKeyGeneration is set",
            of.name
        );
        return Ok(Err(Checked::not("ErrVerifyACMEAccount", message)));
    }
    let key = Key::generate(Kind::P256)?;
    let document = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": of.name, "namespace": namespace, "labels": { secret::LABEL: "true" } },
        "data": { entry_name: ByteString(key.to_pem(Encoding::Pkcs8).into_bytes()) },
    });
    shared.create::<Secret>(namespace, &document).await?;
    Ok(Ok(key))
}

async fn register(
    shared: &Shared,
    namespace: &str,
    acme: &AcmeIssuer,
    status: &IssuerStatus,
) -> anyhow::Result<(Checked, Next)> {
    let key = match account_key(shared, namespace, acme).await? {
        Ok(key) => key,
        Err(checked) => return Ok((checked, Next::Done)),
    };
    let hash = BASE64_STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, &key.public()));
    let known = status.acme.as_ref().filter(|known| {
        !known.uri.is_empty()
            && known.last_private_key_hash == hash
            && known.last_registered_email == acme.email
            && same_host(&known.uri, &acme.server)
    });
    let registered = Checked::ready("ACMEAccountRegistered", "The ACME account was registered with the ACME server");
    if known.is_some() {
        return Ok((registered, Next::Done));
    }
    let failed =
        |why: String| Checked::not("ErrRegisterACMEAccount", format!("Failed to register ACME account: {why}"));
    let external = match &acme.external_account_binding {
        None => None,
        Some(binding) => match shared.value(namespace, &binding.key_secret_ref, "secret").await? {
            Err(fault) => return Ok((failed(format!("externalAccountBinding.keySecretRef: {fault}")), Next::Done)),
            Ok(text) => match unpadded(&text) {
                Some(key) => Some(External { key_id: binding.key_id.clone(), key }),
                None => {
                    return Ok((
                        failed("externalAccountBinding.keySecretRef: the key is not base64url".to_owned()),
                        Next::Done,
                    ));
                }
            },
        },
    };
    let attempt = async { server(shared, acme)?.register(&key, &acme.email, external.as_ref()).await };
    match attempt.await {
        Ok(uri) => {
            let account = AcmeStatus { uri, last_registered_email: acme.email.clone(), last_private_key_hash: hash };
            Ok((Checked { acme: Some(account), ..registered }, Next::Done))
        }
        Err(error) => {
            let next = if error.is_transient() {
                Next::After(error.wait().unwrap_or(Duration::from_secs(5)))
            } else {
                Next::Done
            };
            Ok((failed(base::error::chain(&error)), next))
        }
    }
}

fn unpadded(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| BASE64_URL_SAFE.decode(text))
        .or_else(|_| BASE64_STANDARD.decode(text))
        .ok()
}

fn same_host(one: &str, other: &str) -> bool {
    let host = |url: &str| reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host(one).is_some_and(|one| host(other) == Some(one))
}

/// The account of the issuer that is named.
///
/// # Errors
/// Why there is none now; the issuer's condition says more.
pub(super) async fn account(
    shared: &Shared,
    reference: &IssuerRef,
    namespace: &str,
) -> anyhow::Result<Result<(Account, AcmeIssuer), String>> {
    let Some((spec, status)) = shared.issuer(reference, namespace) else {
        return Ok(Err(format!("{} {:?} not found", reference.kind(), reference.name)));
    };
    let (Some(acme), Some(account)) = (spec.acme, status.acme.filter(|known| !known.uri.is_empty())) else {
        return Ok(Err(format!("{} {:?} has no ACME account yet", reference.kind(), reference.name)));
    };
    let secrets = shared.secrets_of(reference, namespace);
    let key = match shared.value(secrets, &acme.private_key_secret_ref, KEY).await? {
        Ok(pem) => Key::from_pem(&pem),
        Err(fault) => return Ok(Err(fault)),
    };
    let server = server(shared, &acme);
    Ok(match (key, server) {
        (Ok(key), Ok(server)) => Ok((Account { server, key: Arc::new(key), url: account.uri }, acme)),
        (Err(fault), _) => Err(fault.to_string()),
        (_, Err(fault)) => Err(base::error::chain(&fault)),
    })
}

async fn check_vault(
    shared: &Shared,
    reference: &IssuerRef,
    namespace: &str,
    settings: &VaultIssuer,
) -> anyhow::Result<(Checked, Next)> {
    let attempt = async {
        let (client, identity) = vault(shared, reference, namespace, settings).await?;
        client.is_well().await?;
        client.login(&identity).await
    };
    Ok(match attempt.await {
        Ok(_) => (Checked::ready("VaultVerified", "Vault verified"), Next::Done),
        Err(error) => (
            Checked::not("VaultError", format!("Failed to initialize Vault client: {}", base::error::chain(&error))),
            Next::After(AGAIN),
        ),
    })
}

/// Vault as an issuer names it, and who we are there.
pub(super) async fn vault(
    shared: &Shared,
    reference: &IssuerRef,
    namespace: &str,
    settings: &VaultIssuer,
) -> Result<(Vault, Identity), vault::Error> {
    let config = |error: anyhow::Error| vault::Error::Config(format!("{error:#}"));
    let secrets = shared.secrets_of(reference, namespace);
    let text = |value: Result<Vec<u8>, String>, field: &str| {
        let value = value.map_err(|fault| vault::Error::Config(format!("spec.vault.{field}: {fault}")))?;
        let text =
            String::from_utf8(value).map_err(|_| vault::Error::Config(format!("spec.vault.{field}: not UTF-8")))?;
        Ok::<String, vault::Error>(text.trim().to_owned())
    };
    let bundle = match &settings.ca_bundle_secret_ref {
        Some(of) if settings.ca_bundle.is_empty() => {
            text(shared.value(secrets, of, "ca.crt").await.map_err(config)?, "caBundleSecretRef")?.into_bytes()
        }
        _ => settings.ca_bundle.clone(),
    };
    let client = Vault::new(settings, &bundle)?;
    let auth = &settings.auth;
    let identity = if let Some(of) = &auth.token_secret_ref {
        Identity::Token(text(shared.value(secrets, of, "token").await.map_err(config)?, "auth.tokenSecretRef")?)
    } else if let Some(role) = &auth.app_role {
        let secret_id =
            text(shared.value(secrets, &role.secret_ref, "secretId").await.map_err(config)?, "auth.appRole.secretRef")?;
        Identity::AppRole { path: role.path.clone(), role_id: role.role_id.clone(), secret_id }
    } else if let Some(kubernetes) = &auth.kubernetes {
        let token = if let Some(account) = &kubernetes.service_account_ref {
            let own = if reference.kind() == "ClusterIssuer" {
                format!("vault://{}", reference.name)
            } else {
                format!("vault://{namespace}/{}", reference.name)
            };
            let audiences = [account.audiences.clone(), vec![own]].concat();
            token(shared, secrets, &account.name, audiences).await.map_err(|error| config(error.into()))?
        } else {
            let of = kubernetes.secret_ref.clone().unwrap_or_default();
            text(shared.value(secrets, &of, "token").await.map_err(config)?, "auth.kubernetes.secretRef")?
        };
        Identity::Kubernetes { path: kubernetes.mount_path.clone(), role: kubernetes.role.clone(), token }
    } else {
        return Err(vault::Error::Config(
            "spec.vault.auth: one of tokenSecretRef, appRole, kubernetes must be set".to_owned(),
        ));
    };
    Ok((client, identity))
}

async fn token(shared: &Shared, namespace: &str, account: &str, audiences: Vec<String>) -> Result<String, kube::Error> {
    let spec = TokenRequestSpec {
        audiences: Some(audiences),
        expiration_seconds: Some(TOKEN_SECONDS),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest { spec: Some(spec), ..TokenRequest::default() };
    let api = Api::<ServiceAccount>::namespaced(shared.client.clone(), namespace);
    let made = api.create_token_request(account, &PostParams::default(), &request).await?;
    Ok(made.status.and_then(|status| status.token).unwrap_or_default())
}
