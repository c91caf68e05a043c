//! CertificateRequests: approved, and signed by whoever the issuer is.

use std::sync::Arc;
use std::time::Duration;

use informer::Next;
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Shared, advice, issuers};
use crate::acme::Identifier;
use crate::api::{
    CaIssuer, CertificateRequest, IssuerSpec, Order, OrderSpec, SelfSigned, State, VaultIssuer, annotation, document,
    is_owned_by, owned_by,
};
use crate::plan::held::{Held, KEY, entry};
use crate::plan::request::{self, Outcome, Step};
use crate::plan::{Note, hash, shortened};
use crate::vault;
use crate::x509::key::Key;
use crate::x509::read::Facts;
use crate::x509::request::duration;
use crate::x509::sign::{Terms, sign};
use crate::x509::usage::Usages;
use crate::x509::{chain, der, read};

/// On a request: the Secret with the key it was signed with, for issuers that sign with it.
pub(super) const KEY_SECRET: &str = "cert-manager.io/private-key-secret-name";
/// Until an issuer that could not be asked is asked again.
const AGAIN: Duration = Duration::from_secs(30);

pub(super) async fn reconcile(shared: &Arc<Shared>, key: &base::Key) -> anyhow::Result<Next> {
    let api = Api::<CertificateRequest>::namespaced(shared.client.clone(), &key.namespace);
    let Some(request) = api.get_opt(&key.name).await? else { return Ok(Next::Done) };
    let now = shared.now();
    let step =
        shared.with_issuer(&request.spec.issuer_ref, &key.namespace, |found| request::step(&request, found, now));
    let (status, next) = match step {
        Step::Nothing => return Ok(Next::Done),
        Step::Say(status) => (Some(*status), Next::Done),
        Step::Sign => {
            let Some((spec, _)) = shared.issuer(&request.spec.issuer_ref, &key.namespace) else {
                return Ok(Next::Done);
            };
            let (outcome, next) = issue(shared, &request, &spec).await?;
            (request::answered(&request, outcome, now), next)
        }
    };
    if let Some(status) = status {
        shared.write_status(&api, &request, &request.status, &status).await?;
        if let Some(last) = status.conditions.iter().find(|one| !request.status.conditions.contains(one)) {
            let note =
                Note { warning: last.reason == "Failed", reason: reason(&last.reason), message: last.message.clone() };
            shared.tell(&request, &note).await;
        }
    }
    Ok(next)
}

fn reason(of: &str) -> String {
    match of {
        "Issued" => "CertificateIssued".to_owned(),
        "Pending" => "Pending".to_owned(),
        other => other.to_owned(),
    }
}

async fn issue(shared: &Shared, request: &CertificateRequest, issuer: &IssuerSpec) -> anyhow::Result<(Outcome, Next)> {
    let failed = |why: String| Ok((Outcome::Failed(why), Next::Done));
    let Some(said) = read::request_pem(&request.spec.request) else {
        return failed("spec.request: no signing request (PKCS #10, PEM) whose signature holds".to_owned());
    };
    let terms = match terms(request) {
        Ok(terms) => terms,
        Err(fault) => return failed(fault),
    };
    if let Some(own) = &issuer.self_signed {
        let outcome = self_signed(shared, request, &said, terms, own).await?;
        return Ok((outcome, Next::Done));
    }
    if let Some(ca) = &issuer.ca {
        let outcome = by_authority(shared, request, &said, terms, ca).await?;
        let next = if matches!(outcome, Outcome::Pending(_)) { Next::After(AGAIN) } else { Next::Done };
        return Ok((outcome, next));
    }
    if let Some(acme) = &issuer.acme {
        return by_order(shared, request, &said, acme).await;
    }
    match &issuer.vault {
        Some(vault) => by_vault(shared, request, &said, &terms, vault).await,
        None => failed("the issuer has no type that is served here".to_owned()),
    }
}

/// What the request asks of whoever signs.
fn terms(request: &CertificateRequest) -> Result<Terms, String> {
    let spec = &request.spec;
    Ok(Terms {
        duration: duration(spec.duration.as_deref(), "spec.duration")?,
        is_ca: spec.is_ca,
        usages: Usages::named(&spec.usages, spec.is_ca).map_err(|fault| format!("spec.usages: {fault}"))?,
        ..Terms::default()
    })
}

fn signed(certificate: &[u8], above: &[Facts]) -> Outcome {
    let Some(own) = read::certificate(certificate) else {
        return Outcome::Failed("the certificate that was made cannot be read".to_owned());
    };
    let all: Vec<Facts> = std::iter::once(own).chain(above.iter().cloned()).collect();
    match chain::parse(&all) {
        Some(bundle) => Outcome::Issued { chain: bundle.chain.into_bytes(), ca: bundle.ca.into_bytes() },
        None => Outcome::Failed("the certificates in the issuer's Secret are no single chain; keep there the authority's own and those above it".to_owned()),
    }
}

