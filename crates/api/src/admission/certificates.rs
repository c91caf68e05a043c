//! Who asks for a certificate, and who may approve, sign or attest for a signer.
//!
//! Invariant: a request for a certificate always names the one who made it, whatever its manifest says: approvers and
//! signers trust that. This is upstream's CertificateApproval, CertificateSigning, CertificateSubjectRestriction and
//! ClusterTrustBundleAttest, and what its registry does around them.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use x509_parser::{certification_request::X509CertificationRequest, prelude::FromDer};

use super::{Admission, Admit, Operation};
use crate::{
    attributes::Attributes,
    core::{Core, text},
    error::ApiError,
    identity::{self, User},
};

const GROUP: &str = "certificates.k8s.io";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub(super) struct Certificates;

#[async_trait]
impl Admission for Certificates {
    fn name(&self) -> &'static str {
        "Certificates"
    }

    async fn mutate(&self, _core: &Core, admit: &mut Admit<'_>) -> Result<(), ApiError> {
        if !is_request(admit) {
            return Ok(());
        }
        let (operation, subresource, user, old) = (admit.operation, admit.subresource, admit.user, admit.old);
        let Some(request) = admit.object.as_deref_mut() else { return Ok(()) };
        match (operation, subresource) {
            (Operation::Create, "") => sign(request, user),
            (Operation::Update, "approval" | "status") => date(request, old),
            _ => {}
        }
        Ok(())
    }

    async fn validate(&self, core: &Core, admit: &Admit<'_>) -> Result<(), ApiError> {
        if admit.kind.group != GROUP {
            return Ok(());
        }
        match refusal(core, admit) {
            Some(why) => Err(ApiError::denied(admit.kind, admit.name, &why)),
            None => Ok(()),
        }
    }
}

fn is_request(admit: &Admit<'_>) -> bool {
    admit.kind.is(GROUP, "CertificateSigningRequest")
}

fn refusal(core: &Core, admit: &Admit<'_>) -> Option<String> {
    let may = |verb: &str, signer: &str| is_allowed(core, admit.user, verb, signer);
    let new = admit.object.as_deref();
    let signer = |object: &Value| text(object, "/spec/signerName").to_owned();
    if admit.kind.kind == "ClusterTrustBundle" {
        let signer = new.map(signer).filter(|signer| !signer.is_empty())?;
        let same = admit.old.zip(new).is_some_and(|(old, new)| old.get("spec") == new.get("spec"));
        let why = format!("user not permitted to attest for signerName {signer:?}");
        return (!same && !may("attest", &signer)).then_some(why);
    }
    if !is_request(admit) {
        return None;
    }
    match (admit.operation, admit.subresource, admit.old) {
        (Operation::Update, "approval", Some(old)) => {
            let signer = signer(old);
            let why = format!("user not permitted to approve requests with signerName {signer:?}");
            (!may("approve", &signer)).then_some(why)
        }
        (Operation::Update, "status", Some(old)) => {
            let signer = signer(old);
            let touched = |field: &str| new.is_some_and(|new| new["status"].get(field) != old["status"].get(field));
            let why = format!("user not permitted to sign requests with signerName {signer:?}");
            ((touched("certificate") || touched("conditions")) && !may("sign", &signer)).then_some(why)
        }
        (Operation::Create, "", _) => new.and_then(subject),
        _ => None,
    }
}

/// Membership of the group that may do everything is not to be had by a certificate for clients.
fn subject(request: &Value) -> Option<String> {
    if text(request, "/spec/signerName") != CLIENT_SIGNER {
        return None;
    }
    let pem = STANDARD.decode(text(request, "/spec/request")).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    let (_, parsed) = X509CertificationRequest::from_der(&pem.contents).ok()?;
    let subject = &parsed.certification_request_info.subject;
    let masters = subject.iter_organization().any(|group| group.as_str() == Ok(identity::MASTERS));
    masters.then(|| format!("use of {CLIENT_SIGNER} signer with {} group is not allowed", identity::MASTERS))
}

/// Permission for the signer itself or for all of its domain.
fn is_allowed(core: &Core, user: &User, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer, &format!("{domain}/*")].iter().any(|name| {
        let ask = Attributes::resource(user, verb, GROUP, "signers", "", name);
        core.access.authorizer.authorize(&ask).is_allowed()
    })
}

/// Writes down who asks.
fn sign(request: &mut Value, user: &User) {
    if !request["spec"].is_object() {
        request["spec"] = Value::Object(Map::new());
    }
    let Some(spec) = request["spec"].as_object_mut() else { return };
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".to_owned(), json!(user.name));
    if let Some(uid) = &user.uid {
        spec.insert("uid".to_owned(), json!(uid));
    }
    if !user.groups.is_empty() {
        spec.insert("groups".to_owned(), json!(user.groups));
    }
    if !user.extra.is_empty() {
        spec.insert("extra".to_owned(), json!(user.extra));
    }
}

/// Conditions get the times their author left out.
fn date(request: &mut Value, old: Option<&Value>) {
    let now = json!(base::time::rfc3339(base::time::now()));
    let before = old.and_then(|old| old["status"]["conditions"].as_array()).cloned().unwrap_or_default();
    let Some(conditions) = request["status"]["conditions"].as_array_mut() else { return };
    for condition in conditions.iter_mut().filter(|condition| condition.is_object()) {
        if !condition["lastUpdateTime"].is_string() {
            condition["lastUpdateTime"] = now.clone();
        }
        if !condition["lastTransitionTime"].is_string() {
            let same = |held: &&Value| held["type"] == condition["type"] && held["status"] == condition["status"];
            let since = before.iter().find(same).map(|held| held["lastTransitionTime"].clone());
            condition["lastTransitionTime"] = since.filter(Value::is_string).unwrap_or_else(|| now.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_its_author_whatever_it_says() {
        let mut request = json!({ "spec": { "username": "system:node:n", "groups": ["system:masters"], "uid": "x" } });
        sign(&mut request, &User::component("ann", &["devs"]));
        assert_eq!(request["spec"]["username"], "ann");
        assert!(!request["spec"]["groups"].as_array().unwrap().contains(&json!("system:masters")));
        assert!(request["spec"].get("uid").is_none());
    }

    #[test]
    fn conditions_keep_their_transition_while_their_status_stays() {
        let old = json!({ "status": { "conditions": [
            { "type": "Approved", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
        ] } });
        let mut new = json!({ "status": { "conditions": [
            { "type": "Approved", "status": "True" }, { "type": "Failed", "status": "True" },
        ] } });
        date(&mut new, Some(&old));
        let conditions = &new["status"]["conditions"];
        assert_eq!(conditions[0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert!(conditions[1]["lastTransitionTime"].is_string() && conditions[0]["lastUpdateTime"].is_string());
    }
}
