//! Certificates and requests for them.

use std::collections::BTreeMap;

use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Serialize};

use super::{Condition, GROUP, IssuerRef, SecretKey, kind};

kind!(
    /// A certificate that is kept in a Secret and renewed in time.
    Certificate, CertificateSpec, CertificateStatus, GROUP, "certificates", NamespaceResourceScope
);
kind!(
    /// One request for one signature. Its spec never changes.
    CertificateRequest, RequestSpec, RequestStatus, GROUP, "certificaterequests", NamespaceResourceScope
);

/// What a certificate is to say, and where it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSpec {
    /// The Secret that key and certificate are kept in.
    pub secret_name: String,
    /// Who signs.
    pub issuer_ref: IssuerRef,
    /// Common name of the subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub common_name: String,
    /// The rest of the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// The whole subject as RFC 4514 writes it, in place of the other two.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub literal_subject: String,
    /// DNS names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// IP addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// URIs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub uris: Vec<String>,
    /// Mail addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub email_addresses: Vec<String>,
    /// How long it is to live; 90 days when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// How long before its end it is renewed; a third of its life when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
    /// The same in parts of a hundred of its life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before_percentage: Option<i32>,
    /// Whether it is renewed at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal: Option<Renewal>,
    /// Whether it may sign others.
    #[serde(rename = "isCA", skip_serializing_if = "std::ops::Not::not")]
    pub is_ca: bool,
    /// What it may be used for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<String>,
    /// Whether the request says the uses too; true when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encode_usages_in_request: Option<bool>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PrivateKey>,
    /// Labels and annotations of the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
    /// Other forms in the Secret.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub additional_output_formats: Vec<OutputFormat>,
    /// Keystores in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keystores: Option<Keystores>,
    /// How many requests are kept; one when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision_history_limit: Option<i32>,
}

/// A subject without its common name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "named as X.509 names them")]
pub struct Subject {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizations: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub countries: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub organizational_units: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub localities: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub provinces: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub street_addresses: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub postal_codes: Vec<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serial_number: String,
}

/// How a key is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PrivateKey {
    /// `RSA` (when empty), `ECDSA` or `Ed25519`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub algorithm: String,
    /// Bits; 2048 or 256 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// `PKCS1` (when empty) or `PKCS8`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub encoding: String,
    /// `Always` (when empty) or `Never`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rotation_policy: String,
}

/// Whether a certificate is renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Renewal {
    /// `RenewBefore` (when empty) or `Disabled`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub policy: String,
}

/// What the Secret carries beside the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SecretTemplate {
    /// Annotations.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// Another form of key and certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OutputFormat {
    /// `DER` (entry `key.der`) or `CombinedPEM` (entry `tls-combined.pem`).
    #[serde(rename = "type")]
    pub kind: String,
}

/// Keystores to make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Keystores {
    /// `keystore.jks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jks: Option<KeystoreSpec>,
    /// `keystore.p12`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pkcs12: Option<KeystoreSpec>,
}

/// One keystore.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KeystoreSpec {
    /// Whether it is made.
    pub create: bool,
    /// How it is encrypted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub profile: String,
    /// Where its password is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<SecretKey>,
    /// Its password itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

/// What has become of a Certificate. Times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// `Ready` and `Issuing`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// When the last issuance failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<String>,
    /// Of the certificate in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<String>,
    /// Of the certificate in the Secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_after: Option<String>,
    /// When it is renewed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<String>,
    /// Counts issuances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Where the key of the next issuance is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_private_key_secret_name: Option<String>,
    /// Failures in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_issuance_attempts: Option<i64>,
    /// What the ACME server advises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeAdvice>,
}

/// What an ACME server advises on a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AcmeAdvice {
    /// RFC 9773.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ari: Option<RenewalInfo>,
}

/// When a server suggests to renew (RFC 9773). Times are RFC 3339.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RenewalInfo {
    /// In this window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested_window: Option<Window>,
    /// Why.
    #[serde(rename = "explanationURL", skip_serializing_if = "String::is_empty")]
    pub explanation_url: String,
    /// When the server was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_checked: Option<String>,
    /// When it is asked again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
}

/// A stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "nothing to add")]
pub struct Window {
    pub start: String,
    pub end: String,
}

/// What is to be signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestSpec {
    /// How long the certificate is to live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<String>,
    /// Who is to sign.
    pub issuer_ref: IssuerRef,
    /// The signing request (PKCS #10), PEM.
    #[serde(with = "super::bytes")]
    pub request: Vec<u8>,
    /// Whether the certificate may sign others.
    #[serde(rename = "isCA", skip_serializing_if = "std::ops::Not::not")]
    pub is_ca: bool,
    /// What it may be used for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub usages: Vec<String>,
}

/// What has become of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RequestStatus {
    /// `Approved` or `Denied`, `InvalidRequest`, `Ready`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The certificate and those between it and the root, PEM.
    #[serde(with = "super::bytes", skip_serializing_if = "Vec::is_empty")]
    pub certificate: Vec<u8>,
    /// The root, or what is nearest to it, PEM.
    #[serde(with = "super::bytes", skip_serializing_if = "Vec::is_empty")]
    pub ca: Vec<u8>,
    /// When it failed, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_time: Option<String>,
}
