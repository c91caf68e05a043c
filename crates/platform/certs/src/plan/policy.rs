//! Whether a Certificate must be issued again, and whether it is ready: the rules in upstream's order, with its words.

use base::time::rfc3339;
use jiff::{SignedDuration, Timestamp};

use super::hash;
use super::held::Held;
use crate::api::{Certificate, CertificateRequest, CertificateSpec, IssuerRef, RenewalInfo};
use crate::x509::read::{self, Facts};
use crate::x509::request::Wanted;

/// Who issued what is in a Secret.
pub const ISSUER_NAME: &str = "cert-manager.io/issuer-name";
/// Its kind.
pub const ISSUER_KIND: &str = "cert-manager.io/issuer-kind";
/// Its group.
pub const ISSUER_GROUP: &str = "cert-manager.io/issuer-group";
/// For which Certificate.
pub const CERTIFICATE_NAME: &str = "cert-manager.io/certificate-name";

/// What is judged.
#[derive(Debug)]
pub struct Case<'a> {
    /// The Certificate.
    pub certificate: &'a Certificate,
    /// What its spec means.
    pub wanted: &'a Wanted,
    /// What its Secret holds, if that exists.
    pub held: Option<&'a Held<'a>>,
    /// The request that was answered with what is in the Secret.
    pub current: Option<&'a CertificateRequest>,
}

/// A rule that does not hold: reason and message.
pub type Violation = (&'static str, String);

/// Why the certificate must be issued, if it must.
#[must_use]
pub fn must_issue(case: &Case<'_>, now: Timestamp) -> Option<Violation> {
    let leaf = match sound(case) {
        Ok(leaf) => leaf,
        Err(violation) => return Some(violation),
    };
    let due = renewal_time(&case.certificate.spec, leaf, advice(case.certificate))?;
    (due <= now).then(|| ("Renewing", format!("Renewing certificate as renewal was scheduled at {}", rfc3339(due))))
}

/// Why the certificate is not ready, if it is not.
#[must_use]
pub fn not_ready(case: &Case<'_>, now: Timestamp) -> Option<Violation> {
    match sound(case) {
        Ok(leaf) if now > leaf.not_after => Some((
            "Expired",
            format!("Certificate expired on {}", leaf.not_after.strftime("%a, %d %b %Y %H:%M:%S UTC")),
        )),
        Ok(_) => None,
        Err(violation) => Some(violation),
    }
}

/// The advice of the ACME server on a certificate.
#[must_use]
pub fn advice(certificate: &Certificate) -> Option<&RenewalInfo> {
    certificate.status.acme.as_ref()?.ari.as_ref()
}

/// The rules that time has no part in; the certificate, when they hold.
fn sound<'a>(case: &Case<'a>) -> Result<&'a Facts, Violation> {
    let held = case.held.ok_or_else(|| ("DoesNotExist", "Issuing certificate as Secret does not exist".to_owned()))?;
    let missing = |what: &str| ("MissingData", format!("Issuing certificate as Secret does not contain {what}"));
    if held.secret.data.as_ref().is_none_or(std::collections::BTreeMap::is_empty) {
        return Err(missing("any data"));
    }
    let key = held.key.as_ref().ok_or_else(|| missing("a private key"))?;
    held.chain.as_ref().ok_or_else(|| missing("a certificate"))?;
    let key = key.as_ref().map_err(|fault| {
        ("InvalidKeyPair", format!("Issuing certificate as Secret contains invalid private key data: {fault}"))
    })?;
    let leaf = held.leaf().ok_or_else(|| {
        ("InvalidCertificate", "Issuing certificate as Secret contains an invalid certificate".to_owned())
    })?;
    if key.public() != leaf.public {
        let message = "Issuing certificate as Secret contains a private key that does not match the certificate";
        return Err(("InvalidKeyPair", message.to_owned()));
    }
    let fields = case.wanted.key_differs(key.kind());
    if !fields.is_empty() {
        return Err((
            "SecretMismatch",
            format!("Existing private key is not up to date for spec: {}", listed(&fields)),
        ));
    }
    issued_for(case, held)?;
    match case.current {
        None => {
            let fields = case.wanted.differs_in_names(leaf);
            if !fields.is_empty() {
                let message = format!(
                    "Issuing certificate as Existing issued Secret is not up to date for spec: {}",
                    listed(&fields)
                );
                return Err(("SecretMismatch", message));
            }
        }
        Some(request) => {
            let Some(said) = read::request_pem(&request.spec.request) else {
                let message = "Failed to decode current CertificateRequest".to_owned();
                return Err(("InvalidCertificateRequest", message));
            };
            if said.public != key.public() {
                let message = "Secret contains a private key that does not match the current CertificateRequest";
                return Err(("SecretMismatch", message.to_owned()));
            }
            let fields = case.wanted.differs(&case.certificate.spec, &request.spec);
            if !fields.is_empty() {
                let message =
                    format!("Fields on existing CertificateRequest resource not up to date: {}", listed(&fields));
                return Err(("RequestChanged", message));
            }
        }
    }
    Ok(leaf)
}

