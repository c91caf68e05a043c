//! What is said of an issuer.

use jiff::Timestamp;

use super::{Note, fact};
use crate::api::{AcmeStatus, IssuerSpec, IssuerStatus, Solver, condition, set_condition};

/// What looking at an issuer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Whether it can sign.
    pub ready: bool,
    /// In one word.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// Its account, for ACME.
    pub acme: Option<AcmeStatus>,
}

impl Checked {
    /// It can sign.
    #[must_use]
    pub fn ready(reason: &'static str, message: &str) -> Self {
        Self { ready: true, reason, message: message.to_owned(), acme: None }
    }

    /// It cannot.
    #[must_use]
    pub fn not(reason: &'static str, message: impl Into<String>) -> Self {
        Self { ready: false, reason, message: message.into(), acme: None }
    }
}

/// What can be said without asking anybody: of issuers that are no single one, or not served.
#[must_use]
pub fn refused(spec: &IssuerSpec) -> Option<Checked> {
    let there = [
        spec.self_signed.is_some(),
        spec.ca.is_some(),
        spec.acme.is_some(),
        spec.vault.is_some(),
        spec.venafi.is_some(),
    ];
    match there.iter().filter(|one| **one).count() {
        0 => Some(Checked::not("InvalidConfig", "spec: one of selfSigned, ca, acme, vault must be set")),
        1 if spec.venafi.is_some() => Some(Checked::not(
            "NotSupported",
            "spec.venafi: Venafi is not served here; use acme, vault or ca, or an external issuer",
        )),
        1 => unserved(spec).map(|why| Checked::not("NotSupported", why)),
        _ => Some(Checked::not("InvalidConfig", "spec: only one of selfSigned, ca, acme, vault, venafi may be set")),
    }
}

/// The field that nothing acts on here, and what to do instead: an issuer that asks for it does not do as it says.
fn unserved(spec: &IssuerSpec) -> Option<&'static str> {
    let follows = |solver: &Solver| solver.dns01.as_ref().is_some_and(|dns| dns.cname_strategy == "Follow");
    if spec.acme.as_ref().is_some_and(|acme| acme.solvers.iter().any(follows)) {
        return Some(
            "spec.acme.solvers.dns01.cnameStrategy: Follow is not served here; name the zone that the record is to be in",
        );
    }
    let vault = spec.vault.as_ref()?;
    if !vault.server_name.is_empty() {
        return Some("spec.vault.serverName is not served here; use the name of the certificate in spec.vault.server");
    }
    let shown = vault.client_cert_secret_ref.is_some() || vault.client_key_secret_ref.is_some();
    shown.then_some("spec.vault.clientCertSecretRef is not served here; use tokenSecretRef, appRole or kubernetes of spec.vault.auth")
}

/// The status after a look, if it is another, and what to tell.
#[must_use]
pub fn said(
    status: &IssuerStatus,
    generation: Option<i64>,
    checked: Checked,
    now: Timestamp,
) -> (Option<IssuerStatus>, Option<Note>) {
    let mut new = status.clone();
    let known = condition(&status.conditions, "Ready")
        .is_some_and(|one| one.reason == checked.reason && one.message == checked.message);
    let note = match (known, checked.ready) {
        (true, _) => None,
        (false, true) => Some(Note::normal(checked.reason, checked.message.clone())),
        (false, false) => Some(Note::warning(checked.reason, checked.message.clone())),
    };
    let mut ready = fact("Ready", checked.ready, checked.reason, checked.message, now);
    ready.observed_generation = generation;
    set_condition(&mut new.conditions, ready);
    if checked.acme.is_some() {
        new.acme = checked.acme;
    }
    ((new != *status).then_some(new), note)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_one_thing() {
        let refused = |text: &str| refused(&serde_json::from_str(text).unwrap()).map(|one| one.reason);
        assert_eq!(refused("{}"), Some("InvalidConfig"));
        assert_eq!(refused(r#"{"selfSigned": {}}"#), None);
        assert_eq!(refused(r#"{"selfSigned": {}, "ca": {"secretName": "x"}}"#), Some("InvalidConfig"));
        assert_eq!(refused(r#"{"venafi": {"zone": "x"}}"#), Some("NotSupported"));
    }

    #[test]
    fn what_nothing_acts_on_is_refused() {
        let refused = |text: &str| refused(&serde_json::from_str(text).unwrap()).map(|one| one.message);
        for (text, field) in [
            (r#"{"acme": {"solvers": [{"dns01": {"cnameStrategy": "Follow"}}]}}"#, "cnameStrategy"),
            (r#"{"vault": {"serverName": "v"}}"#, "serverName"),
            (r#"{"vault": {"clientCertSecretRef": {"name": "c"}}}"#, "clientCertSecretRef"),
        ] {
            assert!(refused(text).is_some_and(|message| message.contains(field)), "{text}");
        }
        assert_eq!(refused(r#"{"acme": {"solvers": [{"dns01": {"cnameStrategy": "None"}}]}}"#), None);
    }

    #[test]
    fn what_is_known_is_not_told_again() {
        let now = Timestamp::UNIX_EPOCH;
        let (status, note) = said(&IssuerStatus::default(), Some(1), Checked::ready("IsReady", ""), now);
        let status = status.unwrap();
        assert!(note.is_some());
        assert_eq!(said(&status, Some(1), Checked::ready("IsReady", ""), Timestamp::MAX), (None, None));
    }
}
