//! Certificates from issuers that sign by themselves.

use std::process::Command;

use knarr_certs::x509::key::{Encoding, Key, Kind};
use knarr_certs::x509::read;
use serde_json::json;

use super::cluster::{CERT, Cluster};

async fn cluster() -> Cluster {
    Cluster::start(|_| {}).await
}

/// A CA from a SelfSigned issuer, and an Issuer `authority` that signs with it.
async fn authority(cluster: &Cluster) {
    cluster.cert_manager("Issuer", "bootstrap", json!({ "selfSigned": {} })).await;
    let spec = json!({
        "secretName": "root-tls", "commonName": "root", "isCA": true, "issuerRef": { "name": "bootstrap" },
        "duration": "87600h", "privateKey": { "algorithm": "Ed25519" },
    });
    cluster.cert_manager("Certificate", "root", spec).await;
    cluster.cert_manager("Issuer", "authority", json!({ "ca": { "secretName": "root-tls" } })).await;
    cluster.says("Issuer", "authority", "Ready", "True", "KeyPairVerified: Signing CA verified").await;
}

fn web(extra: serde_json::Value) -> serde_json::Value {
    let mut spec = json!({
        "secretName": "web-tls", "dnsNames": ["web.example", "*.web.example"], "ipAddresses": ["10.0.0.1"], "duration": "24h",
        "issuerRef": { "name": "authority" }, "privateKey": { "algorithm": "ECDSA" },
    });
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_from_a_self_signed_authority_verifies_and_every_form_is_made() {
    let cluster = cluster().await;
    authority(&cluster).await;
    let extra = json!({
        "privateKey": { "algorithm": "RSA", "encoding": "PKCS1" }, "subject": { "organizations": ["a", "b"] },
        "additionalOutputFormats": [{ "type": "CombinedPEM" }, { "type": "DER" }],
        "keystores": { "pkcs12": { "create": true, "profile": "Modern2023", "passwordSecretRef": { "name": "password", "key": "p" } } },
        "secretTemplate": { "labels": { "team": "web" }, "annotations": { "note": "x" } },
    });
    cluster.cert_manager("Certificate", "web", web(extra)).await;
    cluster.secret("default", "password", json!({ "p": "changeit" })).await;
    cluster.patch(CERT, "Certificate", "web", json!({ "metadata": { "labels": { "touched": "yes" } } })).await;
    cluster.ready("web", 1).await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (entry, file) in [
        ("tls.crt", "leaf"),
        ("ca.crt", "root"),
        ("tls.key", "key"),
        ("keystore.p12", "p12"),
        ("truststore.p12", "trust"),
    ] {
        std::fs::write(path(file), cluster.entry("web-tls", entry).await).unwrap();
    }
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {args:?}: {text}");
        text
    };
    assert!(
        openssl(&[
            "verify",
            "-CAfile",
            &path("root"),
            "-verify_hostname",
            "x.web.example",
            "-purpose",
            "sslserver",
            &path("leaf")
        ])
        .contains("OK")
    );
    let shown = openssl(&["x509", "-in", &path("leaf"), "-noout", "-subject", "-pubkey"]);
    assert!(shown.contains("O = a + O = b") || shown.contains("O=a + O=b"), "{shown}");
    let key = openssl(&["pkey", "-in", &path("key"), "-pubout"]);
    assert!(shown.contains(key.trim()), "the key belongs to the certificate");
    assert!(String::from_utf8(cluster.entry("web-tls", "tls.key").await).unwrap().contains("BEGIN RSA PRIVATE KEY"));
    let store = openssl(&["pkcs12", "-in", &path("p12"), "-passin", "pass:changeit", "-nodes"]);
    assert!(store.matches("BEGIN CERTIFICATE").count() == 2 && store.contains("PRIVATE KEY"), "{store}");
    let trust = openssl(&["pkcs12", "-in", &path("trust"), "-passin", "pass:changeit", "-nokeys"]);
    assert_eq!(trust.matches("BEGIN CERTIFICATE").count(), 1);
    assert!(
        String::from_utf8(cluster.entry("web-tls", "tls-combined.pem").await).unwrap().contains("BEGIN CERTIFICATE")
    );
    let secret = cluster.get("v1", "Secret", "default", "web-tls").await;
    let metadata = &secret["metadata"];
    assert_eq!(
        (&secret["type"], &metadata["labels"]["team"], &metadata["annotations"]["note"]),
        (&json!("kubernetes.io/tls"), &json!("web"), &json!("x"))
    );
    assert_eq!(metadata["labels"]["controller.cert-manager.io/fao"], "true");
    for (name, value) in [
        ("certificate-name", "web"),
        ("issuer-name", "authority"),
        ("issuer-kind", "Issuer"),
        ("ip-sans", "10.0.0.1"),
        ("alt-names", "web.example,*.web.example"),
    ] {
        assert_eq!(metadata["annotations"][format!("cert-manager.io/{name}")], value, "{name}");
    }
    cluster.patch(CERT, "Certificate", "web", json!({ "spec": { "secretTemplate": { "labels": null } } })).await;
    cluster.until("v1", "Secret", "default", "web-tls", |secret| secret["metadata"]["labels"]["team"].is_null()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_lived_certificates_are_renewed_as_time_passes() {
    let cluster = cluster().await;
    authority(&cluster).await;
    cluster.cert_manager("Certificate", "web", web(json!({ "duration": "2h", "renewBefore": "30m" }))).await;
    let mut last = cluster.ready("web", 1).await;
    let mut key = cluster.entry("web-tls", "tls.key").await;
    for revision in 2..6 {
        cluster.pass(1);
        cluster
            .patch(
                CERT,
                "Certificate",
                "web",
                json!({ "metadata": { "annotations": { "look": format!("{revision}") } } }),
            )
            .await;
        let same = cluster.ready("web", revision - 1).await;
        assert_eq!(same["renewalTime"], last["renewalTime"], "an hour is too early");
        cluster.pass(1);
        cluster
            .patch(
                CERT,
                "Certificate",
                "web",
                json!({ "metadata": { "annotations": { "look": format!("{revision}b") } } }),
            )
            .await;
        let renewed = cluster.ready("web", revision).await;
        let at = |status: &serde_json::Value| status["notAfter"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        assert!(at(&renewed) > at(&last) && at(&renewed) > cluster.now());
        let new = cluster.entry("web-tls", "tls.key").await;
        assert_ne!(new, key, "with another key");
        (last, key) = (renewed, new);
    }
    cluster.until(CERT, "CertificateRequest", "default", "web-4", serde_json::Value::is_null).await;
    let requests = cluster.list(CERT, "CertificateRequest").await;
    let own: Vec<_> =
        requests.iter().filter(|one| one["metadata"]["name"].as_str().unwrap().starts_with("web-")).collect();
    assert_eq!(own.len(), 1, "older requests are forgotten");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_with_cmctl_renew_gets_a_new_certificate() {
    let cluster = cluster().await;
    authority(&cluster).await;
    cluster.cert_manager("Certificate", "web", web(json!({}))).await;
    cluster.ready("web", 1).await;
    cluster.renew("web").await;
    cluster.ready("web", 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_users_are_signed_and_denied_ones_are_not() {
    let cluster = cluster().await;
    authority(&cluster).await;
    let key = Key::generate(Kind::P256).unwrap();
    let spec = serde_json::from_value(json!({ "dnsNames": ["a.example"] })).unwrap();
    let der = knarr_certs::x509::request::Wanted::of(&spec).unwrap().request(&key).unwrap();
    let pem = pem("CERTIFICATE REQUEST", &der);
    let request = |issuer: serde_json::Value| json!({ "request": base64(pem.as_bytes()), "issuerRef": issuer, "usages": ["client auth"] });
    cluster.cert_manager("CertificateRequest", "mine", request(json!({ "name": "authority" }))).await;
    let done = cluster.says("CertificateRequest", "mine", "Ready", "True", "Issued").await;
    let chain = read::certificates_pem(&unbase64(&done["status"]["certificate"])).unwrap();
    assert_eq!((chain[0].public.clone(), chain[0].names.dns.clone()), (key.public(), vec!["a.example".to_owned()]));
    cluster.says("CertificateRequest", "mine", "Approved", "True", "cert-manager.io").await;
    cluster.cert_manager("CertificateRequest", "self", request(json!({ "name": "bootstrap" }))).await;
    cluster.says("CertificateRequest", "self", "Ready", "False", "private-key-secret-name").await;
    cluster
        .cert_manager("CertificateRequest", "lost", request(json!({ "name": "nobody", "kind": "ClusterIssuer" })))
        .await;
    cluster
        .says("CertificateRequest", "lost", "Ready", "False", "Pending: Referenced \"ClusterIssuer\" not found")
        .await;
    cluster.cert_manager("ClusterIssuer", "nobody", json!({ "ca": { "secretName": "knarr-ca" } })).await;
    cluster.says("CertificateRequest", "lost", "Ready", "True", "Issued").await;
    cluster
        .cert_manager(
            "CertificateRequest",
            "foreign",
            request(json!({ "name": "x", "kind": "AWSPCAIssuer", "group": "awspca.cert-manager.io" })),
        )
        .await;
    cluster.says("CertificateRequest", "lost", "Ready", "True", "Issued").await;
    assert!(cluster.get(CERT, "CertificateRequest", "default", "foreign").await["status"]["conditions"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingress_gets_its_certificate_from_the_own_authority_and_loses_it_again() {
    let cluster = cluster().await;
    let ingress = |hosts: &[&str]| {
        json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": { "name": "web", "namespace": "default", "annotations": { "cert-manager.io/cluster-issuer": "knarr-ca" } },
            "spec": { "tls": [{ "secretName": "web-tls", "hosts": hosts }], "rules": [{ "host": hosts[0] }] },
        })
    };
    cluster.create(ingress(&["a.example"])).await;
    cluster.ready("web-tls", 1).await;
    let key = Key::from_pem(&cluster.entry("web-tls", "tls.key").await).unwrap();
    assert_eq!(key.kind(), Kind::P256);
    let patch = json!({ "spec": { "tls": [{ "secretName": "web-tls", "hosts": ["a.example", "b.example"] }] } });
    cluster.patch("networking.k8s.io/v1", "Ingress", "web", patch).await;
    cluster.ready("web-tls", 2).await;
    let chain = read::certificates_pem(&cluster.entry("web-tls", "tls.crt").await).unwrap();
    assert_eq!(chain[0].names.dns, ["a.example", "b.example"]);
    let root = read::certificates_pem(&cluster.entry("web-tls", "ca.crt").await).unwrap();
    assert!(read::is_signed_by(&chain[0], &root[0]));
    cluster.patch("networking.k8s.io/v1", "Ingress", "web", json!({ "spec": { "tls": null } })).await;
    cluster.until(CERT, "Certificate", "default", "web-tls", serde_json::Value::is_null).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_is_told_in_conditions() {
    let cluster = cluster().await;
    cluster.cert_manager("Issuer", "empty", json!({ "ca": { "secretName": "none" } })).await;
    cluster.says("Issuer", "empty", "Ready", "False", "ErrGetKeyPair").await;
    cluster.cert_manager("Issuer", "nothing", json!({})).await;
    cluster.says("Issuer", "nothing", "Ready", "False", "InvalidConfig").await;
    cluster.cert_manager("Certificate", "web", web(json!({ "issuerRef": { "name": "empty" } }))).await;
    cluster.says("Certificate", "web", "Ready", "False", "DoesNotExist").await;
    cluster
        .says(
            "CertificateRequest",
            "web-1",
            "Ready",
            "False",
            "Referenced issuer does not have a Ready status condition",
        )
        .await;
    cluster
        .cert_manager(
            "Certificate",
            "java",
            web(json!({ "keystores": { "jks": { "create": true, "password": "x" } } })),
        )
        .await;
    cluster.says("Certificate", "java", "Ready", "False", "spec.keystores.jks: JKS keystores are not made").await;
    cluster
        .cert_manager("Certificate", "curve", web(json!({ "privateKey": { "algorithm": "ECDSA", "size": 521 } })))
        .await;
    cluster.says("Certificate", "curve", "Ready", "False", "spec.privateKey.size: 521 is not supported").await;
    let leaf = Key::generate(Kind::P256).unwrap().to_pem(Encoding::Pkcs8);
    cluster.secret("default", "none", json!({ "tls.key": leaf, "tls.crt": "x" })).await;
    cluster.says("Issuer", "empty", "Ready", "False", "ErrInvalidKeyPair").await;
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

pub(crate) fn unbase64(text: &serde_json::Value) -> Vec<u8> {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.decode(text.as_str().unwrap()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(der))
}