async fn self_signed(
    shared: &Shared,
    request: &CertificateRequest,
    said: &Facts,
    mut terms: Terms,
    issuer: &SelfSigned,
) -> anyhow::Result<Outcome> {
    let Some(name) = annotation(request, KEY_SECRET) else {
        return Ok(Outcome::Failed(format!(
            "Annotation {KEY_SECRET:?} missing or reference empty: secret name missing"
        )));
    };
    let namespace = request.namespace().unwrap_or_default();
    let Some(secret) = shared.secret(&namespace, name).await? else {
        return Ok(Outcome::Pending(format!("Referenced secret {namespace}/{name} not found")));
    };
    let key = match entry(&secret, KEY).map(Key::from_pem) {
        Some(Ok(key)) => key,
        Some(Err(fault)) => {
            return Ok(Outcome::Failed(format!("Failed to get private key from secret {namespace}/{name}: {fault}")));
        }
        None => {
            return Ok(Outcome::Failed(format!(
                "Failed to get private key from secret {namespace}/{name}: no entry {KEY}"
            )));
        }
    };
    if key.public() != said.public {
        return Ok(Outcome::Failed("CSR not signed by referenced private key".to_owned()));
    }
    terms.crl_distribution_points.clone_from(&issuer.crl_distribution_points);
    match sign(said, None, &key, &terms, shared.now()) {
        Ok(der) => Ok(signed(&der, &[])),
        Err(fault) => Ok(Outcome::Failed(format!("Error signing certificate: {fault}"))),
    }
}

async fn by_authority(
    shared: &Shared,
    request: &CertificateRequest,
    said: &Facts,
    mut terms: Terms,
    issuer: &CaIssuer,
) -> anyhow::Result<Outcome> {
    let namespace = request.namespace().unwrap_or_default();
    let namespace = shared.secrets_of(&request.spec.issuer_ref, &namespace);
    let Some(secret) = shared.secret(namespace, &issuer.secret_name).await? else {
        return Ok(Outcome::Pending(format!("Referenced secret {namespace}/{} not found", issuer.secret_name)));
    };
    let held = Held::read(&secret);
    let (Some(key), Some(Some(above))) = (held.usable_key(), held.chain.as_ref()) else {
        let message = format!("Failed to parse signing CA keypair from secret {namespace}/{}", issuer.secret_name);
        return Ok(Outcome::Pending(message));
    };
    terms.crl_distribution_points.clone_from(&issuer.crl_distribution_points);
    terms.ocsp_servers.clone_from(&issuer.ocsp_servers);
    terms.issuer_urls.clone_from(&issuer.issuing_certificate_urls);
    match sign(said, above.first(), key, &terms, shared.now()) {
        Ok(der) => Ok(signed(&der, above)),
        Err(fault) => Ok(Outcome::Pending(format!("Error signing certificate: {fault}"))),
    }
}

async fn by_vault(
    shared: &Shared,
    request: &CertificateRequest,
    said: &Facts,
    terms: &Terms,
    issuer: &VaultIssuer,
) -> anyhow::Result<(Outcome, Next)> {
    let namespace = request.namespace().unwrap_or_default();
    let attempt = async {
        let (vault, identity) = issuers::vault(shared, &request.spec.issuer_ref, &namespace, issuer).await?;
        let token = vault.login(&identity).await?;
        vault.sign(&token, &issuer.path, &request.spec.request, said, terms.duration.as_secs()).await
    };
    match attempt.await {
        Ok(bundle) => {
            Ok((Outcome::Issued { chain: bundle.chain.into_bytes(), ca: bundle.ca.into_bytes() }, Next::Done))
        }
        Err(error) if error.is_transient() => Ok((
            Outcome::Pending(format!("Vault failed to sign, will retry: {}", base::error::chain(&error))),
            Next::After(AGAIN),
        )),
        Err(error @ vault::Error::Config(_)) => Ok((Outcome::Pending(base::error::chain(&error)), Next::After(AGAIN))),
        Err(error) => Ok((
            Outcome::Failed(format!("Vault failed to sign certificate: {}", base::error::chain(&error))),
            Next::Done,
        )),
    }
}

/// The name of the Order for a request: another request under the same name has another.
fn order_name(request: &CertificateRequest) -> String {
    let body = String::from_utf8_lossy(&request.spec.request);
    format!("{}-{}", shortened(&request.name_any(), 230), hash(&[&request.uid().unwrap_or_default(), &body], 10))
}

