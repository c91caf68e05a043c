//! What ACME servers advise on certificates (RFC 9773): asked as often as they want, kept in the Certificate's status.

use base::time::rfc3339;
use jiff::{SignedDuration, Timestamp};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{Shared, issuers};
use crate::acme::Error;
use crate::api::{Certificate, CertificateRequest, RenewalInfo, Window, controller};
use crate::plan::held::Held;
use crate::x509::read::Facts;

/// When the server does not say (RFC 9773, 4.3.3).
const USUAL: SignedDuration = SignedDuration::from_hours(6);
/// Servers that want to be asked more often or more seldom are not believed (RFC 9773, 4.3.2).
const BOUNDS: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_hours(24));

/// Asks, if it is time; when it is time again, or none where the issuer is no ACME server or does not advise.
pub(super) async fn refresh(
    shared: &Shared,
    api: &Api<Certificate>,
    certificate: &Certificate,
    leaf: &Facts,
) -> anyhow::Result<Option<Timestamp>> {
    let namespace = certificate.namespace().unwrap_or_default();
    let reference = &certificate.spec.issuer_ref;
    let acme = shared.issuer(reference, &namespace).filter(|_| reference.is_ours()).and_then(|(spec, _)| spec.acme);
    let Some(acme) = acme else { return Ok(None) };
    let now = shared.now();
    let known = certificate.status.acme.as_ref().and_then(|acme| acme.ari.as_ref());
    let due = known.and_then(|known| known.next_check.as_deref()).and_then(|at| base::time::parse(at).ok());
    if let Some(due) = due.filter(|due| *due > now) {
        return Ok(Some(due));
    }
    let server = match issuers::server(shared, &acme) {
        Ok(server) => server,
        Err(error) => {
            tracing::debug!("{error}");
            return Ok(None);
        }
    };
    let mut advice = known.cloned().unwrap_or_default();
    advice.last_checked = Some(rfc3339(now));
    let wait = match server.renewal_info(leaf).await {
        Ok(None) => return Ok(None),
        Ok(Some(told)) => {
            advice = RenewalInfo {
                suggested_window: Some(Window { start: rfc3339(told.start), end: rfc3339(told.end) }),
                explanation_url: told.explanation_url,
                last_error: String::new(),
                ..advice
            };
            told.retry_after.and_then(|wait| SignedDuration::try_from(wait).ok()).unwrap_or(USUAL)
        }
        Err(error) => {
            advice.last_error = base::error::chain(&error);
            let wait = error.wait().and_then(|wait| SignedDuration::try_from(wait).ok());
            // a certificate that the server does not know will not become known
            if matches!(error, Error::Problem { status: 404, .. }) { BOUNDS.1 } else { wait.unwrap_or(USUAL) }
        }
    };
    let next = now.checked_add(wait.clamp(BOUNDS.0, BOUNDS.1))?;
    advice.next_check = Some(rfc3339(next));
    let mut status = certificate.status.clone();
    status.acme = Some(serde_json::from_value(json!({ "ari": advice }))?);
    shared.write_status(api, certificate, &certificate.status, &status).await?;
    Ok(Some(next))
}

/// The certificate that the answer to `request` will be in place of, if its server advised on it; else nothing.
pub(super) async fn replaced(shared: &Shared, request: &CertificateRequest) -> anyhow::Result<String> {
    let namespace = request.namespace().unwrap_or_default();
    let owner = controller(request).filter(|owner| owner.kind == "Certificate");
    let certificate = owner.and_then(|owner| shared.certificates.get(&namespace, &owner.name));
    let Some(certificate) = certificate.filter(|one| one.status.acme.as_ref().is_some_and(|acme| acme.ari.is_some()))
    else {
        return Ok(String::new());
    };
    let secret = shared.secret(&namespace, &certificate.spec.secret_name).await?;
    let held = secret.as_ref().map(Held::read);
    let leaf = held.as_ref().and_then(Held::leaf);
    Ok(leaf.and_then(crate::acme::certificate_id).unwrap_or_default())
}
