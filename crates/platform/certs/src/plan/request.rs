//! What a CertificateRequest needs next: approval, a signature, or nothing any more.

use base::time::rfc3339;
use jiff::Timestamp;

use super::fact;
use crate::api::{
    CertificateRequest, Condition, IssuerSpec, IssuerStatus, RequestStatus, condition, is_true, set_condition,
};

/// The issuer a request names, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The kind is neither Issuer nor ClusterIssuer.
    NoKind,
    /// There is none of that name.
    Missing,
    /// This one.
    There(&'a IssuerSpec, &'a IssuerStatus),
}

/// What is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is not ours, done, or going away.
    Nothing,
    /// Write this status.
    Say(Box<RequestStatus>),
    /// Approved, and the issuer is ready: sign it.
    Sign,
}

/// What signing came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Chain and authority, PEM.
    Issued {
        /// The certificate and those between it and the root.
        chain: Vec<u8>,
        /// The root, or what is nearest to it.
        ca: Vec<u8>,
    },
    /// Not yet; something else must happen first.
    Pending(String),
    /// Never.
    Failed(String),
}

/// Decides what is next.
#[must_use]
pub fn step(request: &CertificateRequest, issuer: Found<'_>, now: Timestamp) -> Step {
    let conditions = &request.status.conditions;
    let reference = &request.spec.issuer_ref;
    let over = condition(conditions, "Ready")
        .is_some_and(|ready| matches!(ready.reason.as_str(), "Issued" | "Failed" | "Denied"));
    if !reference.is_ours() || over || request.metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    let mut status = request.status.clone();
    if is_true(conditions, "Denied") {
        status.failure_time = Some(rfc3339(now));
        let message = "The CertificateRequest was denied by an approval controller";
        return say(request, status, fact("Ready", false, "Denied", message, now));
    }
    if !is_true(conditions, "Approved") {
        let message = "Certificate request has been approved by cert-manager.io";
        return say(request, status, fact("Approved", true, "cert-manager.io", message, now));
    }
    let pending = |message: String| fact("Ready", false, "Pending", message, now);
    match issuer {
        Found::NoKind => {
            let message = format!(
                "Referenced {:?} not found: invalid value {:?} for issuerRef.kind. Must be empty, \"Issuer\" or \"ClusterIssuer\"",
                reference.kind(),
                reference.kind()
            );
            say(request, status, pending(message))
        }
        Found::Missing => {
            let kind = reference.kind();
            let message = format!(
                "Referenced {kind:?} not found: {}.cert-manager.io {:?} not found",
                kind.to_lowercase(),
                reference.name
            );
            say(request, status, pending(message))
        }
        Found::There(_, issuer) if !is_true(&issuer.conditions, "Ready") => {
            say(request, status, pending("Referenced issuer does not have a Ready status condition".to_owned()))
        }
        Found::There(..) => Step::Sign,
    }
}

fn say(request: &CertificateRequest, mut status: RequestStatus, new: Condition) -> Step {
    set_condition(&mut status.conditions, new);
    if status == request.status { Step::Nothing } else { Step::Say(Box::new(status)) }
}

/// The status after an attempt to sign; none when it says nothing new.
#[must_use]
pub fn answered(request: &CertificateRequest, outcome: Outcome, now: Timestamp) -> Option<RequestStatus> {
    let mut status = request.status.clone();
    let new = match outcome {
        Outcome::Issued { chain, ca } => {
            status.certificate = chain;
            status.ca = ca;
            fact("Ready", true, "Issued", "Certificate fetched from issuer successfully", now)
        }
        Outcome::Pending(message) => fact("Ready", false, "Pending", message, now),
        Outcome::Failed(message) => {
            status.failure_time = Some(rfc3339(now));
            fact("Ready", false, "Failed", message, now)
        }
    };
    set_condition(&mut status.conditions, new);
    (status != request.status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn request(issuer: &str, conditions: &[(&str, &str, &str)]) -> CertificateRequest {
        let mut request: CertificateRequest =
            serde_json::from_str(&format!(r#"{{"spec": {{"issuerRef": {issuer}}}}}"#)).unwrap();
        for (kind, status, reason) in conditions {
            request.status.conditions.push(fact(kind, *status == "True", reason, "", NOW));
        }
        request
    }

    fn check(issuer: &str, conditions: &[(&str, &str, &str)], found: Found<'_>, expected: &str) {
        let request = request(issuer, conditions);
        let told = match step(&request, found, NOW) {
            Step::Nothing => "nothing".to_owned(),
            Step::Sign => "sign".to_owned(),
            Step::Say(status) => {
                let mut again = request.clone();
                again.status = (*status).clone();
                if is_true(&again.status.conditions, "Approved") && conditions.is_empty() {
                    "approve".to_owned()
                } else {
                    assert_eq!(step(&again, found, NOW), Step::Nothing, "said once");
                    status
                        .conditions
                        .iter()
                        .find(|one| one.kind == "Ready")
                        .map(|one| format!("{}: {}", one.reason, one.message))
                        .unwrap()
                }
            }
        };
        assert!(told.starts_with(expected), "{told:?}, not {expected:?}");
    }

    #[test]
    fn a_request_is_approved_and_then_signed_by_an_issuer_that_is_ready() {
        let (spec, mut status) = (IssuerSpec::default(), IssuerStatus::default());
        let approved = [("Approved", "True", "cert-manager.io")];
        let ours = r#"{"name": "i"}"#;
        check(ours, &[], Found::Missing, "approve");
        check(
            ours,
            &approved,
            Found::Missing,
            r#"Pending: Referenced "Issuer" not found: issuer.cert-manager.io "i" not found"#,
        );
        check(
            r#"{"name": "i", "kind": "X"}"#,
            &approved,
            Found::NoKind,
            r#"Pending: Referenced "X" not found: invalid value"#,
        );
        check(ours, &approved, Found::There(&spec, &status), "Pending: Referenced issuer does not have a Ready status");
        status.conditions.push(fact("Ready", true, "", "", NOW));
        check(ours, &approved, Found::There(&spec, &status), "sign");
        check(ours, &[("Denied", "True", "no")], Found::Missing, "Denied: The CertificateRequest was denied");
        for over in ["Issued", "Failed", "Denied"] {
            check(ours, &[("Approved", "True", ""), ("Ready", "True", over)], Found::There(&spec, &status), "nothing");
        }
    }

    #[test]
    fn requests_to_issuers_of_another_group_are_left_alone() {
        check(r#"{"name": "i", "group": "example.com"}"#, &[], Found::Missing, "nothing");
    }
}