fn issued_for(case: &Case<'_>, held: &Held<'_>) -> Result<(), Violation> {
    let said = |name: &str| held.annotation(name).unwrap_or_default().to_owned();
    let issuer = IssuerRef { name: said(ISSUER_NAME), kind: said(ISSUER_KIND), group: said(ISSUER_GROUP) };
    if !issuer.same(&case.certificate.spec.issuer_ref) {
        let name = format!("{}.{}/{}", issuer.kind(), issuer.group(), issuer.name);
        return Err(("IncorrectIssuer", format!("Issuing certificate as Secret was previously issued by {name:?}")));
    }
    match held.annotation(CERTIFICATE_NAME) {
        Some(name) if Some(name) != case.certificate.metadata.name.as_deref() => {
            let message = format!(
                "Secret was issued for {name:?}. If this message is not transient, you might have two conflicting Certificates pointing to the same secret."
            );
            Err(("IncorrectCertificate", message))
        }
        _ => Ok(()),
    }
}

fn listed(fields: &[&str]) -> String {
    format!("[{}]", fields.join(" "))
}

/// When `leaf` is to be renewed; never, when that is what the spec says. In a window that the ACME server suggests the
/// moment depends on the certificate, so that not all of them come at once (RFC 9773, 4.2).
#[must_use]
pub fn renewal_time(spec: &CertificateSpec, leaf: &Facts, advice: Option<&RenewalInfo>) -> Option<Timestamp> {
    if spec.renewal.as_ref().is_some_and(|renewal| renewal.policy == "Disabled") {
        return None;
    }
    let window = advice.and_then(|advice| advice.suggested_window.as_ref()).and_then(|window| {
        let (start, end) = (base::time::parse(&window.start).ok()?, base::time::parse(&window.end).ok()?);
        (start > leaf.not_before && start <= end).then_some((start, end))
    });
    if let Some((start, end)) = window {
        let serial: String = leaf.serial.iter().map(|byte| format!("{byte:02x}")).collect();
        let share = i64::from_str_radix(&hash(&[&serial], 7), 16).unwrap_or(0);
        let seconds = end.duration_since(start).as_secs() * share / 0x0FFF_FFFF;
        return start.checked_add(SignedDuration::from_secs(seconds)).ok();
    }
    let life = leaf.not_after.duration_since(leaf.not_before);
    let written = spec.renew_before.as_deref().and_then(|text| base::time::duration(text).ok());
    let share =
        spec.renew_before_percentage.and_then(|share| life.checked_mul(share)).and_then(|all| all.checked_div(100));
    let before = written.or(share).filter(|before| *before > SignedDuration::ZERO && *before < life);
    let before = before.unwrap_or_else(|| life.checked_div(3).unwrap_or_default());
    let at = leaf.not_after.checked_sub(before).ok()?;
    Timestamp::from_second(at.as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Window;

    fn leaf(hours: i64) -> Facts {
        let not_before = Timestamp::from_second(1_000_000).unwrap();
        let not_after = not_before.checked_add(SignedDuration::from_hours(hours)).unwrap();
        Facts { not_before, not_after, serial: vec![7], ..Facts::default() }
    }

    fn check(spec: &str, hours: i64, expected: Option<i64>) {
        let spec = serde_json::from_str(spec).unwrap();
        let leaf = leaf(hours);
        let after = renewal_time(&spec, &leaf, None).map(|at| at.duration_since(leaf.not_before).as_hours());
        assert_eq!(after, expected);
    }

    #[test]
    fn a_third_of_its_life_before_its_end_unless_said_otherwise() {
        check("{}", 90, Some(60));
        check(r#"{"renewBefore": "10h"}"#, 90, Some(80));
        check(r#"{"renewBefore": "90h"}"#, 90, Some(60));
        check(r#"{"renewBeforePercentage": 50}"#, 90, Some(45));
        check(r#"{"renewal": {"policy": "Disabled"}}"#, 90, None);
    }

    #[test]
    fn advice_is_followed_within_its_window() {
        let at = |hours: i64| rfc3339(leaf(hours).not_after);
        let advice = |start, end| RenewalInfo {
            suggested_window: Some(Window { start: at(start), end: at(end) }),
            ..RenewalInfo::default()
        };
        let when = |advice: &RenewalInfo| renewal_time(&CertificateSpec::default(), &leaf(90), Some(advice)).unwrap();
        let renewed = when(&advice(20, 30));
        assert!(renewed >= leaf(20).not_after && renewed <= leaf(30).not_after);
        assert_eq!(renewed, when(&advice(20, 30)), "the same each time");
        assert_eq!(when(&advice(30, 20)), leaf(60).not_after, "no window, no advice");
    }
}
