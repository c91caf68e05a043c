//! Issuers, of one namespace or of all.

use std::collections::BTreeMap;

use kube::core::{ClusterResourceScope, NamespaceResourceScope};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Condition, GROUP, SecretKey, kind};

kind!(
    /// Signs for its namespace.
    Issuer, IssuerSpec, IssuerStatus, GROUP, "issuers", NamespaceResourceScope
);
kind!(
    /// Signs for all namespaces; its Secrets are in the platform's.
    ClusterIssuer, IssuerSpec, IssuerStatus, GROUP, "clusterissuers", ClusterResourceScope
);

/// One of these.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IssuerSpec {
    /// Each certificate signs itself.
    pub self_signed: Option<SelfSigned>,
    /// An authority whose key is in a Secret.
    pub ca: Option<CaIssuer>,
    /// A server that speaks RFC 8555.
    pub acme: Option<AcmeIssuer>,
    /// Vault's PKI engine.
    pub vault: Option<VaultIssuer>,
    /// Venafi, which is kept but not served.
    pub venafi: Option<Value>,
}

/// Each certificate signs itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SelfSigned {
    /// Where revocations are told.
    pub crl_distribution_points: Vec<String>,
}

/// An authority whose key is in a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CaIssuer {
    /// `tls.crt` and `tls.key`.
    pub secret_name: String,
    /// Where revocations are told.
    pub crl_distribution_points: Vec<String>,
    /// Who answers for a certificate's state.
    pub ocsp_servers: Vec<String>,
    /// Where the authority's own certificate is.
    #[serde(rename = "issuingCertificateURLs")]
    pub issuing_certificate_urls: Vec<String>,
}

/// A server that speaks RFC 8555.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AcmeIssuer {
    /// Whom the server may write to.
    pub email: String,
    /// URL of the directory.
    pub server: String,
    /// Common name of the root to prefer.
    pub preferred_chain: String,
    /// Whom to trust beside the system's roots, PEM.
    #[serde(with = "super::bytes")]
    pub ca_bundle: Vec<u8>,
    /// Trust anybody: for tests only.
    #[serde(rename = "skipTLSVerify")]
    pub skip_tls_verify: bool,
    /// Ties the account to another one.
    pub external_account_binding: Option<ExternalAccount>,
    /// Where the account's key is; made when it is not there.
    pub private_key_secret_ref: SecretKey,
    /// Never make it.
    pub disable_account_key_generation: bool,
    /// Whether orders ask for a duration.
    pub enable_duration_feature: bool,
    /// The profile orders ask for.
    pub profile: String,
    /// How to show that a name is ours.
    pub solvers: Vec<Solver>,
}

/// An account that exists elsewhere (RFC 8555, 7.3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ExternalAccount {
    /// Its name.
    #[serde(rename = "keyID")]
    pub key_id: String,
    /// Where its key is, base64url.
    #[serde(rename = "keySecretRef")]
    pub key_secret_ref: SecretKey,
}

/// How to show that a name is ours.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Solver {
    /// For which names; all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// By an answer over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http01: Option<Http01>,
    /// By a TXT record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns01: Option<Dns01>,
    /// Wait so long after presenting, in place of looking from here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait_instead_of_self_check: Option<String>,
}

/// For which names a solver is. The most specific of those that match is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Selector {
    /// The Certificate's labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Exactly these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<String>,
    /// These and all below them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns_zones: Vec<String>,
}

/// By an answer over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Http01 {
    /// From an Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<HttpIngress>,
    /// From an HTTPRoute.
    #[serde(rename = "gatewayHTTPRoute", skip_serializing_if = "Option::is_none")]
    pub gateway_http_route: Option<Value>,
}

/// Which Ingresses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HttpIngress {
    /// Class, as a field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_class_name: Option<String>,
    /// Class, as an annotation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What else was written; it concerns solvers that are pods.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// By a TXT record.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns01 {
    /// `None` (when empty) or `Follow`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cname_strategy: String,
    /// By a dynamic update (RFC 2136).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136>,
    /// By a solver with a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// Providers that are kept but not served, by name.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

/// A dynamic update (RFC 2136), signed (RFC 8945) when a key is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rfc2136 {
    /// The primary server: host and port, 53 when none.
    pub nameserver: String,
    /// The key, base64.
    #[serde(rename = "tsigSecretSecretRef", skip_serializing_if = "Option::is_none")]
    pub tsig_secret: Option<SecretKey>,
    /// The key's name.
    #[serde(rename = "tsigKeyName", skip_serializing_if = "String::is_empty")]
    pub tsig_key_name: String,
    /// `HMACSHA256` and its like.
    #[serde(rename = "tsigAlgorithm", skip_serializing_if = "String::is_empty")]
    pub tsig_algorithm: String,
}

/// A solver with a name; ours is `knarr.dev`, `cluster-dns`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Webhook {
    /// Whose it is.
    pub group_name: String,
    /// Which one.
    pub solver_name: String,
    /// For the solver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
}

/// Vault's PKI engine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultIssuer {
    /// How we show who we are.
    pub auth: VaultAuth,
    /// URL.
    pub server: String,
    /// Where it signs: `pki/sign/ROLE`.
    pub path: String,
    /// Of Vault.
    pub namespace: String,
    /// Whom to trust in place of the system's roots, PEM.
    #[serde(with = "super::bytes")]
    pub ca_bundle: Vec<u8>,
    /// The same, in a Secret.
    pub ca_bundle_secret_ref: Option<SecretKey>,
    /// Another name than the server's, to be sent and verified; not served.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub server_name: String,
    /// What is shown to the server; not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cert_secret_ref: Option<SecretKey>,
    /// Its key; not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key_secret_ref: Option<SecretKey>,
}

/// How we show Vault who we are: the first that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultAuth {
    /// A token.
    pub token_secret_ref: Option<SecretKey>,
    /// A role and its secret.
    pub app_role: Option<AppRole>,
    /// A service account.
    pub kubernetes: Option<KubernetesAuth>,
}

/// A role and its secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AppRole {
    /// Where the method is mounted.
    pub path: String,
    /// Which role.
    pub role_id: String,
    /// Its secret.
    pub secret_ref: SecretKey,
}

/// A service account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubernetesAuth {
    /// Where the method is mounted; `/v1/auth/kubernetes` when empty.
    pub mount_path: String,
    /// A token in a Secret, or
    pub secret_ref: Option<SecretKey>,
    /// an account to make a token of.
    pub service_account_ref: Option<ServiceAccountRef>,
    /// Which role.
    pub role: String,
}

/// An account to make a token of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ServiceAccountRef {
    /// Its name.
    pub name: String,
    /// For whom, beside `vault://NAMESPACE/ISSUER`.
    pub audiences: Vec<String>,
}

/// What has become of an issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IssuerStatus {
    /// `Ready`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeStatus>,
}

/// An account at an ACME server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AcmeStatus {
    /// Its URL.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// The mail address it was registered with.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_registered_email: String,
    /// SHA-256 of its key's public half.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_private_key_hash: String,
}