async fn by_order(
    shared: &Shared,
    request: &CertificateRequest,
    said: &Facts,
    issuer: &crate::api::AcmeIssuer,
) -> anyhow::Result<(Outcome, Next)> {
    let namespace = request.namespace().unwrap_or_default();
    let failed = |why: String| Ok((Outcome::Failed(why), Next::Done));
    let name = order_name(request);
    let Some(order) = Api::<Order>::namespaced(shared.client.clone(), &namespace).get_opt(&name).await? else {
        let spec = match order_spec(request, said, issuer) {
            Ok(spec) => OrderSpec { replaces: advice::replaced(shared, request).await?, ..spec },
            Err(fault) => return failed(fault),
        };
        let mut annotations = request.metadata.annotations.clone().unwrap_or_default();
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
        let metadata = json!({
            "name": name, "namespace": namespace, "labels": request.metadata.labels, "annotations": annotations,
            "ownerReferences": owned_by(request),
        });
        shared.create::<Order>(&namespace, &document::<Order>(metadata, &spec)).await?;
        shared.tell(request, &Note::normal("OrderCreated", format!("Created Order resource {namespace}/{name}"))).await;
        return Ok((Outcome::Pending(format!("Created new ACME order {namespace}/{name}")), Next::Done));
    };
    if !is_owned_by(&order, request) {
        return failed(format!("the Order {name} is not of this request; delete it"));
    }
    let status = &order.status;
    let quoted = format!("{:?}", status.state.name());
    match status.state {
        State::Valid if !status.certificate.is_empty() => {
            let Some(all) = read::certificates_pem(&status.certificate) else {
                return failed("the ACME server answered with certificates that cannot be read".to_owned());
            };
            if all.first().is_none_or(|leaf| leaf.public != said.public) {
                return failed("the ACME server answered with a certificate for another key".to_owned());
            }
            // a public root is not told: whom clients trust is theirs to say
            let pem: String = all.iter().map(|one| der::pem("CERTIFICATE", &one.der)).collect();
            Ok((Outcome::Issued { chain: pem.into_bytes(), ca: Vec::new() }, Next::Done))
        }
        state if state.is_failure() => failed(format!(
            "Failed to wait for order resource {name:?} to become ready: order is in {quoted} state: {}",
            status.reason
        )),
        _ => {
            let why = if status.reason.is_empty() { String::new() } else { format!(": {}", status.reason) };
            Ok((
                Outcome::Pending(format!(
                    "Waiting on certificate issuance from order {namespace}/{name}: {quoted}{why}"
                )),
                Next::Done,
            ))
        }
    }
}

fn order_spec(
    request: &CertificateRequest,
    said: &Facts,
    issuer: &crate::api::AcmeIssuer,
) -> Result<OrderSpec, String> {
    let (names, common) = (&said.names, said.common_name());
    if !names.emails.is_empty() || !names.uris.is_empty() {
        return Err("ACME servers certify DNS names and IP addresses only; remove emailAddresses and uris".to_owned());
    }
    if request.spec.is_ca {
        return Err("ACME servers do not certify authorities; remove isCA".to_owned());
    }
    let addresses: Vec<String> = names.ips.iter().map(ToString::to_string).collect();
    let known = common.is_empty() || names.dns.contains(&common) || addresses.contains(&common);
    if !known {
        return Err(format!(
            "The CSR PEM requests a commonName that is not present in the list of dnsNames or ipAddresses. If a commonName is set, ACME requires that the value is also present in the list of dnsNames or ipAddresses: {common:?} does not exist in {:?} or {addresses:?}",
            names.dns
        ));
    }
    if names.dns.is_empty() && addresses.is_empty() {
        return Err("ACME servers want dnsNames or ipAddresses".to_owned());
    }
    Ok(OrderSpec {
        request: request.spec.request.clone(),
        issuer_ref: request.spec.issuer_ref.clone(),
        common_name: common,
        dns_names: names.dns.clone(),
        ip_addresses: addresses,
        duration: request.spec.duration.clone().filter(|_| issuer.enable_duration_feature),
        profile: issuer.profile.clone(),
        replaces: String::new(),
    })
}

/// The names and addresses of an order.
pub(super) fn identifiers(order: &OrderSpec) -> Vec<Identifier> {
    let of = |kind: &str, values: &[String]| -> Vec<Identifier> {
        values.iter().map(|value| Identifier { kind: kind.to_owned(), value: value.clone() }).collect()
    };
    [of("dns", &order.dns_names), of("ip", &order.ip_addresses)].concat()
}
