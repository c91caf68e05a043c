//! What is approved, signed and forgotten.

use serde_json::{Value, json};

use super::*;
use crate::world;

/// A request by openssl: `CN=system:node:n1, O=system:nodes`, no other names.
pub(crate) const NODE: &str = include_str!("node.csr");
/// The same with the DNS name `n1`.
const NAMED: &str = include_str!("named.csr");
/// `CN=ann, O=devs, O=ops`.
const PERSON: &str = include_str!("person.csr");

pub(crate) fn request(signer: &str, pem: &str, usages: &[&str], more: Value) -> CertificateSigningRequest {
    let bytes = k8s_openapi::ByteString(pem.as_bytes().to_vec());
    let mut object = json!({
        "metadata": { "name": "r", "creationTimestamp": "2027-01-15T07:00:00Z" },
        "spec": { "signerName": signer, "request": bytes, "usages": usages, "username": "system:node:n1" },
        "status": {},
    });
    for (key, value) in more.as_object().expect("an object") {
        for (field, value) in value.as_object().expect("an object") {
            object[key][field] = value.clone();
        }
    }
    serde_json::from_value(object).expect("a request")
}

const AS_CLIENT: &[&str] = &["digital signature", "client auth"];
const AS_SERVER: &[&str] = &["digital signature", "key encipherment", "server auth"];

fn told(kind: &str, ago: &str) -> Value {
    let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world::ago(ago));
    json!({ "conditions": [{ "type": kind, "status": "True", "lastUpdateTime": time }] })
}

fn approved(signer: &str, pem: &str, usages: &[&str]) -> Signing {
    signing(&request(signer, pem, usages, json!({ "status": told("Approved", "1m") }))).expect("readable")
}

fn failure(signer: &str, pem: &str, usages: &[&str]) -> String {
    match approved(signer, pem, usages) {
        Signing::Fail(why) => why,
        Signing::Nothing => "nothing".into(),
        Signing::Sign { by, .. } => format!("signed for {by:?}"),
    }
}

#[test]
fn a_node_may_have_its_client_certificate_approved() {
    let names = |request: &CertificateSigningRequest| -> Vec<&str> {
        approvals(request).expect("readable").iter().map(|one| one.subresource).collect()
    };
    assert_eq!(names(&request(KUBELET_CLIENT, NODE, AS_CLIENT, json!({}))), ["selfnodeclient", "nodeclient"]);
    let other = json!({ "spec": { "username": "system:bootstrap:abc" } });
    assert_eq!(names(&request(KUBELET_CLIENT, NODE, AS_CLIENT, other)), ["nodeclient"]);
    let none: [&str; 0] = [];
    assert_eq!(names(&request(KUBELET_CLIENT, NODE, AS_SERVER, json!({}))), none);
    assert_eq!(names(&request(KUBELET_CLIENT, NAMED, AS_CLIENT, json!({}))), none);
    assert_eq!(names(&request(CLIENT, NODE, AS_CLIENT, json!({}))), none);
    for kind in ["Approved", "Denied"] {
        assert_eq!(names(&request(KUBELET_CLIENT, NODE, AS_CLIENT, json!({ "status": told(kind, "1m") }))), none);
    }
    assert!(approvals(&request(KUBELET_CLIENT, "no", AS_CLIENT, json!({}))).is_err());
}

#[test]
fn each_signer_wants_its_shape() {
    assert_eq!(failure(CLIENT, PERSON, AS_CLIENT), "signed for Clients");
    assert_eq!(failure(CLIENT, PERSON, AS_SERVER), "invalid usage for client certificate: server auth");
    let missing = "missing required usage for client certificate: client auth";
    assert_eq!(failure(CLIENT, PERSON, &["digital signature"]), missing);
    assert_eq!(failure(KUBELET_CLIENT, NODE, AS_CLIENT), "signed for Clients");
    assert_eq!(failure(KUBELET_CLIENT, PERSON, AS_CLIENT), "subject organization is not system:nodes");
    assert_eq!(failure(KUBELET_CLIENT, NAMED, AS_CLIENT), "DNS subjectAltNames are not allowed");
    let usages = "usages did not match [client auth digital signature key encipherment]";
    assert_eq!(failure(KUBELET_CLIENT, NODE, &["client auth"]), usages);
    assert_eq!(failure(KUBELET_SERVING, NAMED, AS_SERVER), "signed for Servers");
    assert_eq!(failure(KUBELET_SERVING, NODE, AS_SERVER), "DNS or IP subjectAltName is required");
    assert_eq!(failure("kubernetes.io/legacy-unknown", PERSON, &["code signing"]), "signed for Clients");
    assert_eq!(failure("example.com/mine", PERSON, AS_CLIENT), "nothing");
}

#[test]
fn nothing_is_signed_twice_or_unapproved_and_not_longer_than_allowed() {
    let sign = |more: Value| signing(&request(CLIENT, PERSON, AS_CLIENT, more)).expect("readable");
    assert_eq!(sign(json!({})), Signing::Nothing);
    assert_eq!(sign(json!({ "status": told("Denied", "1m") })), Signing::Nothing);
    let mut done = told("Approved", "1m");
    done["certificate"] = json!("eA==");
    assert_eq!(sign(json!({ "status": done })), Signing::Nothing);
    let lasts = |seconds: Value| {
        let more = json!({ "status": told("Approved", "1m"), "spec": { "expirationSeconds": seconds } });
        match sign(more) {
            Signing::Sign { lifetime, .. } => lifetime.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(lasts(Value::Null), LIFETIME.as_secs());
    assert_eq!((lasts(json!(60)), lasts(json!(7200)), lasts(json!(999_999_999))), (600, 7200, LIFETIME.as_secs()));
}

#[test]
fn what_was_decided_is_forgotten_sooner_than_what_was_not() {
    let left =
        |more: Value| forgotten(&request(CLIENT, PERSON, AS_CLIENT, more), world::NOW).map(|left| left.as_secs());
    let time = |ago: &str| json!(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world::ago(ago)));
    assert_eq!(left(json!({ "metadata": { "creationTimestamp": time("23h") } })), Some(3600));
    assert_eq!(left(json!({ "metadata": { "creationTimestamp": time("25h") } })), Some(0));
    assert_eq!(left(json!({ "status": told("Denied", "59m") })), Some(60));
    assert_eq!(left(json!({ "status": told("Failed", "61m") })), Some(0));
    assert_eq!(left(json!({ "status": told("Approved", "1h") })), Some(23 * 3600));
    let mut signed = told("Approved", "30m");
    signed["certificate"] = json!("bm8gY2VydGlmaWNhdGU=");
    assert_eq!(left(json!({ "status": signed })), Some(1800));
}
