//! What a Certificate needs next.
//!
//! The way of an issuance: the `Issuing` condition, a Secret with the next key, a CertificateRequest, the Secret with the
//! certificate, the status, and the Secret with the next key goes. Each is written before the next is begun, and each is
//! found again by its name, so who is killed anywhere in between takes up the same request with the same key. Invariant: a
//! request that was answered is never made anew.

use std::sync::Arc;

use base::time::rfc3339;
use jiff::{SignedDuration, Timestamp};

use super::held::{AUTHORITY, CERTIFICATE, Held, entry};
use super::policy::{self, Case};
use super::secret::{self, Desired};
use super::{Note, fact, hash, shortened};
use crate::api::{Certificate, CertificateRequest, CertificateStatus, annotation, condition, is_true, set_condition};
use crate::x509::read;
use crate::x509::request::Wanted;

/// On a request: which issuance of its Certificate it is for.
pub const REVISION: &str = "cert-manager.io/certificate-revision";
/// The first wait after a failure; each further one doubles it.
const FIRST_WAIT: SignedDuration = SignedDuration::from_hours(1);
/// The longest wait after failures.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(32);

/// What the plan knows.
#[derive(Debug)]
pub struct Input<'a> {
    /// The Certificate.
    pub certificate: &'a Certificate,
    /// Its Secret.
    pub secret: Option<&'a Held<'a>>,
    /// The Secret called [`next_key_name`].
    pub next_key: Option<&'a Held<'a>>,
    /// The requests it controls.
    pub requests: &'a [Arc<CertificateRequest>],
    /// The present.
    pub now: Timestamp,
}

/// One step. They are taken in order, before the status is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the Secret `name` with a key for the next issuance: a new one, or the one of the present certificate.
    MakeKey {
        /// Of the Secret.
        name: String,
        /// Whether the key of the present certificate is taken.
        reuse: bool,
    },
    /// Delete the Secret with the key of an issuance.
    DropKey {
        /// Of the Secret.
        name: String,
    },
    /// Make a request, signed with the key of the next issuance.
    Request {
        /// Of the request.
        name: String,
        /// Which issuance it is for.
        revision: i64,
    },
    /// Delete a request that is not for what is wanted now, or long done.
    DropRequest {
        /// Of the request.
        name: String,
    },
    /// Write the Secret.
    Store(Box<Desired>),
}

/// What to do now, what then to say, and when time alone will ask for more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Steps to take.
    pub actions: Vec<Action>,
    /// The status, if it is another.
    pub status: Option<CertificateStatus>,
    /// What to tell.
    pub notes: Vec<Note>,
    /// When to look again even if nothing changes.
    pub look_again: Option<Timestamp>,
}

/// The name of the Secret with the key of the next issuance.
#[must_use]
pub fn next_key_name(certificate: &Certificate) -> String {
    if let Some(name) = certificate.status.next_private_key_secret_name.as_ref().filter(|name| !name.is_empty()) {
        return name.clone();
    }
    let (name, uid) = (name_of(certificate), certificate.metadata.uid.clone().unwrap_or_default());
    let revision = next_revision(certificate).to_string();
    format!("{}-{}", shortened(&name, 200), hash(&[&uid, &revision], 5))
}

fn name_of(certificate: &Certificate) -> String {
    certificate.metadata.name.clone().unwrap_or_default()
}

fn next_revision(certificate: &Certificate) -> i64 {
    certificate.status.revision.unwrap_or(0).saturating_add(1)
}

/// Which issuance a request is for.
#[must_use]
pub fn revision_of(request: &CertificateRequest) -> Option<i64> {
    annotation(request, REVISION)?.parse().ok()
}

