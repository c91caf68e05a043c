//! Settings of a service that is asked about each request.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Bundle;

/// A service that decides (ingress-nginx' `auth-url`, Gateway API's `ExternalAuth`, Envoy's `ext_authz`).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "!(has(self.protocol) && self.protocol == 'Grpc') || (!has(self.method) && !has(self.signIn) && !has(self.appendPath))",
     "message": "method, appendPath and signIn are for the protocol Http"}]))]
pub struct External {
    /// How it is spoken to.
    #[serde(default)]
    pub protocol: Protocol,
    /// Where it is. For `Http` each request is asked about there; variables as in `cache.key` may stand in path and
    /// query. For `Grpc` only scheme, host and port count (`http` is h2c).
    #[schemars(regex(pattern = "^https?://"), length(max = 2048))]
    pub url: String,
    /// Who may have signed its certificate; the machine's authorities when nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<Bundle>,
    /// Whether path and query of the request are appended to the path of `url` (Gateway API).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append_path: Option<bool>,
    /// The method of the question; the request's own when nothing is said and `appendPath`, else `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[A-Z]{3,16}$"))]
    pub method: Option<String>,
    /// Which headers of the request it sees; all when nothing is said. `Authorization` is always among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub request_headers: Option<Vec<String>>,
    /// Headers that are added to the question.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_headers: BTreeMap<String, String>,
    /// Which headers of its answer the backend gets, in place of the client's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub response_headers: Vec<String>,
    /// Whether cookies of its answer reach the client when it lets a request pass.
    #[serde(default)]
    pub forward_cookies: bool,
    /// How much of the request's body it sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Body>,
    /// How long it may take.
    #[serde(default = "timeout")]
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub timeout: String,
    /// Whether requests pass when it cannot be asked. They are answered with 503 otherwise.
    #[serde(default)]
    pub fail_open: bool,
    /// Where a browser is sent in place of a 401.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in: Option<ErrorPage>,
    /// Whether its answers are remembered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// More facts for a service of `ext_authz`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
}

fn timeout() -> String {
    "5s".to_owned()
}

/// How an external service is spoken to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// A status of 2xx lets pass; with `appendPath` 200 alone, as the Gateway API says.
    #[default]
    Http,
    /// `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
}

/// A page for users who must sign in.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ErrorPage {
    /// Where it is; variables as in `cache.key` may stand in it.
    #[schemars(length(min = 1, max = 2048))]
    pub url: String,
    /// The parameter with the page to return to.
    #[serde(default = "rd")]
    #[schemars(regex(pattern = "^[A-Za-z0-9_-]+$"), length(max = 64))]
    pub parameter: String,
}

fn rd() -> String {
    "rd".to_owned()
}

/// How much of a body is sent along. Larger bodies are answered with 413.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Body {
    /// In bytes.
    #[schemars(range(min = 1, max = 65_536))]
    pub max_size: i32,
}

/// How answers are remembered.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Cache {
    /// Requests with the same key get the same answer. Variables: `$http_NAME`, `$cookie_NAME`, `$arg_NAME`,
    /// `$remote_addr`, `$host`, `$scheme`, `$request_method`, `$request_uri`, `$uri`. A request for which every
    /// variable is empty is always asked about.
    #[schemars(length(min = 1, max = 1024))]
    pub key: String,
    /// For how long, at most `1h`.
    #[schemars(regex(pattern = "^([0-9]{1,5}(h|m|s|ms)){1,4}$"))]
    pub duration: String,
}
