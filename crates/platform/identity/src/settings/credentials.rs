//! Settings of what a request brings along: certificates, passwords, keys, tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bundle, ClaimHeader, ClaimRule};

/// Rules for the client's certificate. That the client has its key is known: the TLS listener saw to that.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Certificate {
    /// Whether there must be one.
    #[serde(default)]
    pub presence: Presence,
    /// Who may have signed it. Without this the listener's own check is trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Bundle>,
    /// One of its alternative names (DNS name, URI, address, e-mail) must be one of these; `*.example.com` is any
    /// name one label longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub names: Vec<String>,
    /// Its subject must match one of these regular expressions wholly, in the form of RFC 4514
    /// (`CN=alice,OU=dev,O=Example`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub subjects: Vec<String>,
    /// Which headers tell the backend of it.
    #[serde(default)]
    pub headers: Headers,
}

/// Whether a client must show a certificate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    #[default]
    Required,
    /// A request without one passes; one that is there must be right.
    Optional,
}

/// How a backend learns of the client's certificate. The client's own copies of all these headers are removed whatever
/// is chosen.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Headers {
    /// Not at all.
    #[default]
    None,
    /// `X-Client-Cert-Verify`, `-Subject`, `-Issuer`, `-Serial`, `-Fingerprint` (SHA-256) and `-Names`.
    Summary,
    /// `Client-Cert` (RFC 9440) and the summary.
    Full,
    /// `ssl-client-verify`, `ssl-client-subject-dn`, `ssl-client-issuer-dn`, as ingress-nginx does.
    Nginx,
    /// These and `ssl-client-cert` (PEM, percent-encoded).
    NginxFull,
}

/// A user name and a password for each user.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Basic {
    /// A Secret with the users.
    #[schemars(length(min = 1, max = 253))]
    pub secret: String,
    /// How the Secret holds them.
    #[serde(default)]
    pub form: BasicForm,
    /// What a browser shows to the user.
    #[serde(default = "realm")]
    #[schemars(length(max = 128))]
    pub realm: String,
    /// The header that tells the backend who it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"), length(max = 128))]
    pub user_header: Option<String>,
    /// Whether the backend gets the `Authorization` header too.
    #[serde(default)]
    pub forward: bool,
}

fn realm() -> String {
    "Authentication Required".to_owned()
}

/// How a Secret holds users.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BasicForm {
    /// The key `auth` (or `.htpasswd`) is a file of htpasswd: bcrypt, `$apr1$`, `{SHA}`, SHA-crypt (`$5$`, `$6$`).
    #[default]
    File,
    /// Each key is a user, its value the hash of the password.
    Map,
}

/// Keys of clients.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ApiKey {
    /// A Secret; each of its keys is the name of a client, the value its API key (at least 16 bytes).
    #[schemars(length(min = 1, max = 253))]
    pub secret: String,
    /// Where the key stands in a request. `X-API-Key` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<TokenSource>,
    /// The header that tells the backend the client's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"), length(max = 128))]
    pub client_header: Option<String>,
    /// Whether the backend gets the key too.
    #[serde(default)]
    pub forward: bool,
}

/// Where a token stands in a request; the first place that has one counts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "has(self.header) || has(self.cookie) || has(self.query)", "message": "say header, cookie or query"}]))]
pub struct TokenSource {
    /// A header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Za-z0-9!#$%&'*+.^_|~-]+$"), length(max = 128))]
    pub header: Option<String>,
    /// What stands before the token in the header, such as `Bearer`; case does not count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub prefix: Option<String>,
    /// A cookie.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub cookie: Option<String>,
    /// A parameter of the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub query: Option<String>,
}

/// Tokens signed by an issuer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.keysUrl) && has(self.keys))", "message": "say keysUrl or keys, not both"}]))]
pub struct Jwt {
    /// The exact `iss` of tokens.
    #[schemars(length(min = 1, max = 2048))]
    pub issuer: String,
    /// One of these must be in `aud`.
    #[schemars(length(min = 1, max = 32))]
    pub audiences: Vec<String>,
    /// Where the issuer's keys are (a JWK set). When neither this nor `keys` is said they are found by the issuer's
    /// discovery document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^https?://"), length(max = 2048))]
    pub keys_url: Option<String>,
    /// The issuer's keys themselves, as a JWK set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub keys: Option<String>,
    /// Whether keys may be fetched without TLS, which lets anybody on the way be anybody.
    #[serde(default)]
    pub plain_http: bool,
    /// Who may have signed the certificate of the place of the keys; the machine's authorities when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Bundle>,
    /// Which signatures count: of `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, `ES256`, `ES384`, `EdDSA`.
    /// All of them when nothing is said. There is no `none`, and no HMAC.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9))]
    pub algorithms: Vec<String>,
    /// How far clocks may differ; at most `5m`.
    #[serde(default = "leeway")]
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub leeway: String,
    /// Where the token stands. `Authorization: Bearer` when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<TokenSource>,
    /// What claims must say, each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub claims: Vec<ClaimRule>,
    /// Claims that the backend gets as headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<ClaimHeader>,
    /// Whether the backend gets the token too.
    #[serde(default = "yes")]
    pub forward: bool,
}

fn leeway() -> String {
    "30s".to_owned()
}

fn yes() -> bool {
    true
}
