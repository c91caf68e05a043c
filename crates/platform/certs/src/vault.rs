//! Vault's PKI engine over HTTP: who we are, and a signature.
//!
//! Knows the few calls of Vault's API that signing takes. A token is asked for each signature, and forgotten after it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::api::VaultIssuer;
use crate::x509::{chain, read};

const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST: usize = 1 << 20;

/// Why Vault did not sign.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be reached.
    #[error("cannot reach Vault at {url}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// Why.
        source: reqwest::Error,
    },
    /// It refused.
    #[error("Vault refused {url} with {status}: {errors}")]
    Refused {
        /// What was asked for.
        url: String,
        /// Of HTTP.
        status: u16,
        /// What it said.
        errors: String,
    },
    /// Its answer has not what it must have.
    #[error("Vault's answer to {url} has no {what}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is missing.
        what: &'static str,
    },
    /// The issuer's settings are wrong.
    #[error("{0}")]
    Config(String),
}

impl Error {
    /// Whether the same may go well later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Answer { .. } => true,
            Self::Refused { status, .. } => !matches!(status, 400 | 404),
            Self::Config(_) => false,
        }
    }
}

/// Who we are, its secrets read.
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "named as in Vault")]
pub enum Identity {
    Token(String),
    AppRole { path: String, role_id: String, secret_id: String },
    Kubernetes { path: String, role: String, token: String },
}

/// Vault, as an issuer names it.
#[derive(Debug)]
pub struct Vault {
    http: reqwest::Client,
    server: String,
    namespace: String,
}

impl Vault {
    /// A client; `bundle` is trusted in place of the system's roots where it is not empty.
    ///
    /// # Errors
    /// When the bundle has no certificate.
    pub fn new(issuer: &VaultIssuer, bundle: &[u8]) -> Result<Self, Error> {
        let mut http = crate::http::builder(PATIENCE);
        if !bundle.is_empty() {
            let roots = reqwest::Certificate::from_pem_bundle(bundle);
            http = http.tls_certs_only(roots.map_err(|error| Error::Config(format!("spec.vault.caBundle: {error}")))?);
        }
        let http = http.build().map_err(|error| Error::Config(base::error::chain(&error)))?;
        Ok(Self { http, server: issuer.server.trim_end_matches('/').to_owned(), namespace: issuer.namespace.clone() })
    }

    async fn call(&self, path: &str, token: Option<&str>, body: Option<&Value>) -> Result<Value, Error> {
        let url = format!("{}/v1/{}", self.server, path.trim_start_matches('/').trim_start_matches("v1/"));
        let unreachable = |source| Error::Unreachable { url: url.clone(), source };
        let mut request = match body {
            Some(body) => self.http.post(&url).header("content-type", "application/json").body(body.to_string()),
            None => self.http.get(&url),
        };
        request = request.header("x-vault-request", "true");
        if !self.namespace.is_empty() {
            request = request.header("x-vault-namespace", &self.namespace);
        }
        if let Some(token) = token {
            request = request.header("x-vault-token", token);
        }
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > LONGEST {
                return Err(Error::Answer { url, what: "end within a MiB" });
            }
        }
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if (200..300).contains(&status) {
            return Ok(answer);
        }
        let errors: Vec<&str> = answer["errors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        Err(Error::Refused { url, status, errors: errors.join("; ").chars().take(1000).collect() })
    }

    /// A token for `identity`.
    ///
    /// # Errors
    /// When Vault refuses it or cannot be asked.
    pub async fn login(&self, identity: &Identity) -> Result<String, Error> {
        let (path, body) = match identity {
            Identity::Token(token) => return Ok(token.clone()),
            Identity::AppRole { path, role_id, secret_id } => {
                (format!("auth/{}/login", mount(path)), json!({ "role_id": role_id, "secret_id": secret_id }))
            }
            Identity::Kubernetes { path, role, token } => {
                let path = if path.is_empty() { "kubernetes" } else { path };
                (format!("auth/{}/login", mount(path)), json!({ "role": role, "jwt": token }))
            }
        };
        let answer = self.call(&path, None, Some(&body)).await?;
        let token = answer["auth"]["client_token"].as_str();
        token.map(str::to_owned).ok_or(Error::Answer { url: path, what: "auth.client_token" })
    }

    /// Whether Vault can be asked: it is initialised and unsealed.
    ///
    /// # Errors
    /// When not.
    pub async fn is_well(&self) -> Result<(), Error> {
        self.call("sys/health?standbyok=true&perfstandbyok=true", None, None).await.map(drop)
    }

    /// Signs a request; chain and authority, PEM.
    ///
    /// # Errors
    /// When Vault refuses it or cannot be asked.
    pub async fn sign(
        &self,
        token: &str,
        path: &str,
        request: &[u8],
        facts: &read::Facts,
        seconds: i64,
    ) -> Result<chain::Bundle, Error> {
        let names = &facts.names;
        let addresses: Vec<String> = names.ips.iter().map(ToString::to_string).collect();
        let alternatives = [&names.dns[..], &names.emails[..]].concat().join(",");
        let body = json!({
            "common_name": facts.common_name(), "alt_names": alternatives, "ip_sans": addresses.join(","),
            "uri_sans": names.uris.join(","), "ttl": format!("{seconds}s"), "csr": String::from_utf8_lossy(request),
            "exclude_cn_from_sans": "true",
        });
        let answer = self.call(path, Some(token), Some(&body)).await?;
        let data = &answer["data"];
        let missing = |what| Error::Answer { url: path.to_owned(), what };
        let certificate = data["certificate"].as_str().ok_or_else(|| missing("data.certificate"))?;
        let above: Vec<&str> = match data["ca_chain"].as_array() {
            Some(all) if !all.is_empty() => all.iter().filter_map(Value::as_str).collect(),
            _ => data["issuing_ca"].as_str().into_iter().collect(),
        };
        let all = format!("{certificate}\n{}", above.join("\n"));
        let parsed = read::certificates_pem(all.as_bytes()).ok_or_else(|| missing("readable certificate"))?;
        chain::parse(&parsed).ok_or_else(|| missing("single chain of certificates"))
    }
}

/// The mount of a method, however it was written.
fn mount(path: &str) -> &str {
    path.trim_matches('/').trim_start_matches("v1/").trim_start_matches("auth/")
}