/// What the spec means; of what is wrong with it or cannot be done, its field.
///
/// # Errors
/// The first fault.
pub fn meaning(certificate: &Certificate) -> Result<Wanted, String> {
    let spec = &certificate.spec;
    if spec.secret_name.is_empty() {
        return Err("spec.secretName: Required value".to_owned());
    }
    let keystores = spec.keystores.clone().unwrap_or_default();
    if keystores.jks.is_some_and(|jks| jks.create) {
        return Err("spec.keystores.jks: JKS keystores are not made; use pkcs12, which Java reads as well".to_owned());
    }
    if let Some(before) = spec.renew_before.as_deref() {
        base::time::duration(before).map_err(|fault| format!("spec.renewBefore: {fault}"))?;
    }
    let wanted = Wanted::of(spec)?;
    let before = spec.renew_before.as_deref().and_then(|before| base::time::duration(before).ok());
    if before.is_some_and(|before| before >= wanted.duration) {
        let (duration, before) =
            (spec.duration.as_deref().unwrap_or("2160h"), spec.renew_before.as_deref().unwrap_or_default());
        return Err(format!(
            "spec.renewBefore: Invalid value: {before:?}: certificate duration {duration} must be greater than renewBefore {before}"
        ));
    }
    Ok(wanted)
}

/// Decides what is next.
#[must_use]
pub fn plan(input: &Input<'_>) -> Plan {
    let certificate = input.certificate;
    let mut plan = Plan::default();
    if certificate.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let mut status = certificate.status.clone();
    match meaning(certificate) {
        Err(fault) => {
            ready(&mut status, certificate, Some(("InvalidSpec", fault.clone())), input.now);
            let known = condition(&certificate.status.conditions, "Ready").is_some_and(|one| one.message == fault);
            if !known {
                plan.notes.push(Note::warning("InvalidSpec", fault));
            }
        }
        Ok(wanted) => {
            let current = certificate.status.revision;
            let current = input.requests.iter().find(|one| current.is_some() && revision_of(one) == current);
            let case = Case { certificate, wanted: &wanted, held: input.secret, current: current.map(|one| &**one) };
            judge(&mut status, &mut plan, &case, input.now);
            if is_true(&certificate.status.conditions, "Issuing") {
                issue(input, &case, &mut status, &mut plan);
            } else {
                rest(input, &case, &mut status, &mut plan);
            }
        }
    }
    plan.status = (status != certificate.status).then_some(status);
    plan
}

fn ready(status: &mut CertificateStatus, of: &Certificate, violation: Option<policy::Violation>, now: Timestamp) {
    let mut new = match violation {
        None => fact("Ready", true, "Ready", "Certificate is up to date and has not expired", now),
        Some((reason, message)) => fact("Ready", false, reason, message, now),
    };
    new.observed_generation = of.metadata.generation;
    set_condition(&mut status.conditions, new);
}

/// What the status says of what is in the Secret.
fn judge(status: &mut CertificateStatus, plan: &mut Plan, case: &Case<'_>, now: Timestamp) {
    let violation = policy::not_ready(case, now);
    let leaf = case.held.and_then(Held::leaf);
    let renewal =
        leaf.and_then(|leaf| policy::renewal_time(&case.certificate.spec, leaf, policy::advice(case.certificate)));
    status.not_before = leaf.map(|leaf| rfc3339(leaf.not_before));
    status.not_after = leaf.map(|leaf| rfc3339(leaf.not_after));
    status.renewal_time = renewal.map(rfc3339);
    let end = leaf.and_then(|leaf| leaf.not_after.checked_add(SignedDuration::from_secs(1)).ok());
    for at in [renewal, end].into_iter().flatten().filter(|at| *at > now) {
        plan.look_again = Some(plan.look_again.map_or(at, |known| known.min(at)));
    }
    ready(status, case.certificate, violation, now);
}

/// Nothing is being issued: begin, or tidy up.
fn rest(input: &Input<'_>, case: &Case<'_>, status: &mut CertificateStatus, plan: &mut Plan) {
    let certificate = input.certificate;
    if let Some(name) = status.next_private_key_secret_name.take() {
        plan.actions.push(Action::DropKey { name });
        return;
    }
    let Some((reason, message)) = policy::must_issue(case, input.now) else {
        return tidy(input, case, plan);
    };
    let waits = waits_until(input, case).or_else(|| born_due(input, reason));
    if let Some(until) = waits.filter(|until| *until > input.now) {
        plan.look_again = Some(plan.look_again.map_or(until, |known| known.min(until)));
        return;
    }
    let mut issuing = fact("Issuing", true, reason, message.clone(), input.now);
    issuing.observed_generation = certificate.metadata.generation;
    set_condition(&mut status.conditions, issuing);
    plan.notes.push(Note::normal("Issuing", message));
}

