//! Settings of a login at an OpenID provider.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Bundle, ClaimHeader, ClaimRule, SecretKey};

/// Login by the authorization code flow with PKCE (OpenID Connect Core 1.0, RFC 7636).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Oidc {
    /// The provider; its discovery document is below it.
    #[schemars(regex(pattern = "^https?://"), length(max = 2048))]
    pub issuer: String,
    /// Whether the provider may be spoken to without TLS, which lets anybody on the way be anybody.
    #[serde(default)]
    pub plain_http: bool,
    /// Who we are there.
    #[schemars(length(min = 1, max = 512))]
    pub client_id: String,
    /// What we prove that with; none for a public client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretKey>,
    /// How we prove it.
    #[serde(default)]
    pub client_authentication: ClientAuthentication,
    /// Who may have signed the provider's certificate; the machine's authorities when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Bundle>,
    /// What is asked for beside `openid`.
    #[serde(default = "scopes")]
    #[schemars(length(max = 32))]
    pub scopes: Vec<String>,
    /// More parameters of the request to log in, such as `prompt` or `hd`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Paths of our own on the host.
    #[serde(default)]
    pub paths: Paths,
    /// How sessions are kept.
    pub session: Session,
    /// Who may pass; everybody who can log in when nothing is said.
    #[serde(default)]
    pub allow: Allow,
    /// Claims that the backend gets as headers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub headers: Vec<ClaimHeader>,
    /// Whether the backend gets the access token, as `Authorization: Bearer`.
    #[serde(default)]
    pub forward_access_token: bool,
}

fn scopes() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).to_vec()
}

/// How a client proves who it is at the token endpoint (OpenID Connect Core 9).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// `client_secret_basic`.
    #[default]
    Basic,
    /// `client_secret_post`.
    Post,
}

/// Paths that we answer ourselves on every host of the policy's targets.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct Paths {
    /// Where the provider sends users back; to be registered there as `https://HOST/PATH`.
    #[schemars(regex(pattern = "^/[A-Za-z0-9._~/-]+$"), length(max = 256))]
    pub callback: String,
    /// Logs in and returns to the path in the parameter `rd`.
    #[schemars(regex(pattern = "^/[A-Za-z0-9._~/-]+$"), length(max = 256))]
    pub login: String,
    /// Ends the session, also at the provider when it offers that.
    #[schemars(regex(pattern = "^/[A-Za-z0-9._~/-]+$"), length(max = 256))]
    pub logout: String,
    /// Where users are sent after that; to be registered at the provider.
    #[schemars(regex(pattern = "^/[A-Za-z0-9._~/-]*$"), length(max = 256))]
    pub after_logout: String,
}

impl Default for Paths {
    fn default() -> Self {
        Self {
            callback: "/.knarr/callback".to_owned(),
            login: "/.knarr/login".to_owned(),
            logout: "/.knarr/logout".to_owned(),
            after_logout: "/".to_owned(),
        }
    }
}

/// How sessions are kept: in cookies, encrypted with a key made from a Secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// At least 32 bytes of chance (`openssl rand -base64 32`). A new value ends every session.
    pub secret: SecretKey,
    /// A session that is not used for so long ends.
    #[serde(default = "idle")]
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub idle: String,
    /// A session ends so long after the login in any case.
    #[serde(default = "lifetime")]
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub lifetime: String,
}

fn idle() -> String {
    "1h".to_owned()
}

fn lifetime() -> String {
    "12h".to_owned()
}

/// Who may pass after the login. Each part that is said must be content.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Allow {
    /// One of these groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub groups: Vec<String>,
    /// The claim that holds the groups.
    #[serde(default = "groups_claim")]
    #[schemars(length(min = 1, max = 256))]
    pub groups_claim: String,
    /// One of these addresses, or one of `emailDomains`. The provider must have verified the address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1024))]
    pub emails: Vec<String>,
    /// An address of one of these domains, exactly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub email_domains: Vec<String>,
    /// What other claims must say, each of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub claims: Vec<ClaimRule>,
}

impl Default for Allow {
    fn default() -> Self {
        Self {
            groups: Vec::new(),
            groups_claim: groups_claim(),
            emails: Vec::new(),
            email_domains: Vec::new(),
            claims: Vec::new(),
        }
    }
}

fn groups_claim() -> String {
    "groups".to_owned()
}