/// Until when the failures so far make it wait; not when the spec is another since.
fn waits_until(input: &Input<'_>, case: &Case<'_>) -> Option<Timestamp> {
    let status = &input.certificate.status;
    let failed = base::time::parse(status.last_failure_time.as_deref()?).ok()?;
    let next = next_revision(input.certificate);
    let tried = input.requests.iter().find(|one| revision_of(one) == Some(next));
    if tried.is_some_and(|one| !case.wanted.differs(&input.certificate.spec, &one.spec).is_empty()) {
        return None;
    }
    let failures = u32::try_from(status.failed_issuance_attempts.unwrap_or(1).clamp(1, 16)).unwrap_or(1);
    let wait = FIRST_WAIT.checked_mul(1 << (failures - 1)).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
    failed.checked_add(wait).ok()
}

/// Until when a certificate is left that was due for renewal when it was issued (clocks that are apart, advice of the past):
/// another one would be as well, and so on without end.
fn born_due(input: &Input<'_>, reason: &str) -> Option<Timestamp> {
    let leaf = input.secret.and_then(Held::leaf).filter(|_| reason == "Renewing")?;
    let due = policy::renewal_time(&input.certificate.spec, leaf, policy::advice(input.certificate))?;
    let issued = condition(&input.certificate.status.conditions, "Issuing").filter(|one| one.reason == "Issued")?;
    let issued = base::time::parse(&issued.last_transition_time).ok()?;
    if due <= issued { issued.checked_add(FIRST_WAIT).ok() } else { None }
}

/// All is well: bring the Secret up to date, and forget requests beyond the limit.
fn tidy(input: &Input<'_>, case: &Case<'_>, plan: &mut Plan) {
    let certificate = input.certificate;
    if let Some(held) = input.secret
        && let (Some(key), Some(chain)) = (held.usable_key(), entry(held.secret, CERTIFICATE))
    {
        let authority = entry(held.secret, AUTHORITY).unwrap_or_default();
        let desired = secret::desired(certificate, key, case.wanted.encoding, chain, authority);
        if secret::is_stale(held, &desired) {
            plan.actions.push(Action::Store(Box::new(desired)));
        }
    }
    let limit = i64::from(certificate.spec.revision_history_limit.unwrap_or(1).max(1));
    let oldest = certificate.status.revision.unwrap_or(0).saturating_sub(limit);
    for request in input.requests {
        if revision_of(request).is_some_and(|revision| revision <= oldest) {
            plan.actions.push(Action::DropRequest { name: request.metadata.name.clone().unwrap_or_default() });
        }
    }
}

/// An issuance is under way: the first thing that is missing.
fn issue(input: &Input<'_>, case: &Case<'_>, status: &mut CertificateStatus, plan: &mut Plan) {
    let certificate = input.certificate;
    let key_name = next_key_name(certificate);
    let Some(next) = input.next_key else {
        return make_key(input, case, key_name, plan);
    };
    let usable = next.usable_key().filter(|key| case.wanted.key_differs(key.kind()).is_empty());
    let Some(key) = usable else {
        plan.actions.push(Action::DropKey { name: key_name });
        return;
    };
    status.next_private_key_secret_name = Some(key_name);
    if certificate.status.next_private_key_secret_name.is_none() {
        return; // the name is kept before anything is asked of anybody with the key
    }
    let revision = next_revision(certificate);
    let mut fitting = Vec::new();
    for request in input.requests.iter().filter(|one| revision_of(one) == Some(revision)) {
        let own_key = read::request_pem(&request.spec.request).is_some_and(|said| said.public == key.public());
        let fits = own_key && case.wanted.differs(&certificate.spec, &request.spec).is_empty();
        if fits && fitting.is_empty() && !is_of_an_earlier_try(certificate, request) {
            fitting.push(request);
        } else {
            plan.actions.push(Action::DropRequest { name: request.metadata.name.clone().unwrap_or_default() });
        }
    }
    if !plan.actions.is_empty() {
        return;
    }
    let Some(request) = fitting.first() else {
        let name = format!("{}-{revision}", shortened(&name_of(certificate), 52));
        plan.actions.push(Action::Request { name, revision });
        return;
    };
    if let Some((reason, message)) = failure(request) {
        return fail(status, plan, certificate, reason, &message, input.now);
    }
    if !is_true(&request.status.conditions, "Ready") || request.status.certificate.is_empty() {
        return;
    }
    match read::certificates_pem(&request.status.certificate) {
        Some(chain) if chain.first().is_some_and(|leaf| leaf.public == key.public()) => {
            let desired = secret::desired(
                certificate,
                key,
                case.wanted.encoding,
                &request.status.certificate,
                &request.status.ca,
            );
            plan.actions.push(Action::Store(Box::new(desired)));
            status.revision = Some(revision);
            status.last_failure_time = None;
            status.failed_issuance_attempts = None;
            status.acme = None; // the advice was on the certificate before
            let message = "The certificate has been successfully issued";
            set_condition(&mut status.conditions, fact("Issuing", false, "Issued", message, input.now));
            plan.notes.push(Note::normal("Issuing", message));
        }
        _ => {
            let message =
                "the issuer answered with a certificate that is not readable or not for the key of the request";
            fail(status, plan, certificate, "InvalidCertificate", message, input.now);
        }
    }
}

fn make_key(input: &Input<'_>, case: &Case<'_>, name: String, plan: &mut Plan) {
    let present = input.secret.and_then(Held::usable_key);
    let reuse = !case.wanted.rotate && present.is_some();
    if reuse && let Some(key) = present {
        let fields = case.wanted.key_differs(key.kind());
        if !fields.is_empty() {
            let message = format!(
                "User intervention required: existing private key in Secret {:?} does not match requirements on Certificate resource, mismatching fields: [{}], but cert-manager cannot create new private key as the Certificate's .spec.privateKey.rotationPolicy is set to Never. To allow cert-manager to create a new private key you can set .spec.privateKey.rotationPolicy to 'Always'",
                input.certificate.spec.secret_name,
                fields.join(" ")
            );
            plan.notes.push(Note::warning("CannotRegenerateKey", message));
            return;
        }
    }
    plan.actions.push(Action::MakeKey { name, reuse });
}

/// Whether a request failed before this issuance began.
fn is_of_an_earlier_try(certificate: &Certificate, request: &CertificateRequest) -> bool {
    let began = condition(&certificate.status.conditions, "Issuing")
        .and_then(|one| base::time::parse(&one.last_transition_time).ok());
    let failed = request.status.failure_time.as_deref().and_then(|at| base::time::parse(at).ok());
    failure(request).is_some() && failed.zip(began).is_some_and(|(failed, began)| failed < began)
}

/// Why a request will never be answered.
fn failure(request: &CertificateRequest) -> Option<(&'static str, String)> {
    let conditions = &request.status.conditions;
    let said = |kind: &str| condition(conditions, kind).map(|one| one.message.clone()).unwrap_or_default();
    let ready = condition(conditions, "Ready");
    if is_true(conditions, "Denied") {
        Some(("Denied", said("Denied")))
    } else if is_true(conditions, "InvalidRequest") {
        Some(("InvalidRequest", said("InvalidRequest")))
    } else if ready.is_some_and(|one| one.status == "False" && one.reason == "Failed") {
        Some(("Failed", said("Ready")))
    } else {
        None
    }
}

fn fail(
    status: &mut CertificateStatus,
    plan: &mut Plan,
    of: &Certificate,
    reason: &'static str,
    why: &str,
    now: Timestamp,
) {
    let message = format!("The certificate request has failed to complete and will be retried: {why}");
    status.last_failure_time = Some(rfc3339(now));
    status.failed_issuance_attempts = Some(of.status.failed_issuance_attempts.unwrap_or(0).saturating_add(1));
    let mut failed = fact("Issuing", false, reason, message.clone(), now);
    failed.observed_generation = of.metadata.generation;
    set_condition(&mut status.conditions, failed);
    plan.notes.push(Note::warning(reason, message));
}

#[cfg(test)]
mod tests;
